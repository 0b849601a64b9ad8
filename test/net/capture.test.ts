/** A listener whose promise is rejected: the server's own hook, in a file of its own as it is global. */
import EventEmitter, { once } from 'node:events'
import { both, closed } from './both.js'

both('server-capture-rejection', 'the socket of a listener that rejects is destroyed', async (t, env) => {
  EventEmitter.captureRejections = true
  t.teardown(() => { EventEmitter.captureRejections = false })
  const seen: unknown[] = []
  const server = env.own(new env.net.Server())
  // eslint-disable-next-line @typescript-eslint/no-misused-promises -- what the hook is for
  server.on('connection', (socket: ReturnType<typeof env.connect>) => {
    socket.on('error', (error) => seen.push(error.message))
    return Promise.reject(new Error('kaboom'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = env.connect(server)
  client.on('error', () => undefined)
  await closed(client.resume())
  t.strictSame(seen, ['kaboom'])
})

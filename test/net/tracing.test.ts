/** What servers publish on the channel `net.server.listen`, and where the stacks of their errors lead. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Test } from 'tap'
import { nodeMajor } from '../support/util.js'
import { both, closed, failure, portOf, socketPath, type Failure, type Server } from './both.js'

interface Message {
  readonly server: Server
  readonly options?: Record<string, unknown>
  readonly error?: Failure
}

const NAME = 'tracing:net.server.listen:'

/** Calls `seen` for what is published of the server, until the test's end. */
function follow(t: Test, server: Server, seen: (event: string, message: Message) => void): void {
  for (const event of ['start', 'end', 'asyncStart', 'asyncEnd', 'error']) {
    const subscriber = (message: unknown): void => {
      if ((message as Message).server === server) seen(event, message as Message)
    }
    subscribe(NAME + event, subscriber)
    t.teardown(() => { unsubscribe(NAME + event, subscriber) })
  }
}

/** Whether this Node's own servers publish there: not those of the first releases of 20. */
const traced = ((): boolean => {
  let yes = false
  const see = (): void => { yes = true }
  subscribe(NAME + 'asyncStart', see)
  createServer().listen(0).close()
  unsubscribe(NAME + 'asyncStart', see)
  return yes
})()

const skip = traced ? false : 'this Node has no channel net.server.listen'

both('other:diagnostics-channel-net', 'listen that succeeds is traced, before it is told', async (t, env) => {
  const server = env.own(env.net.createServer())
  const events: string[] = []
  follow(t, server, (event, message) => {
    events.push(event)
    t.equal(server.listening, event === 'asyncEnd')
    t.strictSame(Object.keys(message), event === 'asyncStart' ? ['server', 'options'] : ['server'])
    if (event === 'asyncStart') t.match(message.options, { host: '127.0.0.1', port: 0, backlog: 5 })
    else t.equal(portOf(server) > 0, true)
  })
  server.on('listening', () => events.push('listening'))
  server.listen({ port: 0, host: '127.0.0.1', backlog: 5 })
  t.strictSame(events, ['asyncStart'])
  await once(server, 'listening')
  t.strictSame(events, ['asyncStart', 'asyncEnd', 'listening'])
}, { skip })

both('other:diagnostics-channel-net', 'a port in use is traced as an error', async (t, env) => {
  const first = await env.listen()
  const server = env.own(env.net.createServer())
  const events: string[] = []
  let traced: Failure | undefined
  follow(t, server, (event, { error }) => {
    events.push(event)
    traced = error
  })
  server.on('error', () => events.push('told'))
  server.listen(portOf(first), '127.0.0.1')
  const error = await failure(server)
  t.strictSame(events, ['asyncStart', 'error', 'told'])
  t.equal(traced, error)
  t.match(error, { code: 'EADDRINUSE', syscall: 'listen', address: '127.0.0.1', port: portOf(first) })
  t.equal(server.listening, false)
}, { skip })

both('other:diagnostics-channel-net', 'paths are traced, too', async (t, env) => {
  const path = socketPath(t)
  const events: string[] = []
  const server = env.own(env.net.createServer())
  follow(t, server, (event, { options }) => events.push(`${event} ${String(options?.path)}`))
  server.listen(path)
  await once(server, 'listening')
  const second = env.own(env.net.createServer())
  follow(t, second, (event, message) => events.push(`${event} ${String(message.error?.code)}`))
  second.listen(path)
  await failure(second)
  t.strictSame(events, [
    `asyncStart ${path}`, 'asyncEnd undefined', 'asyncStart undefined', 'error EADDRINUSE',
  ])
}, { skip })

both('other:diagnostics-channel-net', 'a subscriber may change the options', async (t, env) => {
  const first = await env.listen()
  const server = env.own(env.net.createServer())
  follow(t, server, (event, { options }) => {
    if (event === 'asyncStart' && options !== undefined) options.port = 0
  })
  server.listen({ port: portOf(first), host: '127.0.0.1' })
  await once(server, 'listening')
  t.not(portOf(server), portOf(first))
}, { skip })

both('other:diagnostics-channel-net', 'reusePort that a subscriber adds is heeded', async (t, env) => {
  if (!env.ours && Number(process.versions.node.split('.')[0]) < 23) {
    t.comment('this Node has no reusePort')
    return
  }
  const first = await env.listen(undefined, { reusePort: true })
  const server = env.own(env.net.createServer())
  follow(t, server, (event, { options }) => {
    if (event === 'asyncStart' && options !== undefined) options.reusePort = true
  })
  server.listen({ port: portOf(first), host: '127.0.0.1' })
  await once(server, 'listening')
  t.equal(portOf(server), portOf(first))
}, { skip })

both('better-error-messages-listen', 'the stack of the error leads to the call of listen', async (t, env) => {
  const first = await env.listen(undefined, { host: undefined })
  const server = env.own(env.net.createServer())
  const callOfListen = (): void => { server.listen(portOf(first)) }
  callOfListen()
  const error = await failure(server)
  t.match(error, { code: 'EADDRINUSE', errno: Number, syscall: 'listen', address: '::', port: portOf(first) })
  const lines = String(error.stack).split('\n')
  t.equal(lines[0], `Error: listen EADDRINUSE: address already in use :::${portOf(first)}`)
  t.ok(lines.some((line) => line.includes('callOfListen')), String(error.stack))
})

both('other:diagnostics-channel-net', 'each connect of a socket is published', async (t, env) => {
  if (!env.ours && nodeMajor < 24) {
    t.comment('this Node publishes only those of net.connect')
    return
  }
  const server = await env.listen((socket) => socket.end())
  const seen: unknown[] = []
  const note = (message: unknown): void => { seen.push((message as { socket: unknown }).socket) }
  subscribe('net.client.socket', note)
  t.teardown(() => unsubscribe('net.client.socket', note))
  const first = env.connect(server).resume()
  const second = env.own(new env.net.Socket())
  second.connect(portOf(server), '127.0.0.1').resume()
  await Promise.all([closed(first), closed(second)])
  t.strictSame(seen.filter((socket) => socket === first || socket === second), [first, second])
})

both('other:diagnostics-channel-net', 'an address in use is traced within listen', async (t, env) => {
  const first = await env.listen()
  const server = env.own(env.net.createServer())
  const events: string[] = []
  follow(t, server, (event) => { events.push(event) })
  const told = once(server, 'error')
  server.listen(portOf(first), '127.0.0.1')
  await told.catch(() => undefined)
  t.equal(events.filter((event) => event === 'error').length, 1)
  // Without a host nothing is looked up: it is known at once.
  const any = env.own(env.net.createServer().listen(0))
  await once(any, 'listening')
  const other = env.own(env.net.createServer())
  const seen: string[] = []
  follow(t, other, (event) => { seen.push(event) })
  const failed = once(other, 'error')
  other.listen(portOf(any))
  t.equal(seen.includes('error'), true)
  await failed
}, { skip })

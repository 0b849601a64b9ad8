/** What subscribers of the diagnostics channels hear, and that nobody else pays for it. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Test } from 'tap'
import { TCP_CHANNELS, type TcpDiagnostics } from 'marketplace-native'
import { freePort } from '../conformance/sockets.js'
import { ECHO, onEveryTransport, portOf } from '../support/transports.js'
import { client, until } from '../support/util.js'

type Name = keyof typeof TCP_CHANNELS

/** Hears everything until the test ends. */
function hear(t: Test): [Name, TcpDiagnostics][] {
  const heard: [Name, TcpDiagnostics][] = []
  for (const name of Object.keys(TCP_CHANNELS) as Name[]) {
    const on = (message: unknown): void => { heard.push([name, message as TcpDiagnostics]) }
    subscribe(TCP_CHANNELS[name], on)
    t.teardown(() => unsubscribe(TCP_CHANNELS[name], on))
  }
  return heard
}

onEveryTransport('listen, accept, connect and close are published, in order', async (t, open) => {
  const heard = hear(t)
  const station = open()
  const listener = await station.listen(ECHO)
  const port = portOf(listener)
  const connection = station.connect({ host: '127.0.0.1', port }, {
    connected: (self) => { self.write('x') },
    data: (self) => { self.shutdown() },
  })
  await until(() => station.transport.metrics.connects === 1 && heard.length === 5)
  t.strictSame(heard[0][0], 'listen')
  t.match(heard[0][1], { transport: station.transport.name, local: { address: '127.0.0.1', port } })
  t.strictSame(heard.map(([name]) => name).sort(), ['accept', 'close', 'close', 'connect', 'listen'])
  const of = (name: Name) => heard.filter(([other]) => other === name).map(([, message]) => message)
  const [accepted] = of('accept')
  const [connected] = of('connect')
  t.match(connected, { remote: { address: '127.0.0.1', port }, error: undefined })
  t.equal(connected.connection, connection)
  t.strictSame(
    new Set(of('close').map((message) => message.connection)),
    new Set([accepted.connection, connected.connection]),
    'an object stands for the connection from its beginning to its end',
  )
})

onEveryTransport('errors are published: of listening, connecting, and connections', async (t, open) => {
  const heard = hear(t)
  const station = open()
  const listener = await station.listen(ECHO)
  const port = portOf(listener)
  await t.rejects(station.listen({}, { port }))
  await station.failure({ host: '127.0.0.1', port: await freePort() })
  const socket = await client(port)
  await until(() => heard.some(([name]) => name === 'accept'))
  socket.resetAndDestroy()
  await until(() => heard.some(([name]) => name === 'close'))
  const errors = heard.filter(([name]) => name === 'error').map(([, { error }]) => error?.code)
  t.strictSame(errors, ['EADDRINUSE', 'ECONNREFUSED', 'ECONNRESET'])
  const [[, closed], ...more] = heard.filter(([name]) => name === 'close')
  t.equal(closed.error?.code, 'ECONNRESET')
  t.strictSame(more, [], 'what was never established is not closed')
})

onEveryTransport('connections that end with their transport are published, too', async (t, open) => {
  const heard = hear(t)
  const station = open()
  const listener = await station.listen(ECHO)
  const socket = await client(portOf(listener))
  await until(() => heard.some(([name]) => name === 'accept'))
  await station.transport.close()
  t.equal(heard.filter(([name]) => name === 'close').length, 1)
  socket.destroy()
})

onEveryTransport('a subscriber that throws disturbs nobody', async (t, open) => {
  const thrown: unknown[] = []
  const onError = (error: unknown): void => { thrown.push(error) }
  const fail = (): void => { throw new Error('of the subscriber') }
  process.once('uncaughtException', onError)
  subscribe(TCP_CHANNELS.accept, fail)
  const station = open()
  const listener = await station.listen(ECHO)
  const socket = await client(portOf(listener))
  await until(() => thrown.length > 0 && station.transport.metrics.connections === 1)
  unsubscribe(TCP_CHANNELS.accept, fail)
  process.off('uncaughtException', onError)
  t.match(thrown, [{ message: 'of the subscriber' }])
  socket.destroy()
})

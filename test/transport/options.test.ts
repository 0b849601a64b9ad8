/** Options of sockets, on every transport: what they do, and what is said where they can't. */
import { once } from 'node:events'
import { connect, createServer, isIP } from 'node:net'
import { platform } from 'node:os'
import t from 'tap'
import { nodeReusesPorts } from '../../src/transport/seam/socket-options.js'
import type {
  ConnectOptions, Dropped, ListenOptions, SocketOptions, TransportConnection, TransportListener,
} from '../../src/transport/seam/transport.js'
import { ECHO, onEveryTransport, portOf, type Handlers, type Station } from '../support/transports.js'
import { client, deferred, readAll, sleep, until } from '../support/util.js'
import { aliveOf, hasIPv6 } from './kernel.js'

const HOST = '127.0.0.1'
const byEngine = (station: Station): boolean => station.transport.name === 'native'

/** Both ends of a connection of which the transport has both. */
async function pair(
  station: Station, listening: Partial<ListenOptions>, connecting: Partial<ConnectOptions>,
): Promise<[TransportConnection, TransportConnection, TransportListener]> {
  const accepted = deferred<TransportConnection>()
  const connected = deferred<TransportConnection>()
  const listener = await station.listen({ accepted: accepted.resolve }, listening)
  station.connect({ host: HOST, port: portOf(listener), ...connecting }, { connected: connected.resolve })
  return [await accepted.promise, await connected.promise, listener]
}

onEveryTransport('what the kernel has is what was asked for, on both ends', async (t, open) => {
  const cases: readonly [SocketOptions, object][] = [
    [{}, { noDelay: true, keepAlive: false, userTimeout: 0 }],
    [{ noDelay: false }, { noDelay: false }],
    [{ keepAlive: true }, { keepAlive: { idle: Number, interval: Number, count: Number } }],
    [{ keepAlive: { idle: 1 } }, { keepAlive: { idle: 1000 } }],
    [{ keepAlive: { idle: 20_001, interval: 3000, count: 4 } },
      { keepAlive: { idle: 21_000, interval: 3000, count: 4 } }],
    [{ userTimeout: 12_345 }, { userTimeout: 12_345 }],
    [{ sendBufferSize: 20_000, receiveBufferSize: 30_000 },
      { sendBufferSize: 40_000, receiveBufferSize: 60_000 }],
  ]
  for (const [options, expected] of cases) {
    const station = open()
    const name = JSON.stringify(options)
    const both = { ...options, unsupported: 'ignore' } as const
    const [accepted, connected, listener] = await pair(station, both, both)
    for (const socket of [accepted, connected, listener]) {
      if (byEngine(station)) t.match(socket.settings, expected, name)
      else t.equal(socket.settings, undefined)
    }
    accepted.close()
    connected.close()
    listener.close()
    t.equal(listener.settings, undefined, 'no longer known')
  }
})

onEveryTransport('keepAlive arms the timer of both ends', async (t, open) => {
  if (platform() !== 'linux') return
  const station = open()
  for (const keepAlive of [false, { idle: 30_000 }]) {
    const [accepted, connected] = await pair(station, { keepAlive }, { keepAlive })
    t.strictSame(await aliveOf(accepted, connected), Array(2).fill(keepAlive !== false))
    connected.abort()
  }
})

onEveryTransport('what node:net lacks is an error, unless it is to be ignored', async (t, open) => {
  const lacks: [SocketOptions, string][] = [
    [{ userTimeout: 1 }, 'userTimeout'],
    [{ sendBufferSize: 9999, receiveBufferSize: 9999 }, 'sendBufferSize, receiveBufferSize'],
    [{ keepAlive: { interval: 1 } }, 'keepAlive.interval'],
    [{ keepAlive: { count: 1 } }, 'keepAlive.count'],
  ]
  const ofListeners: [Partial<ListenOptions>, string][] = [
    [{ exclusive: true }, 'exclusive'],
  ]
  if (!nodeReusesPorts()) ofListeners.push([{ reusePort: true }, 'reusePort'])
  const station = open()
  const listener = await station.listen(ECHO)
  const to = { host: HOST, port: portOf(listener) }
  for (const [options, names] of [...lacks, ...ofListeners]) {
    const listening = station.listen(ECHO, options)
    if (byEngine(station)) {
      t.equal(typeof portOf(await listening), 'number', names)
      continue
    }
    await t.rejects(listening, {
      code: 'ENOTSUP', errno: -95, syscall: 'listen', address: HOST,
      message: new RegExp(`^listen ENOTSUP.*127\\.0\\.0\\.1.* can't set ${names}; unsupported: 'ignore'`),
    })
    t.ok(portOf(await station.listen(ECHO, { ...options, unsupported: 'ignore' })) > 0, names)
  }
  for (const [options, names] of lacks) {
    const error = await station.failure({ ...to, ...options })
    if (byEngine(station)) t.equal(error, undefined, names)
    else t.match(error, { code: 'ENOTSUP', syscall: 'connect', ...{ address: HOST, port: to.port } })
    t.equal(await station.failure({ ...to, ...options, unsupported: 'ignore' }), undefined, names)
  }
  t.ok(portOf(await station.listen(ECHO, { reusePort: 'if-supported' })) > 0)
})

onEveryTransport('a port is shared only if all want that', async (t, open) => {
  const station = open()
  if (!byEngine(station) && !nodeReusesPorts()) return
  const counts = [0, 0]
  const counting = (i: number): Handlers => ({
    accepted: (connection) => {
      counts[i]++
      connection.close()
    },
  })
  const first = await station.listen(counting(0), { reusePort: true })
  const port = portOf(first)
  await t.rejects(station.listen(ECHO, { port }), { code: 'EADDRINUSE' })
  await station.listen(counting(1), { port, reusePort: 'if-supported' })
  for (let i = 0; i < 500 && counts.includes(0); i++) (await client(port)).destroy()
  t.notOk(counts.includes(0), 'both get connections')
})

onEveryTransport('exclusive: a port on which connections linger is not taken', async (t, open) => {
  const station = open()
  if (!byEngine(station)) return
  const [accepted, , listener] = await pair(station, { exclusive: true }, {})
  const port = portOf(listener)
  listener.close()
  await t.rejects(station.listen(ECHO, { port, exclusive: true }), { code: 'EADDRINUSE' })
  accepted.abort()
})

function isFreeForIPv4(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => { resolve(false) })
    server.listen(port, HOST, () => server.close(() => { resolve(true) }))
  })
}

onEveryTransport('ipv6Only', async (t, open) => {
  if (!hasIPv6) return
  const station = open()
  for (const host of [undefined, '::', 'ip6-localhost', 'localhost'] as const) {
    const wanted = await station.listen(ECHO, { host, ipv6Only: true }).catch((error: unknown) => error)
    // Not every machine's localhost has an IPv6 address.
    if (wanted instanceof Error) {
      t.match(wanted, { code: /ENOTFOUND|EAI_/ }, `${host}`)
      continue
    }
    const listener = wanted as TransportListener
    const port = portOf(listener)
    t.equal(listener.address?.family, 'IPv6')
    // Not by connecting: the port may be another program's for IPv4, and then the next one will do.
    const ports = [port]
    for (let i = 0; i < 5; i++) ports.push(portOf(await station.listen(ECHO, { host, ipv6Only: true })))
    const free = await Promise.all(ports.map(isFreeForIPv4))
    t.ok(free.includes(true), `${host}`)
    const socket = await client(port, '::1')
    socket.end('over IPv6')
    t.equal((await readAll(socket)).toString(), 'over IPv6')
  }
  const both = portOf(await station.listen(ECHO, { host: '::' }))
  for (const host of [HOST, '::1']) (await client(both, host)).destroy()
})

onEveryTransport('connections beyond maxConnections are reset and told of', async (t, open) => {
  const station = open()
  const drops: Dropped[] = []
  const accepted: TransportConnection[] = []
  const listener = await station.listen({
    accepted: (connection) => { accepted.push(connection) },
    dropped: (dropped) => { drops.push(dropped) },
  }, { maxConnections: 2 })
  const port = portOf(listener)
  const clients = [await client(port), await client(port)]
  await until(() => accepted.length === 2)
  for (let i = 0; i < 3; i++) {
    // It may be reset before Node has seen that it was connected.
    const [error] = await once(connect(port, HOST), 'error') as [NodeJS.ErrnoException]
    t.equal(error.code, 'ECONNRESET')
  }
  await until(() => drops.reduce((sum, { count }) => sum + count, 0) === 3)
  t.ok(drops.every(({ remote }) => remote.address === HOST && remote.port > 0))
  t.equal(station.transport.metrics.drops, 3)
  t.equal(station.transport.metrics.accepts, 2)
  // One of two makes room for one.
  accepted[0].close()
  await readAll(clients[0])
  clients[0].end()
  await until(() => station.transport.metrics.connections === 1)
  clients.push(await client(port))
  await until(() => accepted.length === 3)
  t.equal(accepted.length, 3)
  for (const socket of clients) socket.destroy()
})

onEveryTransport('pauseOnAccept: nothing is read before resume, and nothing is lost', async (t, open) => {
  const station = open()
  const accepted = deferred<TransportConnection>()
  let text = ''
  const ended = deferred()
  const listener = await station.listen({
    accepted: accepted.resolve,
    data: (_connection, data) => { text += data.toString() },
    end: (connection) => {
      connection.close()
      ended.resolve()
    },
  }, { pauseOnAccept: true })
  const socket = await client(portOf(listener))
  socket.end('it was sent early')
  const connection = await accepted.promise
  await sleep(50)
  t.equal(text, '')
  t.equal(station.transport.metrics.bytesIn, 0)
  connection.resume()
  await ended.promise
  t.equal(text, 'it was sent early')
})

onEveryTransport('a paused listener lets connections wait, and then takes all', async (t, open) => {
  const station = open()
  let accepts = 0
  const listener = await station.listen({ ...ECHO, accepted: () => { accepts++ } })
  const port = portOf(listener)
  listener.pause()
  listener.pause()
  const sockets = await Promise.all(Array.from({ length: 10 }, () => client(port)))
  for (const socket of sockets) socket.end('waited')
  await sleep(50)
  t.equal(accepts, 0)
  sockets[0].resetAndDestroy()
  await sleep(10)
  listener.resume()
  listener.resume()
  for (const socket of sockets.slice(1)) t.equal((await readAll(socket)).toString(), 'waited')
  t.ok(accepts >= 9, 'what was reset may be reported, or not')
})

onEveryTransport('a listener is paused before it listens, and closed while it is paused', async (t, open) => {
  const station = open()
  const ready = deferred<TransportListener>()
  let accepts = 0
  const early = station.transport.listen({ host: 'localhost', port: 0 })
  early.context = { handlers: { accepted: () => { accepts++ } }, resolve: ready.resolve, reject: t.error }
  early.pause()
  const other = await station.listen(ECHO)
  other.pause()
  const waiting = await client(portOf(other))
  other.close()
  other.resume()
  await t.rejects(readAll(waiting), { code: 'ECONNRESET' })
  const socket = connect({ port: portOf(await ready.promise), host: 'localhost' })
  await once(socket, 'connect')
  await sleep(30)
  t.equal(accepts, 0)
  early.resume()
  await until(() => accepts === 1)
  socket.destroy()
})

onEveryTransport('localAddress and localPort', async (t, open) => {
  const station = open()
  const host = hasIPv6 ? '::' : '0.0.0.0'
  const cases: [string, string][] = [['127.0.0.7', HOST], ['127.0.0.7', 'localhost']]
  if (platform() !== 'linux') cases.splice(0, 2, [HOST, HOST])
  if (hasIPv6) cases.push(['::1', '::1'])
  for (const [localAddress, to] of cases) {
    const [accepted, connected, listener] = await pair(station, { host }, { localAddress, host: to })
    t.equal(connected.local?.address, localAddress)
    t.equal(accepted.remote?.address.replace('::ffff:', ''), localAddress)
    t.equal(isIP(connected.remote?.address ?? ''), isIP(localAddress))
    listener.close()
  }
  const spare = await station.listen(ECHO)
  const localPort = portOf(spare)
  spare.close()
  const [, connected, listener] = await pair(station, {}, { localPort })
  t.equal(connected.local?.port, localPort)
  const port = portOf(listener)
  const failures: readonly [Partial<ConnectOptions>, object][] = [
    [{ localAddress: HOST, localPort: port }, { code: 'EADDRINUSE', syscall: 'bind', address: HOST, port }],
    [{ localAddress: '192.0.2.1' }, { code: 'EADDRNOTAVAIL', syscall: 'bind', address: '192.0.2.1' }],
    [{ localAddress: '::1' }, { code: /^E/, syscall: /bind|connect/ }],
  ]
  for (const [options, error] of failures) {
    t.match(await station.failure({ host: HOST, port, ...options }), error, JSON.stringify(options))
  }
})

onEveryTransport('wrong options are refused where they are given', async (t, open) => {
  const station = open()
  const common: readonly [object, string][] = [
    [{ noDelay: 1 }, 'noDelay must be a boolean; got 1'],
    [{ keepAlive: 5 }, 'keepAlive must be a boolean, or { idle, interval, count }; got 5'],
    [{ keepAlive: { idle: 0 } }, 'keepAlive.idle must be an integer from 1 to 32767000 milliseconds; got 0'],
    [{ keepAlive: { count: 128 } }, 'keepAlive.count must be an integer from 1 to 127; got 128'],
    [{ keepAlive: { delay: 5 } }, "unknown option 'delay' of keepAlive; there are idle, interval, count"],
    [{ userTimeout: -1 }, 'userTimeout must be an integer from 0 to 2147483647 milliseconds; got -1'],
    [{ sendBufferSize: 0 }, 'sendBufferSize must be an integer from 1 to 1073741823 bytes; got 0'],
    [{ receiveBufferSize: '9' }, "receiveBufferSize must be an integer from 1 to 1073741823 bytes; got '9'"],
    [{ unsupported: 'drop' }, "unsupported must be 'error' or 'ignore'; got 'drop'"],
    [{ nodelay: true }, "unknown option 'nodelay'; did you mean 'noDelay'?"],
    [{ port: 65_536 }, 'port must be an integer from 0 to 65535; got 65536'],
    [{ port: undefined }, 'port must be an integer from 0 to 65535; got undefined'],
    [{ host: '' }, "host must be a name or an address; got ''"],
  ]
  const ofListeners: typeof common = [
    [{ backlog: -1 }, 'backlog must be an integer from 0 to 2147483647; got -1'],
    [{ reusePort: 'yes' }, "reusePort must be false, true or 'if-supported'; got 'yes'"],
    [{ exclusive: true, reusePort: true }, 'exclusive must be false with reusePort; got true'],
    [{ ipv6Only: true, host: HOST }, 'ipv6Only must be false with the IPv4 address 127.0.0.1; got true'],
    [{ maxConnections: 1.5 }, 'maxConnections must be an integer from 0 to 2147483647; got 1.5'],
    [{ pauseOnAccept: null }, 'pauseOnAccept must be a boolean; got null'],
    [{ localPort: 5 }, "unknown option 'localPort'; *"],
  ]
  const ofDials: typeof common = [
    [{ localAddress: 'localhost' }, "localAddress must be an IP address; got 'localhost'"],
    [{ localPort: 70_000 }, 'localPort must be an integer from 0 to 65535; got 70000'],
    [{ backlog: 5 }, "unknown option 'backlog'; *"],
    [{ host: undefined }, 'host must be a name or an address; got undefined'],
  ]
  const { transport } = station
  for (const [call, cases] of [['listen', ofListeners], ['connect', ofDials]] as const) {
    for (const [options, message] of [...common, ...cases]) {
      const all = { host: HOST, port: 1, ...options }
      const text = `${call}: ${message.replace('*', '')}`
      const wrong = (): unknown => call === 'listen' ? transport.listen(all) : transport.connect(all)
      t.throws(wrong, { code: /^ERR_/, message: new RegExp(`^${text.replace(/[.?{}*]/g, '\\$&')}`) }, text)
    }
  }
  t.throws(() => transport.listen(5 as never), { message: 'listen: options must be an object; got 5' })
  t.throws(() => transport.connect(null as never), /connect: options must be an object; got null/)
})

void t.test('which Node can share ports', async (t) => {
  const cases: readonly [string, string, boolean][] = [
    ['20.20.2', 'linux', false], ['22.11.0', 'linux', false], ['22.12.0', 'linux', true],
    ['23.0.0', 'linux', false], ['23.1.0', 'linux', true], ['24.0.0', 'linux', true],
    ['24.0.0', 'darwin', false], ['24.0.0', 'win32', false], ['24.0.0', 'freebsd', true],
  ]
  for (const [version, system, can] of cases) {
    t.equal(nodeReusesPorts(version, system), can, `Node ${version} on ${system}`)
  }
})

/**
 * A server that can be restarted in place: it takes the listeners over from whoever has them, or opens them, and offers
 * them to its successor. Each connection gets the process's number and then an echo.
 *
 * Arguments: the path of the hand-off, `net`, `drivers` or `node`, and perhaps what it does wrong: `die` before it is
 * ready, `silent`: it is never ready.
 */
import * as nodeNet from 'node:net'
import { once } from 'node:events'
import * as ourNet from 'marketplace-native/net'
import {
  _, endpoint, fdListener, groundVm, handOff, sendMessage, spawn, systemdSockets, takeOver, tcpBare, tcpChannel,
  tcpEngine, tcpListener, unixListener, type FdListener, type Handable, type TcpEnd, type TcpListener,
  type UnixListener,
} from 'marketplace-native'
import { until } from '../support/util.js'

const [path, kind, unixPath, fault] = process.argv.slice(2)

const say = (what: object): void => { process.send?.(what) }

interface Where {
  readonly tcp: number | undefined
  readonly unix: number | undefined
}

type Started = Readonly<Record<string, Handable>>

async function listenByNet(net: typeof nodeNet, { tcp, unix }: Where): Promise<Started> {
  const serve = (server: nodeNet.Server): nodeNet.Server => server.on('connection', (socket: nodeNet.Socket) => {
    socket.on('error', (error) => { say({ connection: error.message }) })
    socket.write(`${process.pid}\n`)
    socket.pipe(socket)
  })
  const server = serve(net.createServer({ allowHalfOpen: true }))
  await once(tcp === undefined ? server.listen(0, '127.0.0.1', 511) : server.listen({ fd: tcp }), 'listening')
  if (net === nodeNet) return { tcp: server }
  const other = serve(net.createServer({ allowHalfOpen: true }))
  await once(unix === undefined ? other.listen(unixPath) : other.listen({ fd: unix }), 'listening')
  return { tcp: server, unix: other }
}

async function listenByDrivers({ tcp, unix }: Where): Promise<Started> {
  const engine = tcpEngine()
  const ends = [
    tcp === undefined ? tcpListener(0) : fdListener(tcp),
    unix === undefined ? unixListener(unixPath) : fdListener(unix),
  ]
  const session = (them: TcpEnd, us: TcpEnd) => endpoint.subscriber(tcpChannel(them, us, _), {
    onPresence: () => sendMessage(tcpChannel(us, them, `${process.pid}\n`)),
    onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
  })
  const server = (end: TcpListener | UnixListener | FdListener) => endpoint.subscriber(tcpChannel(_, end, _), {
    interest: 'observer',
    onPresence: ({ source, destination }) => spawn(() => session(source, destination)),
  })
  void groundVm(() => [tcpBare({ host: '127.0.0.1', engine, ref: true }), spawn(() => ends.map((end) => server(end)))])
  await until(() => engine.listening().length === 2)
  return { all: engine }
}

function listen(where: Where): Promise<Started> {
  if (kind === 'drivers') return listenByDrivers(where)
  return listenByNet(kind === 'node' ? nodeNet : ourNet, where)
}

const given = systemdSockets()
const taken = given.length > 0 ? undefined : await takeOver(path)
if (taken !== undefined && fault === 'die') process.kill(process.pid, 'SIGKILL')
const inherited = given.length > 0 ? given : taken?.sockets ?? []
const of = (family: string): number | undefined =>
  inherited.find(({ name, address }) => name === family || address?.family === family)?.fd
const started = await listen({ tcp: of('IPv4') ?? of('tcp'), unix: of('unix') })
if (fault === 'silent') {
  say({ silent: true })
  await new Promise(() => { setInterval(() => undefined, 1000) })
}
await taken?.ready()
const [first] = Object.values(started)
const address = typeof first === 'object' && 'address' in first ? first.address() : undefined
const port = address === undefined && typeof first === 'object' && 'shutdown' in first
  ? first.listening().find(({ address: one }) => one.family === 'IPv4')?.address.port
  : (address as nodeNet.AddressInfo).port

/** As programs end that systemd stops: what they have accepted is served. */
async function end(): Promise<void> {
  await Promise.all(Object.values(started).map(async (one) => {
    if (typeof one === 'number') return
    if ('shutdown' in one) await one.shutdown()
    else await once(one.close(), 'close')
  }))
  say({ drained: true })
  process.disconnect?.()
}

if (given.length > 0) {
  process.on('SIGTERM', () => { void end() })
} else {
  const offer = await handOff(path, started)
  process.on('message', (told) => {
    if (told === 'close') void offer.close().then(() => { process.exit(0) })
  })
  void offer.taken.then(async (over) => {
    if (over === undefined) return
    say({ taken: over.pid })
    await over.drained
    say({ drained: true })
    process.disconnect?.()
  })
}
say({ ready: process.pid, port, from: taken?.pid, environment: process.env.LISTEN_FDS })

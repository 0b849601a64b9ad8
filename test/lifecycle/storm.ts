/**
 * A program in which much happens at once, to be ended at any moment: connections come and go, small and big
 * writes are on their way, some peers reset, some don't read. In a worker, or a process of its own.
 *
 * Arguments (of a process) or workerData: the transport, the way to end, and a number that it depends on.
 */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import {
  _, endpoint, fromChannel, groundVm, quit, sendMessage, spawn, tcp, tcpBare, tcpChannel, tcpListener,
  tcpListening, type ActionTree, type TcpEnd, type TransportName,
} from 'marketplace-native'

export interface StormOptions {
  readonly transport: TransportName
  /** `storm`: it goes on until it is ended from outside. */
  readonly how: 'storm' | 'exit' | 'throw' | 'stop' | 'shutdown' | 'return'
  /** After so many messages it is ended. */
  readonly after: number
}

const [transport, how, after] = process.argv.slice(2)
const options: StormOptions = isMainThread
  ? { transport: transport as TransportName, how: how as StormOptions['how'], after: Number(after) }
  : workerData as StormOptions

const CLIENTS = 30
const BIG = randomBytes(300_000)
let messages = 0
let ending = false
const sockets = new Set<Socket>()

function end(): void {
  ending = true
  for (const socket of sockets) socket.unref()
  switch (options.how) {
    case 'exit':
      process.exit(0)
      break
    case 'throw':
      setImmediate(() => { throw new Error('on purpose') })
      break
    case 'stop':
      void vm.stop()
      void vm.stop()
      break
    case 'shutdown':
      void vm.shutdown({ drainMs: 10 })
      void vm.shutdown({ drainMs: 5 })
      break
    default:
  }
}

function heard(): void {
  messages += 1
  if (messages === 1) parentPort?.postMessage('under way')
  if (messages === options.after && options.how !== 'storm') end()
}

const echo = (them: TcpEnd, us: TcpEnd) => endpoint.subscriber(tcpChannel(them, us, _), {
  onMessage: ({ subpacket }) => {
    heard()
    return [sendMessage(tcpChannel(us, them, subpacket)), messages % 7 === 0 && quit()]
  },
  onAbsence: () => quit(),
})

const streamed = (them: TcpEnd, us: TcpEnd) => {
  const { stream, actions } = fromChannel(them, us)
  stream.on('error', () => undefined).on('data', heard).pipe(stream)
  return actions
}

function visit(port: number, count: number): void {
  if (ending) return
  const socket = connect(port, '127.0.0.1')
  sockets.add(socket)
  socket.on('error', () => undefined)
  socket.on('close', () => {
    sockets.delete(socket)
    visit(port, count + 1)
  })
  socket.on('data', () => {
    if (count % 3 === 0) socket.resetAndDestroy()
    else if (count % 3 === 1) socket.end()
    else socket.write('more')
  })
  if (count % 5 === 0) socket.pause()
  socket.write(count % 2 === 0 ? 'small' : BIG)
  if (count % 4 === 0) setImmediate(() => socket.destroy())
}

const program = (session: (them: TcpEnd, us: TcpEnd) => ActionTree, port: number) => [
  endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
    interest: 'observer',
    onPresence: ({ source, destination }) => spawn(() => session(source, destination)),
  }),
  endpoint.subscriber(tcpListening(tcpListener(port), _), {
    onPresence: ({ address }) => { for (let i = 0; i < CLIENTS; i += 1) visit(address.port, i) },
  }),
]

const driver = options.after % 2 === 0 ? tcp : tcpBare
const session = options.after % 2 === 0 ? streamed : echo
const vm = groundVm(() => [
  driver({ transport: options.transport, host: '127.0.0.1' }), spawn(() => program(session, 0)),
])
await vm

/**
 * What several workers cost and gain, against one: CPU per message, throughput with handlers that cost, CPU per
 * accepted connection. The client is a process of its own, so that its CPU is not counted.
 *
 *   node dist/bench/workers.js            the three figures, as lines of JSON
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  _, currentWorker, endpoint, groundVm, quit, sendMessage, serve, spawn, tcpBare, tcpChannel, tcpListener,
  tcpListening, type TcpEnd,
} from '../src/index.js'
import { readArguments } from './lib/arguments.js'

const CONNECTIONS = 100
const SECONDS = 5
const PAYLOAD = Buffer.alloc(64, 'x')

/** What a handler does before it answers, in microseconds. */
interface Work { readonly micros: number }

function busy(micros: number): void {
  if (micros === 0) return
  const until = performance.now() + micros / 1000
  while (performance.now() < until);
}

const session = (them: TcpEnd, us: TcpEnd, { micros }: Work) => endpoint.subscriber(tcpChannel(them, us, _), {
  onAbsence: () => quit(),
  onMessage: ({ subpacket }) => {
    busy(micros)
    return sendMessage(tcpChannel(us, them, subpacket))
  },
})

const echo = (work: Work) => endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
  interest: 'observer',
  onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us, work)),
})

/** What each worker runs. */
export default () => [
  tcpBare({ transport: 'native', host: '127.0.0.1' }), echo((currentWorker()?.data ?? { micros: 0 }) as Work),
]

/** A server that is up, and how it ends. */
interface Up {
  readonly port: number
  stop(): Promise<void>
}

async function withWorkers(workers: number, work: Work): Promise<Up> {
  const served = serve({ module: import.meta.url, workers, data: work, signals: false })
  await served.ready
  return { port: served.addresses()[0].port, stop: () => served.stop() }
}

/** One process with a listener of its own. */
async function alone(work: Work): Promise<Up> {
  let listening: (port: number) => void = () => undefined
  const port = new Promise<number>((resolve) => { listening = resolve })
  const vm = groundVm(() => [
    tcpBare({ transport: 'native', host: '127.0.0.1' }), echo(work),
    spawn(() => endpoint.subscriber(tcpListening(tcpListener(0), _), {
      onPresence: ({ address }) => { listening(address.port) },
    })),
  ])
  return { port: await port, stop: async () => { await vm.stop() } }
}

/** In the client's process: messages there and back on all connections, or connections one after the other. */
async function client(what: string, port: number): Promise<void> {
  let count = 0
  let over = false
  const open = async (): Promise<Socket> => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    return socket
  }
  if (what === 'messages') {
    const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, open))
    for (const socket of sockets) {
      let left = PAYLOAD.length
      socket.on('data', (data) => {
        left -= data.length
        if (left > 0) return
        left = PAYLOAD.length
        count++
        if (!over) socket.write(PAYLOAD)
      })
      socket.write(PAYLOAD)
    }
    await sleep(SECONDS * 1000)
    over = true
    for (const socket of sockets) socket.destroy()
  } else {
    await Promise.all(Array.from({ length: 16 }, async () => {
      const end = performance.now() + SECONDS * 1000
      while (performance.now() < end) {
        const socket = await open()
        count++
        socket.resetAndDestroy()
      }
    }))
  }
  process.send?.(count, () => { process.exit(0) })
}

/** CPU of this process per unit, in microseconds, and units per second. */
async function measure(up: Up, what: string): Promise<{ cpu: number, rate: number }> {
  const before = process.cpuUsage()
  const child = fork(fileURLToPath(import.meta.url), ['client', what, String(up.port)])
  const exited = once(child, 'exit')
  const [count] = await once(child, 'message') as [number]
  const { user, system } = process.cpuUsage(before)
  await up.stop()
  await exited
  return { cpu: (user + system) / count, rate: count / SECONDS }
}

async function main(): Promise<void> {
  const tell = (figure: string, values: object): void => { console.log(JSON.stringify({ figure, ...values })) }
  const none = { micros: 0 }
  const one = await measure(await withWorkers(1, none), 'messages')
  const two = await measure(await withWorkers(2, none), 'messages')
  tell('CPU per message, 2 workers / 1', { one: one.cpu, two: two.cpu, ratio: two.cpu / one.cpu })
  const work = { micros: 50 }
  const slow = await measure(await withWorkers(1, work), 'messages')
  const fast = await measure(await withWorkers(2, work), 'messages')
  const gain = fast.rate / slow.rate
  tell('throughput with 50 us handlers, 2 workers / 1', { one: slow.rate, two: fast.rate, ratio: gain })
  const own = await measure(await alone(none), 'connections')
  const least = await measure(await withWorkers(1, none), 'connections')
  const price = least.cpu / own.cpu
  tell('CPU per accepted connection, least / own listener', { own: own.cpu, least: least.cpu, ratio: price })
}

if (currentWorker() === undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === 'client') {
    await client(process.argv[3], Number(process.argv[4]))
  } else {
    readArguments('usage: npm run bench:workers; a minute, three lines of JSON', {})
    await main()
  }
}

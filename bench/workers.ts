/**
 * What several workers cost and gain, against one: CPU per message, throughput with handlers that cost, CPU per
 * accepted connection, and a chat room that is spread over them.
 *
 * Each server is a process of its own, and the client is the C load generator: two processes of it where messages are
 * counted, as one can't keep two workers busy, which then wake up for few messages at a time. Rounds go through the
 * pairs in turns; a figure is the median of the rounds' ratios, with the lowest and the highest of them.
 *
 *   npm run bench:workers [-- --rounds N --seconds N]     a line of JSON for each figure
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  _, currentWorker, endpoint, groundVm, quit, sendMessage, serve, spawn, tcpBare, tcpChannel, tcpListener,
  tcpListening, type ServeOptions, type TcpEnd,
} from '../src/index.js'
import { readArguments } from './lib/arguments.js'
import { runLoad, type LoadResult } from './lib/load.js'
import { root } from './lib/paths.js'
import { startServer } from './lib/server.js'
import { median } from './lib/stats.js'

const MICROS = 50
const CALIBRATION = 200_000_000

/** What a handler does before it answers: rounds of a loop. It is work, and no time that passes while others run. */
interface Work { readonly rounds: number }

let sink = 0

function busy(rounds: number): void {
  let value = sink
  for (let i = 0; i < rounds; i++) value = (value * 1_103_515_245 + 12_345) & 0x7fffffff
  sink = value
}

/** How many rounds take that long on this machine, when it has nothing else to do. */
function roundsOf(micros: number): number {
  busy(CALIBRATION / 100)
  const { user: before } = process.cpuUsage()
  busy(CALIBRATION)
  const { user } = process.cpuUsage()
  return Math.round(CALIBRATION * micros / (user - before))
}

const session = (them: TcpEnd, us: TcpEnd, { rounds }: Work) => endpoint.subscriber(tcpChannel(them, us, _), {
  onAbsence: () => quit(),
  onMessage: ({ subpacket }) => {
    busy(rounds)
    return sendMessage(tcpChannel(us, them, subpacket))
  },
})

const echo = (work: Work) => endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
  interest: 'observer',
  onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us, work)),
})

/** What each worker runs. */
export default () => [
  tcpBare({ transport: 'native', host: '127.0.0.1' }), echo((currentWorker()?.data ?? { rounds: 0 }) as Work),
]

const listens = (port: number): void => { console.log(`listening on 127.0.0.1:${port} `) }

/** In a server's process. */
const SERVERS: Readonly<Record<string, (argument: string) => Promise<void>>> = {
  async workers(argument) {
    const { workers, share, rounds } = JSON.parse(argument) as { workers: number, rounds: number } & ServeOptions
    const served = serve({ module: import.meta.url, workers, share, data: { rounds } })
    await served.ready
    listens(served.addresses()[0].port)
    await served
  },
  async alone() {
    await groundVm(() => [
      tcpBare({ transport: 'native', host: '127.0.0.1' }), echo({ rounds: 0 }),
      spawn(() => endpoint.subscriber(tcpListening(tcpListener(0), _), {
        onPresence: ({ address }) => { listens(address.port) },
      })),
    ])
  },
}

type Command = readonly string[]

const own = (name: string, argument: object = {}): Command =>
  [process.execPath, fileURLToPath(import.meta.url), 'server', name, JSON.stringify(argument)]
const workers = (count: number, options: object = {}): Command =>
  own('workers', { workers: count, rounds: 0, ...options })
const chat = (count: number): Command =>
  [process.execPath, join(root, 'dist/src/cli/main.js'), 'chat', '--port', '0', '--workers', String(count)]

/** Two servers under one load, and what is told of both. */
interface Figure {
  readonly name: string
  readonly one: Command
  readonly other: Command
  readonly load: readonly string[]
  /** Processes of the load generator, side by side. Default 1. */
  readonly clients?: number
  readonly value: (results: readonly LoadResult[]) => number
}

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)
/** Each has seen the same server's CPU. */
const cpu = (results: readonly LoadResult[]): number =>
  sum(results.map(({ server }) => server.cpu_us)) / results.length / sum(results.map(({ messages }) => messages))
const rate = (results: readonly LoadResult[]): number => sum(results.map((result) => result.messages_per_second))
const pingPong = { load: ['--mode', 'pingpong', '--connections', '50'], clients: 2 }
const storm = ['--mode', 'storm', '--count', '10000', '--connections', '50']

function figures(rounds: number): Figure[] {
  return [
    { name: 'CPU per message, 2 workers / 1', one: workers(1), other: workers(2), ...pingPong, value: cpu },
    {
      name: `throughput with handlers of ${MICROS} us, 2 workers / 1`,
      one: workers(1, { rounds }), other: workers(2, { rounds }), ...pingPong, value: rate,
    },
    {
      name: 'CPU per connection with a round trip, least / own listener',
      one: own('alone'), other: workers(1), load: storm, value: cpu,
    },
    {
      name: 'CPU per connection with a round trip, reuseport / own listener',
      one: own('alone'), other: workers(1, { share: 'reuseport' }), load: storm, value: cpu,
    },
    {
      name: 'chat, 1,000 members, CPU per delivery, 2 workers / 1',
      one: chat(1), other: chat(2), load: ['--mode', 'chat', '--connections', '1000', '--stall', '20'], value: cpu,
    },
  ]
}

async function measure(
  command: Command, { load, clients = 1, value }: Figure, seconds: number,
): Promise<number> {
  const server = await startServer({ command }, [])
  try {
    const times = { warmup: 2, duration: seconds }
    return value(await Promise.all(Array.from({ length: clients }, () => runLoad(server, [], load, times))))
  } finally {
    await server.stop()
  }
}

async function main(rounds: number, seconds: number): Promise<void> {
  const all = figures(roundsOf(MICROS)).map((figure) => ({ figure, one: [] as number[], other: [] as number[] }))
  for (let round = 0; round < rounds; round++) {
    for (const { figure, one, other } of all) {
      // Neither always comes first.
      const arms = [() => measure(figure.one, figure, seconds).then((value) => { one.push(value) }),
        () => measure(figure.other, figure, seconds).then((value) => { other.push(value) })]
      for (const arm of round % 2 === 0 ? arms : arms.reverse()) await arm()
    }
  }
  for (const { figure: { name }, one, other } of all) {
    const ratios = other.map((value, i) => value / one[i])
    const figure = {
      figure: name, one: median(one), other: median(other), ratio: median(ratios),
      low: Math.min(...ratios), high: Math.max(...ratios),
    }
    console.log(JSON.stringify(figure))
  }
}

if (currentWorker() === undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === 'server') {
    await SERVERS[process.argv[3]](process.argv[4])
  } else {
    const usage = 'usage: npm run bench:workers [-- --rounds N] [--seconds N]; two minutes, a line of JSON per figure'
    const { number } = readArguments(usage, { rounds: 3, seconds: 4 })
    await main(number('rounds'), number('seconds'))
  }
}

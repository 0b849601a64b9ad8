/** A benchmark's results with made-up numbers, the same each time: every kind of arm, axis and gap once. */
import type {
  ArmReport, BenchReport, Bucket, Figure, MetricName, ScenarioReport, Series,
} from '../../bench/lib/result.js'

const ROUNDS = 5

/** Numbers from 0 to 1 that look random and are the same in every run. */
export function numbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32
    return state / 2 ** 32
  }
}

export function figure(median: number, spread: number, random: () => number): Figure {
  const values = Array.from({ length: ROUNDS }, (_, round) => {
    // The middle one is the median itself; two are below it, two above.
    const side = Math.sign(round - 2)
    return { round, value: median * (1 + side * spread * random()) }
  })
  const sorted = values.map(({ value }) => value).sort((a, b) => a - b)
  return { median, low: sorted[0], high: sorted[ROUNDS - 1], rounds: values }
}

interface Made {
  readonly name: string
  readonly title: string
  readonly kind: ArmReport['kind']
  /** Of C epoll's. */
  readonly cost: number
  readonly twinOf?: string
}

const made: readonly Made[] = [
  { name: 'epoll', title: 'marketplace, epoll', kind: 'ours', cost: 1.08 },
  { name: 'io_uring', title: 'marketplace, io_uring', kind: 'ours', cost: 1.02 },
  { name: 'node', title: 'marketplace on node:net', kind: 'ours', cost: 1.72 },
  { name: 'nested-5', title: 'marketplace, 5 levels <&> "nested"', kind: 'ours', cost: 1.3 },
  { name: 'node-net', title: 'node:net, no VM', kind: 'peer', cost: 1.74 },
  { name: 'bun', title: 'Bun.listen', kind: 'peer', cost: 1.25 },
  { name: 'deno', title: 'Deno.listen', kind: 'peer', cost: 1.65 },
  { name: 'python', title: 'Python asyncio', kind: 'peer', cost: 5.9 },
  { name: 'erlang', title: 'Erlang gen_tcp', kind: 'peer', cost: 2.9 },
  { name: 'c-epoll', title: 'C epoll', kind: 'limit', cost: 1 },
  { name: 'c-epoll-twin', title: 'C epoll, again', kind: 'limit', cost: 1.01, twinOf: 'c-epoll' },
  { name: 'c-io_uring', title: 'C io_uring', kind: 'limit', cost: 0.86 },
]

/** A bell over the logarithm with a tail, 16 buckets per octave. */
function histogram(p50: number, random: () => number): Bucket[] {
  const buckets: Bucket[] = []
  for (let i = -32; i <= 96; i += 1) {
    const share = Math.exp(-((i / 12) ** 2)) + 0.002 * Math.exp(-Math.abs(i) / 24)
    const count = Math.round(100_000 * share * (0.9 + 0.2 * random()))
    if (count > 0) buckets.push([p50 * 2 ** (i / 16), count])
  }
  return buckets
}

function armOf({ name, title, kind, cost, twinOf }: Made, base: number, random: () => number): ArmReport {
  const cpu = base * cost
  const of = (value: number, spread = 0.06): Figure => figure(value, spread, random)
  const figures: Partial<Record<MetricName, Figure>> = {
    rate: of(0.9e6 / cpu, 0.3),
    cpu: of(cpu),
    busy: of(0.9),
    clientBusy: of(0.5),
    p50: of(90 * cpu),
    p99: of(180 * cpu, 0.2),
    p99_9: of(320 * cpu, 0.5),
    rss: of(kind === 'limit' ? 1.6e6 : 66e6, 0.01),
  }
  const own = twinOf === undefined ? {} : { twinOf }
  return { name, title, kind, ...own, figures, histogram: histogram(90 * cpu, random) }
}

const gone: ArmReport = {
  name: 'uws',
  title: 'uWebSockets.js',
  kind: 'peer',
  skipped: "it isn't on npm",
  figures: {},
  histogram: [],
}

function scenario(name: string, title: string, base: number, load: string[]): ScenarioReport {
  const random = numbers(base * 1000)
  const arms = made.map((one) => armOf(one, base, random))
  const broken: ArmReport = { ...arms[7], failure: 'ended with SIGKILL in round 3' }
  return {
    name,
    group: 'echo',
    title,
    unit: 'message',
    load,
    arms: [...arms.slice(0, 7), broken, ...arms.slice(8), gone],
    noise: { cpu: 0.033, rate: 0.08, p50: 0.05, p99: 0.1, p99_9: 0.2, rss: 0.02 },
  }
}

function connectionSeries(name: string, title: string, unit: string, scale: number): Series {
  const random = numbers(99)
  const lines = made
    .filter((one) => one.twinOf === undefined)
    .map((one) => ({
      name: one.name,
      title: one.title,
      points: [1, 10, 100, 1000, 10_000]
        .filter((x) => one.name !== 'python' || x <= 1000)
        .map((x) => ({ x, y: figure(scale * one.cost * (4 + 8 / x + Math.log10(x)), 0.08, random) })),
    }))
  const x = { title: 'open connections', unit: 'connections', scale: 'log' } as const
  const y = { title, unit, scale: unit.startsWith('bytes') ? 'log' : 'linear' } as const
  return { name, title, x, y, better: 'lower', lines }
}

function insideSeries(): Series {
  return {
    name: 'presence-observers',
    title: 'A presence change with so many observers',
    x: { title: 'observers', unit: 'observers', scale: 'log' },
    y: { title: 'time per observer', unit: 'ns/observer', scale: 'linear' },
    better: 'lower',
    lines: [
      {
        name: 'presence',
        title: 'appear and disappear',
        points: [1, 4, 16, 64, 256, 1024].map((x) => ({ x, y: figure(200 + 900 / x, 0.1, numbers(x)) })),
      },
      { name: 'none', title: 'never measured', points: [], failure: 'it threw' },
    ],
  }
}

export function fixture(): BenchReport {
  const none = { value: undefined, low: undefined, high: undefined }
  return {
    format: 2,
    environment: {
      command: 'npm run bench -- --quick',
      date: '2026-11-22T18:04:11.661Z',
      commit: '0123456789ab',
      cpu: 'Made-up CPU',
      cpus: 2,
      memoryBytes: 8 * 2 ** 30,
      kernel: '6.18.44',
      node: 'v20.20.2',
      pinning: 'server on CPU 0, client on CPU 1',
    },
    method: { quick: false, rounds: ROUNDS, times: { warmup: 1, duration: 4 }, freshProcesses: true },
    scenarios: [
      scenario('echo-1', '64 B ping-pong, 1 connection', 28, ['--connections', '1']),
      scenario('echo-100', '64 B ping-pong, 100 connections', 5.5, ['--connections', '100']),
    ],
    series: [
      connectionSeries('connections-cpu', 'CPU per message', 'us/message', 1),
      connectionSeries('connections-memory', 'Memory per connection', 'bytes/connection', 300),
      insideSeries(),
    ],
    micro: {
      rounds: ROUNDS,
      suites: [
        {
          name: 'routed',
          title: 'routed messages',
          programs: [
            { name: 'map', title: 'Map.get and a call', samples: [{ round: 0, value: 20 }] },
            { name: 'gone', title: 'a program that failed', samples: [], failure: 'Error: it threw' },
          ],
          targets: [],
        },
      ],
      axes: [],
      targets: [],
    },
    targets: [
      {
        title: 'CPU per message: epoll / node:net',
        unit: 'ratio',
        limit: 0.6,
        sense: 'at most',
        value: 0.62,
        low: 0.6,
        high: 0.65,
      },
      { title: 'tried in vain', unit: 'ratio', limit: 1, sense: 'at most', ...none },
    ],
  }
}

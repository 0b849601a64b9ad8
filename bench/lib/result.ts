/**
 * What `npm run bench -- --json FILE` writes: one `BenchReport`. The charts, the comparison of two
 * revisions and the terminal's tables are all made of it.
 *
 * Rules: a field that was not measured is absent or `null`, never 0 and never NaN; names are stable
 * from run to run (titles are not); every median stands beside the rounds that it was taken of.
 * `format` grows when a reader of the older one could misread the newer one.
 */
import type { Environment } from './machine.js'

export const FORMAT = 2

/**
 * The figures of one arm in one scenario, and their units. A scenario's `message` is what its
 * `unit` says: for most a message, there and back; in storms and fleets a connection.
 */
export const metricNames = [
  'rate', // messages per second
  'bytesRate', // payload bytes per second, one direction
  'cpu', // the server's CPU microseconds per message, all threads, user and kernel
  'busy', // the server's CPU time / wall time
  'clientBusy', // the load generator's; near 1 it was the limit
  'p50', // microseconds of latency
  'p99', // microseconds
  'p99_9', // microseconds
  'rss', // the server's resident bytes at the end of the timed window
  'lost', // datagrams that had no answer, of all that were sent: a share; only of datagrams, and if there are any
  'rssPerConnection', // what they grew by, per connection; only where a scenario asks for it
] as const

export type MetricName = (typeof metricNames)[number]

/** One round's value. Rounds in which an arm failed are simply missing. */
export interface RoundValue {
  readonly round: number
  readonly value: number
}

/** A figure over the rounds. */
export interface Figure {
  readonly median: number
  /** The smallest and the largest. */
  readonly low: number
  readonly high: number
  readonly rounds: readonly RoundValue[]
}

/** Ours; somebody else's; the C programs that stand for what the kernel allows. */
export type ArmKind = 'ours' | 'peer' | 'limit'

/** A bucket of the latency distribution: [lowest microseconds in it, messages]; ascending. */
export type Bucket = readonly [us: number, count: number]

export interface ArmReport {
  readonly name: string
  readonly title: string
  readonly kind: ArmKind
  /** The arm that this one is identical to; the two measure the noise. */
  readonly twinOf?: string
  /** Version of the peer or backend, as its process gives it. */
  readonly version?: string
  /** Why it could not be run at all here. No figures then. */
  readonly skipped?: string
  /** Why it ended before its last round. The figures of the rounds before remain. */
  readonly failure?: string
  readonly figures: Partial<Record<MetricName, Figure>>
  /** Latencies of all rounds together; empty where none is measured. 16 buckets per octave. */
  readonly histogram: readonly Bucket[]
}

export interface ScenarioReport {
  readonly name: string
  readonly group: string
  readonly title: string
  /** What a message of this scenario is. */
  readonly unit: 'message' | 'connection' | 'line' | 'datagram' | 'request' | 'delivery' | 'frame'
  /** Arguments of the load generator. */
  readonly load: readonly string[]
  readonly arms: readonly ArmReport[]
  /** What two identical arms differed by, as a share (0.05: 5 %). A ratio nearer to 1 says nothing. */
  readonly noise: Partial<Record<MetricName, number>>
}

export interface Axis {
  readonly title: string
  /** 'connections', 'us/message', 'bytes/connection', ... */
  readonly unit: string
  readonly scale: 'log' | 'linear'
}

export interface SeriesPoint {
  readonly x: number
  readonly y: Figure
}

export interface SeriesLine {
  /** An arm's name, or a program's inside the VM. */
  readonly name: string
  readonly title: string
  /** Ascending in x; a point that could not be measured is missing. */
  readonly points: readonly SeriesPoint[]
  readonly failure?: string
}

/** One chart's worth: a figure against something that grows. */
export interface Series {
  /** 'connections-cpu', 'presence-observers', ... */
  readonly name: string
  readonly title: string
  readonly x: Axis
  readonly y: Axis
  readonly better: 'lower' | 'higher'
  readonly lines: readonly SeriesLine[]
}

/** A figure of this run, held against its limit. */
export interface Target {
  readonly title: string
  /** Of `value` and `limit`: a ratio of two figures of this run, or a figure itself. */
  readonly unit: 'ratio' | 'bytes'
  /** `undefined`: not a target, only shown beside the others. */
  readonly limit: number | undefined
  readonly sense: 'at most' | 'at least'
  /** `undefined` when it was not measured. */
  readonly value: number | undefined
  /** Extremes over the rounds. */
  readonly low: number | undefined
  readonly high: number | undefined
}

/** Where a program stands on one of the field's axes. */
export interface Place {
  /** The axis's name. */
  readonly axis: string
  readonly line: string
  readonly x: number
}

/** One of the field's axes inside the VM: a chart that programs are points of. */
export interface MicroAxis {
  readonly name: string
  readonly title: string
  readonly x: Axis
  readonly y: Axis
}

/** One program's times inside the VM. */
export interface ProgramResult {
  readonly name: string
  readonly title: string
  readonly at?: Place
  readonly samples: RoundValue[]
  failure?: string
}

export interface SuiteResult {
  readonly name: string
  readonly title: string
  readonly programs: readonly ProgramResult[]
  readonly targets: readonly Target[]
}

export interface MicroReport {
  readonly rounds: number
  readonly suites: readonly SuiteResult[]
  readonly axes: readonly MicroAxis[]
  /** Those of all suites. */
  readonly targets: readonly Target[]
}

/** How it was measured. */
export interface Method {
  readonly quick: boolean
  readonly rounds: number
  /** Seconds of each arm's warm-up and timed window in each round. */
  readonly times: { readonly warmup: number; readonly duration: number }
  /** A new server process for each round. */
  readonly freshProcesses: boolean
  /** Seconds: the least warm-up of a server that is kept, in its first round. Later rounds find it warm. */
  readonly firstWarmup?: number
}

export interface BenchReport {
  readonly format: typeof FORMAT
  /** Date, commit, CPU, memory, kernel, Node's version, pinning. */
  readonly environment: Environment
  readonly method: Method
  readonly scenarios: readonly ScenarioReport[]
  readonly series: readonly Series[]
  /** Inside the VM; `null` when it wasn't asked for or failed. */
  readonly micro: MicroReport | null
  readonly microFailure?: string
  readonly targets: readonly Target[]
}

/**
 * What a transport counts, for every implementation.
 *
 * Owns the counters. A transport counts its own; only what is said of memory is its engine's, which it may have
 * in common with others.
 * Invariants: everything is counted since `open`, except what is said to be of now; nothing here costs
 * more with the number of connections, and nothing is counted per message but two additions.
 */
import type { LimitName } from './limits.js'
import { LIMITS, Stat, STATS } from './stats.js'

/**
 * Counters of a transport; cheap enough to be kept always and read at any time. Those that say nothing
 * else count since the transport was opened.
 */
export interface TransportMetrics {
  /** Connections open now. */
  readonly connections: number
  /** Connections accepted. */
  readonly accepts: number
  /** Outbound connections established. */
  readonly connects: number
  /** Connections that were refused because of a limit of their listener's. */
  readonly drops: number
  /** TLS handshakes that succeeded. */
  readonly tlsHandshakes: number
  /** TLS handshakes that did not: `errors` has the codes. */
  readonly tlsFailures: number
  /**
   * How often each limit of the listeners did something, by its name: refused a connection (`maxConnections`,
   * `acceptRate`, `connectionsPerPrefix`, `acceptRatePerPrefix`), reset one that was late (`firstByteTimeout`,
   * `frameTimeout`), stopped reading from one for a while (`receiveRate`), or paused a listener (`pauseAbove`).
   */
  readonly limited: Readonly<Record<LimitName, number>>
  /** Listeners that are paused because of `pauseAbove`, now. */
  readonly listenersPaused: number
  /** Bytes received from the kernel. */
  readonly bytesIn: number
  /** Bytes taken by the kernel. */
  readonly bytesOut: number
  /** Chunks of data received: each is a message in the VM. */
  readonly chunksIn: number
  /** Chunks of data given to be sent. */
  readonly chunksOut: number
  /** Bytes given to be sent that the kernel has not taken, now and over all connections. */
  readonly queuedBytes: number
  /**
   * Memory that is received into, in bytes: free and pinned. Native only, as all about slabs is; and that of the
   * engine, which all transports of the thread share whose options about engines are the same.
   */
  readonly slabBytes: number
  /** What is being filled, or waits to be. */
  readonly slabBytesFree: number
  /** What is full and was reachable, by one view of it at least, at the last garbage collection. */
  readonly slabBytesPinned: number
  /** Memory of former slabs that waits to be used again, beside `slabBytes`; less and less when calm. */
  readonly slabBytesIdle: number
  /** How often reading stopped because `maxSlabBytes` were in use. */
  readonly slabStalls: number
  /** How often the program was called with what had happened: at most once per turn of the event loop. */
  readonly batches: number
  /** How many events they brought, all together. */
  readonly events: number
  /**
   * How many of them brought how many events: element 0 counts batches of 1 event, element 1 those of 2 or
   * 3, element i those of 2**i to 2**(i+1) - 1, and the last one (15) also all bigger ones.
   */
  readonly batchSizes: readonly number[]
  /**
   * Nanoseconds in system calls and in the engine's own work around them. Of a turn in which several transports
   * were served, each has as much as it had of the events. `undefined` on the node transport, where that time
   * is Node's and can't be told apart.
   */
  readonly kernelTime: number | undefined
  /** Nanoseconds in JavaScript that was called with a batch: the VM, the drivers and the program. */
  readonly jsTime: number
  /** Nanoseconds since the transport was opened, and until it was closed. */
  readonly totalTime: number
  /** How often an error was reported, by its code: `{ ECONNRESET: 3 }`. */
  readonly errors: Readonly<Record<string, number>>
}

/** Elements of `batchSizes`. */
const BATCH_SIZES = 16

/** Those that refuse connections. */
export const REFUSING = ['maxConnections', 'acceptRate', 'connectionsPerPrefix', 'acceptRatePerPrefix'] as const

/** How often each limit did something. */
export type LimitCounts = Record<LimitName, number>

/** Nothing counted yet. */
export const noLimits = (): LimitCounts => Object.fromEntries(LIMITS.map((name) => [name, 0])) as LimitCounts

/** @param count of a limit, by its place in the list of all */
export const limitCounts = (count: (at: number, name: LimitName) => number): LimitCounts =>
  Object.fromEntries(LIMITS.map((name, at) => [name, count(at, name)])) as LimitCounts

/** What is known of slabs. */
export interface SlabCounts {
  readonly free: number
  readonly pinned: number
  readonly idle: number
  readonly stalls: number
}

/** An engine, which several transports may share. */
export interface EngineCounts extends SlabCounts {
  /** Adds the time that was spent to what each of them has counted. */
  settle(): void
}

export class Counts implements TransportMetrics {
  connections = 0
  accepts = 0
  connects = 0
  /** What was counted here, and not by the engine. */
  readonly limitedHere = noLimits()
  tlsHandshakes = 0
  tlsFailures = 0
  bytesIn = 0
  chunksIn = 0
  batches = 0
  events = 0
  readonly batchSizes: number[] = new Array<number>(BATCH_SIZES).fill(0)
  readonly errors = Object.create(null) as Record<string, number>
  readonly stats = new Float64Array(STATS)
  readonly #kernelTimeKnown: boolean
  #engine: EngineCounts | undefined
  /** Of the engine: before this transport had it; once it is closed, while it had it. */
  #stalls = 0
  #openedAt = 0n
  #closedAt = 0n

  constructor(kernelTimeKnown: boolean) {
    this.#kernelTimeKnown = kernelTimeKnown
  }

  get bytesOut(): number {
    return this.stats[Stat.bytesOut]
  }

  get limited(): LimitCounts {
    return limitCounts((at, name) => this.stats[Stat.ofMaxConnections + at] + this.limitedHere[name])
  }

  get drops(): number {
    const { limited } = this
    return REFUSING.reduce((sum, name) => sum + limited[name], 0)
  }

  get listenersPaused(): number {
    return this.stats[Stat.listenersPaused]
  }

  get chunksOut(): number {
    return this.stats[Stat.chunksOut]
  }

  get queuedBytes(): number {
    return this.stats[Stat.queuedBytes]
  }

  /** The engine, while a native transport has one. */
  get engine(): EngineCounts | undefined {
    return this.#engine
  }

  set engine(engine: EngineCounts | undefined) {
    this.#stalls = engine === undefined ? this.slabStalls : engine.stalls
    this.#engine = engine
  }

  get slabBytes(): number {
    return this.slabBytesFree + this.slabBytesPinned
  }

  get slabBytesFree(): number {
    return this.#engine?.free ?? 0
  }

  get slabBytesPinned(): number {
    return this.#engine?.pinned ?? 0
  }

  get slabBytesIdle(): number {
    return this.#engine?.idle ?? 0
  }

  get slabStalls(): number {
    return this.#engine === undefined ? this.#stalls : this.#engine.stalls - this.#stalls
  }

  get kernelTime(): number | undefined {
    this.#engine?.settle()
    return this.#kernelTimeKnown ? this.stats[Stat.kernelTime] : undefined
  }

  get jsTime(): number {
    this.#engine?.settle()
    return this.stats[Stat.jsTime]
  }

  get totalTime(): number {
    if (this.#openedAt === 0n) return 0
    const end = this.#closedAt === 0n ? process.hrtime.bigint() : this.#closedAt
    return Number(end - this.#openedAt)
  }

  opened(): void {
    this.#openedAt = process.hrtime.bigint()
  }

  closed(): void {
    this.#closedAt = process.hrtime.bigint()
  }

  /** The program is about to be called with so many events. */
  batch(events: number): void {
    this.batches += 1
    this.events += events
    this.batchSizes[Math.min(31 - Math.clz32(events), BATCH_SIZES - 1)] += 1
  }

  /** An error was reported. */
  error({ code }: { readonly code?: string | undefined }): void {
    const name = code ?? 'UNKNOWN'
    this.errors[name] = (this.errors[name] ?? 0) + 1
  }
}

/**
 * Counters of a transport for datagrams. What they have in common with `TransportMetrics` is the same; a
 * datagram that waits to be sent counts for 64 `queuedBytes` more than it has.
 */
export interface UdpMetrics extends Omit<
  TransportMetrics,
  'connections' | 'accepts' | 'connects' | 'drops' | 'limited' | 'listenersPaused' | 'tlsHandshakes' | 'tlsFailures'
  | 'chunksIn' | 'chunksOut'
> {
  /** Sockets open now. */
  readonly sockets: number
  /** Datagrams received. */
  readonly datagramsIn: number
  /** Datagrams taken by the kernel. */
  readonly datagramsOut: number
}

export class UdpCounts extends Counts implements UdpMetrics {
  sockets = 0
  datagramsIn = 0

  get datagramsOut(): number {
    return this.stats[Stat.datagramsOut]
  }
}

/** What those have in common that share an engine. */
const OF_ENGINES: ReadonlySet<string> =
  new Set(['slabBytes', 'slabBytesFree', 'slabBytesPinned', 'slabBytesIdle', 'slabStalls'])

/** The sum of several, as plain data; an engine's memory counts once. Of none: all zero. */
export function metricsSum(all: readonly TransportMetrics[]): TransportMetrics {
  const sum = {
    connections: 0, accepts: 0, connects: 0, drops: 0, listenersPaused: 0, tlsHandshakes: 0, tlsFailures: 0,
    bytesIn: 0, bytesOut: 0, chunksIn: 0, chunksOut: 0,
    queuedBytes: 0, slabBytes: 0, slabBytesFree: 0, slabBytesPinned: 0, slabBytesIdle: 0,
    slabStalls: 0, batches: 0, events: 0, jsTime: 0, totalTime: 0,
  }
  const batchSizes = new Array<number>(BATCH_SIZES).fill(0)
  const errors: Record<string, number> = {}
  const limited = noLimits()
  let kernelTime: number | undefined
  const engines = new Set<unknown>()
  for (const metrics of all) {
    const { engine } = metrics as Partial<Counts>
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) {
      if (!engines.has(engine) || !OF_ENGINES.has(name)) sum[name] += metrics[name]
    }
    if (engine !== undefined) engines.add(engine)
    metrics.batchSizes.forEach((count, i) => { batchSizes[i] += count })
    for (const name of LIMITS) limited[name] += metrics.limited[name]
    for (const [code, count] of Object.entries(metrics.errors)) errors[code] = (errors[code] ?? 0) + count
    if (metrics.kernelTime !== undefined) kernelTime = (kernelTime ?? 0) + metrics.kernelTime
  }
  return { ...sum, limited, batchSizes, kernelTime, errors }
}

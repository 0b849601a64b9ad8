/**
 * The native engines of this thread, and the transports that share them.
 *
 * Owns the engines: one for all transports whose options about engines are the same, as long as there is any;
 * the table from an engine's ids to sockets; and the way of a turn's records to the transports that they are
 * for. What concerns sockets only (queue limits, the time to close, counters) is each transport's own.
 * JavaScript is entered once per loop turn with all that happened; what the program does in reply is executed
 * when it returns.
 *
 * Invariants: the program runs only after every record of the batch has been read; an id is looked up, never
 * trusted, as its socket may have ended in the same turn; each transport is called in an entry of its own, so
 * that Node runs ticks and promises in between, and one that throws keeps nothing from the others; memory is
 * received into again only when none of them looks at it.
 */
import { setImmediate } from '../../support/real-time.js'
import { Counts, metricsSum, type EngineCounts, type TransportMetrics } from '../seam/metrics.js'
import { Stat, STATS } from '../seam/stats.js'
import { TransportBase } from '../seam/transport-base.js'
import { addonOrReason } from './addon.js'
import { socketAddressIn } from './address.js'
import { backendNumber, transportInfo } from './backend.js'
import {
  AcceptedRecord, Command, DataRecord, Family, INDEX_MASK, Record, RECORD_WORDS, SenderRecord,
} from './layout.js'
import { socketsChanged } from './heap-trimmer.js'
import { type AccountLimits, type Addon, type EngineSettings, Link } from './link.js'
import { sleepsInEngine } from './sleep.js'
import { slabOptions } from './slabs.js'
import { checkedBusyPoll } from '../seam/transport-options.js'
import type { SocketAddress, SocketError, TransportInfo, TransportOptions } from '../seam/transport.js'

/** Peers whose addresses are remembered. */
const PEERS_MAX = 4096

/** What the engine's records are about: a socket, or an attempt to connect one. */
export interface EngineSocket {
  /** The engine's. */
  readonly id: number
  /** Whose it is. */
  readonly account: unknown
  close(): void
  /** Bytes have come; of datagrams, from whom. */
  received(data: Buffer, from: SocketAddress | undefined): void
  /** A record of any other kind is about it. */
  happened(records: Int32Array, at: number): void
}

/** What an engine has to do with. */
type Account = Pick<
  NativeAccount<never, never, Counts>,
  'number' | 'share' | 'limits' | 'metrics' | 'deliverNow' | 'deliverLater' | 'beginShare'
>

/** The part of a transport's options that is about its engine, checked: who has the same has the same engine. */
export function engineSettings(call: string, options: TransportOptions): EngineSettings {
  return {
    backend: backendNumber(options.backend),
    ...checkedBusyPoll(call, options.busyPoll),
    sleeps: sleepsInEngine(call, options.sleepIn),
    ...slabOptions(call, options),
  }
}

/** @throws Error that says why there is none */
export function loadedAddon(): Addon {
  const loaded = addonOrReason()
  if (!loaded.ok) throw new Error(`the native transport can't be loaded: ${loaded.reason}`)
  return loaded.addon
}

/** What transports of this thread have counted that are closed. */
let closedCounts: TransportMetrics | undefined

/** The sum of what all connections of this thread's engines have counted, also those of transports that are closed. */
export function threadMetrics(): TransportMetrics {
  const open = [...engines.values()].flatMap((engine) => engine.counts())
  return metricsSum(closedCounts === undefined ? open : [closedCounts, ...open])
}

/** By what has to be the same. */
const engines = new Map<string, NativeEngine>()

/** Whether a descriptor is a socket of this thread's engines already, as far as a program can know its number. */
export function isEngines(fd: number): boolean {
  return [...engines.values()].some(({ link }) => link.knows(fd))
}

/** The file of a Unix socket goes with the listener of this descriptor. @returns whether it is an engine's */
export function ownFile(fd: number): boolean {
  return [...engines.values()].some(({ link }) => link.ownFile(fd))
}

class NativeEngine implements EngineCounts {
  readonly link: Link
  readonly isolates: boolean
  readonly stats = new Float64Array(STATS)
  readonly #key: string
  readonly #sockets: (EngineSocket | undefined)[] = []
  readonly #accounts = new Set<Account>()
  readonly #peers = new Map<number | string, SocketAddress>()
  /** Accounts that have something to deliver in this batch, and those that are to be called again after it. */
  readonly #waiting: Account[] = []
  readonly #again: Account[] = []
  /** Those whose sinks still look at borrowed memory. */
  readonly #keeping = new Set<Account>()
  /** Those that keep the process alive. */
  readonly #refs = new Set<Account>()
  /** Those that the last batch was for, and what they have been told to have taken of the time. */
  #served: Account[] = []
  #kernelTime = 0
  #jsTime = 0
  #reading = false
  #closed: () => void = () => undefined

  constructor(key: string, settings: EngineSettings) {
    this.#key = key
    this.isolates = settings.isolates
    this.link = new Link(
      loadedAddon(), settings, this.stats, (count) => this.#batch(count), () => { this.#closed() },
    )
    this.link.setRef(false)
  }

  /** Of its transports for connections. */
  counts(): Counts[] {
    return [...this.#accounts].flatMap(({ metrics }) => metrics instanceof Counts ? [metrics] : [])
  }

  get free(): number {
    return this.link.slabs.free
  }

  get pinned(): number {
    return this.link.slabs.pinned
  }

  get idle(): number {
    return this.link.slabs.idle
  }

  get stalls(): number {
    return this.link.slabs.stalls
  }

  /** One more transport. @returns the number of its account */
  join(account: Account): number {
    this.#accounts.add(account)
    return this.link.openAccount(account.metrics.stats, account.limits)
  }

  /** One less: the engine goes with the last one. @param left called when all of its descriptors are closed */
  leave(account: Account, left: () => void): void {
    this.settle()
    this.#served = this.#served.filter((one) => one !== account)
    this.setRef(account, false)
    this.keeps(account, false)
    this.link.closeAccount(account.number)
    this.#accounts.delete(account)
    const { metrics } = account
    if (metrics instanceof Counts) {
      closedCounts = metricsSum(closedCounts === undefined ? [metrics] : [closedCounts, metrics])
    }
    if (this.#accounts.size > 0) {
      left()
      return
    }
    engines.delete(this.#key)
    this.#closed = left
    this.link.close()
  }

  setRef(account: Account, on: boolean): void {
    const before = this.#refs.size > 0
    if (on) this.#refs.add(account)
    else this.#refs.delete(account)
    if (this.#refs.size > 0 !== before) this.link.setRef(!before)
  }

  /** Has it called with what has happened, in this batch if one is being read. */
  schedule(account: Account): void {
    if (this.#reading) this.#waiting.push(account)
    else process.nextTick(() => { account.deliverLater() })
  }

  /** Whether its sink still looks at what was lent to it. */
  keeps(account: Account, on: boolean): void {
    if (on) this.#keeping.add(account)
    else this.#keeping.delete(account)
    this.#viewsOver()
  }

  enter(socket: EngineSocket): void {
    const index = socket.id & INDEX_MASK
    this.#sockets[index] = socket
    this.link.reserveGauge(index)
    socketsChanged()
  }

  remove(id: number): void {
    this.#sockets[id & INDEX_MASK] = undefined
    socketsChanged()
  }

  /** All sockets of all transports. */
  get sockets(): readonly (EngineSocket | undefined)[] {
    return this.#sockets
  }

  /**
   * What was spent since the last time is for those whose events the last batch had, in proportion to how many
   * these were: of one turn with several of them no more is known.
   */
  settle(): void {
    const kernelTime = this.stats[Stat.kernelTime] - this.#kernelTime
    const jsTime = this.stats[Stat.jsTime] - this.#jsTime
    const total = this.#served.reduce((sum, { share }) => sum + share, 0)
    if (total === 0) return
    this.#kernelTime += kernelTime
    this.#jsTime += jsTime
    for (const { metrics, share } of this.#served) {
      metrics.stats[Stat.kernelTime] += kernelTime * share / total
      metrics.stats[Stat.jsTime] += jsTime * share / total
    }
  }

  #find(id: number): EngineSocket | undefined {
    const socket = this.#sockets[id & INDEX_MASK]
    return socket !== undefined && socket.id === id ? socket : undefined
  }

  /** One loop turn's records, and then one transport at a time. Returns whether there are more of them. */
  #batch(count: number): boolean {
    if (count > 0) this.#readAll(count)
    const first = this.#waiting.shift()
    const account = first ?? this.#again.shift()
    if (account !== undefined) {
      let more = true // also if it throws
      try {
        more = account.deliverNow(first === undefined)
      } finally {
        if (more) this.#again.push(account)
      }
    }
    this.#viewsOver()
    return this.#delivering
  }

  get #delivering(): boolean {
    return this.#waiting.length > 0 || this.#again.length > 0
  }

  #readAll(count: number): void {
    this.settle()
    this.#reading = true
    const { records, slabs } = this.link
    let from: SocketAddress | undefined
    for (let i = 0, at = 0; i < count; i++, at += RECORD_WORDS) {
      if (records[at] === Record.data) {
        const slab = records[at + DataRecord.slab]
        const data = slabs.view(slab, records[at + DataRecord.offset], records[at + DataRecord.length])
        this.#find(records[at + DataRecord.id])?.received(data, from)
      } else if (records[at] === Record.sender) {
        from = this.peer(records, at + SenderRecord.peer)
      } else {
        this.#other(records, at)
      }
    }
    this.#reading = false
    this.#served = [...this.#waiting]
    for (const account of this.#served) account.beginShare()
  }

  #other(records: Int32Array, at: number): void {
    const id = records[at + 1]
    switch (records[at]) {
      case Record.slabRetired:
        this.link.slabs.retired(id)
        break
      case Record.slabsShort:
        this.link.slabs.short(id)
        break
      case Record.accepted: {
        const listener = this.#find(records[at + AcceptedRecord.listener])
        // Nobody waits for it any more.
        if (listener === undefined) this.link.command(Command.abort, id)
        else listener.happened(records, at)
        break
      }
      default:
        this.#find(id)?.happened(records, at)
    }
  }

  /** The address in five words. One object for one peer, as those who send datagrams send more than once. */
  peer(records: Int32Array, at: number): SocketAddress {
    const portAndFamily = records[at]
    const [a, b, c, d] = [records[at + 1], records[at + 2], records[at + 3], records[at + 4]]
    const isIPv4 = portAndFamily >>> 16 === Family.ipv4
    const key = isIPv4
      ? (a >>> 0) * 65536 + (portAndFamily & 0xffff)
      : `${portAndFamily},${a},${b},${c},${d}`
    let address = this.#peers.get(key)
    if (address === undefined) {
      address = socketAddressIn(records, at)
      if (this.#peers.size >= PEERS_MAX) this.#peers.clear()
      this.#peers.set(key, address)
    }
    return address
  }

  /** The views made so far are over as soon as nobody looks at one, or waits to be given it. */
  #viewsOver(): void {
    // Programs have copies only: whatever they do with them, the slabs are free.
    if (this.isolates || (!this.#delivering && this.#keeping.size === 0)) this.link.viewsOver()
    else if (!this.#delivering) this.link.viewsKept()
  }
}

/** A transport as a user of an engine: what connections and datagrams have in common there. */
export abstract class NativeAccount<
  E extends { readonly error: SocketError | undefined }, S extends EngineSocket, M extends Counts,
> extends TransportBase<E, S, M> {
  readonly name = 'native'
  readonly limits: AccountLimits
  /** The engine's number for it. */
  number = 0
  /** How many events of the last batch were its own. */
  share = 0
  readonly #settings: EngineSettings
  #engine: NativeEngine | undefined
  /** Connections, attempts and sockets that the engine has. */
  #live = 0
  /** Attempts to connect. */
  #attempts = 0

  constructor(settings: EngineSettings, limits: AccountLimits) {
    super()
    this.#settings = settings
    this.limits = limits
  }

  get info(): TransportInfo | undefined {
    const info = this.metrics.engine === undefined ? undefined : this.link.info()
    return info === undefined ? undefined : transportInfo(info)
  }

  get iteration(): number {
    return this.#engine?.stats[Stat.iteration] ?? 0
  }

  get engine(): NativeEngine {
    return this.#engine as NativeEngine
  }

  get link(): Link {
    return this.engine.link
  }

  flush(): void {
    if (!this.closing) this.#engine?.link.flush()
  }

  reuse(): void {
    if (this.#engine === undefined || this.closing) return
    this.#engine.keeps(this, false)
    this.#engine.link.flush()
  }

  /** The engine has one more of its sockets. */
  entered(socket: S | EngineSocket): void {
    this.engine.enter(socket)
    this.#live++
  }

  /** The engine has closed one. */
  left(id: number): void {
    this.engine.remove(id)
    // When the batch has been read.
    if (--this.#live === 0 && this.closing) this.schedule()
  }

  /** An attempt begins, or is over. Whoever is being connected to keeps the process alive in any case. */
  attempts(change: 1 | -1): void {
    this.#attempts += change
    this.setRef(this.isRef)
  }

  /**
   * In a batch. Returns whether it is to be called again, after ticks and promises: the sink says so, or throws.
   *
   * @param again this is such a call
   */
  deliverNow(again: boolean): boolean {
    if (this.closing) this.endIfEmpty()
    const result = this.deliver(again)
    const more = result === 'again'
    if (!this.closing && !more) this.engine.keeps(this, result === false)
    return more
  }

  /** The same where it is not the engine that has called. */
  deliverLater(again = false): void {
    // Also if it throws.
    let more = true
    try {
      more = this.deliverNow(again)
    } finally {
      if (more) setImmediate(() => { this.deliverLater(true) })
    }
  }

  beginShare(): void {
    this.share = this.events.length
  }

  protected override isEmpty(): boolean {
    return this.#live === 0 && super.isEmpty()
  }

  protected start(): void {
    const key = JSON.stringify(Object.entries(this.#settings).sort())
    const engine = engines.get(key) ?? new NativeEngine(key, this.#settings)
    engines.set(key, engine)
    this.#engine = engine
    this.number = engine.join(this)
    this.metrics.engine = engine
  }

  protected end(ended: () => void): void {
    this.metrics.engine = undefined
    this.engine.leave(this, ended)
  }

  protected setRef(on: boolean): void {
    this.#engine?.setRef(this, on || this.#attempts > 0)
  }

  protected schedule(): void {
    this.engine.schedule(this)
  }
}

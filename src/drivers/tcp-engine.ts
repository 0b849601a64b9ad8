/**
 * What an operator holds of a TCP driver: its counters, and what it runs on.
 *
 * Owns the handle that outlives the transports, of which a driver opens a new one whenever it has a
 * first socket again. Invariant: what a closed transport had counted stays in the sum.
 */
import { metricsSum, type TransportMetrics } from '../transport/seam/metrics.js'
import type { SocketAddress, Transport, TransportInfo } from '../transport/seam/transport.js'
import {
  checkShutdownOptions, ShuttingDown, type ShutdownOptions, type ShutdownReport,
} from '../vm/shutdown.js'
import type { Drain } from './tcp-drain.js'
import type { FdListener, TcpListener, UnixListener } from './tcp-records.js'

/** A listener of a driver's. */
export interface ListeningSocket {
  /** As it is called in topics. */
  readonly local: TcpListener | UnixListener | FdListener
  /** Where it listens. */
  readonly address: SocketAddress
  /** The kernel's number, which stays the driver's; undefined on the node transport. */
  readonly descriptor: number | undefined
  /** Another process has it, too: the file of a Unix socket stays when the driver closes it. */
  handedOver(): void
}

/** A handle on what is below one or more TCP drivers; made by `tcpEngine`, given as option `engine`. */
export interface TcpEngine {
  /**
   * What was counted since the driver was started, over all of its sockets, as plain data; with several
   * drivers, their sum. All zero before the first socket.
   */
  metrics(): TransportMetrics
  /** What the engine runs on; `undefined` while there is no socket, and on the node transport. */
  info(): TransportInfo | undefined
  /**
   * Ends what the drivers do: their listeners are closed for good, at once; conversations may end by
   * themselves; those that are left after `drainMs` are aborted (the peer gets a reset), and their absence
   * has the reason ECONNABORTED. The VM goes on. Idempotent: a later call can bring the end nearer.
   *
   * @returns what was done, when no socket is left
   * @throws TypeError or RangeError when an option is wrong
   */
  shutdown(options?: Pick<ShutdownOptions, 'drainMs'>): Promise<ShutdownReport>
  /** The drivers' listeners that are open now, for `handOff`. */
  listening(): readonly ListeningSocket[]
  /** `shutdown()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
  /** The drivers' sockets, those to come too, keep the process alive: as they do unless told otherwise. */
  ref(): void
  /** They do not: the process ends when only they are left. */
  unref(): void
}

/**
 * Makes a handle to give to `tcp` or `tcpBare`: `tcpBare({ engine })`. Costs nothing while it is not
 * asked.
 */
export function tcpEngine(): TcpEngine {
  return new Engine()
}

/** A driver's. */
interface Listeners {
  openSockets(): ListeningSocket[]
}

/** Something that keeps the process alive, or doesn't. */
interface Refable {
  ref(): void
  unref(): void
}

/** @internal */
export function setRef(on: boolean, ...what: readonly Refable[]): void {
  for (const one of what) {
    if (on) one.ref()
    else one.unref()
  }
}

/** @internal */
export class Engine implements TcpEngine {
  readonly #open = new Map<Transport, Refable>()
  readonly #drains = new Map<Transport, Drain>()
  readonly #listeners = new Map<Transport, Listeners>()
  #shutdown: ShuttingDown | undefined
  #down: Promise<ShutdownReport> | undefined
  #empty: () => void = () => undefined
  /** As told last; `undefined`: by the driver's option. */
  #ref: boolean | undefined
  #closed: TransportMetrics | undefined

  metrics(): TransportMetrics {
    const before = this.#closed === undefined ? [] : [this.#closed]
    return metricsSum([...before, ...[...this.#open.keys()].map((transport) => transport.metrics)])
  }

  info(): TransportInfo | undefined {
    for (const { info } of this.#open.keys()) if (info !== undefined) return info
    return undefined
  }

  shutdown(options: Pick<ShutdownOptions, 'drainMs'> = {}): Promise<ShutdownReport> {
    checkShutdownOptions('shutdown', options)
    const shutdown = (this.#shutdown ??= new ShuttingDown(() => undefined))
    this.#down ??= new Promise((resolve) => {
      this.#empty = () => { resolve(shutdown.over()) }
      for (const drain of this.#drains.values()) drain.begin(shutdown)
      if (this.#open.size === 0) this.#empty()
    })
    if (this.#open.size > 0) shutdown.within(options.drainMs)
    return this.#down
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown()
  }

  ref(): void {
    this.#setRef(true)
  }

  unref(): void {
    this.#setRef(false)
  }

  /** A driver opened a transport, as part of an event source. */
  opened(transport: Transport, sink: Refable, drain: Drain, listeners: Listeners): void {
    this.#listeners.set(transport, listeners)
    this.#open.set(transport, sink)
    this.#drains.set(transport, drain)
    if (this.#shutdown !== undefined) drain.begin(this.#shutdown)
    if (this.#ref !== undefined) setRef(this.#ref, transport, sink)
  }

  /** And it is closed. */
  closed(transport: Transport): void {
    this.#open.delete(transport)
    this.#drains.delete(transport)
    this.#listeners.delete(transport)
    if (this.#open.size === 0) this.#empty()
    const before = this.#closed === undefined ? [] : [this.#closed]
    this.#closed = metricsSum([...before, transport.metrics])
  }

  listening(): ListeningSocket[] {
    return [...this.#listeners.values()].flatMap((listeners) => listeners.openSockets())
  }

  #setRef(on: boolean): void {
    this.#ref = on
    for (const [transport, sink] of this.#open) setRef(on, transport, sink)
  }
}

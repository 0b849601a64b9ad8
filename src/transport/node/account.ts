/**
 * What the transports over Node's own modules have in common, and what the connections of one have together:
 * writes are held back until the end of a batch, and what is queued has limits.
 *
 * Invariant: `queuedTotal` is the sum of what each connection has counted.
 */
import { clearInterval, performance, setImmediate, setInterval } from '../../support/real-time.js'
import { flushAtExit } from '../seam/at-exit.js'
import { publishEvents } from '../seam/diagnostics.js'
import { Counts } from '../seam/metrics.js'
import { Stat } from '../seam/stats.js'
import { queueLimits, type QueueLimits } from '../seam/queue-limits.js'
import { buffersCheck, defaultBuffers } from '../seam/buffers-option.js'
import { TransportBase } from '../seam/transport-base.js'
import { checkedBusyPoll, CLOSE_TIMEOUT, sleepInCheck } from '../seam/transport-options.js'
import type { SocketError, TransportEvent, TransportOptions } from '../seam/transport.js'

/** So many bytes in one turn are handed over before its end, so that the limits hold within it, too. */
const PENDING_MAX = 4 * 1024 * 1024
/** The longest delay that a Node timer takes. */
const LONGEST_DELAY = 0x7fffffff

/** Each of Node's sockets keeps the process alive by itself. */
interface NodeSocket {
  close(): void
  setRef(on: boolean): void
}

export abstract class NodeBase<
  E extends { readonly error: SocketError | undefined }, S extends NodeSocket, M extends Counts,
> extends TransportBase<E, S, M> {
  readonly name = 'node'
  readonly info = undefined
  #keepAlive: NodeJS.Timeout | undefined

  protected start(): void {
    this.#keepAlive = setInterval(() => undefined, LONGEST_DELAY)
  }

  protected setRef(on: boolean): void {
    if (on) this.#keepAlive?.ref()
    else this.#keepAlive?.unref()
    for (const socket of this.sockets) socket.setRef(on)
  }

  /** The check phase comes right after all sockets were polled. */
  protected schedule(): void {
    setImmediate(this.#deliver)
  }

  protected end(ended: () => void): void {
    clearInterval(this.#keepAlive)
    ended()
  }

  readonly #deliver = (): void => {
    const start = performance.now()
    try {
      this.deliver()
    } finally {
      this.metrics.stats[Stat.jsTime] += (performance.now() - start) * 1e6
    }
  }
}

/** A connection's part in what is queued. */
interface Queue extends NodeSocket {
  /** Bytes that it has in `queuedTotal`. */
  readonly counted: number
  uncork(): void
  /** Ends it: too much is queued. */
  endQueue(): void
  /** Input that was held back may come again. */
  letGo(): void
}

export abstract class NodeAccount<S extends NodeSocket> extends NodeBase<TransportEvent, S, Counts> {
  readonly metrics = new Counts(false)
  readonly closeTimeout: number
  readonly limits: QueueLimits
  /** Whether each piece of what comes is to have an ArrayBuffer of its own. */
  readonly isolates: boolean
  /** Bytes that wait to be sent, on all connections. */
  queuedTotal = 0
  /** Too many wait: a connection that has input is not to be read from. */
  inputHeld = false
  readonly #heldBack = new Set<Queue>()
  #corked: Queue[] = []
  #pending = 0
  #flushScheduled = false
  #delivering = false
  #forgetExit: (() => void) | undefined

  constructor(options: TransportOptions) {
    super()
    this.closeTimeout = options.closeTimeout ?? CLOSE_TIMEOUT
    this.limits = queueLimits('nodeTransport', options)
    checkedBusyPoll('nodeTransport', options.busyPoll)
    if (options.sleepIn !== undefined) sleepInCheck('nodeTransport', 'sleepIn', options.sleepIn)
    const { buffers = defaultBuffers() } = options
    buffersCheck('nodeTransport', 'buffers', buffers)
    this.isolates = buffers === 'isolated'
  }

  /** Its writes are held back: `uncork` is called at the end of the batch. */
  corked(connection: Queue): void {
    this.#corked.push(connection)
    if (this.#delivering || this.#flushScheduled) return
    this.#flushScheduled = true
    process.nextTick(this.#flush)
  }

  /** So many bytes were written. */
  wrote(bytes: number): void {
    this.#pending += bytes
    if (this.#pending >= PENDING_MAX) this.#flush()
  }

  /** Something arrived although too much is queued: `letGo` is called later. */
  holdBack(connection: Queue): void {
    this.#heldBack.add(connection)
  }

  /** A connection is gone, with all of its descriptors. */
  gone(connection: S & Queue): void {
    this.#heldBack.delete(connection)
    this.forget(connection)
  }

  /** `queuedTotal` has changed. */
  checkTotal(): void {
    const { total, pauses } = this.limits
    if (this.queuedTotal > total) {
      if (pauses) this.inputHeld = true
      else this.#endLongestQueues(total)
    } else if (this.inputHeld && this.queuedTotal <= total / 2) {
      this.inputHeld = false
      for (const connection of this.#heldBack) connection.letGo()
      this.#heldBack.clear()
    }
  }

  protected abstract queues(): Queue[]

  protected override start(): void {
    super.start()
    this.#forgetExit = flushAtExit(this.#flush)
  }

  protected override end(ended: () => void): void {
    this.#forgetExit?.()
    super.end(ended)
  }

  protected override deliver(): void {
    this.#delivering = true
    try {
      super.deliver()
    } finally {
      this.#delivering = false
      this.#flush()
    }
  }

  protected publish(events: readonly TransportEvent[]): void {
    publishEvents(this.name, events)
  }

  #endLongestQueues(total: number): void {
    const queues = this.queues().sort((a, b) => b.counted - a.counted)
    for (const connection of queues) {
      if (this.queuedTotal <= total) return
      connection.endQueue()
    }
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false
    this.#pending = 0
    const corked = this.#corked
    if (corked.length === 0) return
    this.#corked = []
    for (const connection of corked) connection.uncork()
    this.checkTotal()
  }
}

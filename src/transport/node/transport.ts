/**
 * The fallback transport: the transport seam over `node:net`, for platforms without the addon.
 *
 * Owns the batches; connection.ts translates from streams to events. Errors are Node's own, passed
 * on untouched.
 * Two limits come from libuv: a reset that arrives together with data is reported as an end, and from
 * Node 24 on a reset ends a paused connection at once, with what was sent to it and not read.
 */
import type { Socket } from 'node:net'
import { AsyncResource } from 'node:async_hooks'
import { clearInterval, performance, setImmediate, setInterval } from '../../support/real-time.js'
import { flushAtExit } from '../seam/at-exit.js'
import { publishEvents } from '../seam/diagnostics.js'
import { Counts } from '../seam/metrics.js'
import { Stat } from '../seam/stats.js'
import { NodeConnection, type NodeStation } from './connection.js'
import { NodeListener, type NodeListenerHost } from './listener.js'
import { queueLimits, type QueueLimits } from '../seam/queue-limits.js'
import { buffersCheck, defaultBuffers } from '../seam/buffers-option.js'
import { checkedBusyPoll } from '../seam/transport-options.js'
import { checkConnectOptions, checkListenOptions } from '../seam/socket-options.js'
import type {
  ConnectOptions, ListenOptions, Transport, TransportConnection, TransportEvent,
  TransportListener, TransportOptions, TransportSink,
} from '../seam/transport.js'

const DEFAULT_CLOSE_TIMEOUT = 10_000
/** So many bytes in one turn are handed over before its end, so that the limits hold within it, too. */
const PENDING_MAX = 4 * 1024 * 1024
/** The longest delay that a Node timer takes. */
const LONGEST_DELAY = 0x7fffffff

/** A transport on `node:net`. It passes the same tests as the native one. */
export function nodeTransport(options: TransportOptions = {}): Transport {
  return new NodeTransport(options)
}

class NodeTransport implements Transport, NodeListenerHost, NodeStation {
  readonly name = 'node'
  readonly metrics = new Counts(false)
  readonly closeTimeout: number
  readonly limits: QueueLimits
  readonly isolates: boolean
  queuedTotal = 0
  inputHeld = false
  readonly #heldBack = new Set<NodeConnection>()
  readonly #connections = new Set<NodeConnection>()
  readonly #listeners = new Set<NodeListener>()
  /** Whether it keeps the process alive. */
  isRef = true
  #sink: TransportSink | undefined
  /** The async context in which it was opened. */
  #context: AsyncResource | undefined
  #keepAlive: NodeJS.Timeout | undefined
  #forgetExit: (() => void) | undefined
  #events: TransportEvent[] = []
  #corked: NodeConnection[] = []
  #pending = 0
  #flushScheduled = false
  #delivering = false
  #closing: Promise<void> | undefined
  #onEmpty: (() => void) | undefined

  constructor(options: TransportOptions) {
    this.closeTimeout = options.closeTimeout ?? DEFAULT_CLOSE_TIMEOUT
    this.limits = queueLimits('nodeTransport', options)
    checkedBusyPoll('nodeTransport', options.busyPoll)
    const { buffers = defaultBuffers() } = options
    buffersCheck('nodeTransport', 'buffers', buffers)
    this.isolates = buffers === 'isolated'
  }

  open(sink: TransportSink): void {
    if (this.#sink !== undefined) throw new Error('transport: open must be called once')
    this.#sink = sink
    this.metrics.opened()
    this.#forgetExit = flushAtExit(this.#flush)
    this.#context = new AsyncResource('MARKETPLACE')
    this.#keepAlive = setInterval(() => undefined, LONGEST_DELAY)
    if (!this.isRef) this.unref()
  }

  ref(): void {
    this.isRef = true
    this.#keepAlive?.ref()
    for (const socket of [...this.#listeners, ...this.#connections]) socket.setRef(true)
  }

  unref(): void {
    this.isRef = false
    this.#keepAlive?.unref()
    for (const socket of [...this.#listeners, ...this.#connections]) socket.setRef(false)
  }

  listen(options: ListenOptions): TransportListener {
    this.#assertOpen('listen')
    checkListenOptions(options)
    const listener = new NodeListener(this, options)
    this.#listeners.add(listener)
    if (!this.isRef) listener.setRef(false)
    listener.start()
    return listener
  }

  connect(options: ConnectOptions): TransportConnection {
    this.#assertOpen('connect')
    checkConnectOptions(options)
    const connection = new NodeConnection(this, undefined)
    this.#connections.add(connection)
    connection.connect(options)
    return connection
  }

  flush(): void {
    // libuv does, on every write.
  }

  connections(): TransportConnection[] {
    return [...this.#connections]
  }

  reuse(): void {
    // Every buffer is the program's for as long as it keeps it.
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      publishEvents(this.name, this.#events)
      this.#events = []
      for (const listener of this.#listeners) listener.close()
      for (const connection of this.#connections) connection.close()
      this.#onEmpty = () => {
        clearInterval(this.#keepAlive)
        this.#forgetExit?.()
        this.metrics.closed()
        resolve()
      }
      if (this.#connections.size === 0) this.#onEmpty()
    })
    return this.#closing
  }

  /** Queues an event for this turn's batch. The check phase comes right after all sockets were polled. */
  report(event: TransportEvent): void {
    if (this.#closing !== undefined) {
      publishEvents(this.name, [event])
      return
    }
    if (event.error !== undefined) this.metrics.error(event.error)
    if (this.#events.push(event) === 1) setImmediate(this.#deliver)
  }

  accepted(socket: Socket, listener: NodeListener): void {
    const connection = new NodeConnection(this, listener)
    this.#connections.add(connection)
    connection.accept(socket)
  }

  forget(connection: NodeConnection): void {
    this.#connections.delete(connection)
    if (connection.listener !== undefined) connection.listener.open -= 1
    this.#heldBack.delete(connection)
    if (this.#connections.size === 0) this.#onEmpty?.()
  }

  forgetListener(listener: NodeListener): void {
    this.#listeners.delete(listener)
  }

  corked(connection: NodeConnection): void {
    this.#corked.push(connection)
    if (this.#delivering || this.#flushScheduled) return
    this.#flushScheduled = true
    process.nextTick(this.#flush)
  }

  wrote(bytes: number): void {
    this.#pending += bytes
    if (this.#pending >= PENDING_MAX) this.#flush()
  }

  holdBack(connection: NodeConnection): void {
    this.#heldBack.add(connection)
  }

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

  #endLongestQueues(total: number): void {
    const queues = [...this.#connections].sort((a, b) => b.counted - a.counted)
    for (const connection of queues) {
      if (this.queuedTotal <= total) return
      connection.endQueue()
    }
  }

  readonly #deliver = (): void => {
    const events = this.#events
    const sink = this.#sink
    if (events.length === 0 || sink === undefined) return
    this.#events = []
    publishEvents(this.name, events)
    this.metrics.batch(events.length)
    this.#delivering = true
    const start = performance.now()
    try {
      // Not in the context of the socket that happened to be the first to report something.
      this.#context?.runInAsyncScope(sink, undefined, events)
    } finally {
      this.metrics.stats[Stat.jsTime] += (performance.now() - start) * 1e6
      this.#delivering = false
      this.#flush()
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

  #assertOpen(call: string): void {
    if (this.#sink === undefined) throw new Error(`transport: ${call} before open`)
    if (this.#closing !== undefined) throw new Error(`transport: ${call} after close`)
  }
}

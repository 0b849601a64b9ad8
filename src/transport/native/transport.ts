/**
 * The native transport: the transport seam over the C++ engine.
 *
 * Owns the tables from the engine's ids to objects, and the translation of records into events.
 * JavaScript is entered once per loop turn with all that happened; what the program does in reply is
 * executed when it returns.
 *
 * Invariants: the program runs only after every record of the batch has been read; an id is looked
 * up, never trusted, as its connection may have ended in the same turn.
 */
import { argumentError, rangeError, socketError } from '../../support/errors.js'
import { setImmediate } from '../../support/real-time.js'
import { publishEvents } from '../seam/diagnostics.js'
import { Counts } from '../seam/metrics.js'
import { Stat } from '../seam/stats.js'
import { addonOrReason } from './addon.js'
import { socketAddressIn } from './address.js'
import { backendNumber, transportInfo } from './backend.js'
import { checkedBusyPoll } from '../seam/transport-options.js'
import { closeError } from './close-error.js'
import {
  AcceptedRecord, AcceptFailedRecord, ClosedRecord, Command, DataRecord, DroppedRecord, INDEX_MASK, Record,
  RECORD_WORDS, UNIX_PORT, WrittenRecord,
} from './layout.js'
import { Link, type Addon, type EngineSettings } from './link.js'
import { startListener, type ListenStation } from './listen.js'
import { socketWords } from './options.js'
import { slabOptions } from './slabs.js'
import {
  NativeConnection, NativeDropEvent, NativeEvent, NativeListener, type Station,
} from './socket.js'
import { queueLimits, type QueueLimits } from '../seam/queue-limits.js'
import { checkConnectOptions, checkListenOptions } from '../seam/socket-options.js'
import type {
  ConnectOptions, ListenOptions, SocketAddress, SocketError, Transport, TransportConnection, TransportInfo,
  TransportListener, TransportOptions, TransportSink,
} from '../seam/transport.js'

export { loadNative } from './addon.js'

const CLOSE_TIMEOUT = 10_000

/** A transport over the native engine. Throws if it can't be loaded; `loadNative` says so before. */
export function nativeTransport(options: TransportOptions = {}): Transport {
  const { closeTimeout = CLOSE_TIMEOUT } = options
  if (typeof closeTimeout !== 'number') {
    throw argumentError('nativeTransport', 'closeTimeout', 'a number', closeTimeout)
  }
  if (!(closeTimeout >= 0 && closeTimeout <= 0x7fffffff)) {
    throw rangeError('nativeTransport', 'closeTimeout', 'from 0 to 2147483647 milliseconds', closeTimeout)
  }
  const limits = queueLimits('nativeTransport', options)
  const busyPoll = checkedBusyPoll('nativeTransport', options.busyPoll)
  const backend = backendNumber(options.backend)
  const slabs = slabOptions('nativeTransport', options)
  const loaded = addonOrReason()
  if (!loaded.ok) throw new Error(`the native transport can't be loaded: ${loaded.reason}`)
  const settings = { backend, closeTimeout: Math.ceil(closeTimeout), busyPoll, ...limits, ...slabs }
  return new NativeTransport(loaded.addon, settings)
}

class NativeTransport implements Transport, Station, ListenStation {
  readonly name = 'native'
  readonly metrics = new Counts(true)
  readonly #addon: Addon
  readonly #settings: EngineSettings
  readonly #connections: (NativeConnection | undefined)[] = []
  readonly #listeners = new Map<number, NativeListener>()
  /** Outbound connections that are not established. */
  readonly #dials = new Set<NativeConnection>()
  /** Their attempts, by the engine's id. */
  readonly #attempts = new Map<number, NativeConnection>()
  #link: Link | undefined
  #sink: TransportSink | undefined
  #later: NativeEvent[] = []
  /** Connections and attempts that the engine has. */
  #live = 0
  #ref = true
  /** The sink still looks at borrowed memory. */
  #kept = false
  /** As the addon was told. */
  #keepsAlive = true
  #closing: Promise<void> | undefined
  #closed: () => void = () => undefined

  constructor(addon: Addon, settings: EngineSettings) {
    this.#addon = addon
    this.#settings = settings
  }

  get closeTimeout(): number {
    return this.#settings.closeTimeout
  }

  get limits(): QueueLimits {
    return this.#settings
  }

  get info(): TransportInfo | undefined {
    const info = this.#link?.info()
    return info === undefined ? undefined : transportInfo(info)
  }

  get iteration(): number {
    return this.metrics.stats[Stat.iteration]
  }

  get link(): Link {
    return this.#link as Link
  }

  open(sink: TransportSink): void {
    if (this.#sink !== undefined) throw new Error('transport: open must be called once')
    this.#assertNotClosed('open')
    this.#sink = sink
    this.#link = new Link(
      this.#addon,
      this.#settings,
      this.metrics.stats,
      (count) => (count === 0 ? this.#again() : this.#batch(count)),
      () => { this.#closed() },
    )
    this.metrics.slabs = this.#link.slabs
    this.metrics.opened()
    this.#link.setRef(this.#keepsAlive)
  }

  ref(): void {
    this.#setRef(true)
  }

  unref(): void {
    this.#setRef(false)
  }

  listen(options: ListenOptions): TransportListener {
    this.#assertOpen('listen')
    checkListenOptions(options)
    const listener = new NativeListener(this, options)
    startListener(this, listener, options)
    return listener
  }

  connect(options: ConnectOptions): TransportConnection {
    this.#assertOpen('connect')
    checkConnectOptions(options)
    const connection = new NativeConnection(this, undefined)
    this.#dials.add(connection)
    connection.start(options)
    return connection
  }

  flush(): void {
    if (this.#closing === undefined) this.#link?.flush()
  }

  connections(): NativeConnection[] {
    return [...this.#dials, ...this.#connections.filter((connection) => connection !== undefined)]
  }

  reuse(): void {
    if (this.#link === undefined || this.#closing !== undefined) return
    this.#kept = false
    this.#link.viewsOver()
    this.#link.flush()
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      const link = this.#link
      if (link === undefined) {
        resolve()
        return
      }
      this.#closed = () => {
        this.metrics.closed()
        resolve()
      }
      this.#later = []
      for (const listener of this.#listeners.values()) listener.close()
      for (const connection of this.#dials) connection.close()
      for (const connection of this.#connections) connection?.close()
      this.#closeIfEmpty()
    })
    return this.#closing
  }

  later(event: NativeEvent): void {
    if (this.#closing !== undefined) return
    if (event.error !== undefined) this.metrics.error(event.error)
    if (this.#later.push(event) === 1) process.nextTick(() => { this.#untilDone(() => this.#report([])) })
  }

  get closing(): boolean {
    return this.#closing !== undefined
  }

  listening(listener: NativeListener, id: number): void {
    this.#listeners.set(id, listener)
    listener.opened(id)
    listener.learnAddress()
    this.later(new NativeEvent('listening', undefined, listener, undefined, 0, undefined))
  }

  listenFailed(listener: NativeListener, error: SocketError): void {
    listener.failure = error
    this.later(new NativeEvent('listen-failed', undefined, listener, undefined, 0, error))
  }

  attempt(connection: NativeConnection, to: SocketAddress, options: ConnectOptions): number {
    const { localAddress, localPort = 0 } = options
    const words = socketWords(options)
    if (to.family === 'unix') return this.#began(connection, this.link.connect(to.address, UNIX_PORT, words))
    const family = to.family === 'IPv6' ? '::' : '0.0.0.0'
    const local = localAddress ?? (localPort === 0 ? undefined : family)
    return this.#began(connection, this.link.connect(to.address, to.port, words, local, localPort))
  }

  #began(connection: NativeConnection, id: number): number {
    if (id > 0) {
      this.#attempts.set(id, connection)
      this.#live++
      if (this.#attempts.size === 1) this.#updateRef()
    }
    return id
  }

  /** `close`, not `abort`: one that is established by now gets an orderly end. */
  giveUp(id: number): void {
    this.#attemptOver(id)
    this.link.command(Command.close, id)
  }

  dialOver(connection: NativeConnection): void {
    this.#dials.delete(connection)
    if (this.#closing !== undefined) this.#closeIfEmpty()
  }

  listenerClosed(listener: NativeListener): void {
    if (listener.id === 0) return
    this.#listeners.delete(listener.id)
    this.link.closeListener(listener.id)
  }

  #setRef(on: boolean): void {
    this.#ref = on
    this.#updateRef()
  }

  /** Whoever is being connected to keeps the process alive in any case, as a request of libuv's does. */
  #updateRef(): void {
    const on = this.#ref || this.#attempts.size > 0
    if (on === this.#keepsAlive) return
    this.#keepsAlive = on
    this.#link?.setRef(on)
  }

  #closeIfEmpty(): void {
    if (this.#live === 0 && this.#dials.size === 0) this.link.close()
  }

  #enter(connection: NativeConnection, id: number): void {
    const index = id & INDEX_MASK
    connection.id = id
    this.#connections[index] = connection
    this.link.reserveGauge(index)
  }

  /** The connection of an id that is still current. */
  #find(id: number): NativeConnection | undefined {
    const connection = this.#connections[id & INDEX_MASK]
    return connection !== undefined && connection.id === id ? connection : undefined
  }

  /** One loop turn's records. Returns whether the sink wants to be called again. */
  #batch(count: number): boolean {
    const { records } = this.link
    const events: NativeEvent[] = []
    for (let i = 0, at = 0; i < count; i++, at += RECORD_WORDS) {
      const event = records[at] === Record.data ? this.#data(records, at) : this.#other(records, at)
      if (event !== undefined) events.push(event)
    }
    // The program has copies only: whatever it does with them, the slabs are free.
    if (this.#settings.isolates) this.link.viewsOver()
    try {
      return this.#report(events)
    } finally {
      if (this.#kept) this.link.viewsKept()
      if (this.#closing !== undefined) this.#closeIfEmpty()
    }
  }

  #data(records: Int32Array, at: number): NativeEvent | undefined {
    const connection = this.#find(records[at + DataRecord.id])
    if (connection === undefined || this.#closing !== undefined) return undefined
    const length = records[at + DataRecord.length]
    const { metrics } = this
    metrics.bytesIn += length
    metrics.chunksIn += 1
    const data = this.link.slabs.view(records[at + DataRecord.slab], records[at + DataRecord.offset], length)
    return new NativeEvent('data', connection, undefined, data, 0, undefined)
  }

  #other(records: Int32Array, at: number): NativeEvent | undefined {
    const id = records[at + 1]
    switch (records[at]) {
      case Record.accepted:
        return this.#accepted(records, at)
      case Record.acceptFailed: {
        const listener = this.#listeners.get(id)
        if (listener === undefined) return undefined
        const { address, port } = listener.address ?? {}
        const error = socketError(records[at + AcceptFailedRecord.error], 'accept', address, port)
        this.metrics.error(error)
        return new NativeEvent('accept-failed', undefined, listener, undefined, 0, error)
      }
      case Record.dropped:
        return this.#dropped(this.#listeners.get(id), records, at)
      case Record.connected:
        return this.#connected(id)
      case Record.end:
        return this.#connectionEvent('end', id, 0)
      case Record.written:
        return this.#connectionEvent('written', id, records[at + WrittenRecord.bytes])
      case Record.closed:
        return this.#ended(id, records, at)
      case Record.slabRetired:
        this.link.slabs.retired(id)
        return undefined
      case Record.slabsShort:
        this.link.slabs.short(id)
        return undefined
    }
    return undefined
  }

  #connectionEvent(kind: 'end' | 'written', id: number, bytes: number): NativeEvent | undefined {
    const connection = this.#find(id)
    if (connection === undefined) return undefined
    return new NativeEvent(kind, connection, undefined, undefined, bytes, undefined)
  }

  #accepted(records: Int32Array, at: number): NativeEvent | undefined {
    const connection = new NativeConnection(this, this.#listeners.get(records[at + AcceptedRecord.listener]))
    connection.accepted(records, at)
    this.#enter(connection, records[at + AcceptedRecord.id])
    this.#live++
    this.metrics.connections += 1
    this.metrics.accepts += 1
    const { listener } = connection
    if (this.#closing !== undefined || listener === undefined) {
      connection.abort()
    } else {
      if (listener.idleTimeout > 0) this.link.idleTimeout(connection.id, listener.idleTimeout)
      if (listener.readTimeout > 0) this.link.inputTimeout(connection.id, listener.readTimeout)
    }
    return new NativeEvent('accepted', connection, undefined, undefined, 0, undefined)
  }

  #dropped(listener: NativeListener | undefined, r: Int32Array, at: number): NativeEvent | undefined {
    const count = r[at + DroppedRecord.count]
    this.metrics.drops += count
    if (listener === undefined) return undefined
    const remote = socketAddressIn(r, at + DroppedRecord.peer)
    return new NativeDropEvent(listener, { count, remote })
  }

  #connected(id: number): NativeEvent | undefined {
    const connection = this.#attempts.get(id)
    // It was given up.
    if (connection?.dial === undefined) return undefined
    const closing = connection.dial.closing
    this.#attemptOver(id)
    this.#dials.delete(connection)
    this.#enter(connection, id)
    this.metrics.connections += 1
    this.metrics.connects += 1
    connection.connected(id)
    return closing ? undefined : new NativeEvent('connected', connection, undefined, undefined, 0, undefined)
  }

  #ended(id: number, records: Int32Array, at: number): NativeEvent | undefined {
    const errno = records[at + ClosedRecord.error]
    this.#live--
    const connection = this.#find(id)
    if (connection === undefined) {
      this.#attemptEnded(id, errno)
      return undefined
    }
    this.#connections[id & INDEX_MASK] = undefined
    this.metrics.connections -= 1
    connection.ended()
    const error = errno === 0 ? undefined : closeError(this.limits, records, at, connection.remote)
    if (error !== undefined) this.metrics.error(error)
    return new NativeEvent('closed', connection, undefined, undefined, 0, error)
  }

  #attemptEnded(id: number, errno: number): void {
    const connection = this.#attempts.get(id)
    if (connection === undefined) return
    this.#attemptOver(id)
    connection.dial?.attemptFailed(id, errno)
  }

  #attemptOver(id: number): void {
    if (this.#attempts.delete(id) && this.#attempts.size === 0) this.#updateRef()
  }

  /**
   * Calls the sink with what waits to be reported, then with these. Returns whether it is to be called again.
   */
  #report(events: NativeEvent[]): boolean {
    if (this.#later.length > 0) {
      events = [...this.#laterEvents(), ...events]
      this.#later = []
    }
    publishEvents(this.name, events)
    if (events.length === 0 || this.#sink === undefined || this.#closing !== undefined) return false
    this.metrics.batch(events.length)
    return this.#call(events)
  }

  /** The sink has kept something back. */
  #again(): boolean {
    return this.#sink !== undefined && this.#closing === undefined && this.#call([])
  }

  #call(events: NativeEvent[]): boolean {
    const result = this.#sink?.(events)
    if (result === 'again') return true
    this.#kept = result === false
    if (!this.#kept) this.#link?.viewsOver()
    return false
  }

  /** Calls the sink again where it is not the engine that has called. */
  #untilDone(call: () => boolean): void {
    // Also if it throws.
    let again = true
    try {
      again = call()
    } finally {
      if (again) setImmediate(() => { this.#untilDone(() => this.#again()) })
    }
  }

  #laterEvents(): NativeEvent[] {
    return this.#later.filter(({ listener }) => listener === undefined || !listener.closed)
  }

  #assertOpen(call: string): void {
    if (this.#sink === undefined) throw new Error(`transport: ${call} before open`)
    this.#assertNotClosed(call)
  }

  #assertNotClosed(call: string): void {
    if (this.#closing !== undefined) throw new Error(`transport: ${call} after close`)
  }
}

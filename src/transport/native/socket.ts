/**
 * The objects that the native transport hands out: listeners, connections, events.
 *
 * Invariants: a connection has an engine's id exactly while it is established; a call on one that
 * has none is ignored or kept by its dial; every object has all its fields from the start, so that
 * code that meets many of them stays fast.
 */
import { constants } from 'node:os'
import { connectError, socketError } from '../../support/errors.js'
import { socketAddress, socketAddressIn, unixAddress } from './address.js'
import { closeError } from './close-error.js'
import { Dial } from '../seam/dial.js'
import type { Counts } from '../seam/metrics.js'
import { type EngineSocket, NativeAccount } from './engine.js'
import {
  AcceptedRecord, AcceptFailedRecord, BIND_FAILED, ClosedRecord, Command, DroppedRecord, FRAME_WORDS, FrameKind,
  FramesRecord, FrameWord, INDEX_MASK, Record, UNIX_PORT, WrittenRecord,
} from './layout.js'
import type { Link } from './link.js'
import { askSettings, socketWords } from './options.js'
import { overflowError } from '../seam/queue-limits.js'
import type {
  ConnectOptions, Dropped, FrameRun, FramesAsked, ListenOptions, SocketAddress, SocketError, SocketSettings,
  TransportConnection, TransportEvent, TransportEventKind, TransportListener,
} from '../seam/transport.js'

const ENOTCONN = -constants.errno.ENOTCONN
const EBADF = -constants.errno.EBADF
const WORD_MAX = 0x7fffffff
/** Seconds between probes, and how many, where only the time until the first is said: as libuv has them. */
const KEEP_ALIVE_INTERVAL = 1
const KEEP_ALIVE_COUNT = 10

/** The transport of these sockets. In its set are the outbound connections that are not established. */
export abstract class SocketAccount extends NativeAccount<NativeEvent, NativeConnection, Counts> {
  override deliverLater(again = false): void {
    // Nobody waits any more to hear that they listen.
    this.events = this.events.filter(({ listener }) => listener === undefined || !listener.closed)
    super.deliverLater(again)
  }
}

export class NativeEvent implements TransportEvent {
  constructor(
    readonly kind: TransportEventKind,
    readonly connection: NativeConnection | undefined,
    readonly listener: NativeListener | undefined,
    readonly data: Buffer | undefined,
    readonly bytes: number,
    readonly error: SocketError | undefined,
  ) {}
}

/** Another shape, so that the common one stays small. */
export class NativeDropEvent extends NativeEvent {
  constructor(listener: NativeListener, readonly dropped: Dropped) {
    super('dropped', undefined, listener, undefined, 0, undefined)
  }
}

/** Frames: the same. */
class NativeFramesEvent extends NativeEvent {
  constructor(connection: NativeConnection, readonly run: FrameRun) {
    super('frames', connection, undefined, undefined, 0, undefined)
  }
}

class NativeFrameRun implements FrameRun {
  constructor(
    readonly bytes: Uint8Array, readonly start: number, readonly end: number,
    readonly ends: ArrayLike<number> | undefined, readonly generation: number,
  ) {}
}

const NO_ENDS: readonly number[] = []
const NO_DELIMITER = new Uint8Array(0)

/** Of an event without anything else in it. */
function plain(kind: TransportEventKind, connection: NativeConnection, bytes = 0, error?: SocketError): NativeEvent {
  return new NativeEvent(kind, connection, undefined, undefined, bytes, error)
}

function ofListener(kind: TransportEventKind, listener: NativeListener, error?: SocketError): NativeEvent {
  return new NativeEvent(kind, undefined, listener, undefined, 0, error)
}

export class NativeListener implements TransportListener, EngineSocket {
  context: unknown = undefined
  address: SocketAddress | undefined = undefined
  failure: SocketError | undefined = undefined
  /** The engine's; 0 before it listens and after it failed. */
  id = 0
  closed = false
  readonly account: SocketAccount
  /** Of its connections; 0 for none. */
  readonly idleTimeout: number
  readonly readTimeout: number
  /** Of a Unix socket. */
  readonly path: string | undefined
  #paused = false

  constructor(account: SocketAccount, { idleTimeout = 0, readTimeout = 0, path }: ListenOptions) {
    this.account = account
    this.idleTimeout = idleTimeout
    this.readTimeout = readTimeout
    this.path = path
  }

  get settings(): SocketSettings | undefined {
    if (this.id === 0 || this.closed) return undefined
    return askSettings((words) => this.account.link.socketOptions(this.id, words))
  }

  /** Where its connections are bound to, if that is the same for all. */
  get commonAddress(): SocketAddress | undefined {
    const address = this.address
    return address?.address === '::' || address?.address === '0.0.0.0' ? undefined : address
  }

  get descriptor(): number | undefined {
    return this.id === 0 || this.closed ? undefined : this.account.link.descriptor(this.id)
  }

  duplicate(): number {
    return this.id === 0 || this.closed ? EBADF : this.account.link.duplicate(this.id)
  }

  /** The engine has it, as `id`; what was asked for meanwhile is done now. */
  opened(id: number): void {
    this.id = id
    this.account.engine.enter(this)
    if (this.#paused) this.account.link.pauseListener(id, true)
    this.address = this.path === undefined
      ? askAddress((words) => this.account.link.localAddress(id, words))
      : unixAddress(this.path)
    this.account.report(ofListener('listening', this))
  }

  failed(error: SocketError): void {
    this.failure = error
    this.account.report(ofListener('listen-failed', this, error))
  }

  /** It has no bytes. */
  received(): void {}

  happened(records: Int32Array, at: number): void {
    switch (records[at]) {
      case Record.accepted:
        new NativeConnection(this.account, this).accepted(records, at)
        break
      case Record.acceptFailed: {
        const { address, port } = this.address ?? {}
        const error = socketError(records[at + AcceptFailedRecord.error], 'accept', address, port)
        this.account.report(ofListener('accept-failed', this, error))
        break
      }
      case Record.dropped: {
        const count = records[at + DroppedRecord.count]
        const remote = socketAddressIn(records, at + DroppedRecord.peer)
        this.account.metrics.drops += count
        this.account.report(new NativeDropEvent(this, { count, remote }))
      }
    }
  }

  pause(): void {
    this.#pause(true)
  }

  resume(): void {
    this.#pause(false)
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    if (this.id === 0) return
    this.account.engine.remove(this.id)
    this.account.link.closeListener(this.id)
  }

  #pause(paused: boolean): void {
    this.#paused = paused
    if (this.id !== 0 && !this.closed) this.account.link.pauseListener(this.id, paused)
  }
}

/** Of the address that was tried, or of ours. */
function attemptError(errno: number, to: SocketAddress, options: ConnectOptions): SocketError {
  const { localAddress, localPort } = options
  if (errno < -BIND_FAILED) return socketError(errno + BIND_FAILED, 'bind', localAddress, localPort)
  return connectError(errno, to)
}

const addressWords = new Int32Array(5)

/** @internal The address that `ask` writes into the words it is given. */
export function askAddress(ask: (words: Int32Array) => number): SocketAddress | undefined {
  const w = addressWords
  return ask(w) < 0 ? undefined : socketAddress(w[0], w[1], w[2], w[3], w[4])
}

/** An attempt of an outbound connection. */
class Attempt implements EngineSocket {
  /** Until it is over. */
  connection: NativeConnection | undefined

  constructor(readonly id: number, readonly account: SocketAccount, connection: NativeConnection) {
    this.connection = connection
  }

  close(): void {
    this.connection?.close()
  }

  /** `close`, not `abort`: one that is established by now gets an orderly end. */
  giveUp(): void {
    this.#over()
    this.account.link.command(Command.close, this.id)
  }

  /** It has no bytes. */
  received(): void {}

  happened(records: Int32Array, at: number): void {
    const { id, account, connection } = this
    const ended = records[at] === Record.closed
    if (ended) account.left(id)
    // It was given up.
    if (connection?.dial === undefined) return
    this.#over()
    if (ended) connection.dial.attemptFailed(id, records[at + ClosedRecord.error])
    else if (records[at] === Record.connected) connection.connected(id)
  }

  #over(): void {
    if (this.connection === undefined) return
    this.connection = undefined
    this.account.attempts(-1)
  }
}

export class NativeConnection implements TransportConnection, EngineSocket {
  context: unknown = undefined
  readonly listener: NativeListener | undefined
  /** The engine's, while the connection is established; otherwise 0. */
  id = 0
  established = false
  /** Set while the connection is outbound and not established. */
  dial: Dial | undefined = undefined
  readonly account: SocketAccount
  readonly #link: Link
  #outputOver = false
  #closing = false
  #reportWrites = false
  /** Bytes queued in `#epoch` of the link. */
  #pending = 0
  #epoch = 0
  /** The peer's address, if the connection is outbound. */
  #remote: SocketAddress | undefined = undefined
  #local: SocketAddress | undefined = undefined
  /** Otherwise, as the engine gave it: its text costs more than most connections need. */
  #portAndFamily = 0
  #a = 0
  #b = 0
  #c = 0
  #d = 0

  constructor(account: SocketAccount, listener: NativeListener | undefined) {
    this.account = account
    this.#link = account.link
    this.listener = listener
  }

  /** An accepted connection, from its record. */
  accepted(records: Int32Array, at: number): void {
    this.id = records[at + AcceptedRecord.id]
    this.established = true
    const peer = at + AcceptedRecord.peer
    this.#portAndFamily = records[peer]
    this.#a = records[peer + 1]
    this.#b = records[peer + 2]
    this.#c = records[peer + 3]
    this.#d = records[peer + 4]
    const { account, listener } = this
    account.entered(this)
    account.metrics.connections += 1
    account.metrics.accepts += 1
    if (account.closing) this.abort()
    else if (listener !== undefined) this.#limitTime(listener.idleTimeout, listener.readTimeout)
    account.report(plain('accepted', this))
  }

  received(data: Buffer): void {
    const { account } = this
    if (account.closing) return
    account.metrics.bytesIn += data.length
    account.metrics.chunksIn += 1
    account.report(new NativeEvent('data', this, undefined, data, 0, undefined))
  }

  happened(records: Int32Array, at: number): void {
    switch (records[at]) {
      case Record.end:
        this.account.report(plain('end', this))
        break
      case Record.frames:
        this.#framed(records, at)
        break
      case Record.written:
        this.account.report(plain('written', this, records[at + WrittenRecord.bytes]))
        break
      case Record.closed: {
        const { account, remote } = this
        account.left(this.id)
        account.metrics.connections -= 1
        this.#ended()
        const failed = records[at + ClosedRecord.error] !== 0
        const error = failed ? closeError(account.limits, records, at, remote) : undefined
        account.report(plain('closed', this, 0, error))
      }
    }
  }

  #framed(records: Int32Array, at: number): void {
    const { account } = this
    if (account.closing) return
    const { slabs, marks } = this.#link
    const length = records[at + FramesRecord.length]
    const slab = records[at + FramesRecord.slab]
    const count = records[at + FramesRecord.count]
    const first = records[at + FramesRecord.mark]
    const ends = count === 1 ? undefined : count === 0 ? NO_ENDS : marks.slice(first, first + count)
    // Isolated bytes are those of this record and nothing else.
    const bytes = slabs.isolates ? slabs.view(slab, records[at + FramesRecord.offset], length) : slabs.bytes(slab)
    const start = slabs.isolates ? 0 : records[at + FramesRecord.offset]
    const run = new NativeFrameRun(bytes, start, start + length, ends, records[at + FramesRecord.generation])
    account.metrics.bytesIn += length
    account.metrics.chunksIn += 1
    account.report(new NativeFramesEvent(this, run))
  }

  /** An outbound connection begins its life. */
  start(options: ConnectOptions): void {
    const attempts = new Map<number, Attempt>()
    this.dial = new Dial(
      (address) => {
        const id = this.#attempt(address, options)
        if (id <= 0) return attemptError(id, address, options)
        const attempt = new Attempt(id, this.account, this)
        attempts.set(id, attempt)
        this.account.entered(attempt)
        this.account.attempts(1)
        return id
      },
      (id) => { attempts.get(id)?.giveUp() },
      (error) => { this.#dialEnded(error) },
      options,
    )
    this.account.sockets.add(this)
    this.dial.start()
  }

  #attempt(to: SocketAddress, options: ConnectOptions): number {
    const { localAddress, localPort = 0 } = options
    const { account } = this
    const words = socketWords(options)
    if (to.family === 'unix') return this.#link.connect(account.number, to.address, UNIX_PORT, words)
    const any = to.family === 'IPv6' ? '::' : '0.0.0.0'
    const local = localAddress ?? (localPort === 0 ? undefined : any)
    return this.#link.connect(account.number, to.address, to.port, words, local, localPort)
  }

  /** An attempt of its dial succeeded; what was asked for meanwhile is done now. */
  connected(id: number): void {
    const { account } = this
    const dial = this.dial as Dial
    this.dial = undefined
    this.id = id
    account.engine.enter(this)
    account.sockets.delete(this)
    account.metrics.connections += 1
    account.metrics.connects += 1
    this.established = true
    this.#remote = dial.succeeded(id)
    this.#limitTime(dial.idleTimeout, dial.readTimeout)
    if (!dial.expectsInput) this.#link.expectInput(id, false)
    if (this.#reportWrites) this.#command(Command.reportWritesOn)
    if (dial.paused) this.#command(Command.pause)
    for (const data of dial.backlog) this.#write(data, false)
    if (dial.shutdown) this.#command(Command.shutdown)
    if (dial.closing) this.#command(Command.close)
    else account.report(plain('connected', this))
  }

  /** It is gone: the last thing that happens to it. */
  #ended(): void {
    this.id = 0
    this.established = false
    this.#outputOver = true
    this.#closing = true
  }

  #limitTime(idle: number, read: number): void {
    if (idle > 0) this.#link.idleTimeout(this.id, idle)
    if (read > 0) this.#link.inputTimeout(this.id, read)
  }

  get remote(): SocketAddress | undefined {
    if (this.#portAndFamily === 0) return this.#remote
    // Not kept: who needs it more than once keeps it better in another form.
    return socketAddress(this.#portAndFamily, this.#a, this.#b, this.#c, this.#d)
  }

  get peer(): SocketAddress | undefined {
    const isKnown = this.listener !== undefined || this.#remote?.family === 'unix'
    if (isKnown || !this.established) return this.remote
    return askAddress((words) => this.#link.remoteAddress(this.id, words)) ?? this.#remote
  }

  get local(): SocketAddress | undefined {
    if (this.#local === undefined) {
      const attempt = this.dial?.attempt
      // Not kept: another attempt may follow.
      if (attempt !== undefined) return askAddress((words) => this.#link.localAddress(attempt, words))
      this.#local = this.listener?.commonAddress
      if (this.#local === undefined && this.established) {
        this.#local = askAddress((words) => this.#link.localAddress(this.id, words))
      }
    }
    return this.#local
  }

  get settings(): SocketSettings | undefined {
    if (!this.established) return undefined
    return askSettings((words) => this.#link.socketOptions(this.id, words))
  }

  get queuedBytes(): number {
    if (this.dial !== undefined) return this.dial.backlogBytes
    if (!this.established) return 0
    const pending = this.#link.isPending(this.#epoch) ? this.#pending : 0
    return Math.max(0, this.#link.gauges[this.id & INDEX_MASK]) + pending
  }

  get overflow(): SocketError | undefined {
    const queued = this.established ? this.#link.gauges[this.id & INDEX_MASK] : 0
    return queued < 0 ? overflowError(this.account.limits, -queued - 1, this.remote) : undefined
  }

  get reportWrites(): boolean {
    return this.#reportWrites
  }

  set reportWrites(on: boolean) {
    if (on === this.#reportWrites) return
    this.#reportWrites = on
    if (this.established) this.#command(on ? Command.reportWritesOn : Command.reportWritesOff)
  }

  write(data: Uint8Array | string, taken = false): void {
    if (this.established && !this.#outputOver) this.#write(data, taken)
    else if (this.dial !== undefined && !this.#outputOver) this.dial.keep(data)
    // One that is gone says so in `closed`; the program cannot have known.
    else if (this.id !== 0 || this.dial !== undefined) {
      throw new Error('transport: write after shutdown, close or abort')
    }
  }

  shutdown(): void {
    if (this.#outputOver) return
    this.#outputOver = true
    if (this.dial !== undefined) this.dial.shutdown = true
    else this.#command(Command.shutdown)
  }

  close(): void {
    if (this.#closing) return
    this.#closing = true
    this.#outputOver = true
    const dial = this.dial
    if (dial === undefined) this.#command(Command.close)
    else if (dial.backlogBytes > 0) dial.closeLater(this.account.limits.closeTimeout)
    else this.#dialEnded(undefined)
  }

  abort(): void {
    this.#closing = true
    this.#outputOver = true
    if (this.dial !== undefined) this.#dialEnded(undefined)
    else this.#command(Command.abort)
  }

  pause(): void {
    if (this.dial !== undefined) this.dial.paused = true
    else this.#command(Command.pause)
  }

  resume(): void {
    if (this.dial !== undefined) this.dial.paused = false
    else this.#command(Command.resume)
  }

  expectInput(on: boolean): void {
    if (this.dial !== undefined) this.dial.expectsInput = on
    else if (this.established) this.#link.expectInput(this.id, on)
  }

  frame(asked: FramesAsked | undefined): void {
    if (!this.established) return
    const words = new Int32Array(FRAME_WORDS)
    if (asked !== undefined) {
      const { generation, position, scanner, skipsLF } = asked
      const { rule, seen, whole, matched } = scanner
      // Further than anything that a word could tell.
      if (Math.max(seen, whole) > WORD_MAX) return
      words[FrameWord.generation] = generation
      words[FrameWord.position] = position
      words[FrameWord.kind] = FrameKind[rule.kind]
      words[FrameWord.size] = rule.size
      words[FrameWord.offset] = rule.offset
      words[FrameWord.adjust] = rule.adjust
      words[FrameWord.little] = rule.little ? 1 : 0
      words[FrameWord.longest] = Math.min(rule.max, WORD_MAX)
      words[FrameWord.seen] = seen
      words[FrameWord.whole] = whole
      words[FrameWord.matched] = matched
      words[FrameWord.skipsLF] = skipsLF ? 1 : 0
    }
    this.#link.frame(this.id, words, asked?.scanner.rule.delimiter ?? NO_DELIMITER)
  }

  setNoDelay(on: boolean): void {
    if (this.established) this.#link.noDelay(this.id, on)
  }

  setKeepAlive(on: boolean, idle: number, interval = KEEP_ALIVE_INTERVAL, count = KEEP_ALIVE_COUNT): void {
    if (this.established) this.#link.keepAlive(this.id, on, idle, interval, count)
  }

  typeOfService(value?: number): number {
    return this.established ? this.#link.typeOfService(this.id, value) : ENOTCONN
  }

  get descriptor(): number | undefined {
    return this.established ? this.#link.descriptor(this.id) : undefined
  }

  duplicate(): number {
    return this.established ? this.#link.duplicate(this.id) : ENOTCONN
  }

  #write(data: Uint8Array | string, taken: boolean): void {
    const link = this.#link
    const length = link.write(this.id, data, taken)
    if (this.#epoch !== link.epoch) {
      this.#epoch = link.epoch
      this.#pending = 0
    }
    this.#pending += length
  }

  #command(operation: number): void {
    if (this.id !== 0) this.#link.command(operation, this.id)
  }

  #dialEnded(error: SocketError | undefined): void {
    this.dial?.cancel()
    this.dial = undefined
    this.account.forget(this)
    this.#ended()
    this.account.report(plain('closed', this, 0, error))
  }
}

/**
 * The objects that the native transport hands out: listeners, connections, events.
 *
 * Invariants: a connection has an engine's id exactly while it is established; a call on one that
 * has none is ignored or kept by its dial; every object has all its fields from the start, so that
 * code that meets many of them stays fast.
 */
import { constants } from 'node:os'
import { argumentError, connectError, socketError } from '../../support/errors.js'
import { socketAddress, socketAddressIn, unixAddress } from './address.js'
import { closeError } from './close-error.js'
import { connectionInfoOf, type ConnectionInfo } from '../seam/connection-info.js'
import { Dial } from '../seam/dial.js'
import {
  changedLimits, checkLimitChanges, fullLimits, type FullLimits, type LimitChanges, type LimitName,
} from '../seam/limits.js'
import { limitCounts, noLimits, REFUSING, type Counts } from '../seam/metrics.js'
import { type EngineSocket, isEngines, NativeAccount } from './engine.js'
import {
  AcceptedRecord, AcceptFailedRecord, BIND_FAILED, CALLS, ClosedRecord, Command, DroppedRecord, FRAME_WORDS, FrameKind,
  FramesRecord, FrameWord, INDEX_MASK, Record, TlsFailedRecord, UNIX_PORT, WrittenRecord,
} from './layout.js'
import type { Link } from './link.js'
import type { Loan } from './loan.js'
import { askSettings, exemptWords, limitsWords, socketWords } from './options.js'
import { adoptionError } from '../seam/adoption.js'
import { CONNECTION_INFO, LISTENER_COUNTS, ListenerCount } from '../seam/stats.js'
import { overflowError } from '../seam/queue-limits.js'
import {
  askForContext, asTlsError, cutHandshakeError, serverName, truncationError, type TlsStart,
} from '../seam/tls.js'
import {
  contextAddress, lacksTls, nativeContext, nativeTlsError, NativeTlsState, type NativeTlsContext,
} from './tls.js'
import type {
  ConnectOptions, Dropped, FrameRun, FramesAsked, ListenerCounts, ListenOptions, SocketAddress, SocketError,
  SocketSettings, TransportConnection, TransportEvent, TransportEventKind, TransportListener,
} from '../seam/transport.js'

const ENOTCONN = -constants.errno.ENOTCONN
const EBADF = -constants.errno.EBADF
const EEXIST = -constants.errno.EEXIST
const WORD_MAX = 0x7fffffff
/** Seconds between probes, and how many, where only the time until the first is said: as libuv has them. */
const KEEP_ALIVE_INTERVAL = 1
const KEEP_ALIVE_COUNT = 10
/** Descriptors that have arrived on one connection, at most, as the engine has it. */
const CARRIED_MAX = 4096

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
  limits: FullLimits
  #paused = false
  /** Of one that another thread has opened. */
  #loan: Loan | undefined
  /** How often each limit had acted when that was told last. */
  #told = noLimits()
  readonly #limitedHere = noLimits()

  constructor(account: SocketAccount, options: ListenOptions) {
    const { idleTimeout = 0, readTimeout = 0, path, maxConnections, limits } = options
    this.account = account
    this.idleTimeout = idleTimeout
    this.readTimeout = readTimeout
    this.path = path
    this.limits = fullLimits(maxConnections, limits, path !== undefined)
  }

  get counts(): ListenerCounts | undefined {
    const counts = new Float64Array(LISTENER_COUNTS)
    if (this.id === 0 || this.closed || this.account.link.listenerCounts(this.id, counts) < 0) return undefined
    return {
      connections: counts[ListenerCount.connections],
      prefixes: counts[ListenerCount.prefixes],
      overloaded: counts[ListenerCount.overloaded] !== 0,
      limited: limitCounts((at, name) => counts[at] + this.#limitedHere[name]),
    }
  }

  count(limit: LimitName): void {
    this.#limitedHere[limit]++
    this.account.metrics.limitedHere[limit]++
  }

  limit(changes: LimitChanges): void {
    checkLimitChanges('limit', changes)
    this.limits = changedLimits(this.limits, changes)
    // Otherwise they are those with which it begins.
    if (this.id !== 0 && !this.closed) this.#setLimits()
  }

  #setLimits(): void {
    this.account.link.limitListener(this.id, limitsWords(this.limits), exemptWords(this.limits))
  }

  get settings(): SocketSettings | undefined {
    if (this.id === 0 || this.closed || this.#loan !== undefined) return undefined
    return askSettings((words) => this.account.link.socketOptions(this.id, words))
  }

  /** Where its connections are bound to, if that is the same for all. */
  get commonAddress(): SocketAddress | undefined {
    const address = this.address
    return address?.address === '::' || address?.address === '0.0.0.0' ? undefined : address
  }

  get descriptor(): number | undefined {
    return this.id === 0 || this.closed || this.#loan !== undefined ? undefined : this.account.link.descriptor(this.id)
  }

  duplicate(): number {
    return this.id === 0 || this.closed || this.#loan !== undefined ? EBADF : this.account.link.duplicate(this.id)
  }

  get onLoan(): boolean {
    return this.#loan !== undefined
  }

  handedOver(): void {
    if (this.id !== 0 && !this.closed) this.account.link.disownFile(this.id)
  }

  /** The engine has it, as `id`; what was asked for meanwhile is done now. */
  opened(id: number): void {
    this.id = id
    this.account.engine.enter(this)
    this.#setLimits()
    if (this.#paused) this.account.link.pauseListener(id, true)
    this.address = this.path === undefined
      ? boundAddress(this.account.link, id)
      : unixAddress(this.path)
    this.account.report(ofListener('listening', this))
  }

  /** The same for one for which another thread accepts. */
  borrowed(id: number, loan: Loan): void {
    this.#loan = loan
    this.address = loan.address
    this.id = id
    this.account.engine.enter(this)
    this.#setLimits()
    if (this.#paused) this.account.link.pauseListener(id, true)
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
        this.account.report(new NativeDropEvent(this, { count, remote, limits: this.#refused() }))
      }
    }
  }

  /** How many connections each limit has refused since this was asked last. */
  #refused(): Dropped['limits'] {
    const { limited } = this.counts ?? { limited: this.#told }
    const told = this.#told
    this.#told = limited
    return Object.fromEntries(REFUSING.map((name) => [name, limited[name] - told[name]] as const)
      .filter(([, count]) => count > 0))
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
    this.#loan?.giveBack()
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

/** Where a socket that others have opened is bound to. */
function boundAddress(link: Link, id: number): SocketAddress | undefined {
  const address = askAddress((words) => link.localAddress(id, words))
  return address?.family === 'unix' ? unixAddress(link.socketPath(id) ?? '') : address
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

/** What there is of a connection's TLS. */
interface Secure {
  readonly start: TlsStart
  /** Kept for as long as the connection. */
  readonly context: NativeTlsContext
  state: NativeTlsState | undefined
  /** Why it ends. */
  error: SocketError | undefined
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
  /** Of one that is gone. */
  #failing: 'taken' | 'lost' | undefined = undefined
  /** It was aborted by the program: its end is no failure. */
  #given = false
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
  /** From `startTls` on. */
  #secure: Secure | undefined = undefined

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
        if (this.#secure?.error === undefined) this.account.report(plain('end', this))
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
        const error = this.#whyClosed(records, at, remote)
        this.#failing = this.failing
        this.#ended()
        account.report(plain('closed', this, 0, error))
        break
      }
      default:
        if (this.#secure !== undefined) this.#ofTls(this.#secure, records, at)
    }
  }

  #whyClosed(records: Int32Array, at: number, remote: SocketAddress | undefined): SocketError | undefined {
    const { account } = this
    const failed = records[at + ClosedRecord.error] !== 0
    const secure = this.#secure
    if (secure === undefined) return failed ? closeError(account.limits, records, at, remote) : undefined
    if (secure.state === undefined) account.metrics.tlsFailures += 1
    if (secure.error !== undefined) return this.#given ? undefined : secure.error
    if (!failed) return undefined
    const cut = CALLS[records[at + ClosedRecord.call]] === 'tls'
    return cut ? cutHandshakeError(secure.start.server) : closeError(account.limits, records, at, remote)
  }

  // TLS

  get tls(): NativeTlsState | undefined {
    return this.#secure?.state
  }

  startTls(start: TlsStart): void {
    const lacking = lacksTls()
    if (lacking !== undefined) throw new Error(lacking)
    const { credentials, server } = start
    const context = nativeContext(credentials, server)
    const { session } = credentials.options
    const name = server ? undefined : serverName(start)
    const named = name === undefined ? undefined : Buffer.from(name)
    const result = this.#link.startTls(this.id, context.native, named, session)
    // The peer has gone before it began.
    if (result === ENOTCONN) throw cutHandshakeError(server)
    if (result < 0) throw socketError(result, 'tls')
    this.#secure = { start, context, state: undefined, error: undefined }
    this.#command(Command.secure)
  }

  unread(data: Uint8Array): void {
    if (this.established) this.#link.prependTls(this.id, data)
  }

  tlsCertificate(): Uint8Array | undefined {
    return this.#secure !== undefined && this.established ? this.#link.tlsCertificates(this.id, true)[0] : undefined
  }

  tlsSession(): Buffer | undefined {
    const session = this.#secure !== undefined && this.established ? this.#link.tlsSession(this.id) : undefined
    return session && Buffer.from(session.buffer, session.byteOffset, session.byteLength)
  }

  /** What the engine says of its TLS. */
  #ofTls(secure: Secure, records: Int32Array, at: number): void {
    const { account, id } = this
    switch (records[at]) {
      case Record.secured: {
        const info = this.#link.tlsInfo(id)
        // Gone in the same turn: `closed` follows.
        if (info === undefined) return
        const { server, credentials } = secure.start
        const judged = !server || credentials.options.requestCert === true
        secure.state = new NativeTlsState(info, judged ? this.#link.tlsCertificates(id) : [], judged)
        account.metrics.tlsHandshakes += 1
        account.report(plain('secured', this))
        break
      }
      case Record.tlsSession:
        account.report(new NativeEvent('session', this, undefined, this.tlsSession(), 0, undefined))
        break
      case Record.tlsAsks:
        this.#chooseContext(secure)
        break
      case Record.tlsCut:
        if (secure.start.credentials.options.allowTruncation === true) break
        // The end comes as an error.
        secure.error = truncationError()
        this.#command(Command.abort)
        break
      case Record.tlsFailed:
        secure.error ??= nativeTlsError(records[at + TlsFailedRecord.reason], records[at + TlsFailedRecord.verify])
    }
  }

  /** @param context of whatever type, as it comes from the program; nothing: what there is will do */
  #answer(id: number, context: unknown): Error | undefined {
    const address = contextAddress(context)
    const none = context === undefined || context === null
    if (address === undefined && !none) {
      return argumentError('SNICallback', 'context', 'of tls.createSecureContext', context)
    }
    return this.#link.answerTls(id, address) ? undefined : new Error('SNICallback: the context has no certificate')
  }

  #chooseContext(secure: Secure): void {
    const { id } = this
    const name = this.#link.tlsInfo(id)?.servername
    const { SNICallback } = secure.start.credentials.options
    if (SNICallback === undefined || name === undefined) {
      this.#link.answerTls(id, undefined)
      this.#command(Command.secure)
      return
    }
    askForContext(SNICallback, name, (error, context) => {
      // It has ended meanwhile.
      if (this.id !== id || this.#closing) return
      const wrong = error ?? this.#answer(id, context)
      if (wrong === undefined) {
        this.#command(Command.secure)
      } else {
        secure.error = asTlsError(wrong)
        this.#command(Command.abort)
      }
    })
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
        const refused = options.carriesDescriptors === true ? this.#link.carryDescriptors(id) : 0
        if (refused === 0) return id
        attempt.giveUp()
        return attemptError(refused, address, options)
      },
      (id) => { attempts.get(id)?.giveUp() },
      (error) => { this.#dialEnded(error) },
      options,
    )
    this.account.sockets.add(this)
    this.dial.start()
  }

  /** A connection that others have opened. */
  adopt(options: ConnectOptions, fd: number): void {
    const { account } = this
    const id = isEngines(fd) ? EEXIST : this.#link.adoptConnection(account.number, fd, socketWords(options))
    if (id <= 0) {
      this.#dialEnded(adoptionError(id, 'open', fd))
      return
    }
    this.id = id
    account.entered(this)
    account.metrics.connections += 1
    account.metrics.connects += 1
    this.established = true
    this.#remote = askAddress((words) => this.#link.remoteAddress(id, words))
    this.#limitTime(options.idleTimeout ?? 0, options.readTimeout ?? 0)
    account.report(plain('connected', this))
    this.resume()
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
    if (queued >= 0 || queued <= -Number.MAX_VALUE) return undefined
    return overflowError(this.account.limits, -queued - 1, this.remote)
  }

  get failing(): 'taken' | 'lost' | undefined {
    if (!this.established) return this.#failing
    const queued = this.#link.gauges[this.id & INDEX_MASK]
    return queued >= 0 ? undefined : queued === -Number.MAX_VALUE ? 'taken' : 'lost'
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
    this.#given = true
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

  info(): ConnectionInfo | undefined {
    if (!this.established) return undefined
    const words = new Float64Array(CONNECTION_INFO)
    return this.#link.connectionInfo(this.id, words) < 0 ? undefined : connectionInfoOf(words, this.remote)
  }

  get descriptor(): number | undefined {
    return this.established ? this.#link.descriptor(this.id) : undefined
  }

  duplicate(): number {
    return this.established ? this.#link.duplicate(this.id) : ENOTCONN
  }

  sameUser(): number {
    return this.established ? this.#link.sameUser(this.id) : ENOTCONN
  }

  sendDescriptors(data: Uint8Array, descriptors: readonly number[]): number {
    if (!this.established || this.#outputOver) return ENOTCONN
    this.#link.flush()
    return this.#link.sendDescriptors(this.id, data, descriptors)
  }

  takeDescriptors(): number[] {
    return this.established ? this.#link.takeDescriptors(this.id, CARRIED_MAX) : []
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

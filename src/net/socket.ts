/**
 * The socket: a Duplex over one connection of the native engine, with the shape of net.Socket.
 *
 * Composed of a reader, a writer, a dialer if it connects, the kernel's options, and a time-out if it has one, which do
 * the work. Owns the life of the connection, of which it tells them: `#attach`, `#detach`; and the handle
 * that programs of Node's find there.
 *
 * Invariant: while there is a connection, the socket is its `context`.
 */
import { AsyncResource } from 'node:async_hooks'
import { constants } from 'node:os'
import { channel } from 'node:diagnostics_channel'
import { addAbortSignal, Duplex } from 'node:stream'
import * as nodeNet from 'node:net'
import { socketError } from '../support/errors.js'
import { performance } from '../support/real-time.js'
import { adoptability, adoptionError } from '../transport/descriptors.js'
import type { SocketAddress, SocketError, TransportConnection, TransportEvent } from '../transport/seam/transport.js'
import { connectArgs, destination } from './connect-args.js'
import { Dialer } from './dialer.js'
import { netEngine, type DataReceiver, type Listed } from './engine.js'
import {
  checkFunction, checkNumber, checkString, invalidHandleType, nodeError, notInPlace, socketClosed, streamDestroyed,
  timerDuration, withoutAddress,
} from './errors.js'
import { SocketHandle } from './handle.js'
import { inPlace, isInPlace } from './in-place.js'
import { KernelOptions } from './kernel-options.js'
import { noticeDataListener } from './layer.js'
import type { NetSocket } from './net-socket.js'
import { Reader } from './reader.js'
import { IdleTimeout } from './timeouts.js'
import { Writer, type Callback, type Chunk } from './writer.js'

/** Options of node:net. */
export interface SocketOptions extends nodeNet.SocketConstructorOpts {
  noDelay?: boolean | undefined
  keepAlive?: boolean | undefined
  keepAliveInitialDelay?: number | undefined
  highWaterMark?: number | undefined
}

/** Of Node's, for sockets that have a connection from the start: when to begin to read. */
interface Creation {
  readonly pauseOnCreate?: boolean
  readonly manualStart?: boolean
}

/** What a server needs to know of its sockets. */
export interface SocketOwner {
  _nativeSocketGone(): void
}

/** What the listener has done for its connections. */
export interface AcceptedAs {
  readonly noDelay: boolean
  readonly pauseOnConnect: boolean
}

const connects = channel('net.client.socket')

/** The async context of a socket that gets a connection; `triggerAsyncId` is that of its server. */
export function socketResource(isPipe: boolean, triggerAsyncId?: number): AsyncResource {
  const trigger = triggerAsyncId === undefined ? {} : { triggerAsyncId }
  // Resources say when they end: who maps them by their ids must hear it.
  return new AsyncResource(isPipe ? 'PIPEWRAP' : 'TCPWRAP', { ...trigger, requireManualDestroy: true })
}

function checkOptions(options: SocketOptions): void {
  for (const name of ['objectMode', 'readableObjectMode', 'writableObjectMode'] as const) {
    if (!(options as Record<string, unknown>)[name]) continue
    const message = `The property 'options.${name}' is not supported. Received true`
    throw nodeError(TypeError, 'ERR_INVALID_ARG_VALUE', message)
  }
  if (options.keepAliveInitialDelay !== undefined) {
    checkNumber(options.keepAliveInitialDelay, 'options.keepAliveInitialDelay')
  }
}

/** An empty object, as Node's, where there is no address. */
function addressObject(address: SocketAddress | undefined): Partial<nodeNet.AddressInfo> {
  if (address === undefined || address.family === 'unix') return {}
  return { address: address.address, family: address.family, port: address.port }
}

/** As Node's: whoever writes after the other side's end, and does not allow half-open sockets, is told. */
function writeAfterFin(this: Socket, chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
  if (!this.writableEnded) return Socket.prototype.write.call(this, chunk, encoding, callback)
  const error = Object.assign(new Error('This socket has been ended by the other party'), { code: 'EPIPE' })
  const done = typeof encoding === 'function' ? encoding : callback
  if (typeof done === 'function') process.nextTick(done, error)
  this.destroy(error)
  return false
}

function onEnd(this: Socket): void {
  if (!this.allowHalfOpen) this.write = writeAfterFin
}

export class Socket extends inPlace(Duplex) implements NetSocket, DataReceiver {
  connecting = false
  /** The server that accepted it. */
  server: unknown = null
  _server: SocketOwner | null = null
  _hadError = false
  _parent: object | null = null
  _host: string | null = null
  timeout: number | undefined = undefined
  declare autoSelectFamilyAttemptedAddresses?: string[]
  /** For the engine's use. */
  _nativeRound = 0
  _nativeLink: TransportConnection | undefined = undefined
  /** The socket that has its connection: TLS was put on it. */
  _nativeAbove: Socket | undefined = undefined
  /** The socket whose connection it has, and which closes it, as with Node. */
  _nativeBelow: Socket | undefined = undefined

  readonly #reader!: Reader
  readonly #writer = new Writer(this)
  readonly #options!: KernelOptions
  #dialer: Dialer | undefined = undefined
  #idle: IdleTimeout | undefined = undefined
  #resource: AsyncResource | undefined = undefined
  #remote: SocketAddress | undefined = undefined
  #handle: SocketHandle | undefined = undefined
  #givenHandle: SocketHandle | null | undefined = undefined
  #reset = false
  #connected = false

  constructor(options?: SocketOptions | number) {
    if (typeof options === 'number') options = { fd: options }
    const fd = options?.fd
    const kind = fd === undefined ? undefined : adoptability(fd, 'connection')
    if (kind === -constants.errno.EEXIST) throw adoptionError(kind, 'open', fd as number)
    if (typeof kind === 'number' || (options as { handle?: unknown } | undefined)?.handle) {
      if (isInPlace(new.target)) throw notInPlace()
      // A pipe, a terminal, a handle of libuv's: such a socket is Node's own. Or Node says what is wrong.
      return new nodeNet.Socket(options) as unknown as Socket
    }
    const given = options ?? {}
    checkOptions(given)
    super({
      ...given,
      allowHalfOpen: Boolean(given.allowHalfOpen),
      emitClose: false,
      autoDestroy: true,
      decodeStrings: false,
      signal: undefined,
    })
    this.#options = new KernelOptions(given)
    this.#reader = new Reader(this, (given as { onread?: unknown }).onread)
    this.on('end', onEnd)
    if (fd !== undefined) this.#adopt(fd, kind === 'unix', given)
    if (given.signal) addAbortSignal(given.signal, this)
  }

  /** It has a connection that others have opened. */
  #adopt(fd: number, isPipe: boolean, given: SocketOptions & Creation): void {
    this.#begin(socketResource(isPipe))
    const connection = netEngine().adopt(fd, this.#options.noDelay)
    const paused = given.readable === false || given.pauseOnCreate === true
    const waits = paused || given.manualStart === true
    if (waits) connection.pause()
    this.#attach(connection, waits)
    if (paused) this.#reader.acceptedPaused()
    this.#applyOptions(this.#options.noDelay)
  }

  // Connecting.

  connect(...args: unknown[]): this {
    const [options, callback] = connectArgs(args)
    if (connects.hasSubscribers) connects.publish({ socket: this })
    if (callback !== null) this.once('connect', callback)
    // As Node's: what a former end has put there goes, and with it what a subclass or the program has.
    // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called as a method
    const { write } = Socket.prototype
    if (this.write !== write) this.write = write
    if (this.destroyed) this.#renew()
    const { path } = options
    if (this.#resource === undefined) this.#begin(socketResource(Boolean(path)))
    this._unrefTimer()
    // As Node's, it stays so if what follows throws, until the socket is destroyed or connects after all.
    this.connecting = true
    if (path) checkString(path, 'options.path')
    const to = path ? path : destination(options)
    this.#dialer ??= new Dialer(this)
    this.#dialer.dial(to)
    return this
  }

  _nativeConnected(connection: TransportConnection, noDelay: boolean): void {
    this.connecting = false
    this.#attach(connection, true)
    this.#applyOptions(noDelay)
    this.#tellConnected()
  }

  /**
   * Whether something comes before its streams have the connection, which is paused, and begins now: the handshake of
   * TLS. Then `_nativePrepared` ends it.
   */
  _nativePrepares(): boolean {
    return false
  }

  /** The streams get the connection. @param told is called when what was written before has been passed on */
  protected _nativePrepared(told: () => void): void {
    const connection = this._nativeLink
    if (connection === undefined) return
    this.#writer.attach(connection, this._nativeResource)
    told()
    if (this._nativeLink === undefined) return
    if (this.writableFinished) this._nativeLink.shutdown()
    this.#reader.preparedTold()
  }

  /** The event that comes before anything can be written; undefined if nothing has to come. */
  get _nativeAwaits(): string | undefined {
    return this.connecting ? 'connect' : undefined
  }

  _nativeRejoined(): void {
    this.connecting = false
    this.#tellConnected()
  }

  _nativeAbandon(): void {
    const connection = this._nativeLink
    if (connection === undefined) return
    this.#detach()
    connection.context = undefined
    connection.close()
  }

  #tellConnected(): void {
    this._unrefTimer()
    const waits = this._nativeAwaits !== undefined
    // Ended before it was to connect, it has finished long ago, and sends the end now.
    if (this.writableFinished && !waits) this._nativeLink?.shutdown()
    this.emit('connect')
    this.emit('ready')
    if (!waits) this.#reader.connectTold()
  }

  /** Of a server's socket. */
  _nativeAccepted(connection: TransportConnection, resource: AsyncResource): void {
    this.#begin(resource)
    this.#attach(connection, false)
  }

  /** After that: options that the server has for its own sockets. */
  _nativeAdopted(server: SocketOwner, how: AcceptedAs): void {
    this.#applyOptions(how.noDelay)
    if (how.pauseOnConnect) this.#reader.acceptedPaused()
    this.server = server
  }

  /** It gets what Node calls a handle: an async context, counters, no peer yet. */
  #begin(resource: AsyncResource): void {
    this.#resource = resource
    if (this.#givenHandle === null) this.#givenHandle = undefined
    if (this.#handle?.closed === true) this.#handle = this.#options.handle = undefined
    this.#remote = undefined
    this.#reader.bytesRead = 0
    this.#writer.bytesSent = 0
    this.#writer.handle = 'there'
  }

  /** The connection is there: just established, or accepted. @param isPaused as it was told */
  #attach(connection: TransportConnection, isPaused: boolean): void {
    const resource = this.#resource as AsyncResource
    connection.context = this
    this._nativeLink = this.#options.connection = connection
    this.#connected = true
    if (this._nativePrepares()) {
      this.#reader.attach(connection, resource, false)
      connection.resume()
    } else {
      this.#writer.attach(connection, resource)
      this.#reader.attach(connection, resource, isPaused)
    }
  }

  /**
   * Of a layer that takes the connection's place in another socket: when all that has come until now is here, gives it
   * up, as one that is left without. @param taken gets the connection, paused, and what nobody has read; nothing if
   * there is no connection, or its input has ended
   */
  _nativeTake(taken: (
    connection: TransportConnection | undefined, resource: AsyncResource | undefined, unread: readonly Uint8Array[],
  ) => void): void {
    // One that somebody will have connect, too.
    const waits = this.connecting || (this._nativeLink === undefined && !this.#connected && !this.destroyed)
    if (waits) {
      const begin = (): void => {
        this.off('connect', begin).off('close', begin)
        this._nativeTake(taken)
      }
      this.on('connect', begin).on('close', begin)
      return
    }
    const unread = this.#reader.take()
    for (let chunk = super.read() as unknown; chunk !== null; chunk = super.read() as unknown) {
      unread.push(Buffer.from(chunk as string, this.readableEncoding ?? 'utf8'))
    }
    netEngine().flush()
    netEngine().delivered(() => {
      const connection = this._nativeLink
      if (connection === undefined || this.destroyed || this.#reader.ended) {
        taken(undefined, undefined, [])
        return
      }
      // Its address is asked for later, too.
      this._getpeername()
      const resource = this.#takeResource()
      const waiting = this.#detach()
      taken(connection, resource, unread)
      waiting?.()
    })
  }

  /** It is put on that one, whose connection it gets when all that has come until then is there. */
  protected _nativePutOn(below: Socket): void {
    this._parent = this._nativeBelow = below
    below._nativeAbove = this
    this.#updateTimed()
  }

  /** It gets the connection of another one, which is paused. */
  protected _nativeGiven(connection: TransportConnection, resource: AsyncResource): void {
    this.#begin(resource)
    this.#attach(connection, true)
  }

  /**
   * The connection goes back to the socket below, which is to close it. Returns whom to tell that nothing is written
   * any more.
   */
  #giveBack(below: Socket): Callback | undefined {
    const connection = this._nativeLink
    const waiting = this.#detach()
    const resource = this.#takeResource()
    if (resource !== undefined) below.#resource = resource
    if (connection !== undefined) {
      below._nativeLink = connection
      below.#reset ||= this.#reset
    }
    return waiting
  }

  /** The connection is gone, or somebody else's. Returns whom to tell that nothing is written any more. */
  #detach(): Callback | undefined {
    this._nativeLink = this.#options.connection = undefined
    this.#reader.detach()
    return this.#writer.detach()
  }

  #applyOptions(noDelay: boolean): void {
    this.#options.apply(noDelay, (error) => { this.emit('error', error) })
  }

  /** After its end it may connect again. */
  #renew(): void {
    (this as unknown as { _undestroy(): void })._undestroy()
    this.#reset = false
    this.#connected = false
    this.#reader.renew()
    this.#writer.renew()
    this.#dialer?.renew()
    this._nativeAbove = this._nativeBelow = undefined
    this._hadError = false
  }

  // What the engine reports.

  /** The async context of the connection's events: as Node's handle, it comes with `connect`. */
  get _nativeResource(): AsyncResource {
    return this.#resource as AsyncResource
  }

  _nativeReceived(received: Buffer): void {
    if (this._nativeLink === undefined) return
    this.#touch(netEngine().now)
    this.#reader.received(received)
  }

  _nativeHappened({ kind, error }: TransportEvent): void {
    if (kind === 'end') {
      this._unrefTimer()
      this.#reader.end()
    } else if (kind === 'written') {
      this._unrefTimer()
      this.#writer.offered()
    } else if (kind === 'closed') {
      this.#closed(error)
    }
  }

  get _nativeListed(): Listed | undefined {
    const connection = this.#reader.referenced ? this._nativeLink : undefined
    if (connection === undefined) return undefined
    const type = connection.remote?.family === 'unix' ? 'PipeWrap' : 'TCPSocketWrap'
    return { owner: this, types: connection.queuedBytes > 0 ? ['SimpleWriteWrap', type] : [type] }
  }

  /** An error of the connection, as the program is to have it. */
  protected _nativeFailure(error: SocketError): Error {
    return withoutAddress(error)
  }

  #closed(error: SocketError | undefined): void {
    // The peer's address can be had after the end only if it was asked for before.
    const callback = this.#detach()
    const { ended, layer } = this.#reader
    if (error === undefined || (error.code === 'EPIPE' && ended && this.#writer.allTaken)) {
      // That a peer which had ended is gone concerns only who still has something to write.
      callback?.()
    } else {
      const failure = this._nativeFailure(error)
      // It concerns who uses the connection.
      layer?.failed(failure)
      this.destroy(layer === undefined ? failure : undefined)
      callback?.(failure)
    }
  }

  // Reading.

  get _nativeReader(): Reader {
    return this.#reader
  }

  override on(event: string | symbol, listener: (...args: never[]) => void): this {
    if (event === 'data') noticeDataListener(listener)
    return super.on(event, listener as (...args: unknown[]) => void)
  }

  override _read(): void {
    const reader = this.#reader
    if (!reader.want(this.connecting)) return
    if (reader.stopped && this._handle?.reading === false) this._handle.readStart()
    reader.goOn()
  }

  override pause(): this {
    this.#reader.pauseOnRead()
    return super.pause()
  }

  override resume(): this {
    this.#reader.resumeOnRead()
    return super.resume()
  }

  override read(size?: number): unknown {
    this.#reader.resumeOnRead()
    return super.read(size)
  }

  get bytesRead(): number {
    // Tools look at such members of the prototype, too.
    return #reader in this ? this.#reader.bytesRead : undefined as unknown as number
  }

  // Writing.

  override write(chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    const writer = this.#writer
    // Not if somebody has put a `_write` of their own in the place of this one.
    const direct = writer.direct && this._write === plainWrite
    if (direct && callback === undefined && typeof encoding !== 'function' && writer.send(chunk, encoding)) {
      return true
    }
    writer.direct = false
    return (super.write as (...args: unknown[]) => boolean)(chunk, encoding, callback)
  }

  override _write(chunk: Uint8Array | string, encoding: BufferEncoding, callback: Callback): void {
    this.#writer.write([{ chunk, encoding }], callback)
  }

  override _writev(chunks: readonly Chunk[], callback: Callback): void {
    this.#writer.write(chunks, callback)
  }

  override _final(callback: Callback): void {
    const above = this._nativeAbove
    const connection = above?._nativeLink
    if (above !== undefined && connection !== undefined) {
      above.#writer.cut(connection, above._nativeResource, callback)
      return
    }
    const awaited = this._nativeAwaits
    if (awaited === undefined) this.#writer.end(callback)
    else this.once(awaited, () => { this._final(callback) })
  }

  override cork(): void {
    this.#writer.direct = false
    super.cork()
  }

  override uncork(): void {
    super.uncork()
    this.#writer.uncorked()
  }

  override end(...args: unknown[]): this {
    this.#writer.direct = false
    ;(super.end as (...args: unknown[]) => unknown)(...args)
    // What was corked was let go by that.
    this.#writer.direct = false
    return this
  }

  override setDefaultEncoding(encoding: BufferEncoding): this {
    super.setDefaultEncoding(encoding)
    this.#writer.setDefaultEncoding(encoding)
    return this
  }

  get _nativeEndTaken(): boolean {
    return this.#writer.endTaken
  }

  get _bytesDispatched(): number {
    return #writer in this ? this.#writer.bytesSent : undefined as unknown as number
  }

  get bytesWritten(): number {
    return #writer in this ? this.#writer.bytesWritten : undefined as unknown as number
  }

  // Its handle.

  /**
   * As long as Node's socket would have its handle, which a destroyed one has given up.
   * Members that ask for it work on the prototype, too, which tools look at: so it is no private getter.
   */
  static #isAttached(socket: Socket): boolean {
    return (Socket.#linkOf(socket) !== undefined || socket.connecting) && !socket.destroyed
  }

  /** Its connection, also where that is with the socket above: as Node's, it can be asked about. */
  static #linkOf(socket: Socket): TransportConnection | undefined {
    return socket._nativeLink ?? socket._nativeAbove?._nativeLink
  }

  /** While it connects or is connected, what programs use of libuv's; otherwise null, as Node's. */
  get _handle(): SocketHandle | null {
    if (!(#remote in this) || this.destroyed) return null
    if (this.#givenHandle !== undefined) return this.#givenHandle
    if (!Socket.#isAttached(this) && this.#handle?.closed !== true) return null
    return (this.#handle ??= this.#options.handle = new SocketHandle(this))
  }

  /** Programs may put what they like there; only they find it. After null nothing is written any more. */
  set _handle(given: SocketHandle | null) {
    this.#givenHandle = given
    this.#handleChanged()
  }

  #handleChanged(): void {
    const isClosed = this.#handle?.closed === true
    this.#writer.handle = this.#givenHandle === null ? 'null' : isClosed ? 'closed' : 'there'
    this.#writer.update()
  }

  /** As libuv's: what waits to be written fails; whoever writes later is told as well. */
  _nativeHandleClose(closed: () => void): void {
    const connection = this._nativeLink
    const waiting = this.#detach()
    this.#dialer?.cancel()
    this.connecting = false
    this.#handleChanged()
    if (connection !== undefined) {
      connection.context = undefined
      connection.close()
    }
    netEngine().later(() => {
      waiting?.(socketError(-constants.errno.ECANCELED, 'write'))
      closed()
    })
  }

  /**
   * The kernel's number of the connection, if there is one: so a child process can have the socket as its
   * `stdio`. As Node does then, this socket stops reading; `resume()` takes that back.
   */
  get fd(): number | undefined {
    if (!(#remote in this) || !Socket.#isAttached(this) || this.connecting) return undefined
    const descriptor = this._nativeLink?.descriptor
    if (descriptor === undefined || descriptor < 0) return undefined
    this.#reader.lend()
    return descriptor
  }

  /**
   * A number of the kernel's socket that is the caller's, for another process; undefined if there is no
   * connection, negative if it failed.
   */
  _nativeDuplicate(): number | undefined {
    if (this._nativeLink === undefined) return undefined
    // What was written is before what the other one writes.
    netEngine().flush()
    return this._nativeLink.duplicate?.()
  }

  /** Another process has it from now on. As Node's, this one is left without a connection, and tells nothing. */
  _nativeGiveAway(): void {
    const connection = this._nativeLink
    const resource = this.#takeResource()
    this.#stopTimeout()
    const waiting = this.#detach()
    this._server = null
    if (connection !== undefined) connection.context = new Leaving(connection, resource as AsyncResource)
    waiting?.()
  }

  // What is known of it, and asked of the kernel.

  get _connecting(): boolean {
    return this.connecting
  }

  /** Who has the connection: until this one is given it, that is the socket which it is put on. */
  static #holderOf(socket: Socket): Socket {
    const below = socket._nativeBelow
    return below === undefined || socket.destroyed || Socket.#isAttached(socket) ? socket : below
  }

  get pending(): boolean {
    return !Socket.#isAttached(Socket.#holderOf(this)) || this.connecting
  }

  get readyState(): nodeNet.SocketReadyState {
    if (this.connecting) return 'opening'
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }

  get bufferSize(): number | undefined {
    return Socket.#isAttached(this) ? this.writableLength : undefined
  }

  address(): Partial<nodeNet.AddressInfo> {
    return this._getsockname()
  }

  _getpeername(): Partial<nodeNet.AddressInfo> {
    if (!(#remote in this)) return {}
    const holder = Socket.#holderOf(this)
    if (holder !== this) return holder._getpeername()
    if (Socket.#isAttached(this) && !this.connecting) {
      const link = Socket.#linkOf(this)
      this.#remote ??= link?.peer ?? link?.remote
    }
    return addressObject(this.#remote)
  }

  _getsockname(): Partial<nodeNet.AddressInfo> {
    const holder = Socket.#holderOf(this)
    if (!Socket.#isAttached(holder)) return {}
    const link = Socket.#linkOf(holder)
    return addressObject(link === undefined ? holder.#dialer?.local : link.local)
  }

  get remoteAddress(): string | undefined {
    return this._getpeername().address
  }

  get remoteFamily(): string | undefined {
    return this._getpeername().family
  }

  get remotePort(): number | undefined {
    return this._getpeername().port
  }

  get localAddress(): string | undefined {
    return this._getsockname().address
  }

  get localFamily(): string | undefined {
    return this._getsockname().family
  }

  get localPort(): number | undefined {
    return this._getsockname().port
  }

  get _nativeNoDelay(): boolean {
    return this.#options.noDelay
  }

  setNoDelay(enable?: unknown): this {
    this.#options.setNoDelay(enable)
    return this
  }

  /**
   * @param enable or an object of all four, as `{ enable, initialDelay, interval, count }`
   * @param initialDelay milliseconds of silence before the first probe; 0 leaves it as it is
   * @param interval milliseconds between probes
   * @param count so many probes without an answer end the connection
   */
  setKeepAlive(enable?: unknown, initialDelay?: unknown, interval?: unknown, count?: unknown): this {
    this.#options.setKeepAlive(enable, initialDelay, interval, count)
    return this
  }

  /** @param value of IP_TOS, or of the traffic class of IPv6, from 0 to 255; also before it connects */
  setTypeOfService(value: number): this {
    this.#options.setTypeOfService(value, this.connecting)
    return this
  }

  getTypeOfService(): number {
    return this.#options.typeOfService(this.connecting)
  }

  ref(): this {
    this._nativeAbove?.ref()
    this.#reader.referenced = true
    return this
  }

  unref(): this {
    this._nativeAbove?.unref()
    this.#reader.referenced = false
    return this
  }

  // The time-out.

  /** @param milliseconds without anything that comes or goes until 'timeout' is emitted; 0 for never */
  setTimeout(milliseconds: number, callback?: () => void): this {
    if (this.destroyed) return this
    this.timeout = milliseconds
    const limit = timerDuration(milliseconds, 'msecs')
    if (callback !== undefined) checkFunction(callback, 'callback')
    if (limit === 0) {
      this.#stopTimeout()
      if (callback !== undefined) this.removeListener('timeout', callback)
      return this
    }
    this.#idle ??= new IdleTimeout(() => this.#writer.moves(), () => { this.emit('timeout') })
    this.#updateTimed()
    this.#idle.start(limit)
    if (callback !== undefined) this.once('timeout', callback)
    return this
  }

  /** Something came or went. */
  _unrefTimer(): void {
    if (this.#writer.timed) this.#touch(performance.now())
  }

  /** As Node's: what comes and goes is no silence of the socket below, either. @param now as `performance.now` */
  #touch(now: number): void {
    this.#idle?.touch(now)
    const below = this._nativeBelow
    if (below !== undefined) below.#touch(now)
  }

  #stopTimeout(): void {
    this.#idle?.stop()
    this.#idle = undefined
    this.#updateTimed()
  }

  #updateTimed(): void {
    const below = this._nativeBelow
    const above = this._nativeAbove
    this.#writer.timed = this.#idle !== undefined || (below !== undefined && below.#writer.timed)
    if (above !== undefined) above.#updateTimed()
  }

  // The end.

  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => { this.destroy() })
  }

  resetAndDestroy(): this {
    if (this.connecting) {
      this.once('connect', () => this.#destroyWithReset())
    } else if (Socket.#linkOf(this) === undefined) {
      this.destroy(socketClosed())
    } else if (Socket.#linkOf(this)?.remote?.family === 'unix') {
      throw invalidHandleType()
    } else {
      this.#destroyWithReset()
    }
    return this
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    const hadError = error !== null && error !== undefined
    const below = this._nativeBelow
    if (below !== undefined) {
      this.#destroyOn(below, error, callback)
      return
    }
    const above = this._nativeAbove
    const writingAbove = above?.destroyed === false ? above.#giveBack(this) : undefined
    // Also if what was to begin has thrown.
    const dialing = this.connecting
    const connection = this._nativeLink
    // As Node's, it has no addresses any more.
    const waiting = this.#detach()
    this.connecting = false
    this.#stopTimeout()
    this.#dialer?.cancel()
    const resource = this.#takeResource()
    if (connection !== undefined) {
      connection.context = new Closing(this, resource as AsyncResource, hadError)
      if (this.#reset) connection.abort()
      else connection.close()
      // At once, as Node does: a peer that writes later in this turn is to hear of it.
      netEngine().flush()
    }
    callback(error)
    waiting?.(error ?? streamDestroyed('write'))
    if (writingAbove !== undefined) {
      netEngine().later(() => { writingAbove(socketError(-constants.errno.ECANCELED, 'write')) })
    }
    this._server?._nativeSocketGone()
    this._server = null
    // If there is a connection, with `closed`. Otherwise in a later phase than the error, as Node's.
    if (connection !== undefined) return
    if (resource !== undefined && (dialing || this.#connected)) {
      netEngine().later(() => { emitClose(this, resource, hadError) })
    } else if (this._nativeKeepsHandle) {
      netEngine().later(() => { this.emit('close', hadError) })
    } else {
      resource?.emitDestroy()
      process.nextTick(() => { this.emit('close') })
    }
  }

  /** Whether Node's has a handle from the start, so that its 'close' says whether there was an error. */
  protected get _nativeKeepsHandle(): boolean {
    return false
  }

  /** As Node's: the socket below closes the connection, and it is closed when that is. */
  #destroyOn(below: Socket, error: Error | null, callback: (error: Error | null) => void): void {
    const isClosed = below.destroyed
    const waiting = this.#giveBack(below)
    this.connecting = false
    this.#stopTimeout()
    const hadError = error !== null && error !== undefined
    const tell = (): void => { this.emit('close', hadError) }
    // The error is told in a tick that this asks for, and before the end.
    callback(error)
    waiting?.(error ?? streamDestroyed('write'))
    this._server?._nativeSocketGone()
    this._server = null
    if (!isClosed) {
      below.once('close', tell)
      below.destroy()
    } else if (hadError) {
      process.nextTick(tell)
    } else {
      tell()
    }
  }

  /** Who calls it destroys it, after the last event. */
  #takeResource(): AsyncResource | undefined {
    const resource = this.#resource
    this.#resource = undefined
    return resource
  }

  #destroyWithReset(): void {
    this.#reset = true
    this.destroy()
  }
}

// eslint-disable-next-line @typescript-eslint/unbound-method -- it is only compared
const plainWrite = Socket.prototype._write

/** What is left of a connection whose socket was destroyed, and may have another by now: its 'close'. */
class Closing implements DataReceiver {
  _nativeRound = 0
  /** As a handle of libuv's: the immediates that waited when it was closed run first. */
  readonly _nativeChecks = netEngine().untilChecked()
  readonly #socket: Socket
  readonly #hadError: boolean

  constructor(socket: Socket, readonly _nativeResource: AsyncResource, hadError: boolean) {
    this.#socket = socket
    this.#hadError = hadError
    // Whatever `unref` said, as a handle of libuv's that closes.
    netEngine().ref()
  }

  _nativeHappened({ kind }: TransportEvent): void {
    if (kind !== 'closed') return
    netEngine().unref()
    this._nativeResource.emitDestroy()
    this.#socket.emit('close', this.#hadError)
  }

  _nativeReceived(): void {
    // The socket was destroyed: what still comes is dropped.
  }
}

/** What is left of a connection that another process has: its output, until the kernel has it. */
class Leaving implements DataReceiver {
  _nativeRound = 0
  readonly #connection: TransportConnection

  constructor(connection: TransportConnection, readonly _nativeResource: AsyncResource) {
    this.#connection = connection
    connection.pause()
    connection.reportWrites = connection.queuedBytes > 0
    this.#closeIfDone()
  }

  _nativeHappened({ kind }: TransportEvent): void {
    if (kind === 'written') this.#closeIfDone()
    else if (kind === 'closed') this._nativeResource.emitDestroy()
  }

  _nativeReceived(): void {
    // It came before the other process had it.
  }

  _nativeContinue(): void {
    // Only a socket asks to be continued.
  }

  #closeIfDone(): void {
    if (this.#connection.queuedBytes === 0) this.#connection.close()
  }
}

function emitClose(socket: Socket, resource: AsyncResource, hadError: boolean): void {
  resource.emitDestroy()
  resource.runInAsyncScope(() => { socket.emit('close', hadError) })
}

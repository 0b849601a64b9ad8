/**
 * The part of a socket that is not its streams: addresses, options of the kernel's socket, the time-out, and
 * whether it keeps the process alive.
 *
 * Owns the reference to the connection; socket.ts sets it.
 */
import { AsyncResource } from 'node:async_hooks'
import type * as nodeNet from 'node:net'
import { Duplex } from 'node:stream'
import { socketError } from '../support/errors.js'
import { performance } from '../support/real-time.js'
import type { SocketAddress, TransportConnection } from '../transport/transport.js'
import { netEngine, type NetEngine } from './engine.js'
import { checkFunction, checkInt32, checkNumber, invalidType, nodeError, timerDuration } from './errors.js'
import { SocketHandle, type HandleOwner } from './handle.js'
import { inPlace } from './in-place.js'
import { startTimeout, stopTimeout, type Expiring, type TimeoutEntry } from './timeouts.js'

/** Options of node:net. */
export interface SocketOptions extends nodeNet.SocketConstructorOpts {
  noDelay?: boolean | undefined
  keepAlive?: boolean | undefined
  keepAliveInitialDelay?: number | undefined
  highWaterMark?: number | undefined
}

/** Resources say when they end: who maps them by their ids must hear it. */
const MANUAL = { requireManualDestroy: true }

/** The async context of a socket that gets a connection; `triggerAsyncId` is that of its server. */
export function socketResource(isPipe: boolean, triggerAsyncId?: number): AsyncResource {
  const trigger = triggerAsyncId === undefined ? {} : { triggerAsyncId }
  return new AsyncResource(isPipe ? 'PIPEWRAP' : 'TCPWRAP', { ...trigger, requireManualDestroy: true })
}

/** Times are seconds; what is left out is libuv's default. */
interface KeepAlive {
  readonly on: boolean
  readonly delay: number
  readonly interval: number | undefined
  readonly count: number | undefined
}

/** As Node takes them: milliseconds. */
interface KeepAliveArguments {
  readonly enable?: unknown
  readonly initialDelay?: unknown
  readonly interval?: unknown
  readonly count?: unknown
}

/** Milliseconds, of what may be any number, as whole seconds. */
const wholeSeconds = (milliseconds: unknown): number => ~~(Number(milliseconds) / 1000)

function keepAliveOf({ enable, initialDelay, interval, count }: KeepAliveArguments): KeepAlive {
  return {
    on: Boolean(enable),
    delay: wholeSeconds(initialDelay),
    interval: interval === undefined ? undefined : wholeSeconds(interval),
    count: count === undefined ? undefined : ~~Number(count),
  }
}

/** An empty object, as Node's, where there is no address. */
function addressObject(address: SocketAddress | undefined): Partial<nodeNet.AddressInfo> {
  if (address === undefined || address.family === 'unix') return {}
  return { address: address.address, family: address.family, port: address.port }
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

export abstract class SocketBase extends inPlace(Duplex) implements Expiring, HandleOwner {
  connecting = false
  /** The server that accepted it. */
  server: unknown = null
  _hadError = false
  _parent = null
  _host: string | null = null
  timeout: number | undefined = undefined
  #resource: AsyncResource | undefined = undefined
  /** The async context of 'timeout': that of `setTimeout`. */
  #timeoutResource: AsyncResource | undefined = undefined

  /** For the engine's use. */
  _nativeRound = 0

  // Of Expiring.
  _nativeLimit = 0
  _nativeActive = 0
  _nativeEntry: TimeoutEntry | undefined = undefined

  protected readonly _nativeEngine: NetEngine = netEngine()
  protected _nativeLink: TransportConnection | undefined = undefined
  protected _nativeBytesRead = 0
  protected _nativeBytesSent = 0
  #remote: SocketAddress | undefined = undefined
  #handle: SocketHandle | undefined = undefined
  #givenHandle: SocketHandle | null | undefined = undefined
  #referenced = true
  #reads = false
  /** As the engine was told. */
  #keepsAlive = false
  #noDelay: boolean
  #keepAlive: KeepAlive
  #typeOfService: number | undefined = undefined

  constructor(options: SocketOptions) {
    checkOptions(options)
    super({
      ...options,
      allowHalfOpen: Boolean(options.allowHalfOpen),
      emitClose: false,
      autoDestroy: true,
      decodeStrings: false,
      signal: undefined,
    })
    this.#noDelay = Boolean(options.noDelay)
    this.#keepAlive = {
      on: Boolean(options.keepAlive),
      delay: Math.max(0, wholeSeconds(options.keepAliveInitialDelay ?? 0)),
      interval: undefined,
      count: undefined,
    }
  }

  /** The async context of the connection's events: as Node's handle, it comes with `connect`. */
  get _nativeResource(): AsyncResource {
    return this.#resource as AsyncResource
  }

  get _connecting(): boolean {
    return this.connecting
  }

  /**
   * As long as Node's socket would have its handle, which a destroyed one has given up.
   * Members that ask for it work on the prototype, too, which tools look at: so it is no private getter.
   */
  static #isAttached(socket: SocketBase): boolean {
    return (socket._nativeLink !== undefined || socket.connecting) && !socket.destroyed
  }

  /** While it connects or is connected, what programs use of libuv's; otherwise null, as Node's. */
  get _handle(): SocketHandle | null {
    if (!(#remote in this) || this.destroyed) return null
    if (this.#givenHandle !== undefined) return this.#givenHandle
    if (!SocketBase.#isAttached(this) && this.#handle?.closed !== true) return null
    return (this.#handle ??= new SocketHandle(this))
  }

  /** Programs may put what they like there; only they find it. After null nothing is written any more. */
  set _handle(given: SocketHandle | null) {
    this.#givenHandle = given
    this._nativeUpdateDirect()
  }

  /** A program has put null in the place of its handle. */
  protected get _nativeWithoutHandle(): boolean {
    return this.#givenHandle === null
  }

  /** A program has closed its handle. */
  protected get _nativeHandleClosed(): boolean {
    return this.#handle?.closed === true
  }

  protected abstract _nativeUpdateDirect(): void

  abstract _nativeHandleClose(closed: () => void): void

  get _nativeReferenced(): boolean {
    return this.#referenced
  }

  abstract _nativeReadStop(): void

  abstract _nativeReadStart(): void

  get pending(): boolean {
    return !SocketBase.#isAttached(this) || this.connecting
  }

  get readyState(): nodeNet.SocketReadyState {
    if (this.connecting) return 'opening'
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }

  get bufferSize(): number | undefined {
    return SocketBase.#isAttached(this) ? this.writableLength : undefined
  }

  get bytesRead(): number {
    return this._nativeBytesRead
  }

  address(): Partial<nodeNet.AddressInfo> {
    return this._getsockname()
  }

  _getpeername(): Partial<nodeNet.AddressInfo> {
    if (!(#remote in this)) return {}
    if (SocketBase.#isAttached(this) && !this.connecting) {
      this.#remote ??= this._nativeLink?.peer ?? this._nativeLink?.remote
    }
    return addressObject(this.#remote)
  }

  _getsockname(): Partial<nodeNet.AddressInfo> {
    return addressObject(SocketBase.#isAttached(this) ? this._nativeLink?.local : undefined)
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

  setNoDelay(enable?: unknown): this {
    const on = enable === undefined || Boolean(enable)
    if (on === this.#noDelay) return this
    this.#noDelay = on
    this.#applyNoDelay()
    return this
  }

  /**
   * @param enable or an object of all four, as `{ enable, initialDelay, interval, count }`
   * @param initialDelay milliseconds of silence before the first probe; 0 leaves it as it is
   * @param interval milliseconds between probes
   * @param count so many probes without an answer end the connection
   */
  setKeepAlive(enable?: unknown, initialDelay?: unknown, interval?: unknown, count?: unknown): this {
    const given = typeof enable === 'object' && enable !== null ? enable as KeepAliveArguments : undefined
    const next = given === undefined
      ? keepAliveOf({ enable, initialDelay, interval, count })
      : keepAliveOf(given)
    const last = this.#keepAlive
    const same = next.delay === last.delay && next.interval === last.interval && next.count === last.count
    if (last.on === next.on && (!next.on || same)) return this
    this.#keepAlive = next
    this.#applyKeepAlive()
    return this
  }

  /** @param value of IP_TOS, or of the traffic class of IPv6, from 0 to 255; also before it connects */
  setTypeOfService(value: number): this {
    if (Number.isNaN(value)) throw invalidType('tos', 'of type number', value)
    checkInt32(value, 'tos', 0, 255)
    if (value === this.#typeOfService) return this
    this.#typeOfService = value
    this.#applyTypeOfService((error) => { throw error })
    return this
  }

  getTypeOfService(): number {
    const result = this.#hasTypeOfService() ? this._nativeLink?.typeOfService?.() : undefined
    if (result !== undefined && result < 0) throw socketError(result, 'getTypeOfService')
    return result ?? this.#typeOfService ?? 0
  }

  /**
   * The kernel's number of the connection, if there is one: so a child process can have the socket as its
   * `stdio`. As Node does then, this socket stops reading; `resume()` takes that back.
   */
  get fd(): number | undefined {
    if (!(#remote in this) || !SocketBase.#isAttached(this) || this.connecting) return undefined
    const descriptor = this._nativeLink?.descriptor
    if (descriptor === undefined || descriptor < 0) return undefined
    this._nativeLendInput()
    return descriptor
  }

  /** @param milliseconds without anything that comes or goes until 'timeout' is emitted; 0 for never */
  setTimeout(milliseconds: number, callback?: () => void): this {
    if (this.destroyed) return this
    this.timeout = milliseconds
    this._nativeLimit = timerDuration(milliseconds, 'msecs')
    if (callback !== undefined) checkFunction(callback, 'callback')
    if (this._nativeLimit === 0) {
      this._nativeStopTimeout()
      if (callback !== undefined) this.removeListener('timeout', callback)
      return this
    }
    this._nativeActive = performance.now()
    this.#timeoutResource?.emitDestroy()
    this.#timeoutResource = new AsyncResource('Timeout', MANUAL)
    startTimeout(this)
    // Also what was written before may take long.
    this._nativeOutputMoves()
    if (callback !== undefined) this.once('timeout', callback)
    return this
  }

  ref(): this {
    this.#refer(true)
    return this
  }

  unref(): this {
    this.#refer(false)
    return this
  }

  /** Something came or went. */
  _unrefTimer(): void {
    if (this._nativeLimit > 0) this._nativeTouched(performance.now())
  }

  _nativeExpired(): void {
    // The peer takes what was written, however slowly: that is no silence.
    if (this._nativeOutputMoves()) this._nativeTouched(performance.now())
    else this.#timeoutResource?.runInAsyncScope(this.#timedOut, this)
  }

  protected _nativeTouched(now: number): void {
    this._nativeActive = now
    // It has come up, and counts anew.
    if (this._nativeEntry === undefined) startTimeout(this)
  }

  protected _nativeStopTimeout(): void {
    this._nativeLimit = 0
    stopTimeout(this)
    this.#timeoutResource?.emitDestroy()
    this.#timeoutResource = undefined
  }

  /** It gets what Node calls a handle: an async context, counters, no peer yet. */
  protected _nativeBegin(resource: AsyncResource): void {
    this.#resource = resource
    if (this.#givenHandle === null) this.#givenHandle = undefined
    if (this.#handle?.closed === true) this.#handle = undefined
    this.#remote = undefined
    this._nativeBytesRead = 0
    this._nativeBytesSent = 0
  }

  /** Who calls it destroys it, after the last event. */
  protected _nativeTakeResource(): AsyncResource | undefined {
    const resource = this.#resource
    this.#resource = undefined
    return resource
  }

  /** Whether output waits, and the kernel has taken some since the last write, or since this was asked. */
  protected abstract _nativeOutputMoves(): boolean

  /** The descriptor is given to somebody else, too, who is to read it. */
  protected abstract _nativeLendInput(): void

  /** The kernel's socket is there: it gets its options. */
  protected _nativeApplyOptions(noDelay: boolean): void {
    if (this.#noDelay !== noDelay || (noDelay && this.#handle !== undefined)) this.#applyNoDelay()
    if (this.#keepAlive.on) this.#applyKeepAlive()
    if (this.#typeOfService !== undefined) this.#applyTypeOfService((error) => { this.emit('error', error) })
  }

  protected get _nativeWantsNoDelay(): boolean {
    return this.#noDelay
  }

  /**
   * Whether it reads from its connection. As Node's, a socket keeps the process alive while it does, if it is
   * referenced. (Output that waits, attempts to connect and what is closing do that by themselves; a lookup
   * is Node's.)
   */
  protected _nativeReads(reads: boolean): void {
    this.#reads = reads
    this.#updateAlive()
  }

  #refer(on: boolean): void {
    this.#referenced = on
    this.#updateAlive()
  }

  #updateAlive(): void {
    const on = this.#reads && this.#referenced
    if (on === this.#keepsAlive) return
    this.#keepsAlive = on
    if (on) this._nativeEngine.ref()
    else this._nativeEngine.unref()
  }

  // By the handle, if somebody has asked for it: programs put their own functions on it.

  #applyNoDelay(): void {
    if (this._nativeLink === undefined) return
    const to = this.#handle
    if (to === undefined) this._nativeSetNoDelay(this.#noDelay)
    else to.setNoDelay(this.#noDelay)
  }

  #applyKeepAlive(): void {
    if (this._nativeLink === undefined) return
    const { on, delay, interval, count } = this.#keepAlive
    const to = this.#handle
    if (to === undefined) this._nativeSetKeepAlive(on, delay, interval, count)
    else to.setKeepAlive(on, delay, interval, count)
  }

  _nativeSetNoDelay(on: boolean): void {
    this._nativeLink?.setNoDelay(on)
  }

  _nativeSetKeepAlive(on: boolean, delay: number, interval?: number, count?: number): void {
    this._nativeLink?.setKeepAlive(on, delay, interval, count)
  }

  /** Node's Unix sockets only keep what was set. */
  #hasTypeOfService(): boolean {
    return SocketBase.#isAttached(this) && !this.connecting && this._nativeLink?.remote?.family !== 'unix'
  }

  #applyTypeOfService(failed: (error: Error) => void): void {
    if (!this.#hasTypeOfService()) return
    const result = this._nativeLink?.typeOfService?.(this.#typeOfService) ?? 0
    if (result < 0) failed(socketError(result, 'setTypeOfService'))
  }

  #timedOut(): void {
    this.emit('timeout')
  }
}

/**
 * The part of a socket that is not its streams: addresses, options of the kernel's socket, the time-out, and
 * whether it keeps the process alive.
 *
 * Owns the reference to the connection; socket.ts sets it.
 */
import { AsyncResource } from 'node:async_hooks'
import type * as nodeNet from 'node:net'
import { Duplex } from 'node:stream'
import type { SocketAddress, TransportConnection } from '../transport/transport.js'
import { netEngine, type NetEngine } from './engine.js'
import { checkFunction, checkNumber, nodeError, timerDuration } from './errors.js'
import { SocketHandle, type HandleOwner } from './handle.js'
import { startTimeout, stopTimeout, type Expiring, type TimeoutEntry } from './timeouts.js'

/** Options of node:net. */
export interface SocketOptions extends nodeNet.SocketConstructorOpts {
  noDelay?: boolean | undefined
  keepAlive?: boolean | undefined
  keepAliveInitialDelay?: number | undefined
  highWaterMark?: number | undefined
}

/** Milliseconds, of what may be any number, as whole seconds. */
const wholeSeconds = (milliseconds: unknown): number => ~~(Number(milliseconds) / 1000)

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

export abstract class SocketBase extends Duplex implements Expiring, HandleOwner {
  connecting = false
  /** The server that accepted it. */
  server: unknown = null
  _hadError = false
  _parent = null
  _host: string | null = null
  timeout: number | undefined = undefined
  /** Its handlers' async context. */
  readonly _nativeResource = new AsyncResource('TCPWRAP', { requireManualDestroy: true })

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
  #referenced = true
  /** It has a connection, or is about to. */
  #alive = false
  #noDelay: boolean
  #keepAlive: boolean
  #keepAliveDelay: number

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
    this.#keepAlive = Boolean(options.keepAlive)
    this.#keepAliveDelay = Math.max(0, wholeSeconds(options.keepAliveInitialDelay ?? 0))
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

  /** While it is connected, what programs use of libuv's; otherwise null, as Node's. */
  get _handle(): SocketHandle | null {
    if (this._nativeLink === undefined || this.destroyed) return null
    return (this.#handle ??= new SocketHandle(this))
  }

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
    if (SocketBase.#isAttached(this) && !this.connecting) this.#remote ??= this._nativeLink?.remote
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
    this._nativeLink?.setNoDelay(on)
    return this
  }

  setKeepAlive(enable?: boolean, initialDelay?: number): this {
    const on = Boolean(enable)
    const seconds = wholeSeconds(initialDelay)
    if (on === this.#keepAlive && (!on || seconds === this.#keepAliveDelay)) return this
    this.#keepAlive = on
    this.#keepAliveDelay = seconds
    this.#applyKeepAlive()
    return this
  }

  /** @param milliseconds without anything that comes or goes until 'timeout' is emitted; 0 for never */
  setTimeout(milliseconds: number, callback?: () => void): this {
    if (this.destroyed) return this
    this.timeout = milliseconds
    this._nativeLimit = timerDuration(milliseconds, 'msecs')
    if (callback !== undefined) checkFunction(callback, 'callback')
    if (this._nativeLimit === 0) {
      if (callback !== undefined) this.removeListener('timeout', callback)
      return this
    }
    this._nativeActive = performance.now()
    startTimeout(this)
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
    this._nativeResource.runInAsyncScope(this.#timedOut, this)
  }

  protected _nativeTouched(now: number): void {
    this._nativeActive = now
    // It has come up, and counts anew.
    if (this._nativeEntry === undefined) startTimeout(this)
  }

  protected _nativeStopTimeout(): void {
    this._nativeLimit = 0
    stopTimeout(this)
  }

  /** The kernel's socket is there: it gets its options. */
  protected _nativeApplyOptions(noDelay: boolean): void {
    if (this.#noDelay !== noDelay) this._nativeLink?.setNoDelay(this.#noDelay)
    if (this.#keepAlive) this.#applyKeepAlive()
  }

  protected get _nativeWantsNoDelay(): boolean {
    return this.#noDelay
  }

  /** Whether there is a connection, or an attempt at one. */
  protected _nativeSetAlive(alive: boolean): void {
    if (alive === this.#alive) return
    this.#alive = alive
    if (!this.#referenced) return
    if (alive) this._nativeEngine.ref()
    else this._nativeEngine.unref()
  }

  #refer(on: boolean): void {
    if (on === this.#referenced) return
    this.#referenced = on
    if (!this.#alive) return
    if (on) this._nativeEngine.ref()
    else this._nativeEngine.unref()
  }

  #applyKeepAlive(): void {
    this._nativeLink?.setKeepAlive(this.#keepAlive, this.#keepAliveDelay)
  }

  #timedOut(): void {
    this.emit('timeout')
  }
}

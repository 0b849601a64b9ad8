/**
 * The socket: a Duplex over one connection of the native engine, with the shape of net.Socket.
 *
 * Owns the connection from `attach` on, and the streams' flow control over it. The engine batches: what is
 * written in a turn goes to the kernel at its end, in one system call for each socket.
 *
 * Invariants: the connection is paused only after `push` said false, so that `_read` comes; a write goes
 * around the stream's queue (`#direct`) only if nothing is queued, corked, ended or destroyed; the callback of
 * a write or of the end comes when the kernel has taken the bytes, or with an error.
 */
import { addAbortSignal } from 'node:stream'
import * as nodeNet from 'node:net'
import type {
  ConnectOptions, SocketError, TransportConnection, TransportEvent,
} from '../transport/transport.js'
import { connectArgs, destination } from './connect-args.js'
import { Dialer, type DialOwner } from './dialer.js'
import type { DataReceiver, Waiter } from './engine.js'
import {
  checkString, closedBeforeConnection, invalidHandleType, socketClosed, streamDestroyed, withoutAddress,
} from './errors.js'
import { OnRead, onReadOptions } from './onread.js'
import { SocketBase, type SocketOptions } from './socket-base.js'

type Callback = (error?: Error | null) => void

/** A piece that Node's streams have queued. */
interface Chunk {
  readonly chunk: Uint8Array | string
  readonly encoding: BufferEncoding
}

/** What Node's streams keep of their reading side; the fast path looks at it. */
interface ReadableState {
  readonly flowing: boolean | null
  readonly length: number
  readonly decoder: unknown
  readonly awaitDrainWriters: unknown
  dataEmitted: boolean
}

/** What a server needs to know of its sockets. */
export interface SocketOwner {
  socketGone(): void
}

function isUtf8(encoding: unknown): boolean {
  return encoding === undefined || encoding === null || encoding === 'utf8' || encoding === 'utf-8'
}

function bytesOf({ chunk, encoding }: Chunk): Uint8Array | string {
  return typeof chunk !== 'string' || isUtf8(encoding) ? chunk : Buffer.from(chunk, encoding)
}

/** As Node's: whoever writes after the other side's end, and does not allow half-open sockets, is told. */
function writeAfterFin(this: Socket, chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
  if (!this.writable) return Socket.prototype.write.call(this, chunk, encoding, callback)
  const error = Object.assign(new Error('This socket has been ended by the other party'), { code: 'EPIPE' })
  const done = typeof encoding === 'function' ? encoding : callback
  if (typeof done === 'function') process.nextTick(done, error)
  this.destroy(error)
  return false
}

function onEnd(this: Socket): void {
  if (!this.allowHalfOpen) this.write = writeAfterFin
}

export class Socket extends SocketBase implements DataReceiver, Waiter, DialOwner {
  _server: SocketOwner | null = null
  declare autoSelectFamilyAttemptedAddresses?: string[]
  #dialer: Dialer | undefined = undefined
  /** There is a connection, and this socket was not destroyed. */
  #open = false
  #direct = false
  #reset = false
  #textDirect = true
  #ended = false
  readonly #onRead: OnRead | undefined
  /** What waits for the connection. */
  #pending: (() => void) | undefined = undefined
  #pendingBytes = 0
  /** Of the write, or of the end, that the kernel is taking. */
  #onTaken: Callback | undefined = undefined

  constructor(options?: SocketOptions | number) {
    if (typeof options === 'number') options = { fd: options }
    if (options?.fd !== undefined || (options as { handle?: unknown } | undefined)?.handle) {
      // The engine cannot adopt what others have opened: such a socket is Node's own.
      return new nodeNet.Socket(options) as unknown as Socket
    }
    super(options ?? {})
    const onread = onReadOptions((options as { onread?: unknown } | undefined)?.onread)
    this.#onRead = onread === undefined ? undefined : new OnRead(onread)
    this.on('end', onEnd)
    if (options?.signal) addAbortSignal(options.signal, this)
  }

  // Connecting.

  connect(...args: unknown[]): this {
    const [options, callback] = connectArgs(args)
    if (callback !== null) this.once('connect', callback)
    if (Object.hasOwn(this, 'write')) delete (this as { write?: unknown }).write
    const { path } = options
    if (path) checkString(path, 'options.path')
    const to = path ? undefined : destination(options)
    if (this.destroyed) this.#renew()
    this._unrefTimer()
    this.connecting = true
    this.#dialer?.cancel()
    this.#dialer = new Dialer(this)
    this.setAlive(true)
    if (to === undefined) this.#dialer.startPath(path as string)
    else this.#dialer.start(to)
    return this
  }

  get connectOptions(): ConnectOptions {
    return { noDelay: this.wantsNoDelay }
  }

  connected(connection: TransportConnection): void {
    const { noDelay = false } = this.connectOptions
    this.#dialer = undefined
    this.connecting = false
    this.attach(connection)
    this.#direct = this.#isDirect()
    this.applyOptions(noDelay)
    this._unrefTimer()
    this.emit('connect')
    this.emit('ready')
    if (!this.#open) return
    this.#sendPending()
    if (!this.isPaused()) this.read(0)
  }

  failed(error: Error): void {
    this.destroy(error)
  }

  /** The connection is there: just established, or accepted. */
  attach(connection: TransportConnection): void {
    connection.context = this
    this.link = connection
    this.#open = true
    this.#direct = true
    this.setAlive(true)
  }

  /** Of a server: options of its own sockets. */
  accepted(connection: TransportConnection, server: SocketOwner, listenerNoDelay: boolean): void {
    this.attach(connection)
    this.applyOptions(listenerNoDelay)
    this.server = server
    this._server = server
  }

  // What the engine reports.

  received(data: Buffer): void {
    if (!this.#open) return
    this.received_ += data.length
    if (this.limit > 0) this.touched(this.engine.now)
    const state = (this as unknown as { _readableState: ReadableState })._readableState
    if (
      state.flowing === true && state.length === 0 && state.decoder === null
      && state.awaitDrainWriters === null && this.#onRead === undefined
    ) {
      // What `push` comes to in this case, without its bookkeeping for the others.
      if (!state.dataEmitted) state.dataEmitted = true
      this.emit('data', data)
    } else if (this.#onRead !== undefined) {
      if (!this.#onRead.take(data)) this.link?.pause()
    } else if (!this.push(data)) {
      this.link?.pause()
    }
  }

  happened({ kind, error }: TransportEvent): void {
    if (kind === 'end') this.#inputEnded()
    else if (kind === 'written') this.offered()
    else if (kind === 'closed') this.#closed(error)
  }

  /** The kernel was offered all that was written. */
  offered(): void {
    const callback = this.#onTaken
    const connection = this.link
    if (callback === undefined || connection === undefined) return
    const all = connection.queuedBytes === 0
    connection.reportWrites = !all
    if (this.limit > 0) this.touched(performance.now())
    if (!all) return
    this.#onTaken = undefined
    callback()
    this.#direct = this.#isDirect()
  }

  #inputEnded(): void {
    this.#ended = true
    if (!this.#open || this.#onRead?.holds === true) return
    this.push(null)
    this.read(0)
  }

  #closed(error: SocketError | undefined): void {
    const destroyed = !this.#open
    const callback = this.#onTaken
    this.#onTaken = undefined
    // Who asks later for the peer's address gets it, if the program asked before.
    this.link = undefined
    this.#open = false
    this.#direct = false
    this.setAlive(false)
    if (destroyed) {
      this.emit('close', this._hadError)
    } else if (error === undefined) {
      callback?.()
    } else {
      const failure = withoutAddress(error)
      this.destroy(failure)
      callback?.(failure)
    }
  }

  // Reading.

  override _read(): void {
    if (this.connecting || !this.#open) return
    // A command that is not needed costs less than to know that.
    if (this.#onRead === undefined) this.link?.resume()
  }

  override pause(): this {
    if (this.#onRead !== undefined && this.#open) {
      this.#onRead.stop()
      this.link?.pause()
    }
    return super.pause()
  }

  override resume(): this {
    this.#resumeOnRead()
    return super.resume()
  }

  override read(size?: number): unknown {
    this.#resumeOnRead()
    return super.read(size)
  }

  #resumeOnRead(): void {
    if (this.#onRead === undefined || !this.#open || !this.#onRead.stopped) return
    if (!this.#onRead.resume()) return
    this.link?.resume()
    if (this.#ended) this.#inputEnded()
  }

  // Writing.

  override write(chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    if (this.#direct && callback === undefined && typeof encoding !== 'function') {
      const text = typeof chunk === 'string'
      if (text ? this.#textDirect && isUtf8(encoding) : chunk instanceof Uint8Array) {
        const length = text ? Buffer.byteLength(chunk) : (chunk as Uint8Array).length
        if (length < this.writableHighWaterMark) {
          this.#send(chunk as Uint8Array | string, length)
          return true
        }
      }
    }
    this.#direct = false
    return (super.write as (...args: unknown[]) => boolean)(chunk, encoding, callback)
  }

  override _write(chunk: Uint8Array | string, encoding: BufferEncoding, callback: Callback): void {
    this._writev([{ chunk, encoding }], callback)
  }

  override _writev(chunks: readonly Chunk[], callback: Callback): void {
    if (this.connecting) {
      this.#pendingBytes = chunks.reduce((sum, piece) => sum + Buffer.byteLength(bytesOf(piece)), 0)
      this.#onTaken = callback
      this.#pending = () => { this._writev(chunks, callback) }
      return
    }
    if (!this.#open) {
      callback(socketClosed())
      return
    }
    if (this.limit > 0) this.touched(performance.now())
    for (const piece of chunks) {
      const data = bytesOf(piece)
      this.sent_ += Buffer.byteLength(data)
      this.link?.write(data)
    }
    this.#awaitTaken(callback)
  }

  override _final(callback: Callback): void {
    if (this.connecting) {
      this.#pending = () => { this._final(callback) }
      return
    }
    if (!this.#open) {
      callback()
      return
    }
    this.link?.shutdown()
    this.#awaitTaken(callback)
  }

  override cork(): void {
    this.#direct = false
    super.cork()
  }

  override uncork(): void {
    super.uncork()
    this.#direct = this.#isDirect()
  }

  override end(...args: unknown[]): this {
    this.#direct = false
    ;(super.end as (...args: unknown[]) => unknown)(...args)
    return this
  }

  override setDefaultEncoding(encoding: BufferEncoding): this {
    super.setDefaultEncoding(encoding)
    this.#textDirect = isUtf8(encoding)
    return this
  }

  get _bytesDispatched(): number {
    return this.sent_
  }

  get bytesWritten(): number {
    let bytes = this.sent_ + this.#pendingBytes
    const queued = (this as unknown as { writableBuffer?: readonly Chunk[] }).writableBuffer ?? []
    for (const { chunk, encoding } of queued) {
      bytes += typeof chunk === 'string' ? Buffer.byteLength(chunk, encoding) : chunk.length
    }
    return bytes
  }

  #isDirect(): boolean {
    return this.#open && this.writableLength === 0 && this.writableCorked === 0 && !this.writableEnded
  }

  /** Around the stream's queue: nothing is before it. */
  #send(data: Uint8Array | string, length: number): void {
    const connection = this.link as TransportConnection
    connection.write(data)
    this.sent_ += length
    if (this.limit > 0) this.touched(performance.now())
    // What follows takes the way on which the stream counts, until the kernel has caught up.
    if (connection.queuedBytes >= this.writableHighWaterMark) this.#direct = false
  }

  #awaitTaken(callback: Callback): void {
    this.#onTaken = callback
    this.engine.awaitOffer(this)
  }

  #sendPending(): void {
    const pending = this.#pending
    this.#pending = undefined
    this.#pendingBytes = 0
    this.#onTaken = undefined
    pending?.()
  }

  // The end.

  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', this.destroy)
  }

  resetAndDestroy(): this {
    if (this.connecting) {
      this.once('connect', () => this.#destroyWithReset())
    } else if (this.link === undefined || !this.#open) {
      this.destroy(socketClosed())
    } else if (this.link.remote?.family === 'unix') {
      throw invalidHandleType()
    } else {
      this.#destroyWithReset()
    }
    return this
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    const dialing = this.#dialer !== undefined
    const waiting = this.#onTaken
    this.connecting = false
    this.stopTimeout()
    this.#dialer?.cancel()
    this.#dialer = undefined
    this.#direct = false
    this.#pending = undefined
    this.#onTaken = undefined
    this._hadError = error !== null && error !== undefined
    const connection = this.#open ? this.link : undefined
    this.#open = false
    if (connection !== undefined) {
      if (this.#reset) connection.abort()
      else connection.close()
      callback(error)
    } else {
      this.setAlive(false)
      callback(error)
      process.nextTick(() => { this.emit('close', dialing ? this._hadError : false) })
    }
    waiting?.(error ?? (dialing ? closedBeforeConnection() : streamDestroyed('write')))
    this._server?.socketGone()
    this._server = null
  }

  #destroyWithReset(): void {
    this.#reset = true
    this.destroy()
  }

  /** After its end it may connect again. */
  #renew(): void {
    (this as unknown as { _undestroy(): void })._undestroy()
    this.#reset = false
    this.#ended = false
    this._hadError = false
  }
}

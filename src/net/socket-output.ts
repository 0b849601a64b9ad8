/**
 * The writing half of a socket: a Writable over the connection.
 *
 * Owns the order of what is written. What goes around the stream's queue goes to the kernel at the end of
 * the turn, in one system call for each socket; what comes out of the queue goes at once: the queue waits.
 *
 * Invariants: a write goes around the stream's queue (`direct`) only if nothing is queued, corked, ended or
 * destroyed, and nobody has put a `_write` of their own in the place of this one; its bytes are taken by the
 * kernel, or copied, before it returns true, as programs for node:net use their buffers again then. The
 * callback of a write or of the end comes when the kernel has taken the bytes, or with an error: until then
 * the memory of what waits in the stream's queue is lent.
 */
import { AsyncResource } from 'node:async_hooks'
import { constants } from 'node:os'
import { socketError } from '../support/errors.js'
import { performance } from '../support/real-time.js'
import type { TransportConnection } from '../transport/transport.js'
import { closedBeforeConnection, nodeError, socketClosed } from './errors.js'
import { SocketBase } from './socket-base.js'

export type Callback = (error?: Error | null) => void

/** A piece that Node's streams have queued. */
interface Chunk {
  readonly chunk: Uint8Array | string
  readonly encoding: BufferEncoding
}

/** Bytes. When more than that wait, they may wait for long. */
const LONG = 8192

function isUtf8(encoding: unknown): boolean {
  return encoding === undefined || encoding === null || encoding === 'utf8' || encoding === 'utf-8'
}

function bytesOf({ chunk, encoding }: Chunk): Uint8Array | string {
  if (typeof chunk !== 'string' || isUtf8(encoding)) return chunk
  if ((encoding as string) !== 'buffer') return Buffer.from(chunk, encoding)
  throw nodeError(TypeError, 'ERR_INVALID_ARG_TYPE', 'Second argument must be a buffer')
}

export abstract class SocketOutput extends SocketBase {
  /** There is a connection, and this socket was not destroyed. */
  protected _nativeOpen = false
  /** It has ended, and the kernel had taken all before that. */
  protected _nativeAllTaken = false
  /** The kernel was told of the end. */
  protected _nativeEndTaken = false
  #direct = false
  #textDirect = true
  /** Of a write that waits for the connection. */
  #pendingBytes = 0
  /** How many bytes the kernel had taken when something was written, or when the time-out last came up. */
  #takenBefore = 0
  /** Of the write, or of the end, that the kernel is taking. */
  #onTaken: Callback | undefined = undefined

  /** The kernel was offered all that was written, or took more of it. */
  protected _nativeOffered(): void {
    const callback = this.#onTaken
    const connection = this._nativeLink
    if (connection === undefined) return
    const all = connection.queuedBytes === 0
    // Without a callback it is a time-out that wants to know.
    connection.reportWrites = !all
    if (!all || callback === undefined) return
    this.#onTaken = undefined
    callback()
    this.#direct = this.#isDirect()
  }

  override write(chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    const direct = this.#direct && this._write === plainWrite
    if (direct && callback === undefined && typeof encoding !== 'function') {
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
    this.#writeAll([{ chunk, encoding }], callback)
  }

  override _writev(chunks: readonly Chunk[], callback: Callback): void {
    this.#writeAll(chunks, callback)
  }

  #writeAll(chunks: readonly Chunk[], callback: Callback): void {
    if (this.connecting) {
      this.#whenConnected(chunks, callback)
      return
    }
    if (!this._nativeOpen || this._nativeWithoutHandle) {
      const isClosed = this._nativeHandleClosed && !this._nativeWithoutHandle
      callback(isClosed ? socketError(-constants.errno.EBADF, 'write') : socketClosed())
      return
    }
    if (this._nativeLimit > 0) this._nativeTouched(performance.now())
    const connection = this._nativeLink as TransportConnection
    this.#takenBefore = this._nativeBytesSent - connection.queuedBytes
    for (const piece of chunks) {
      const data = bytesOf(piece)
      this._nativeBytesSent += Buffer.byteLength(data)
      connection.write(data)
    }
    this.#offer(callback)
  }

  override _final(callback: Callback): void {
    if (this.connecting) {
      this.once('connect', () => { this._final(callback) })
      return
    }
    if (!this._nativeOpen) {
      callback()
      return
    }
    const connection = this._nativeLink
    this._nativeAllTaken = connection?.queuedBytes === 0
    connection?.shutdown()
    this.#onTaken = callback
    // As Node's: not in this turn, as a write after the end that comes meanwhile is an error before; but
    // before anything that the end has brought about.
    const triggerAsyncId = this._nativeResource.asyncId()
    const resource = new AsyncResource('SHUTDOWNWRAP', { triggerAsyncId, requireManualDestroy: true })
    this._nativeEngine.continue(resource, () => {
      resource.emitDestroy()
      this._nativeEndTaken = true
      this._nativeOffered()
    })
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
    return this._nativeBytesSent
  }

  get bytesWritten(): number {
    // Of the prototype, which tools look at, too.
    if (!(#pendingBytes in this)) return undefined as unknown as number
    let bytes = this._nativeBytesSent + this.#pendingBytes
    const queued = (this as unknown as { writableBuffer?: readonly Chunk[] }).writableBuffer ?? []
    for (const { chunk, encoding } of queued) {
      bytes += typeof chunk === 'string' ? Buffer.byteLength(chunk, encoding) : chunk.length
    }
    return bytes
  }

  #whenConnected(chunks: readonly Chunk[], callback: Callback): void {
    this.#pendingBytes = chunks.reduce((sum, piece) => sum + Buffer.byteLength(bytesOf(piece)), 0)
    const onClose = (): void => { callback(closedBeforeConnection()) }
    this.once('connect', () => {
      this.off('close', onClose)
      this.#pendingBytes = 0
      this.#writeAll(chunks, callback)
    })
    this.once('close', onClose)
  }

  #isDirect(): boolean {
    if (this._nativeWithoutHandle) return false
    return this._nativeOpen && this.writableLength === 0 && this.writableCorked === 0 && !this.writableEnded
  }

  /** Around the stream's queue: nothing is before it. */
  #send(data: Uint8Array | string, length: number): void {
    const connection = this._nativeLink as TransportConnection
    connection.write(data, true)
    this._nativeBytesSent += length
    const { queuedBytes } = connection
    if (this._nativeLimit > 0) {
      this._nativeTouched(performance.now())
      this.#takenBefore = this._nativeBytesSent - queuedBytes
      // It may take long; as long as the peer takes some of it, the connection is not idle.
      if (queuedBytes > LONG) connection.reportWrites = true
    }
    // What follows takes the way on which the stream counts, until the kernel has caught up.
    if (queuedBytes >= this.writableHighWaterMark) this.#direct = false
  }

  /** Offers all that was written to the kernel, now, so that the stream hears in the same turn, mostly. */
  #offer(callback: Callback): void {
    this._nativeEngine.flush()
    const waits = (this._nativeLink?.queuedBytes ?? 0) > 0
    this.#onTaken = waits ? this.#asRequest('WRITEWRAP', callback) : callback
    this._nativeOffered()
  }

  /** In an async context of its own, as Node has for each request that libuv does not answer at once. */
  #asRequest(type: 'WRITEWRAP', callback: Callback): Callback {
    const triggerAsyncId = this._nativeResource.asyncId()
    const resource = new AsyncResource(type, { triggerAsyncId, requireManualDestroy: true })
    return (error) => {
      // Also if it throws, nothing comes from here any more.
      resource.emitDestroy()
      resource.runInAsyncScope(callback, undefined, error)
    }
  }

  protected override _nativeOutputMoves(): boolean {
    const connection = this._nativeOpen ? this._nativeLink : undefined
    if (connection === undefined) return false
    const { queuedBytes } = connection
    const taken = this._nativeBytesSent - queuedBytes
    const moves = queuedBytes > 0 && taken > this.#takenBefore
    this.#takenBefore = taken
    // From now on it hears of it in time.
    if (queuedBytes > 0) connection.reportWrites = true
    return moves
  }

  /** The connection is there, or nothing may go around the queue any more. */
  protected override _nativeUpdateDirect(): void {
    this.#takenBefore = 0
    this.#direct = this.#isDirect()
  }

  /** Nothing goes out any more. Returns whom to tell. */
  protected _nativeEndOutput(): Callback | undefined {
    const callback = this.#onTaken
    this.#onTaken = undefined
    this.#direct = false
    return callback
  }
}

// eslint-disable-next-line @typescript-eslint/unbound-method -- it is only compared
const plainWrite = SocketOutput.prototype._write

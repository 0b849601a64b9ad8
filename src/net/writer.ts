/**
 * The writing half of a socket: what the stream, or `write` around it, gives to the connection.
 *
 * Owns the order of what is written. What goes around the stream's queue goes to the kernel at the end of
 * the turn, in one system call for each socket; what comes out of the queue goes at once: the queue waits.
 *
 * Invariants: a write goes around the stream's queue (`direct`) only if nothing is queued, corked, ended or
 * destroyed; its bytes are taken by the kernel, or copied, before it returns, as programs for node:net use their
 * buffers again then. The callback of a write or of the end comes when the kernel has taken the bytes, or with
 * an error: until then the memory of what waits in the stream's queue is lent.
 */
import { AsyncResource } from 'node:async_hooks'
import { constants } from 'node:os'
import type { Duplex } from 'node:stream'
import { socketError } from '../support/errors.js'
import type { TransportConnection } from '../transport/seam/transport.js'
import { netEngine } from './engine.js'
import { closedBeforeConnection, nodeError, socketClosed } from './errors.js'

export type Callback = (error?: Error | null) => void

/** A piece that Node's streams have queued. */
export interface Chunk {
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

/** @param connection the async context of one */
function requestOf(connection: AsyncResource, type: 'WRITEWRAP' | 'SHUTDOWNWRAP'): AsyncResource {
  return new AsyncResource(type, { triggerAsyncId: connection.asyncId(), requireManualDestroy: true })
}

/** The socket, as far as this concerns it. */
type Written = Duplex & {
  /** The event that comes before anything can be written; undefined if nothing has to come. */
  readonly _nativeAwaits: string | undefined
  /** Something came or went. */
  _unrefTimer(): void
}

export class Writer {
  /** Whether what is written now may go around the stream's queue. */
  direct = false
  /** Bytes that the connection was given. */
  bytesSent = 0
  /** The stream has ended, and the kernel had taken all before that. */
  allTaken = false
  /** The kernel was told of the end. */
  endTaken = false
  /** A program has put null in the place of the socket's handle, or has closed it. */
  handle: 'there' | 'null' | 'closed' = 'there'
  /** There is a time-out, of the socket's or of the one below: what is written is no silence. */
  timed = false
  readonly #stream: Written
  #connection: TransportConnection | undefined = undefined
  /** The async context of the connection. */
  #resource: AsyncResource | undefined = undefined
  /** The stream's encoding is that of the connection. */
  #textDirect = true
  /** Of a write that waits for the connection. */
  #pendingBytes = 0
  /** How many bytes the kernel had taken when something was written, or when the time-out last came up. */
  #takenBefore = 0
  /** The connection had failed when something was written, or did so then. */
  #isLost = false
  /** Of the write, or of the end, that the kernel is taking. */
  #onTaken: Callback | undefined = undefined
  /** The socket below has ended: the kernel takes nothing of this one any more. */
  #isCut = false
  /** Of that end, until the kernel has taken what was before it. */
  #onCut: Callback | undefined = undefined

  constructor(stream: Written) {
    this.#stream = stream
  }

  get bytesWritten(): number {
    let bytes = this.bytesSent + this.#pendingBytes
    const queued = (this.#stream as unknown as { writableBuffer?: readonly Chunk[] }).writableBuffer ?? []
    for (const { chunk, encoding } of queued) {
      bytes += typeof chunk === 'string' ? Buffer.byteLength(chunk, encoding) : chunk.length
    }
    return bytes
  }

  /** The connection is there. */
  attach(connection: TransportConnection, resource: AsyncResource): void {
    this.#connection = connection
    this.#resource = resource
    this.#isLost = false
    this.update()
  }

  /** There is no connection any more. Returns whom to tell: who waited for it to take something. */
  detach(): Callback | undefined {
    const callback = this.#onTaken
    const onCut = this.#onCut
    this.#onTaken = this.#onCut = undefined
    this.#connection = undefined
    this.direct = false
    if (onCut === undefined) return callback
    return (error) => {
      callback?.(error)
      onCut()
    }
  }

  /** The socket may connect again. */
  renew(): void {
    this.endTaken = this.#isCut = false
  }

  /** Something else may have changed that `direct` depends on. */
  update(): void {
    this.#takenBefore = 0
    this.direct = this.#isDirect()
  }

  /** The stream gives what was corked by itself, if there was anything. */
  uncorked(): void {
    this.direct = this.#isDirect()
  }

  /** The stream's text is in this encoding, unless a write says otherwise. */
  setDefaultEncoding(encoding: BufferEncoding): void {
    this.#textDirect = isUtf8(encoding)
  }

  /** Around the stream's queue, if `direct`: nothing is before it. Returns whether it was taken. */
  send(chunk: unknown, encoding: unknown): boolean {
    const text = typeof chunk === 'string'
    if (!(text ? this.#textDirect && isUtf8(encoding) : chunk instanceof Uint8Array)) return false
    const length = text ? Buffer.byteLength(chunk) : (chunk as Uint8Array).length
    const limit = this.#stream.writableHighWaterMark
    if (length >= limit) return false
    const connection = this.#connection as TransportConnection
    connection.write(chunk as Uint8Array | string, true)
    this.bytesSent += length
    const { queuedBytes } = connection
    if (this.timed) {
      this.#stream._unrefTimer()
      this.#takenBefore = this.bytesSent - queuedBytes
      // It may take long; as long as the peer takes some of it, the connection is not idle.
      if (queuedBytes > LONG) connection.reportWrites = true
    }
    // What follows takes the way on which the stream counts, until the kernel has caught up.
    if (queuedBytes >= limit) this.direct = false
    return true
  }

  /** From the stream's queue. */
  write(chunks: readonly Chunk[], callback: Callback): void {
    const awaited = this.#stream._nativeAwaits
    if (awaited !== undefined) {
      this.#when(awaited, chunks, callback)
      return
    }
    if (this.#isCut) {
      callback(socketError(-constants.errno.EPIPE, 'write'))
      return
    }
    const connection = this.#connection
    if (connection === undefined || this.handle === 'null') {
      callback(this.handle === 'closed' ? socketError(-constants.errno.EBADF, 'write') : socketClosed())
      return
    }
    this.#stream._unrefTimer()
    this.#takenBefore = this.bytesSent - connection.queuedBytes
    for (const piece of chunks) {
      const data = bytesOf(piece)
      this.bytesSent += Buffer.byteLength(data)
      connection.write(data)
    }
    // Offered to the kernel, now, so that the stream hears in the same turn, mostly.
    netEngine().flush()
    if (connection.failing !== undefined) this.#isLost = true
    this.#onTaken = this.#hasTaken(connection) ? callback : this.#asRequest(callback)
    this.offered()
  }

  /** The stream has ended. */
  end(callback: Callback): void {
    const connection = this.#connection
    if (connection === undefined || this.#isCut) {
      callback()
      return
    }
    this.allTaken = this.#hasTaken(connection)
    connection.shutdown()
    this.#onTaken = callback
    // As Node's: not in this turn, as a write after the end that comes meanwhile is an error before; but
    // before anything that the end has brought about.
    const resource = this.#request('SHUTDOWNWRAP')
    netEngine().continue(resource, () => {
      resource.emitDestroy()
      this.endTaken = true
      this.offered()
    })
  }

  /**
   * The socket below ends the output, behind what this one has written until now.
   *
   * @param connection of this one, also before `attach` @param resource its async context @param callback of that end
   */
  cut(connection: TransportConnection, resource: AsyncResource, callback: Callback): void {
    this.#isCut = true
    this.direct = false
    connection.shutdown()
    this.#onCut = callback
    const request = requestOf(resource, 'SHUTDOWNWRAP')
    netEngine().continue(request, () => {
      request.emitDestroy()
      if (this.#connection === undefined) this.#tellCut()
      else this.offered()
    })
  }

  #tellCut(): void {
    const callback = this.#onCut
    this.#onCut = undefined
    callback?.()
  }

  /** The kernel was offered all that was written, or took more of it. */
  offered(): void {
    const connection = this.#connection
    if (connection === undefined) return
    const all = this.#hasTaken(connection)
    // Without a callback it is a time-out that wants to know.
    connection.reportWrites = !all
    if (!all) return
    const callback = this.#onTaken
    if (callback !== undefined) {
      this.#onTaken = undefined
      callback()
      this.direct = this.#isDirect()
    }
    this.#tellCut()
  }

  /** Whether output waits, and the kernel has taken some since the last write, or since this was asked. */
  moves(): boolean {
    const connection = this.#connection
    if (connection === undefined) return false
    const { queuedBytes } = connection
    const taken = this.bytesSent - queuedBytes
    const moves = queuedBytes > 0 && taken > this.#takenBefore
    this.#takenBefore = taken
    // From now on it hears of it in time.
    if (queuedBytes > 0) connection.reportWrites = true
    return moves
  }

  /** Whether the kernel has all that was written. Where it never will, `closed` says why. */
  #hasTaken(connection: TransportConnection): boolean {
    return connection.queuedBytes === 0 && !this.#isLost && connection.failing !== 'lost'
  }

  #isDirect(): boolean {
    if (this.#connection === undefined || this.#isCut || this.handle === 'null') return false
    const stream = this.#stream
    return stream.writableLength === 0 && stream.writableCorked === 0 && !stream.writableEnded
  }

  #when(awaited: string, chunks: readonly Chunk[], callback: Callback): void {
    this.#pendingBytes = chunks.reduce((sum, piece) => sum + Buffer.byteLength(bytesOf(piece)), 0)
    const onClose = (): void => { callback(closedBeforeConnection()) }
    this.#stream.once(awaited, () => {
      this.#stream.off('close', onClose)
      this.#pendingBytes = 0
      this.write(chunks, callback)
    })
    this.#stream.once('close', onClose)
  }

  /** In an async context of its own, as Node has for each write that libuv does not answer at once. */
  #asRequest(callback: Callback): Callback {
    const resource = this.#request('WRITEWRAP')
    return (error) => {
      // Also if it throws, nothing comes from here any more.
      resource.emitDestroy()
      resource.runInAsyncScope(callback, undefined, error)
    }
  }

  #request(type: 'WRITEWRAP' | 'SHUTDOWNWRAP'): AsyncResource {
    return requestOf(this.#resource as AsyncResource, type)
  }
}

/**
 * A Duplex in the place of a socket: what a conversation needs of a connection, over a stream.
 *
 * Invariants: nothing is read from the stream unless it is wanted; `closed` is reported once, and last;
 * what was written before `close` is handed to the stream before it ends or is destroyed.
 */
import { constants } from 'node:os'
import { finished, type Duplex } from 'node:stream'
import { socketError } from '../support/errors.js'
import { fullLimits } from '../transport/seam/limits.js'
import { overflowError, type QueueLimits } from '../transport/seam/queue-limits.js'
import type {
  SocketError, TransportConnection, TransportEvent, TransportListener,
} from '../transport/seam/transport.js'

/** Stands for what accepted the stream: so that nothing is read before it is wanted. */
const NOWHERE: TransportListener = {
  context: undefined, address: undefined, settings: undefined,
  limits: fullLimits(undefined), counts: undefined, count: () => undefined, limit: () => undefined,
  pause: () => undefined, resume: () => undefined, close: () => undefined,
}

/** What a `StreamSocket` is told, and tells. */
export interface StreamSocketOptions {
  readonly closeTimeout: number
  readonly limits: QueueLimits
  readonly report: (event: TransportEvent) => void
}

export class StreamSocket implements TransportConnection {
  context: unknown = undefined
  readonly listener = NOWHERE
  readonly remote = undefined
  readonly local = undefined
  readonly settings = undefined
  queuedBytes = 0
  overflow: SocketError | undefined = undefined
  reportWrites = false
  /** Why the VM's side ended; the stream is destroyed with it. */
  reason: Error | undefined = undefined

  readonly #stream: Duplex
  readonly #options: StreamSocketOptions
  #outputOver = false
  #closing = false
  #over = false
  #deadline: NodeJS.Timeout | undefined
  readonly #unwatch: () => void

  constructor(stream: Duplex, options: StreamSocketOptions) {
    this.#stream = stream
    this.#options = options
    stream.pause()
    stream.on('data', this.#data)
    stream.on('end', this.#end)
    this.#unwatch = finished(stream, (error) => { this.#closed(error ?? undefined) })
    // A stream that had ended before emits nothing any more.
    if (stream.readableEnded) queueMicrotask(this.#end)
    // `finished` removes its listeners when it calls back: an 'error' after that would be an uncaught exception.
    stream.on('error', ignore)
  }

  write(given: Uint8Array | string, taken = false): void {
    const data = taken && typeof given !== 'string' ? Buffer.from(given) : given
    if (this.#outputOver || this.#over) return
    const length = typeof data === 'string' ? Buffer.byteLength(data) : data.length
    if (length === 0) return
    this.queuedBytes += length
    this.#stream.write(data, (error) => {
      this.queuedBytes -= length
      if (error === undefined || error === null) this.#written(length)
    })
    const { limits } = this.#options
    if (this.queuedBytes <= limits.each) return
    this.overflow = overflowError(limits, this.queuedBytes)
    this.#outputOver = true
    this.#stream.destroy(this.overflow)
  }

  shutdown(): void {
    if (this.#outputOver) return
    this.#outputOver = true
    this.#stream.end()
  }

  close(): void {
    if (this.#closing || this.#over) return
    this.#closing = true
    this.#stream.off('data', this.#data)
    const { closeTimeout } = this.#options
    this.#deadline = setTimeout(() => {
      this.#stream.destroy(socketError(-constants.errno.ETIMEDOUT, 'write'))
    }, closeTimeout)
    // The reason comes in the same turn of the VM.
    queueMicrotask(() => { this.#finish() })
  }

  abort(): void {
    this.#closing = true
    this.#outputOver = true
    this.#stream.destroy(this.reason)
  }

  pause(): void {
    this.#stream.pause()
  }

  resume(): void {
    if (!this.#closing && !this.#over) this.#stream.resume()
  }

  expectInput(): void {
    // A stream has no time limit.
  }

  setNoDelay(): void {
    // A stream has no packets.
  }

  setKeepAlive(): void {
    // Nor anything to keep alive.
  }

  /** Hands over what was written; then it is at its end, or broken off if there is a reason. */
  #finish(): void {
    const stream = this.#stream
    const done = (): void => { stream.destroy(this.reason) }
    if (stream.destroyed || stream.writableFinished) {
      done()
    } else if (this.reason !== undefined && !this.#outputOver) {
      // No orderly end of the output: the other side is to notice.
      if (this.queuedBytes === 0) done()
      else stream.write('', done)
    } else {
      this.#outputOver = true
      stream.once('finish', done)
      stream.end()
    }
  }

  readonly #data = (data: Buffer | string): void => {
    const encoding = this.#stream.readableEncoding ?? 'utf8'
    this.#tell('data', typeof data === 'string' ? Buffer.from(data, encoding) : data)
  }

  readonly #end = (): void => {
    if (!this.#closing) this.#tell('end')
  }

  #written(bytes: number): void {
    if (this.reportWrites) this.#tell('written', undefined, bytes)
  }

  /** Of those that the program wants to hear of, after an orderly end there is no error. */
  #closed(error: Error | undefined): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#deadline)
    this.#unwatch()
    this.#stream.off('data', this.#data).off('end', this.#end)
    const expected = error === this.reason || (this.#closing && isPremature(error))
    this.#tell('closed', undefined, 0, expected ? undefined : error as SocketError | undefined)
    // It is told of its end only when both directions have one; then nothing needs it any more.
    if (!this.#stream.destroyed) this.#stream.destroy()
  }

  #tell(kind: TransportEvent['kind'], data?: Buffer, bytes = 0, error?: SocketError): void {
    if (kind !== 'closed' && this.#over) return
    this.#options.report({ kind, connection: this, listener: undefined, data, bytes, error })
  }
}

const ignore = (): void => undefined

function isPremature(error: (Error & { code?: string }) | undefined): boolean {
  return error?.code === 'ERR_STREAM_PREMATURE_CLOSE'
}

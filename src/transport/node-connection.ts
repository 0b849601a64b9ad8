/**
 * One connection of the fallback transport: a `node:net` socket as the seam wants it.
 *
 * Invariants: `closed` is reported once, and last; `counted` is part of the host's `queuedTotal`.
 */
import type { Socket } from 'node:net'
import { constants } from 'node:os'
import { socketError } from '../support/errors.js'
import { Stat, type Counts } from './metrics.js'
import type { NodeListener } from './node-listener.js'
import { overflowError, takenAwayError, type QueueLimits } from './queue-limits.js'
import type {
  SocketAddress, SocketError, TransportConnection, TransportEvent,
} from './transport.js'

/** What a connection needs of its transport. */
export interface NodeStation {
  readonly metrics: Counts
  readonly closeTimeout: number
  readonly limits: QueueLimits
  /** Bytes that wait to be sent, on all connections. */
  queuedTotal: number
  /** Too many wait: a connection that has input is not to be read from. */
  readonly inputHeld: boolean
  /** Queues an event for this turn's batch. */
  report(event: TransportEvent): void
  /** Its writes are held back: `uncork` is to be called at the end of the batch. */
  corked(connection: NodeConnection): void
  /** So many bytes were written. */
  wrote(bytes: number): void
  /** Something arrived although too much is queued: `letGo` is to be called later. */
  holdBack(connection: NodeConnection): void
  /** `queuedTotal` has changed. */
  checkTotal(): void
  forget(connection: NodeConnection): void
}

/** All events have the same shape, so that their readers stay monomorphic. */
function connectionEvent(
  kind: TransportEvent['kind'], connection: TransportConnection,
  data?: Buffer, bytes = 0, error?: SocketError,
): TransportEvent {
  return { kind, connection, listener: undefined, data, bytes, error }
}

export class NodeConnection implements TransportConnection {
  context: unknown
  readonly listener: NodeListener | undefined
  remote: SocketAddress | undefined
  local: SocketAddress | undefined
  readonly settings = undefined
  queuedBytes = 0
  reportWrites = false
  overflow: SocketError | undefined
  /** What it has in the transport's sum of queued bytes. */
  counted = 0
  #paused = false
  /** Not read from because of its own queue, or because of all. */
  #full = false
  #heldBack = false
  readonly #transport: NodeStation
  readonly #socket: Socket
  #state: 'connecting' | 'open' | 'closing' | 'aborted' | 'closed'
  #wasOpened = false
  #outputEnded = false
  #error: SocketError | undefined
  #deadline: NodeJS.Timeout | undefined

  constructor(transport: NodeStation, socket: Socket, listener: NodeListener | undefined) {
    this.#transport = transport
    this.#socket = socket
    this.listener = listener
    this.#state = 'connecting'
    socket.on('data', (data: Buffer) => this.#received(data))
    socket.on('end', () => this.#ended())
    socket.on('error', (error) => (this.#error ??= plainError(error)))
    socket.on('close', () => this.#closed())
    if (listener === undefined) socket.on('connect', () => this.opened('connected'))
  }

  opened(kind: 'accepted' | 'connected'): void {
    this.#wasOpened = true
    const { metrics } = this.#transport
    metrics.connections += 1
    if (kind === 'accepted') metrics.accepts += 1
    else metrics.connects += 1
    // Asked for now: a socket that is closed no longer knows its addresses.
    const { remoteAddress, remoteFamily, remotePort } = this.#socket
    if (remoteAddress !== undefined) this.remote = address(remoteAddress, remoteFamily, remotePort)
    const { localAddress, localFamily, localPort } = this.#socket
    if (localAddress !== undefined) this.local = address(localAddress, localFamily, localPort)
    if (this.#state !== 'connecting') return
    this.#state = 'open'
    this.#transport.report(connectionEvent(kind, this))
  }

  write(data: Uint8Array | string): void {
    // One that is gone says so in `closed`; the program cannot have known.
    if (this.#state === 'closed') return
    if (this.#outputEnded) throw new Error('transport: write after shutdown, close or abort')
    const bytes = typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength
    // A socket that has died says so in `closed`, with an error; nothing can be sent on it.
    if (bytes === 0 || this.#socket.destroyed) return
    const { stats } = this.#transport.metrics
    stats[Stat.chunksOut] += 1
    stats[Stat.queuedBytes] += bytes
    this.queuedBytes += bytes
    if (this.#socket.writableCorked === 0) {
      this.#socket.cork()
      this.#transport.corked(this)
    }
    this.#socket.write(data, (error) => this.#wrote(data, bytes, error))
    this.#transport.wrote(bytes)
  }

  /** The end of the batch: what is left after this is queued. */
  uncork(): void {
    this.#socket.uncork()
    this.#count()
    const { each, pauses } = this.#transport.limits
    if (this.counted <= each) return
    if (!pauses) this.endQueue()
    else this.#full = true
    this.#read()
  }

  /** Ends it: too much is queued, here or in all. */
  endQueue(): void {
    this.overflow = overflowError(this.#transport.limits, this.counted, this.remote)
    this.#fail(this.overflow)
    this.#count()
  }

  /** Input that was held back because of all queues may come again. */
  letGo(): void {
    this.#heldBack = false
    this.#read()
  }

  #count(): void {
    const now = this.#socket.destroyed ? 0 : this.#socket.writableLength
    this.#transport.queuedTotal += now - this.counted
    this.counted = now
  }

  #read(): void {
    if (this.#state !== 'open' && this.#state !== 'connecting') return
    if (this.#paused || this.#full || this.#heldBack) this.#socket.pause()
    else this.#socket.resume()
  }

  shutdown(): void {
    if (this.#outputEnded) return
    this.#outputEnded = true
    this.#socket.end()
  }

  close(): void {
    if (this.#state !== 'open' && this.#state !== 'connecting') return
    const connecting = this.#state === 'connecting'
    this.#state = 'closing'
    this.#outputEnded = true
    if (connecting && this.queuedBytes === 0) {
      this.#socket.destroy()
      return
    }
    this.#deadline = setTimeout(() => this.#expired(), this.#transport.closeTimeout)
    // What still comes is read and dropped: a peer that is blocked in its own send would not read our
    // last bytes, and unread bytes would turn our FIN into an RST that destroys them.
    this.#socket.resume()
    this.#socket.destroySoon()
  }

  abort(): void {
    if (this.#state === 'aborted' || this.#state === 'closed') return
    const connecting = !this.#wasOpened
    this.#state = 'aborted'
    this.#outputEnded = true
    // Node would wait for the connection to be established, only to reset it.
    if (connecting || this.#socket.destroyed) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  pause(): void {
    this.#paused = true
    this.#read()
  }

  resume(): void {
    this.#paused = false
    this.#read()
  }

  #received(data: Buffer): void {
    if (this.#state !== 'open') return
    if (this.#transport.inputHeld) {
      this.#heldBack = true
      this.#transport.holdBack(this)
      this.#read()
    }
    const { metrics } = this.#transport
    metrics.bytesIn += data.length
    metrics.chunksIn += 1
    this.#transport.report(connectionEvent('data', this, data))
  }

  #ended(): void {
    if (this.#state === 'open') this.#transport.report(connectionEvent('end', this))
  }

  #wrote(data: Uint8Array | string, bytes: number, error: Error | null | undefined): void {
    this.#count()
    if (this.#full && this.counted <= this.#transport.limits.each / 2) {
      this.#full = false
      this.#read()
    }
    this.#transport.checkTotal()
    // Node calls back without an error for writes that were cut off by `destroy`.
    if ((error !== null && error !== undefined) || this.#socket.destroyed) return
    // Node sends nothing for memory that was taken away, and says nothing.
    if (typeof data !== 'string' && data.byteLength !== bytes) {
      this.#fail(takenAwayError(this.remote))
      return
    }
    this.queuedBytes -= bytes
    const { stats } = this.#transport.metrics
    stats[Stat.queuedBytes] -= bytes
    stats[Stat.bytesOut] += bytes
    if (this.reportWrites && this.#state !== 'closed' && this.#state !== 'aborted') {
      this.#transport.report(connectionEvent('written', this, undefined, bytes))
    }
  }

  #expired(): void {
    this.#fail(socketError(-constants.errno.ETIMEDOUT, 'close', this.remote?.address, this.remote?.port))
  }

  #fail(error: SocketError): void {
    this.#error ??= error
    if (this.#wasOpened) this.#socket.resetAndDestroy()
    else this.#socket.destroy()
  }

  #closed(): void {
    const state = this.#state
    this.#state = 'closed'
    this.#outputEnded = true
    clearTimeout(this.#deadline)
    this.#transport.queuedTotal -= this.counted
    this.counted = 0
    this.#transport.checkTotal()
    const { metrics } = this.#transport
    if (this.#wasOpened) metrics.connections -= 1
    metrics.stats[Stat.queuedBytes] -= this.queuedBytes
    // After `close` or `abort` the end is orderly, whatever the peer did, unless bytes were lost.
    const orderly = state === 'aborted' || (state === 'closing' && this.queuedBytes === 0)
    this.#transport.report(connectionEvent('closed', this, undefined, 0, orderly ? undefined : this.#error))
    this.#transport.forget(this)
  }
}

function address(text: string, family: string | undefined, port: number | undefined): SocketAddress {
  return { address: text, family: family === 'IPv6' ? 'IPv6' : 'IPv4', port: port ?? 0 }
}

/** A name with several addresses fails with one error for all of them; the last one has the details. */
function plainError(error: Error): SocketError {
  const last: unknown = error instanceof AggregateError ? error.errors.at(-1) : error
  return (last instanceof Error ? last : error) as SocketError
}

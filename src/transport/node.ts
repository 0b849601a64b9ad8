/**
 * The fallback transport: the transport seam over `node:net`, for platforms without the addon.
 *
 * Owns the translation from streams to batched events. Errors are Node's own, passed on untouched.
 * One limit comes from libuv: a reset that arrives together with data is reported as an end.
 */
import { connect, isIP, Socket } from 'node:net'
import { constants } from 'node:os'
import { socketError } from '../support/errors.js'
import { Counts, Stat } from './metrics.js'
import { NodeListener, nodeSocketOptions, type NodeListenerHost } from './node-listener.js'
import { checkConnectOptions, checkListenOptions, nodeLacks } from './socket-options.js'
import type {
  ConnectOptions, ListenOptions, SocketAddress, SocketError, Transport, TransportConnection, TransportEvent,
  TransportListener, TransportOptions, TransportSink,
} from './transport.js'

const DEFAULT_CLOSE_TIMEOUT = 10_000
/** The longest delay that a Node timer takes. */
const LONGEST_DELAY = 0x7fffffff

/** A transport on `node:net`. It passes the same tests as the native one. */
export function nodeTransport(options: TransportOptions = {}): Transport {
  return new NodeTransport(options)
}

/** All events have the same shape, so that their readers stay monomorphic. */
function connectionEvent(
  kind: TransportEvent['kind'], connection: TransportConnection,
  data?: Buffer, bytes = 0, error?: SocketError,
): TransportEvent {
  return { kind, connection, listener: undefined, data, bytes, error }
}

class NodeTransport implements Transport, NodeListenerHost {
  readonly name = 'node'
  readonly metrics = new Counts(false)
  readonly closeTimeout: number
  readonly #connections = new Set<NodeConnection>()
  readonly #listeners = new Set<NodeListener>()
  #sink: TransportSink | undefined
  #keepAlive: NodeJS.Timeout | undefined
  #events: TransportEvent[] = []
  #corked: Socket[] = []
  #flushScheduled = false
  #delivering = false
  #closing: Promise<void> | undefined
  #onEmpty: (() => void) | undefined

  constructor(options: TransportOptions) {
    this.closeTimeout = options.closeTimeout ?? DEFAULT_CLOSE_TIMEOUT
  }

  open(sink: TransportSink): void {
    if (this.#sink !== undefined) throw new Error('transport: open must be called once')
    this.#sink = sink
    this.metrics.opened()
    this.#keepAlive = setInterval(() => undefined, LONGEST_DELAY)
  }

  listen(options: ListenOptions): TransportListener {
    this.#assertOpen('listen')
    checkListenOptions(options)
    const listener = new NodeListener(this, options)
    this.#listeners.add(listener)
    listener.start()
    return listener
  }

  connect(options: ConnectOptions): TransportConnection {
    this.#assertOpen('connect')
    checkConnectOptions(options)
    const connection = new NodeConnection(this, startConnecting(options), undefined)
    this.#connections.add(connection)
    return connection
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#events = []
      for (const listener of this.#listeners) listener.close()
      for (const connection of this.#connections) connection.close()
      this.#onEmpty = () => {
        clearInterval(this.#keepAlive)
        this.metrics.closed()
        resolve()
      }
      if (this.#connections.size === 0) this.#onEmpty()
    })
    return this.#closing
  }

  /** Queues an event for this turn's batch. The check phase comes right after all sockets were polled. */
  report(event: TransportEvent): void {
    if (this.#closing !== undefined) return
    if (event.error !== undefined) this.metrics.error(event.error)
    if (this.#events.push(event) === 1) setImmediate(this.#deliver)
  }

  accepted(socket: Socket, listener: NodeListener): void {
    const connection = new NodeConnection(this, socket, listener)
    this.#connections.add(connection)
    connection.opened('accepted')
  }

  forget(connection: NodeConnection): void {
    this.#connections.delete(connection)
    if (connection.listener !== undefined) connection.listener.open -= 1
    if (this.#connections.size === 0) this.#onEmpty?.()
  }

  forgetListener(listener: NodeListener): void {
    this.#listeners.delete(listener)
  }

  /** Holds a socket's writes back until the end of the batch, so that they leave in one system call. */
  cork(socket: Socket): void {
    if (socket.writableCorked > 0) return
    socket.cork()
    this.#corked.push(socket)
    if (this.#delivering || this.#flushScheduled) return
    this.#flushScheduled = true
    process.nextTick(this.#flush)
  }

  readonly #deliver = (): void => {
    const events = this.#events
    const sink = this.#sink
    if (events.length === 0 || sink === undefined) return
    this.#events = []
    this.metrics.batch(events.length)
    this.#delivering = true
    const start = performance.now()
    try {
      sink(events)
    } finally {
      this.metrics.stats[Stat.jsTime] += (performance.now() - start) * 1e6
      this.#delivering = false
      this.#flush()
    }
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false
    const corked = this.#corked
    if (corked.length === 0) return
    this.#corked = []
    for (const socket of corked) socket.uncork()
  }

  #assertOpen(call: string): void {
    if (this.#sink === undefined) throw new Error(`transport: ${call} before open`)
    if (this.#closing !== undefined) throw new Error(`transport: ${call} after close`)
  }
}

/** What can't be done is an error of the socket, so that it is reported like any other. */
function startConnecting(options: ConnectOptions): Socket {
  const lacking = nodeLacks('connect', options)
  if (lacking !== undefined) return new Socket().destroy(lacking)
  const { host, port, localAddress, localPort } = options
  return connect({
    host,
    port,
    ...nodeSocketOptions(options),
    ...(localAddress !== undefined && { localAddress, family: isIP(localAddress) }),
    ...(localPort !== undefined && localPort !== 0 && { localPort }),
  })
}

class NodeConnection implements TransportConnection {
  context: unknown
  readonly listener: NodeListener | undefined
  remote: SocketAddress | undefined
  local: SocketAddress | undefined
  readonly settings = undefined
  queuedBytes = 0
  reportWrites = false
  readonly #transport: NodeTransport
  readonly #socket: Socket
  #state: 'connecting' | 'open' | 'closing' | 'aborted' | 'closed'
  #wasOpened = false
  #outputEnded = false
  #error: SocketError | undefined
  #deadline: NodeJS.Timeout | undefined

  constructor(transport: NodeTransport, socket: Socket, listener: NodeListener | undefined) {
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
    if (this.#outputEnded) throw new Error('transport: write after shutdown, close or abort')
    const bytes = typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength
    // A socket that has died says so in `closed`, with an error; nothing can be sent on it.
    if (bytes === 0 || this.#socket.destroyed) return
    const { stats } = this.#transport.metrics
    stats[Stat.chunksOut] += 1
    stats[Stat.queuedBytes] += bytes
    this.queuedBytes += bytes
    this.#transport.cork(this.#socket)
    this.#socket.write(data, (error) => this.#wrote(bytes, error))
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
    if (this.#state === 'open' || this.#state === 'connecting') this.#socket.pause()
  }

  resume(): void {
    if (this.#state === 'open' || this.#state === 'connecting') this.#socket.resume()
  }

  #received(data: Buffer): void {
    if (this.#state !== 'open') return
    const { metrics } = this.#transport
    metrics.bytesIn += data.length
    metrics.chunksIn += 1
    this.#transport.report(connectionEvent('data', this, data))
  }

  #ended(): void {
    if (this.#state === 'open') this.#transport.report(connectionEvent('end', this))
  }

  #wrote(bytes: number, error: Error | null | undefined): void {
    // Node calls back without an error for writes that were cut off by `destroy`.
    if ((error !== null && error !== undefined) || this.#socket.destroyed) return
    this.queuedBytes -= bytes
    const { stats } = this.#transport.metrics
    stats[Stat.queuedBytes] -= bytes
    stats[Stat.bytesOut] += bytes
    if (this.reportWrites && this.#state !== 'closed' && this.#state !== 'aborted') {
      this.#transport.report(connectionEvent('written', this, undefined, bytes))
    }
  }

  #expired(): void {
    this.#error ??= socketError(
      -constants.errno.ETIMEDOUT, 'close', this.remote?.address, this.remote?.port,
    )
    if (this.#wasOpened) this.#socket.resetAndDestroy()
    else this.#socket.destroy()
  }

  #closed(): void {
    const state = this.#state
    this.#state = 'closed'
    this.#outputEnded = true
    clearTimeout(this.#deadline)
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

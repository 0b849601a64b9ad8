/**
 * A listener of the fallback transport: a `net.Server` as the seam wants it.
 *
 * `net.Server` can't leave connections in the kernel's queue, so a paused listener keeps those that
 * Node accepts, unread and unreported, as many as the queue would have held.
 *
 * Invariants: `open` counts the connections that it handed on and that are not closed; every socket
 * that it was given is handed on, kept, or reset.
 */
import { lookup } from 'node:dns'
import { createServer, isIP, type AddressInfo, type Server, type Socket } from 'node:net'
import type { NodeAccount } from './account.js'
import { keepAliveSeconds, nodeLacks, nodeReusesPorts } from '../seam/socket-options.js'
import type {
  ListenOptions, SocketAddress, SocketError, SocketOptions, TransportEvent, TransportListener,
} from '../seam/transport.js'

/** The transport of these listeners. */
type Account = Pick<NodeAccount<NodeListener>, 'metrics' | 'report' | 'forget'>

/** As Node's. */
const BACKLOG = 511

function listenerEvent(
  kind: TransportEvent['kind'], listener: TransportListener, error?: SocketError,
): TransportEvent {
  return { kind, connection: undefined, listener, data: undefined, bytes: 0, error }
}

/** Those of `net.createServer` and `net.connect`. */
export function nodeSocketOptions({ noDelay = true, keepAlive = false }: SocketOptions) {
  return {
    allowHalfOpen: true,
    noDelay,
    keepAlive: keepAlive !== false,
    keepAliveInitialDelay: keepAliveSeconds(keepAlive).idle * 1000,
  }
}

export class NodeListener implements TransportListener {
  context: unknown
  address: SocketAddress | undefined
  readonly settings = undefined
  /** Connections of its own that are open. */
  open = 0
  readonly #account: Account
  readonly #handOn: (socket: Socket) => void
  readonly #options: ListenOptions
  readonly #server: Server
  #closed = false
  #paused = false
  /** Accepted by Node while it is paused. */
  #kept: Socket[] = []

  /** Of its connections; 0 for none. */
  readonly idleTimeout: number
  readonly readTimeout: number
  /** Where it listens, if that is a Unix socket. */
  readonly unix: SocketAddress | undefined

  /** @param handOn takes a connection that was accepted, and is to be reported */
  constructor(account: Account, options: ListenOptions, handOn: (socket: Socket) => void) {
    const { idleTimeout = 0, readTimeout = 0, path } = options
    this.idleTimeout = idleTimeout
    this.readTimeout = readTimeout
    this.unix = path === undefined ? undefined : { address: path, family: 'unix', port: 0 }
    this.#account = account
    this.#handOn = handOn
    this.#options = options
    this.#server = createServer({ ...nodeSocketOptions(options), pauseOnConnect: options.pauseOnAccept })
    this.#server.on('connection', (socket) => this.#accepted(socket))
    this.#server.on('listening', () => this.#listening())
    this.#server.on('error', (error) => this.#failed(error as SocketError))
  }

  /** Binds and listens; how that went is reported. */
  start(): void {
    const { host, ipv6Only = false } = this.#options
    const lacking = nodeLacks('listen', this.#options)
    if (lacking !== undefined) {
      this.#failed(lacking)
    } else if (!ipv6Only || host === undefined || isIP(host) !== 0) {
      this.#listen(host)
    } else {
      lookup(host, { family: 6 }, (error, address) => {
        if (error !== null) this.#failed(error as SocketError)
        else if (!this.#closed) this.#listen(address)
      })
    }
  }

  /** Whether it keeps the process alive; those that it keeps don't, beside it. */
  setRef(on: boolean): void {
    if (on) this.#server.ref()
    else this.#server.unref()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    const kept = this.#kept
    this.#kept = []
    for (const socket of kept) this.#accepted(socket.ref())
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#account.forget(this)
    this.#server.close()
    for (const socket of this.#kept) this.#reset(socket)
    this.#kept = []
  }

  #listen(host: string | undefined): void {
    const { port, path, backlog = BACKLOG, ipv6Only = false, reusePort = false } = this.#options
    if (path !== undefined) {
      this.#server.listen({ path, backlog, exclusive: true })
      return
    }
    this.#server.listen({
      // Without a host, Node forgets about ipv6Only.
      host: host ?? (ipv6Only ? '::' : undefined),
      port,
      backlog,
      ipv6Only,
      // Not shared by way of a cluster's primary: the engine's listeners aren't either.
      exclusive: true,
      ...(reusePort !== false && nodeReusesPorts() && { reusePort: true }),
    })
  }

  #listening(): void {
    // Closed while its name was being looked up: Node starts listening all the same.
    if (this.#closed) {
      this.#server.close()
      return
    }
    this.address = this.unix ?? this.#server.address() as AddressInfo as SocketAddress
    this.#account.report(listenerEvent('listening', this))
  }

  #failed(error: SocketError): void {
    if (this.#closed) return
    // Node's stand-in for the port that a Unix socket hasn't.
    if (error.port === -1) delete error.port
    if (this.address === undefined) {
      this.#closed = true
      this.#account.forget(this)
      this.#account.report(listenerEvent('listen-failed', this, error))
    } else {
      this.#account.report(listenerEvent('accept-failed', this, error))
    }
  }

  #accepted(socket: Socket): void {
    // The peer reset it before it was accepted: it has no address any more, and nothing to say.
    const known = socket.remoteAddress !== undefined || this.unix !== undefined
    if (!known || socket.destroyed || this.#closed) {
      socket.destroy()
      return
    }
    const { maxConnections = Infinity, backlog = BACKLOG } = this.#options
    if (this.#paused && this.#kept.length < Math.max(backlog, 1)) {
      // Reset while it waits: as above.
      if (socket.listenerCount('error') === 0) socket.on('error', () => undefined)
      this.#kept.push(socket.unref())
    } else if (this.#paused || this.open >= maxConnections) {
      this.#drop(socket)
    } else {
      this.open += 1
      this.#handOn(socket)
    }
  }

  /** Unix sockets have no reset. */
  #reset(socket: Socket): void {
    if (this.unix === undefined) socket.resetAndDestroy()
    else socket.destroy()
  }

  #drop(socket: Socket): void {
    const { remoteAddress = '', remoteFamily, remotePort = 0 } = socket
    const family = remoteFamily === 'IPv6' ? 'IPv6' : 'IPv4'
    const remote: SocketAddress = this.unix === undefined
      ? { address: remoteAddress, family, port: remotePort }
      : { ...this.unix, address: '' }
    socket.on('error', () => undefined)
    this.#reset(socket)
    this.#account.metrics.drops += 1
    this.#account.report({ ...listenerEvent('dropped', this), dropped: { count: 1, remote } })
  }
}

/**
 * A listener of the fallback transport: a `net.Server` as the seam wants it.
 *
 * `net.Server` can't leave connections in the kernel's queue, so a paused listener keeps those that
 * Node accepts, unread and unreported, as many as the queue would have held.
 *
 * Invariants: it admits as many connections as it handed on and are not closed; every socket that it was given is
 * handed on, kept, or reset.
 */
import { lookup } from 'node:dns'
import { createServer, isIP, type AddressInfo, type Server, type Socket } from 'node:net'
import type { NodeAccount } from './account.js'
import { adoptable, adopted, closed } from './adoptable.js'
import { adoptionError } from '../seam/adoption.js'
import { Admission, type Decision } from '../seam/admission.js'
import { DropReport } from '../seam/drop-report.js'
import {
  changedLimits, checkLimitChanges, fullLimits, type FullLimits, type LimitChanges, type LimitName,
} from '../seam/limits.js'
import { noLimits } from '../seam/metrics.js'
import { Stat } from '../seam/stats.js'
import { LoopWatch } from './loop-watch.js'
import { keepAliveSeconds, nodeLacks, nodeReusesPorts } from '../seam/socket-options.js'
import type {
  ListenerCounts, ListenOptions, SocketAddress, SocketError, SocketOptions, TransportEvent, TransportListener,
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
  limits: FullLimits
  readonly #account: Account
  readonly #handOn: (socket: Socket, ticket: Decision['ticket']) => void
  readonly #admission: Admission
  readonly #limited = noLimits()
  readonly #drops: DropReport
  #watch: LoopWatch | undefined
  /** Paused because the event loop is late. */
  #overloaded = false
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
  unix: SocketAddress | undefined
  /** Of one that was adopted. */
  #adopted: number | undefined = undefined

  /** @param handOn takes a connection that was accepted, and is to be reported */
  constructor(account: Account, options: ListenOptions, handOn: (socket: Socket, ticket: Decision['ticket']) => void) {
    const { idleTimeout = 0, readTimeout = 0, path, maxConnections, limits } = options
    this.idleTimeout = idleTimeout
    this.readTimeout = readTimeout
    this.unix = path === undefined ? undefined : { address: path, family: 'unix', port: 0 }
    this.limits = fullLimits(maxConnections, limits, path !== undefined)
    this.#admission = new Admission(this.limits)
    this.#drops = new DropReport((dropped) => {
      if (!this.#closed) account.report({ ...listenerEvent('dropped', this), dropped })
    })
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
    const { host, fd, ipv6Only = false } = this.#options
    const lacking = nodeLacks('listen', this.#options)
    if (lacking !== undefined) {
      this.#failed(lacking)
    } else if (fd !== undefined) {
      this.#adopt(fd)
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
    this.#takeKept()
  }

  get counts(): ListenerCounts | undefined {
    if (this.#closed || this.address === undefined) return undefined
    const { connections, prefixes } = this.#admission
    return { connections, prefixes, overloaded: this.#overloaded, limited: { ...this.#limited } }
  }

  limit(changes: LimitChanges): void {
    checkLimitChanges('limit', changes)
    const before = this.limits.pauseAbove
    this.limits = changedLimits(this.limits, changes)
    this.#admission.change(this.limits)
    if (this.address !== undefined && this.limits.pauseAbove !== before) this.#watchLoop()
  }

  /** A limit did something. */
  count(limit: LimitName): void {
    this.#limited[limit]++
    this.#account.metrics.limitedHere[limit]++
  }

  /** One of its connections is gone. */
  left(ticket: Decision['ticket']): void {
    this.#admission.leave(ticket)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#account.forget(this)
    closed(this.#adopted)
    this.#watch?.close()
    this.#drops.close()
    this.#overload(false)
    this.#server.close()
    for (const socket of this.#kept) this.#reset(socket)
    this.#kept = []
  }

  /** Listens on a socket that others have opened. */
  #adopt(fd: number): void {
    const { backlog = BACKLOG, bound = false } = this.#options
    const errno = adoptable(fd, bound ? 'bound' : 'listener')
    if (errno < 0) {
      this.#failed(adoptionError(errno, 'listen', fd))
      return
    }
    adopted(fd)
    this.#adopted = fd
    this.#server.listen({ fd, backlog })
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
    const address = this.#server.address()
    // Node has it for a Unix socket that it has bound itself; others are asked for their name in vain.
    if (this.#adopted !== undefined && (typeof address === 'string' || address?.address === undefined)) {
      this.unix = { address: typeof address === 'string' ? address : '', family: 'unix', port: 0 }
    }
    this.address = this.unix ?? address as AddressInfo as SocketAddress
    this.#watchLoop()
    this.#account.report(listenerEvent('listening', this))
  }

  #failed(error: SocketError): void {
    if (this.#closed) return
    // Node's stand-in for the port that a Unix socket hasn't.
    if (error.port === -1) delete error.port
    if (this.address === undefined) {
      closed(this.#adopted)
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
    if (this.#paused || this.#overloaded) {
      this.#keep(socket)
      return
    }
    const remote = this.#remoteOf(socket)
    const { refusedFor, ticket } = this.#admission.admit(remote)
    if (refusedFor === undefined) this.#handOn(socket, ticket)
    else this.#drop(socket, refusedFor, remote)
  }

  #keep(socket: Socket): void {
    const { backlog = BACKLOG } = this.#options
    if (this.#kept.length >= Math.max(backlog, 1)) {
      this.#drop(socket, this.#overloaded ? 'pauseAbove' : 'maxConnections', this.#remoteOf(socket))
      return
    }
    // Reset while it waits: it has no address any more when it is taken.
    if (socket.listenerCount('error') === 0) socket.on('error', () => undefined)
    this.#kept.push(socket.unref())
  }

  /** Those that it kept, if it is not paused any more. */
  #takeKept(): void {
    if (this.#paused || this.#overloaded) return
    const kept = this.#kept
    this.#kept = []
    for (const socket of kept) this.#accepted(socket.ref())
  }

  #watchLoop(): void {
    const { pauseAbove } = this.limits
    this.#watch?.close()
    this.#overload(false)
    this.#watch = pauseAbove === 0 ? undefined : new LoopWatch(pauseAbove, (late) => { this.#overload(late) })
  }

  #overload(on: boolean): void {
    if (on === this.#overloaded) return
    this.#overloaded = on
    this.#account.metrics.stats[Stat.listenersPaused] += on ? 1 : -1
    if (on) this.count('pauseAbove')
    else if (!this.#closed) this.#takeKept()
  }

  /** Unix sockets have no reset. */
  #reset(socket: Socket): void {
    if (this.unix === undefined) socket.resetAndDestroy()
    else socket.destroy()
  }

  #remoteOf({ remoteAddress = '', remoteFamily, remotePort = 0 }: Socket): SocketAddress {
    if (this.unix !== undefined) return { ...this.unix, address: '' }
    return { address: remoteAddress, family: remoteFamily === 'IPv6' ? 'IPv6' : 'IPv4', port: remotePort }
  }

  #drop(socket: Socket, limit: LimitName, remote: SocketAddress): void {
    socket.on('error', () => undefined)
    this.#reset(socket)
    this.count(limit)
    this.#drops.add(limit, remote)
  }
}

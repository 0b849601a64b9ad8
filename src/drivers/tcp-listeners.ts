/**
 * The listeners of a TCP driver: demand for ports in the VM, turned into listening sockets, and what
 * becomes of them into presence and messages.
 *
 * Owns the listeners, not what they accept. Invariants: a listener has a socket, or will soon, while
 * it is `active`, and is known while anybody wants it.
 */
import { constants } from 'node:os'
import { endpoint } from '../dsl/index.js'
import { argumentError, socketError } from '../support/errors.js'
import { log } from '../support/log.js'
import { mapKey } from '../topic/index.js'
import { Admission, type Decision } from '../transport/seam/admission.js'
import { DropReport } from '../transport/seam/drop-report.js'
import {
  changedLimits, checkLimitChanges, fullLimits, type FullLimits, type LimitChanges, type LimitName,
} from '../transport/seam/limits.js'
import type {
  Dropped, SocketAddress, SocketError, Transport, TransportEvent, TransportListener,
} from '../transport/seam/transport.js'
import { deleteEndpoint, sendMessage, type ActionTree } from '../vm/index.js'
import type { CommonTransport } from './common-transport.js'
import {
  isListener, plainHost, tellFailed, wrongListener, type ListenerEnd,
} from './tcp-demand.js'
import type { ListeningSocket } from './tcp-engine.js'
import { checkFrameTimeout, listenOptions, type TcpOptions } from './tcp-options.js'
import { heardTcpAddress, heardTcpError, heardUnixAddress } from './heard-records.js'
import {
  fdListener, fdListening, tcpListener, tcpListening, unixListener, unixListening,
  type TcpAccepting, type TcpLimits,
} from './tcp-records.js'

/** A port or a path that somebody wants to listen on. */
export interface Listener {
  readonly local: ListenerEnd
  demand: number
  /** Whether there is, or soon will be, a socket. */
  active: boolean
  /** Whether the program wants nothing to be accepted. */
  paused: boolean
  socket: TransportListener | undefined
  /** Connections dropped since the log last told of it, and when that was, in ms. */
  dropped: number
  droppedToldAt: number
  /** As the options have it, and what was changed. */
  limits: FullLimits
  changes: LimitChanges
  /** Counts by their own prefixes those whom a balancer has introduced, as the transport doesn't; and those refused. */
  readonly introduced: Admission
  readonly refusals: DropReport
}

/** Of the limits, those of prefixes. */
function ofPrefixes({ connectionsPerPrefix, acceptRatePerPrefix, ...rest }: FullLimits): FullLimits {
  return { ...fullLimits(undefined), ...rest, ...NOT_OF_PREFIXES, connectionsPerPrefix, acceptRatePerPrefix }
}

/** The transport sees to them. */
const NOT_OF_PREFIXES = { maxConnections: Infinity, acceptRate: { perSecond: 0, burst: 0 } }

/** Milliseconds between lines of the log about dropped connections of one listener. */
const DROPS_TOLD = 1000

/** A listener's end as the transport takes it. */
function whereToListen(local: ListenerEnd): { path: string } | { fd: number } | { port: number } {
  if (unixListener.is(local)) return { path: local.path }
  return fdListener.is(local) ? { fd: local.fd } : { port: local.port }
}

/** What is published of a listener that listens here. */
function listeningOn(local: ListenerEnd, { address, family, port }: SocketAddress): object {
  if (unixListener.is(local)) return unixListening(local)
  if (tcpListener.is(local)) return tcpListening(local, heardTcpAddress(address, port))
  return fdListening(local, family === 'unix' ? heardUnixAddress(address) : heardTcpAddress(address, port))
}

export class TcpListeners {
  private readonly listeners = new Map<unknown, Listener>()
  private closed = false

  constructor(
    private readonly common: CommonTransport<Transport, TransportEvent>,
    private readonly options: TcpOptions,
    private readonly call: string,
  ) {}

  /** Closes them all, for good: a listener that is asked for from now on is not opened. */
  closeAll(): ActionTree {
    this.closed = true
    return [...this.listeners.values()].map((listener) => this.close(listener))
  }

  wanted(local: ListenerEnd): ActionTree {
    const key = mapKey(local)
    let listener = this.listeners.get(key)
    if (listener === undefined) {
      listener = this.made(local)
      this.listeners.set(key, listener)
    }
    listener.demand++
    return listener.active || this.closed ? undefined : this.listen(listener)
  }

  private made(local: ListenerEnd): Listener {
    const { maxConnections, limits: option } = this.options
    const limits = fullLimits(maxConnections, option)
    const listener: Listener = {
      local, demand: 0, active: false, paused: false, socket: undefined, dropped: 0, droppedToldAt: -Infinity,
      limits, changes: {}, introduced: new Admission(ofPrefixes(limits)),
      refusals: new DropReport((dropped) => {
        this.common.sink?.fire(() => this.droppedSome(listener, dropped))
      }),
    }
    return listener
  }

  /** Whether one that a balancer has introduced may come in; if so, its ticket is to be given back. */
  admit(listener: Listener, address: SocketAddress): Decision {
    const decision = listener.introduced.admit(address)
    if (decision.refusedFor !== undefined) {
      listener.socket?.count(decision.refusedFor)
      listener.refusals.add(decision.refusedFor, address)
    }
    return decision
  }

  unwanted(local: ListenerEnd): ActionTree {
    const listener = this.listeners.get(mapKey(local))
    if (listener === undefined || --listener.demand > 0) return undefined
    this.listeners.delete(mapKey(listener.local))
    return this.close(listener)
  }

  private close(listener: Listener): ActionTree {
    if (!listener.active) return undefined
    listener.active = false
    listener.refusals.close()
    listener.socket?.close()
    return [deleteEndpoint(listener), this.common.letGo()]
  }

  /** Those that listen now. */
  openSockets(): ListeningSocket[] {
    return [...this.listeners.values()].flatMap(({ local, active, socket }) => {
      if (!active || socket?.address === undefined) return []
      const { address } = socket
      const handedOver = (): void => { socket.handedOver?.() }
      return [{ local, address, get descriptor() { return socket.descriptor }, handedOver }]
    })
  }

  /** The program stops or goes on accepting. */
  accepting(wish: TcpAccepting): ActionTree {
    const { listener: local, accepting } = wish
    if (!isListener(local) || typeof accepting !== 'boolean') {
      const error = argumentError('tcpAccepting', 'it', 'a tcp-listener and a boolean', wish)
      return tellFailed(local, undefined, error as unknown as SocketError)
    }
    const listener = this.listeners.get(mapKey(local))
    if (listener === undefined) return undefined
    listener.paused = !accepting
    if (accepting) listener.socket?.resume()
    else listener.socket?.pause()
    return undefined
  }

  /** The program changes the limits of a listener. */
  limit({ listener: local, changes }: TcpLimits): ActionTree {
    const listener = this.listeners.get(mapKey(local))
    try {
      if (!(tcpListener.is(local) || unixListener.is(local))) {
        throw argumentError('tcpLimits', 'listener', 'a tcp-listener or a unix-listener', local)
      }
      checkLimitChanges('tcpLimits', changes)
      checkFrameTimeout(this.call, 'frameTimeout', changes)
    } catch (error) {
      return tellFailed(local, undefined, error as SocketError)
    }
    if (listener === undefined) return undefined
    listener.limits = changedLimits(listener.limits, changes)
    listener.changes = { ...listener.changes, ...changes }
    listener.introduced.change(ofPrefixes(listener.limits))
    listener.socket?.limit(changes)
    return undefined
  }

  /** An event of one of its sockets. */
  handle(event: TransportEvent): ActionTree {
    const listener = event.listener?.context as Listener | undefined
    if (listener === undefined) return undefined
    if (event.kind === 'listening') return this.listening(listener)
    if (event.kind === 'dropped') return this.droppedSome(listener, event.dropped as Dropped)
    if (event.kind === 'listen-failed') return this.listenFailed(listener, event.error as SocketError)
    return tellFailed(listener.local, undefined, event.error as SocketError)
  }

  private listen(listener: Listener): ActionTree {
    const { local } = listener
    const wrong = wrongListener(local)
    if (wrong !== undefined) return tellFailed(local, undefined, wrong)
    const where = whereToListen(local)
    listener.active = true
    return this.common.take((transport) => {
      if (!listener.active) return
      listener.socket = transport.listen(listenOptions(this.options, where))
      listener.socket.context = listener
      if (listener.paused) listener.socket.pause()
      listener.socket.limit(listener.changes)
    }, (error) => {
      listener.active = false
      listener.socket = undefined
      return tellFailed(local, undefined, error as SocketError)
    })
  }

  private listening(listener: Listener): ActionTree {
    const { socket } = listener
    const address = socket?.address
    if (socket === undefined || address === undefined || listener.demand === 0) return undefined
    log('info', 'listening', { ...address })
    this.tellShortBuffers(listener, socket)
    const { local } = listener
    return endpoint.publisher(listeningOn(local, address), { name: listener })
  }

  /** The kernel takes less than it is asked for, without an error. */
  private tellShortBuffers({ local }: Listener, socket: TransportListener): void {
    for (const name of ['sendBufferSize', 'receiveBufferSize'] as const) {
      const asked = this.options[name]
      const settings = asked === undefined ? undefined : socket.settings
      if (asked === undefined || settings === undefined || settings[name] >= 2 * asked) continue
      log('warning', `${name}: the kernel has a limit`, { local, asked, granted: settings[name] / 2 })
    }
  }

  private listenFailed(listener: Listener, error: SocketError): ActionTree {
    if (!listener.active) return undefined
    listener.active = false
    listener.socket = undefined
    return [tellFailed(listener.local, undefined, error), this.common.letGo()]
  }

  /** Told to the program each time, to the log not more often than an operator can read. */
  private droppedSome(listener: Listener, { count, remote, limits }: Dropped): ActionTree {
    const { local } = listener
    const unix = remote.family === 'unix'
    const from = unix ? undefined : heardTcpAddress(plainHost(remote.address), remote.port)
    const limit = reasons(listener.limits, limits)
    const now = performance.now()
    listener.dropped += count
    if (now - listener.droppedToldAt >= DROPS_TOLD) {
      log('warning', 'TCP connections dropped', { local, count: listener.dropped, last: from, reason: limit })
      listener.dropped = 0
      listener.droppedToldAt = now
    }
    const error = socketError(-constants.errno.ECONNABORTED, 'accept', from?.host, from?.port)
    error.message += `: ${count} dropped, as ${limit}`
    return sendMessage(heardTcpError(local, from, error))
  }
}

/** The limits that have refused connections, and what they are. */
function reasons(full: FullLimits, limits: Dropped['limits']): string {
  const told = (name: LimitName): string => {
    const limit = full[name]
    return `${name} is ${typeof limit === 'object' ? limit.perSecond : limit}`
  }
  return (Object.keys(limits) as LimitName[]).map(told).join(', ')
}

/**
 * The process behind the UDP driver: turns demand in the VM into sockets, and datagrams into messages.
 *
 * It watches, with interest `everything`, who names a definite local address; keeps one transport while
 * there is any socket; and is itself the publisher of what comes and the subscriber to what is to be
 * sent. One process does it all, so that what it sends keeps the order in which it happened.
 */
import { constants } from 'node:os'
import { logRejection } from '../support/answers.js'
import { argumentError, asError, rangeError, socketError } from '../support/errors.js'
import { log } from '../support/log.js'
import { _, isGround, mapKey } from '../topic/index.js'
import { deleteEndpoint, sendMessage, type ActionTree, type Role } from '../vm/index.js'
import { endpoint } from '../dsl/index.js'
import { openUdpTransport, type TransportName } from '../transport/choose.js'
import type { SleepIn, SocketAddress, SocketError } from '../transport/seam/transport.js'
import type { UdpEvent, UdpSocket, UdpSocketOptions, UdpTransport } from '../transport/seam/udp-transport.js'
import { heardUdpAddress, heardUdpError } from './heard-records.js'
import { isPort } from './record-checks.js'
import { CommonTransport } from './common-transport.js'
import {
  udpBound,
  udpError,
  udpHandle,
  udpListener,
  udpMembership,
  udpPacket,
  udpRemoteAddress,
  type UdpLocalAddress,
  type UdpMembership,
  type UdpPacket,
  type UdpRemoteAddress,
} from './udp-records.js'

/** Options of the driver; those of `UdpSocketOptions` apply to each of its sockets. */
export interface UdpOptions extends Omit<UdpSocketOptions, 'port'> {
  /** `native`, `node` (node:dgram), or `auto`: native where it can be loaded. Default `auto`. */
  readonly transport?: TransportName | undefined
  /** As the TCP drivers' option: microseconds to wait awake, or 'adaptive'. Native only. Default 0. */
  readonly busyPoll?: number | 'adaptive' | undefined
  /** As the TCP drivers' option: in whose system call the thread sleeps. */
  readonly sleepIn?: SleepIn | undefined
  /**
   * Most bytes of memory that the native transport receives into, with what views of it pin. At the limit
   * receiving stops until garbage was collected; what the kernel has no room for then is lost, as in any
   * overload. At least 1,048,576; default 1,073,741,824.
   */
  readonly maxSlabBytes?: number | undefined
  /** Called with each transport that is opened: for its metrics. */
  readonly onTransport?: ((transport: UdpTransport) => void) | undefined
}

/** A group that somebody wants a socket to be a member of. */
interface Membership {
  readonly topic: UdpMembership
  demand: number
  /** Name of the endpoint that says that the socket is a member. */
  joined: symbol | undefined
}

/** A local address that somebody has named: with a socket, a membership, or both. */
interface Local {
  readonly key: unknown
  readonly address: UdpLocalAddress
  demand: number
  binding: Binding | undefined
  readonly memberships: Map<unknown, Membership>
}

/** A local address's socket, from when it is asked for until it is closed; the next one has a binding of its own. */
class Binding {
  socket: UdpSocket | undefined = undefined
  bound = false
  readonly inbound = Symbol('inbound')
  readonly outbound = Symbol('outbound')
  readonly where = Symbol('bound')

  constructor(readonly local: Local) {}

  get current(): boolean {
    return this.local.binding === this
  }
}

/** The error for a datagram in memory that the program has detached, together with what others received there. */
function takenAway({ address, port }: SocketAddress): SocketError {
  const error = socketError(-constants.errno.EFAULT, 'recvmsg', address, port)
  error.message += ': the program detached the memory before it was delivered'
  return error
}

export class UdpDriver {
  private readonly socketOptions: Omit<UdpSocketOptions, 'port'>
  private readonly locals = new Map<unknown, Local>()
  private readonly common: CommonTransport<UdpTransport, UdpEvent>

  constructor(options: UdpOptions) {
    const { transport = 'auto', busyPoll, sleepIn, maxSlabBytes, onTransport, ...socketOptions } = options
    this.socketOptions = socketOptions
    this.common = new CommonTransport<UdpTransport, UdpEvent>('udp', (sink) => {
      const opened = openUdpTransport(transport, { busyPoll, sleepIn, maxSlabBytes, buffers: socketOptions.buffers })
      const told: unknown = onTransport?.(opened)
      logRejection('onTransport', told)
      opened.open((events) => { sink.fire(events) })
      return { transport: opened, close: () => opened.close() }
    }, (events) => events.map((event) => this.handleOne(event)))
  }

  boot(): ActionTree {
    const demand = {
      interest: 'everything' as const,
      onPresence: (topic: UdpPacket) => this.wanted(topic),
      onAbsence: (topic: UdpPacket, _state: unknown, _reason: unknown, peer: Role) =>
        this.unwanted(topic, peer.interest === 'participant'),
    }
    const remote = udpRemoteAddress(_, _)
    return [
      endpoint.publisher(udpError(_, _, _)),
      endpoint.publisher(udpMembership(_, _, _), {
        interest: 'everything',
        onPresence: (topic) => this.memberWanted(topic),
        onAbsence: (topic) => this.memberUnwanted(topic),
      }),
      [udpListener(_), udpHandle(_)].map((local) => [
        endpoint.publisher(udpPacket(remote, local, _), demand),
        endpoint.subscriber(udpPacket(local, remote, _), demand),
      ]),
    ]
  }

  /** Handles one event. If that fails, the other events of the batch are handled all the same. */
  private handleOne(event: UdpEvent): ActionTree {
    try {
      return this.handle(event)
    } catch (error) {
      const { local } = event.socket.context as Binding
      return this.failed(local.address, undefined, asError(error, 'an event of a socket'))
    }
  }

  /** Something failed that should not have: whoever it was for hears of it, and nobody else. */
  broken(error: Error, name: unknown, subject: unknown): ActionTree {
    if (name === this.common.source) return this.common.failed(error)
    if (udpPacket.is(subject)) return this.failed(localOf(subject), undefined, error)
    if (udpMembership.is(subject)) return this.failed(subject.local, undefined, error)
    log('warning', 'the UDP driver could not do what it was asked for', { reason: error, what: subject })
    return undefined
  }

  // Demand

  private local(address: UdpLocalAddress): Local {
    const key = mapKey(address)
    let local = this.locals.get(key)
    if (local === undefined) {
      local = { key, address, demand: 0, binding: undefined, memberships: new Map() }
      this.locals.set(key, local)
    }
    return local
  }

  private forgetIfUnused(local: Local): void {
    if (local.demand === 0 && local.memberships.size === 0) this.locals.delete(local.key)
  }

  private wanted(topic: UdpPacket): ActionTree {
    const address = localOf(topic)
    if (!isGround(address)) return undefined
    const local = this.local(address)
    local.demand++
    return local.binding === undefined ? this.open(local) : undefined
  }

  /** The last endpoint has gone, or a participant in a socket's conversations. */
  private unwanted(topic: UdpPacket, wasParticipant: boolean): ActionTree {
    const address = localOf(topic)
    if (!isGround(address)) return undefined
    const local = this.locals.get(mapKey(address))
    if (local === undefined) return undefined
    local.demand--
    const { binding } = local
    const closes = binding !== undefined && (local.demand === 0 || (wasParticipant && binding.bound))
    const actions = closes ? this.close(binding) : undefined
    this.forgetIfUnused(local)
    return actions
  }

  private open(local: Local): ActionTree {
    const { address } = local
    const port = udpListener.is(address) ? address.port : 0
    if (!isPort(port, 0)) {
      return this.failed(address, undefined, rangeError('udp', 'port', 'an integer from 0 to 65535', port))
    }
    const binding = new Binding(local)
    local.binding = binding
    return this.common.take((transport) => {
      if (!binding.current) return
      binding.socket = transport.bind({ ...this.socketOptions, port })
      binding.socket.context = binding
    }, (error) => {
      if (binding.current) local.binding = undefined
      return this.failed(address, undefined, error)
    })
  }

  private close(binding: Binding): ActionTree {
    const { local, socket } = binding
    local.binding = undefined
    // Without a socket it still waits for the transport.
    if (socket === undefined) return this.common.letGo()
    socket.close()
    return this.withdraw(binding)
  }

  /** Deletes the endpoints by which programs see a socket. */
  private withdraw(binding: Binding): ActionTree {
    if (!binding.bound) return undefined
    return [
      [binding.inbound, binding.outbound, binding.where].map((name) => deleteEndpoint(name)),
      [...binding.local.memberships.values()].map((membership) => this.withdrawMembership(membership)),
    ]
  }

  // The socket

  private handle(event: UdpEvent): ActionTree {
    const binding = event.socket.context as Binding
    const { address } = binding.local
    switch (event.kind) {
      case 'datagram': {
        if (!binding.current) return undefined
        const { remote, data } = event
        if (remote === undefined || data === undefined) return undefined
        const from = heardUdpAddress(remote.address, remote.port)
        if (data.length !== event.length) return this.failed(address, from, takenAway(remote))
        return sendMessage(udpPacket(from, address, data))
      }
      case 'bound':
        return binding.current ? this.bound(binding) : undefined
      case 'bind-failed':
        if (binding.current) binding.local.binding = undefined
        return [this.reported(binding, event), this.common.letGo()]
      case 'closed':
        return this.common.letGo()
      default:
        return this.reported(binding, event)
    }
  }

  private bound(binding: Binding): ActionTree {
    const { local, socket } = binding
    const where = socket?.address
    if (where === undefined) return undefined
    binding.bound = true
    const { address } = local
    const remote = udpRemoteAddress(_, _)
    log('info', 'udp bound', { local: address, ...where })
    return [
      endpoint.publisher(udpPacket(remote, address, _), { name: binding.inbound }),
      endpoint.subscriber(udpPacket(address, remote, _), {
        name: binding.outbound,
        onMessage: (packet) => this.send(binding, packet),
      }),
      endpoint.publisher(udpBound(address, heardUdpAddress(where.address, where.port)), {
        name: binding.where,
      }),
      [...local.memberships.values()].map((membership) => this.join(local, membership)),
    ]
  }

  private send(binding: Binding, packet: UdpPacket): ActionTree {
    const { socket, local } = binding
    if (!binding.current || socket === undefined) return undefined
    const to = packet.destination as UdpRemoteAddress
    const body: unknown = packet.body
    const illegal = (error: Error): ActionTree => this.failed(local.address, to, error)
    if (!(body instanceof Uint8Array || typeof body === 'string')) {
      return illegal(argumentError('udpPacket', 'body', 'bytes or a string', body))
    }
    if (typeof to.host !== 'string' || to.host === '') {
      return illegal(argumentError('udpPacket', 'host', 'a name or an address', to.host))
    }
    if (!isPort(to.port, 1)) {
      return illegal(rangeError('udpPacket', 'port', 'an integer from 1 to 65535', to.port))
    }
    socket.send(body, to.host, to.port)
    return undefined
  }

  private reported(binding: Binding, { remote, error }: UdpEvent): ActionTree {
    if (error === undefined) return undefined
    const about = remote === undefined ? undefined : heardUdpAddress(remote.address, remote.port)
    return this.failed(binding.local.address, about, error)
  }

  private failed(local: UdpLocalAddress, remote: UdpRemoteAddress | undefined, error: Error): ActionTree {
    log('warning', error.message, { local, remote, reason: error })
    // With wildcards in it, it would be told to those who asked for something else.
    if (!isGround(local)) return undefined
    return sendMessage(heardUdpError(local, isGround(remote) ? remote : undefined, error))
  }

  // Multicast

  private memberWanted(topic: UdpMembership): ActionTree {
    if (!isGround(topic)) return undefined
    const local = this.local(topic.local)
    const key = mapKey(topic)
    const present = local.memberships.get(key)
    if (present !== undefined) {
      present.demand++
      return undefined
    }
    const membership: Membership = { topic, demand: 1, joined: undefined }
    local.memberships.set(key, membership)
    return this.join(local, membership)
  }

  private memberUnwanted(topic: UdpMembership): ActionTree {
    if (!isGround(topic)) return undefined
    const local = this.locals.get(mapKey(topic.local))
    const key = mapKey(topic)
    const membership = local?.memberships.get(key)
    if (local === undefined || membership === undefined || --membership.demand > 0) return undefined
    local.memberships.delete(key)
    this.forgetIfUnused(local)
    return [this.leave(local, membership), this.withdrawMembership(membership)]
  }

  private join(local: Local, membership: Membership): ActionTree {
    const { binding } = local
    if (binding?.bound !== true) return undefined
    const { group, networkInterface } = membership.topic
    try {
      checkMembership(group, networkInterface)
      binding.socket?.join(group, networkInterface)
    } catch (error) {
      return this.failed(local.address, undefined, error as Error)
    }
    membership.joined = Symbol('member')
    return endpoint.publisher(membership.topic, { name: membership.joined })
  }

  private leave(local: Local, membership: Membership): ActionTree {
    const { binding } = local
    if (membership.joined === undefined || binding?.bound !== true) return undefined
    const { group, networkInterface } = membership.topic
    try {
      binding.socket?.leave(group, networkInterface)
    } catch (error) {
      return this.failed(local.address, undefined, error as Error)
    }
    return undefined
  }

  private withdrawMembership(membership: Membership): ActionTree {
    const { joined } = membership
    membership.joined = undefined
    return joined === undefined ? undefined : deleteEndpoint(joined)
  }
}

/** The local end of a packet's topic; the other end is a remote address. */
function localOf({ source, destination }: UdpPacket): UdpLocalAddress {
  return (udpRemoteAddress.is(source) ? destination : source) as UdpLocalAddress
}

function checkMembership(group: unknown, networkInterface: unknown): void {
  if (typeof group !== 'string') throw argumentError('udpMembership', 'group', 'an address', group)
  if (networkInterface !== undefined && typeof networkInterface !== 'string') {
    const expected = 'a name, an address or undefined'
    throw argumentError('udpMembership', 'networkInterface', expected, networkInterface)
  }
}

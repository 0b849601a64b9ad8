/**
 * What tools for tracing hear of sockets: the channels of `node:diagnostics_channel`, for every transport.
 *
 * Invariants: without a subscriber a batch costs a few tests and no event is looked at; with one, events of
 * data are passed over; subscribers are called before the program hears of the same batch.
 */
import { channel } from 'node:diagnostics_channel'
import type {
  Dropped, SocketAddress, SocketError, TransportConnection, TransportEvent,
} from './transport.js'
import type { UdpEvent, UdpSocket } from './udp-transport.js'

/** Names of the diagnostics channels, by what is published there. */
export const TCP_CHANNELS = {
  /** A listener is bound and listens: `local`. */
  listen: 'marketplace:tcp:listen',
  /** A listener has a new connection: `connection`, `remote`. */
  accept: 'marketplace:tcp:accept',
  /** An outbound connection is established: `connection`, `remote`. */
  connect: 'marketplace:tcp:connect',
  /** An established connection is gone: `connection`, `remote`, and `error` unless its end was orderly. */
  close: 'marketplace:tcp:close',
  /**
   * Listening, accepting or connecting failed, or a connection ended with an error: `error`, and what else
   * is known. Also connections that a listener dropped: `dropped`.
   */
  error: 'marketplace:tcp:error',
  /**
   * A listener has refused connections because of its limits: `local`, and `dropped`, with how many it were and where
   * the last one came from. Once a second for each listener, at most.
   */
  refuse: 'marketplace:tcp:refuse',
} as const

/** What subscribers of the channels in `TCP_CHANNELS` get; which fields are set is said there. */
export interface TcpDiagnostics {
  /** Which socket implementation. */
  readonly transport: 'native' | 'node'
  /** Where the listener listens. */
  readonly local: SocketAddress | undefined
  /** The peer. */
  readonly remote: SocketAddress | undefined
  /** The same object from `accept` or `connect` to `close`: to look at, and to know it again. */
  readonly connection: Pick<TransportConnection, 'local' | 'remote' | 'queuedBytes'> | undefined
  /** What went wrong. */
  readonly error: SocketError | undefined
  /** Connections that a listener reset because of its limits. */
  readonly dropped: Dropped | undefined
}

const listen = channel(TCP_CHANNELS.listen)
const accept = channel(TCP_CHANNELS.accept)
const connect = channel(TCP_CHANNELS.connect)
const close = channel(TCP_CHANNELS.close)
const failure = channel(TCP_CHANNELS.error)
const refuse = channel(TCP_CHANNELS.refuse)

/** Publishes what is in a batch, if anybody listens. */
export function publishEvents(transport: 'native' | 'node', events: readonly TransportEvent[]): void {
  if (
    !accept.hasSubscribers && !close.hasSubscribers && !connect.hasSubscribers && !failure.hasSubscribers
    && !listen.hasSubscribers && !refuse.hasSubscribers
  ) return
  for (const event of events) publishEvent(transport, event)
}

function publishEvent(transport: 'native' | 'node', event: TransportEvent): void {
  const { kind, connection, listener, error, dropped } = event
  if (kind === 'data' || kind === 'frames' || kind === 'written' || kind === 'end') return
  const { remote } = connection ?? {}
  const local = listener?.address
  const message: TcpDiagnostics = { transport, local, remote, connection, error, dropped }
  if (kind === 'listening') listen.publish(message)
  else if (kind === 'accepted') accept.publish(message)
  else if (kind === 'connected') connect.publish(message)
  // One that was never established has no peer.
  else if (kind === 'closed' && remote !== undefined) close.publish(message)
  if (error !== undefined || dropped !== undefined) failure.publish(message)
  if (dropped !== undefined) refuse.publish(message)
}

/** Names of the channels about datagrams, by what is published there. */
export const UDP_CHANNELS = {
  /** A socket is bound: `socket`, `local`. */
  bind: 'marketplace:udp:bind',
  /** A socket is closed: the same. */
  close: 'marketplace:udp:close',
  /** A socket could not be bound, or a datagram not be sent or received: `error`, and what else is known. */
  error: 'marketplace:udp:error',
} as const

/** What subscribers of the channels in `UDP_CHANNELS` get. */
export interface UdpDiagnostics {
  /** Which socket implementation. */
  readonly transport: 'native' | 'node'
  /** The same object from `bind` to `close`: to look at, and to know it again. */
  readonly socket: Pick<UdpSocket, 'address'>
  /** Where it is bound. */
  readonly local: SocketAddress | undefined
  /** The other end of the datagram that it is about. */
  readonly remote: SocketAddress | undefined
  /** What went wrong. */
  readonly error: SocketError | undefined
}

const bound = channel(UDP_CHANNELS.bind)
const unbound = channel(UDP_CHANNELS.close)
const udpFailure = channel(UDP_CHANNELS.error)

/** Publishes what is in a batch of a transport for datagrams, if anybody listens. */
export function publishUdpEvents(transport: 'native' | 'node', events: readonly UdpEvent[]): void {
  if (!bound.hasSubscribers && !unbound.hasSubscribers && !udpFailure.hasSubscribers) return
  for (const { kind, socket, remote, error } of events) {
    if (kind === 'datagram') continue
    const message: UdpDiagnostics = { transport, socket, local: socket.address, remote, error }
    if (kind === 'bound') bound.publish(message)
    else if (kind === 'closed') unbound.publish(message)
    else udpFailure.publish(message)
  }
}

/** Reads from topics what the TCP drivers are asked for, checks the addresses in them, and tells who asked in vain. */
import { wrong } from '../support/checks.js'
import { rangeError } from '../support/errors.js'
import { log } from '../support/log.js'
import { isGround } from '../topic/index.js'
import { pathError } from '../transport/seam/socket-options.js'
import type { SocketError } from '../transport/seam/transport.js'
import { sendMessage, type ActionTree } from '../vm/index.js'
import { PeerRole, type Role } from '../vm/role.js'
import { answeredByDriver } from '../vm/wiring.js'
import { heardTcpError } from './heard-records.js'
import { descriptor, isPort } from './record-checks.js'
import {
  fdAddress,
  fdListener,
  tcpChannel,
  tcpCredit,
  tcpHandle,
  tcpListener,
  tcpMode,
  unixAddress,
  unixListener,
  type FdAddress,
  type FdListener,
  type TcpAddress,
  type TcpChannel,
  type TcpEnd,
  type TcpHandle,
  type TcpListener,
  type UnixAddress,
  type UnixListener,
} from './tcp-records.js'

/** Where it can be listened. */
export type ListenerEnd = TcpListener | UnixListener | FdListener
/** Where one can connect to. */
export type RemoteEnd = TcpAddress | UnixAddress | FdAddress

/** Whether it is one. */
export function isListener(end: unknown): end is ListenerEnd {
  return tcpListener.is(end) || unixListener.is(end) || fdListener.is(end)
}

/**
 * Where a topic asks to listen: it names a listener, and leaves the remote end open.
 * Of a ground remote end it is a session's topic, which asks for nothing.
 */
export function wantedListener(topic: TcpChannel): ListenerEnd | undefined {
  const local = localEnd(topic)
  return isGround(local) && !isGround(remoteEnd(topic)) ? local as ListenerEnd : undefined
}

/** Of a topic that names a listener, the listener. */
export function localEnd({ source, destination }: TcpChannel): TcpEnd {
  return isListener(destination) ? destination : source
}

/** Of a topic that names a listener, the other end. */
export function remoteEnd({ source, destination }: TcpChannel): TcpEnd {
  return isListener(destination) ? source : destination
}

/** The connection that a topic asks for: it names both a handle and an address. */
export function wantedConnection({ source, destination }: TcpChannel): [TcpHandle, RemoteEnd] | undefined {
  const [local, remote] = tcpHandle.is(source) ? [source, destination] : [destination, source]
  return isGround(local) && isGround(remote) ? [local as TcpHandle, remote as RemoteEnd] : undefined
}

/**
 * Whether a peer takes part in a conversation, or only observes it: it takes part if it names its own end,
 * the source of what it publishes, or the destination of what it subscribes to. One that leaves that open,
 * such as `tcpChannel(_, _, _)`, meets everybody's conversations; none of them ends with it.
 */
export function takesPart(peer: Role): boolean {
  const topic = PeerRole.wholeTopic(peer)
  return tcpChannel.is(topic) && isGround(peer.orientation === 'publisher' ? topic.source : topic.destination)
}

/** What was asked for can't be done, or could not. */
export function tellFailed(
  local: ListenerEnd | TcpHandle, remote: RemoteEnd | undefined, error: SocketError,
): ActionTree {
  log('warning', error.message, { local, remote, reason: error })
  return sendMessage(heardTcpError(local, remote, error))
}

/** The error for a remote end that nothing can be connected to. */
export function wrongRemote(remote: RemoteEnd): SocketError | undefined {
  if (unixAddress.is(remote)) return pathError('connect', remote.path)
  if (fdAddress.is(remote)) return badDescriptor('open', remote.fd)
  const right = typeof remote.host === 'string' && remote.host !== '' && isPort(remote.port, 1)
  return right ? undefined : badAddress('connect', remote, 1)
}

/** The same for a listener. */
export function wrongListener(local: ListenerEnd): SocketError | undefined {
  if (unixListener.is(local)) return pathError('listen', local.path)
  if (fdListener.is(local)) return badDescriptor('listen', local.fd)
  return isPort(local.port, 0) ? undefined : badAddress('listen', local.port, 0)
}

/** An end as the transport takes it. */
export function whereTo(end: RemoteEnd): { path: string } | { fd: number } | { host: string, port: number } {
  if (fdAddress.is(end)) return { fd: end.fd }
  return unixAddress.is(end) ? { path: end.path } : { host: end.host, port: end.port }
}

/** The error for what is no descriptor's number. */
function badDescriptor(syscall: string, fd: unknown): SocketError | undefined {
  const error = wrong(descriptor, syscall, 'fd', fd)
  return error && Object.assign(error, { errno: -22, syscall }) as unknown as SocketError
}

/** The error for an address that no socket can have. */
function badAddress(syscall: string, got: unknown, lowest: number): SocketError {
  const error = rangeError(syscall, 'address', `a host and a port from ${lowest} to 65535`, got)
  return Object.assign(error, { errno: -22, syscall }) as unknown as SocketError
}

/** An IPv4 peer of a listener on all interfaces is called as IPv4 has it, not `::ffff:127.0.0.1`. */
export function plainHost(host: string): string {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host
}

answeredByDriver(tcpChannel, {
  driver: 'a TCP driver: tcpBare(), or tcp() for flow control',
  // Of streams and sessions, neither asks for a socket.
  wanted: (topic: TcpChannel) => {
    const local = localEnd(topic)
    if (isListener(local)) return wantedListener(topic) !== undefined
    const { source, destination } = topic
    return (tcpHandle.is(source) || tcpHandle.is(destination)) && wantedConnection(topic) !== undefined
  },
  ignored: ({ subpacket }: { readonly subpacket: unknown }) =>
    tcpCredit.is(subpacket) || tcpMode.is(subpacket)
      ? 'which tcpBare() ignores, as it has no flow control: use tcp() instead' : undefined,
})

/** Reads from topics what the TCP drivers are asked for, and checks the addresses in them. */
import { rangeError } from '../support/errors.js'
import { isGround } from '../topic/index.js'
import type { SocketError } from '../transport/transport.js'
import {
  tcpHandle,
  tcpListener,
  type TcpAddress,
  type TcpChannel,
  type TcpHandle,
  type TcpListener,
} from './tcp-records.js'

/**
 * The port that a topic asks to listen on: it names a listener, and leaves the remote end open.
 * Of a ground remote end it is a session's topic, which asks for nothing.
 */
export function wantedListener({ source, destination }: TcpChannel): number | undefined {
  const [local, remote] = tcpListener.is(destination)
    ? [destination, source]
    : [source as TcpListener, destination]
  return isGround(local) && !isGround(remote) ? local.port : undefined
}

/** The connection that a topic asks for: it names both a handle and an address. */
export function wantedConnection({ source, destination }: TcpChannel): [TcpHandle, TcpAddress] | undefined {
  const [local, remote] = tcpHandle.is(source) ? [source, destination] : [destination, source]
  return isGround(local) && isGround(remote) ? [local as TcpHandle, remote as TcpAddress] : undefined
}

export function isPort(port: unknown, lowest: number): port is number {
  return Number.isInteger(port) && (port as number) >= lowest && (port as number) <= 65535
}

/** The error for an address that no socket can have. */
export function badAddress(syscall: string, got: unknown, lowest: number): SocketError {
  const error = rangeError(syscall, 'address', `a host and a port from ${lowest} to 65535`, got)
  return Object.assign(error, { errno: -22, syscall }) as unknown as SocketError
}

/** An IPv4 peer of a listener on all interfaces is called as IPv4 has it, not `::ffff:127.0.0.1`. */
export function plainHost(host: string): string {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host
}

/** The records that programs and the UDP driver exchange. */
import { defineCheckedRecord, defineRecord, isGround, type RecordFrom } from '../topic/index.js'
import { answeredByDriver } from '../vm/wiring.js'
import { hostName, ofType } from '../support/checks.js'
import { madeBy, optional, port } from './record-checks.js'

/**
 * A remote address: `host` as text (a name or an IP address), `port` as a number.
 *
 * @throws TypeError or RangeError for what is no host, or no port
 */
export const udpRemoteAddress = defineCheckedRecord('udp-remote-address', ['host', 'port'], {
  host: hostName, port,
}).of<
  [host: string, port: number]
>()
/** A record that `udpRemoteAddress` makes. */
export type UdpRemoteAddress = RecordFrom<typeof udpRemoteAddress>

/** A local address with a port that the kernel assigns. `id`, any value, names one socket. */
export const udpHandle = defineRecord('udp-handle', ['id']).of<[id: unknown]>()
/** A record that `udpHandle` makes. */
export type UdpHandle = RecordFrom<typeof udpHandle>

/**
 * A local address with a port of the program's choice; 0 lets the kernel choose (see `udpBound`).
 *
 * @throws TypeError or RangeError for what is no port
 */
export const udpListener = defineCheckedRecord('udp-listener', ['port'], { port }).of<[port: number]>()
/** A record that `udpListener` makes. */
export type UdpListener = RecordFrom<typeof udpListener>

/** Names a socket on this side. */
export type UdpLocalAddress = UdpHandle | UdpListener

const local = madeBy('a udpListener or a udpHandle', udpListener, udpHandle)
const remote = madeBy('a udpRemoteAddress', udpRemoteAddress)

/**
 * One datagram. A received one has a `Buffer` as body; to be sent, any `Uint8Array` will do, and a
 * string is sent as UTF-8.
 *
 * Nothing is checked where it is made: what can't be sent is a `udpError`.
 */
export const udpPacket = defineRecord('udp-packet', ['source', 'destination', 'body']).of<
  [source: UdpRemoteAddress | UdpLocalAddress, destination: UdpRemoteAddress | UdpLocalAddress, body: Buffer],
  [
    source: UdpRemoteAddress | UdpLocalAddress,
    destination: UdpRemoteAddress | UdpLocalAddress,
    body: Uint8Array | string,
  ]
>()
/** A record that `udpPacket` makes. */
export type UdpPacket = RecordFrom<typeof udpPacket>

/**
 * Published while a socket is bound: where it really is.
 *
 * @throws TypeError for another socket or address
 */
export const udpBound = defineCheckedRecord('udp-bound', ['local', 'address'], { local, address: remote }).of<
  [local: UdpLocalAddress, address: UdpRemoteAddress]
>()
/** A record that `udpBound` makes. */
export type UdpBound = RecordFrom<typeof udpBound>

/**
 * A subscriber to it makes the socket `local` a member of the multicast group for as long as it is
 * there. `networkInterface` is the name of one or an address that it has; undefined leaves the choice to
 * the system. The driver is a publisher of it while the socket is a member.
 *
 * @throws TypeError for what is no socket, or no text
 */
export const udpMembership = defineCheckedRecord('udp-membership', ['local', 'group', 'networkInterface'], {
  local, group: ofType('string'), networkInterface: optional(ofType('string')),
}).of<
  [local: UdpLocalAddress, group: string, networkInterface: string | undefined]
>()
/** A record that `udpMembership` makes. */
export type UdpMembership = RecordFrom<typeof udpMembership>

/** What `udpError` carries: a socket's error with `errno`, `syscall`, `address`, `port`, or an argument's. */
export interface UdpFailure extends Error {
  /** Name of the error: 'EADDRINUSE', 'ERR_OUT_OF_RANGE', ... */
  readonly code: string
  /** Negative, as libuv's; a socket's errors have it. */
  readonly errno?: number
  /** What failed: 'bind', 'send', ... */
  readonly syscall?: string
  /** Whose address it was, where there is one. */
  readonly address?: string
  /** And the port. */
  readonly port?: number
}

/**
 * Published when a socket could not be bound, a membership could not be had, or a datagram could not be
 * sent or received. `remote` is undefined unless it is about a datagram. The socket lives, if there is
 * one; nothing is retried.
 *
 * @throws TypeError for what is no socket, or no address
 */
export const udpError = defineCheckedRecord('udp-error', ['local', 'remote', 'error'], {
  local, remote: optional(remote),
}).of<
  [local: UdpLocalAddress, remote: UdpRemoteAddress | undefined, error: UdpFailure]
>()
/** A record that `udpError` makes. */
export type UdpError = RecordFrom<typeof udpError>

const isLocal = (end: unknown): boolean => (udpListener.is(end) || udpHandle.is(end)) && isGround(end)

answeredByDriver(udpPacket, {
  driver: 'a UDP driver: udp()',
  wanted: ({ source, destination }: UdpPacket) => isLocal(source) || isLocal(destination),
})

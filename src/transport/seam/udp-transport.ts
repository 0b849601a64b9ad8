/**
 * The seam for datagrams: what the UDP driver needs from a socket implementation, and nothing more.
 *
 * Owns the interface only. `native/udp.ts` implements it over the C++ engine, `node/udp.ts` over
 * `node:dgram`; the driver is written against it once and both pass the same tests.
 *
 * Rules every implementation keeps:
 * - Nothing is reported synchronously from inside a method call. The sink given to `open` is called
 *   with all events of one loop turn, in order per socket.
 * - `bound` or `bind-failed` is reported once per socket, before anything else. After `bind-failed`
 *   nothing comes; otherwise `closed` is the last event, once, after `close` was called.
 * - A datagram given to `send` is handed to the kernel, after those given before to the same address,
 *   or reported as `send-failed`. What the kernel or the network does with it afterwards is not known:
 *   errors that come back by ICMP are not reported.
 * - An IPv4 peer has an IPv4 address, also where the socket is an IPv6 one that takes both.
 */
import type { UdpMetrics } from './metrics.js'
import type {
  KeptBuffers, SocketAddress, SocketError, TransportInfo, TransportOptions,
} from './transport.js'

export type UdpEventKind =
  | 'bound' // `socket.address` is now the real one
  | 'bind-failed' // `error`
  | 'datagram' // `data`, perhaps empty, from `remote`
  | 'truncated' // more than `maxDatagramSize` bytes came from `remote` and were dropped: `error`
  | 'send-failed' // a datagram to `remote` (address 'name' if it could not be looked up): `error`
  | 'receive-failed' // `error`; the socket goes on
  | 'closed' // the port is free; what was sent before has been dealt with

/** The most that fits into one IPv4 datagram. */
export const UDP_PAYLOAD_MAX = 65_507

/** How a socket is bound, and what it may do. */
export interface UdpSocketOptions {
  /** 0 lets the kernel choose. */
  readonly port: number
  /** Name or address to bind to. Default: all interfaces. */
  readonly host?: string | undefined
  /** Default: by `host`; without it IPv6 and IPv4 in one socket, or IPv4 where there is no IPv6. */
  readonly type?: 'udp4' | 'udp6' | undefined
  /** An IPv6 socket takes no IPv4. Default false. */
  readonly ipv6Only?: boolean | undefined
  /** Others may bind the same port, if they say so too. Default false. */
  readonly reuseAddress?: boolean | undefined
  /** May send to broadcast addresses; otherwise that fails with EACCES. Default false. */
  readonly broadcast?: boolean | undefined
  /** Hops that a datagram may take, 1 to 255. Default: the system's. */
  readonly ttl?: number | undefined
  /** The same for multicast, 0 to 255. Default 1. */
  readonly multicastTTL?: number | undefined
  /** Whether this machine hears what is sent to groups that it has joined. Default true. */
  readonly multicastLoopback?: boolean | undefined
  /** Name or address of the interface that multicast leaves by. Default: the system's choice. */
  readonly multicastInterface?: string | undefined
  /** Size of the kernel's buffer for what comes, in bytes. Default: the system's. */
  readonly receiveBufferSize?: number | undefined
  /** Size of the kernel's buffer for what goes, in bytes. Default: the system's. */
  readonly sendBufferSize?: number | undefined
  /** Longer datagrams are neither sent nor received, but reported. Default 65,507. */
  readonly maxDatagramSize?: number | undefined
  /** Bytes that may wait for the kernel; more fail with ENOBUFS. Default 1 MiB. */
  readonly maxQueuedBytes?: number | undefined
  /**
   * 'isolated': each datagram is copied into an ArrayBuffer that holds nothing else. 'owned': in its
   * ArrayBuffer are other datagrams as well. Default: the environment's MARKETPLACE_BUFFERS, or else 'owned'.
   */
  readonly buffers?: KeptBuffers | undefined
}

export interface UdpSocket {
  /** For the driver's use; the transport never looks at it. */
  context: unknown
  /** The bound address; `undefined` until `bound` was reported. */
  readonly address: SocketAddress | undefined
  /**
   * Sends one datagram (a string as UTF-8). `host` may be a name, which is looked up each time; on a
   * socket for both families its IPv4 address is preferred, as there is no trying of several.
   * Not before `bound` and not after `close`.
   */
  send(data: Uint8Array | string, host: string, port: number): void
  /**
   * Joins a multicast group on an interface, given by name or address (default: the system's choice).
   *
   * @throws SocketError when the kernel refuses
   */
  join(group: string, networkInterface?: string): void
  /** @throws SocketError when the kernel refuses */
  leave(group: string, networkInterface?: string): void
  /**
   * Stops receiving. What the kernel has not taken yet it is given as soon as it takes it, for ten seconds at most,
   * which the native engine keeps the port for; what is left then fails with ECANCELED, as does what waits for a
   * host's name. `closed` follows. Idempotent.
   */
  close(): void
}

/** One thing that happened. Which fields are set depends on `kind`. */
export interface UdpEvent {
  readonly kind: UdpEventKind
  readonly socket: UdpSocket
  /** Set for `datagram`. Belongs to the receiver for as long as it keeps it. */
  readonly data: Buffer | undefined
  /** Bytes of `data` when it came. It is shorter if the program has detached the memory since. */
  readonly length: number
  readonly remote: SocketAddress | undefined
  readonly error: SocketError | undefined
}

export type UdpSink = (events: readonly UdpEvent[]) => void

/** How the engine of a native transport is made; the node transport has none. */
export interface UdpTransportOptions
  extends Pick<TransportOptions, 'backend' | 'busyPoll' | 'sleepIn' | 'maxSlabBytes'> {
  /** As the sockets' option, which may ask for more than this. */
  readonly buffers?: KeptBuffers | undefined
}

/** A set of datagram sockets that report to one sink. */
export interface UdpTransport {
  /** Which implementation it is. */
  readonly name: 'native' | 'node'
  /** Counters, kept up to date. */
  readonly metrics: UdpMetrics
  /** What the native engine runs on; `undefined` before `open`, after `close`, and on `node:dgram`. */
  readonly info: TransportInfo | undefined
  /** Starts reporting. Called once, before anything else. */
  open(sink: UdpSink): void
  /** Keeps the process alive until `close`, as it does at first. */
  ref(): void
  /**
   * The process may end while nothing else keeps it alive. Datagrams that wait for the kernel keep the
   * native transport's alive until they are sent.
   */
  unref(): void
  /** Opens a socket; how that went is reported. */
  bind(options: UdpSocketOptions): UdpSocket
  /** Closes everything. No event is reported after this call. Resolves when every descriptor is closed. */
  close(): Promise<void>
}

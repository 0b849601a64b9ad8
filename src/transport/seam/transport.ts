/**
 * The transport seam: what a TCP driver needs from a socket implementation, and nothing more.
 *
 * Owns the interface only. `native/transport.ts` implements it over the C++ engine, `node/transport.ts` over
 * `node:net`; the drivers are written against it once and both implementations pass the same tests.
 *
 * Rules every implementation keeps:
 * - Nothing is reported synchronously from inside a method call. What happened is reported in
 *   batches: the sink given to `open` is called with all events of one loop turn, in order per socket.
 * - `listening` or `listen-failed` is reported once per listener; `closed` is reported exactly once
 *   per connection and is its last event. A connection that could not be established reports only
 *   `closed`, with an error whose `syscall` is 'connect' (or 'bind', or 'getaddrinfo').
 * - Bytes given to `write` are never dropped silently: they reach the kernel in order, or the
 *   connection's `closed` event carries an error.
 */

import type { BufferLifetime } from './buffers-option.js'
import type { ConnectionInfo } from './connection-info.js'
import type { FrameScanner } from './framing.js'
import type { FullLimits, LimitChanges, LimitName, ListenerLimits } from './limits.js'
import type { TransportMetrics } from './metrics.js'
import type { TlsStart, TlsState } from './tls.js'
import type { SocketAddress, SocketError } from '../../support/socket-error.js'

export type { BufferLifetime, KeptBuffers } from './buffers-option.js'
export type { SocketAddress, SocketError } from '../../support/socket-error.js'

/** What a socket reports. Plain strings: V8 compares interned strings by pointer. */
export type TransportEventKind =
  | 'listening' // listener: bound; `listener.address` is now the real one
  | 'listen-failed' // listener: `error`; nothing more comes from it
  | 'accepted' // connection: new, on `listener`
  | 'accept-failed' // listener: `error` (EMFILE, ...); it goes on listening
  | 'dropped' // listener: connections were reset for its limits; `dropped` says how many. Once a second at most
  | 'connected' // connection: established
  | 'data' // connection: `data`, at least one byte
  | 'frames' // connection: `run`, at least one byte of frames that `frame` asked for
  | 'end' // connection: the peer sent FIN; all its data has been reported
  | 'secured' // connection: TLS has begun; `connection.tls` says how
  | 'session' // connection: a TLS session that can be resumed, as `tlsSession` gives it
  | 'written' // connection: `bytes` more bytes were taken by the kernel
  | 'closed' // connection: gone; `error` unless the end was orderly

/** A lookup of names like Node's `dns.lookup`: it may give one address, or all of them. */
export type Lookup = (
  hostname: string,
  options: { readonly all: true, readonly family: 0 | 4 | 6 },
  callback: (
    error: Error | null,
    addresses?: string | readonly { readonly address: string, readonly family?: number | string }[],
    family?: number,
  ) => void,
) => void

/**
 * What can be asked of every connection, outbound and accepted: a listener's connections inherit
 * its options. What is left out is the system's own, but for `noDelay`.
 */
export interface SocketOptions {
  /** Send small pieces at once (TCP_NODELAY): Nagle's algorithm is off. Default true. */
  readonly noDelay?: boolean | undefined
  /**
   * Find out that a silent peer is gone (SO_KEEPALIVE). `true` takes the system's times, which on
   * Linux are two hours until the first probe. Default false.
   */
  readonly keepAlive?: boolean | KeepAliveOptions | undefined
  /**
   * Milliseconds after which a connection whose peer does not acknowledge what was sent ends with
   * ETIMEDOUT (TCP_USER_TIMEOUT). From 0, the default, which leaves it to the system (Linux gives up
   * after some 15 minutes), to 2,147,483,647.
   */
  readonly userTimeout?: number | undefined
  /**
   * Bytes of the kernel's buffer for what is to be sent (SO_SNDBUF), from 1 to 1,073,741,823. Linux
   * reserves twice as much, takes at most `net.core.wmem_max`, and no longer adapts the size by
   * itself. Default: the system's, which adapts.
   */
  readonly sendBufferSize?: number | undefined
  /** The same for what was received (SO_RCVBUF, `net.core.rmem_max`). */
  readonly receiveBufferSize?: number | undefined
  /**
   * Milliseconds after which a connection on which nothing came or went ends with an ETIMEDOUT error,
   * whose `syscall` is 'idle': in order if the kernel has taken all that was written, otherwise by a
   * reset. With the native transport what counts as going is what the kernel takes, and it is up to
   * 100 ms late; with node:net it is what the program writes, too. A connection that is being closed
   * has `closeTimeout` instead. From 0, the default, which is no limit, to 2,147,483,647.
   */
  readonly idleTimeout?: number | undefined
  /**
   * Milliseconds after which a connection on which nothing came ends with an ETIMEDOUT error, whose message
   * names this option, whatever is sent on it; as with `idleTimeout`, in order if the kernel has taken all that
   * was written, otherwise by a reset. The time runs while the program waits for input (`expectInput`) and the
   * peer has not ended its output. That the connection is paused does not stop it: what the peer sends meanwhile
   * counts as come. From 0, the default, which is no limit, to 2,147,483,647. Both limits can be given.
   */
  readonly readTimeout?: number | undefined
  /**
   * What becomes of options that the transport can't provide here: 'error', the default, makes the
   * listen or the connect fail with ENOTSUP; 'ignore' does without them.
   */
  readonly unsupported?: 'error' | 'ignore' | undefined
}

/** When a connection on which nothing comes is probed. What is left out is the system's own. */
export interface KeepAliveOptions {
  /** Milliseconds of silence before the first probe, from 1 to 32,767,000; whole seconds, rounded up. */
  readonly idle?: number | undefined
  /** Milliseconds between probes, from 1 to 32,767,000; whole seconds, rounded up. */
  readonly interval?: number | undefined
  /** Unanswered probes after which the connection ends with ETIMEDOUT, from 1 to 127. */
  readonly count?: number | undefined
}

/** `KeepAliveOptions`, all of them. */
export interface KeepAliveTimes {
  readonly idle: number
  readonly interval: number
  readonly count: number
}

export interface ListenOptions extends SocketOptions {
  /** Name or address to bind to. Default: all interfaces (`::`, or `0.0.0.0` without IPv6), as Node's. */
  readonly host?: string | undefined
  /** 0 lets the kernel choose. Required, unless there is a `path`. */
  readonly port?: number | undefined
  /**
   * Listens on a Unix socket instead: the path of its file, or, on Linux, a name that begins with a
   * zero byte and has no file. At most 107 bytes. (net of Node 20 fills such a name up with zero
   * bytes, which makes it another one.) Has no `host` and `port`; what only TCP has does not apply. A
   * file that is there already is an EADDRINUSE error; closing the listener removes its own.
   */
  readonly path?: string | undefined
  /**
   * Adopts a listening socket that others have opened, TCP or Unix, by its descriptor. Has no `host`, `port` and
   * `path`. Once it listens, the transport owns the descriptor, and closes it; one that can't be adopted stays the
   * caller's.
   */
  readonly fd?: number | undefined
  /** With `fd`: a socket that is bound, and does not listen yet, is made to, with this `backlog`. Default false. */
  readonly bound?: boolean | undefined
  /** With `::` or without `host`: accept IPv6 only, not IPv4 as well. Default false. */
  readonly ipv6Only?: boolean | undefined
  /** Length of the accept queue. Default 511, as Node's; Linux takes at most `net.core.somaxconn`. */
  readonly backlog?: number | undefined
  /**
   * Share the port with other listeners, of other processes too, that ask for the same
   * (SO_REUSEPORT): the kernel spreads connections over them. 'if-supported' does without where the
   * transport or the system can't. Default false.
   */
  readonly reusePort?: boolean | 'if-supported' | undefined
  /**
   * Bind without SO_REUSEADDR: EADDRINUSE also while connections of an earlier listener linger on
   * the port. Without it, too, nobody shares a port that is listened on. Default false.
   */
  readonly exclusive?: boolean | undefined
  /**
   * How many connections that it accepted may be open at a time; further ones are reset, which is
   * reported as `dropped`. Default: no limit.
   */
  readonly maxConnections?: number | undefined
  /** What else it takes at most, and of whom. Default: no limits. */
  readonly limits?: ListenerLimits | undefined
  /** Nothing is read from an accepted connection before its `resume`. Default false. */
  readonly pauseOnAccept?: boolean | undefined
}

export interface ConnectOptions extends SocketOptions {
  /** Name or address. Required, unless there is a `path`. */
  readonly host?: string | undefined
  /** Required, unless there is a `path`. */
  readonly port?: number | undefined
  /** Connects to a Unix socket instead: as the `path` of a listener. */
  readonly path?: string | undefined
  /**
   * With a `path`: what arrives may carry descriptors, which `takeDescriptors` has then. Only the native transport has
   * it. It can't be said later: once the connection is there, a request that receives may be on its way, and the kernel
   * drops the descriptors of what that receives.
   */
  readonly carriesDescriptors?: boolean | undefined
  /**
   * Adopts a connected socket that others have opened, TCP or Unix, by its descriptor. Has no `host`, `port` and
   * `path`. Once it is connected, the transport owns the descriptor, and closes it; one that can't be adopted stays the
   * caller's.
   */
  readonly fd?: number | undefined
  /** IP address to connect from. Default: the system's choice. Only its family is then tried. */
  readonly localAddress?: string | undefined
  /** Port to connect from. Default 0: the system's choice. */
  readonly localPort?: number | undefined
  /**
   * Milliseconds that all of it may take, the lookup of the name included, before it fails with
   * ETIMEDOUT. Default 0: no limit but that of the kernel for each attempt, about two minutes.
   */
  readonly connectTimeout?: number | undefined
  /**
   * Milliseconds that an attempt may take before the next address of the name is tried beside it.
   * At least 10. Default 250, as RFC 8305 recommends.
   */
  readonly attemptDelay?: number | undefined
  /** Looks the name up, instead of Node's `dns.lookup`. Not called for addresses. */
  readonly lookup?: Lookup | undefined
}

/** The options of a socket as the kernel has them, in the units of `SocketOptions`. */
export interface SocketSettings {
  readonly noDelay: boolean
  readonly keepAlive: false | KeepAliveTimes
  /** 0: the system's own. */
  readonly userTimeout: number
  /** With what the kernel adds for its own needs. */
  readonly sendBufferSize: number
  readonly receiveBufferSize: number
}

/** Connections that a listener refused because of its limits. */
export interface Dropped {
  /** How many since the last report. */
  readonly count: number
  /** How many of them because of which limit; about, as others may have been refused when this is looked at. */
  readonly limits: Readonly<Partial<Record<LimitName, number>>>
  /** Where the last of them came from. */
  readonly remote: SocketAddress
}

/** What a listener has counted. */
export interface ListenerCounts {
  /** Connections that it accepted and that are open. */
  readonly connections: number
  /** Prefixes that are remembered, for their connections or for how fast they opened some. */
  readonly prefixes: number
  /** Whether it is paused because of `pauseAbove`. */
  readonly overloaded: boolean
  /** How often each limit did something. */
  readonly limited: Readonly<Record<LimitName, number>>
}

/** A listening socket. */
export interface TransportListener {
  /** For the driver's use; the transport never looks at it. */
  context: unknown
  /** The bound address; `undefined` until it listens, which may be known before `listening` is reported. */
  readonly address: SocketAddress | undefined
  /** What the kernel has; asks it. `undefined` unless it listens, and always with node:net. */
  readonly settings: SocketSettings | undefined
  /** Why it does not listen, if that is known; `listen-failed` tells it, too. */
  readonly failure?: SocketError | undefined
  /** As that of a connection. */
  readonly descriptor?: number | undefined
  /** As that of a connection. */
  duplicate?(): number
  /** Whether another thread has the listener, and accepts for it: what this one has taken nobody else can serve. */
  readonly onLoan?: boolean
  /** Another process has the listener, too: if it is a Unix socket, its file stays when this one closes. */
  handedOver?(): void
  /**
   * Stops accepting; connections wait in the kernel's queue. Those that the kernel has handed over
   * already are still reported.
   */
  pause(): void
  /** Goes on accepting. */
  resume(): void
  /** Its limits now. */
  readonly limits: FullLimits
  /** One of them that the driver sees to did something. */
  count(limit: LimitName): void
  /** What it has counted; asks for it. `undefined` unless it listens. */
  readonly counts: ListenerCounts | undefined
  /**
   * Changes its limits, of what is accepted from now on.
   *
   * @throws TypeError or RangeError for a change that can't be
   */
  limit(changes: LimitChanges): void
  /** Stops accepting and releases the port. Accepted connections live on. Idempotent; no event follows. */
  close(): void
}

/** One TCP connection. */
export interface TransportConnection {
  /** For the driver's use; the transport never looks at it. */
  context: unknown
  /** The listener that accepted it; `undefined` for an outbound connection. */
  readonly listener: TransportListener | undefined
  /** The peer; known from `accepted` or `connected` on. */
  readonly remote: SocketAddress | undefined
  /** This side; known from `accepted` or `connected` on. May cost a system call the first time. */
  readonly local: SocketAddress | undefined
  /** What the kernel has; asks it. `undefined` unless it is open, and always with node:net. */
  readonly settings: SocketSettings | undefined
  /** Bytes given to `write` that the kernel has not taken yet. */
  readonly queuedBytes: number
  /**
   * Set once the connection has ended because too much was queued, which `closed` is about to say: for
   * whoever goes on writing in the same turn.
   */
  readonly overflow: SocketError | undefined
  /**
   * Set once it has ended with an error, which `closed` is about to say: whether the kernel had taken all that was
   * written until then, or some is lost, though nothing is queued. What is written now is. Not told by the node
   * transport.
   */
  readonly failing?: 'taken' | 'lost' | undefined
  /**
   * Whether `written` is reported for this connection. Off at first: only flow control needs it.
   */
  reportWrites: boolean
  /**
   * Queues bytes (a string is sent as UTF-8). A big buffer is not copied: until the kernel has taken it, its
   * memory must neither change nor be taken away; if it is (transferred, detached, shrunk), the connection
   * ends with EFAULT. Must not be called after `shutdown`, `close` or `abort`; on a connection that is gone
   * otherwise it does nothing, as its `closed` may be on the way.
   *
   * @param taken the memory may change as soon as this has returned: bytes that the kernel does not take at
   * once are copied. Default false
   */
  write(data: Uint8Array | string, taken?: boolean): void
  /** Sends FIN after what is queued; receiving goes on. Idempotent. */
  shutdown(): void
  /**
   * Stops receiving, hands what is queued to the kernel, then closes. `closed` follows: without an
   * error even if the peer had not finished. Gives up with an RST and an ETIMEDOUT error after
   * `closeTimeout` of the transport's options. Idempotent.
   */
  close(): void
  /**
   * Drops what is queued and closes at once with an RST. `closed` follows, without an error. Idempotent.
   * A Unix socket has no RST: the peer still gets what the kernel has, then an end, or ECONNRESET if
   * something that it sent was not received.
   */
  abort(): void
  /**
   * Stops receiving, so that the kernel's window closes. What was already received is still reported,
   * and so is, by the native transport, that the connection was lost with nothing left to read. What is
   * left is kept for `resume`, with the end or the error after it; but a failed write ends it at once.
   */
  pause(): void
  resume(): void
  /**
   * Whether the program waits for input, as it does in the beginning: `readTimeout` counts only while it does,
   * and begins anew when this is called.
   */
  expectInput(on: boolean): void
  /**
   * Asks for frames to be found: 'frames' in place of 'data', and nothing of a short frame before all of it has come.
   * What the transport finds unusual, frames that are wrong or too long among it, comes as 'data' all the same, and
   * from then on so does everything, until it is asked again. Not there: it all comes as 'data'.
   *
   * @param asked undefined: everything comes as 'data' from now on
   */
  frame?(asked: FramesAsked | undefined): void
  /**
   * Begins TLS, on a connection that is established and of which nothing was written. `secured` follows, or `closed`
   * with the error. What comes as 'data' before `secured` was on its way already: it belongs to TLS, see `unread`.
   * Nothing may be written before `secured`. A conversation that is carried by a stream has no TLS of its own.
   *
   * @throws Error that says why it can't be
   */
  startTls?(start: TlsStart): void
  /** After `startTls`: bytes that came as 'data', and are what TLS begins with. In their order. */
  unread?(data: Uint8Array): void
  /** What the TLS handshake has come to; from `secured` on. */
  readonly tls?: TlsState | undefined
  /** The session, to be resumed later; undefined without TLS or when it is gone. */
  tlsSession?(): Buffer | undefined
  /** The certificate, in DER, that the peer was shown. */
  tlsCertificate?(): Uint8Array | undefined
  /** TCP_NODELAY, from now on; a Unix socket has none. Ignored unless it is established. */
  setNoDelay(on: boolean): void
  /**
   * SO_KEEPALIVE, from now on. Ignored unless it is established.
   *
   * @param idle seconds of silence before the first probe; 0 leaves it as it is, and the other two
   * @param interval seconds between probes; default 1
   * @param count so many without an answer end the connection; default 10
   */
  setKeepAlive(on: boolean, idle: number, interval?: number, count?: number): void
  /** What is known of an established connection; asks the kernel. Only the native transport has it. */
  info?(): ConnectionInfo | undefined
  /**
   * IP_TOS, or the traffic class of IPv6, of an established connection; only the native transport has it.
   *
   * @param value from 0 to 255, to set it; without it is only read
   * @returns what it is, or a negative errno
   */
  typeOfService?(value?: number): number
  /**
   * The kernel's number of an established connection, for a child process to inherit; only the native
   * transport has it. The connection keeps it: it must not be closed, and is read only if `pause` was called.
   * From then on the connection shares the kernel's socket: `close` does no more than to close it here.
   */
  readonly descriptor?: number | undefined
  /** As `descriptor`, but a number of its own, which the caller is to close; or a negative errno. */
  duplicate?(): number
  /**
   * Whether the process at the other end of a Unix socket runs for the same user: 1, 0, or a negative errno. Only the
   * native transport has it, and the next two.
   */
  sameUser?(): number
  /**
   * Sends bytes now, the first of which carries descriptors, at most 253.
   *
   * @returns how many bytes were sent, or a negative errno: EAGAIN if there is no room
   */
  sendDescriptors?(data: Uint8Array, descriptors: readonly number[]): number
  /** The descriptors that have arrived, in their order, which are the caller's now. */
  takeDescriptors?(): number[]
  /**
   * The peer's address as the kernel has it. `remote` of an outbound connection is what was asked for: the
   * same, but for other spellings, and for 0.0.0.0 and ::, which lead to this machine. Only the native
   * transport has it.
   */
  readonly peer?: SocketAddress | undefined
}

/** Which frames a transport is to find, and where. */
export interface FramesAsked {
  /** Comes back in each run of frames that is an answer to this. */
  readonly generation: number
  /**
   * How many bytes were received, in 32 bits: where it is to begin. If there are others on the way already,
   * nothing changes but that all comes as 'data'.
   */
  readonly position: number
  /** Where in a frame that is: what looked at it up to there. */
  readonly scanner: FrameScanner
  /** The bytes before are a line that ended with CR, so that an LF belongs to it. */
  readonly skipsLF: boolean
}

/** Bytes in which frames end. They begin where a frame does, or go on with one whose begin was reported. */
export interface FrameRun {
  /** As `data` of an event, from `start` to `end`. */
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
  /** Where frames end, counted from `start`; undefined: one does, at `end`. Empty: none. */
  readonly ends: ArrayLike<number> | undefined
  /** What it is the answer to. */
  readonly generation: number
}

/** One thing that happened. Which fields are set depends on `kind`, as listed there. */
export interface TransportEvent {
  readonly kind: TransportEventKind
  /** Set for the kinds of a connection. */
  readonly connection: TransportConnection | undefined
  /** Set for `listening`, `listen-failed`, `accept-failed`, `dropped`. */
  readonly listener: TransportListener | undefined
  /** Set for `data`. Belongs to the receiver for as long as it keeps it, unless it is borrowed. */
  readonly data: Buffer | undefined
  /** Set for `written`: how many bytes. */
  readonly bytes: number
  /** Set for the failures, and for `closed` when it was not orderly. */
  readonly error: SocketError | undefined
  /** Of `dropped`; other kinds don't have it. */
  readonly dropped?: Dropped
  /** Of `frames`; other kinds don't have it. */
  readonly run?: FrameRun
}

/**
 * Is given what has happened. May return false with borrowed buffers: what it was given is still in use when
 * it returns. May return 'again': it is called once more, with no events, after ticks and promises have run.
 */
export type TransportSink = (events: readonly TransportEvent[]) => unknown

/** In whose system call a thread sleeps. */
export type SleepIn = 'engine' | 'libuv'

export interface TransportOptions {
  /** Milliseconds that `close` may take to hand queued bytes to the kernel. Default 10,000. */
  readonly closeTimeout?: number | undefined
  /**
   * Bytes that may wait to be sent on one connection. Measured when what was written in one turn was
   * offered to the kernel. Default 67,108,864; Infinity for no limit.
   */
  readonly maxQueuedBytes?: number | undefined
  /** The same, of all connections together. Default 268,435,456. */
  readonly maxQueuedBytesTotal?: number | undefined
  /**
   * What happens beyond these limits. 'abort' (default): the connection ends with ENOBUFS and an RST;
   * beyond the total, those with the most bytes queued do. 'pause': no data is received on the connection,
   * or, beyond the total, on any, until at most half of the limit is queued; what is written all the same is
   * kept.
   */
  readonly overflow?: 'abort' | 'pause' | undefined
  /**
   * What the native engine talks to the kernel with; others ignore it. Default: the environment's
   * MARKETPLACE_BACKEND, or else 'auto': io_uring where the kernel has all that makes it the cheaper one, else epoll.
   * Any other one must work.
   */
  readonly backend?: TransportBackend | undefined
  /**
   * Microseconds for which the native engine, after something has happened, looks for the next event
   * without sleeping: lower latency for a busy CPU. From 0, which is the default and means never, to 1000;
   * 'adaptive' is 100, and only while events come that soon. Other transports check and ignore it.
   */
  readonly busyPoll?: number | 'adaptive' | undefined
  /**
   * In whose system call the thread sleeps when there is nothing to do. 'libuv': in that of Node's event loop, which
   * tells the native engine that its sockets are ready. 'engine': in the engine's own, which hears of what else the
   * event loop waits for; a system call or two less for each turn. Default: the environment's MARKETPLACE_SLEEP_IN, or
   * else 'engine', but 'libuv' in Electron. Other transports check and ignore it.
   */
  readonly sleepIn?: SleepIn | undefined
  /**
   * How long the bytes of a `data` event stay as they are. 'owned': for as long as the program keeps
   * them. 'borrowed': until the sink returns, unless it returns false, and then until `reuse`; their
   * memory is received into again. The node transport's are always owned. 'isolated': as 'owned', and each
   * piece is copied into an ArrayBuffer that holds nothing else. Default: the environment's
   * MARKETPLACE_BUFFERS, or else 'owned'.
   */
  readonly buffers?: BufferLifetime | undefined
  /**
   * With borrowed buffers, overwrite them with 0xdb when they are over, so that a late reader
   * notices. Default: whether the environment's MARKETPLACE_POISON is 1. Debug builds always do.
   */
  readonly poison?: boolean | undefined
  /**
   * Most bytes of memory that is received into, pinned by views or not. At the limit reading stops
   * until the garbage collector has freed some, so that senders wait; nothing is lost. From 1,048,576
   * on; native only. Default 1,073,741,824.
   */
  readonly maxSlabBytes?: number | undefined
}

/** What the native engine may be asked to talk to the kernel with. */
export type TransportBackend = 'auto' | 'epoll' | 'io_uring'

/** What a transport runs on. */
export interface TransportInfo {
  /** What it uses. */
  readonly backend: 'epoll' | 'io_uring'
  /** What was asked for. */
  readonly requested: TransportBackend
  /** Why it is not what was asked for, or lacks something; '' if there is nothing to say. */
  readonly reason: string
  /** What the backend uses of the kernel's more recent abilities. */
  readonly features: readonly string[]
}

/** A set of sockets that report to one sink. */
export interface Transport {
  /** All connections that are not closed, those that are not established included. */
  connections(): readonly TransportConnection[]
  /** Which implementation it is. */
  readonly name: 'native' | 'node'
  /** Counters, kept up to date. */
  readonly metrics: TransportMetrics
  /** Of the native transport, while it is open: what it runs on. */
  readonly info?: TransportInfo | undefined
  /**
   * Of the native transport, the iteration of Node's loop in which something was reported last: within one, no
   * immediates run. A number that grows.
   */
  readonly iteration?: number
  /**
   * Starts reporting to `sink`. Called once, before any socket is asked for. Keeps the process alive until
   * `close`, unless `unref` is called.
   */
  open(sink: TransportSink): void
  /** Binds and listens; how that went is reported. */
  listen(options: ListenOptions): TransportListener
  /** Connects; how that went is reported. */
  connect(options: ConnectOptions): TransportConnection
  /** Keeps the process alive again, after `unref`. Idempotent. */
  ref(): void
  /**
   * From now on, and also for sockets to come, the transport alone does not keep the process alive. May be
   * called before `open`. Idempotent.
   */
  unref(): void
  /** Offers to the kernel now, and not at the end of the turn, what was written. */
  flush(): void
  /** Borrowed buffers that were kept beyond their turn (by the sink's false) are over. */
  reuse(): void
  /**
   * Closes everything: listeners at once, connections as their own `close` does. No event is reported
   * after this call. Resolves when every descriptor is closed. Idempotent.
   */
  close(): Promise<void>
}

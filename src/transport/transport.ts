/**
 * The transport seam: what a TCP driver needs from a socket implementation, and nothing more.
 *
 * Owns the interface only. `native.ts` implements it over the C++ engine, `node.ts` over `node:net`;
 * the drivers are written against it once and both implementations pass the same tests.
 *
 * Rules every implementation keeps:
 * - Nothing is reported synchronously from inside a method call. What happened is reported in
 *   batches: the sink given to `open` is called with all events of one loop turn, in order per socket.
 * - `listening` or `listen-failed` is reported once per listener; `closed` is reported exactly once
 *   per connection and is its last event. A connection that could not be established reports only
 *   `closed`, with an error whose `syscall` is 'connect' (or 'getaddrinfo').
 * - Bytes given to `write` are never dropped silently: they reach the kernel in order, or the
 *   connection's `closed` event carries an error.
 */

import type { TransportMetrics } from './metrics.js'

/** What a socket reports. Plain strings: V8 compares interned strings by pointer. */
export type TransportEventKind =
  | 'listening' // listener: bound; `listener.address` is now the real one
  | 'listen-failed' // listener: `error`; nothing more comes from it
  | 'accepted' // connection: new, on `listener`
  | 'accept-failed' // listener: `error` (EMFILE, ...); it goes on listening
  | 'connected' // connection: established
  | 'data' // connection: `data`, at least one byte
  | 'end' // connection: the peer sent FIN; all its data has been reported
  | 'written' // connection: `bytes` more bytes were taken by the kernel
  | 'closed' // connection: gone; `error` unless the end was orderly

/** An address as Node's `server.address()` gives it. */
export interface SocketAddress {
  /** Textual IP address. */
  readonly address: string
  /** Which kind of address it is. */
  readonly family: 'IPv4' | 'IPv6'
  /** From 0 to 65535. */
  readonly port: number
}

/** An error as Node's socket errors are: `code` 'ECONNREFUSED', `errno` negative, and so on. */
export interface SocketError extends Error {
  /** Name of the error: 'ECONNREFUSED', ... */
  code: string
  /** Negative, as libuv's. */
  errno: number
  /** What failed: 'connect', 'listen', 'read', ... */
  syscall: string
  /** Whose address it was, where there is one. */
  address?: string
  /** And the port. */
  port?: number
}

export interface ListenOptions {
  /** Name or address to bind to. Default: all interfaces (`::`, or `0.0.0.0` without IPv6), as Node's. */
  readonly host?: string | undefined
  /** 0 lets the kernel choose. */
  readonly port: number
  /** Length of the accept queue. Default 511, as Node's. */
  readonly backlog?: number | undefined
}

export interface ConnectOptions {
  readonly host: string
  readonly port: number
}

/** A listening socket. */
export interface TransportListener {
  /** For the driver's use; the transport never looks at it. */
  context: unknown
  /** The bound address; `undefined` until `listening` was reported. */
  readonly address: SocketAddress | undefined
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
  /** Bytes given to `write` that the kernel has not taken yet. */
  readonly queuedBytes: number
  /**
   * Whether `written` is reported for this connection. Off at first: only flow control needs it.
   */
  reportWrites: boolean
  /** Queues bytes (a string is sent as UTF-8). Must not be called after `shutdown`, `close` or `abort`. */
  write(data: Uint8Array | string): void
  /** Sends FIN after what is queued; receiving goes on. Idempotent. */
  shutdown(): void
  /**
   * Stops receiving, hands what is queued to the kernel, then closes. `closed` follows: without an
   * error even if the peer had not finished. Gives up with an RST and an ETIMEDOUT error after
   * `closeTimeout` of the transport's options. Idempotent.
   */
  close(): void
  /** Drops what is queued and closes at once with an RST. `closed` follows, without an error. Idempotent. */
  abort(): void
  /** Stops receiving, so that the kernel's window closes. What was already received is still reported. */
  pause(): void
  resume(): void
}

/** One thing that happened. Which fields are set depends on `kind`, as listed there. */
export interface TransportEvent {
  readonly kind: TransportEventKind
  /** Set for the kinds of a connection. */
  readonly connection: TransportConnection | undefined
  /** Set for `listening`, `listen-failed`, `accept-failed`. */
  readonly listener: TransportListener | undefined
  /** Set for `data`. Belongs to the receiver for as long as it keeps it. */
  readonly data: Buffer | undefined
  /** Set for `written`: how many bytes. */
  readonly bytes: number
  /** Set for the failures, and for `closed` when it was not orderly. */
  readonly error: SocketError | undefined
}

export type TransportSink = (events: readonly TransportEvent[]) => void

export interface TransportOptions {
  /** Milliseconds that `close` may take to hand queued bytes to the kernel. Default 10,000. */
  readonly closeTimeout?: number | undefined
  /**
   * What the native engine talks to the kernel with; others ignore it. Default: the environment's
   * MARKETPLACE_BACKEND, or else 'auto', which is the best that works here. Any other one must work.
   */
  readonly backend?: TransportBackend | undefined
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
  /** Which implementation it is. */
  readonly name: 'native' | 'node'
  /** Counters, kept up to date. */
  readonly metrics: TransportMetrics
  /** Of the native transport, while it is open: what it runs on. */
  readonly info?: TransportInfo | undefined
  /** Starts reporting to `sink`. Called once, before anything else. Keeps the process alive until `close`. */
  open(sink: TransportSink): void
  /** Binds and listens; how that went is reported. */
  listen(options: ListenOptions): TransportListener
  /** Connects; how that went is reported. */
  connect(options: ConnectOptions): TransportConnection
  /**
   * Closes everything: listeners at once, connections as their own `close` does. No event is reported
   * after this call. Resolves when every descriptor is closed. Idempotent.
   */
  close(): Promise<void>
}

/**
 * The sockets of drivers, for somebody who looks: found by the event source that a driver has them from.
 *
 * Owns which driver that is. Nothing is counted and nothing kept for it: a driver is asked, and asks the kernel.
 */
import type { ConnectionInfo } from '../transport/seam/connection-info.js'
import type { SocketAddress, TransportConnection } from '../transport/seam/transport.js'
import type { EventSource } from '../vm/index.js'

/** A connection of a driver's. */
export interface OpenSocket {
  /** The same object as long as it lasts: to know it again, and to have it closed. */
  readonly connection: Pick<TransportConnection, 'local' | 'remote' | 'queuedBytes'>
  /** What it is called in topics: the peer, and this side. Undefined: it is not a conversation yet. */
  readonly names: readonly [remote: unknown, local: unknown] | undefined
  /** Whether a listener has accepted it. */
  readonly accepted: boolean
  /** What the kernel knows; undefined if it isn't established, and with node:net. */
  info(): ConnectionInfo | undefined
}

/** A listener of a driver's. */
export interface OpenListener {
  /** What it is called in topics. */
  readonly name: unknown
  readonly address: SocketAddress
}

/** What a driver has. */
export interface DriverSockets {
  /** 'native' or 'node'; undefined while there is none. */
  readonly transport: string | undefined
  openSockets(): readonly OpenSocket[]
  openListeners(): readonly OpenListener[]
  /** Closes a connection as the program would. @param reason of its absence */
  closeSocket(connection: OpenSocket['connection'], reason: unknown): void
}

const drivers = new WeakMap<EventSource<unknown>, DriverSockets>()

/** A driver has its sockets from this source. */
export function showSockets(source: EventSource<unknown>, driver: DriverSockets): void {
  drivers.set(source, driver)
}

/** The driver that has its sockets from a source, if it is one of these. */
export function socketsFrom(source: EventSource<unknown>): DriverSockets | undefined {
  return drivers.get(source)
}

/** The socket as the reader, the writer, the dialer and the handle see it; socket.ts implements it. Owns nothing. */
import type { AsyncResource } from 'node:async_hooks'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TransportConnection } from '../transport/seam/transport.js'
import type { Reader } from './reader.js'

export interface NetSocket extends Duplex {
  readonly connecting: boolean
  readonly fd: number | undefined
  readonly _handle: object | null
  _host: string | null
  autoSelectFamilyAttemptedAddresses?: string[]
  ref(): unknown
  unref(): unknown
  setNoDelay(on: unknown): unknown
  setKeepAlive(on: unknown, delay: unknown, interval?: unknown, count?: unknown): unknown
  _getpeername(): Partial<AddressInfo>
  _getsockname(): Partial<AddressInfo>
  readonly _nativeReader: Reader
  /** The connection, while there is one. */
  readonly _nativeLink: TransportConnection | undefined
  /** The async context of the connection's events. */
  readonly _nativeResource: AsyncResource
  /** As the program wants it for its connection. */
  readonly _nativeNoDelay: boolean
  /** The kernel was told that nothing more is written. */
  readonly _nativeEndTaken: boolean
  /** Of its dialer: the connection is there. @param noDelay as it was dialed with */
  _nativeConnected(connection: TransportConnection, noDelay: boolean): void
  /** Of its dialer: an attempt has met a connection, and succeeds with it. */
  _nativeRejoined(): void
  /** Of its dialer: another attempt takes the place of the connection, if there is one. */
  _nativeAbandon(): void
  /** Of its handle, which was closed. @param closed is called in a later phase */
  _nativeHandleClose(closed: () => void): void
}

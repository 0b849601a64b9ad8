/** Options of the TCP drivers, and their checks. */
import { argumentError } from '../support/errors.js'
import { Engine, type TcpEngine } from './tcp-engine.js'
import type { TransportName } from '../transport/choose.js'
import type { Transport } from '../transport/transport.js'

/** Options of both TCP drivers. */
export interface TcpOptions {
  /** `native`, `node` (node:net), or `auto`: native where it can be loaded. Default `auto`. */
  readonly transport?: TransportName | undefined
  /** Name or address that listeners bind to. Default: all interfaces. */
  readonly host?: string | undefined
  /** Length of each listener's accept queue. Default 511. */
  readonly backlog?: number | undefined
  /**
   * Keep the outbound flow open after the peer's eof, until the program sends eof, deletes its
   * endpoints or quits. Default false: what the program sends in reaction to the eof is still
   * delivered, then the connection closes.
   */
  readonly allowHalfOpen?: boolean | undefined
  /** Milliseconds to wait for the peer's eof after the program's own. Default: for ever. */
  readonly halfCloseTimeout?: number | undefined
  /** Milliseconds that a closing connection may take to hand queued bytes to the kernel. Default 10,000. */
  readonly closeTimeout?: number | undefined
  /**
   * Bytes that may wait to be sent on a connection, measured when the kernel was offered what was sent in
   * one run of the VM. Default 67,108,864.
   */
  readonly maxQueuedBytes?: number | undefined
  /** The same, of all connections of this driver together. Default 268,435,456. */
  readonly maxQueuedBytesTotal?: number | undefined
  /**
   * What happens beyond these limits. 'abort' (default): the connection ends with ENOBUFS; beyond the
   * total, those with the most bytes queued do. 'pause': nothing is received on the connection, or, beyond
   * the total, on any, until at most half of the limit is queued; what is sent all the same is kept.
   */
  readonly overflow?: 'abort' | 'pause' | undefined
  /** Made by `tcpEngine`: through it the driver's metrics can be read. */
  readonly engine?: TcpEngine | undefined
  /** Called with each transport that is opened, before anything else is done with it. */
  readonly onTransport?: ((transport: Transport) => void) | undefined
}

/** Those that count bytes, milliseconds or connections. */
const numbers = [
  'backlog', 'halfCloseTimeout', 'closeTimeout', 'maxQueuedBytes', 'maxQueuedBytesTotal',
] as const
const others = ['transport', 'host', 'allowHalfOpen', 'overflow', 'onTransport', 'engine'] as const

/**
 * @param own names of the numbers that only this driver takes
 * @throws TypeError for the first option that is unknown or of the wrong type
 */
export function checkTcpOptions(call: string, options: TcpOptions, own: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw argumentError(call, 'options', 'an object', options)
  }
  const known: readonly string[] = [...others, ...numbers, ...own]
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw argumentError(call, 'options', `made of ${known.join(', ')}`, key)
  }
  const { transport = 'auto', host, onTransport, allowHalfOpen, overflow = 'abort', engine } = options
  if (!['native', 'node', 'auto'].includes(transport)) {
    throw argumentError(call, 'options.transport', "'native', 'node' or 'auto'", transport)
  }
  if (host !== undefined && typeof host !== 'string') {
    throw argumentError(call, 'options.host', 'a string', host)
  }
  if (onTransport !== undefined && typeof onTransport !== 'function') {
    throw argumentError(call, 'options.onTransport', 'a function', onTransport)
  }
  if (allowHalfOpen !== undefined && typeof allowHalfOpen !== 'boolean') {
    throw argumentError(call, 'options.allowHalfOpen', 'a boolean', allowHalfOpen)
  }
  if (overflow !== 'abort' && overflow !== 'pause') {
    throw argumentError(call, 'options.overflow', "'abort' or 'pause'", overflow)
  }
  if (engine !== undefined && !(engine instanceof Engine)) {
    throw argumentError(call, 'options.engine', 'made by tcpEngine', engine)
  }
  for (const name of [...numbers, ...own]) {
    const value = (options as Readonly<Record<string, unknown>>)[name]
    if (value !== undefined && !(Number.isInteger(value) && (value as number) >= 0)) {
      throw argumentError(call, `options.${name}`, 'a non-negative integer', value)
    }
  }
}

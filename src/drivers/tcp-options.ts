/** Options of the TCP drivers, and their checks. */
import { argumentError } from '../support/errors.js'
import type { TransportName } from '../transport/choose.js'
import type { Transport } from '../transport/transport.js'

/** Options of `tcpBare` and `tcp`. */
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
   * Bytes that may wait to be sent on a connection before another write to it ends it with ENOBUFS.
   * Default 67,108,864.
   */
  readonly maxQueuedBytes?: number | undefined
  /**
   * `tcpBare` only: while more bytes than this wait to be sent on a connection, nothing is read from
   * it, so that request and response protocols have backpressure. Default 1,048,576.
   */
  readonly highWaterMark?: number | undefined
  /** Called with each transport that is opened: for its metrics. */
  readonly onTransport?: ((transport: Transport) => void) | undefined
}

/** Default of `maxQueuedBytes`. */
export const QUEUED_BYTES_MAX = 64 * 1024 * 1024

const known = new Set<string>([
  'transport',
  'host',
  'backlog',
  'allowHalfOpen',
  'halfCloseTimeout',
  'closeTimeout',
  'maxQueuedBytes',
  'highWaterMark',
  'onTransport',
] satisfies (keyof TcpOptions)[])

/** @throws TypeError for the first option that is unknown or of the wrong type */
export function checkTcpOptions(call: string, options: TcpOptions): void {
  if (typeof options !== 'object' || options === null)
    throw argumentError(call, 'options', 'an object', options)
  for (const key of Object.keys(options)) {
    if (!known.has(key)) throw argumentError(call, 'options', `made of ${[...known].join(', ')}`, key)
  }
  const { transport = 'auto', host, onTransport, backlog, halfCloseTimeout, closeTimeout } = options
  const { maxQueuedBytes, highWaterMark } = options
  if (!['native', 'node', 'auto'].includes(transport)) {
    throw argumentError(call, 'options.transport', "'native', 'node' or 'auto'", transport)
  }
  if (host !== undefined && typeof host !== 'string')
    throw argumentError(call, 'options.host', 'a string', host)
  if (onTransport !== undefined && typeof onTransport !== 'function') {
    throw argumentError(call, 'options.onTransport', 'a function', onTransport)
  }
  for (const [name, value] of Object.entries({
    backlog,
    halfCloseTimeout,
    closeTimeout,
    maxQueuedBytes,
    highWaterMark,
  })) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 0)) {
      throw argumentError(call, `options.${name}`, 'a non-negative integer', value)
    }
  }
}

/** Options of the TCP drivers, and their checks. */
import { checkOptions, integer, ofType, oneOf, type Check, type Checks, type Elsewhere } from '../support/checks.js'
import { argumentError } from '../support/errors.js'
import { checkProxy, type ProxyOptions } from './proxy-intro.js'
import { Engine, type TcpEngine } from './tcp-engine.js'
import type { FdListener, TcpHandle, TcpListener, UnixListener } from './tcp-records.js'
import { busyPollCheck, slabChecks, sleepInCheck } from '../transport/seam/transport-options.js'
import type { ChangeableLimits, ListenerLimits } from '../transport/seam/limits.js'
import type { TransportName } from '../transport/choose.js'
import {
  checkTogether, dialChecks, listenerChecks, socketChecks, type ConnectTarget,
} from '../transport/seam/socket-options.js'
import { defaultBuffers } from '../transport/seam/buffers-option.js'
import { credentialsOf, type TlsCredentials, type TlsOptions } from '../transport/seam/tls.js'
import type { BufferLifetime, ConnectOptions, ListenOptions, SleepIn, Transport } from '../transport/seam/transport.js'

/** The local end by which a conversation is known to be of a listener or of a handle. */
export type LocalEnd = TcpListener | UnixListener | FdListener | TcpHandle

/**
 * Options of both TCP drivers: their own, and those of sockets, which apply to each listener and each
 * connection.
 */
export interface TcpOptions
  extends Omit<ListenOptions, 'port' | 'path' | 'fd' | 'bound'>,
  Omit<ConnectOptions, ConnectTarget> {
  /** `native`, `node` (node:net), or `auto`: native where it can be loaded. Default `auto`. */
  readonly transport?: TransportName | undefined
  /** Name or address that listeners bind to. Default: all interfaces. */
  readonly host?: string | undefined
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
  /**
   * Whether the driver's sockets keep the process alive; with false, the process ends when nothing else does.
   * Default true. `tcpEngine` can change it later.
   */
  readonly ref?: boolean | undefined
  /**
   * Microseconds for which the native engine, after something has happened, looks for the next event without
   * sleeping: lower latency for a busy CPU. From 0, which is the default and means never, to 1,000; 'adaptive'
   * is 100, and only while events come that soon.
   */
  readonly busyPoll?: number | 'adaptive' | undefined
  /**
   * In whose system call the thread sleeps when there is nothing to do: 'engine', the native engine's own, or
   * 'libuv', that of Node's event loop. Default: the environment's MARKETPLACE_SLEEP_IN, or else 'engine'.
   */
  readonly sleepIn?: SleepIn | undefined
  /**
   * How long received bytes stay as they are. 'owned': for as long as the program keeps them.
   * 'borrowed': until the VM is idle, when their memory is received into again; what is kept over an
   * `await` or a timer has to be copied. Only the native transport lends. 'isolated': as 'owned', and each
   * Buffer's ArrayBuffer holds that Buffer's bytes and nothing else, at the price of a copy; without it,
   * other connections' bytes are in it, too. Default: the environment's MARKETPLACE_BUFFERS, or else 'owned'.
   * See docs/buffers.md.
   */
  readonly buffers?: BufferLifetime | undefined
  /** With 'borrowed', overwrite what is over with 0xdb. Default: whether MARKETPLACE_POISON is 1. */
  readonly poison?: boolean | undefined
  /**
   * Most bytes of memory that the native transport receives into, with what views of it pin. At the limit
   * reading stops until garbage was collected; nothing is lost. At least 1,048,576; default 1,073,741,824.
   */
  readonly maxSlabBytes?: number | undefined
  /**
   * Which connections of the driver's listeners begin with a header of the PROXY protocol, as load balancers send it.
   * Such a connection's remote address is the header's. Default: none.
   */
  readonly proxy?: ProxyOptions | undefined
  /**
   * Encrypts the connections of the driver's listeners and handles: options as those of `node:tls`, or what
   * `tlsCredentials` makes of them; or a function that says it for each listener and handle, or undefined for those
   * that are not encrypted. Default: none is. See docs/tls.md.
   */
  readonly tls?:
    | TlsOptions | TlsCredentials | ((local: LocalEnd) => TlsOptions | TlsCredentials | undefined) | undefined
  /** Made by `tcpEngine`: through it the driver's metrics can be read. */
  readonly engine?: TcpEngine | undefined
  /** Called with each transport that is opened, before anything else is done with it. */
  readonly onTransport?: ((transport: Transport) => void) | undefined
}

const MOST = Number.MAX_SAFE_INTEGER
/** The longest that a timer of Node's takes. */
const LONGEST = 0x7fffffff

const checkEngine: Check = (call, name, value) => {
  if (!(value instanceof Engine)) throw argumentError(call, name, 'made by tcpEngine', value)
}

/** Options of sockets, which the drivers hand on as they are. */
const ofListeners = { ...listenerChecks, ...socketChecks }
const ofDials = { ...dialChecks, ...socketChecks }

const tcpChecks = {
  transport: oneOf('native', 'node', 'auto'),
  ...ofListeners,
  ...ofDials,
  allowHalfOpen: ofType('boolean'),
  halfCloseTimeout: integer(0, LONGEST, 'milliseconds'),
  closeTimeout: integer(0, LONGEST, 'milliseconds'),
  maxQueuedBytes: integer(0, MOST, 'bytes'),
  maxQueuedBytesTotal: integer(0, MOST, 'bytes'),
  overflow: oneOf('abort', 'pause'),
  ref: ofType('boolean'),
  busyPoll: busyPollCheck,
  sleepIn: sleepInCheck,
  ...slabChecks,
  proxy: checkProxy,
  tls: (call: string, name: string, value: unknown) => {
    if (typeof value !== 'function') credentialsOf(call, name, value)
  },
  engine: checkEngine,
  onTransport: ofType('function'),
} satisfies Record<keyof TcpOptions, Check>

const ports = 'ports are no options: they are in the topics of endpoints, tcpListener(port) to listen, and ' +
  'tcpAddress(host, port) to connect'
const flow = 'flow control is that of tcp(), by feedback of each session: sendFeedback with tcpMode and tcpCredit'
/** What is asked for in other ways than by an option. */
const elsewhere: Elsewhere = {
  port: ports,
  ports,
  listen: ports,
  path: 'paths are no options: they are in the topics of endpoints, unixListener(path) to listen, and ' +
    'unixAddress(path) to connect',
  fd: 'descriptors are no options: they are in the topics of endpoints, fdListener(fd) to listen, and fdAddress(fd) ' +
    'to converse on a connection that is there already',
  mode: 'it is an option of tcp() only: tcpBare() gives bytes as they come',
  credit: flow,
  highWaterMark: 'it is an option of tcpBare() only; with tcp() each session says by its credit what it takes',
}

/**
 * @param own what only this driver takes
 * @throws TypeError or RangeError for the first option that is unknown or wrong
 */
export function checkTcpOptions(call: string, options: TcpOptions, own: Checks): void {
  checkOptions(call, options, { ...tcpChecks, ...own }, 'options.', elsewhere)
  if (options.buffers === undefined) defaultBuffers()
  checkTogether(call, options, 'options.')
  checkFrameTimeout(call, 'options.limits.frameTimeout', options.limits ?? {})
}

/** @throws TypeError for a limit of frames where there are none */
export function checkFrameTimeout(call: string, name: string, { frameTimeout = 0 }: ChangeableLimits): void {
  if (call === 'tcp' || frameTimeout === 0) return
  throw argumentError(call, name, '0, as only tcp() knows frames', frameTimeout)
}

function pick(options: TcpOptions, names: object): object {
  return Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(names, name)))
}

/** Who is in the place of others is not counted: the driver counts those. */
function limitsBehind({ from }: ProxyOptions, limits: ListenerLimits = {}): ListenerLimits {
  return { ...limits, exempt: [...limits.exempt ?? [], ...from] }
}

/** Those for a listener. */
export function listenOptions(
  options: TcpOptions, where: Pick<ListenOptions, 'port' | 'path' | 'fd'>,
): ListenOptions {
  const picked = pick(options, ofListeners)
  const limits = options.proxy === undefined ? undefined : { limits: limitsBehind(options.proxy, options.limits) }
  Object.assign(picked, limits)
  // The host is that of the other listeners.
  return where.port === undefined ? { ...picked, host: undefined, ...where } : { ...picked, ...where }
}

/** Those for an outbound connection. */
export function connectOptions(
  options: TcpOptions, where: Pick<ConnectOptions, 'host' | 'port' | 'path' | 'fd'>,
): ConnectOptions {
  return { ...pick(options, ofDials), ...where }
}

/**
 * Options of sockets: their checks, which the transports and the drivers share, and what `node:net`
 * can't do of them. Owns no socket.
 *
 * Invariant: options that passed the checks are never refused by a transport for what they are, only
 * for where they are used; that is told as an ENOTSUP error of the listen or the connect.
 */
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { checkOptions, hostName, integer, ofType, oneOf, type Check, type Checks } from '../../support/checks.js'
import { argumentError, rangeError, socketError } from '../../support/errors.js'
import { checkLimits } from './limits.js'
import type {
  ConnectOptions, KeepAliveTimes, ListenOptions, SocketError, SocketOptions,
} from './transport.js'

const LONGEST = 0x7fffffff
/** RFC 8305, section 5: attempts must not follow each other faster. */
const ATTEMPT_DELAY_MIN = 10
/** Twice this is what Linux can count. */
const BUFFER_MAX = 0x3fffffff
/** Linux keeps these times in seconds, in 15 bits. */
const KEEP_ALIVE_MAX = 32_767_000

const keepAliveChecks: Checks = {
  idle: integer(1, KEEP_ALIVE_MAX, 'milliseconds'),
  interval: integer(1, KEEP_ALIVE_MAX, 'milliseconds'),
  count: integer(1, 127),
}

const checkKeepAlive: Check = (call, name, value) => {
  if (typeof value === 'boolean') return
  if (typeof value !== 'object' || value === null) {
    throw argumentError(call, name, 'a boolean, or { idle, interval, count }', value)
  }
  checkOptions(call, value, keepAliveChecks, `${name}.`)
}

const checkPort = integer(0, 0xffff)

/** What fits into the address of a Unix socket with its final zero byte, on Linux. */
const PATH_MAX = 107

/** What names a Unix socket, however long a path the system takes. */
export const unixPath: Check = (call, name, value) => {
  if (typeof value === 'string' && value !== '' && value !== '\0' && !value.includes('\0', 1)) return
  throw argumentError(call, name, 'a path, or a zero byte and a name', value)
}

/** Before the system call: Node would cut off what is too long. */
const checkPath: Check = (call, name, value) => {
  if (typeof value !== 'string') throw argumentError(call, name, 'a string', value)
  // The names of Windows' pipes are longer, and are checked there.
  if (process.platform === 'win32') return
  if (Buffer.byteLength(value) > PATH_MAX) {
    const error = rangeError(call, name, `at most ${PATH_MAX} bytes long`, value)
    throw Object.assign(error, { code: 'ENAMETOOLONG', errno: -constants.errno.ENAMETOOLONG, syscall: call })
  }
  unixPath(call, name, value)
}

/** The error for what can't be the path of a Unix socket; `undefined` if it can. */
export function pathError(call: string, path: unknown): SocketError | undefined {
  try {
    checkPath(call, 'path', path)
    return undefined
  } catch (error) {
    const failure = error as SocketError
    failure.errno ??= -constants.errno.EINVAL
    failure.syscall ??= call
    return failure
  }
}

const checkLocalAddress: Check = (call, name, value) => {
  if (typeof value !== 'string' || isIP(value) === 0) throw argumentError(call, name, 'an IP address', value)
}

/** Those of every connection. */
export const socketChecks = {
  noDelay: ofType('boolean'),
  keepAlive: checkKeepAlive,
  userTimeout: integer(0, LONGEST, 'milliseconds'),
  sendBufferSize: integer(1, BUFFER_MAX, 'bytes'),
  receiveBufferSize: integer(1, BUFFER_MAX, 'bytes'),
  idleTimeout: integer(0, LONGEST, 'milliseconds'),
  readTimeout: integer(0, LONGEST, 'milliseconds'),
  unsupported: oneOf('error', 'ignore'),
} satisfies Record<keyof SocketOptions, Check>

/** Those of a listener that aren't those of its connections, but for the port. */
export const listenerChecks = {
  host: hostName,
  ipv6Only: ofType('boolean'),
  backlog: integer(0, LONGEST),
  reusePort: oneOf(false, true, 'if-supported'),
  exclusive: ofType('boolean'),
  maxConnections: integer(0, LONGEST),
  limits: checkLimits,
  pauseOnAccept: ofType('boolean'),
} satisfies Record<Exclude<keyof ListenOptions, keyof SocketOptions | 'port' | 'path' | 'fd' | 'bound'>, Check>

/** Options of an outbound connection that say where it goes, and what comes from there; none of them is a driver's. */
export type ConnectTarget = 'host' | 'port' | 'path' | 'fd' | 'carriesDescriptors'

/** The others. */
export const dialChecks = {
  localAddress: checkLocalAddress,
  localPort: checkPort,
  connectTimeout: integer(0, LONGEST, 'milliseconds'),
  attemptDelay: integer(ATTEMPT_DELAY_MIN, LONGEST, 'milliseconds'),
  lookup: ofType('function'),
} satisfies Record<Exclude<keyof ConnectOptions, keyof SocketOptions | ConnectTarget>, Check>

/** Of a descriptor's number. */
export const checkDescriptor = integer(0, 0x7fffffff)

const listenChecks: Checks = {
  port: checkPort, path: checkPath, fd: checkDescriptor, bound: ofType('boolean'), ...listenerChecks, ...socketChecks,
}
const connectChecks: Checks = {
  host: hostName, port: checkPort, path: checkPath, fd: checkDescriptor, carriesDescriptors: ofType('boolean'),
  ...dialChecks, ...socketChecks,
}

/** A Unix socket has neither host nor port; what is there already has no path, either. */
function checkAlone(call: string, { host, port, path, fd }: ListenOptions | ConnectOptions): void {
  const what = fd === undefined ? 'a path' : 'a descriptor'
  if (host !== undefined) throw argumentError(call, 'host', `undefined with ${what}`, host)
  if (port !== undefined) throw argumentError(call, 'port', `undefined with ${what}`, port)
  if (fd !== undefined && path !== undefined) throw argumentError(call, 'path', `undefined with ${what}`, path)
}

/** @throws TypeError for options of a listener that don't go together */
export function checkTogether(call: string, options: Omit<ListenOptions, 'port'>, prefix = ''): void {
  const { host, ipv6Only, exclusive, reusePort } = options
  if (ipv6Only === true && host !== undefined && isIP(host) === 4) {
    throw argumentError(call, `${prefix}ipv6Only`, `false with the IPv4 address ${host}`, ipv6Only)
  }
  if (exclusive === true && reusePort !== undefined && reusePort !== false) {
    throw argumentError(call, `${prefix}exclusive`, 'false with reusePort', exclusive)
  }
}

/** @throws TypeError or RangeError for the first option that is unknown or wrong */
export function checkListenOptions(options: ListenOptions): void {
  checkOptions('listen', options, listenChecks)
  if (options.path !== undefined || options.fd !== undefined) checkAlone('listen', options)
  else if (options.port === undefined) checkPort('listen', 'port', undefined)
  checkTogether('listen', options)
}

/** @throws TypeError or RangeError for the first option that is unknown or wrong */
export function checkConnectOptions(options: ConnectOptions): void {
  checkOptions('connect', options, connectChecks)
  const { carriesDescriptors = false } = options
  if (carriesDescriptors && options.path === undefined) {
    throw argumentError('connect', 'carriesDescriptors', 'false without a path', carriesDescriptors)
  }
  if (options.path !== undefined || options.fd !== undefined) {
    checkAlone('connect', options)
    return
  }
  if (options.host === undefined) connectChecks.host('connect', 'host', undefined)
  if (options.port === undefined) checkPort('connect', 'port', undefined)
}

/** `keepAlive` as the kernel takes it: in seconds, and 0 for what is left to it. */
export function keepAliveSeconds(option: SocketOptions['keepAlive']): KeepAliveTimes {
  const { idle = 0, interval = 0, count = 0 } = typeof option === 'object' ? option : {}
  return { idle: Math.ceil(idle / 1000), interval: Math.ceil(interval / 1000), count }
}

/** Whether this Node's `listen` knows `reusePort`, and the system has it. */
export function nodeReusesPorts(
  version: string = process.versions.node, platform: string = process.platform,
): boolean {
  const [major, minor] = version.split('.').map(Number)
  const known = major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12)
  return known && ['linux', 'freebsd', 'sunos', 'aix'].includes(platform)
}

type Options = Omit<ListenOptions, 'port'> | Omit<ConnectOptions, 'host' | 'port'>

/** Names of the options in use that `node:net` has no way to set: those that are an error, or not. */
export function missingInNode(options: Options): { refused: string[], ignored: string[] } {
  const { keepAlive, userTimeout = 0, sendBufferSize, receiveBufferSize, unsupported } = options
  const { exclusive, reusePort = false } = options as ListenOptions
  const { interval, count } = keepAliveSeconds(keepAlive)
  // Most are TCP's, and mean nothing to a Unix socket.
  const tcp = options.path === undefined
  const used: [string, boolean][] = [
    ['keepAlive.interval', tcp && interval !== 0],
    ['keepAlive.count', tcp && count !== 0],
    ['userTimeout', tcp && userTimeout !== 0],
    ['sendBufferSize', sendBufferSize !== undefined],
    ['receiveBufferSize', receiveBufferSize !== undefined],
    ['exclusive', tcp && exclusive === true],
    ['reusePort', tcp && reusePort !== false && !nodeReusesPorts()],
  ]
  const refused: string[] = []
  const ignored: string[] = []
  for (const [name] of used.filter(([, isUsed]) => isUsed)) {
    const optional = name === 'reusePort' && reusePort === 'if-supported'
    if (unsupported === 'ignore' || optional) ignored.push(name)
    else refused.push(name)
  }
  return { refused, ignored }
}

/** The error for what `node:net` can't do; `undefined` if there is nothing, or it is to be ignored. */
export function nodeLacks(
  call: 'listen' | 'connect', options: ListenOptions | ConnectOptions,
): SocketError | undefined {
  const { refused } = missingInNode(options)
  if (refused.length === 0) return undefined
  const error = socketError(-constants.errno.ENOTSUP, call, options.path ?? options.host, options.port)
  error.message += `: node:net (of Node ${process.versions.node}) can't set ${refused.join(', ')}; `
    + "unsupported: 'ignore' does without"
  return error
}

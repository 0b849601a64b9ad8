/**
 * The errors of `node:net` that it does not export: same class, code and message.
 * Owns nothing.
 */
import { BlockList } from 'node:net'
import { format, inspect } from 'node:util'
import { fromCaller, socketError } from '../support/errors.js'
import type { SocketAddress, SocketError } from '../transport/seam/transport.js'

type Coded<E extends Error> = E & { code: string }

/**
 * An error with a code, which its name in the stack shows, as that of Node's errors does. The stack begins where the
 * program called us.
 */
export function nodeError<E extends Error>(
  Class: new (message: string) => E, code: string, message: string,
): Coded<E> {
  const error = Object.assign(new Class(message), { code })
  error.stack = error.stack?.replace(error.name, `${error.name} [${code}]`) ?? ''
  return fromCaller(error)
}

/** How Node's ERR_INVALID_ARG_TYPE describes what came. */
function received(value: unknown): string {
  if (value === null || value === undefined) return ` Received ${String(value)}`
  if (typeof value === 'function') return ` Received function ${value.name}`
  if (typeof value === 'object') {
    const name = (value as { constructor?: { name?: string } }).constructor?.name ?? ''
    return name === '' ? ` Received ${inspect(value, { depth: -1 })}` : ` Received an instance of ${name}`
  }
  let text = inspect(value, { colors: false })
  if (text.length > 28) text = `${text.slice(0, 25)}...`
  return ` Received type ${typeof value} (${text})`
}

function argumentName(name: string): string {
  return name.includes('.') ? `"${name}" property` : `"${name}" argument`
}

/** @param expected 'of type number', 'an instance of Blob', ... */
export function invalidType(name: string, expected: string, value: unknown): TypeError {
  const message = `The ${argumentName(name)} must be ${expected}.${received(value)}`
  return nodeError(TypeError, 'ERR_INVALID_ARG_TYPE', message)
}

export function checkFunction(value: unknown, name: string): void {
  if (typeof value !== 'function') throw invalidType(name, 'of type function', value)
}

export function checkNumber(value: unknown, name: string): void {
  if (typeof value !== 'number') throw invalidType(name, 'of type number', value)
}

export function checkBoolean(value: unknown, name: string): void {
  if (typeof value !== 'boolean') throw invalidType(name, 'of type boolean', value)
}

export function checkString(value: unknown, name: string): void {
  if (typeof value !== 'string') throw invalidType(name, 'of type string', value)
}

export function checkSignal(value: unknown): void {
  if (typeof value !== 'object' || value === null || !('aborted' in value)) {
    throw invalidType('options.signal', 'an instance of AbortSignal', value)
  }
}

export function checkBlockList(value: unknown): void {
  if (!(value instanceof BlockList)) {
    throw invalidType('options.blockList', 'an instance of net.BlockList', value)
  }
}

/** A whole number from `least` on that fits into 32 bits, or is at most `most`. */
export function checkInt32(value: unknown, name: string, least: number, most = 0x7fffffff): void {
  checkNumber(value, name)
  const number = value as number
  if (!Number.isInteger(number)) throw outOfRange(name, 'an integer', value)
  if (number < least || number > most) {
    throw outOfRange(name, `>= ${least} && <= ${most}`, value)
  }
}

export function outOfRange(name: string, range: string, value: unknown): RangeError {
  const message = `The value of "${name}" is out of range. It must be ${range}. Received ${inspect(value)}`
  return nodeError(RangeError, 'ERR_OUT_OF_RANGE', message)
}

/** The milliseconds of a time-out, checked as Node's timers do. */
export function timerDuration(value: unknown, name: string): number {
  checkNumber(value, name)
  const number = value as number
  if (number < 0 || !Number.isFinite(number)) throw outOfRange(name, 'a non-negative finite number', value)
  if (number <= 0x7fffffff) return number
  process.emitWarning(
    `${number} does not fit into a 32-bit signed integer.\nTimer duration was truncated to 2147483647.`,
    'TimeoutOverflowWarning',
  )
  return 0x7fffffff
}

/** A port as Node takes it: a number, or text of one. */
export function checkedPort(value: unknown, name = 'Port'): number {
  const given = typeof value === 'number' || (typeof value === 'string' && value.trim() !== '')
  const port = Number(value)
  if (given && port >>> 0 === port && port <= 0xffff) return port
  const message = `${name} should be >= 0 and < 65536.${received(value)}.`
  throw nodeError(RangeError, 'ERR_SOCKET_BAD_PORT', message)
}

/** @param what 'destroyed', 'writing', ... */
export const socketClosed = (): Coded<Error> => nodeError(Error, 'ERR_SOCKET_CLOSED', 'Socket is closed')

export const closedBeforeConnection = (): Coded<Error> => nodeError(
  Error, 'ERR_SOCKET_CLOSED_BEFORE_CONNECTION', 'Socket closed before the connection was established',
)

export const invalidIp = (value: unknown): Coded<TypeError> => (
  nodeError(TypeError, 'ERR_INVALID_IP_ADDRESS', format('Invalid IP address: %s', value))
)

export const streamDestroyed = (call: string): Coded<Error> => (
  nodeError(Error, 'ERR_STREAM_DESTROYED', `Cannot call ${call} after a stream was destroyed`)
)

export function invalidFamily(family: unknown, host: unknown, port: unknown): Coded<RangeError> {
  const text = `Invalid address family: ${String(family)} ${String(host)}:${String(port)}`
  return Object.assign(nodeError(RangeError, 'ERR_INVALID_ADDRESS_FAMILY', text), { host, port })
}

export const blockedIp = (ip: string): Coded<Error> => (
  nodeError(Error, 'ERR_IP_BLOCKED', `IP(${ip}) is blocked by net.BlockList`)
)

/** The error that the transport reports, without what `node:net` would not say. */
export function withoutAddress({ errno, syscall, code }: SocketError): SocketError {
  // An errno that libuv does not know keeps its own code.
  return Object.assign(socketError(errno, syscall), { code })
}

/** Of a connect from a chosen address: as Node's, it says which. */
export function connectFailed(error: SocketError, local: string | undefined, port: number): SocketError {
  if (error.syscall === 'bind') return bindFailed(error.errno, error.address, error.port ?? 0)
  if (error.syscall !== 'connect' || local === undefined || port === 0) return error
  error.message += ` - Local (${local}:${port})`
  return Object.assign(error, { localAddress: local, localPort: port })
}

/** Of a connect that could not begin, as the socket has a connection, for example; it says from where. */
export function connectRefused(
  errno: number, address: string, port: number, local: SocketAddress | undefined,
): SocketError {
  const error = socketError(errno, 'connect', address, port)
  error.message += ` - Local (${local?.address}:${local?.port})`
  return error
}

/** Of a connect from a local address that can't be had. Unlike a server's, it has no explanation. */
export function bindFailed(errno: number, local: string | undefined, port: number): SocketError {
  const error = socketError(errno, 'bind', local, port)
  error.message = `bind ${error.code} ${local}${port > 0 ? `:${port}` : ''}`
  return error
}

/** Of a connect whose addresses have all failed. */
export function allFailed(errors: readonly Error[]): Error {
  if (errors.length === 0) {
    return nodeError(Error, 'ERR_SOCKET_CONNECTION_TIMEOUT', 'Socket connection timeout')
  }
  return Object.assign(new AggregateError(errors), { code: (errors[0] as SocketError).code })
}

export const notInPlace = (): Coded<TypeError> => nodeError(
  TypeError, 'ERR_INVALID_ARG_VALUE', 'The options "fd" and "handle" give a socket of node:net: an object'
  + ' that is there already can\'t become one. Use new net.Socket(options)',
)

export const invalidHandleType = (): Coded<TypeError> => (
  nodeError(TypeError, 'ERR_INVALID_HANDLE_TYPE', 'This handle type cannot be sent')
)

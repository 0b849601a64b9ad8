/**
 * Errors that look like Node's own: socket errors with `code`, `errno`, `syscall`, `address`, `port`,
 * and argument errors that say which argument, what was expected and what came.
 */
import { constants } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { getSystemErrorMap, inspect, type InspectOptions } from 'node:util'
import { PACKAGE_ROOT } from './package-root.js'
import type { SocketAddress, SocketError } from './socket-error.js'

/**
 * Builds the error that `node:net` would have built for the same failure.
 *
 * @param errno negative, as libuv and the engine report it
 * @param syscall 'listen', 'connect', 'read', ...
 */
export function socketError(errno: number, syscall: string, address?: string, port?: number): SocketError {
  const [code, text] = getSystemErrorMap().get(errno) ?? [`E${-errno}`, 'unknown error']
  // Port 0 is no port, here as in Node.
  const hasPort = port !== undefined && port > 0
  const where = address === undefined ? '' : hasPort ? ` ${address}:${port}` : ` ${address}`
  const error = new Error(
    `${syscall} ${code}${syscall === 'listen' || syscall === 'bind' ? `: ${text}` : ''}${where}`,
  )
  const fields: Partial<SocketError> = { errno, code, syscall }
  if (address !== undefined) fields.address = address
  if (hasPort) fields.port = port
  return Object.assign(error, fields) as SocketError
}

/** The error of an attempt to connect. */
export function connectError(errno: number, { address, family, port }: SocketAddress): SocketError {
  return socketError(errno, 'connect', address, family === 'unix' ? undefined : port)
}

/** The error of a connection that ends because of its `idleTimeout`. */
export function idleError(): SocketError {
  const error = socketError(-constants.errno.ETIMEDOUT, 'idle')
  error.message += ': nothing came or went within idleTimeout'
  return error
}

/** The error of a connection that ends because of its `readTimeout`. */
export function readTimeoutError(): SocketError {
  const error = socketError(-constants.errno.ETIMEDOUT, 'read')
  error.message += ': nothing came within readTimeout'
  return error
}

/** The error of a connection whose first byte, or whose frame, did not come in time. */
export function lateError(limit: 'firstByteTimeout' | 'frameTimeout'): SocketError {
  const error = socketError(-constants.errno.ETIMEDOUT, 'read')
  error.message += limit === 'frameTimeout'
    ? ': a frame that had begun was not there within frameTimeout'
    : ': nothing came within firstByteTimeout'
  return error
}

/**
 * The error of a connection whose attempts have all failed: that of the one attempt, or an
 * AggregateError with the fields of the last one and all of them, in their order, in `errors`.
 */
export function dialError(errors: readonly SocketError[]): SocketError {
  const last = errors[errors.length - 1]
  if (errors.length === 1) return last
  const all = errors.map(({ message }) => message).join('; ')
  const { code, errno, syscall, address, port } = last
  const error = new AggregateError(errors, `${syscall} ${code}: all ${errors.length} attempts failed: ${all}`)
  const fields: Partial<SocketError> = { errno, code, syscall }
  if (address !== undefined) fields.address = address
  if (port !== undefined) fields.port = port
  return Object.assign(error, fields) as unknown as SocketError
}

/** `inspect` for values that may have a throwing inspector of their own. */
export function safeInspect(value: unknown, options: InspectOptions): string {
  try {
    return inspect(value, options)
  } catch {
    return `<uninspectable ${typeof value}>`
  }
}

/** A value as an error message shows it: short, on one line. */
export function show(value: unknown): string {
  const text = safeInspect(value, {
    depth: 2,
    breakLength: Infinity,
    compact: true,
    maxStringLength: 60,
    maxArrayLength: 6,
  })
  return text.length > 120 ? `${text.slice(0, 117)}...` : text
}

/** Whether any value is an error: of a proxy that can't even be asked, it isn't one. */
export function isError(value: unknown): value is Error {
  try {
    return value instanceof Error
  } catch {
    return false
  }
}

/** A reason, which may be any value, as an error; `what` says what it is the reason of. */
export function asError(reason: unknown, what: string): Error {
  return isError(reason) ? reason : new Error(`${what}: ${show(reason)}`, { cause: reason })
}

/** Where this package's compiled files are, and its sources, which source maps lead to. */
const OURS = ['dist/src/', 'dist/lib/', 'src/'].flatMap((path) => {
  if (PACKAGE_ROOT === undefined) return []
  const directory = join(PACKAGE_ROOT, path)
  return [directory, pathToFileURL(directory).href]
})

/**
 * Lets an error's stack begin where the program called us: the mistake is there. What JavaScript itself calls us back
 * from (`Array.forEach (<anonymous>)`), and what of Node's we have called, is ours as well, unless it was the program
 * that called it.
 */
export function fromCaller<E extends Error>(error: E): E {
  const stack = error.stack?.split('\n') ?? []
  const first = stack.findIndex((line) => /^ +at /.test(line))
  if (first < 0) return error
  let theirs = first
  for (let at = first; at < stack.length; at++) {
    if (OURS.some((place) => stack[at].includes(place))) theirs = at + 1
    else if (!/ \(<anonymous>\)$|[ (]node:/.test(stack[at])) break
  }
  // Without a frame of theirs, ours are better than none.
  if (theirs < stack.length) stack.splice(first, theirs - first)
  error.stack = stack.join('\n')
  return error
}

/** A TypeError for a wrong argument: `spawn: boot must be a function; got 5`. */
export function argumentError(call: string, argument: string, expected: string, got: unknown): TypeError {
  const message = `${call}: ${argument} must be ${expected}; got ${show(got)}`
  return fromCaller(Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' }))
}

/** An error of Node's for what was given to `call`, with its code: says which call, and begins where that was made. */
export function callError(call: string, error: unknown): Error {
  const reason = asError(error, call)
  reason.message = `${call}: ${reason.message}`
  // Node's frames and ours may be all that its stack has room for.
  Error.captureStackTrace(reason)
  return fromCaller(reason)
}

/** A RangeError for an argument of the right type and the wrong size. */
export function rangeError(call: string, argument: string, expected: string, got: unknown): RangeError {
  const message = `${call}: ${argument} must be ${expected}; got ${show(got)}`
  return fromCaller(Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' }))
}

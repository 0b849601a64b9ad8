/**
 * The names of `marketplace-native/tls`. Owns the choice between the native engine and `node:tls`, as a whole and for
 * each call whose options the engine has not, and the types, which are those of `node:tls`.
 */
import * as nodeTls from 'node:tls'
import { checkFunction, checkNumber, checkString, invalidType, nodeError } from '../net/errors.js'
import { callable } from '../net/in-place.js'
import { hasNativeTls } from '../transport/choose.js'
import { connectArgs } from '../net/connect-args.js'
import { credentialsFor, createSecureContext as createOurs, isOurs, type Given } from './setup.js'
import { Server as NativeServer } from './tls-server.js'
import { SETUP, TLSSocket as NativeSocket } from './tls-socket.js'
import { Socket } from '../net/socket.js'

export type {
  CipherNameAndProtocol, ConnectionOptions, DetailedPeerCertificate, KeyObject, PeerCertificate, SecureContext,
  SecureContextOptions, SecureVersion, TlsOptions, TLSSocketOptions,
} from 'node:tls'

const native = hasNativeTls()

/** As `tls.TLSSocket`. */
export const TLSSocket = (
  native ? callable(NativeSocket, 'TLSSocket', nodeTls.TLSSocket) : nodeTls.TLSSocket
) as typeof nodeTls.TLSSocket
export type TLSSocket = nodeTls.TLSSocket
/** As `tls.Server`. */
export const Server = (
  native ? callable(NativeServer, 'Server', nodeTls.Server) : nodeTls.Server
) as typeof nodeTls.Server
export type Server = nodeTls.Server
/** As `tls.createSecureContext`. */
export const createSecureContext = native ? createOurs : nodeTls.createSecureContext

function nativeCreateServer(...args: unknown[]): nodeTls.Server {
  const [options] = args
  if (typeof options === 'object' && options !== null && !isOurs(options as Given)) {
    return nodeTls.createServer(...args as [nodeTls.TlsOptions])
  }
  return new NativeServer(...args as []) as unknown as nodeTls.Server
}

/** As Node's: the options may come after the port, the host or the path. */
function connectOptions(args: readonly unknown[]): Given {
  const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null
  const [first, second, third] = args
  if (isObject(first)) return { ...first }
  const more = isObject(second) ? second : isObject(third) ? third : {}
  const [options] = connectArgs(args.filter((value) => !isObject(value)))
  return { ...options, ...more }
}

/** As Node's. (OpenSSL takes no key of less than 1,024 bits by itself.) */
function checkMinDHSize(size: unknown): void {
  if (size === undefined) return
  checkNumber(size, 'options.minDHSize')
  if ((size as number) > 0) return
  const message = `The value of "options.minDHSize" is out of range. It must be > 0. Received ${size as number}`
  throw nodeError(RangeError, 'ERR_OUT_OF_RANGE', message)
}

function nativeConnect(...args: unknown[]): nodeTls.TLSSocket {
  const unauthorized = process.env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0'
  const options: Given = { rejectUnauthorized: !unauthorized, ...connectOptions(args) }
  const { socket, timeout, checkServerIdentity, servername, session } = options as {
    socket?: unknown, timeout?: number, checkServerIdentity?: unknown, servername?: unknown, session?: unknown
  }
  if (checkServerIdentity !== undefined) checkFunction(checkServerIdentity, 'options.checkServerIdentity')
  checkMinDHSize(options['minDHSize'])
  if (servername) checkString(servername, 'options.servername')
  if (session && typeof session !== 'string' && !ArrayBuffer.isView(session)) {
    throw invalidType('options.session', 'an instance of Buffer, TypedArray, or DataView', session)
  }
  const takes = socket instanceof Socket && !(socket instanceof NativeSocket)
  if (!isOurs(options) || (socket && !takes)) return nodeTls.connect(...args as [nodeTls.ConnectionOptions])
  const callback = args.findLast((value) => typeof value === 'function') as (() => void) | undefined
  const setup = { credentials: credentialsFor(options, false), target: options }
  const { allowHalfOpen, highWaterMark, onread, signal, noDelay, keepAlive, keepAliveInitialDelay } = options
  const secured = new NativeSocket(takes ? socket : undefined, {
    allowHalfOpen, highWaterMark, onread, signal, noDelay, keepAlive, keepAliveInitialDelay, [SETUP]: setup,
  } as object)
  if (callback !== undefined) secured.once('secureConnect', callback)
  if (!takes) {
    if (timeout) secured.setTimeout(timeout)
    secured.connect(options)
  }
  return secured as unknown as nodeTls.TLSSocket
}

// What its types or this Node may not have.
const untyped = nodeTls as unknown as Record<'getCACertificates' | 'setDefaultCACertificates', unknown>
/** Node's own, undefined where it has none. */
export const getCACertificates = untyped.getCACertificates
/** Node's own, undefined where it has none. */
export const setDefaultCACertificates = untyped.setDefaultCACertificates

/** As `tls.createServer`; with options that only Node's own sockets have it is Node's own. */
export const createServer = native ? nativeCreateServer as typeof nodeTls.createServer : nodeTls.createServer
/** As `tls.connect`; with options that only Node's own sockets have it is Node's own. */
export const connect = native ? nativeConnect as typeof nodeTls.connect : nodeTls.connect

export {
  checkServerIdentity, convertALPNProtocols, DEFAULT_CIPHERS, DEFAULT_ECDH_CURVE, DEFAULT_MAX_VERSION,
  DEFAULT_MIN_VERSION, getCiphers, rootCertificates, CLIENT_RENEG_LIMIT, CLIENT_RENEG_WINDOW,
} from 'node:tls'

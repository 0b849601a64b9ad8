/**
 * The names of `marketplace-native/net`. Owns the choice between the native engine and `node:net`, and the
 * types, which are those of `node:net`.
 */
import * as nodeNet from 'node:net'
import { hasNative } from '../transport/choose.js'
import { keptBuffersCheck, type KeptBuffers } from '../transport/seam/buffers-option.js'
import { connectArgs } from './connect-args.js'
import { netEngine } from './engine.js'
import { callable } from './in-place.js'
import { listOurs } from './resources.js'
import { sendOurs } from './sending.js'
import { Server as NativeServer } from './server.js'
import { Socket as NativeSocket } from './socket.js'

export type {
  AddressInfo, IpcNetConnectOpts, ListenOptions, NetConnectOpts, OnReadOpts, ServerOpts, SocketConnectOpts,
  SocketConstructorOpts, TcpNetConnectOpts,
} from 'node:net'

const native = hasNative()
if (native) {
  sendOurs()
  listOurs()
}

/** As `net.Socket`. */
export const Socket = (
  native ? callable(NativeSocket, 'Socket', nodeNet.Socket) : nodeNet.Socket
) as typeof nodeNet.Socket
export type Socket = nodeNet.Socket
/** As `net.Server`. */
export const Server = (
  native ? callable(NativeServer, 'Server', nodeNet.Server) : nodeNet.Server
) as typeof nodeNet.Server
export type Server = nodeNet.Server

function nativeCreateServer(...args: unknown[]): nodeNet.Server {
  return new NativeServer(...args as [])
}

function nativeConnect(...args: unknown[]): nodeNet.Socket {
  const normalized = connectArgs(args)
  const [options] = normalized
  const socket = new NativeSocket(options)
  const { timeout } = options as { timeout?: number }
  if (timeout) socket.setTimeout(timeout)
  return socket.connect(normalized) as unknown as nodeNet.Socket
}

/** As `net.createServer`. */
export const createServer = native
  ? nativeCreateServer as typeof nodeNet.createServer
  : nodeNet.createServer
/** As `net.connect`. */
export const connect = native ? nativeConnect as typeof nodeNet.connect : nodeNet.connect
/** As `net.createConnection`. */
export const createConnection = connect
/**
 * Whose memory all sockets of this thread get what they receive in, from now on. 'isolated': each Buffer has
 * an ArrayBuffer of its own, which can be transferred, at the price of a copy. 'owned', the default unless
 * the environment's MARKETPLACE_BUFFERS is `isolated`: other connections' bytes are in it, too.
 * (Where `node:net` is used instead, each Buffer has one of its own in any case.)
 *
 * @throws TypeError for anything else
 */
export function setBuffers(buffers: KeptBuffers): void {
  keptBuffersCheck('setBuffers', 'buffers', buffers)
  if (native) netEngine().isolates = buffers === 'isolated'
}
/** What `setBuffers` or the environment has set. */
export function getBuffers(): KeptBuffers {
  return !native || netEngine().isolates ? 'isolated' : 'owned'
}
/** As `net.Stream`: the socket's older name. */
export const Stream = Socket

export {
  BlockList, getDefaultAutoSelectFamily, getDefaultAutoSelectFamilyAttemptTimeout, isIP, isIPv4, isIPv6,
  setDefaultAutoSelectFamily, setDefaultAutoSelectFamilyAttemptTimeout, SocketAddress,
} from 'node:net'

// What `http` and others of Node's look for, and what its types or this Node may not have.
const untyped = nodeNet as unknown as {
  _normalizeArgs: (args: readonly unknown[]) => unknown[]
  _createServerHandle: unknown
  _setSimultaneousAccepts: unknown
  BoundSocket: unknown
}
/** As Node's, for libraries that use it. */
export const _normalizeArgs = untyped._normalizeArgs
/** As Node's, for libraries that use it. */
export const _createServerHandle = untyped._createServerHandle
/** Node's own, undefined where it has none: what listens or connects with one has Node's own sockets. */
export const BoundSocket = untyped.BoundSocket

/**
 * The names of `marketplace-native/net`. Owns the choice between the native engine and `node:net`, and the
 * types, which are those of `node:net`.
 */
import * as nodeNet from 'node:net'
import { hasNative } from '../transport/choose.js'
import { keptBuffersCheck, type KeptBuffers } from '../transport/seam/buffers-option.js'
import type { LimitChanges, ListenerLimits } from '../transport/seam/limits.js'
import { argumentError } from '../support/errors.js'
import { adopt as adoptTheirs } from './adopt.js'
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

/** Options of a server: Node's, and the engine's. */
export interface LimitedServerOpts extends nodeNet.ServerOpts {
  /** What its listener takes at most, and of whom, before JavaScript hears of it; `frameTimeout` is for frames only. */
  readonly limits?: ListenerLimits | undefined
}

type CreateServer = typeof nodeNet.createServer
  & ((options: LimitedServerOpts, onConnection?: (socket: nodeNet.Socket) => void) => nodeNet.Server)

let warned = false

function lackLimits(): void {
  if (!warned) process.emitWarning('limits of servers need the native engine: there are none', 'MarketplaceWarning')
  warned = true
}

function nodeCreateServer(...args: unknown[]): nodeNet.Server {
  const [options] = args as [LimitedServerOpts | undefined]
  if (options?.limits !== undefined) lackLimits()
  return nodeNet.createServer(...args as [])
}

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

/** As `net.createServer`, with the option `limits`. */
export const createServer = (native ? nativeCreateServer : nodeCreateServer) as CreateServer
/**
 * Changes the limits of a server, for connections from now on. What isn't named stays. (Where `node:net` is used
 * instead there are none, and a warning says so once.)
 *
 * @param server of this module
 * @param changes those of the option `limits` that can change, and `maxConnections`
 * @throws TypeError or RangeError for what can't be
 */
export function changeLimits(server: nodeNet.Server, changes: LimitChanges): void {
  const one: object = server
  if (one instanceof NativeServer) one._nativeLimit(changes)
  else if (native) throw argumentError('changeLimits', 'server', 'a server of marketplace-native/net', server)
  else lackLimits()
}
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
/**
 * Makes a socket or a server of `node:net`, which another process has sent, this module's: the engine has the kernel's
 * socket from then on, and Node's object is closed. What Node has received and nobody has read comes first. One of this
 * module is returned as it is, and so is any where `node:net` is used instead.
 *
 * @param theirs connected, with nothing left to be sent; or listening
 * @throws TypeError for anything else; Error for one that is closed, or has output left
 */
export function adopt<Handle extends nodeNet.Socket | nodeNet.Server>(theirs: Handle): Handle {
  return native ? adoptTheirs(theirs, nodeNet) as unknown as Handle : theirs
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
/** Node's own, undefined where it has none: a server that listens with one is the engine's. */
export const BoundSocket = untyped.BoundSocket

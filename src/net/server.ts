/**
 * The server: node:net's own, with the native engine's listener in the place of its handle. So the forms of
 * `listen`, their checks and errors, `close`, `address` and the rest are Node's.
 *
 * Owns the listener. What the engine can't do (to listen on a descriptor or a handle that is there already,
 * to share one with other processes of a cluster) is left to Node, whose sockets are then its own.
 */
import { AsyncResource } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'
import { chmodSync, statSync } from 'node:fs'
import * as nodeNet from 'node:net'
import { constants } from 'node:os'
import { pathError } from '../transport/seam/socket-options.js'
import type {
  ListenOptions, SocketAddress, SocketError, TransportConnection, TransportEvent, TransportListener,
} from '../transport/seam/transport.js'
import { fromCaller, socketError } from '../support/errors.js'
import { netEngine, type Acceptor, type Listed } from './engine.js'
import { checkBlockList } from './errors.js'
import type { SocketHandle } from './handle.js'
import { inPlace } from './in-place.js'
import { Socket, socketResource, type SocketOptions, type SocketOwner } from './socket.js'

/** What node:net's Server keeps, and calls. */
interface ServerInternals {
  _handle: object | null
  _connections: number
  _unref: boolean
  _connectionKey: string
  _emitCloseIfDrained(): void
  _listen2(...args: unknown[]): void
}

/** What `listen` of Node's hands on: the forms of its arguments are sorted out by then. */
interface Binding {
  readonly address: string | null
  readonly port: number
  /** 4, 6, or -1 for the path of a Unix socket. */
  readonly kind: number
  readonly backlog: number
  readonly flags: number
}

/** Of libuv's flags for binding. */
const IPV6_ONLY = 1
const REUSE_PORT = 2

/** What Node's Server has for a handle: it asks no more of it than this. */
export class ListenHandle {
  #referenced = true
  #open = true
  /** Only TCP's have it, as Node's `address` then gives the path. Programs may put another one there. */
  readonly getsockname?: (out: object) => number
  /** Called for each connection. Programs, such as tracers, put one of their own there, which calls this one. */
  onconnection: OnHandle

  constructor(
    readonly listener: TransportListener, readonly acceptor: ServerAcceptor,
    readonly path: string | undefined,
  ) {
    netEngine().ref()
    acceptor.handle = this
    this.onconnection = acceptor.onConnection
    if (path !== undefined) return
    this.getsockname = (out) => {
      Object.assign(out, listener.address)
      return 0
    }
  }

  /** @param callback called in the next phase */
  close(callback = (): void => { /* Nothing to be done. */ }): void {
    if (!this.#open) return
    this.unref()
    this.#open = false
    this.listener.context = undefined
    this.listener.close()
    this.acceptor.over()
    // As a handle of libuv's that closes, it keeps the process alive until the next phase.
    netEngine().later(() => { callback.call(this) })
  }

  ref(): void {
    if (this.#referenced || !this.#open) return
    this.#referenced = true
    netEngine().ref()
  }

  unref(): void {
    if (!this.#referenced || !this.#open) return
    this.#referenced = false
    netEngine().unref()
  }

  hasRef(): boolean {
    return this.#referenced && this.#open
  }

  /** The kernel's number, so that a child process can have the listener as its `stdio`. */
  get fd(): number {
    return this.listener.descriptor ?? -1
  }

  /** For the options `readableAll` and `writableAll`. Returns 0, or a negative errno. */
  fchmod(mode: number): number {
    const path = this.path as string
    try {
      const bits = ((mode & 1) === 0 ? 0 : 0o444) | ((mode & 2) === 0 ? 0 : 0o222)
      chmodSync(path, statSync(path).mode | bits)
      return 0
    } catch (error) {
      return (error as SocketError).errno
    }
  }
}

/** `status` is 0: what can't be accepted is told otherwise. */
type OnHandle = (status: number, client?: SocketHandle) => void

type OnConnection = (socket: nodeNet.Socket) => void

export class Server extends inPlace(nodeNet.Server) implements SocketOwner {
  /** Whose connections are closed at once. */
  readonly blockList?: nodeNet.BlockList
  /** Those of `listen`, if it has any: subscribers of its tracing channel may change them. */
  #listenOptions: { reusePort?: unknown } | undefined = undefined

  constructor(options?: object | OnConnection, onConnection?: OnConnection) {
    super(options as nodeNet.ServerOpts, onConnection)
    const { blockList } = typeof options === 'object' ? options as { blockList?: nodeNet.BlockList } : {}
    if (blockList === undefined || blockList === null) return
    checkBlockList(blockList)
    this.blockList = blockList
  }

  override listen(...args: never[]): this {
    const [options] = args as unknown[]
    this.#listenOptions = typeof options === 'object' && options !== null ? options : undefined
    return super.listen(...args)
  }

  /** Called by Node's `listen`. */
  _listen2(
    address: string | null, port: number, kind: number, backlog: number, fd: number | undefined, flags = 0,
  ): void {
    const internals = this as unknown as ServerInternals
    const descriptor = fd !== undefined && fd !== null
    if (internals._handle !== null || descriptor) {
      nodeServer._listen2.call(this, address, port, kind, backlog, fd, flags)
      return
    }
    const allFlags = flags | (this.#listenOptions?.reusePort === true ? REUSE_PORT : 0)
    this.#bind({ address, port, kind, backlog, flags: allFlags }, internals)
  }

  /** A socket of this server is gone. */
  _nativeSocketGone(): void {
    const internals = this as unknown as ServerInternals
    internals._connections--
    internals._emitCloseIfDrained()
  }

  #bind(to: Binding, internals: ServerInternals): void {
    const acceptor = new ServerAcceptor(this, to.kind)
    const { path, options } = listenOptions(to, this as unknown as ServerSettings)
    let handle: ListenHandle
    if (path !== undefined && pathError('listen', path) !== undefined) {
      acceptor.over()
      this.#failed(socketError(-constants.errno.EINVAL, 'listen', path))
      return
    }
    try {
      handle = new ListenHandle(netEngine().listen(options, acceptor), acceptor, path)
    } catch (error) {
      acceptor.over()
      this.#failed(error as Error)
      return
    }
    if (handle.listener.address === undefined) {
      // It failed, which is told in a moment; who called is only known now.
      acceptor.failedAt = fromCaller(new Error()).stack
      const { failure } = handle.listener
      if (failure !== undefined) publishFailure(this, failure)
      handle.unref()
      return
    }
    internals._handle = handle
    if (listenEnds.hasSubscribers) listenEnds.publish({ server: this })
    internals._connectionKey = connectionKey(to, handle.listener.address)
    if (internals._unref) handle.unref()
  }

  #failed(error: Error): void {
    publishFailure(this, error)
    process.nextTick(() => { this.emit('error', error) })
  }
}

const nodeServer = nodeNet.Server.prototype as unknown as ServerInternals

/** Options of a server that its sockets get; `maxConnections` and the like are looked at when needed. */
interface ServerSettings {
  readonly allowHalfOpen: boolean
  readonly pauseOnConnect: boolean
  readonly noDelay: boolean
  readonly keepAlive: boolean
  /** Seconds. */
  readonly keepAliveInitialDelay: number
  readonly highWaterMark: number
  readonly maxConnections?: number | null
  readonly blockList?: nodeNet.BlockList
}

/** As Node's: of the address that was asked for, or of the one that stands for all of them. */
function connectionKey({ kind, address, port }: Binding, bound: SocketAddress): string {
  if (address !== null || bound.family === 'unix') return `${kind}:${address}:${port}`
  return bound.family === 'IPv6' ? `6::::${port}` : `4:0.0.0.0:${port}`
}

function listenOptions(to: Binding, server: ServerSettings): { path?: string, options: ListenOptions } {
  const { noDelay, pauseOnConnect } = server
  const common = { noDelay, pauseOnAccept: pauseOnConnect, backlog: to.backlog || undefined }
  if (to.kind === -1) {
    const path = to.address as string
    return { path, options: { ...common, path } }
  }
  const ipv6Only = (to.flags & IPV6_ONLY) !== 0
  const reusePort = (to.flags & REUSE_PORT) !== 0
  const host = to.address ?? undefined
  return { options: { ...common, host, port: to.port, ipv6Only, reusePort } }
}

const accepts = channel('net.server.socket')

/** Of the tracing channel `net.server.listen`; Node's own `listen` publishes its start. */
const listenEnds = channel('tracing:net.server.listen:asyncEnd')
const listenFailures = channel('tracing:net.server.listen:error')

function publishFailure(server: Server, error: Error): void {
  if (listenFailures.hasSubscribers) listenFailures.publish({ server, error })
}

/** Lets the error's stack be that of the call that failed. */
function leadTo(error: Error, stack: string | undefined): void {
  const frames = stack?.split('\n').filter((line) => /^ +at /.test(line)) ?? []
  if (frames.length > 0) error.stack = [`${error.name}: ${error.message}`, ...frames].join('\n')
}

/** What the engine reports of a server's listener. */
class ServerAcceptor implements Acceptor {
  /** That of `listen`. */
  readonly _nativeResource: AsyncResource
  /** As Node tells what becomes of `listen`: from a tick, which the listener has triggered. */
  readonly _nativeListenResource: AsyncResource
  /** The stack of a `listen` that failed. */
  failedAt: string | undefined = undefined
  handle: ListenHandle | undefined = undefined
  /** Of the handle. */
  readonly onConnection: OnHandle = (_status, client) => {
    if (client !== undefined) this.#introduce(client.owner as Socket)
  }

  readonly #server: Server
  readonly #kind: number

  /** Of the socket of a connection that is about to be accepted. */
  #prepared: AsyncResource | undefined = undefined
  #over = false

  constructor(server: Server, kind: number) {
    this.#server = server
    this.#kind = kind
    const type = kind === -1 ? 'PIPESERVERWRAP' : 'TCPSERVERWRAP'
    this._nativeResource = new AsyncResource(type, { requireManualDestroy: true })
    const triggerAsyncId = this._nativeResource.asyncId()
    this._nativeListenResource = new AsyncResource('TickObject', { triggerAsyncId, requireManualDestroy: true })
  }

  /** Nothing is told any more. */
  over(): void {
    if (this.#over) return
    this.#over = true
    netEngine().forget(this)
    this._nativeResource.emitDestroy()
    this._nativeListenResource.emitDestroy()
  }

  get _nativeListed(): Listed | undefined {
    if (this.handle?.hasRef() !== true) return undefined
    return { owner: this.#server, types: [this.#kind === -1 ? 'PipeWrap' : 'TCPServerWrap'] }
  }

  _nativeHappened({ kind, error }: TransportEvent): void {
    const server = this.#server
    if (kind === 'listening') {
      if (server.listening) server.emit('listening')
    } else if (kind === 'listen-failed') {
      const failure = error as SocketError
      leadTo(failure, this.failedAt)
      this.over()
      server.emit('error', failure)
    } else if (kind === 'accept-failed') {
      // As Node's accept: the server goes on, the program is told.
      server.emit('error', error)
    }
  }

  _nativePrepare({ remote }: TransportConnection): void {
    this.#prepared = socketResource(remote?.family === 'unix', this._nativeResource.asyncId())
  }

  _nativeAccepted(connection: TransportConnection): void {
    const resource = this.#prepared as AsyncResource
    const server = this.#server
    const settings = server as unknown as ServerSettings
    const internals = server as unknown as ServerInternals
    const { maxConnections, blockList } = settings
    if (blockList !== undefined && isBlocked(blockList, connection)) {
      resource.emitDestroy()
      connection.close()
      return
    }
    if (maxConnections !== undefined && maxConnections !== null && internals._connections >= maxConnections) {
      resource.emitDestroy()
      refuse(server, connection)
      return
    }
    const socket = new Socket({
      allowHalfOpen: settings.allowHalfOpen,
      readableHighWaterMark: settings.highWaterMark,
      writableHighWaterMark: settings.highWaterMark,
      noDelay: settings.noDelay,
      keepAlive: settings.keepAlive,
      keepAliveInitialDelay: settings.keepAliveInitialDelay * 1000,
    } as SocketOptions)
    internals._connections++
    socket._server = server
    socket._nativeAccepted(connection, resource)
    const { onconnection } = this.handle as ListenHandle
    if (onconnection === this.onConnection) this.#introduce(socket)
    else onconnection.call(this.handle, 0, socket._handle as SocketHandle)
  }

  /** To the program. */
  #introduce(socket: Socket): void {
    const server = this.#server
    socket._nativeAdopted(server, server as unknown as ServerSettings)
    server.emit('connection', socket)
    if (accepts.hasSubscribers) accepts.publish({ socket })
  }
}

function isBlocked(list: nodeNet.BlockList, { remote }: TransportConnection): boolean {
  return remote !== undefined && remote.family !== 'unix'
    && list.check(remote.address, remote.family === 'IPv6' ? 'ipv6' : 'ipv4')
}

function refuse(server: Server, connection: TransportConnection): void {
  const { remote, local } = connection
  if (remote === undefined || remote.family === 'unix') {
    server.emit('drop')
  } else {
    server.emit('drop', {
      localAddress: local?.address,
      localPort: local?.port,
      localFamily: local?.family,
      remoteAddress: remote.address,
      remotePort: remote.port,
      remoteFamily: remote.family,
    })
  }
  connection.close()
}

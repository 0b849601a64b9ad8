/**
 * The server: node:net's own, with the native engine's listener in the place of its handle. So the forms of
 * `listen`, their checks and errors, `close`, `address` and the rest are Node's.
 *
 * Owns the listener. A descriptor or a handle that is there already is adopted: a cluster's, too, whose primary
 * shares its listener with its workers, or gives them connections that it has accepted. What is no socket is left to
 * Node.
 */
import { AsyncResource } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'
import { chmodSync, closeSync, statSync } from 'node:fs'
import * as nodeNet from 'node:net'
import { constants } from 'node:os'
import { adoptability, duplicateDescriptor } from '../transport/descriptors.js'
import { checkLimitChanges, checkLimits, type LimitChanges, type ListenerLimits } from '../transport/seam/limits.js'
import { pathError } from '../transport/seam/socket-options.js'
import { onThreadEnd } from '../transport/shared-listeners.js'
import type {
  ListenOptions, SocketAddress, SocketError, TransportConnection, TransportEvent, TransportListener,
} from '../transport/seam/transport.js'
import { fromCaller, socketError } from '../support/errors.js'
import { log } from '../support/log.js'
import { accept, netEngine, type Acceptor, type Listed } from './engine.js'
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

/** A handle of libuv's that somebody else has made, or what a cluster has in its place. */
interface GivenHandle {
  /** Not there, or negative: the primary of a cluster accepts. */
  readonly fd?: number
  listen(backlog: number): number
  close(...args: unknown[]): void
  onconnection(this: GivenHandle, status: number, client: unknown): void
}

type Call = (this: GivenHandle, ...args: unknown[]) => void

/** Of libuv's flags for binding. */
const IPV6_ONLY = 1
const REUSE_PORT = 2

/** libuv's, of a connection that another process has accepted. */
interface ClientHandle {
  readonly fd: number
  close(): void
}

/** What Node's Server has for a handle: it asks no more of it than this. */
export class ListenHandle {
  #referenced = true
  #open = true
  /** Then what waits in the kernel is theirs, but what was accepted nobody else can serve. */
  #othersHaveIt: boolean
  #closed: () => void = () => { /* Nobody waits. */ }
  /** Called when it closes. */
  closed: () => void = () => { /* Nobody wants to know. */ }
  /** Resolves when it accepts no more, and what it had accepted has been told. */
  readonly stopped = new Promise<void>((resolve) => { this.#closed = resolve })
  /** Only TCP's have it, as Node's `address` then gives the path. Programs may put another one there. */
  readonly getsockname?: (out: object) => number
  /** Called for each connection. Programs, such as tracers, put one of their own there, which calls this one. */
  onconnection: OnHandle

  constructor(
    readonly listener: TransportListener, readonly acceptor: ServerAcceptor,
    readonly path: string | undefined,
    /** It was adopted: others may have the kernel's socket, too. */
    adopted = false,
    /** libuv's, of the same socket, which does nothing but to close with this one. */
    readonly behind?: GivenHandle,
  ) {
    this.#othersHaveIt = adopted
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
    this.closed()
    const close = (): void => {
      this.listener.context = undefined
      this.listener.close()
      this.acceptor.over()
      this.behind?.close()
      // As a handle of libuv's that closes, it keeps the process alive until the next phase.
      netEngine().later(() => { callback.call(this) })
      this.#closed()
    }
    if (this.#othersHaveIt || this.listener.onLoan === true) {
      this.listener.pause()
      this.acceptor.holdOpen()
      netEngine().delivered(() => {
        close()
        this.acceptor.letGo()
      })
    } else {
      close()
    }
  }

  /** Another process has the listener, and accepts. Resolves when this one has stopped. */
  handOver(): Promise<void> {
    this.#othersHaveIt = true
    this.listener.handedOver?.()
    return this.stopped
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
  #limits: ListenerLimits | undefined = undefined

  constructor(options?: object | OnConnection, onConnection?: OnConnection) {
    const { limits } = (typeof options === 'object' ? options : {}) as { limits?: ListenerLimits }
    if (limits !== undefined) checkLimits('createServer', 'options.limits', limits)
    super(options as nodeNet.ServerOpts, onConnection)
    this.#limits = limits
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
    const node = (): void => { nodeServer._listen2.call(this, address, port, kind, backlog, fd, flags) }
    if (internals._handle !== null) {
      this.#listenWith(internals._handle as GivenHandle, node)
      return
    }
    if (fd !== undefined && fd !== null) {
      this.#listenOn(fd, backlog, node)
      return
    }
    const allFlags = flags | (this.#listenOptions?.reusePort === true ? REUSE_PORT : 0)
    this.#bind({ address, port, kind, backlog, flags: allFlags }, internals)
  }

  /** What its listener takes at most, and of whom, before JavaScript hears of it. */
  get _nativeLimits(): ListenerLimits | undefined {
    return this.#limits
  }

  /** They are others from now on, also when it listens anew. @throws TypeError or RangeError for a wrong one */
  _nativeLimit(changes: LimitChanges): void {
    checkLimitChanges('changeLimits', changes)
    const { maxConnections, ...others } = changes
    const { _handle: handle } = this as unknown as ServerInternals
    if (handle instanceof ListenHandle) handle.listener.limit(others)
    // Node's own, which is looked at for each connection.
    if (maxConnections !== undefined) (this as { maxConnections?: number }).maxConnections = maxConnections
    const said = Object.entries(others).filter(([, value]) => value !== undefined)
    this.#limits = { ...this.#limits, ...Object.fromEntries(said) }
  }

  /** The socket of a connection that it has accepted. */
  _nativeSocket(options: SocketOptions): Socket {
    return new Socket(options)
  }

  /** Whether its connections are paused when they are accepted. */
  get _nativePausesAccepted(): boolean {
    return (this as unknown as ServerSettings).pauseOnConnect
  }

  /** A socket of this server is gone. */
  _nativeSocketGone(): void {
    const internals = this as unknown as ServerInternals
    internals._connections--
    internals._emitCloseIfDrained()
  }

  /**
   * Another process has the listener, too, and accepts: this one stops, and serves what it has accepted. Resolves when
   * it has stopped.
   */
  _nativeHandOver(): Promise<void> {
    const { _handle: handle } = this as unknown as ServerInternals
    if (!(handle instanceof ListenHandle)) {
      this.close()
      return Promise.resolve()
    }
    const stopped = handle.handOver()
    this.close()
    return stopped
  }

  /** On a descriptor that others have opened. @param node has Node do it */
  #listenOn(fd: number, backlog: number, node: () => void): void {
    // As Node's, who is given another server listens on the same socket.
    const isServers = handleIn(this.#listenOptions) instanceof ListenHandle
    const own = isServers ? duplicateDescriptor(fd) : fd
    const kind = adoptability(own, 'bound')
    if (typeof kind === 'number' && kind !== -constants.errno.EEXIST) {
      // It says what is wrong, or knows what to do.
      if (isServers && own >= 0) closeSync(own)
      node()
      return
    }
    const handle = this.#adopt(own, backlog)
    if (!(handle instanceof ListenHandle)) {
      if (isServers) closeSync(own)
      this.#failed(handle)
      return
    }
    const internals = this as unknown as ServerInternals
    internals._handle = handle
    internals._connectionKey = 'null:null:null'
    if (listenEnds.hasSubscribers) listenEnds.publish({ server: this })
    if (internals._unref) handle.unref()
  }

  /** With a handle of libuv's, or, in a cluster, with what stands for the primary's. */
  #listenWith(given: GivenHandle, node: () => void): void {
    const internals = this as unknown as ServerInternals
    const { fd } = given
    if (fd === undefined || fd < 0) {
      node()
      if (internals._handle === given) this.#acceptFrom(given)
      return
    }
    let ours: ListenHandle | undefined
    // Node does all that is to be done for its handle, but for having it listen.
    given.listen = (backlog) => {
      Reflect.deleteProperty(given, 'listen')
      const own = duplicateDescriptor(fd)
      if (own < 0 || typeof adoptability(own, 'bound') === 'number') {
        if (own >= 0) closeSync(own)
        return given.listen(backlog)
      }
      const handle = this.#adopt(own, backlog, given)
      if (handle instanceof ListenHandle) ours = handle
      else closeSync(own)
      return handle instanceof ListenHandle ? 0 : handle.errno
    }
    node()
    Reflect.deleteProperty(given, 'listen')
    if (ours === undefined) return
    internals._handle = ours
    if (internals._unref) ours.unref()
  }

  /** The primary of a cluster accepts, and gives its connections to this process. */
  #acceptFrom(given: GivenHandle): void {
    const acceptor = new ServerAcceptor(this, 4)
    const { onconnection: onNode, close: closeNode } = given as unknown as Record<'onconnection' | 'close', Call>
    const settings = this as unknown as ServerSettings
    given.onconnection = (status, client) => {
      const connection = status === 0
        ? adoptHandle(client as ClientHandle, settings.noDelay, this._nativePausesAccepted)
        : undefined
      if (connection !== undefined) accept(acceptor, connection)
      else onNode.call(given, status, client)
    }
    given.close = (...args) => {
      acceptor.over()
      closeNode.call(given, ...args)
    }
  }

  /** @returns the error, if it can't be; the descriptor then stays the caller's */
  #adopt(fd: number, backlog: number, behind?: GivenHandle): ListenHandle | SocketError {
    const { noDelay } = this as unknown as ServerSettings
    const pauseOnAccept = this._nativePausesAccepted
    const acceptor = new ServerAcceptor(this, adoptability(fd, 'bound') === 'unix' ? -1 : 4, behind !== undefined)
    const limits = this.#limits
    const options = { fd, bound: true, backlog: backlog || undefined, noDelay, pauseOnAccept, limits }
    const listener = netEngine().listen(options, acceptor)
    const { address, failure } = listener
    if (address === undefined) {
      listener.context = undefined
      acceptor.over()
      return failure as SocketError
    }
    const path = address.family === 'unix' ? address.address : undefined
    return new ListenHandle(listener, acceptor, path, true, behind)
  }

  #bind(to: Binding, internals: ServerInternals): void {
    const acceptor = new ServerAcceptor(this, to.kind)
    const { path, options } = listenOptions(to, this)
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
    const ended = onThreadEnd(() => new Promise((resolve) => { this.close(() => { resolve() }) }))
    // Its connections may end by themselves, too, when it has been closed before.
    if (ended !== undefined) handle.closed = () => { this.once('close', ended) }
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

function listenOptions(to: Binding, server: Server): { path?: string, options: ListenOptions } {
  const { noDelay } = server as unknown as ServerSettings
  const common = {
    noDelay, pauseOnAccept: server._nativePausesAccepted, limits: server._nativeLimits,
    backlog: to.backlog || undefined,
  }
  if (to.kind === -1) {
    const path = to.address as string
    return { path, options: { ...common, path } }
  }
  const ipv6Only = (to.flags & IPV6_ONLY) !== 0
  const reusePort = (to.flags & REUSE_PORT) !== 0
  const host = to.address ?? undefined
  return { options: { ...common, host, port: to.port, ipv6Only, reusePort } }
}

/** What has a handle, and is given to `listen`. */
function handleIn(options: unknown): unknown {
  const { _handle, handle } = (options ?? {}) as { _handle?: unknown, handle?: unknown }
  return _handle ?? handle ?? options
}

/** A connection that another process has accepted becomes the engine's; undefined: it can't. */
function adoptHandle(client: ClientHandle, noDelay: boolean, paused: boolean): TransportConnection | undefined {
  const fd = duplicateDescriptor(client.fd)
  if (fd < 0) return undefined
  if (typeof adoptability(fd, 'connection') === 'number') {
    closeSync(fd)
    return undefined
  }
  const connection = netEngine().adopt(fd, noDelay)
  if (paused) connection.pause()
  // No more than its descriptor: the connection lives on by the other one.
  client.close()
  return connection
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

  /** @param listeningTold Node says that the server listens */
  constructor(server: Server, kind: number, readonly listeningTold = false) {
    this.#server = server
    this.#kind = kind
    const type = kind === -1 ? 'PIPESERVERWRAP' : 'TCPSERVERWRAP'
    this._nativeResource = new AsyncResource(type, { requireManualDestroy: true })
    const triggerAsyncId = this._nativeResource.asyncId()
    this._nativeListenResource = new AsyncResource('TickObject', { triggerAsyncId, requireManualDestroy: true })
  }

  /** The server's 'close' has to wait, as it waits for connections. */
  holdOpen(): void {
    (this.#server as unknown as ServerInternals)._connections++
  }

  letGo(): void {
    this.#server._nativeSocketGone()
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

  _nativeHappened({ kind, error, dropped }: TransportEvent): void {
    const server = this.#server
    if (kind === 'listening') {
      if (server.listening && !this.listeningTold) server.emit('listening')
    } else if (kind === 'listen-failed') {
      const failure = error as SocketError
      leadTo(failure, this.failedAt)
      this.over()
      server.emit('error', failure)
    } else if (kind === 'accept-failed') {
      const { code } = error as SocketError
      // As with Node clients are sent away, and the server goes on: a flood of them is no error of the program's.
      if (code === 'EMFILE' || code === 'ENFILE') log('warning', 'connections can not be accepted', { reason: error })
      else server.emit('error', error)
    } else if (dropped !== undefined) {
      server.emit('drop', { ...addressOf(dropped.remote), count: dropped.count, limits: dropped.limits })
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
    const socket = server._nativeSocket({
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
    const { handle } = this
    if (handle === undefined || handle.onconnection === this.onConnection) this.#introduce(socket)
    else handle.onconnection(0, socket._handle as SocketHandle)
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

/** Of the last one of several that were dropped, under the names that 'drop' has. */
function addressOf(remote: SocketAddress): object {
  if (remote.family === 'unix') return {}
  return { remoteAddress: remote.address, remotePort: remote.port, remoteFamily: remote.family }
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

/**
 * The socket: a Duplex over one connection of the native engine, with the shape of net.Socket.
 *
 * Owns the life of the connection, and the reading half; socket-output.ts has the other.
 *
 * Invariant: the connection is paused only after `push` said false, so that `_read` comes.
 */
import type { AsyncResource } from 'node:async_hooks'
import { constants } from 'node:os'
import { channel } from 'node:diagnostics_channel'
import { addAbortSignal, Duplex } from 'node:stream'
import * as nodeNet from 'node:net'
import { socketError } from '../support/errors.js'
import type {
  ConnectOptions, SocketError, TransportConnection, TransportEvent,
} from '../transport/transport.js'
import { isolated } from '../transport/buffers-option.js'
import { connectArgs, destination } from './connect-args.js'
import { Dialer, type DialOwner, type Meeting } from './dialer.js'
import { netEngine, type DataReceiver, type Listed } from './engine.js'
import {
  checkString, invalidHandleType, notInPlace, socketClosed, streamDestroyed, withoutAddress,
} from './errors.js'
import { isInPlace } from './in-place.js'
import { noticeDataListener, type Layer, type Layered } from './layer.js'
import { OnRead, onReadOptions } from './onread.js'
import { socketResource, type SocketOptions } from './socket-base.js'
import { SocketOutput } from './socket-output.js'

/** What Node's streams keep of their reading side; the fast path looks at it. */
interface ReadableState {
  readonly flowing: boolean | null
  readonly length: number
  readonly decoder: unknown
  readonly awaitDrainWriters: unknown
  dataEmitted: boolean
}

const { EALREADY, EISCONN } = constants.errno
// eslint-disable-next-line @typescript-eslint/unbound-method -- it is only compared
const { push: plainPush } = Duplex.prototype
const NOBODY: Meeting = { errno: undefined, local: undefined }

/** What a server needs to know of its sockets. */
export interface SocketOwner {
  _nativeSocketGone(): void
}

/** As Node's: whoever writes after the other side's end, and does not allow half-open sockets, is told. */
function writeAfterFin(this: Socket, chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
  if (!this.writableEnded) return Socket.prototype.write.call(this, chunk, encoding, callback)
  const error = Object.assign(new Error('This socket has been ended by the other party'), { code: 'EPIPE' })
  const done = typeof encoding === 'function' ? encoding : callback
  if (typeof done === 'function') process.nextTick(done, error)
  this.destroy(error)
  return false
}

function onEnd(this: Socket): void {
  if (!this.allowHalfOpen) this.write = writeAfterFin
}

const connects = channel('net.client.socket')

/** What the listener has done for its connections. */
export interface AcceptedAs {
  readonly noDelay: boolean
  readonly pauseOnConnect: boolean
}

export class Socket extends SocketOutput implements DataReceiver, DialOwner, Layered {
  _server: SocketOwner | null = null
  declare autoSelectFamilyAttemptedAddresses?: string[]
  /** More than one, if `connect` was called again meanwhile; then at most one of them gets a connection. */
  readonly #dialers = new Set<Dialer>()
  /** Whether the kernel would take a further `connect` for the end of the first. */
  #rejoins = false
  #reset = false
  #connected = false
  /** As the connection was told. */
  #inputPaused = false
  /** By `_handle.readStop`: nothing is received, whatever the stream wants. */
  #readStopped = false
  /** The stream asked for data before the listeners of 'connect' had run. */
  #inputWanted = false
  #ended = false
  readonly #onRead: OnRead | undefined
  /** Who has the input, in place of the stream. */
  #layer: Layer | undefined = undefined

  constructor(options?: SocketOptions | number) {
    if (typeof options === 'number') options = { fd: options }
    if (options?.fd !== undefined || (options as { handle?: unknown } | undefined)?.handle) {
      if (isInPlace(new.target)) throw notInPlace()
      // The engine cannot adopt what others have opened: such a socket is Node's own.
      return new nodeNet.Socket(options) as unknown as Socket
    }
    super(options ?? {})
    const onread = onReadOptions((options as { onread?: unknown } | undefined)?.onread)
    this.#onRead = onread === undefined ? undefined : new OnRead(this, onread)
    this.on('end', onEnd)
    if (options?.signal) addAbortSignal(options.signal, this)
  }

  // Connecting.

  connect(...args: unknown[]): this {
    const [options, callback] = connectArgs(args)
    if (connects.hasSubscribers) connects.publish({ socket: this })
    if (callback !== null) this.once('connect', callback)
    // As Node's: what a former end has put there goes, and with it what a subclass or the program has.
    // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called as a method
    const { write } = Socket.prototype
    if (this.write !== write) this.write = write
    if (this.destroyed) this.#renew()
    const { path } = options
    if (this._nativeResource === undefined) this._nativeBegin(socketResource(Boolean(path)))
    this._unrefTimer()
    // As Node's, it stays so if what follows throws, until the socket is destroyed or connects after all.
    this.connecting = true
    if (path) checkString(path, 'options.path')
    const to = path ? undefined : destination(options)
    const dialer = new Dialer(this)
    this.#dialers.add(dialer)
    try {
      if (to === undefined) dialer.startPath(path as string)
      else dialer.start(to)
    } catch (error) {
      // Of the lookup, which checks its own options.
      this.#dialers.delete(dialer)
      throw error
    }
    return this
  }

  _nativeMeets(): Meeting {
    for (const dialer of this.#dialers) {
      if (dialer.rejoining) return { errno: -EALREADY, local: this._nativeLink?.local }
      if (dialer.attempt !== undefined) return { errno: -EALREADY, local: dialer.attempt.local }
    }
    if (!this._nativeOpen) return NOBODY
    // The kernel lets the first connect after an outbound connection's own succeed, wherever it leads; not
    // when it was told of the end before.
    if (this.#rejoins && !this._nativeEndTaken) {
      this.#rejoins = false
      return { errno: 0, local: undefined }
    }
    return { errno: -EISCONN, local: this._nativeLink?.local }
  }

  _nativeAbandon(except: Dialer): void {
    for (const dialer of this.#dialers) {
      if (dialer !== except) this.#endDialer(dialer)
    }
    const connection = this._nativeOpen ? this._nativeLink : undefined
    if (connection === undefined) return
    this._nativeOpen = false
    this._nativeLink = undefined
    this._nativeEndOutput()
    connection.context = undefined
    connection.close()
  }

  _nativeRejoined(): void {
    this.#cancelDialers()
    this.connecting = false
    this.#tellConnected()
  }

  get _nativeConnectOptions(): ConnectOptions {
    return { noDelay: this._nativeWantsNoDelay }
  }

  _nativeConnected(connection: TransportConnection): void {
    const { noDelay = false } = this._nativeConnectOptions
    this.#cancelDialers()
    this.connecting = false
    // As its dialer has told it; before that, it was what a layer had wished for.
    const layerReads = this.#layer !== undefined && !this.#inputPaused
    this.#inputPaused = true
    this._nativeAttach(connection)
    if (layerReads) this.#resumeInput()
    this.#rejoins = connection.remote?.family !== 'unix'
    this._nativeApplyOptions(noDelay)
    this.#tellConnected()
  }

  #tellConnected(): void {
    this._unrefTimer()
    // Ended before it was to connect, it has finished long ago, and sends the end now.
    if (this.writableFinished) this._nativeLink?.shutdown()
    this.emit('connect')
    this.emit('ready')
    if (!this._nativeOpen) return
    if (this.#layer !== undefined) return
    const wanted = this.#inputWanted || !this.isPaused()
    this.#inputWanted = false
    // As Node's, one that is paused by now, and that nobody has asked for data, reads nothing at all.
    if (!wanted) {
      this.#pauseInput()
      return
    }
    if (this.#onRead?.stopped !== true) this.#resumeInput()
    if (!this.isPaused()) this.read(0)
  }

  _nativeFailed(error: Error): void {
    this.destroy(error)
  }

  /** The connection is there: just established, or accepted. */
  _nativeAttach(connection: TransportConnection): void {
    connection.context = this
    this._nativeLink = connection
    this._nativeOpen = true
    this.#connected = true
    this._nativeUpdateDirect()
    this.#updateReading()
  }

  /** Of a server's socket. */
  _nativeAccepted(connection: TransportConnection, resource: AsyncResource): void {
    this._nativeBegin(resource)
    this._nativeAttach(connection)
  }

  /** After that: options that the server has for its own sockets. */
  _nativeAdopted(server: SocketOwner, how: AcceptedAs): void {
    this._nativeApplyOptions(how.noDelay)
    if (how.pauseOnConnect) {
      this.#inputPaused = true
      this.#updateReading()
      ;(this as { readableFlowing: boolean | null }).readableFlowing = false
    }
    this.server = server
  }

  // What the engine reports.

  _nativeReceived(received: Buffer): void {
    if (!this._nativeOpen) return
    if (this._nativeLimit > 0) this._nativeTouched(this._nativeEngine.now)
    if (this.#layer !== undefined) {
      this._nativeBytesRead += received.length
      this.#layer.received(received)
      return
    }
    if (this.#onRead !== undefined) {
      this.#onRead.hold(received)
      if (!this.#onRead.waits) this.#handToOnRead(this.#onRead)
      return
    }
    const data = this._nativeEngine.isolates ? isolated(received) : received
    this._nativeBytesRead += data.length
    const state = (this as unknown as { _readableState: ReadableState })._readableState
    if (
      state.flowing === true && state.length === 0 && state.decoder === null
      && state.awaitDrainWriters === null && this.push === plainPush && this.listenerCount('data') > 0
    ) {
      // What `push` comes to in this case, without its bookkeeping for the others.
      if (!state.dataEmitted) state.dataEmitted = true
      this.emit('data', data)
    } else if (!this.push(data)) {
      this.#pauseInput()
    }
  }

  /** One buffer of what it holds: between two calls of the program's function, ticks and promises run. */
  #handToOnRead(onRead: OnRead): void {
    if (!onRead.stopped && onRead.holds) this._nativeBytesRead += onRead.next()
    // It may have destroyed the socket.
    if (!this._nativeOpen) return
    if (onRead.stopped) {
      this.#pauseInput()
    } else if (onRead.holds) {
      this.#continueOnRead(onRead)
    } else {
      this.#resumeInput()
      if (this.#ended) this.#inputEnded()
    }
  }

  #continueOnRead(onRead: OnRead): void {
    if (onRead.waits) return
    onRead.waits = true
    this._nativeEngine.continue(this._nativeResource, () => {
      onRead.waits = false
      if (this._nativeOpen) this.#handToOnRead(onRead)
    })
  }

  _nativeHappened({ kind, error }: TransportEvent): void {
    if (kind === 'end') {
      this.#inputEnded()
    } else if (kind === 'written') {
      this._unrefTimer()
      this._nativeOffered()
    } else if (kind === 'closed') {
      this.#closed(error)
    }
  }

  #inputEnded(): void {
    this.#ended = true
    this.#updateReading()
    if (this.#layer !== undefined) {
      if (this._nativeOpen) this.#layer.ended()
      return
    }
    if (!this._nativeOpen || this.#onRead?.holds === true || this.#onRead?.stopped === true) return
    this.push(null)
    this.read(0)
  }

  #closed(error: SocketError | undefined): void {
    const callback = this._nativeEndOutput()
    // Who asks later for the peer's address gets it, if the program asked before.
    this._nativeLink = undefined
    this._nativeOpen = false
    this._nativeReads(false)
    if (error === undefined || (error.code === 'EPIPE' && this.#ended && this._nativeAllTaken)) {
      // That a peer which had ended is gone concerns only who still has something to write.
      callback?.()
    } else {
      const failure = withoutAddress(error)
      // It concerns who uses the connection.
      this.#layer?.failed(failure)
      this.destroy(this.#layer === undefined ? failure : undefined)
      callback?.(failure)
    }
  }

  // Reading.

  override on(event: string | symbol, listener: (...args: never[]) => void): this {
    if (event === 'data') noticeDataListener(listener)
    return super.on(event, listener as (...args: unknown[]) => void)
  }

  _nativeLayOver(layer: Layer): void {
    this.#layer = layer
    this.#resumeInput()
  }

  _nativeLayerReads(on: boolean): void {
    if (on) this.#resumeInput()
    else this.#pauseInput()
  }

  override _read(): void {
    if (this.#layer !== undefined) return
    // Also in a listener of 'connect', before it was looked at whether anybody wants data.
    this.#inputWanted = true
    if (this.connecting || !this._nativeOpen) return
    if (this.#readStopped && this._handle?.reading === false) this._handle.readStart()
    if (this.#onRead === undefined) this.#resumeInput()
  }

  #pauseInput(): void {
    if (this.#inputPaused) return
    this.#inputPaused = true
    if (!this.#readStopped) this._nativeLink?.pause()
    this.#updateReading()
  }

  protected override _nativeLendInput(): void {
    this.#pauseInput()
    ;(this as { readableFlowing: boolean | null }).readableFlowing = false
  }

  #resumeInput(): void {
    if (!this.#inputPaused) return
    this.#inputPaused = false
    if (!this.#readStopped) this._nativeLink?.resume()
    this.#updateReading()
  }

  /**
   * A number of the kernel's socket that is the caller's, for another process; undefined if there is no
   * connection, negative if it failed.
   */
  _nativeDuplicate(): number | undefined {
    if (!this._nativeOpen) return undefined
    // What was written is before what the other one writes.
    this._nativeEngine.flush()
    return this._nativeLink?.duplicate?.()
  }

  /** Another process has it from now on. As Node's, this one is left without a connection, and tells nothing. */
  _nativeGiveAway(): void {
    const connection = this._nativeOpen ? this._nativeLink : undefined
    const resource = this._nativeTakeResource()
    const waiting = this._nativeEndOutput()
    this._nativeStopTimeout()
    this._nativeOpen = false
    this._nativeLink = undefined
    this._server = null
    this._nativeReads(false)
    if (connection !== undefined) connection.context = new Leaving(connection, resource as AsyncResource)
    waiting?.()
  }

  /** As libuv's: what waits to be written fails; whoever writes later is told as well. */
  _nativeHandleClose(closed: () => void): void {
    const connection = this._nativeOpen ? this._nativeLink : undefined
    const waiting = this._nativeEndOutput()
    this._nativeOpen = false
    this._nativeLink = undefined
    this.#cancelDialers()
    this.connecting = false
    this._nativeReads(false)
    if (connection !== undefined) {
      connection.context = undefined
      connection.close()
    }
    this._nativeEngine.later(() => {
      waiting?.(socketError(-constants.errno.ECANCELED, 'write'))
      closed()
    })
  }

  get _nativeListed(): Listed | undefined {
    const connection = this._nativeOpen && this._nativeReferenced ? this._nativeLink : undefined
    if (connection === undefined) return undefined
    const type = connection.remote?.family === 'unix' ? 'PipeWrap' : 'TCPSocketWrap'
    return { owner: this, types: connection.queuedBytes > 0 ? ['SimpleWriteWrap', type] : [type] }
  }

  #updateReading(): void {
    this._nativeReads(this._nativeOpen && !this.#inputPaused && !this.#readStopped && !this.#ended)
  }

  _nativeReadStop(): void {
    if (this.#readStopped) return
    this.#readStopped = true
    if (!this.#inputPaused) this._nativeLink?.pause()
    this.#updateReading()
  }

  _nativeReadStart(): void {
    if (!this.#readStopped) return
    this.#readStopped = false
    if (!this.#inputPaused) this._nativeLink?.resume()
    this.#updateReading()
  }

  override pause(): this {
    if (this.#onRead !== undefined && this._nativeOpen && this.#layer === undefined) {
      this.#onRead.stopped = true
      this.#pauseInput()
    }
    return super.pause()
  }

  override resume(): this {
    this.#resumeOnRead()
    return super.resume()
  }

  override read(size?: number): unknown {
    this.#resumeOnRead()
    return super.read(size)
  }

  #resumeOnRead(): void {
    if (this.#onRead === undefined || !this._nativeOpen || !this.#onRead.stopped) return
    if (this.#layer !== undefined) return
    this.#onRead.stopped = false
    if (this.#onRead.holds || this.#ended) this.#continueOnRead(this.#onRead)
    else this.#resumeInput()
  }

  // The end.

  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => { this.destroy() })
  }

  resetAndDestroy(): this {
    if (this.connecting) {
      this.once('connect', () => this.#destroyWithReset())
    } else if (this._nativeLink === undefined || !this._nativeOpen) {
      this.destroy(socketClosed())
    } else if (this._nativeLink.remote?.family === 'unix') {
      throw invalidHandleType()
    } else {
      this.#destroyWithReset()
    }
    return this
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    // Also if what was to begin has thrown.
    const dialing = this.connecting
    const waiting = this._nativeEndOutput()
    this.connecting = false
    this._nativeStopTimeout()
    this.#cancelDialers()
    const hadError = error !== null && error !== undefined
    const connection = this._nativeOpen ? this._nativeLink : undefined
    this._nativeOpen = false
    // As Node's, it has no addresses any more.
    this._nativeLink = undefined
    const resource = this._nativeTakeResource()
    this._nativeReads(false)
    if (connection !== undefined) {
      connection.context = new Closing(this, resource as AsyncResource, hadError)
      if (this.#reset) connection.abort()
      else connection.close()
      // At once, as Node does: a peer that writes later in this turn is to hear of it.
      this._nativeEngine.flush()
    }
    callback(error)
    waiting?.(error ?? streamDestroyed('write'))
    this._server?._nativeSocketGone()
    this._server = null
    // If there is a connection, with `closed`. Otherwise in a later phase than the error, as Node's.
    if (connection !== undefined) return
    if (resource !== undefined && (dialing || this.#connected)) {
      this._nativeEngine.later(() => { emitClose(this, resource, hadError) })
    } else {
      resource?.emitDestroy()
      process.nextTick(() => { this.emit('close') })
    }
  }

  #cancelDialers(): void {
    for (const dialer of this.#dialers) this.#endDialer(dialer)
  }

  #endDialer(dialer: Dialer): void {
    dialer.cancel()
    this.#dialers.delete(dialer)
  }

  #destroyWithReset(): void {
    this.#reset = true
    this.destroy()
  }

  /** After its end it may connect again. */
  #renew(): void {
    (this as unknown as { _undestroy(): void })._undestroy()
    this.#reset = false
    this.#layer = undefined
    this.#ended = false
    this.#connected = false
    this.#inputPaused = false
    this.#readStopped = false
    this.#rejoins = false
    this._nativeEndTaken = false
    this.#inputWanted = false
    this._hadError = false
  }
}

/** What is left of a connection whose socket was destroyed, and may have another by now: its 'close'. */
class Closing implements DataReceiver {
  _nativeRound = 0
  /** As a handle of libuv's: the immediates that waited when it was closed run first. */
  readonly _nativeChecks = netEngine().untilChecked()
  readonly #socket: Socket
  readonly #hadError: boolean

  constructor(socket: Socket, readonly _nativeResource: AsyncResource, hadError: boolean) {
    this.#socket = socket
    this.#hadError = hadError
    // Whatever `unref` said, as a handle of libuv's that closes.
    netEngine().ref()
  }

  _nativeHappened({ kind }: TransportEvent): void {
    if (kind !== 'closed') return
    netEngine().unref()
    this._nativeResource.emitDestroy()
    this.#socket.emit('close', this.#hadError)
  }

  _nativeReceived(): void {
    // Nobody reads any more.
  }
}

/** What is left of a connection that another process has: its output, until the kernel has it. */
class Leaving implements DataReceiver {
  _nativeRound = 0
  readonly #connection: TransportConnection

  constructor(connection: TransportConnection, readonly _nativeResource: AsyncResource) {
    this.#connection = connection
    connection.pause()
    connection.reportWrites = connection.queuedBytes > 0
    this.#closeIfDone()
  }

  _nativeHappened({ kind }: TransportEvent): void {
    if (kind === 'written') this.#closeIfDone()
    else if (kind === 'closed') this._nativeResource.emitDestroy()
  }

  _nativeReceived(): void {
    // It came before the other process had it.
  }

  _nativeContinue(): void {
    // Only a socket asks to be continued.
  }

  #closeIfDone(): void {
    if (this.#connection.queuedBytes === 0) this.#connection.close()
  }
}

function emitClose(socket: Socket, resource: AsyncResource, hadError: boolean): void {
  resource.emitDestroy()
  resource.runInAsyncScope(() => { socket.emit('close', hadError) })
}

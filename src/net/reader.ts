/**
 * The reading half of a socket: what its connection receives, on its way to the stream, to the program's own
 * buffer (`onread`), or to the layer that is put on the socket (TLS).
 *
 * Owns whether the connection is paused, and by whom; whether the input has ended; and, as Node's sockets keep
 * the process alive while they read, the reference to the engine for that. (Output that waits, attempts to
 * connect and what is closing keep the process alive by themselves; a lookup is Node's.)
 *
 * Invariant: the stream has the connection paused only after `push` said false, so that `_read` comes.
 */
import type { AsyncResource } from 'node:async_hooks'
import { Duplex } from 'node:stream'
import type { TransportConnection } from '../transport/seam/transport.js'
import { isolated } from '../transport/seam/buffers-option.js'
import { netEngine } from './engine.js'
import { OnRead, onReadOptions } from './onread.js'

/** Takes the input of a socket in place of its stream. */
export interface Layer {
  received(data: Buffer): void
  ended(): void
  /** The connection is lost. */
  failed(error: Error): void
}

/** What Node's streams keep of their reading side; the fast path looks at it. */
interface ReadableState {
  readonly flowing: boolean | null
  readonly length: number
  readonly decoder: unknown
  readonly awaitDrainWriters: unknown
  dataEmitted: boolean
}

// eslint-disable-next-line @typescript-eslint/unbound-method -- it is only compared
const { push: plainPush } = Duplex.prototype

export class Reader {
  bytesRead = 0
  /** All input has come. */
  ended = false
  /** By the handle, with `stop`: nothing is received, whatever the stream wants. */
  stopped = false
  /** Who has the input, in place of the stream. */
  layer: Layer | undefined = undefined
  readonly #stream: Duplex
  readonly #engine = netEngine()
  readonly #onRead: OnRead | undefined
  #connection: TransportConnection | undefined = undefined
  /** The async context of the connection. */
  #resource: AsyncResource | undefined = undefined
  /** As the connection was told. */
  #paused = false
  /** The stream asked for data before the listeners of 'connect' had run. */
  #wanted = false
  #referenced = true
  /** As the engine was told. */
  #keepsAlive = false

  /** @param onread the socket's option */
  constructor(stream: Duplex, onread: unknown) {
    this.#stream = stream
    const options = onReadOptions(onread)
    this.#onRead = options && new OnRead(stream, options)
  }

  /** Whether it keeps the process alive while it reads. */
  get referenced(): boolean {
    return this.#referenced
  }

  set referenced(on: boolean) {
    this.#referenced = on
    this.#updateAlive()
  }

  /**
   * The connection is there.
   *
   * @param isPaused it is paused already: it is read from after `connectTold`, or when a layer asks for it
   */
  attach(connection: TransportConnection, resource: AsyncResource, isPaused: boolean): void {
    // Before there was a connection, `#paused` was what a layer had wished for.
    const layerReads = isPaused && this.layer !== undefined && !this.#paused
    this.#connection = connection
    this.#resource = resource
    if (isPaused) this.#paused = true
    if (layerReads) this.#resume()
    else this.#updateAlive()
  }

  /** There is no connection any more. */
  detach(): void {
    this.#connection = undefined
    this.#updateAlive()
  }

  /** The socket may connect again. */
  renew(): void {
    this.layer = undefined
    this.ended = false
    this.#paused = false
    this.stopped = false
    this.#wanted = false
  }

  /** The listeners of 'connect' have run: it is known by now whether anybody wants data. */
  connectTold(): void {
    if (this.#connection === undefined || this.layer !== undefined) return
    const stream = this.#stream
    const wanted = this.#wanted || !stream.isPaused()
    this.#wanted = false
    // As Node's, one that is paused by now, and that nobody has asked for data, reads nothing at all.
    if (!wanted) {
      this.#pause()
      return
    }
    if (this.#onRead?.stopped !== true) this.#resume()
    if (!stream.isPaused()) stream.read(0)
  }

  /** The same after a handshake: as Node's TLS, it reads on until the stream has enough. */
  preparedTold(): void {
    this.#wanted = false
    if (this.#connection !== undefined && !this.#stream.isPaused()) this.#stream.read(0)
  }

  /** Its server has had the connection paused when it accepted it. */
  acceptedPaused(): void {
    this.#paused = true
    this.#updateAlive()
    this.#stopFlowing()
  }

  // What the connection reports.

  received(received: Buffer): void {
    if (this.layer !== undefined) {
      this.bytesRead += received.length
      this.layer.received(received)
      return
    }
    if (this.#onRead !== undefined) {
      this.#onRead.keep(received)
      if (!this.#onRead.waits) this.#handToOnRead(this.#onRead)
      return
    }
    const data = this.#engine.isolates ? isolated(received) : received
    this.bytesRead += data.length
    const stream = this.#stream
    const state = (stream as unknown as { _readableState: ReadableState })._readableState
    if (
      state.flowing === true && state.length === 0 && state.decoder === null
      && state.awaitDrainWriters === null && stream.push === plainPush && stream.listenerCount('data') > 0
    ) {
      // What `push` comes to in this case, without its bookkeeping for the others.
      if (!state.dataEmitted) state.dataEmitted = true
      stream.emit('data', data)
    } else if (!stream.push(data)) {
      this.#pause()
    }
  }

  end(): void {
    this.ended = true
    this.#updateAlive()
    if (this.#connection === undefined) return
    if (this.layer !== undefined) {
      this.layer.ended()
    } else if (this.#onRead?.hasUnread !== true && this.#onRead?.stopped !== true) {
      this.#stream.push(null)
      this.#stream.read(0)
    }
  }

  // What the stream and the program ask for.

  /** The stream wants data. Returns whether there is a connection that it can have it from. */
  want(connecting: boolean): boolean {
    if (this.layer !== undefined) return false
    // Also in a listener of 'connect', before it was looked at whether anybody wants data.
    this.#wanted = true
    return !connecting && this.#connection !== undefined
  }

  /** After `want`: it gets it. */
  goOn(): void {
    if (this.#onRead === undefined) this.#resume()
  }

  /** The program has called `pause`: the stream stops by itself, the program's own buffer here. */
  pauseOnRead(): void {
    if (this.#onRead === undefined || this.#connection === undefined || this.layer !== undefined) return
    this.#onRead.stopped = true
    this.#pause()
  }

  /** The program has called `resume` or `read`. */
  resumeOnRead(): void {
    if (this.#onRead === undefined || this.#connection === undefined || !this.#onRead.stopped) return
    if (this.layer !== undefined) return
    this.#onRead.stopped = false
    if (this.#onRead.hasUnread || this.ended) this.#continueOnRead(this.#onRead)
    else this.#resume()
  }

  /** By the handle: nothing is read of the kernel's socket, whatever the stream asks for. */
  stop(): void {
    if (this.stopped) return
    this.stopped = true
    if (!this.#paused) this.#connection?.pause()
    this.#updateAlive()
  }

  /** By the handle: it goes on as the stream asks for. */
  start(): void {
    if (!this.stopped) return
    this.stopped = false
    if (!this.#paused) this.#connection?.resume()
    this.#updateAlive()
  }

  /** The descriptor is given to somebody else, too, who is to read it. */
  lend(): void {
    this.#pause()
    this.#stopFlowing()
  }

  /** The connection is about to be another socket's. @returns where what comes until then waits */
  take(): Uint8Array[] {
    const unread: Uint8Array[] = []
    this.layer = {
      received: (data) => { unread.push(data) },
      ended: () => { /* `ended` says so. */ },
      failed: () => { /* There is no connection then. */ },
    }
    this.stop()
    return unread
  }

  /** From now on the input is the layer's. */
  layOver(layer: Layer): void {
    this.layer = layer
    this.#resume()
  }

  /** Whether the layer wants input at present. */
  layerReads(on: boolean): void {
    if (on) this.#resume()
    else this.#pause()
  }

  #pause(): void {
    if (this.#paused) return
    this.#paused = true
    if (!this.stopped) this.#connection?.pause()
    this.#updateAlive()
  }

  #resume(): void {
    if (!this.#paused) return
    this.#paused = false
    if (!this.stopped) this.#connection?.resume()
    this.#updateAlive()
  }

  #stopFlowing(): void {
    (this.#stream as { readableFlowing: boolean | null }).readableFlowing = false
  }

  #updateAlive(): void {
    const reads = this.#connection !== undefined && !this.#paused && !this.stopped && !this.ended
    const on = reads && this.#referenced
    if (on === this.#keepsAlive) return
    this.#keepsAlive = on
    if (on) this.#engine.ref()
    else this.#engine.unref()
  }

  /** One buffer of what is unread: between two calls of the program's function, ticks and promises run. */
  #handToOnRead(onRead: OnRead): void {
    if (!onRead.stopped && onRead.hasUnread) this.bytesRead += onRead.next()
    // It may have destroyed the socket.
    if (this.#connection === undefined) return
    if (onRead.stopped) {
      this.#pause()
    } else if (onRead.hasUnread) {
      this.#continueOnRead(onRead)
    } else {
      this.#resume()
      if (this.ended) this.end()
    }
  }

  #continueOnRead(onRead: OnRead): void {
    if (onRead.waits) return
    onRead.waits = true
    this.#engine.continue(this.#resource as AsyncResource, () => {
      onRead.waits = false
      if (this.#connection !== undefined) this.#handToOnRead(onRead)
    })
  }
}

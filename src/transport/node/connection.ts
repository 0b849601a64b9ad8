/**
 * One connection of the fallback transport: a `node:net` socket as the seam wants it.
 *
 * Invariants: it has a dial exactly until it is established or has failed, and then a socket; `closed`
 * is reported once, and last; the transport forgets it when all its descriptors are closed; `counted`
 * is part of the account's `queuedTotal`.
 */
import { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { constants } from 'node:os'
import { idleError, lateError, readTimeoutError, socketError } from '../../support/errors.js'
import { clearTimeout, setImmediate, setTimeout } from '../../support/real-time.js'
import type { Decision } from '../seam/admission.js'
import { exit } from '../seam/at-exit.js'
import { Dial } from '../seam/dial.js'
import { Stat } from '../seam/stats.js'
import type { NodeAccount } from './account.js'
import { NodeAttempts } from './attempts.js'
import { adoptable, adopted, closed } from './adoptable.js'
import { nodeSocketOptions, type NodeListener } from './listener.js'
import { Pace } from './pace.js'
import { adoptionError } from '../seam/adoption.js'
import { overflowError, takenAwayError } from '../seam/queue-limits.js'
import { isolatedFromNode } from '../seam/buffers-option.js'
import { nodeLacks } from '../seam/socket-options.js'
import { cutHandshakeError, type TlsStart, type TlsState } from '../seam/tls.js'
import { secureNodeSocket, unreadFromNode } from './tls.js'
import type {
  ConnectOptions, SocketAddress, SocketError, TransportConnection, TransportEvent,
} from '../seam/transport.js'

/** The transport of these connections. */
type Account = NodeAccount<NodeConnection | NodeListener>

/** All events have the same shape, so that their readers stay monomorphic. */
function connectionEvent(
  kind: TransportEvent['kind'], connection: TransportConnection,
  data?: Buffer, bytes = 0, error?: SocketError,
): TransportEvent {
  return { kind, connection, listener: undefined, data, bytes, error }
}

export class NodeConnection implements TransportConnection {
  context: unknown
  readonly listener: NodeListener | undefined
  remote: SocketAddress | undefined
  local: SocketAddress | undefined
  readonly settings = undefined
  queuedBytes = 0
  reportWrites = false
  overflow: SocketError | undefined
  tls: TlsState | undefined
  /** What it has in the transport's sum of queued bytes. */
  counted = 0
  #paused = false
  /** Not read from because of its own queue, or because of all. */
  #full = false
  #heldBack = false
  readonly #account: Account
  #dial: Dial | undefined
  #attempts: NodeAttempts | undefined
  /** From the moment on that it is established. */
  #socket: Socket | undefined
  #state: 'connecting' | 'open' | 'closing' | 'aborted' | 'closed' = 'connecting'
  #unix = false
  /** Waits for the end of the batch. */
  #corked = false
  #outputEnded = false
  #error: SocketError | undefined
  #deadline: NodeJS.Timeout | undefined
  /** Of `readTimeout`: begins anew with what comes. */
  #silence: NodeJS.Timeout | undefined
  #expectsInput = true
  /** The one below TLS, whose descriptor it is; and how TLS was begun. */
  #raw: Socket | undefined
  #tlsStart: TlsStart | undefined
  #session: Buffer | undefined
  #idleTimeout = 0
  /** Of the first byte. */
  #firstByte: NodeJS.Timeout | undefined
  /** If its input has a rate; and whether it has had that. */
  #pace: Pace | undefined
  #slowed = false
  readonly #ticket: Decision['ticket']

  /** @param ticket of the listener that admitted it */
  constructor(account: Account, listener: NodeListener | undefined, ticket?: Decision['ticket']) {
    this.#account = account
    this.listener = listener
    this.#ticket = ticket
  }

  /** An attempt to connect keeps the process alive in any case: it has an end. */
  setRef(on: boolean): void {
    if (on) this.#socket?.ref()
    else this.#socket?.unref()
  }

  /** It begins its life as an accepted one. */
  accept(socket: Socket): void {
    this.#account.metrics.accepts += 1
    const unix = this.listener?.unix
    this.#open(socket, 'accepted', unix && { ...unix, address: '' }, unix)
    this.#limitIdle(socket, this.listener?.idleTimeout ?? 0)
    this.#limitInput(socket, this.listener?.readTimeout ?? 0)
    if (this.listener !== undefined) this.#limit(socket, this.listener)
  }

  #limit(socket: Socket, listener: NodeListener): void {
    const { receiveRate, firstByteTimeout } = listener.limits
    if (receiveRate.perSecond > 0) this.#pace = new Pace(receiveRate, this)
    if (firstByteTimeout === 0) return
    this.#firstByte = setTimeout(() => {
      // What came while the program kept the event loop busy is read before this.
      setImmediate(() => {
        if (this.#state !== 'open' || this.#firstByte === undefined) return
        // Those of a handshake are no bytes for the host.
        if (this.#tlsStart === undefined && socket.bytesRead > 0) return
        if (!this.takesInput) {
          this.#firstByte.refresh()
          return
        }
        listener.count('firstByteTimeout')
        this.#fail(lateError('firstByteTimeout'))
      })
    }, firstByteTimeout).unref()
  }

  // Of its pace

  get takesInput(): boolean {
    return !this.#paused && !this.#full && !this.#heldBack && this.#state === 'open'
  }

  slow(on: boolean): void {
    this.#slowed = on
    if (on) this.listener?.count('receiveRate')
    this.#read()
  }

  ended(): void {
    if (this.#state === 'open') this.#account.report(connectionEvent('end', this))
  }

  /** It begins its life as an outbound one. */
  connect(options: ConnectOptions): void {
    const attempts = new NodeAttempts(
      (attempt, socket) => { this.#connected(attempt, socket) },
      (attempt, error) => { this.#dial?.attemptFailed(attempt, error) },
      () => { if (this.#state === 'closed') this.#gone() },
      options,
    )
    this.#attempts = attempts
    this.#dial = new Dial(
      (address) => attempts.begin(address),
      (attempt) => { attempts.giveUp(attempt) },
      (error) => { this.#fail(error) },
      options,
    )
    this.#dial.start(nodeLacks('connect', options))
  }

  /** It begins its life as one that others have opened. */
  adopt(options: ConnectOptions, fd: number): void {
    const { idleTimeout = 0, readTimeout = 0 } = options
    const errno = adoptable(fd, 'connection')
    const failure = errno < 0 ? adoptionError(errno, 'open', fd) : nodeLacks('connect', options)
    if (failure !== undefined) {
      this.#fail(failure)
      return
    }
    let socket: Socket
    try {
      const settings = { ...nodeSocketOptions(options), fd, readable: true, writable: true, pauseOnCreate: true }
      socket = new Socket(settings)
    } catch (error) {
      // Nothing was opened.
      this.#fail(Object.assign(error as SocketError, { syscall: 'open' }))
      return
    }
    adopted(fd)
    socket.once('close', () => { closed(fd) })
    this.#account.metrics.connects += 1
    const unix = socket.remoteAddress === undefined ? { address: '', family: 'unix', port: 0 } as const : undefined
    this.#open(socket, 'connected', unix, unix)
    this.#limitIdle(socket, idleTimeout)
    this.#limitInput(socket, readTimeout)
    this.#read()
  }

  #connected(attempt: number, socket: Socket): void {
    const dial = this.#dial as Dial
    this.#dial = undefined
    const to = dial.succeeded(attempt)
    this.#account.metrics.connects += 1
    const unix = to.family === 'unix' ? to : undefined
    this.#open(socket, 'connected', unix, unix && { ...unix, address: '' })
    this.#limitIdle(socket, dial.idleTimeout)
    this.#expectsInput = dial.expectsInput
    this.#limitInput(socket, dial.readTimeout)
    this.#read()
    for (const data of dial.backlog) this.#send(socket, data, data.byteLength)
    if (dial.closing) this.#closeSocket(socket)
    else if (dial.shutdown) socket.end()
  }

  /** Of a Unix socket, Node doesn't tell the addresses. */
  #open(
    socket: Socket, kind: 'accepted' | 'connected',
    remote: SocketAddress | undefined, local: SocketAddress | undefined,
  ): void {
    this.#socket = socket
    this.#unix = remote !== undefined
    this.remote = remote
    this.local = local
    this.#account.metrics.connections += 1
    if (!this.#account.isRef) this.setRef(false)
    // Asked for now: a socket that is closed no longer knows its addresses.
    const { remoteAddress, remoteFamily, remotePort } = socket
    if (remoteAddress !== undefined) this.remote = address(remoteAddress, remoteFamily, remotePort)
    const { localAddress, localFamily, localPort } = socket
    if (localAddress !== undefined) this.local = address(localAddress, localFamily, localPort)
    this.#listen(socket)
    socket.on('error', (error) => (this.#error ??= error as SocketError))
    socket.on('close', () => { this.#closed() })
    // It may have been closed meanwhile: then nobody is told.
    if (this.#state !== 'connecting') return
    this.#state = 'open'
    this.#account.report(connectionEvent(kind, this))
  }

  #listen(socket: Socket): void {
    socket.on('data', (data: Buffer) => { this.#received(data) })
    socket.on('end', () => { this.#ended() })
  }

  startTls(start: TlsStart): void {
    const raw = this.#socket
    if (raw === undefined || raw.destroyed || this.#state !== 'open') throw cutHandshakeError(start.server)
    raw.removeAllListeners('data')
    raw.removeAllListeners('end')
    raw.pause()
    this.#raw = raw
    this.#tlsStart = start
    this.#socket = secureNodeSocket(raw, start, {
      secured: (state) => {
        if (this.#state !== 'open') return
        this.tls = state
        this.#account.metrics.tlsHandshakes += 1
        this.#account.report(connectionEvent('secured', this))
        this.#listen(this.#socket as Socket)
        this.#read()
      },
      failed: (error) => {
        if (this.#state !== 'open') return
        this.#error ??= error
        // What Node has to say to the peer goes first.
        if (this.tls === undefined) this.#socket?.destroySoon()
        else this.#fail(error)
      },
      session: (session) => {
        this.#session = session
        if (this.#state === 'open') this.#account.report(connectionEvent('session', this))
      },
    })
    this.#socket.on('close', () => { if (!raw.destroyed) raw.destroy() })
    // The one below no longer knows what comes and goes.
    raw.setTimeout(0)
    this.#limitIdle(this.#socket, this.#idleTimeout)
  }

  unread(data: Uint8Array): void {
    if (this.#tlsStart !== undefined) unreadFromNode(this.#socket as TLSSocket, data)
  }

  tlsSession(): Buffer | undefined {
    return this.#session
  }

  write(data: Uint8Array | string, taken = false): void {
    // One that is gone says so in `closed`; the program cannot have known.
    if (this.#state === 'closed') return
    if (this.#outputEnded) throw new Error('transport: write after shutdown, close or abort')
    const bytes = typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength
    // A socket that has died says so in `closed`, with an error; nothing can be sent on it.
    if (bytes === 0 || this.#socket?.destroyed === true) return
    const { stats } = this.#account.metrics
    stats[Stat.chunksOut] += 1
    stats[Stat.queuedBytes] += bytes
    this.queuedBytes += bytes
    if (this.#socket === undefined) {
      this.#dial?.keep(data)
      this.#cork()
    } else {
      this.#send(this.#socket, taken && typeof data !== 'string' ? Buffer.from(data) : data, bytes)
    }
    this.#account.wrote(bytes)
  }

  #send(socket: Socket, data: Uint8Array | string, bytes: number): void {
    this.#cork()
    socket.write(data, (error) => { this.#wrote(data, bytes, error) })
  }

  #cork(): void {
    if (this.#corked || exit.begun) return
    this.#corked = true
    this.#socket?.cork()
    this.#account.corked(this)
  }

  /** The end of the batch: what is left after this is queued. */
  uncork(): void {
    this.#corked = false
    this.#socket?.uncork()
    this.#count()
    const { each, pauses } = this.#account.limits
    if (this.counted <= each) return
    if (!pauses) this.endQueue()
    else this.#full = true
    this.#read()
  }

  /** Ends it: too much is queued, here or in all. */
  endQueue(): void {
    this.overflow = overflowError(this.#account.limits, this.counted, this.remote)
    this.#fail(this.overflow)
    this.#count()
  }

  /** Input that was held back because of all queues may come again. */
  letGo(): void {
    this.#heldBack = false
    this.#read()
  }

  #count(): void {
    const socket = this.#socket
    const gone = this.#state === 'closed' || socket?.destroyed === true
    const now = gone ? 0 : socket?.writableLength ?? this.queuedBytes
    this.#account.queuedTotal += now - this.counted
    this.counted = now
  }

  #read(): void {
    if (this.#state !== 'open') return
    if (this.#paused || this.#full || this.#heldBack || this.#slowed) this.#socket?.pause()
    else this.#socket?.resume()
  }

  shutdown(): void {
    if (this.#outputEnded) return
    this.#outputEnded = true
    if (this.#dial !== undefined) this.#dial.shutdown = true
    this.#socket?.end()
  }

  close(): void {
    if (this.#state !== 'open' && this.#state !== 'connecting') return
    this.#state = 'closing'
    this.#pace?.stop()
    this.#outputEnded = true
    if (this.#socket !== undefined) this.#closeSocket(this.#socket)
    else if (this.queuedBytes > 0) this.#dial?.closeLater(this.#account.closeTimeout)
    else this.#closed()
  }

  abort(): void {
    if (this.#state === 'aborted' || this.#state === 'closed') return
    this.#state = 'aborted'
    this.#pace?.stop()
    this.#outputEnded = true
    if (this.#socket === undefined) this.#closed()
    else this.#reset(this.#socket)
  }

  pause(): void {
    this.#paused = true
    this.#read()
  }

  resume(): void {
    this.#paused = false
    this.#read()
  }

  expectInput(on: boolean): void {
    if (this.#dial !== undefined) this.#dial.expectsInput = on
    this.#expectsInput = on
    if (on) this.#silence?.refresh()
  }

  setNoDelay(on: boolean): void {
    this.#socket?.setNoDelay(on)
  }

  /** The other two are libuv's own, whose defaults they are. */
  setKeepAlive(on: boolean, idle: number): void {
    this.#socket?.setKeepAlive(on, idle * 1000)
  }

  #closeSocket(socket: Socket): void {
    this.#deadline = setTimeout(() => { this.#expired() }, this.#account.closeTimeout)
    // What still comes is read and dropped: a peer that is blocked in its own send would not read our
    // last bytes, and unread bytes would turn our FIN into an RST that destroys them.
    socket.resume()
    socket.destroySoon()
  }

  #received(data: Buffer): void {
    if (this.#state !== 'open') return
    this.#silence?.refresh()
    if (this.#firstByte !== undefined) {
      clearTimeout(this.#firstByte)
      this.#firstByte = undefined
    }
    if (this.#pace === undefined) this.handOn(data)
    else this.#pace.add(data)
  }

  /** Bytes go to the program. */
  handOn(data: Buffer): void {
    if (this.#account.inputHeld) {
      this.#heldBack = true
      this.#account.holdBack(this)
      this.#read()
    }
    const { metrics } = this.#account
    metrics.bytesIn += data.length
    metrics.chunksIn += 1
    const piece = this.#account.isolates ? isolatedFromNode(data) : data
    this.#account.report(connectionEvent('data', this, piece))
  }

  #ended(): void {
    this.#endSilence()
    clearTimeout(this.#firstByte)
    if (this.#pace === undefined) this.ended()
    else this.#pace.end()
  }

  #wrote(data: Uint8Array | string, bytes: number, error: Error | null | undefined): void {
    this.#count()
    if (this.#full && this.counted <= this.#account.limits.each / 2) {
      this.#full = false
      this.#read()
    }
    this.#account.checkTotal()
    // Node calls back without an error for writes that were cut off by `destroy`.
    if ((error !== null && error !== undefined) || this.#socket?.destroyed === true) return
    // Node sends nothing for memory that was taken away, and says nothing.
    if (typeof data !== 'string' && data.byteLength !== bytes) {
      this.#fail(takenAwayError(this.remote))
      return
    }
    this.queuedBytes -= bytes
    const { stats } = this.#account.metrics
    stats[Stat.queuedBytes] -= bytes
    stats[Stat.bytesOut] += bytes
    if (this.reportWrites && this.#state !== 'closed' && this.#state !== 'aborted') {
      this.#account.report(connectionEvent('written', this, undefined, bytes))
    }
  }

  /** Unix sockets have no reset. */
  #reset(secured: Socket): void {
    // A reset is the kernel's matter.
    const socket = this.#raw ?? secured
    const shutting = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0
    if (this.#unix || socket.destroyed) socket.destroy()
    // libuv doesn't reset one whose FIN is on its way out (EINVAL), and Node then never closes it.
    else if (shutting) socket.once('finish', () => { this.#reset(socket) })
    else socket.resetAndDestroy()
  }

  #limitIdle(socket: Socket, timeout: number): void {
    if (timeout === 0) return
    this.#idleTimeout = timeout
    socket.setTimeout(timeout, () => {
      const { bytesRead, bytesWritten } = socket
      // What came while the program kept the event loop busy is read before this.
      setImmediate(() => {
        if (this.#state !== 'open' || socket.bytesRead !== bytesRead) return
        if (socket.bytesWritten !== bytesWritten) return
        this.#timedOut(socket, idleError())
      })
    })
  }

  #limitInput(socket: Socket, timeout: number): void {
    if (timeout === 0) return
    let waited = 0
    this.#silence = setTimeout(() => {
      const reader = this.#socket ?? socket
      const { bytesRead } = reader
      // As above. A paused socket goes on reading until its buffer is full; after that nobody knows.
      setImmediate(() => {
        if (this.#state !== 'open' || !this.#expectsInput || this.#silence === undefined) return
        const { readableLength, readableHighWaterMark } = reader
        const came = reader.bytesRead !== bytesRead || readableLength !== waited
        waited = readableLength
        if (came || readableLength >= readableHighWaterMark) this.#silence.refresh()
        else this.#timedOut(socket, readTimeoutError())
      })
    }, timeout).unref()
  }

  #endSilence(): void {
    clearTimeout(this.#silence)
    this.#silence = undefined
  }

  #timedOut(socket: Socket, error: SocketError): void {
    this.#error ??= error
    if (socket.writableLength > 0) this.#reset(socket)
    else socket.destroy()
  }

  #expired(): void {
    this.#fail(socketError(-constants.errno.ETIMEDOUT, 'close', this.remote?.address, this.remote?.port))
  }

  #fail(error: SocketError): void {
    this.#error ??= error
    if (this.#socket !== undefined) this.#reset(this.#socket)
    else this.#closed()
  }

  #closed(): void {
    const state = this.#state
    if (state === 'closed') return
    if (state === 'open') this.#pace?.finish()
    this.#state = 'closed'
    if (this.#tlsStart !== undefined && this.tls === undefined) {
      this.#account.metrics.tlsFailures += 1
      this.#error ??= cutHandshakeError(this.#tlsStart.server)
    }
    clearTimeout(this.#firstByte)
    this.#outputEnded = true
    this.#endSilence()
    clearTimeout(this.#deadline)
    this.#dial?.cancel()
    this.#dial = undefined
    this.#account.queuedTotal -= this.counted
    this.counted = 0
    this.#account.checkTotal()
    const { metrics } = this.#account
    if (this.#socket !== undefined) metrics.connections -= 1
    metrics.stats[Stat.queuedBytes] -= this.queuedBytes
    // After `close` or `abort` the end is orderly, whatever the peer did, unless bytes were lost.
    const orderly = state === 'aborted' || (state === 'closing' && this.queuedBytes === 0)
    this.queuedBytes = 0
    this.#account.report(connectionEvent('closed', this, undefined, 0, orderly ? undefined : this.#error))
    // Otherwise when its attempts are closed.
    if (this.#attempts === undefined || this.#attempts.size === 0) this.#gone()
  }

  #gone(): void {
    this.listener?.left(this.#ticket)
    this.#account.gone(this)
  }
}

function address(text: string, family: string | undefined, port: number | undefined): SocketAddress {
  return { address: text, family: family === 'IPv6' ? 'IPv6' : 'IPv4', port: port ?? 0 }
}

/**
 * One TCP connection as the VM sees it: two flows, and what closes them.
 *
 * Owns the state of one connection between the transport's events and the VM's: which ends are done,
 * and when the connection is to be closed. How bytes become subpackets is told by those that extend it:
 * `tcp-bare.ts` passes them on, `tcp.ts` counts credit.
 */
import { constants } from 'node:os'
import { socketError, show } from '../support/errors.js'
import { log } from '../support/log.js'
import { _, Wildcard } from '../topic/index.js'
import {
  addEndpoint, deleteEndpoint, Role, sendMessage, type ActionTree, type Handlers,
} from '../vm/index.js'
import { Label } from '../vm/label.js'
import { lostInputError } from '../transport/seam/queue-limits.js'
import type {
  BufferLifetime, FrameRun, SocketError, TransportConnection, TransportEvent,
} from '../transport/seam/transport.js'
import { takesPart } from './tcp-demand.js'
import {
  abort, eof, halfOpen, tcpAddress, tcpChannel, unixAddress, unixListener, type TcpChannel, type TcpEnd,
} from './tcp-records.js'

/** What is the same for all conversations of a driver. */
export interface ConversationSettings {
  /** Keep the outbound flow open after the peer's eof. */
  readonly allowHalfOpen: boolean
  /** Milliseconds to wait for the peer's eof after our own; undefined: for ever. */
  readonly halfCloseTimeout: number | undefined
  /** Nothing is read from an accepted connection before somebody takes part in it. */
  readonly pauseOnAccept: boolean
  /** There is a `readTimeout`: the transport is to know when input is waited for. */
  readonly timesInput: boolean
  /** Whose memory what came is in. */
  readonly buffers: BufferLifetime
}

/** Who keeps account of a conversation's name. */
export interface ConversationOwner {
  left(remote: TcpEnd, local: TcpEnd): ActionTree
}

/** What a conversation needs of the driver that it belongs to. */
export interface ConversationHost {
  /** `settle` is to be called when the VM is idle. */
  settleLater(conversation: Conversation): void
  /** The socket is closed; nothing more comes. */
  gone(conversation: Conversation): ActionTree
}

/* What has happened to a conversation, as bits of one number: there are many conversations. */
/** The program sent eof. */
const OUTBOUND_ENDED = 1
/** The peer's eof was passed on. */
const INBOUND_ENDED = 2
/** Its endpoints are gone, or were never there. */
const CLOSED = 4
/** The program wants this one as the option `allowHalfOpen` wants all. */
const HALF_OPEN = 8
/** The socket is closed in order, and what came waits to be delivered: the driver is told when it ends. */
const OUTLIVES = 16
/** The log has said, once, that a message with wildcards can't be sent. */
const TOLD_OF_NOTHING = 32

/** The publisher of what comes has the conversation as its name: so all conversations share these handlers. */
const inbound: Handlers<TcpChannel> = {
  onAbsence: (_topic, _state, _reason, peer, conversation) => (conversation as Conversation).left(peer),
}

const outbound: Handlers<TcpChannel> = {
  onAbsence: (_topic, _state, _reason, peer, name) => (name as Outbound).conversation.left(peer),
  onMessage: ({ subpacket }, _state, name) => (name as Outbound).conversation.send(subpacket),
}

/** The name of the subscriber of what is to go; the publisher of what comes is called by the conversation. */
export class Outbound extends Label {
  constructor(readonly conversation: Conversation) {
    super()
  }
}

/** How bytes become subpackets is for those that extend it to say. */
export abstract class Conversation extends Label {
  readonly socket: TransportConnection
  readonly remote: TcpEnd
  readonly local: TcpEnd
  /** Is told when its endpoints are taken away. */
  owner: ConversationOwner | undefined = undefined

  private readonly outbound = new Outbound(this)
  private bits = 0
  private readonly host: ConversationHost
  private deadline: NodeJS.Timeout | undefined = undefined
  /** The peer's eof did not come in time. */
  private timedOut: SocketError | undefined = undefined
  /** Events that wait until the program had a chance to react to the connection. */
  private early: TransportEvent[] | undefined = []

  constructor(socket: TransportConnection, remote: TcpEnd, local: TcpEnd, host: ConversationHost) {
    super()
    this.host = host
    this.socket = socket
    this.remote = remote
    this.local = local
  }

  /** The same for all conversations of the driver. */
  protected abstract readonly settings: ConversationSettings
  /** Handlers of the inbound flow. */
  protected get inbound(): Handlers<TcpChannel> {
    return inbound
  }

  /** Bytes came. */
  protected abstract receive(data: Buffer): ActionTree
  /** Bytes came in which the transport knows frames: only where it was asked to. */
  protected receiveFrames(_run: FrameRun): ActionTree {
    throw new Error('frames for a conversation that has none')
  }

  /** The peer's FIN came, after all bytes. Calls `endInbound()` when they are delivered. */
  protected abstract receiveEnd(): ActionTree
  /** The kernel took bytes. Reported only if it was asked of the connection. */
  protected abstract written(bytes: number): ActionTree
  /** Something was written. */
  protected abstract wrote(): void
  /** Writes it, unless it can't be sent: returns why. */
  protected write(subpacket: Uint8Array | string): SocketError | undefined {
    this.socket.write(subpacket)
    return undefined
  }

  /** Whether this may be sent as it is. */
  protected abstract accepts(subpacket: unknown): subpacket is Uint8Array | string

  /** What may be sent, in words. */
  protected abstract get sendable(): string

  /** Makes the connection known in the VM: a publisher of what comes, a subscriber of what is to go. */
  open(): ActionTree {
    const { remote, local } = this
    return [
      addEndpoint(this, new Role('publisher', tcpChannel(remote, local, _)), this.inbound),
      addEndpoint(this.outbound, new Role('subscriber', tcpChannel(local, remote, _)), outbound),
    ]
  }

  /** An event of the socket. */
  handle(event: TransportEvent): ActionTree {
    if (this.early !== undefined) {
      this.early.push(event)
      return undefined
    }
    if (event.kind === 'data') return this.closed ? undefined : this.received(event.data as Buffer)
    if (event.kind === 'frames') return this.closed ? undefined : this.receivedFrames(event.run as FrameRun)
    if (event.kind === 'written') return this.closed ? undefined : this.written(event.bytes)
    if (event.kind === 'end') return this.closed ? undefined : this.receiveEnd()
    if (event.kind === 'closed') return this.lost(event.error)
    return undefined
  }

  private has(bit: number): boolean {
    return (this.bits & bit) !== 0
  }

  protected get closed(): boolean {
    return this.has(CLOSED)
  }

  private received(data: Buffer): ActionTree {
    return data.length > 0 ? this.receive(data) : this.fail(lostInputError(this.socket.remote))
  }

  private receivedFrames(run: FrameRun): ActionTree {
    return run.bytes.length > 0 ? this.receiveFrames(run) : this.fail(lostInputError(this.socket.remote))
  }

  /** The program had its chance to react: from now on events go straight through. */
  release(): ActionTree {
    const { early } = this
    this.early = undefined
    return early?.map((event) => this.handle(event))
  }

  /** Passes on the peer's eof. */
  protected endInbound(): ActionTree {
    this.bits |= INBOUND_ENDED
    this.host.settleLater(this)
    return sendMessage(tcpChannel(this.remote, this.local, eof))
  }

  /** The program had its chance to react to the peer's eof. */
  settle(): ActionTree {
    if (this.closed) return undefined
    const halfOpen = this.settings.allowHalfOpen || this.has(HALF_OPEN)
    return halfOpen && !this.has(OUTBOUND_ENDED) ? undefined : this.close()
  }

  send(subpacket: unknown): ActionTree {
    if (this.closed) return undefined
    if (subpacket === eof) return this.endOutbound()
    if (!this.accepts(subpacket)) return this.sendOther(subpacket)
    if (this.has(OUTBOUND_ENDED)) return this.fail(this.error('EPIPE', 'write'))
    const wrong = this.write(subpacket)
    if (wrong !== undefined) return this.fail(wrong)
    const { overflow } = this.socket
    if (overflow !== undefined) return this.unsendable(overflow)
    this.wrote()
    return undefined
  }

  private sendOther(subpacket: unknown): ActionTree {
    if (subpacket === abort) {
      this.socket.abort()
      return this.leave(this.error('ECONNABORTED', 'write'))
    }
    if (subpacket === undefined || subpacket instanceof Wildcard) return this.sendNothing(subpacket)
    if (subpacket !== halfOpen) return this.sendUnusual(subpacket)
    this.bits |= HALF_OPEN
    return undefined
  }

  /** Something to be sent that only some conversations know. */
  protected sendUnusual(subpacket: unknown): ActionTree {
    return this.refuse(subpacket)
  }

  /**
   * A subpacket with wildcards: a session that sends back what it receives has received a message such as
   * `sendMessage(_)`, which any process can send to it. That must not end the connection.
   */
  private sendNothing(subpacket: unknown): ActionTree {
    if (this.has(TOLD_OF_NOTHING)) return undefined
    this.bits |= TOLD_OF_NOTHING
    log('warning', `${show(subpacket)} as subpacket sends nothing; ${this.sendable}`,
      { local: this.local, remote: this.remote })
    return undefined
  }

  /** What was sent can't be queued, or not be had any more. */
  private unsendable(error: SocketError): ActionTree {
    this.addAddress(error)
    log('warning', 'TCP connection closed', { local: this.local, remote: this.remote, reason: error })
    return this.leave(error)
  }

  /** A socket error of this connection. */
  private error(code: 'ECONNABORTED' | 'EPIPE' | 'ETIMEDOUT', syscall: string): SocketError {
    const { remote } = this.socket
    return socketError(-constants.errno[code], syscall, remote?.address, remote?.port)
  }

  private endOutbound(): ActionTree {
    if (this.has(OUTBOUND_ENDED)) return undefined
    this.bits |= OUTBOUND_ENDED
    this.socket.shutdown()
    if (this.has(INBOUND_ENDED)) return this.close()
    const { halfCloseTimeout } = this.settings
    if (halfCloseTimeout !== undefined) {
      this.deadline = setTimeout(() => {
        this.timedOut = this.error('ETIMEDOUT', 'read')
        this.socket.abort()
      }, halfCloseTimeout)
    }
    return undefined
  }

  /** A subpacket that means nothing: the connection closes, the reason says why. */
  protected refuse(subpacket: unknown): ActionTree {
    return this.fail(
      new TypeError(`tcp-channel to ${show(this.remote)}: a subpacket can't be ${show(subpacket)}; ${this.sendable}`),
    )
  }

  /** The peer did not do in time what it had to: the connection is reset, and that is why. */
  protected endLate(reason: SocketError): void {
    this.addAddress(reason)
    this.timedOut = reason
    this.socket.abort()
  }

  protected fail(reason: Error): ActionTree {
    log('warning', 'TCP connection closed', { local: this.local, remote: this.remote, reason })
    return this.close(reason)
  }

  /** An unexpected failure in handling this conversation: it ends, and no other does. */
  broken(reason: Error): ActionTree {
    log('error', 'TCP connection failed', { local: this.local, remote: this.remote, reason })
    if (this.closed) return undefined
    try {
      this.socket.abort()
    } catch (error) {
      log('error', 'a socket could not be closed', { remote: this.remote, reason: error })
    }
    return this.leave(reason)
  }

  /** A peer has gone: the conversation ends if it took part in it. */
  left(peer: Role): ActionTree {
    return takesPart(peer) ? this.close() : undefined
  }

  /** Ends the conversation; what was sent before is still handed to the kernel. */
  close(reason?: unknown): ActionTree {
    if (this.closed) return undefined
    this.socket.close()
    return this.leave(reason)
  }

  /** Its connection was aborted on this side. */
  aborted(reason: Error): ActionTree {
    return this.closed ? undefined : this.leave(reason)
  }

  private lost(error: SocketError | undefined): ActionTree {
    clearTimeout(this.deadline)
    if (error === undefined && this.timedOut === undefined && !this.closed && this.hasUntakenInput) {
      this.bits |= OUTLIVES
      return undefined
    }
    const gone = this.host.gone(this)
    if (error !== undefined) this.addAddress(error)
    // These two come from what the program did; a reset comes from outside.
    const ours = error?.code === 'ENOBUFS' || error?.code === 'EFAULT'
    if (!this.closed) return [ours ? this.unsendable(error) : this.leave(error ?? this.timedOut), gone]
    if (error !== undefined && !ours) {
      log('info', 'TCP connection failed after it was closed', { remote: this.remote, reason: error })
    }
    return gone
  }

  /** Node's errors of reading and writing don't say whose connection it was. */
  protected addAddress(error: SocketError): void {
    const { remote, local } = this
    if (unixAddress.is(remote)) error.address ??= remote.path
    else if (unixListener.is(local)) error.address ??= local.path
    if (!tcpAddress.is(remote)) return
    error.address ??= remote.host
    error.port ??= remote.port
  }

  private leave(reason: unknown): ActionTree {
    this.bits |= CLOSED
    const left = this.owner?.left(this.remote, this.local)
    clearTimeout(this.deadline)
    const gone = this.has(OUTLIVES) ? this.host.gone(this) : undefined
    return [deleteEndpoint(this, reason), deleteEndpoint(this.outbound, reason), left, gone]
  }

  /** Whether something came, the peer's end included, that nobody was ready to take. */
  protected get hasUntakenInput(): boolean {
    return false
  }
}

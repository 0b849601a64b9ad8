/**
 * One TCP connection as the VM sees it: two flows, and what closes them.
 *
 * Owns the state of one connection between the transport's events and the VM's: which ends are done,
 * and when the connection is to be closed. How bytes become subpackets is the `Flow`'s business:
 * `tcp-bare.ts` passes them on, `tcp.ts` counts credit.
 */
import { constants } from 'node:os'
import { socketError, show } from '../support/errors.js'
import { log } from '../support/log.js'
import { _ } from '../topic/index.js'
import { deleteEndpoint, sendMessage, type ActionTree } from '../vm/index.js'
import { endpoint } from '../dsl/index.js'
import type { SocketError, TransportConnection, TransportEvent } from '../transport/transport.js'
import { eof, tcpAddress, tcpChannel, unixAddress, unixListener, type TcpEnd } from './tcp-records.js'

/** What a flow-control scheme does with one connection. */
export interface Flow {
  /** Bytes came. */
  receive(data: Buffer): ActionTree
  /** The peer's FIN came, after all bytes. Calls `conversation.endInbound()` when they are delivered. */
  receiveEnd(): ActionTree
  /** The kernel took bytes. Reported only if the flow has asked the connection for it. */
  written(bytes: number): ActionTree
  /** Something was written. */
  wrote(): void
  /** A subscriber's feedback on the inbound flow. */
  feedback: ((subpacket: unknown) => ActionTree) | undefined
  /** If it wants to know: a participant subscribes to the inbound flow. */
  readonly joined?: (() => void) | undefined
  /** Whether this may be sent as it is. */
  accepts(subpacket: unknown): subpacket is Uint8Array | string
}

export interface ConversationOptions {
  /** Keep the outbound flow open after the peer's eof. */
  readonly allowHalfOpen: boolean
  /** Milliseconds to wait for the peer's eof after our own; undefined: for ever. */
  readonly halfCloseTimeout: number | undefined
}

/** What a conversation needs of the driver that it belongs to. */
export interface ConversationHost {
  /** `settle` is to be called when the VM is idle. */
  settleLater(conversation: Conversation): void
  /** The socket is closed; nothing more comes. */
  gone(conversation: Conversation): ActionTree
}

export class Conversation {
  readonly socket: TransportConnection
  readonly remote: TcpEnd
  readonly local: TcpEnd
  flow!: Flow
  /** Called when its endpoints are taken away. */
  onLeave: (() => void) | undefined = undefined

  /** The program sent eof. */
  private outboundEnded = false
  /** The peer's eof was passed on. */
  private inboundEnded = false
  /** Its endpoints are gone, or were never there. */
  private closed = false
  private readonly host: ConversationHost
  private readonly options: ConversationOptions
  private deadline: NodeJS.Timeout | undefined
  /** The peer's eof did not come in time. */
  private timedOut: SocketError | undefined
  /** Events that wait until the program had a chance to react to the connection. */
  private held: TransportEvent[] | undefined = []

  constructor(
    socket: TransportConnection,
    remote: TcpEnd,
    local: TcpEnd,
    host: ConversationHost,
    options: ConversationOptions,
  ) {
    this.host = host
    this.socket = socket
    this.remote = remote
    this.local = local
    this.options = options
  }

  /** Makes the connection known in the VM: a publisher of what comes, a subscriber of what is to go. */
  open(): ActionTree {
    const { feedback, joined } = this.flow
    const onAbsence = (): ActionTree => this.close()
    return [
      endpoint.publisher(tcpChannel(this.remote, this.local, _), {
        name: this,
        onPresence: joined,
        onAbsence,
        onMessage: feedback && ((body) => feedback(body.subpacket)),
      }),
      endpoint.subscriber(tcpChannel(this.local, this.remote, _), {
        name: this.socket,
        onAbsence,
        onMessage: (body) => this.send(body.subpacket),
      }),
    ]
  }

  /** An event of the socket. */
  handle(event: TransportEvent): ActionTree {
    if (this.held !== undefined) {
      this.held.push(event)
      return undefined
    }
    if (event.kind === 'data') return this.closed ? undefined : this.received(event.data as Buffer)
    if (event.kind === 'written') return this.closed ? undefined : this.flow.written(event.bytes)
    if (event.kind === 'end') return this.closed ? undefined : this.flow.receiveEnd()
    if (event.kind === 'closed') return this.lost(event.error)
    return undefined
  }

  private received(data: Buffer): ActionTree {
    if (data.length > 0) return this.flow.receive(data)
    // What other connections received in the same turn may be in the same ArrayBuffer.
    const error = this.error('EFAULT', 'read')
    error.message += ': the program detached the memory before it was delivered'
    return this.fail(error)
  }

  /** The program had its chance to react: from now on events go straight through. */
  release(): ActionTree {
    const held = this.held
    this.held = undefined
    return held?.map((event) => this.handle(event))
  }

  /** Passes on the peer's eof. */
  endInbound(): ActionTree {
    this.inboundEnded = true
    this.host.settleLater(this)
    return sendMessage(tcpChannel(this.remote, this.local, eof))
  }

  /** The program had its chance to react to the peer's eof. */
  settle(): ActionTree {
    if (this.closed) return undefined
    return this.options.allowHalfOpen && !this.outboundEnded ? undefined : this.close()
  }

  private send(subpacket: unknown): ActionTree {
    if (this.closed) return undefined
    if (subpacket === eof) return this.endOutbound()
    if (!this.flow.accepts(subpacket)) return this.refuse(subpacket)
    if (this.outboundEnded) return this.fail(this.error('EPIPE', 'write'))
    this.socket.write(subpacket)
    const { overflow } = this.socket
    if (overflow !== undefined) return this.unsendable(overflow)
    this.flow.wrote()
    return undefined
  }

  /** What was sent can't be queued, or not be had any more. */
  private unsendable(error: SocketError): ActionTree {
    this.addAddress(error)
    log('warning', 'TCP connection closed', { local: this.local, remote: this.remote, reason: error })
    return this.leave(error)
  }

  /** A socket error of this connection. */
  private error(code: 'EFAULT' | 'EPIPE' | 'ETIMEDOUT', syscall: string): SocketError {
    const { remote } = this.socket
    return socketError(-constants.errno[code], syscall, remote?.address, remote?.port)
  }

  private endOutbound(): ActionTree {
    if (this.outboundEnded) return undefined
    this.outboundEnded = true
    this.socket.shutdown()
    if (this.inboundEnded) return this.close()
    const { halfCloseTimeout } = this.options
    if (halfCloseTimeout !== undefined) {
      this.deadline = setTimeout(() => {
        this.timedOut = this.error('ETIMEDOUT', 'read')
        this.socket.abort()
      }, halfCloseTimeout)
    }
    return undefined
  }

  /** A subpacket that means nothing: the connection closes, the reason says why. */
  refuse(subpacket: unknown): ActionTree {
    return this.fail(
      new TypeError(`tcp-channel to ${show(this.remote)}: a subpacket can't be ${show(subpacket)}`),
    )
  }

  private fail(reason: Error): ActionTree {
    log('warning', 'TCP connection closed', { local: this.local, remote: this.remote, reason })
    return this.close(reason)
  }

  /** Ends the conversation; what was sent before is still handed to the kernel. */
  close(reason?: unknown): ActionTree {
    if (this.closed) return undefined
    this.socket.close()
    return this.leave(reason)
  }

  private lost(error: SocketError | undefined): ActionTree {
    clearTimeout(this.deadline)
    const gone = this.host.gone(this)
    if (error !== undefined) this.addAddress(error)
    // The program's doing, unlike a reset.
    const ours = error?.code === 'ENOBUFS' || error?.code === 'EFAULT'
    if (!this.closed) return [ours ? this.unsendable(error) : this.leave(error ?? this.timedOut), gone]
    if (error !== undefined && !ours) {
      log('info', 'TCP connection failed after it was closed', { remote: this.remote, reason: error })
    }
    return gone
  }

  /** Node's errors of reading and writing don't say whose connection it was. */
  private addAddress(error: SocketError): void {
    const { remote, local } = this
    if (unixAddress.is(remote)) error.address ??= remote.path
    else if (unixListener.is(local)) error.address ??= local.path
    if (!tcpAddress.is(remote)) return
    error.address ??= remote.host
    error.port ??= remote.port
  }

  private leave(reason: unknown): ActionTree {
    this.closed = true
    this.onLeave?.()
    clearTimeout(this.deadline)
    return [deleteEndpoint(this, reason), deleteEndpoint(this.socket, reason)]
  }
}

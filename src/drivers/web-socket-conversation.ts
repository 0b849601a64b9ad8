/**
 * One WebSocket as the VM sees it: two flows of messages, and what closes them.
 *
 * Owns the state of one connection between the carrier's events and the VM's. What came and can't be delivered yet, for
 * want of credit or because its own output is too long, waits in its inbox, which is bounded; the carrier is told to
 * make the peer wait, where it can.
 *
 * Invariants: messages are delivered in their order, each once; nothing is delivered after its end was told; what it
 * has counted as queued is in the sum of all until it is closed.
 */
import { constants } from 'node:os'
import { wrong } from '../support/checks.js'
import { isError, show, socketError } from '../support/errors.js'
import { log } from '../support/log.js'
import { _, isGround, Wildcard } from '../topic/index.js'
import {
  addEndpoint, deleteEndpoint, Role, sendFeedback, sendMessage, type ActionTree, type Handlers,
} from '../vm/index.js'
import { Label } from '../vm/label.js'
import { PeerRole } from '../vm/role.js'
import { abort } from './tcp-records.js'
import { sizeOf, type CarrierEvent, type CarrierSocket, type Ending, type Received } from './web-socket-carrier.js'
import {
  closeCode, closeReason, wsChannel, wsClose, wsClosed, wsCredit, type WsChannel, type WsClose, type WsEnd,
} from './web-socket-records.js'

/** What is the same for all conversations of a driver. */
export interface WsConversationSettings {
  readonly credit: boolean
  readonly maxInboxBytes: number
  readonly highWaterMark: number
  readonly maxQueuedBytes: number
  /** Whether too much output makes the peer wait, instead of ending the connection. */
  readonly pauses: boolean
}

/** What a conversation needs of the driver that it belongs to. */
export interface WsConversationHost {
  readonly settings: WsConversationSettings
  /** There is too much output of all together, and nothing is to be delivered. */
  readonly floods: boolean
  /** So many more bytes are queued, or fewer. */
  queued(change: number): ActionTree
  /** Its endpoints are taken away. */
  left(conversation: WsConversation): ActionTree
  /** The socket is closed; nothing more comes. */
  gone(conversation: WsConversation): ActionTree
}

const inbound: Handlers<WsChannel> = {
  onAbsence: (_topic, _state, reason, peer, conversation) => (conversation as WsConversation).peerLeft(peer, reason),
}

const creditInbound: Handlers<WsChannel> = {
  ...inbound,
  onMessage: (body, _state, conversation) => (conversation as WsConversation).feedback(body.message),
}

const outbound: Handlers<WsChannel> = {
  onAbsence: (_topic, _state, reason, peer, name) => conversationOf(name).peerLeft(peer, reason),
  onMessage: ({ message }, _state, name) => conversationOf(name).send(message),
}

/** The subscriber of what is to go has the socket as its name; the publisher of what comes has the conversation. */
function conversationOf(name: unknown): WsConversation {
  return (name as CarrierSocket).context as WsConversation
}

/** Whether a peer takes part in a conversation, or only observes it: it takes part if it names its own end. */
function takesPart(peer: Role): boolean {
  const topic = PeerRole.wholeTopic(peer)
  return wsChannel.is(topic) && isGround(peer.orientation === 'publisher' ? topic.source : topic.destination)
}

/** So many messages that were taken are let go of together. */
const TAKEN_MIN = 256

/* What has happened to a conversation, as bits of one number: there are many conversations. */
/** The program had no chance yet to react to the connection. */
const FRESH = 1
/** Its endpoints are gone. */
const CLOSED = 2
/** Its own output is too long for anything to be delivered. */
const HIGH = 4
/** The peer waits. */
const PAUSED = 8
/** The log has said, once, that a message with wildcards can't be sent. */
const TOLD_OF_NOTHING = 16

/** What only conversations with credit have. */
class Credit {
  /** So many messages may be delivered. */
  messages = 0
  /** Sizes of messages that were sent and not told of as taken, from `taken` on, and their sum. */
  sizes: number[] | undefined = undefined
  taken = 0
  untold = 0

  sent(size: number): void {
    (this.sizes ??= []).push(size)
    this.untold += size
  }

  /** The oldest messages, but for those that what is queued may be of. @returns how many they are */
  take(queued: number): number {
    const { sizes } = this
    if (sizes === undefined) return 0
    let amount = 0
    while (this.taken < sizes.length && this.untold - sizes[this.taken] >= queued) {
      this.untold -= sizes[this.taken++]
      amount++
    }
    if (this.taken === sizes.length) {
      this.sizes = undefined
      this.taken = 0
    } else if (this.taken >= TAKEN_MIN && this.taken * 2 > sizes.length) {
      this.sizes = sizes.slice(this.taken)
      this.taken = 0
    }
    return amount
  }
}

export class WsConversation extends Label {
  private bits = FRESH
  /** Events that wait until the program had its chance. */
  private early: CarrierEvent[] | undefined = undefined
  private inbox: Received[] | undefined = undefined
  private inboxBytes = 0
  /** What is counted of it in the sum of all. */
  private counted = 0
  private readonly credit: Credit | undefined

  constructor(
    readonly socket: CarrierSocket, readonly remote: WsEnd, readonly local: WsEnd,
    private readonly host: WsConversationHost,
  ) {
    super()
    this.credit = host.settings.credit ? new Credit() : undefined
  }

  private has(bits: number): boolean {
    return (this.bits & bits) !== 0
  }

  /** Makes the connection known in the VM. */
  open(): ActionTree {
    const { remote, local } = this
    const handlers = this.host.settings.credit ? creditInbound : inbound
    return [
      addEndpoint(this, new Role('publisher', wsChannel(remote, local, _)), handlers),
      addEndpoint(this.socket, new Role('subscriber', wsChannel(local, remote, _)), outbound),
    ]
  }

  /** The program had its chance to react: from now on events go straight through. */
  release(): ActionTree {
    const { early } = this
    this.early = undefined
    this.bits &= ~FRESH
    return early?.map((event) => this.handle(event))
  }

  handle(event: CarrierEvent): ActionTree {
    if (this.has(FRESH)) {
      (this.early ??= []).push(event)
      return undefined
    }
    if (event.kind === 'message') return this.received(event.data)
    if (event.kind === 'written') return this.written()
    if (event.kind === 'closed') return this.lost(event.ending)
    return undefined
  }

  // What comes

  private get isHeld(): boolean {
    return this.has(HIGH) || this.host.floods || (this.credit !== undefined && this.credit.messages <= 0)
  }

  private received(data: Received): ActionTree {
    if (this.has(CLOSED)) return undefined
    if (this.inbox === undefined && !this.isHeld) return this.deliver(data)
    const { maxInboxBytes } = this.host.settings
    const size = sizeOf(data)
    this.inboxBytes += size
    if (this.inboxBytes > maxInboxBytes) return this.tooMuch(size, maxInboxBytes)
    ;(this.inbox ??= []).push(data)
    this.balance()
    return undefined
  }

  private deliver(data: Received): ActionTree {
    if (this.credit !== undefined) this.credit.messages--
    return sendMessage(wsChannel(this.remote, this.local, data))
  }

  private tooMuch(size: number, most: number): ActionTree {
    const error = this.error('ENOBUFS', 'read')
    error.message += `: ${this.inboxBytes} bytes of messages wait to be taken; maxInboxBytes is ${most}`
    return size > most
      ? this.fail(1009, 'too long', error) : this.fail(1013, 'more than is taken', error)
  }

  /** Delivers what waits, as far as it may. */
  proceed(): ActionTree {
    const { inbox } = this
    if (this.has(CLOSED)) return undefined
    const out: ActionTree[] = []
    if (inbox !== undefined) {
      let next = 0
      while (next < inbox.length && !this.isHeld) {
        this.inboxBytes -= sizeOf(inbox[next])
        out.push(this.deliver(inbox[next++]))
      }
      if (next > 0) this.inbox = next === inbox.length ? undefined : inbox.slice(next)
    }
    this.balance()
    return out
  }

  /** The peer waits while something waits here. */
  balance(): void {
    const pause = this.inbox !== undefined || this.has(HIGH) || this.host.floods
    if (pause === this.has(PAUSED)) return
    this.bits ^= PAUSED
    if (pause) this.socket.pause()
    else this.socket.resume()
  }

  /** A subscriber's feedback. */
  feedback(message: unknown): ActionTree {
    if (this.has(CLOSED)) return undefined
    const amount: unknown = wsCredit.is(message) ? message.amount : undefined
    if (!Number.isSafeInteger(amount) || (amount as number) < 0) return this.refuse(message)
    if (this.credit !== undefined) this.credit.messages += amount as number
    return this.proceed()
  }

  // What goes

  send(message: unknown): ActionTree {
    if (this.has(CLOSED)) return undefined
    if (typeof message !== 'string' && !(message instanceof Uint8Array)) return this.sendOther(message)
    this.socket.send(message)
    this.credit?.sent(message.length)
    return undefined
  }

  private sendOther(message: unknown): ActionTree {
    if (wsClose.is(message)) return this.closeAsAsked(message)
    if (message === abort) {
      const error = this.error('ECONNABORTED', 'write')
      this.socket.abort(error)
      return this.leave({ code: 1006, reason: '', error })
    }
    if (message !== undefined && !(message instanceof Wildcard)) return this.refuse(message)
    // A session that sends back what it receives has received a message such as `sendMessage(_)`.
    if (this.has(TOLD_OF_NOTHING)) return undefined
    this.bits |= TOLD_OF_NOTHING
    log('warning', `${show(message)} as message sends nothing; ${SENDABLE}`, { local: this.local, remote: this.remote })
    return undefined
  }

  private closeAsAsked(wish: WsClose): ActionTree {
    if (!isGround(wish)) return this.refuse(wish)
    const why = wrong(closeCode, 'wsClose', 'code', wish.code) ?? wrong(closeReason, 'wsClose', 'reason', wish.reason)
    if (why !== undefined) return this.fail(1011, '', why)
    return this.close({ code: wish.code, reason: wish.reason, error: undefined })
  }

  /** Some of what was sent has gone, or it has not. */
  private written(): ActionTree {
    const { socket, host } = this
    const { maxQueuedBytes, highWaterMark, pauses } = host.settings
    const queued = socket.queuedBytes
    const before = this.counted
    this.counted = queued
    const flooded = queued === before ? undefined : host.queued(queued - before)
    if (this.has(CLOSED)) return flooded
    if (queued > maxQueuedBytes && !pauses) return [flooded, this.overflow(`maxQueuedBytes is ${maxQueuedBytes}`)]
    const high = Math.min(highWaterMark, maxQueuedBytes)
    const taken = this.tellTaken(queued)
    if (this.has(HIGH) ? queued > high / 2 : queued <= high) return [flooded, taken]
    this.bits ^= HIGH
    return [flooded, taken, this.proceed()]
  }

  private tellTaken(queued: number): ActionTree {
    const amount = this.credit?.take(queued) ?? 0
    return amount > 0 && sendFeedback(wsChannel(this.local, this.remote, wsCredit(amount)))
  }

  /** More waits to be sent than may. */
  overflow(limit: string): ActionTree {
    if (this.has(CLOSED)) return undefined
    const error = this.error('ENOBUFS', 'write')
    error.message += `: ${this.counted} bytes wait to be sent; ${limit}`
    log('warning', 'WebSocket closed', { local: this.local, remote: this.remote, reason: error })
    this.socket.abort(error)
    return this.leave({ code: 1008, reason: '', error })
  }

  // What ends

  private error(code: 'ECONNABORTED' | 'ENOBUFS', syscall: string): Error {
    return socketError(-constants.errno[code], syscall, this.socket.countedFor)
  }

  /** A message that means nothing: the connection closes, the reason says why. */
  private refuse(message: unknown): ActionTree {
    return this.fail(1011, '', new TypeError(
      `ws-channel to ${show(this.remote)}: a message can't be ${show(message)}; ${SENDABLE}`,
    ))
  }

  private fail(code: number, reason: string, error: Error): ActionTree {
    log('warning', 'WebSocket closed', { local: this.local, remote: this.remote, reason: error })
    return this.close({ code, reason, error })
  }

  /** An unexpected failure in handling this conversation: it ends, and no other does. */
  broken(error: Error): ActionTree {
    log('error', 'WebSocket failed', { local: this.local, remote: this.remote, reason: error })
    if (this.has(CLOSED)) return undefined
    this.socket.abort(error)
    return this.leave({ code: 1011, reason: '', error })
  }

  /**
   * A peer has gone: the conversation ends if it took part in it. What has failed tells the other side no more than
   * that.
   */
  peerLeft(peer: Role, reason: unknown): ActionTree {
    if (!takesPart(peer)) return undefined
    return this.close({ code: isError(reason) ? 1011 : 1000, reason: '', error: undefined })
  }

  /** Ends the conversation in order; what was sent before goes first. */
  close(ending: Ending): ActionTree {
    if (this.has(CLOSED)) return undefined
    this.socket.close(ending.code, ending.reason)
    return this.leave(ending)
  }

  /** Its connection was aborted on this side. */
  aborted(error: Error): ActionTree {
    this.socket.abort(error)
    return this.has(CLOSED) ? undefined : this.leave({ code: 1006, reason: '', error })
  }

  private lost(ending: Ending): ActionTree {
    const gone = this.host.gone(this)
    const { counted } = this
    this.counted = 0
    const sum = counted > 0 ? this.host.queued(-counted) : undefined
    if (this.has(CLOSED)) return [gone, sum]
    // What came before the end, and waits, is told before it.
    const { inbox } = this
    const rest = inbox === undefined || this.credit !== undefined ? undefined : inbox.map((data) => this.deliver(data))
    return [rest, this.leave(ending), gone, sum]
  }

  private leave({ code, reason, error }: Ending): ActionTree {
    this.bits |= CLOSED
    this.inbox = undefined
    this.inboxBytes = 0
    const told = wsClosed(code, reason, error)
    return [deleteEndpoint(this, told), deleteEndpoint(this.socket, told), this.host.left(this)]
  }
}

const SENDABLE = 'it is a string, bytes, wsClose(code, reason) or abort'

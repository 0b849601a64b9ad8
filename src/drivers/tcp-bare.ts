/** The driver `tcp-bare`: bytes as they come, without flow control. */
import { integer } from '../support/checks.js'
import { sendMessage, type Action, type ActionTree, type Handlers } from '../vm/index.js'
import { Conversation, type ConversationSettings } from './tcp-conversation.js'
import { tcpDriver, type MakeConversation } from './tcp-driver.js'
import { takesPart } from './tcp-demand.js'
import type { TcpOptions } from './tcp-options.js'
import { tcpChannel, type TcpChannel } from './tcp-records.js'

/** Options of `tcpBare`. */
export interface BareTcpOptions extends TcpOptions {
  /**
   * While more bytes than this wait to be sent on a connection, nothing is read from it, so that
   * request and response protocols have backpressure. Default 1,048,576.
   */
  readonly highWaterMark?: number | undefined
}

/**
 * Starts the driver: an action for the process that wants it in its VM.
 *
 * A subscriber to `tcpChannel(_, tcpListener(port), _)` listens; endpoints on
 * `tcpChannel(tcpHandle(id), tcpAddress(host, port), _)`, or the other way, connect.
 *
 * @throws TypeError when an option is unknown or of the wrong type
 */
export function tcpBare(options: BareTcpOptions = {}): Action {
  return tcpDriver('tcpBare', options, own, (common) => bareConversations(common, options))
}

/** Makes conversations without flow control. */
export function bareConversations(
  common: ConversationSettings, { highWaterMark = HIGH_WATER_MARK }: Pick<BareTcpOptions, 'highWaterMark'>,
): MakeConversation {
  const settings = { ...common, highWaterMark }
  return (...ends) => new BareConversation(settings, ...ends)
}

/** Default of `highWaterMark`. */
const HIGH_WATER_MARK = 1024 * 1024

const own = { highWaterMark: integer(0, Number.MAX_SAFE_INTEGER, 'bytes') }

interface BareSettings extends ConversationSettings {
  readonly highWaterMark: number
}

/** Handlers of a connection from which nothing is read before somebody takes part. */
const waitingInbound: Handlers<TcpChannel> = {
  onPresence: (_topic, _state, peer, conversation) =>
    takesPart(peer) ? (conversation as BareConversation).start() : undefined,
  onAbsence: (_topic, _state, _reason, peer, conversation) => (conversation as BareConversation).left(peer),
}

class BareConversation extends Conversation {
  protected readonly settings: BareSettings
  private paused = false
  /** Nobody takes part in the connection yet, and until then nothing is read. */
  private waiting: boolean
  /** What came all the same, behind a balancer's header. */
  private held: Buffer[] | undefined = undefined
  private endHeld = false

  constructor(settings: BareSettings, ...ends: ConstructorParameters<typeof Conversation>) {
    super(...ends)
    this.settings = settings
    this.waiting = settings.pauseOnAccept && this.socket.listener !== undefined
    if (this.waiting && settings.timesInput) this.socket.expectInput(false)
  }

  protected override get inbound(): Handlers<TcpChannel> {
    return this.waiting ? waitingInbound : super.inbound
  }

  start(): ActionTree {
    if (!this.waiting) return undefined
    this.waiting = false
    if (this.settings.timesInput) this.socket.expectInput(true)
    if (!this.paused) this.socket.resume()
    const { held } = this
    this.held = undefined
    const received = held?.map((data) => this.receive(data))
    return this.endHeld ? [received, this.endInbound()] : received
  }

  protected override receive(data: Buffer): ActionTree {
    if (this.waiting) {
      ;(this.held ??= []).push(this.settings.buffers === 'borrowed' ? Buffer.from(data) : data)
      return undefined
    }
    return sendMessage(tcpChannel(this.remote, this.local, data))
  }

  protected override receiveEnd(): ActionTree {
    if (!this.waiting) return this.endInbound()
    this.endHeld = true
    return undefined
  }

  /** Stops reading from a peer that does not take what it is sent. */
  protected override wrote(): void {
    const { socket } = this
    if (this.paused || socket.queuedBytes <= this.settings.highWaterMark) return
    this.paused = true
    socket.reportWrites = true
    socket.pause()
  }

  protected override written(): undefined {
    const { socket } = this
    if (!this.paused || socket.queuedBytes > this.settings.highWaterMark / 2) return
    this.paused = false
    socket.reportWrites = false
    if (!this.waiting) socket.resume()
  }

  protected override accepts(subpacket: unknown): subpacket is Uint8Array | string {
    return subpacket instanceof Uint8Array || typeof subpacket === 'string'
  }

  protected override get sendable(): string {
    return 'with tcpBare() it is bytes, a string, eof or abort'
  }
}

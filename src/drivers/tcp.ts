/**
 * The driver `tcp`: flow-controlled.
 *
 * Nothing is delivered before a subscriber grants credit: bytes in mode `bytes`, lines in mode `lines`.
 * Without credit one read is taken in and waits; then the socket is paused, so that the kernel's window
 * closes and the sender blocks. For what is written, credit comes back as the kernel takes it.
 */
import { integer } from '../support/checks.js'
import { log } from '../support/log.js'
import { sendFeedback, sendMessage, type Action, type ActionTree, type Handlers } from '../vm/index.js'
import { Conversation, type ConversationSettings } from './tcp-conversation.js'
import { tcpDriver, type MakeConversation } from './tcp-driver.js'
import { TcpInput } from './tcp-input.js'
import type { TcpOptions } from './tcp-options.js'
import { tcpChannel, tcpCredit, tcpMode, type TcpChannel } from './tcp-records.js'

/** Longest line in mode `lines`, in bytes, when the option isn't given. */
const LINE_MAX = 1024 * 1024

/** Options of `tcp`. */
export interface FlowControlledTcpOptions extends TcpOptions {
  /** Longest line in mode `lines`, in bytes; a longer one ends the connection. Default 1,048,576. */
  readonly maxLineLength?: number | undefined
}

/**
 * Starts the driver: as `tcpBare`, and in addition takes `sendFeedback(tcpChannel(them, us, x))` where
 * x is `tcpCredit(n)` or `tcpMode('lines' | 'bytes')`, and sends feedback `tcpCredit(n)` for n bytes
 * written. Only bytes and `eof` may be sent.
 *
 * @throws TypeError when an option is unknown or of the wrong type
 */
export function tcp(options: FlowControlledTcpOptions = {}): Action {
  return tcpDriver('tcp', options, own, (common) => creditConversations(common, options))
}

/** Makes conversations whose flow is controlled by credit. */
export function creditConversations(
  common: ConversationSettings,
  { maxLineLength = LINE_MAX }: Pick<FlowControlledTcpOptions, 'maxLineLength'>,
): MakeConversation {
  const settings = { ...common, maxLineLength, watch: new CreditWatch() }
  return (...ends) => new CreditConversation(settings, ...ends)
}

const own = { maxLineLength: integer(0, Number.MAX_SAFE_INTEGER, 'bytes') }

interface CreditSettings extends ConversationSettings {
  readonly maxLineLength: number
  readonly watch: CreditWatch
}

/** Milliseconds that received bytes may wait for the very first credit before a warning says so. */
const PATIENCE = 1000

/**
 * Warns of a program that never gives credit, and so never receives anything: mostly it should use `tcpBare`. Once
 * a driver was given some, the program knows of credit, and a session that gives none does so on purpose.
 */
class CreditWatch {
  credited = false
  private looking = false

  waits({ local, remote }: CreditConversation, isOver: () => boolean): void {
    if (this.looking) return
    this.looking = true
    setTimeout(() => {
      this.looking = false
      if (this.credited || isOver()) return
      this.credited = true // said once
      log('warning', 'data has waited for a second for credit, and no session of tcp() has given any yet: '
        + 'send sendFeedback(tcpChannel(them, us, tcpCredit(n))), or start tcpBare(), which needs none',
      { local, remote })
    }, PATIENCE).unref()
  }
}

const creditInbound: Handlers<TcpChannel> = {
  onAbsence: (_topic, _state, _reason, peer, conversation) => (conversation as CreditConversation).left(peer),
  onMessage: (body, _state, conversation) => (conversation as CreditConversation).feedback(body.subpacket),
}

class CreditConversation extends Conversation {
  protected readonly settings: CreditSettings
  private mode: 'lines' | 'bytes' = 'bytes'
  private credit = 0
  private readonly input: TcpInput
  private ended = false
  private endTold = false
  private paused: boolean
  /** Nothing is to be read before the first credit. */
  private untouched: boolean
  /** What the transport knows of it, if input is timed. */
  private expecting = false

  constructor(settings: CreditSettings, ...ends: ConstructorParameters<typeof Conversation>) {
    super(...ends)
    this.settings = settings
    this.input = new TcpInput(settings.maxLineLength, settings.buffers === 'isolated')
    this.untouched = settings.pauseOnAccept && this.socket.listener !== undefined
    this.paused = this.untouched
    if (settings.timesInput) this.socket.expectInput(false)
    this.socket.reportWrites = true
  }

  protected override get inbound(): Handlers<TcpChannel> {
    return creditInbound
  }

  /** A subscriber's feedback. */
  feedback(subpacket: unknown): ActionTree {
    // It may be meant for the next connection of this handle: nothing of this one is delivered for it.
    if (this.closed) return undefined
    if (tcpCredit.is(subpacket)) {
      const { amount } = subpacket
      if (!Number.isSafeInteger(amount) || amount < 0) return this.refuse(subpacket)
      this.credit += amount
      this.settings.watch.credited = true
      if (amount > 0) this.untouched = false
    } else if (tcpMode.is(subpacket)) {
      const { mode } = subpacket
      if ((mode as unknown) !== 'lines' && (mode as unknown) !== 'bytes')
        return this.refuse(subpacket)
      this.mode = mode
      this.credit = 0
      if (mode === 'bytes') this.input.forgetLines()
    } else {
      return this.refuse(subpacket)
    }
    return this.deliver()
  }

  protected override receive(data: Buffer): ActionTree {
    const { input, settings } = this
    // The short way of what nearly always comes: somebody waits for just that.
    if (
      this.mode === 'bytes' && this.credit > data.length && input.passes && !this.paused
      && settings.buffers !== 'isolated'
    ) {
      this.credit -= data.length
      return sendMessage(tcpChannel(this.remote, this.local, data))
    }
    this.input.add(data)
    const actions = this.deliver()
    if (this.input.waiting > 0) {
      if (this.settings.buffers === 'borrowed') this.input.keep()
      if (!this.settings.watch.credited) this.settings.watch.waits(this, () => this.closed)
    }
    return actions
  }

  protected override receiveEnd(): ActionTree {
    this.ended = true
    return this.deliver()
  }

  protected override get hasUntakenInput(): boolean {
    return this.ended && !this.endTold
  }

  protected override written(bytes: number): ActionTree {
    const { local, remote } = this
    return sendFeedback(tcpChannel(local, remote, tcpCredit(bytes)))
  }

  protected override wrote(): void {
    // Who reads decides by credit; who writes is told by credit.
  }

  protected override accepts(subpacket: unknown): subpacket is Uint8Array {
    return subpacket instanceof Uint8Array
  }

  protected override get sendable(): string {
    return 'with tcp() it is bytes (Buffer.from(text)), eof or abort; feedback is a credit or a mode'
  }

  private deliver(): ActionTree {
    const { input } = this
    const out: ActionTree[] = []
    try {
      while (this.credit > 0) {
        const piece = this.take()
        if (piece === undefined) break
        this.credit -= this.mode === 'bytes' ? piece.length : 1
        out.push(sendMessage(tcpChannel(this.remote, this.local, piece)))
      }
    } catch (error) {
      // A line that is too long, or for which there is no memory: this connection's fault alone.
      return [out, this.close(error)]
    }
    if (this.ended && input.waiting === 0 && !this.endTold) {
      this.endTold = true
      out.push(this.endInbound())
    }
    this.balance()
    return out
  }

  private take(): Buffer | undefined {
    if (this.mode === 'bytes') return this.input.takeBytes(this.credit)
    return this.input.takeLine() ?? (this.ended ? this.input.takeLast() : undefined)
  }

  /**
   * Reads while everything that came could be delivered. So one read may be waiting for credit, and
   * the peer's end is noticed without credit if nothing comes before it; but with `pauseOnAccept`
   * nothing is read, nor noticed, before the first credit.
   */
  private balance(): void {
    const expecting = this.credit > 0
    if (this.settings.timesInput && expecting !== this.expecting) {
      this.expecting = expecting
      this.socket.expectInput(expecting)
    }
    const pause = this.credit <= 0 && (this.input.waiting > 0 || this.untouched)
    if (pause === this.paused || this.ended) return
    this.paused = pause
    if (pause) this.socket.pause()
    else this.socket.resume()
  }
}

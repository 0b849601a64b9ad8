/**
 * The driver `tcp`: flow-controlled.
 *
 * Nothing is delivered before a subscriber grants credit: bytes in mode `bytes`, lines in mode `lines`.
 * Without credit one read is taken in and waits; then the socket is paused, so that the kernel's window
 * closes and the sender blocks. For what is written, credit comes back as the kernel takes it.
 */
import { atOnce } from '../support/answers.js'
import { integer } from '../support/checks.js'
import { asError, lateError } from '../support/errors.js'
import { log } from '../support/log.js'
import { sendFeedback, sendMessage, type Action, type ActionTree, type Handlers } from '../vm/index.js'
import {
  checkMode, FRAME_LENGTH, FRAME_MAX, frameRule, type FlowMode, type FrameLimits, type FrameRule,
} from '../transport/seam/framing.js'
import type { FrameRun, SocketError } from '../transport/seam/transport.js'
import { Conversation, type ConversationSettings } from './tcp-conversation.js'
import { tcpDriver, type MakeConversation } from './tcp-driver.js'
import { TcpInput } from './tcp-input.js'
import type { LocalEnd, TcpOptions } from './tcp-options.js'
import { SentFrames } from './tcp-sent.js'
import { tcpChannel, tcpCredit, tcpMode, type TcpChannel } from './tcp-records.js'

/** Options of `tcp`. */
export interface FlowControlledTcpOptions extends TcpOptions {
  /**
   * What conversations begin with, in both directions, or a function that says it for each listener and each
   * handle: how bytes that come are cut into messages, and what is put around those that go. Default `'bytes'`. See
   * docs/tcp-frames.md.
   */
  readonly mode?: FlowMode | ((local: LocalEnd) => FlowMode) | undefined
  /** Longest line in mode `lines`, in bytes; a longer one ends the connection. Default: `maxFrameLength`. */
  readonly maxLineLength?: number | undefined
  /**
   * Most bytes of a frame that comes, without header or delimiter, in modes that have no limit of their own; a longer
   * one ends the connection. Default 1,048,576.
   */
  readonly maxFrameLength?: number | undefined
}

/**
 * Starts the driver: as `tcpBare`, and in addition takes `sendFeedback(tcpChannel(them, us, x))` where
 * x is `tcpCredit(n)` or `tcpMode(mode)`, and sends feedback `tcpCredit(n)` for n bytes
 * written. Only bytes and `eof` may be sent.
 *
 * @throws TypeError when an option is unknown or of the wrong type
 */
export function tcp(options: FlowControlledTcpOptions = {}): Action {
  return tcpDriver('tcp', options, creditChecks, (common) => creditConversations(common, options))
}

/** Of `CreditOptions`. */
export const creditChecks = {
  mode: (call: string, name: string, value: unknown) => {
    if (typeof value !== 'function') checkMode(call, name, value)
  },
  maxLineLength: integer(0, Number.MAX_SAFE_INTEGER, 'bytes'),
  maxFrameLength: integer(0, FRAME_MAX, 'bytes'),
}

/** The options that only conversations with credit have. */
export type CreditOptions = Pick<FlowControlledTcpOptions, 'mode' | 'maxLineLength' | 'maxFrameLength'>

/** Makes conversations whose flow is controlled by credit. */
export function creditConversations(common: ConversationSettings, options: CreditOptions): MakeConversation {
  const { mode = 'bytes', maxFrameLength = FRAME_LENGTH, maxLineLength = maxFrameLength } = options
  const limits = { maxLineLength, maxFrameLength }
  const ruleOf = (wanted: unknown): FrameRule | undefined => frameRule('tcp', 'options.mode', wanted, limits)
  const rule = typeof mode === 'function' ? undefined : ruleOf(mode)
  const first = typeof mode === 'function'
    ? (local: LocalEnd) => ruleOf(atOnce('tcp', 'options.mode()', mode(local)))
    : () => rule
  const settings = { ...common, limits, first, watch: new CreditWatch() }
  return (...ends) => new CreditConversation(settings, ...ends)
}

interface CreditSettings extends ConversationSettings {
  readonly limits: FrameLimits
  /** What a conversation begins with. @throws whatever the program's function throws */
  readonly first: (local: LocalEnd) => FrameRule | undefined
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
  /** How what comes is cut, and what is put around what goes; undefined: it is bytes. */
  private rule: FrameRule | undefined = undefined
  private sendRule: FrameRule | undefined = undefined
  /** Of frames that were sent, for as long as there are any that the kernel has not taken. */
  private sent: SentFrames | undefined = undefined
  /** Bytes that were written and not told of as taken. */
  private untold = 0
  private credit = 0
  private readonly input: TcpInput
  private ended = false
  private endTold = false
  private paused: boolean
  /** Nothing is to be read before the first credit. */
  private untouched: boolean
  /** What the transport knows of it, if input is timed. */
  private expecting = false
  /** Bytes that came, in 32 bits, and how often the transport was asked to find frames in them. */
  private position = 0
  private generation = 0
  /** Whether it may be doing that, for all that is known here. */
  private asked = false
  /** Milliseconds for a frame that has begun; 0 for any number. The transport counts them where it finds frames. */
  private readonly frameTimeout: number
  private frameTimer: NodeJS.Timeout | undefined = undefined
  /** Why it can't begin. */
  private readonly wrong: Error | undefined = undefined

  constructor(settings: CreditSettings, ...ends: ConstructorParameters<typeof Conversation>) {
    super(...ends)
    this.settings = settings
    this.input = new TcpInput(settings.buffers === 'isolated')
    this.frameTimeout = this.socket.listener?.limits.frameTimeout ?? 0
    this.untouched = settings.pauseOnAccept && this.socket.listener !== undefined
    this.paused = this.untouched
    if (settings.timesInput) this.socket.expectInput(false)
    this.socket.reportWrites = true
    try {
      this.setRule(settings.first(this.local as LocalEnd))
      this.sendRule = this.rule
    } catch (error) {
      this.wrong = asError(error, 'the mode of a conversation')
    }
  }

  override open(): ActionTree {
    return this.wrong === undefined ? super.open() : [super.open(), this.fail(this.wrong)]
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
      const rule = this.ruleOf(subpacket.mode)
      if (rule instanceof Error) return this.fail(rule)
      this.credit = 0
      this.setRule(rule)
      this.sendRule = rule
    } else {
      return this.refuse(subpacket)
    }
    return this.deliver()
  }

  /** What is sent from now on is framed in another way. */
  protected override sendUnusual(subpacket: unknown): ActionTree {
    if (!tcpMode.is(subpacket)) return this.refuse(subpacket)
    const rule = this.ruleOf(subpacket.mode)
    if (rule instanceof Error) return this.fail(rule)
    this.sendRule = rule
    return undefined
  }

  private ruleOf(mode: unknown): FrameRule | undefined | Error {
    try {
      return frameRule('tcpMode', 'mode', mode, this.settings.limits)
    } catch (error) {
      return asError(error, 'a mode')
    }
  }

  private setRule(rule: FrameRule | undefined): void {
    if (rule === undefined && this.rule === undefined) return
    this.rule = rule
    this.input.cutBy(rule)
    const before = this.asked
    this.asked = false
    this.askForFrames()
    // Otherwise it would go on in the old way, and keep what is no begin of a frame any more.
    if (before && !this.asked) this.socket.frame?.(undefined)
  }

  /**
   * Lets the transport find frames, if nothing is here in which they are to be found first. It does so if nothing
   * is on the way either; otherwise that comes as bytes, and it is asked again.
   */
  private askForFrames(): void {
    const { socket, input } = this
    // Lent memory is over at the end of a turn, and the engine would keep the begin of a frame in it.
    if (this.settings.buffers === 'borrowed') return
    if (this.asked || this.rule === undefined || socket.frame === undefined) return
    const scanner = input.movable
    if (scanner === undefined) return
    this.asked = true
    this.generation = (this.generation + 1) & 0x7fffffff
    socket.frame({
      generation: this.generation, position: this.position, scanner, skipsLF: input.skipsLF,
    })
  }

  protected override receive(data: Buffer): ActionTree {
    const { input, settings } = this
    const { length } = data
    this.asked = false
    // The short way of what nearly always comes: somebody waits for just that.
    if (
      this.rule === undefined && this.credit > length && input.passes && !this.paused
      && settings.buffers !== 'isolated'
    ) {
      this.position = (this.position + length) | 0
      this.credit -= length
      return sendMessage(tcpChannel(this.remote, this.local, data))
    }
    return this.arrived(data, length)
  }

  protected override receiveFrames(run: FrameRun): ActionTree {
    const { bytes, start, end, ends, generation } = run
    const { input } = this
    const length = end - start
    // Of what was asked before the mode was set, or set anew.
    const isKnown = this.asked && generation === this.generation
    if (isKnown && ends === undefined && this.credit > 0) {
      const frame = input.frameAlone(bytes, start, end)
      if (frame !== undefined) {
        this.position = (this.position + length) | 0
        this.credit--
        this.balance()
        return sendMessage(tcpChannel(this.remote, this.local, frame))
      }
    }
    const data = Buffer.from(bytes.buffer, bytes.byteOffset + start, length)
    if (!isKnown) return this.receive(data)
    return this.arrived(data, length, ends ?? [length])
  }

  private arrived(data: Buffer, length: number, ends?: ArrayLike<number>): ActionTree {
    this.position = (this.position + length) | 0
    if (ends === undefined) this.input.add(data)
    else this.input.addFrames(data, ends)
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
    const { local, remote, sent } = this
    this.untold -= bytes
    const amount = sent === undefined ? bytes : sent.taken(bytes)
    if (sent?.isEmpty === true) this.sent = undefined
    return amount > 0 && sendFeedback(tcpChannel(local, remote, tcpCredit(amount)))
  }

  protected override wrote(): void {
    // Who reads decides by credit; who writes is told by credit.
  }

  protected override write(subpacket: Uint8Array): SocketError | undefined {
    const { socket, sendRule } = this
    if (sendRule === undefined) {
      this.sent?.add(0, subpacket.length, 0)
      this.untold += subpacket.length
      return super.write(subpacket)
    }
    let before: Buffer | undefined
    try {
      before = sendRule.before(subpacket)
    } catch (error) {
      this.addAddress(error as SocketError)
      return error as SocketError
    }
    const { after } = sendRule
    const [head, tail] = [before?.length ?? 0, after?.length ?? 0]
    if (head + tail > 0) this.sent ??= new SentFrames(this.untold)
    this.sent?.add(head, subpacket.length, tail)
    this.untold += head + subpacket.length + tail
    if (before !== undefined) socket.write(before)
    if (subpacket.length > 0) socket.write(subpacket)
    if (after !== undefined) socket.write(after)
    return undefined
  }

  protected override accepts(subpacket: unknown): subpacket is Uint8Array {
    return subpacket instanceof Uint8Array
  }

  protected override get sendable(): string {
    return 'with tcp() it is bytes (Buffer.from(text)), eof, abort or a mode; feedback is a credit or a mode'
  }

  private deliver(): ActionTree {
    const { input } = this
    const out: ActionTree[] = []
    try {
      while (this.credit > 0) {
        const piece = this.take()
        if (piece === undefined) break
        this.credit -= this.rule === undefined ? piece.length : 1
        out.push(sendMessage(tcpChannel(this.remote, this.local, piece)))
      }
      // Without credit nobody has asked yet, and may ask for something else.
      if (this.ended && this.credit > 0 && this.endsWithinFrame()) {
        throw (this.rule as FrameRule).unfinished(input.waiting)
      }
    } catch (error) {
      // A frame that is too long or none, or for which there is no memory: this connection's fault alone.
      const reason = asError(error, 'what came')
      if ('syscall' in reason) this.addAddress(reason as SocketError)
      return [out, this.close(reason)]
    }
    const isNext = out.length > 0
    if (this.ended && input.waiting === 0 && !this.endTold) {
      this.endTold = true
      out.push(this.endInbound())
    }
    this.askForFrames()
    if (this.frameTimeout > 0) this.timeFrame(isNext)
    this.balance()
    return out
  }

  /**
   * A frame that has begun has to be there in time, while somebody waits for it.
   *
   * @param isNext others have ended since the last call
   */
  private timeFrame(isNext: boolean): void {
    const hasBegun = this.rule !== undefined && this.credit > 0 && !this.asked && !this.ended && this.input.waiting > 0
    if (hasBegun && !isNext && this.frameTimer !== undefined) return
    clearTimeout(this.frameTimer)
    this.frameTimer = hasBegun ? this.frameDeadline() : undefined
  }

  private frameDeadline(): NodeJS.Timeout {
    const timer = setTimeout(() => {
      // What came while the program kept the event loop busy is heard of before this.
      setImmediate(() => {
        if (this.frameTimer !== timer || this.closed) return
        this.socket.listener?.count('frameTimeout')
        this.endLate(lateError('frameTimeout'))
      })
    }, this.frameTimeout)
    return timer.unref()
  }

  private take(): Buffer | undefined {
    if (this.rule === undefined) return this.input.takeBytes(this.credit)
    const frame = this.input.takeFrame()
    return frame === undefined && this.ended && this.rule.kind === 'lines' ? this.input.takeLast() : frame
  }

  /** Whether what is left will never be a frame. A line may lack its end. */
  private endsWithinFrame(): boolean {
    const { rule, input } = this
    return rule !== undefined && rule.kind !== 'lines' && input.waiting > 0 && !input.hasFrame()
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

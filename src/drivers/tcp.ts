/**
 * The driver `tcp`: flow-controlled.
 *
 * Nothing is delivered before a subscriber grants credit: bytes in mode `bytes`, lines in mode `lines`.
 * Without credit one read is taken in and waits; then the socket is paused, so that the kernel's window
 * closes and the sender blocks. For what is written, credit comes back as the kernel takes it.
 */
import { integer } from '../support/checks.js'
import { show } from '../support/errors.js'
import { sendFeedback, sendMessage, type Action, type ActionTree, type Handlers } from '../vm/index.js'
import { Conversation, type ConversationSettings } from './tcp-conversation.js'
import { tcpDriver, type MakeConversation } from './tcp-driver.js'
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
  const settings = { ...common, maxLineLength }
  return (...ends) => new CreditConversation(settings, ...ends)
}

const own = { maxLineLength: integer(0, Number.MAX_SAFE_INTEGER, 'bytes') }

const LF = 10
const CR = 13

interface CreditSettings extends ConversationSettings {
  readonly maxLineLength: number
}

const creditInbound: Handlers<TcpChannel> = {
  onAbsence: (_topic, _state, _reason, peer, conversation) => (conversation as CreditConversation).left(peer),
  onMessage: (body, _state, conversation) => (conversation as CreditConversation).feedback(body.subpacket),
}

class CreditConversation extends Conversation {
  protected readonly settings: CreditSettings
  private mode: 'lines' | 'bytes' = 'bytes'
  private credit = 0
  /** What came and has not been delivered. */
  private chunks: Buffer[] = []
  private waiting = 0
  /** Bytes at the front that are known to hold no line end. */
  private scanned = 0
  /** The last line ended with CR: an LF that follows belongs to it. */
  private skipLF = false
  /** A line longer than allowed has come, with its end. */
  private overlong = false
  private ended = false
  private endTold = false
  private paused: boolean
  /** Nothing is to be read before the first credit. */
  private untouched: boolean

  constructor(settings: CreditSettings, ...ends: ConstructorParameters<typeof Conversation>) {
    super(...ends)
    this.settings = settings
    this.untouched = settings.pauseOnAccept && this.socket.listener !== undefined
    this.paused = this.untouched
    this.socket.reportWrites = true
  }

  protected override get inbound(): Handlers<TcpChannel> {
    return creditInbound
  }

  /** A subscriber's feedback. */
  feedback(subpacket: unknown): ActionTree {
    // What is left of it is nobody's, least of all the next one's who uses the handle.
    if (this.closed) return undefined
    if (tcpCredit.is(subpacket)) {
      const { amount } = subpacket
      if (!Number.isSafeInteger(amount) || amount < 0) return this.refuse(subpacket)
      this.credit += amount
      if (amount > 0) this.untouched = false
    } else if (tcpMode.is(subpacket)) {
      const { mode } = subpacket
      if ((mode as unknown) !== 'lines' && (mode as unknown) !== 'bytes')
        return this.refuse(subpacket)
      this.mode = mode
      this.credit = 0
      this.scanned = 0
    } else {
      return this.refuse(subpacket)
    }
    return this.deliver()
  }

  protected override receive(data: Buffer): ActionTree {
    this.chunks.push(data)
    this.waiting += data.length
    const actions = this.deliver()
    // What waited before has been copied before, and what waits now ends with what came now.
    const last = this.chunks.length - 1
    if (this.settings.borrowed && last >= 0) this.chunks[last] = Buffer.from(this.chunks[last])
    return actions
  }

  protected override receiveEnd(): ActionTree {
    this.ended = true
    return this.deliver()
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

  private deliver(): ActionTree {
    const out: ActionTree[] = []
    while (this.credit > 0) {
      const piece = this.mode === 'bytes' ? this.takeBytes() : this.takeLine()
      if (piece === undefined) break
      out.push(sendMessage(tcpChannel(this.remote, this.local, piece)))
    }
    if (this.overlong || (this.mode === 'lines' && this.scanned > this.settings.maxLineLength)) {
      return [
        out,
        this.close(new RangeError(`a line is longer than ${show(this.settings.maxLineLength)} bytes`)),
      ]
    }
    if (this.ended && this.waiting === 0 && !this.endTold) {
      this.endTold = true
      out.push(this.endInbound())
    }
    this.balance()
    return out
  }

  /** As much as is there and as the credit covers. */
  private takeBytes(): Buffer | undefined {
    this.dropLF()
    if (this.waiting === 0) return undefined
    const [first] = this.chunks
    const piece = first.length <= this.credit ? first : first.subarray(0, this.credit)
    this.drop(piece.length)
    this.credit -= piece.length
    return piece
  }

  /** The next line, without its end; at the end of input also one that has none. */
  private takeLine(): Buffer | undefined {
    this.dropLF()
    const length = this.findLineEnd()
    if (length > this.settings.maxLineLength) {
      this.overlong = true
      return undefined
    }
    if (length < 0) {
      if (!this.ended || this.waiting === 0) return undefined
      this.credit--
      return this.take(this.waiting)
    }
    const line = this.take(length)
    this.skipLF = this.chunks[0][0] === CR
    this.drop(1)
    this.credit--
    return line
  }

  /** How many bytes precede the first line end; -1 if there is none yet. */
  private findLineEnd(): number {
    let start = 0
    for (const chunk of this.chunks) {
      const from = Math.max(0, this.scanned - start)
      if (from < chunk.length) {
        const lf = chunk.indexOf(LF, from)
        const cr = (lf < 0 ? chunk : chunk.subarray(0, lf)).indexOf(CR, from)
        const end = cr >= 0 ? cr : lf
        if (end >= 0) {
          this.scanned = 0
          return start + end
        }
      }
      start += chunk.length
    }
    this.scanned = start
    return -1
  }

  private dropLF(): void {
    if (!this.skipLF || this.waiting === 0) return
    this.skipLF = false
    if (this.chunks[0][0] === LF) this.drop(1)
  }

  /** Removes and returns bytes from the front; only a line that came in pieces is copied. */
  private take(length: number): Buffer {
    const [first] = this.chunks as (Buffer | undefined)[]
    if (first === undefined || length === 0) return Buffer.alloc(0)
    const piece = length <= first.length ? first.subarray(0, length) : Buffer.concat(this.chunks, length)
    this.drop(length)
    return piece
  }

  private drop(length: number): void {
    this.waiting -= length
    let left = length
    let whole = 0
    while (left > 0 && left >= this.chunks[whole].length) left -= this.chunks[whole++].length
    if (whole > 0) this.chunks.splice(0, whole)
    if (left > 0) this.chunks[0] = this.chunks[0].subarray(left)
  }

  /**
   * Reads while everything that came could be delivered. So one read may be waiting for credit, and
   * the peer's end is noticed without credit if nothing comes before it; but with `pauseOnAccept`
   * nothing is read, nor noticed, before the first credit.
   */
  private balance(): void {
    const pause = this.credit <= 0 && (this.waiting > 0 || this.untouched)
    if (pause === this.paused || this.ended) return
    this.paused = pause
    if (pause) this.socket.pause()
    else this.socket.resume()
  }
}

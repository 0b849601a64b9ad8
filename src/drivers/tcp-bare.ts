/** The driver `tcp-bare`: bytes as they come, without flow control. */
import { integer } from '../support/checks.js'
import { sendMessage, type Action, type ActionTree } from '../vm/index.js'
import type { Conversation, Flow } from './tcp-conversation.js'
import { tcpDriver } from './tcp-driver.js'
import type { TcpOptions } from './tcp-options.js'
import { tcpChannel } from './tcp-records.js'

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
  return tcpDriver('tcpBare', options, own, (conversation) => {
    const { highWaterMark = HIGH_WATER_MARK, pauseOnAccept = false } = options
    return new BareFlow(conversation, highWaterMark, pauseOnAccept)
  })
}

/** Default of `highWaterMark`. */
const HIGH_WATER_MARK = 1024 * 1024

const own = { highWaterMark: integer(0, Number.MAX_SAFE_INTEGER, 'bytes') }

class BareFlow implements Flow {
  readonly feedback = undefined
  private readonly conversation: Conversation
  private readonly highWaterMark: number
  private paused = false
  /** Nobody takes part in the connection yet, and until then nothing is read. */
  private waiting: boolean

  constructor(conversation: Conversation, highWaterMark: number, pauseOnAccept: boolean) {
    this.conversation = conversation
    this.highWaterMark = highWaterMark
    this.waiting = pauseOnAccept && conversation.socket.listener !== undefined
  }

  get joined(): (() => void) | undefined {
    return this.waiting ? () => this.start() : undefined
  }

  private start(): void {
    if (!this.waiting) return
    this.waiting = false
    if (!this.paused) this.conversation.socket.resume()
  }

  receive(data: Buffer): ActionTree {
    const { remote, local } = this.conversation
    return sendMessage(tcpChannel(remote, local, data))
  }

  receiveEnd(): ActionTree {
    return this.conversation.endInbound()
  }

  /** Who doesn't take what it is sent is not listened to. */
  wrote(): void {
    const { socket } = this.conversation
    if (this.paused || socket.queuedBytes <= this.highWaterMark) return
    this.paused = true
    socket.reportWrites = true
    socket.pause()
  }

  written(): undefined {
    const { socket } = this.conversation
    if (!this.paused || socket.queuedBytes > this.highWaterMark / 2) return
    this.paused = false
    socket.reportWrites = false
    if (!this.waiting) socket.resume()
  }

  accepts(subpacket: unknown): subpacket is Uint8Array | string {
    return subpacket instanceof Uint8Array || typeof subpacket === 'string'
  }
}

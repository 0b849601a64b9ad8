/** The driver `tcp-bare`: bytes as they come, without flow control. */
import { sendMessage, type Action, type ActionTree } from '../vm/index.js'
import type { Conversation, Flow } from './tcp-conversation.js'
import { tcpDriver } from './tcp-driver.js'
import type { TcpOptions } from './tcp-options.js'
import { tcpChannel } from './tcp-records.js'

/**
 * Starts the driver: an action for the process that wants it in its VM.
 *
 * A subscriber to `tcpChannel(_, tcpListener(port), _)` listens; endpoints on
 * `tcpChannel(tcpHandle(id), tcpAddress(host, port), _)`, or the other way, connect.
 *
 * @throws TypeError when an option is unknown or of the wrong type
 */
export function tcpBare(options: TcpOptions = {}): Action {
  const { highWaterMark = HIGH_WATER_MARK } = options
  return tcpDriver('tcpBare', options, (conversation) => new BareFlow(conversation, highWaterMark))
}

/** Default of `highWaterMark`. */
const HIGH_WATER_MARK = 1024 * 1024

class BareFlow implements Flow {
  readonly feedback = undefined
  private readonly conversation: Conversation
  private readonly highWaterMark: number
  private paused = false

  constructor(conversation: Conversation, highWaterMark: number) {
    this.conversation = conversation
    this.highWaterMark = highWaterMark
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
    socket.resume()
  }

  accepts(subpacket: unknown): subpacket is Uint8Array | string {
    return subpacket instanceof Uint8Array || typeof subpacket === 'string'
  }
}

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
  return tcpDriver('tcpBare', options, (conversation) => new BareFlow(conversation))
}

class BareFlow implements Flow {
  readonly feedback = undefined
  private readonly conversation: Conversation

  constructor(conversation: Conversation) {
    this.conversation = conversation
  }

  receive(data: Buffer): ActionTree {
    const { remote, local } = this.conversation
    return sendMessage(tcpChannel(remote, local, data))
  }

  receiveEnd(): ActionTree {
    return this.conversation.endInbound()
  }

  written(): undefined {
    return undefined
  }

  accepts(subpacket: unknown): subpacket is Uint8Array | string {
    return subpacket instanceof Uint8Array || typeof subpacket === 'string'
  }
}

/**
 * Takes frames with a length of 4 bytes before them, and says each time that 64 more have come how many bytes it
 * were: by the mode of the driver `tcp`, or, with `--unframed`, by counting the bytes as they come, which is no more
 * than to receive them.
 *
 * usage: node dist/bench/servers/frames.js [--port PORT] [--transport native|node] [--backend epoll|io_uring]
 *   [--unframed]
 */
import {
  _, endpoint, eof, quit, sendFeedback, sendMessage, spawn, tcpChannel, tcpCredit, tcpListener, type TcpEnd,
} from 'marketplace-native'
import { serve } from './serve.js'

const HEADER = 4
const FRAMES_PER_REPLY = 64
/** What a session takes in before it grants the same again. */
const CREDIT = 64

/** How many bytes came; a length before it. */
function replyOf(bytes: number, withLength: boolean): Buffer {
  const reply = Buffer.alloc(withLength ? 12 : 8)
  if (withLength) reply.writeUInt32BE(8)
  reply.writeUInt32BE(Math.floor(bytes / 2 ** 32), reply.length - 8)
  reply.writeUInt32BE(bytes % 2 ** 32, reply.length - 4)
  return reply
}

function framed(them: TcpEnd, us: TcpEnd) {
  let frames = 0
  let bytes = 0
  const grant = sendFeedback(tcpChannel(them, us, tcpCredit(CREDIT)))
  return [
    endpoint.subscriber(tcpChannel(them, us, _), {
      onAbsence: () => quit(),
      onMessage: ({ subpacket }) => {
        if (subpacket === eof) return undefined
        bytes += HEADER + subpacket.length
        return ++frames % FRAMES_PER_REPLY === 0
          ? [sendMessage(tcpChannel(us, them, replyOf(bytes, false))), grant] : undefined
      },
    }),
    // Twice, so that there is always some.
    grant, grant,
  ]
}

/** The length of the first frame says how many bytes are answered. */
function unframed(them: TcpEnd, us: TcpEnd) {
  let bytes = 0
  let size = 0
  let taken = 0
  let due = 0
  const grant = (amount: number) => sendFeedback(tcpChannel(them, us, tcpCredit(amount)))
  return [
    endpoint.subscriber(tcpChannel(them, us, _), {
      onAbsence: () => quit(),
      onMessage: ({ subpacket }) => {
        if (subpacket === eof) return undefined
        if (size === 0) {
          size = HEADER + subpacket.readUInt32BE()
          due = FRAMES_PER_REPLY * size
        }
        bytes += subpacket.length
        taken += subpacket.length
        if (bytes < due) return undefined
        const actions = []
        for (; bytes >= due; due += FRAMES_PER_REPLY * size) {
          actions.push(sendMessage(tcpChannel(us, them, replyOf(due, true))))
        }
        actions.push(grant(taken))
        taken = 0
        return actions
      },
    }),
    grant(65_536),
  ]
}

await serve(({ port, unframed: asBytes }) => spawn(() => endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
  interest: 'observer',
  onPresence: ({ source, destination }) => spawn(() => (asBytes ? unframed : framed)(source, destination)),
})), ({ unframed: asBytes }) => ({ driver: 'tcp', mode: asBytes ? 'bytes' : { frame: 'length', bytes: HEADER } }))

/**
 * `channelFor`: a process that speaks for a Duplex, so that programs meet it as a conversation.
 *
 * It is the TCP drivers' conversation over another kind of socket: the same rules, and the same two ways to
 * control the flow.
 */
import { constants } from 'node:os'
import type { Duplex } from 'node:stream'
import { bareConversations, type BareTcpOptions } from '../drivers/tcp-bare.js'
import type { Conversation } from '../drivers/tcp-conversation.js'
import { creditChecks, creditConversations, type CreditOptions } from '../drivers/tcp.js'
import type { TcpOptions } from '../drivers/tcp-options.js'
import { takesPart } from '../drivers/tcp-demand.js'
import { tcpChannel, type TcpEnd } from '../drivers/tcp-records.js'
import { endpoint } from '../dsl/index.js'
import { checkOptions, integer, ofType, oneOf } from '../support/checks.js'
import { argumentError, asError, show, socketError } from '../support/errors.js'
import { _, isGround } from '../topic/index.js'
import { queueLimits } from '../transport/seam/queue-limits.js'
import { spawnDriver, type Guard } from '../vm/action.js'
import { defaultBuffers } from '../transport/seam/buffers-option.js'
import {
  deleteEndpoint, eventSource, quit, yieldTurn, type Action, type ActionTree, type EventSink, type Role,
} from '../vm/index.js'
import { Claim } from './sole.js'
import { StreamSocket } from './stream-socket.js'

/** Options of `channelFor`; those that the TCP drivers have, too, mean the same. */
export interface ChannelForOptions
  extends Pick<TcpOptions, 'allowHalfOpen' | 'halfCloseTimeout' | 'closeTimeout' | 'maxQueuedBytes'>,
  Pick<BareTcpOptions, 'highWaterMark'>, Pick<CreditOptions, 'maxLineLength' | 'maxFrameLength'> {
  /**
   * `'bare'`: bytes as they come, as with `tcpBare`, but none before somebody takes part. `'credit'`: only
   * what subscribers granted, as with `tcp`. Default `'bare'`.
   */
  readonly flow?: 'bare' | 'credit' | undefined
}

const LONGEST = 0x7fffffff
const CLOSE_TIMEOUT = 10_000
const bytes = integer(0, Number.MAX_SAFE_INTEGER, 'bytes')
const milliseconds = integer(0, LONGEST, 'milliseconds')

const checks = {
  flow: oneOf('bare', 'credit'),
  allowHalfOpen: ofType('boolean'),
  halfCloseTimeout: milliseconds,
  closeTimeout: milliseconds,
  maxQueuedBytes: bytes,
  highWaterMark: bytes,
  maxLineLength: creditChecks.maxLineLength,
  maxFrameLength: creditChecks.maxFrameLength,
}

/**
 * Starts a process that speaks for a stream: what is read from it, it publishes as
 * `tcpChannel(source, destination, data)`, and what is sent as `tcpChannel(destination, source, data)` it
 * writes.
 * The conversation is there as long as the stream is, and ends with its error; when a participant goes, the
 * stream is ended, or destroyed with the participant's reason. While another stream speaks for the same
 * conversation, this one is destroyed at once, with the error EADDRINUSE.
 *
 * @param duplex a stream of bytes that nobody else reads from or writes to
 * @param source the end that the stream stands for: `streamEnd(id)`, for one, which no driver acts on
 * @param destination the other
 * @throws TypeError or RangeError when an argument is wrong
 */
export function channelFor(
  duplex: Duplex, source: TcpEnd, destination: TcpEnd, options: ChannelForOptions = {},
): Action {
  checkStream(duplex)
  for (const [name, end] of [['source', source], ['destination', destination]] as const) {
    if (end === undefined || !isGround(end)) {
      throw argumentError('channelFor', name, 'one end of one conversation', end)
    }
  }
  checkOptions('channelFor', options, checks, 'options.')
  return spawnDriver('channel-for', (setGuard) => speakFor(duplex, source, destination, options, setGuard))
}

function checkStream(duplex: unknown): void {
  const stream = duplex as Partial<Duplex> | null | undefined
  if (typeof stream?.write !== 'function' || typeof stream.on !== 'function' || stream.pause === undefined) {
    throw argumentError('channelFor', 'duplex', 'a stream.Duplex', duplex)
  }
  if (stream.readableObjectMode === true || stream.writableObjectMode === true) {
    throw argumentError('channelFor', 'duplex', 'a stream of bytes, not of objects', duplex)
  }
}

type Deed = () => ActionTree

function speakFor(
  duplex: Duplex, source: TcpEnd, destination: TcpEnd, options: ChannelForOptions,
  setGuard: (guard: Guard) => void,
): ActionTree {
  const { allowHalfOpen = false, halfCloseTimeout, closeTimeout = CLOSE_TIMEOUT, maxQueuedBytes } = options
  let sink: EventSink<Deed> | undefined
  /** What happened before the process could hear of it. */
  const early: Deed[] = []
  const deeds = eventSource<Deed>('stream', (opened) => {
    // The stream keeps the process alive, or doesn't.
    opened.unref()
    sink = opened
    for (const deed of early.splice(0)) opened.fire(deed)
    opened.whenIdle(() => { opened.fire(() => conversation.release()) })
    return () => {
      claim.giveUp()
      socket.close()
    }
  })
  const fire = (deed: Deed): void => {
    if (sink === undefined) early.push(deed)
    else sink.fire(deed)
  }
  const socket = new StreamSocket(duplex, {
    closeTimeout,
    limits: queueLimits('channelFor', { maxQueuedBytes }),
    report: (event) => { fire(() => conversation.handle(event)) },
  })
  const host = {
    settleLater: (which: Conversation) => {
      sink?.whenIdle(() => { fire(() => which.settle()) })
    },
    gone: () => [[LISTENING, TALKING, deeds].map((name) => deleteEndpoint(name)), claim.drop()],
  }
  const settings = {
    allowHalfOpen, halfCloseTimeout, pauseOnAccept: true, timesInput: false, buffers: defaultBuffers(),
  }
  const make = options.flow === 'credit' ? creditConversations : bareConversations
  const conversation = make(settings, options)(socket, source, destination, host)
  socket.context = conversation
  const claim = new Claim('channelFor', source, destination)
  conversation.owner = { left: () => { claim.giveUp() } }
  // That is the end of this conversation, and of the stream.
  const fail = (error: Error): ActionTree => {
    socket.reason ??= error
    return [conversation.broken(socket.reason), host.gone(), quit(socket.reason)]
  }
  setGuard((error) => fail(asError(error, 'the conversation failed')))
  const parts = [
    endpoint.subscriber([deeds, _], { name: deeds, onMessage: ([, deed]) => deed() }),
    whyTheyLeft(socket, source, destination),
    conversation.open(),
  ]
  let refused = false
  const claimed = claim.make(() => {
    refused = true
    return undefined
  })
  if (claim.alone) return [claimed, parts]
  // Whether the other one is in this VM is known when the claim has been made.
  return [claimed, yieldTurn(() => (refused ? fail(notAlone(source, destination)) : parts))]
}

function notAlone(source: TcpEnd, destination: TcpEnd): Error {
  const error = socketError(-constants.errno.EADDRINUSE, 'channelFor')
  error.message += `: another stream speaks for the conversation of ${show(source)} with ${show(destination)}`
  return error
}

const LISTENING = 'why they stopped listening'
const TALKING = 'why they stopped talking'

/** What a participant ends with is what the stream is destroyed with. */
function whyTheyLeft(socket: StreamSocket, source: TcpEnd, destination: TcpEnd): ActionTree {
  const observer = {
    interest: 'observer' as const,
    onAbsence: (_topic: unknown, _state: unknown, reason: unknown, peer: Role) => {
      if (reason !== undefined && takesPart(peer)) socket.reason ??= asError(reason, 'the conversation ended')
    },
  }
  return [
    endpoint.publisher(tcpChannel(source, destination, _), { ...observer, name: LISTENING }),
    endpoint.subscriber(tcpChannel(destination, source, _), { ...observer, name: TALKING }),
  ]
}

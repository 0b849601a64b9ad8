/**
 * `fromChannel`: a conversation of the VM as a `stream.Duplex`, for what is written against streams: TLS,
 * compression, parsers.
 *
 * Owns the translation between a stream's demand and a conversation's credit. Invariants: what is granted
 * is at most `readableHighWaterMark`, and what waits to be read at most twice that, where the driver counts
 * credit; a write is done when the driver has said that the kernel took it, if it says such things;
 * whatever ends the process or the conversation ends the stream, and the other way round, with the same
 * reason; what the stream's listeners hear is in order, and between two events ticks and promises have run.
 */
import { AsyncResource } from 'node:async_hooks'
import { constants } from 'node:os'
import { Duplex } from 'node:stream'
import { takesPart } from '../drivers/tcp-demand.js'
import {
  eof, halfOpen, tcpAddress, tcpChannel, tcpCredit, tcpError, tcpHandle, tcpMode, type TcpChannel,
  type TcpEnd,
} from '../drivers/tcp-records.js'
import { endpoint } from '../dsl/index.js'
import { checkOptions, integer, type Checks } from '../support/checks.js'
import { argumentError, asError, socketError } from '../support/errors.js'
import { turn } from '../support/turns.js'
import { _, isGround } from '../topic/index.js'
import { ofKind } from '../vm/action.js'
import { isLent, isolated } from '../transport/seam/buffers-option.js'
import type { SocketError } from '../transport/seam/transport.js'
import {
  atMetaLevel, deleteEndpoint, eventSource, sendFeedback, sendMessage, yieldTurn, type Action,
  type ActionTree, type EventSink, type Role,
} from '../vm/index.js'
import { Claim } from './sole.js'

/** Options of `fromChannel`. */
export interface ChannelStreamOptions {
  /**
   * Bytes that the stream takes in before they are read; as many again may be granted to the driver and on
   * their way. Default 65,536.
   */
  readonly readableHighWaterMark?: number | undefined
  /** Bytes that wait in the stream before `write` returns false. Default 65,536. */
  readonly writableHighWaterMark?: number | undefined
  /**
   * Bytes that may wait to be read from the stream before it fails with ENOBUFS. Matters with `tcpBare`,
   * which delivers what comes whether it is wanted or not. Default 67,108,864.
   */
  readonly maxBufferedBytes?: number | undefined
  /** How many VMs further out than the process the conversation is. Default 0: in the same VM. */
  readonly metaLevels?: number | undefined
}

/** What `fromChannel` gives. */
export interface ChannelStreamParts {
  /** The conversation as a stream. */
  readonly stream: ChannelStream
  /** The endpoints through which the stream takes part: a handler of the process that is to have them returns this. */
  readonly actions: ActionTree
}

const HIGH_WATER_MARK = 64 * 1024
const BUFFERED_BYTES_MAX = 64 * 1024 * 1024
const OVER = 'the conversation is over'
/** Turns of the event loop in which a driver that speaks of credit does so. */
const PATIENCE = 2

const checks = {
  readableHighWaterMark: integer(1, 2 ** 30, 'bytes'),
  writableHighWaterMark: integer(1, 2 ** 30, 'bytes'),
  maxBufferedBytes: integer(0, Number.MAX_SAFE_INTEGER, 'bytes'),
  metaLevels: integer(0, 1000),
} satisfies Record<keyof ChannelStreamOptions, unknown> & Checks

/**
 * Makes a stream of one conversation: what comes from `source` is read from it, what is written to it goes
 * there. The process that returns `actions` takes part in the conversation for the stream; when the stream
 * is destroyed, or has ended in both directions, it takes part no longer. Of two streams of one conversation,
 * the one that was made later is destroyed with the error EISCONN.
 *
 * @param source the other end; with both ends, one conversation is meant: wildcards are an error
 * @param destination this end. A handle opens the connection, as any endpoint with one does
 * @throws TypeError or RangeError when an argument is wrong
 */
export function fromChannel(
  source: TcpEnd, destination: TcpEnd, options: ChannelStreamOptions = {},
): ChannelStreamParts {
  for (const [name, end] of [['source', source], ['destination', destination]] as const) {
    if (end === undefined || !isGround(end)) {
      throw argumentError('fromChannel', name, 'one end of one conversation', end)
    }
  }
  checkOptions('fromChannel', options, checks, 'options.')
  const stream = new ChannelStream(source, destination, options)
  return { stream, actions: stream.endpoints() }
}

/** A function that the stream has the process run; the process performs the actions that it returns. */
type Deed = () => ActionTree

/** A conversation as a `Duplex`; made by `fromChannel`. */
export class ChannelStream extends Duplex {
  readonly #source: TcpEnd
  readonly #destination: TcpEnd
  readonly #levels: number
  readonly #maxBuffered: number
  /** What listeners are called in: the context in which the stream was made. */
  readonly #context = new AsyncResource('MARKETPLACE_CHANNEL')
  readonly #deeds = eventSource<Deed>('stream', (sink) => this.#activated(sink))
  #sink: EventSink<Deed> | undefined
  /** What is to be done as soon as there is a process that does it. */
  #early: Deed[] = []

  /** Names of the endpoints, and whether somebody is at their other end. */
  readonly #input = { met: false }
  readonly #output = { met: false }
  readonly #failures = {}
  readonly #claim: Claim
  /** What waits until both are met. */
  #waiting: (() => void)[] = []
  /** Whether the endpoints are gone, or about to go. */
  #left = false
  #inputEnded = false

  /** The last turn in which the stream's listeners may have heard something. */
  #toldIn = -1
  /** What the listeners are to be told in later turns, one thing in each. */
  readonly #later: (() => void)[] = []
  /** Bytes received among that. */
  #laterBytes = 0

  /** Bytes granted and not come yet. */
  #credit = 0
  #sent = 0
  #taken = 0
  /** Whether the driver tells what it takes. */
  #told = false
  /** Of the write that is not done. */
  #done: ((error?: Error) => void) | undefined

  /** @internal */
  constructor(source: TcpEnd, destination: TcpEnd, options: ChannelStreamOptions) {
    const { readableHighWaterMark = HIGH_WATER_MARK, writableHighWaterMark = HIGH_WATER_MARK } = options
    super({ readableHighWaterMark, writableHighWaterMark })
    this.#source = source
    this.#destination = destination
    this.#claim = new Claim('fromChannel', source, destination)
    this.#levels = options.metaLevels ?? 0
    this.#maxBuffered = options.maxBufferedBytes ?? BUFFERED_BYTES_MAX
  }

  /** Where the other end is, if that is an address: as of a `net.Socket`. */
  get remoteAddress(): string | undefined {
    return tcpAddress.is(this.#source) ? this.#source.host : undefined
  }

  /** And its port. */
  get remotePort(): number | undefined {
    return tcpAddress.is(this.#source) ? this.#source.port : undefined
  }

  /** @internal */
  endpoints(): ActionTree {
    const incoming = tcpChannel(this.#source, this.#destination, _)
    const outgoing = tcpChannel(this.#destination, this.#source, _)
    const onPresence = (_topic: TcpChannel, _state: unknown, peer: Role, end: unknown): ActionTree =>
      takesPart(peer) ? this.#meet(end as { met: boolean }) : undefined
    const onAbsence = (_topic: TcpChannel, _state: unknown, reason: unknown, peer: Role): ActionTree =>
      takesPart(peer) ? this.#over(reason) : undefined
    const actions: Action[] = [
      endpoint.subscriber(incoming, {
        name: this.#input,
        onPresence,
        onAbsence,
        onMessage: ({ subpacket }) => { this.#context.runInAsyncScope(this.#receive, this, subpacket) },
      }),
      endpoint.publisher(outgoing, {
        name: this.#output,
        onPresence,
        onAbsence,
        onMessage: ({ subpacket }: { subpacket: unknown }) => {
          if (tcpCredit.is(subpacket)) this.#takenBy(subpacket.amount)
        },
      }),
    ]
    if (tcpHandle.is(this.#destination)) {
      actions.push(endpoint.subscriber(tcpError(this.#destination, this.#source as never, _), {
        name: this.#failures,
        onMessage: ({ error }) => { this.#endWith(error) },
      }))
    }
    // The last one: when the process ends, the others have told why before this one goes.
    actions.push(endpoint.subscriber([this.#deeds, _], {
      name: this.#deeds,
      onMessage: ([, deed]) => deed(),
    }))
    // A message that has wildcards in it, and so meets everybody's conversations, is for none of them.
    const parts = actions.map((action) => this.#outside(ofKind({ exact: true }, action)))
    const claim = this.#claim.make(() => {
      const what = 'another stream takes part in this conversation'
      if (!this.#left) this.#fail(this.#error('EISCONN', 'connect', what))
      return undefined
    }).map((action) => this.#outside(action))
    if (this.#claim.alone) return [claim, parts]
    // Whether the other one is in that VM is known when the claim has been made; whoever takes part, and
    // leaves, ends the conversation.
    return [claim, this.#outside(yieldTurn(() => (this.#left ? this.#leave(undefined) : parts)))]
  }

  /** @internal */
  override _read(): void {
    this.#whenMet(() => {
      const window = this.readableHighWaterMark
      if (this.#credit > window / 2) return
      const more = window - this.#credit
      this.#credit = window
      const grant = sendFeedback(tcpChannel(this.#source, this.#destination, tcpCredit(more)))
      this.#fire(() => this.#outside(grant))
    })
  }

  /** @internal */
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send([chunk], done)
  }

  /** @internal */
  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#send(chunks.map(({ chunk }) => chunk), done)
  }

  /** @internal */
  override _final(done: (error?: Error | null) => void): void {
    // What was written was taken, or its loss was told of.
    if (this.#left) done()
    else this.#send([eof], done)
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#waiting = []
    this.#later.length = 0
    this.#laterBytes = 0
    if (!this.#left) {
      this.#leaves()
      this.#fire(() => this.#leave(error ?? undefined))
    }
    this.#finish(error ?? undefined)
    done(error)
  }

  #outside(action: Action): Action {
    let result = action
    for (let i = 0; i < this.#levels; i++) result = atMetaLevel(result)
    return result
  }

  /** Has the process do something. */
  #fire(deed: Deed): void {
    if (this.#sink === undefined) this.#early.push(deed)
    else this.#sink.fire(deed)
  }

  #activated(sink: EventSink<Deed>): () => void {
    // The sockets keep the process alive, or don't.
    sink.unref()
    this.#sink = sink
    for (const deed of this.#early.splice(0)) sink.fire(deed)
    sink.whenIdle(() => {
      // A handle's connection takes its time; others are there, or are not any more.
      if (this.#isMet() || this.#left || tcpHandle.is(this.#destination)) return
      this.#fail(this.#error('ENOTCONN', 'connect', 'there is no such conversation'))
    })
    // The process is gone, or the VM that it was in; if it could, it has said why.
    return () => { this.#over(undefined) }
  }

  #isMet(): boolean {
    return this.#input.met && this.#output.met
  }

  #whenMet(what: () => void): void {
    if (this.#isMet()) what()
    else this.#waiting.push(what)
  }

  #meet(end: { met: boolean }): ActionTree {
    end.met = true
    if (!this.#isMet() || this.#left) return undefined
    const waiting = this.#waiting
    this.#waiting = []
    for (const what of waiting) what()
    // What was granted before, by whom ever, counts no longer.
    return [
      sendFeedback(tcpChannel(this.#source, this.#destination, tcpMode('bytes'))),
      sendMessage(tcpChannel(this.#destination, this.#source, halfOpen)),
    ].map((action) => this.#outside(action))
  }

  /** Tells the listeners something: now, or in the first turn in which they hear nothing else. */
  #tell(what: () => void): void {
    const now = turn()
    if (this.#later.length === 0 && this.#toldIn !== now) {
      this.#toldIn = now
      what()
      return
    }
    this.#later.push(what)
    // Between immediates of one phase, ticks and promises run.
    setImmediate(this.#release)
  }

  readonly #release = (): void => {
    const what = this.#later.shift()
    if (what === undefined) return
    this.#toldIn = turn()
    try {
      what()
    } catch (error) {
      // What a listener throws fails the process that has the stream, as if it had been called in the process's turn.
      if (this.#left) throw error
      this.#fire(() => { throw error })
    }
  }

  #receive(subpacket: unknown): void {
    if (this.#inputEnded) return
    if (subpacket === eof) {
      this.#inputEnded = true
      this.#tell(() => { this.push(null) })
      return
    }
    if (!Buffer.isBuffer(subpacket)) return
    const { length } = subpacket
    this.#credit = Math.max(0, this.#credit - length)
    // A stream is read later; borrowed memory is gone by then.
    const data = isLent(subpacket) ? isolated(subpacket) : subpacket
    this.#laterBytes += length
    this.#tell(() => {
      this.#laterBytes -= length
      this.push(data)
      if (this.readableLength <= this.#maxBuffered) return
      const what = `${this.readableLength} bytes wait to be read; maxBufferedBytes is ${this.#maxBuffered}`
      this.#endWith(this.#error('ENOBUFS', 'read', what))
    })
    // The next piece is granted as early as if this one had not to wait for its turn.
    if (this.#laterBytes > 0 && this.#laterBytes <= this.readableHighWaterMark) this._read()
  }

  #send(pieces: readonly (Buffer | typeof eof)[], done: (error?: Error | null) => void): void {
    if (this.#left) {
      done(this.#error('EPIPE', 'write', OVER))
      return
    }
    this.#done = done
    this.#whenMet(() => {
      const actions: Action[] = []
      for (const piece of pieces) {
        if (piece !== eof && piece.length === 0) continue
        if (piece !== eof) this.#sent += piece.length
        actions.push(this.#outside(sendMessage(tcpChannel(this.#destination, this.#source, piece))))
      }
      this.#fire(() => actions)
      if (this.#sent === this.#taken) this.#finish()
      else if (!this.#told) this.#wait(PATIENCE)
    })
  }

  /** A driver without flow control says nothing: then it's enough to have sent it. */
  #wait(turns: number): void {
    const done = this.#done
    setImmediate(() => {
      if (this.#told || this.#done !== done) return
      if (turns > 1) this.#wait(turns - 1)
      else this.#finish()
    })
  }

  #takenBy(bytes: number): void {
    this.#told = true
    this.#taken = Math.min(this.#sent, this.#taken + bytes)
    if (this.#taken !== this.#sent) return
    // Only 'drain' and 'finish' are events; a callback that is there already misses nothing.
    const done = this.#done
    if (!this.writableNeedDrain && !this.writableEnded) this.#finish()
    else if (done !== undefined) this.#tell(() => { if (this.#done === done) this.#finish() })
  }

  #finish(error?: Error): void {
    const done = this.#done
    this.#done = undefined
    if (done !== undefined) this.#context.runInAsyncScope(done, undefined, error)
  }

  /** The conversation is over, or the process ends. */
  #over(reason: unknown): ActionTree {
    if (this.#left) return undefined
    this.#leaves()
    const isTaken = this.writableLength === 0 || (this.#told && this.#taken === this.#sent)
    const lost = isTaken ? undefined : this.#error('EPIPE', 'write', OVER)
    if (reason !== undefined) this.#endWith(asError(reason, 'the conversation ended'))
    else if (!this.#inputEnded) this.#endWith(lost)
    // What came can still be read; after `end`, the driver hands on what it has.
    else this.#tell(() => { this.#finish(lost) })
    return this.#leave(reason)
  }

  /** After what came before. */
  #endWith(error: Error | undefined): void {
    this.#tell(() => { this.#fail(error) })
  }

  #fail(error?: Error): void {
    this.#context.runInAsyncScope(() => { this.destroy(error) })
  }

  #leaves(): void {
    this.#left = true
    this.#claim.giveUp()
  }

  #leave(reason: unknown): ActionTree {
    return [
      [this.#input, this.#output, this.#failures, this.#deeds]
        .map((name) => this.#outside(deleteEndpoint(name, reason))),
      this.#claim.drop().map((action) => this.#outside(action)),
    ]
  }

  #error(code: 'EISCONN' | 'ENOBUFS' | 'ENOTCONN' | 'EPIPE', syscall: string, what: string): SocketError {
    const error = socketError(-constants.errno[code], syscall, this.remoteAddress, this.remotePort)
    error.message += `: ${what}`
    return error
  }
}

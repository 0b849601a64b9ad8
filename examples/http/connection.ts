/**
 * A connection's process: one request at a time becomes a conversation with whoever handles it.
 *
 * It publishes `httpRequest(id, _, path, _)` for the path of the request at hand, and until one with another path
 * comes: a client that asks for the same again finds its handlers known. Whom it hears the presence of handles such
 * requests: nobody is 404, nobody for this method 405, and whoever goes without an answer is 503.
 */
import { STATUS_CODES } from 'node:http'
import {
  _, abort, cancelTimer, deleteEndpoint, endpoint, eof, quit, sendFeedback, sendMessage, setTimer, tcpChannel,
  tcpCredit, timerExpired, Wildcard, yieldTurn, type ActionTree, type Eof, type TcpEnd,
} from 'marketplace-native'
import { RequestParser, type Head, type Limits, type Problem } from './parser.js'
import { answersTo, httpPart, httpRequest, streamed, wanted, type RequestId } from './records.js'
import { stopping } from '../support/run.js'

export interface HttpOptions extends Limits {
  /** Milliseconds for a request to come whole, from its first byte. */
  readonly requestTimeout: number
  /** Milliseconds to wait for the next request's first byte. */
  readonly keepAliveTimeout: number
  /** Milliseconds for a handler to begin its answer. */
  readonly answerTimeout: number
}

/** Bytes that may come ahead of what is parsed: more waits in the kernel, and then with the client. */
const WINDOW = 64 * 1024

/** Milliseconds that a client has to finish, once all that there was for it is gone. */
const LINGER = 2_000

/**
 * Milliseconds that the next request of a client is awaited when the server is to end: one that is on its way has its
 * answer, with `connection: close`, and no client finds its connection ended under a request that it has just sent.
 */
const LAST_REQUEST = 1_000

/** What is going on. `closing`: all was said, and what still comes is let go by. */
type Phase = 'waiting' | 'reading' | 'handling' | 'streaming' | 'closing'

/** A request that is being answered. */
interface Exchange {
  readonly id: RequestId
  readonly head: Head
  readonly handlers: Handlers
  chunked: boolean
}

/** Who handles requests with a path: by the methods that they take, as many as have come, less those that went. */
class Handlers {
  private readonly methods = new Map<string, number>()
  /** Of those that take all methods. */
  private all = 0

  constructor(readonly path: readonly string[]) {}

  isFor(path: readonly string[]): boolean {
    return path.length === this.path.length && path.every((part, i) => part === this.path[i])
  }

  count(method: string | Wildcard, change: 1 | -1): void {
    if (method instanceof Wildcard) {
      this.all += change
      return
    }
    const left = (this.methods.get(method) ?? 0) + change
    if (left > 0) this.methods.set(method, left)
    else this.methods.delete(method)
  }

  takes(method: string): boolean {
    return this.all > 0 || this.methods.has(method) || (method === 'HEAD' && this.methods.has('GET'))
  }

  get isEmpty(): boolean {
    return this.all === 0 && this.methods.size === 0
  }

  /** As the header Allow has them. */
  toString(): string {
    return [...this.methods.keys()].join(', ')
  }
}

let today = ''
let todayUntil = 0
/** The date as headers have it: made once a second. */
function date(): string {
  const now = Date.now()
  if (now >= todayUntil) {
    today = new Date(now).toUTCString()
    todayUntil = now - (now % 1000) + 1000
  }
  return today
}

let connections = 0

export class HttpConnection {
  private readonly number = ++connections
  private readonly parser: RequestParser
  private phase: Phase = 'waiting'
  /** When the phase is over. The timer only looks now and then: setting it for each request would cost. */
  private deadline = 0
  private granted = 0
  private requests = 0
  private exchange: Exchange | undefined
  /** Of the path that was asked for last. */
  private handlers: Handlers | undefined
  /** It is not known yet who handles the request. */
  private opening = false
  /** Bytes that the kernel has not taken: a client that doesn't read is not listened to. */
  private unsent = 0
  private lastRequest = false
  private inputEnded = false

  constructor(
    private readonly them: TcpEnd, private readonly us: TcpEnd, private readonly options: HttpOptions,
  ) {
    this.parser = new RequestParser(options)
  }

  boot(): ActionTree {
    const { them, us } = this
    const label = ['http', this.number]
    const tick = Math.min(this.options.keepAliveTimeout, this.options.requestTimeout)
    const wake = (msecs: number) => sendMessage(setTimer(label, Math.min(msecs, tick), 'relative'))
    this.enter('waiting', this.options.keepAliveTimeout)
    return [
      endpoint.subscriber(tcpChannel(them, us, _), {
        onMessage: ({ subpacket }) => this.received(subpacket),
        onAbsence: () => {
          this.parser.free()
          return [sendMessage(cancelTimer(label)), quit()]
        },
      }),
      endpoint.publisher(tcpChannel(us, them, _), {
        interest: 'observer',
        onMessage: ({ subpacket }) => (tcpCredit.is(subpacket) ? this.taken(subpacket.amount) : undefined),
      }),
      endpoint.subscriber(answersTo(this.number), {
        onMessage: ({ id, status, headers, body }) => this.answered(id, status, headers, body),
      }),
      endpoint.subscriber(stopping(_), {
        onPresence: () => this.serverCloses() && [sendMessage(cancelTimer(label)), wake(LAST_REQUEST)],
      }),
      endpoint.subscriber(timerExpired(label, _), {
        onMessage: () => {
          const left = this.deadline - performance.now()
          return left > 0 ? wake(left) : [this.tooLate(), wake(tick)]
        },
      }),
      wake(tick),
      this.grant(),
    ]
  }

  private enter(phase: Phase, msecs: number): void {
    this.phase = phase
    this.deadline = performance.now() + msecs
  }

  private grant(): ActionTree {
    if (this.granted > WINDOW / 2) return undefined
    const amount = WINDOW - this.granted
    this.granted = WINDOW
    return sendFeedback(tcpChannel(this.them, this.us, tcpCredit(amount)))
  }

  private send(bytes: Uint8Array | string | Eof): ActionTree {
    const subpacket = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
    if (subpacket !== eof) this.unsent += subpacket.length
    return sendMessage(tcpChannel(this.us, this.them, subpacket))
  }

  /** The kernel took some of what was sent. */
  private taken(bytes: number): ActionTree {
    const held = this.unsent >= WINDOW
    this.unsent -= bytes
    if (this.unsent === 0 && this.phase === 'closing') this.enter('closing', LINGER)
    if (!held || this.unsent >= WINDOW) return undefined
    if (this.phase !== 'streaming' || this.exchange === undefined) return this.proceed()
    return sendFeedback(httpPart(this.exchange.id, wanted))
  }

  // What comes

  private received(subpacket: Buffer | Eof): ActionTree {
    if (subpacket === eof) {
      this.inputEnded = true
      return this.proceed()
    }
    this.granted -= subpacket.length
    if (this.phase === 'closing') return this.grant()
    this.parser.feed(subpacket)
    if (this.phase === 'waiting') this.enter('reading', this.options.requestTimeout)
    return this.proceed()
  }

  /** Parses what is there. */
  private proceed(): ActionTree {
    if (this.opening || (this.phase !== 'waiting' && this.phase !== 'reading')) return undefined
    if (this.unsent >= WINDOW && this.exchange === undefined) return undefined
    const step = this.parser.next()
    if (step === 'head') return this.open(this.parser.head as Head, false)
    if (step === 'complete') {
      if (this.exchange !== undefined) return this.handOver(this.exchange)
      return this.open(this.parser.head as Head, true)
    }
    if (step !== 'more') return this.refuse(step)
    if (!this.inputEnded) return this.grant()
    return this.parser.begun ? this.refuse({ status: 400, why: 'the request ends too early' }) : this.close()
  }

  /** Looks for handlers of a request whose headers are there. */
  private open(head: Head, complete: boolean): ActionTree {
    const id = [this.number, ++this.requests] as const
    const known = this.handlers
    if (known?.isFor(head.path) === true) {
      this.exchange = { id, head, handlers: known, chunked: false }
      return this.found(this.exchange, complete)
    }
    const handlers = new Handlers(head.path)
    const exchange: Exchange = { id, head, handlers, chunked: false }
    this.handlers = handlers
    this.exchange = exchange
    this.opening = true
    const any = [this.number, _] as unknown as RequestId
    return [
      known !== undefined && deleteEndpoint('handlers'),
      endpoint.publisher(httpRequest(any, _, head.path, _), {
        name: 'handlers',
        onPresence: ({ method }) => { handlers.count(method, 1) },
        onAbsence: ({ method }) => this.handlerLeft(handlers, method),
      }),
      // By then the handlers that there are have been heard of.
      yieldTurn(() => this.found(exchange, complete)),
    ]
  }

  private found(exchange: Exchange, complete: boolean): ActionTree {
    this.opening = false
    if (this.phase === 'closing') return undefined
    if (complete) return this.handOver(exchange)
    const expected = exchange.head.headers.get('expect')?.toLowerCase()
    // Who speaks 1.0 does not wait for an answer in between.
    if (expected === undefined || exchange.head.version === '1.0') return this.proceed()
    // The client asks before it sends the body; if the answer is no, nobody knows whether it sends it.
    if (expected !== '100-continue') return this.refuse({ status: 417, why: 'only 100-continue is met' })
    if (!exchange.handlers.takes(exchange.head.method)) return this.refuse(unhandled(exchange))
    return [this.send('HTTP/1.1 100 Continue\r\n\r\n'), this.proceed()]
  }

  private handOver(exchange: Exchange): ActionTree {
    const { id, head: { method }, handlers } = exchange
    this.enter('handling', this.options.answerTimeout)
    const request = this.parser.take()
    const asked = method === 'HEAD' ? 'GET' : method
    if (handlers.takes(method)) return sendMessage(httpRequest(id, asked, request.path, request))
    const { status, why } = unhandled(exchange)
    const allow = status === 405 ? { allow: String(handlers) } : {}
    return this.answered(id, status, { 'content-type': 'text/plain', ...allow }, `${why}\n`)
  }

  // What goes

  private headOf(status: number, headers: Readonly<Record<string, string>>, framing: string): string {
    let lines = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n`
    for (const name of Object.keys(headers)) lines += `${name}: ${headers[name]}\r\n`
    const version = this.exchange?.head.version
    const connection = this.lastRequest ? 'close' : version === '1.0' ? 'keep-alive' : ''
    if (connection !== '') lines += `connection: ${connection}\r\n`
    return `${lines}date: ${date()}\r\n${framing}\r\n`
  }

  private answered(
    id: RequestId, status: number, headers: Readonly<Record<string, string>>,
    body: string | Uint8Array | typeof streamed,
  ): ActionTree {
    const { exchange } = this
    // The first answer counts: another handler's, or one that comes too late, is for nobody.
    if (exchange?.id[1] !== id[1] || this.phase !== 'handling') return undefined
    const { head } = exchange
    this.lastRequest ||= !head.keepAlive
    if (body === streamed) return this.stream(exchange, status, headers)
    const bodyless = status === 204 || status === 304
    const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length
    const text = this.headOf(status, headers, bodyless ? '' : `content-length: ${length}\r\n`)
    const done = this.finished()
    if (bodyless || head.method === 'HEAD') return [this.send(text), done]
    if (typeof body === 'string') return [this.send(text + body), done]
    return [this.send(text), body.length > 0 && this.send(body), done]
  }

  /** The answer's parts come from a process that is there for as long as there are any. */
  private stream(
    exchange: Exchange, status: number, headers: Readonly<Record<string, string>>,
  ): ActionTree {
    const { id, head } = exchange
    exchange.chunked = head.version === '1.1'
    this.lastRequest ||= !exchange.chunked
    const text = this.headOf(status, headers, exchange.chunked ? 'transfer-encoding: chunked\r\n' : '')
    if (head.method === 'HEAD') return [this.send(text), this.finished()]
    this.enter('streaming', Infinity)
    const more = () => this.unsent < WINDOW && sendFeedback(httpPart(id, wanted))
    return [
      this.send(text),
      endpoint.subscriber(httpPart(id, _), {
        name: 'parts',
        onPresence: more,
        // Without its last chunk, or, where there are no chunks, with a reset, nobody takes it for whole.
        onAbsence: () => this.phase === 'streaming'
          && [sendMessage(tcpChannel(this.us, this.them, abort)), quit(new Error('an answer broke off'))],
        onMessage: ({ part }) =>
          part !== wanted && [this.sendPart(exchange, part), part !== eof && more()],
      }),
    ]
  }

  private sendPart({ chunked }: Exchange, part: string | Uint8Array | Eof): ActionTree {
    if (part === eof) {
      return [chunked && this.send('0\r\n\r\n'), deleteEndpoint('parts'), this.finished()]
    }
    const bytes = typeof part === 'string' ? Buffer.from(part) : part
    if (bytes.length === 0) return undefined // it would end a chunked body
    if (!chunked) return this.send(bytes)
    return [this.send(`${bytes.length.toString(16)}\r\n`), this.send(bytes), this.send('\r\n')]
  }

  // What ends

  /** A request has its answer: on to the next one, which may have come already. */
  private finished(): ActionTree {
    this.exchange = undefined
    if (this.lastRequest) return this.close()
    if (this.parser.begun) this.enter('reading', this.options.requestTimeout)
    else this.enter('waiting', this.options.keepAliveTimeout)
    return this.proceed()
  }

  /** Whoever handled the request has gone: crashed, probably. */
  private handlerLeft(handlers: Handlers, method: string | Wildcard): ActionTree {
    const { exchange, phase } = this
    const asked = exchange?.handlers === handlers ? exchange.head.method : undefined
    const before = asked !== undefined && handlers.takes(asked)
    handlers.count(method, -1)
    if (exchange === undefined || !before || handlers.takes(asked) || this.handlers !== handlers) return undefined
    // Once an answer streams, it is up to who streams.
    if (phase === 'closing' || phase === 'streaming') return undefined
    if (phase !== 'handling') return this.refuse({ status: 503, why: 'the handler has gone' })
    return this.answered(exchange.id, 503, { 'content-type': 'text/plain' }, 'the handler has gone\n')
  }

  /** Answers what can't be a request, and goes: where the next one would begin isn't known. */
  private refuse({ status, why }: Problem): ActionTree {
    this.lastRequest = true
    const text = `${why}\n`
    const framing = `content-type: text/plain\r\ncontent-length: ${text.length}\r\n`
    const body = this.parser.head?.method === 'HEAD' ? '' : text
    return [this.send(this.headOf(status, {}, framing) + body), this.close()]
  }

  private tooLate(): ActionTree {
    if (this.unsent > 0) return undefined // it is the client that takes its time: the driver sees to that
    if (this.phase === 'closing') return quit()
    if (this.phase === 'waiting') return this.close()
    if (this.phase === 'reading') return this.refuse({ status: 408, why: 'the request took too long' })
    if (this.phase === 'handling') return this.refuse({ status: 503, why: 'the answer took too long' })
    return undefined
  }

  /**
   * Who has connected and not asked yet has all the time for it that it would have had.
   *
   * @returns whether there is less time from now on
   */
  private serverCloses(): boolean {
    this.lastRequest = true
    if (this.phase !== 'waiting' || this.requests === 0) return false
    this.deadline = Math.min(this.deadline, performance.now() + LAST_REQUEST)
    return true
  }

  /**
   * Nothing more is said. What the client still sends is let go by, for some time, until it has finished too:
   * closing at once would reset the connection, and the client might miss the answer.
   */
  private close(): ActionTree {
    this.exchange = undefined
    this.handlers = undefined
    this.enter('closing', LINGER)
    return [this.send(eof), deleteEndpoint('handlers'), this.grant()]
  }
}

/** What a request that nobody handles is answered with. */
function unhandled({ handlers }: Exchange): Problem {
  return handlers.isEmpty
    ? { status: 404, why: 'nobody handles this path' }
    : { status: 405, why: `this path takes ${String(handlers)}` }
}

/**
 * Requests of HTTP on the ports of WebSockets: each is a message to whoever has an endpoint for it; what nobody handles
 * may be a file; and what is neither is 404.
 *
 * Owns the requests that are being answered. Invariants: each gets one answer; a handler that goes without one is 503.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { asError } from '../support/errors.js'
import { log } from '../support/log.js'
import { _, Wildcard } from '../topic/index.js'
import { deleteEndpoint, sendFeedback, sendMessage, yieldTurn, type ActionTree } from '../vm/index.js'
import { endpoint } from '../dsl/index.js'
import { Label } from '../vm/label.js'
import {
  httpAnswer, httpPart, httpRequest, httpStreamed, httpWanted, type HttpAnswer, type HttpRequestData,
  type HttpRequestId,
} from './http-records.js'
import { eof } from './tcp-records.js'

export interface HttpSettings {
  readonly files: string | undefined
  readonly maxBody: number
  readonly answerTimeout: number
}

/** Negative: servers of other kinds count upwards. */
let askers = 0

/** Has something done in the driver's process. */
type Fire = (deed: () => ActionTree) => void

/** The package that serves files: not there for everybody who compiles this. */
const SEND: string = 'send'

/** What is used of it. */
type Send = (request: IncomingMessage, path: string, options: object) => {
  on(event: string, listener: (error?: Error & { status?: number }) => void): unknown
  pipe(response: ServerResponse): unknown
}

export class HttpRequests {
  readonly #asker = --askers
  readonly #settings: HttpSettings
  readonly #fire: Fire
  readonly #open = new Map<number, HttpExchange>()
  #count = 0
  #send: Promise<Send> | undefined

  constructor(settings: HttpSettings, fire: Fire) {
    this.#settings = settings
    this.#fire = fire
  }

  /** The endpoint for all answers. */
  boot(): ActionTree {
    const any = [this.#asker, _] as unknown as HttpRequestId
    return endpoint.subscriber(httpAnswer(any, _, _, _), {
      onMessage: (answer: HttpAnswer) => this.#open.get(answer.id[1])?.answered(answer),
    })
  }

  /** A request came. Never throws. */
  take(request: IncomingMessage, response: ServerResponse): void {
    response.on('error', () => undefined)
    request.on('error', () => undefined)
    const target = request.url ?? ''
    const split = splitPath(target)
    if (split === undefined) {
      plain(response, 400, 'the path is not well encoded', true)
      return
    }
    const parts: Buffer[] = []
    let length = 0
    request.on('data', (part: Buffer) => {
      length += part.length
      if (length > this.#settings.maxBody) {
        parts.length = 0
        plain(response, 413, 'the body is too long', true)
      } else {
        parts.push(part)
      }
    })
    request.on('end', () => {
      if (length > this.#settings.maxBody || response.destroyed) return
      const headers = new Map(Object.entries(request.headers).map(([name, value]) =>
        [name, Array.isArray(value) ? value.join(', ') : value ?? '']))
      const data: HttpRequestData = {
        method: request.method ?? '', target, ...split, version: request.httpVersion, headers,
        body: Buffer.concat(parts),
      }
      this.#fire(() => this.#begin(request, response, data))
    })
  }

  #begin(request: IncomingMessage, response: ServerResponse, data: HttpRequestData): ActionTree {
    if (response.destroyed) return undefined
    const number = ++this.#count
    const over = (): void => { this.#open.delete(number) }
    const { answerTimeout } = this.#settings
    const exchange = new HttpExchange([this.#asker, number], data, response, answerTimeout, this.#fire, over, () => {
      void this.#serveFile(request, response, data)
    })
    this.#open.set(number, exchange)
    return exchange.begin()
  }

  /** Nobody handles it. */
  async #serveFile(
    request: IncomingMessage, response: ServerResponse, { method, target }: HttpRequestData,
  ): Promise<void> {
    const { files } = this.#settings
    if (files === undefined || (method !== 'GET' && method !== 'HEAD')) {
      plain(response, 404, 'nobody handles this path')
      return
    }
    try {
      this.#send ??= import(SEND).then((module: { default: Send }) => module.default)
      const send = await this.#send
      const question = target.indexOf('?')
      const path = question < 0 ? target : target.slice(0, question)
      const stream = send(request, path, { root: files, index: 'index.html', dotfiles: 'ignore' })
      stream.on('error', (error) => {
        const status = error?.status ?? 500
        if (status >= 500) log('error', 'a file could not be served', { path, reason: error })
        plain(response, status, status === 404 ? 'there is no such file' : 'this file is not served')
      })
      stream.on('directory', () => { plain(response, 404, 'there is no such file') })
      stream.pipe(response)
    } catch (error) {
      this.#send = undefined
      log('error', "webSocket: options.files needs the package 'send'", { reason: error })
      plain(response, 500, 'files are not served at present')
    }
  }

  /** Something failed that should not have. @returns whether it was here */
  broken(error: Error, name: unknown): boolean {
    const exchange = name instanceof HttpLabel ? name.exchange : undefined
    exchange?.fail(error)
    return exchange !== undefined
  }

  /** The driver ends. */
  end(): void {
    for (const exchange of this.#open.values()) exchange.fail(new Error('the server ends'))
  }
}

/** The parts between slashes, decoded one by one, so that an encoded slash is no slash; and the query. */
function splitPath(target: string): { path: readonly string[], query: string } | undefined {
  const question = target.indexOf('?')
  const path = question < 0 ? target : target.slice(0, question)
  if (!path.startsWith('/')) return undefined
  try {
    const parts = path.slice(1).split('/')
    return {
      path: path.includes('%') ? parts.map((part) => decodeURIComponent(part)) : parts,
      query: question < 0 ? '' : target.slice(question + 1),
    }
  } catch {
    return undefined
  }
}

/** Answers in words, unless it was answered. */
function plain(response: ServerResponse, status: number, text: string, last = false): void {
  if (response.headersSent || response.destroyed) {
    if (!response.writableEnded) response.destroy()
    return
  }
  const body = `${text}\n`
  response.statusCode = status
  response.setHeader('content-type', 'text/plain')
  response.setHeader('content-length', Buffer.byteLength(body))
  if (last) response.setHeader('connection', 'close')
  response.end(body)
}

/** The name of an exchange's endpoints. */
class HttpLabel extends Label {
  constructor(readonly exchange: HttpExchange) {
    super()
  }
}

/** A request that is being answered. */
class HttpExchange {
  readonly #id: HttpRequestId
  readonly #request: HttpRequestData
  readonly #response: ServerResponse
  readonly #fire: Fire
  readonly #over: () => void
  readonly #unhandled: () => void
  readonly #handlers = new HttpLabel(this)
  readonly #parts = new HttpLabel(this)
  readonly #timer: NodeJS.Timeout
  /** By the methods that they take. `*`: of those that take all. */
  readonly #methods = new Map<string, number>()
  #phase: 'asking' | 'handled' | 'streaming' | 'over' = 'asking'

  constructor(
    id: HttpRequestId, request: HttpRequestData, response: ServerResponse, answerTimeout: number, fire: Fire,
    over: () => void, unhandled: () => void,
  ) {
    this.#id = id
    this.#request = request
    this.#response = response
    this.#fire = fire
    this.#over = over
    this.#unhandled = unhandled
    this.#timer = setTimeout(() => {
      fire(() => {
        this.#forgetHeaders()
        return this.#refuse(503, 'the answer took too long')
      })
    }, answerTimeout)
    response.on('close', () => { fire(() => this.#finish()) })
  }

  begin(): ActionTree {
    const method = (of: string): string => (of as unknown) instanceof Wildcard ? '*' : of
    return [
      endpoint.publisher(httpRequest(this.#id, _, this.#request.path, _), {
        name: this.#handlers,
        onPresence: (topic) => { this.#change(method(topic.method), 1) },
        onAbsence: (topic) => {
          this.#change(method(topic.method), -1)
          const left = this.#phase === 'handled' && !this.#takes(this.#request.method)
          return left && this.#refuse(503, 'the handler has gone')
        },
      }),
      // By then the handlers that there are have been heard of.
      yieldTurn(() => this.#found()),
    ]
  }

  #change(method: string, by: 1 | -1): void {
    const left = (this.#methods.get(method) ?? 0) + by
    if (left > 0) this.#methods.set(method, left)
    else this.#methods.delete(method)
  }

  #takes(method: string): boolean {
    return this.#methods.has('*') || this.#methods.has(method) || (method === 'HEAD' && this.#methods.has('GET'))
  }

  #found(): ActionTree {
    if (this.#phase !== 'asking') return undefined
    const { method, path } = this.#request
    if (this.#takes(method)) {
      this.#phase = 'handled'
      // It is what GET would answer, without the body, unless somebody answers it himself.
      const asked = method === 'HEAD' && !this.#methods.has('HEAD') ? 'GET' : method
      return sendMessage(httpRequest(this.#id, asked, path, this.#request))
    }
    if (this.#methods.size > 0) {
      this.#response.setHeader('allow', [...this.#methods.keys()].join(', '))
      return this.#refuse(405, 'this path takes other methods')
    }
    const finished = this.#finish()
    this.#unhandled()
    return finished
  }

  #refuse(status: number, text: string): ActionTree {
    if (this.#phase === 'over') return undefined
    plain(this.#response, status, text)
    return this.#finish()
  }

  /** Those of an answer that there will not be. */
  #forgetHeaders(): void {
    const response = this.#response
    if (!response.headersSent) for (const name of response.getHeaderNames()) response.removeHeader(name)
  }

  /** Nothing more is to be done about it. */
  #finish(): ActionTree {
    if (this.#phase === 'over') return undefined
    this.#phase = 'over'
    clearTimeout(this.#timer)
    this.#over()
    return [deleteEndpoint(this.#handlers), deleteEndpoint(this.#parts)]
  }

  fail(error: Error): void {
    log('error', 'a request could not be answered', { target: this.#request.target, reason: error })
    if (this.#phase !== 'over') {
      this.#forgetHeaders()
      plain(this.#response, 500, 'it could not be answered')
    }
    this.#fire(() => this.#finish())
  }

  answered({ status, headers, body }: HttpAnswer): ActionTree {
    // The first answer counts: another handler's, or one that comes too late, is for nobody.
    if (this.#phase !== 'handled') return undefined
    const response = this.#response
    try {
      response.statusCode = status
      for (const name of Object.keys(headers)) response.setHeader(name, headers[name])
    } catch (error) {
      this.fail(asError(error, 'an answer'))
      return undefined
    }
    if (body === httpStreamed) return this.#stream()
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    if (status !== 204 && status !== 304) response.setHeader('content-length', bytes.length)
    response.end(bytes)
    return this.#finish()
  }

  /** The answer's parts come from a process that is there for as long as there are any. */
  #stream(): ActionTree {
    if (this.#request.method === 'HEAD') {
      this.#response.end()
      return this.#finish()
    }
    this.#phase = 'streaming'
    const response = this.#response
    const more = (): ActionTree => sendFeedback(httpPart(this.#id, httpWanted))
    response.on('drain', () => { this.#fire(() => this.#phase === 'streaming' && more()) })
    return endpoint.subscriber(httpPart(this.#id, _), {
      name: this.#parts,
      onPresence: () => {
        // Until somebody is there to send them, there is no answer.
        clearTimeout(this.#timer)
        return more()
      },
      // What broke off is not to be taken for whole.
      onAbsence: () => {
        if (this.#phase === 'streaming') response.destroy()
      },
      onMessage: ({ part }) => {
        if (this.#phase !== 'streaming' || part === httpWanted) return undefined
        if (part === eof) {
          response.end()
          return this.#finish()
        }
        if (typeof part !== 'string' && !(part instanceof Uint8Array)) {
          response.destroy()
          return undefined
        }
        return part.length === 0 || response.write(part) ? more() : undefined
      },
    })
  }
}


/** What a server of HTTP and the handlers of requests say to each other. */
import { httpModule } from '../support/builtins.js'
import { integer, ofType, type Check } from '../support/checks.js'
import { argumentError, fromCaller, rangeError } from '../support/errors.js'
import { defineCheckedRecord, shareSymbol, Wildcard, type RecordFrom } from '../topic/index.js'
import { sendMessage, type Action } from '../vm/index.js'
import { eof, type Eof } from './tcp-records.js'

/** Which request an answer is for: the number of who asks on behalf of it, and the request's there. */
export type HttpRequestId = readonly [asker: number, request: number]

/** A request, whole. */
export interface HttpRequestData {
  /** `GET`, ... */
  readonly method: string
  /** As it came: with the query, and nothing decoded. */
  readonly target: string
  /** The parts between slashes, decoded: what handlers are found by. */
  readonly path: readonly string[]
  /** What follows the `?`, as it came; '' if nothing does. */
  readonly query: string
  /** Of HTTP: `1.1`. */
  readonly version: string
  /** By lower-case name. Values of a header that came more than once are joined with a comma. */
  readonly headers: ReadonlyMap<string, string>
  /** The body; empty if there is none. */
  readonly body: Buffer
}

/** The body of an answer that comes piece by piece, as `httpPart`. */
export const httpStreamed: unique symbol = Symbol('streamed')
/** The type of `httpStreamed`. */
export type HttpStreamed = typeof httpStreamed
/** Feedback to who streams: the next part is welcome. */
export const httpWanted: unique symbol = Symbol('wanted')
/** The type of `httpWanted`. */
export type HttpWanted = typeof httpWanted

shareSymbol('httpStreamed', httpStreamed)
shareSymbol('httpWanted', httpWanted)

/** Which request: not the request itself. */
const checkId: Check = (call, name, value) => {
  const right = Array.isArray(value) && value.length === 2
    && value.every((one) => typeof one === 'number' || one instanceof Wildcard)
  if (!right) throw argumentError(call, name, 'the id of a request: the field id of httpRequest', value)
}

/** Of a request or a topic of some: nobody asks by another name. */
const method: Check = (call, name, value) => {
  const right = typeof value === 'string' && value !== '' && value === value.toUpperCase()
  if (!right) throw argumentError(call, name, "a method in capital letters, such as 'GET'", value)
}

/** Of a request or a topic of some: the parts between the slashes, which may be wildcards. */
const path: Check = (call, name, value) => {
  const expected = "an array of its parts, such as ['users', '7'], or [''] for '/'"
  if (!Array.isArray(value) || value.length === 0) throw argumentError(call, name, expected, value)
}

const status = integer(200, 599)

const checkHeaders = ofType('object')

/** Of an answer. */
const body: Check = (call, name, value) => {
  if (typeof value === 'string' || value instanceof Uint8Array || value === httpStreamed) return
  throw argumentError(call, name, 'a string, a Uint8Array or httpStreamed', value)
}

const part: Check = (call, name, value) => {
  if (typeof value === 'string' || value instanceof Uint8Array || value === eof || value === httpWanted) return
  throw argumentError(call, name, 'a string, a Uint8Array, eof or httpWanted', value)
}

/**
 * A request: `endpoint.subscriber(httpRequest(_, 'GET', ['users', _], _), ...)` handles `GET /users/7`.
 *
 * @throws TypeError for a method that is none, or a path that is no array, or an empty one
 */
export const httpRequest = defineCheckedRecord('http-request', ['id', 'method', 'path', 'request'], {
  method, path,
}).of<
  [id: HttpRequestId, method: string, path: readonly unknown[], request: HttpRequestData]
>()
/** A record that `httpRequest` makes. */
export type HttpRequest = RecordFrom<typeof httpRequest>

/**
 * Its answer. Use `httpReply`, which checks the headers too.
 *
 * @throws TypeError or RangeError for what is no request's id, a status that is not from 200 to 599, or what is no body
 */
export const httpAnswer = defineCheckedRecord('http-answer', ['id', 'status', 'headers', 'body'], {
  id: checkId, status, headers: checkHeaders, body,
}).of<
  [
    id: HttpRequestId, status: number, headers: Readonly<Record<string, string>>,
    body: string | Uint8Array | HttpStreamed,
  ]
>()
/** A record that `httpAnswer` makes. */
export type HttpAnswer = RecordFrom<typeof httpAnswer>

/**
 * A part of an answer's body, or `eof` after the last one; `httpWanted`, the other way, asks for one.
 *
 * @throws TypeError for what is none of these
 */
export const httpPart = defineCheckedRecord('http-part', ['id', 'part'], { id: checkId, part }).of<
  [id: HttpRequestId, part: string | Uint8Array | Eof | HttpWanted]
>()
/** A record that `httpPart` makes. */
export type HttpPart = RecordFrom<typeof httpPart>

/** Headers that say how long a body is: the connection's business alone. */
const FRAMING = new Set(['content-length', 'transfer-encoding', 'connection', 'trailer', 'upgrade'])

/**
 * Answers a request. What is wrong with an answer is its handler's fault, so it is found out here.
 *
 * @param status from 200 to 599
 * @throws TypeError or RangeError for what is no request's id, or a status or a header that can't be sent
 */
export function httpReply(
  id: HttpRequestId, status: number, body: string | Uint8Array | HttpStreamed = '',
  headers: Readonly<Record<string, string>> = {},
): Action {
  checkId('httpReply', 'id', id)
  checkHeaders('httpReply', 'headers', headers)
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw rangeError('httpReply', 'status', 'a whole number from 200 to 599', status)
  }
  if (typeof body !== 'string' && !(body instanceof Uint8Array) && body !== httpStreamed) {
    throw argumentError('httpReply', 'body', 'a string, a Uint8Array or httpStreamed', body)
  }
  if (body === httpStreamed && (status === 204 || status === 304)) {
    throw rangeError('httpReply', 'status', 'one with a body, where it is streamed', status)
  }
  for (const [name, value] of Object.entries(headers)) {
    try {
      httpModule().validateHeaderName(name)
      httpModule().validateHeaderValue(name, value)
    } catch (error) {
      const { message, code } = error as NodeJS.ErrnoException
      throw fromCaller(Object.assign(new TypeError(`httpReply: headers: ${message}`), { code }))
    }
    if (FRAMING.has(name.toLowerCase())) {
      throw argumentError('httpReply', 'headers', 'without those that say how long the body is', name)
    }
  }
  return sendMessage(httpAnswer(id, status, headers, body))
}

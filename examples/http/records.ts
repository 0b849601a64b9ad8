/** What a connection and the handlers of requests say to each other. */
import { validateHeaderName, validateHeaderValue } from 'node:http'
import { _, defineRecord, sendMessage, type Action, type Eof } from 'marketplace-native'

/** Which request an answer is for: the connection's number, and the request's in it. */
export type RequestId = readonly [connection: number, request: number]

/** A request, whole. */
export interface Request {
  readonly method: string
  /** As it came: with the query, and nothing decoded. */
  readonly target: string
  /** The parts between slashes, decoded: what handlers are found by. */
  readonly path: readonly string[]
  readonly query: string
  readonly version: string
  /** By lower-case name. Values of a header that came more than once are joined with a comma. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
}

/** The body of an answer that comes piece by piece, as `httpPart`. */
export const streamed: unique symbol = Symbol('streamed')
/** Feedback to who streams: the next part is welcome. */
export const wanted: unique symbol = Symbol('wanted')

/** A request: `endpoint.subscriber(httpRequest(_, 'GET', ['users', _], _), ...)` handles `GET /users/7`. */
export const httpRequest = defineRecord('http-request', ['id', 'method', 'path', 'request']).of<
  [id: RequestId, method: string, path: readonly unknown[], request: Request]
>()

/** Its answer. Use `answer`, which checks it. */
export const httpAnswer = defineRecord('http-answer', ['id', 'status', 'headers', 'body']).of<
  [
    id: RequestId, status: number, headers: Readonly<Record<string, string>>,
    body: string | Uint8Array | typeof streamed,
  ]
>()

/** The topic of all answers to a connection's requests. */
export const answersTo = (connection: number) =>
  httpAnswer([connection, _] as unknown as RequestId, _, _, _)

/** A part of an answer's body, or `eof` after the last one; `wanted`, the other way, asks for one. */
export const httpPart = defineRecord('http-part', ['id', 'part']).of<
  [id: RequestId, part: string | Uint8Array | Eof | typeof wanted]
>()

/** Headers that say how long a body is: the connection's business alone. */
const FRAMING = new Set(['content-length', 'transfer-encoding', 'connection', 'trailer', 'upgrade'])

/**
 * Answers a request. What is wrong with an answer is its handler's fault, so it is found out here.
 *
 * @throws TypeError or RangeError for a status or a header that can't be sent
 */
export function answer(
  id: RequestId, status: number, body: string | Uint8Array | typeof streamed = '',
  headers: Readonly<Record<string, string>> = {},
): Action {
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new RangeError(`answer: status must be a whole number from 200 to 599, not ${status}`)
  }
  if (body === streamed && (status === 204 || status === 304)) {
    throw new RangeError(`answer: ${status} has no body that could be streamed`)
  }
  for (const [name, value] of Object.entries(headers)) {
    validateHeaderName(name)
    validateHeaderValue(name, value)
    if (FRAMING.has(name.toLowerCase())) throw new TypeError(`answer: ${name} is set by the connection`)
  }
  return sendMessage(httpAnswer(id, status, headers, body))
}

/** The HTTP server: whoever has an endpoint for a request handles it. There is no table of routes. */
import {
  _, endpoint, quit, spawn, tcpChannel, tcpListener, type Action, type ActionTree,
  type FlowControlledTcpOptions, type Wildcard,
} from 'marketplace-native'
import { HttpConnection, type HttpOptions } from './connection.js'
import { httpRequest, type Request, type RequestId } from './records.js'
import { stopping } from '../support/run.js'

const DEFAULTS: HttpOptions = {
  maxHead: 16 * 1024,
  maxHeaders: 100,
  maxBody: 1024 * 1024,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  answerTimeout: 30_000,
}

/** What the TCP driver has to be told: clients that don't read, or don't leave, are cut off. */
export const driverOptions: FlowControlledTcpOptions = {
  allowHalfOpen: true, idleTimeout: 60_000,
}

/** Listens until somebody publishes `stopping`. Beside it there have to be the drivers `tcp` and `timer`. */
export const httpServer = (port: number, options: Partial<HttpOptions> = {}): Action =>
  spawn(() => [
    endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) =>
        spawn(() => new HttpConnection(them, us, { ...DEFAULTS, ...options }).boot(), { name: 'http' }),
    }),
    endpoint.subscriber(stopping(_), { onPresence: () => quit() }),
  ], { name: 'http server' })

/**
 * Starts a process that handles requests. Should it crash, the request that it was about is answered with 503
 * (the connection hears of its absence), and a new one is started (so does its keeper).
 *
 * @param method `GET`, ..., or `_` for all
 * @param path parts of the path: texts, and `_` for any
 */
export const route = (
  method: string | Wildcard, path: readonly (string | Wildcard)[],
  handle: (id: RequestId, request: Request) => ActionTree | Promise<ActionTree>,
): Action => {
  const text = (part: string | Wildcard) => (typeof part === 'string' ? part : '*')
  const name = `${text(method)} /${path.map(text).join('/')}`
  const alive = [Symbol(name)]
  const handler = spawn(() => [
    endpoint.publisher(alive),
    endpoint.subscriber(httpRequest(_, method as string, path, _), {
      onMessage: ({ id, request }) => handle(id, request),
    }),
  ], { name })
  const keeper = endpoint.subscriber(alive, {
    interest: 'observer',
    onAbsence: (_topic, _state, reason) => (reason === undefined ? quit() : handler),
  })
  return spawn(() => [keeper, handler], { name: `keeper of ${name}` })
}

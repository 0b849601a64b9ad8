/**
 * A small web server. Each route is a process with an endpoint for the requests that it handles; a route that
 * is there is found, one that isn't is 404.
 *
 *   node dist/examples/http.js --port 8080 --workers 2
 */
import {
  _, endpoint, eof, quit, sendMessage, spawn, tcp, timerDriver, transition, type ActionTree,
} from 'marketplace-native'
import { answer, httpPart, httpRequest, streamed, wanted } from './http/records.js'
import { driverOptions, httpServer, route } from './http/server.js'
import { isMain, numberOf, onWorker, runExample, workersArguments, type Example } from './support/run.js'

/** Counts down, a line for each time that the client has taken the one before. */
const countdown = (id: Parameters<typeof httpPart>[0], from: number): ActionTree =>
  spawn(() => transition(
    from,
    endpoint.publisher(httpPart(id, _), {
      onMessage: ({ part }, left: number) => {
        if (part !== wanted) return undefined
        if (left === 0) return [sendMessage(httpPart(id, eof)), quit()]
        return transition(left - 1, sendMessage(httpPart(id, `${left}\n`)))
      },
      onAbsence: () => quit(), // the client has gone
    }),
  ))

export const routes = (): ActionTree => [
  route('GET', [''], (id) => answer(id, 200, 'hello, world\n', { 'content-type': 'text/plain' })),
  route('GET', ['hello', _], (id, { path: [, name] }) => answer(id, 200, `hello, ${name}\n`)),
  route('POST', ['echo'], (id, { body, headers }) =>
    answer(id, 200, body, { 'content-type': headers.get('content-type') ?? 'application/octet-stream' })),
  route('GET', ['countdown', _], (id, { path: [, from] }) =>
    /^\d{1,6}$/.test(from)
      ? [countdown(id, Number(from)), answer(id, 200, streamed)]
      : answer(id, 400, 'a countdown starts at a whole number\n')),
  route('GET', ['crash'], () => { throw new Error('asked to') }),
]

/** Who only watches isn't noticed: an observer is no handler. */
export const accessLog = (): ActionTree =>
  endpoint.subscriber(httpRequest(_, _, _, _), {
    interest: 'observer',
    onMessage: ({ request: { method, target } }) => console.log(`${method} ${target}`),
  })

const example: Example = {
  usage: 'usage: http.js [--host 127.0.0.1] [--port 8080] [--quiet: print no requests] '
    + '[--workers N: as many threads, or auto]',
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8080' },
    quiet: { type: 'boolean', default: false },
    ...workersArguments,
  },
  hint: (host, port) => `try it: curl http://${host}:${port}/hello/you`,
  module: import.meta.url,
  boot: (values) => [
    tcp({ ...driverOptions, host: String(values['host']) }),
    timerDriver(),
    httpServer(numberOf(values, 'port', 65_535)),
    spawn(routes, { name: 'routes' }),
    values['quiet'] !== true && spawn(accessLog, { name: 'access log' }),
  ],
}

/** What a worker runs: nothing of a request is kept, so they need know nothing of each other. */
export default onWorker(example)

if (isMain(import.meta.url)) await runExample(example)

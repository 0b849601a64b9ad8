/** Requests of HTTP on the ports of WebSockets: handlers, files, and what strangers try; over each carrier. */
import {
  mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync, truncateSync, writeFileSync,
} from 'node:fs'
import { Agent, request as httpRequestOf, type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import {
  _, endpoint, eof, httpPart, httpReply, httpRequest, httpStreamed, httpWanted, quit, sendMessage, spawn, transition,
  wsChannel, wsListener, type ActionTree, type HttpRequestData, type HttpRequestId, type WebSocketOptions,
} from 'marketplace-native'
import { pattern, sleep, until } from '../support/util.js'
import { onEachCarrier, RawClient, type Start } from './web-socket-program.js'

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** One request on a connection of its own. The path goes out as it is written. */
function ask(
  base: string, path: string, how: { method?: string, headers?: Record<string, string>, body?: Buffer } = {},
): Promise<Answer> {
  const { hostname, port } = new URL(base)
  const { method = 'GET', headers = {}, body } = how
  return new Promise((resolve, reject) => {
    const request = httpRequestOf({ host: hostname, port, path, method, headers, agent: new Agent() }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

const route = (
  method: string, path: readonly unknown[],
  handle: (id: HttpRequestId, request: HttpRequestData) => ActionTree | Promise<ActionTree>,
): ActionTree => spawn(() => endpoint.subscriber(httpRequest(_, method, path, _), {
  onMessage: ({ id, request }) => handle(id, request),
}))

async function serve(start: Start, routes: ActionTree, options: WebSocketOptions = {}): Promise<string> {
  const program = start(() => [endpoint.subscriber(wsChannel(_, wsListener(0, '/ws'), _)), routes], options)
  return await program.url()
}

onEachCarrier('a handler of HEAD is asked; a reply that can not be one is told where it is made', async (t, start) => {
  const base = await serve(start, [
    route('HEAD', ['only'], (id) => httpReply(id, 200, '', { 'x-by': 'head' })),
    route('HEAD', ['both'], (id) => httpReply(id, 200, '', { 'x-by': 'head' })),
    route('GET', ['both'], (id) => httpReply(id, 200, 'body', { 'x-by': 'get' })),
    route('GET', [''], (id) => httpReply(id, 200, 'root')),
  ], { answerTimeout: 2000 })
  for (const path of ['/only', '/both']) {
    const { status, headers } = await ask(base, path, { method: 'HEAD' })
    t.same([status, headers['x-by']], [200, 'head'], path)
  }
  t.equal((await ask(base, '/both')).headers['x-by'], 'get')
  t.equal((await ask(base, '/only')).status, 405)
  t.equal((await ask(base, '/')).body.toString(), 'root')
  const wrong: [unknown[], RegExp][] = [
    [[undefined, 200], /^httpReply: id must be the id of a request: the field id of httpRequest; got undefined/],
    [[{ id: [1, 1] }, 200], /^httpReply: id must be the id/],
    [[[1, 1], '200'], /^httpReply: status must be/],
    [[[1, 1], 200, 'x', null], /^httpReply: headers must be an object; got null/],
    [[[1, 1], 200, 'x', 'text/html'], /^httpReply: headers must be an object; got 'text\/html'/],
    [[[1, 1], 200, 'x', { 'a b': 'x' }], /^httpReply: headers: Header name must be/],
    [[[1, 1], 200, 'x', { a: 'x\n' }], /^httpReply: headers: Invalid character/],
  ]
  for (const [given, message] of wrong) {
    t.throws(() => (httpReply as (...given: unknown[]) => unknown)(...given), { message })
  }
})

onEachCarrier('handlers: found by presence; 404, 405, 503; HEAD, bodies, headers, the query', async (t, start) => {
  let slow: HttpRequestId | undefined
  const base = await serve(start, [
    route('GET', ['hello', _], (id, { path, query }) =>
      httpReply(id, 200, `hello ${path[1]} ${query}`, { 'x-a': 'b', 'content-type': 'text/plain' })),
    route('POST', ['echo'], (id, { body, headers }) =>
      httpReply(id, 201, body, { 'content-type': headers.get('content-type') ?? '' })),
    route('GET', ['crash'], () => { throw new Error('oops') }),
    route('GET', ['empty'], (id) => httpReply(id, 204)),
    route('GET', ['slow'], (id) => { slow = id }),
  ], { answerTimeout: 300, maxBody: 100_000 })
  const hello = await ask(base, '/hello/w%C3%B6rld%2Fx?a=1&b')
  t.same([hello.status, hello.body.toString(), hello.headers['x-a']], [200, 'hello wörld/x a=1&b', 'b'])
  const head = await ask(base, '/hello/x', { method: 'HEAD' })
  t.same([head.status, head.body.length, head.headers['content-length']], [200, 0, '8'])
  const body = pattern(99_999)
  const echoed = await ask(base, '/echo', { method: 'POST', body, headers: { 'content-type': 'application/x' } })
  t.same([echoed.status, echoed.headers['content-type']], [201, 'application/x'])
  t.ok(echoed.body.equals(body))
  t.equal((await ask(base, '/empty')).status, 204)
  t.equal((await ask(base, '/nowhere')).status, 404)
  const wrong = await ask(base, '/echo')
  t.same([wrong.status, wrong.headers.allow], [405, 'POST'])
  t.equal((await ask(base, '/crash')).status, 503, 'its handler has gone')
  t.equal((await ask(base, '/crash')).status, 404, 'and nobody has come instead')
  t.equal((await ask(base, '/slow')).status, 503)
  t.ok(slow, 'though somebody had it')
  t.equal((await ask(base, '/%zz')).status, 400)
  const long = await ask(base, '/echo', { method: 'POST', body: pattern(200_000) }).catch(() => undefined)
  t.ok(long === undefined || long.status === 413)
  t.equal((await RawClient.open(base)).status, 101, 'and WebSockets are there, too')
})

onEachCarrier('many requests on one connection', async (t, start) => {
  const base = await serve(start, route('GET', ['n', _], (id, { path }) => httpReply(id, 200, path[1])))
  const { port, hostname } = new URL(base)
  const socket = connect(Number(port), hostname)
  let text = ''
  socket.on('data', (data) => { text += data.toString() })
  for (let i = 0; i < 20; i++) {
    socket.write(`GET /n/x${i}y HTTP/1.1\r\nhost: x\r\n\r\n`)
    await until(() => text.includes(`x${i}y`))
  }
  t.equal(text.split('HTTP/1.1 200').length, 21)
  socket.destroy()
})

onEachCarrier('a body in parts, as the client takes them; one that breaks off is not whole', async (t, start) => {
  const part = pattern(50_000)
  const streamer = (id: HttpRequestId, count: number, end: ActionTree) => spawn(() => transition(count,
    endpoint.publisher(httpPart(id, _), {
      onMessage: ({ part: message }, left: number) => {
        if (message !== httpWanted) return undefined
        return left > 0 ? transition(left - 1, sendMessage(httpPart(id, part))) : [end, quit()]
      },
      onAbsence: () => quit(),
    })))
  const base = await serve(start, [
    route('GET', ['whole'], (id) =>
      [streamer(id, 40, sendMessage(httpPart(id, eof))), httpReply(id, 200, httpStreamed)]),
    route('GET', ['broken'], (id) => [streamer(id, 3, undefined), httpReply(id, 200, httpStreamed)]),
  ])
  const { body } = await ask(base, '/whole')
  t.ok(body.equals(Buffer.concat(Array.from({ length: 40 }, () => part))))
  await t.rejects(ask(base, '/broken'))
})

onEachCarrier('a body in parts that nobody ever sends: 503, with nothing of what there was to be', async (t, start) => {
  const base = await serve(start, [
    route('GET', ['nobody'], (id) => httpReply(id, 200, httpStreamed, { 'content-encoding': 'gzip' })),
    route('GET', ['late'], (id) => [
      httpReply(id, 200, httpStreamed),
      spawn(() => endpoint.publisher(httpPart(id, _), {
        onMessage: async ({ part }) => {
          if (part !== httpWanted) return undefined
          await sleep(600)
          return [sendMessage(httpPart(id, 'late')), sendMessage(httpPart(id, eof)), quit()]
        },
      })),
    ]),
  ], { answerTimeout: 300 })
  const { status, headers } = await ask(base, '/nobody')
  t.same([status, headers['content-encoding']], [503, undefined])
  t.equal((await ask(base, '/late')).body.toString(), 'late', 'who is there may take his time')
})

onEachCarrier('an upgrade to another protocol is not taken up: the request is as any other', async (t, start) => {
  const base = await serve(start, route('POST', ['h2'], (id, { body }) => httpReply(id, 200, body)))
  const { port, hostname } = new URL(base)
  const socket = connect(Number(port), hostname)
  let text = ''
  socket.on('data', (data) => { text += data.toString() })
  const asks = 'connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n'
  for (const body of ['first', 'second']) {
    socket.write(`POST /h2 HTTP/1.1\r\nhost: x\r\n${asks}content-length: ${body.length}\r\n\r\n${body}`)
    await until(() => text.endsWith(body) || text.includes('HTTP/1.1 4'))
  }
  t.equal(text.split('HTTP/1.1 200').length, 3)
  socket.destroy()
  t.equal((await RawClient.open(base)).status, 101)
})

function folder(t: Test): string {
  const top = mkdtempSync(join(tmpdir(), 'files-'))
  t.teardown(() => { rmSync(top, { recursive: true, force: true }) })
  const files = join(top, 'files')
  mkdirSync(join(files, 'sub'), { recursive: true })
  writeFileSync(join(top, 'secret.txt'), 'secret')
  writeFileSync(join(files, 'index.html'), '<!doctype html>page')
  writeFileSync(join(files, 'big.bin'), pattern(3_000_000))
  writeFileSync(join(files, 'sub', 'a b.txt'), 'text')
  writeFileSync(join(files, '.hidden'), 'secret')
  symlinkSync(join(files, 'index.html'), join(files, 'link.html'))
  return files
}

onEachCarrier('files: types, ETag, ranges, HEAD, folders; handlers come first', async (t, start) => {
  const base = await serve(start, route('GET', ['own'], (id) => httpReply(id, 200, 'handler')), { files: folder(t) })
  const page = await ask(base, '/')
  t.same([page.status, page.body.toString()], [200, '<!doctype html>page'])
  t.match(page.headers['content-type'], /text\/html/)
  const { etag } = page.headers
  t.match(etag, /^W?\/?"/)
  t.equal((await ask(base, '/', { headers: { 'if-none-match': String(etag) } })).status, 304)
  const big = await ask(base, '/big.bin')
  t.ok(big.body.equals(pattern(3_000_000)), 'a big one comes whole')
  const part = await ask(base, '/big.bin', { headers: { range: 'bytes=1000-1999' } })
  t.same([part.status, part.headers['content-range']], [206, 'bytes 1000-1999/3000000'])
  t.ok(part.body.equals(pattern(3_000_000).subarray(1000, 2000)))
  const tail = await ask(base, '/big.bin', { headers: { range: 'bytes=-5' } })
  t.ok(tail.body.equals(pattern(3_000_000).subarray(-5)))
  t.equal((await ask(base, '/big.bin', { headers: { range: 'bytes=9000000-' } })).status, 416)
  const head = await ask(base, '/big.bin', { method: 'HEAD' })
  t.same([head.status, head.body.length, head.headers['content-length']], [200, 0, '3000000'])
  t.equal((await ask(base, '/sub/a%20b.txt?x=1')).body.toString(), 'text')
  t.equal((await ask(base, '/own')).body.toString(), 'handler')
  t.equal((await ask(base, '/sub')).status, 404)
  t.equal((await ask(base, '/missing')).status, 404)
  t.equal((await ask(base, '/index.html', { method: 'POST' })).status, 404)
})

onEachCarrier('files: nothing outside of the folder, no hidden ones', async (t, start) => {
  const base = await serve(start, undefined, { files: folder(t) })
  const paths = [
    '/../secret.txt', '/..%2fsecret.txt', '/%2e%2e/secret.txt', '/sub/../../secret.txt', '/sub/..%2f..%2fsecret.txt',
    '/..\\secret.txt', '/%5c..%5csecret.txt', '//etc/passwd', '/%00', '/.hidden', '/%2ehidden', '/sub/../.hidden',
    '/....//secret.txt', '/index.html%00.txt', `/${'a/'.repeat(2_000)}`, '/files/../../secret.txt',
  ]
  for (const path of paths) {
    const answer = await ask(base, path).catch(() => undefined)
    t.ok(answer === undefined || answer.status >= 400, `${path.slice(0, 40)}: ${answer?.status ?? 'cut off'}`)
    t.notMatch(answer?.body.toString() ?? '', /secret|root:/)
  }
})

onEachCarrier('clients that leave before the answer, or do not read it', async (t, start) => {
  const base = await serve(start, route('GET', ['late'], async (id) => {
    await sleep(50)
    return httpReply(id, 200, pattern(1_000_000))
  }), { files: folder(t) })
  const { port, hostname } = new URL(base)
  for (let i = 0; i < 20; i++) {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => undefined)
    socket.write(`GET ${i % 2 === 0 ? '/late' : '/big.bin'} HTTP/1.1\r\nhost: x\r\n\r\n`)
    await sleep(i)
    if (i % 3 === 0) socket.resetAndDestroy()
    else if (i % 3 === 1) socket.end()
    else socket.pause().setTimeout(300, () => socket.destroy())
  }
  await sleep(400)
  t.equal((await ask(base, '/')).status, 200)
})

/** How many descriptors of files with this name the process has. */
function opened(name: string): number {
  return readdirSync('/proc/self/fd').filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`).endsWith(name)
    } catch {
      return false // that of the folder itself
    }
  }).length
}

onEachCarrier('files are closed when who asked for them is gone, or takes nothing', async (t, start, carrier) => {
  const files = folder(t)
  const name = `long-${carrier}.bin`
  writeFileSync(join(files, name), '')
  truncateSync(join(files, name), 64 * 1024 * 1024)
  const base = await serve(start, undefined, { files, idleTimeout: 1000, pingInterval: 500, maxConnections: 10 })
  const { port, hostname } = new URL(base)
  const askers = Array.from({ length: 20 }, () => {
    const socket = connect(Number(port), hostname).pause()
    socket.on('error', () => undefined)
    socket.write(`GET /${name} HTTP/1.1\r\nhost: x\r\n\r\n`)
    return socket
  })
  await until(() => opened(name) === 20)
  // Those of uWebSockets.js would be there for some 16 s.
  for (const socket of carrier === 'ws' ? askers.slice(10) : askers) socket.destroy()
  await until(() => opened(name) === 0)
  for (const socket of askers) socket.destroy()
  t.equal((await RawClient.open(base)).status, 101)
}, { skip: process.platform === 'linux' ? false : 'looks into /proc' })

onEachCarrier('an answer may be longer in coming than idleTimeout', async (t, start) => {
  const base = await serve(start, route('GET', ['late'], async (id) => {
    await sleep(2500)
    return httpReply(id, 200, 'late')
  }), { idleTimeout: 1000, pingInterval: 500 })
  t.equal((await ask(base, '/late')).body.toString(), 'late')
})

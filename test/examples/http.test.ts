/** The HTTP example: what clients by others get from it, and what follows from presence. */
import { endsByItself } from '../drivers/tcp-program.js'
import { once } from 'node:events'
import { Agent, request, type IncomingMessage } from 'node:http'
import {
  _, endpoint, quit, sendMessage, spawn, type ActionTree,
} from 'marketplace-native'
import {
  answer, httpPart, httpRequest, streamed, wanted, type RequestId,
} from '../../examples/http/records.js'
import { route } from '../../examples/http/server.js'
import { stopping } from '../../examples/support/run.js'
import { client, cutOff, missing, pattern, runProgram, until } from '../support/util.js'
import { get, last, onHttp, say, statuses } from './http-program.js'

/** Answers when it is told to, in whatever order. */
const later = new Map<string, () => void>()
const slow = (): ActionTree =>
  route('GET', ['slow', _], (id, { path: [, name] }) => new Promise((resolve) => {
    later.set(name, () => { resolve(answer(id, 200, `slow ${name}\n`)) })
  }))

const none = Buffer.alloc(0)

async function curl(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram('curl', ['-sS', '-m', '15', ...args], none)
  if (code !== 0) throw new Error(`curl: ${code}: ${stderr}`)
  return stdout.toString('latin1')
}

onHttp('curl: answers, methods, bodies, one connection for all', async (t, run) => {
  const { program, url } = await run()
  const status = ['-w', ' %{http_code}']
  t.equal(await curl(...status, `${url}/`), 'hello, world\n 200')
  t.equal(await curl(...status, `${url}/hello/%e2%82%ac?x=1`), 'hello, \xe2\x82\xac\n 200')
  t.equal(await curl(...status, `${url}/nobody`), 'nobody handles this path\n 404')
  const refused = await curl(...status, '-i', '-X', 'DELETE', `${url}/`)
  t.match(refused, /^HTTP\/1.1 405 [^]*\r\nallow: GET\r\n[^]* 405$/)
  t.match(await curl('-I', `${url}/`), /^HTTP\/1.1 200 OK\r\n[^]*content-length: 13\r\n\r\n$/)
  t.equal(await curl('--data-binary', 'a=b', `${url}/echo`), 'a=b')
  t.equal(await curl('-H', 'Transfer-Encoding: chunked', '-d', 'a=b', `${url}/echo`), 'a=b')
  t.equal(await curl(`${url}/countdown/4`), '4\n3\n2\n1\n')
  t.equal(await curl('--http1.0', `${url}/countdown/4`), '4\n3\n2\n1\n', 'without chunks to who knows none')
  const before = program.transports[0].metrics.accepts
  await curl(`${url}/`, `${url}/hello/a`, `${url}/nobody`, '-d', 'x', `${url}/echo`)
  t.equal(program.transports[0].metrics.accepts, before + 1, 'all over one connection')
  t.match(await curl('-v', '--stderr', '-', '-H', 'Expect: 100-continue', '-d', 'late', `${url}/echo`),
    /HTTP\/1\.1 100 Continue[^]*HTTP\/1\.1 200 OK[^]*late/)
}, missing('curl'))

onHttp('wrk: no errors', async (t, run) => {
  const { url } = await run()
  const { stdout } = await runProgram('wrk', ['-t1', '-c20', '-d1', `${url}/`], Buffer.alloc(0))
  t.match(stdout.toString(), /\d+ requests in/)
  t.notMatch(stdout.toString(), /Non-2xx|Socket errors/)
}, missing('wrk'))

onHttp('Node\'s client: keep-alive, a body in chunks there and back', async (t, run) => {
  const { port } = await run()
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => { agent.destroy() })
  const body = pattern(900_000)
  for (const [index, headers] of [{}, { 'content-length': body.length }].entries()) {
    const asked = request({ port, host: '127.0.0.1', path: '/echo', method: 'POST', agent, headers })
    for (let at = 0; at < body.length; at += 70_001) asked.write(body.subarray(at, at + 70_001))
    asked.end()
    const [response] = await once(asked, 'response') as [IncomingMessage]
    const parts: Buffer[] = []
    for await (const part of response) parts.push(part as Buffer)
    t.ok(Buffer.concat(parts).equals(body))
    t.equal(asked.reusedSocket, index > 0)
  }
})

onHttp('pipelined requests are answered in order, whoever is ready first', async (t, run) => {
  const { port } = await run({}, slow())
  const paths = ['/slow/1', '/hello/2', '/slow/3', '/nobody']
  const heard = say(port, ...paths.map((path) => get(path)), get('/', last))
  await until(() => later.has('1'))
  later.get('1')?.()
  await until(() => later.has('3'))
  later.get('3')?.()
  const bodies = (await heard).split(/HTTP\/1\.1 /).slice(1).map((one) => one.split('\r\n\r\n')[1])
  t.strictSame(bodies, ['slow 1\n', 'hello, 2\n', 'slow 3\n', 'nobody handles this path\n', 'hello, world\n'])
  later.clear()
})

onHttp('5,000 requests at once, cut anywhere', async (t, run) => {
  const { port } = await run()
  const numbers = Array.from({ length: 5_000 }, (_, index) => index)
  const all = Buffer.from(numbers.map((n) => get(`/hello/${n}`)).join('') + get('/', last))
  const pieces: Buffer[] = []
  for (let at = 0; at < all.length; at += 9_973) pieces.push(all.subarray(at, at + 9_973))
  const heard = await say(port, ...pieces)
  t.strictSame([...heard.matchAll(/hello, (\d+)/g)].map(([, n]) => Number(n)), numbers)
})

onHttp('a request byte by byte, and one whose client has finished', async (t, run) => {
  const { port } = await run()
  const socket = await client(port)
  let heard = ''
  socket.setEncoding('utf8').on('data', (text: string) => { heard += text })
  const text = 'POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n'
    + '2;x=y\r\nab\r\n0\r\nt: 1\r\n\r\n'
  for (const byte of text) {
    socket.write(byte)
    await new Promise(setImmediate)
  }
  await until(() => heard.endsWith('ab'))
  socket.end(get('/hello/end'))
  await once(socket, 'end')
  t.match(heard, /hello, end\n$/)
})

onHttp('a handler that crashes: 503 for its request, and another one is there', async (t, run) => {
  const { program, port } = await run({}, slow())
  const bystander = say(port, get('/slow/x', last))
  await until(() => later.has('x'))
  for (let again = 0; again < 3; again++) {
    t.strictSame(statuses(await say(port, get('/crash', last))), [503])
  }
  later.get('x')?.()
  t.match(await bystander, /slow x/, 'nobody else noticed')
  t.ok(program.log.some(({ fields }) => String(fields['reason']).includes('asked to')), 'the log says why')
  later.clear()
})

onHttp('routes come and go, and are found or not', async (t, run) => {
  const gone = Symbol('gone')
  const guest = spawn(() => [
    endpoint.subscriber(httpRequest(_, 'GET', ['guest'], _), {
      onMessage: ({ id }) => answer(id, 200, 'here'),
    }),
    endpoint.subscriber(gone, { onMessage: () => quit() }),
  ])
  const { program, port } = await run()
  const status = async () => statuses(await say(port, get('/guest', last)))[0]
  t.equal(await status(), 404)
  program.do(guest)
  t.equal(await status(), 200)
  program.do(sendMessage(gone))
  t.equal(await status(), 404)
})

onHttp('a handler that quits without an answer: 503', async (t, run) => {
  const { port } = await run({}, spawn(() =>
    endpoint.subscriber(httpRequest(_, 'GET', ['quitter'], _), { onMessage: () => quit() })))
  t.strictSame(statuses(await say(port, get('/quitter', last))), [503])
})

onHttp('one connection, one path: who handles it may change from request to request', async (t, run) => {
  const gone = Symbol('gone')
  const guest = (method: string) => spawn(() => [
    endpoint.subscriber(httpRequest(_, method, ['guest'], _), {
      onMessage: ({ id }) => answer(id, 200, method),
    }),
    endpoint.subscriber(gone, { onMessage: () => quit() }),
  ])
  const { program, port } = await run()
  const socket = await client(port)
  let heard = ''
  socket.setEncoding('latin1').on('data', (text: string) => { heard += text })
  const asks = async (method: string, path = '/guest'): Promise<number> => {
    heard = ''
    socket.write(`${method} ${path} HTTP/1.1\r\nHost: here\r\n\r\n`)
    await until(() => /\r\n\r\n[^]/.test(heard))
    return statuses(heard)[0]
  }
  t.equal(await asks('GET'), 404)
  program.do(guest('GET'))
  t.equal(await asks('GET'), 200)
  t.equal(await asks('DELETE'), 405)
  t.match(heard, /allow: GET\r\n/)
  program.do(guest('DELETE'))
  t.equal(await asks('DELETE'), 200)
  t.equal(await asks('GET', '/crash'), 503)
  t.equal(await asks('GET'), 200)
  program.do(sendMessage(gone))
  t.equal(await asks('GET'), 404)
  t.equal(await asks('GET', '/crash'), 503)
  t.equal(await asks('GET', '/crash'), 503, 'another one is there, and is told of when it goes, too')
  socket.end()
})

onHttp('what a handler may not answer is its own crash', async (t, run) => {
  const { port } = await run({},
    route('GET', ['split'], (id) => answer(id, 200, '', { 'x-bad': 'a\r\nset-cookie: b' })),
    route('GET', ['length'], (id) => answer(id, 200, '', { 'Content-Length': '7' })),
    route('GET', ['status'], (id) => answer(id, 99)))
  for (const path of ['/split', '/length', '/status']) {
    const heard = await say(port, get(path, last))
    t.strictSame(statuses(heard), [503])
    t.notMatch(heard, 'set-cookie')
  }
})

onHttp('no body where there may be none', async (t, run) => {
  const { port } = await run({}, route('GET', ['none'], (id) => answer(id, 204, 'ignored')))
  const head = 'HEAD /countdown/3 HTTP/1.1\r\nHost: x\r\n\r\n'
  const heard = await say(port, get('/none'), head, get('/', last))
  t.strictSame(statuses(heard), [204, 200, 200])
  const [empty, , whole] = heard.split('\r\n\r\n')
  t.notMatch(empty, 'content-length')
  t.match(whole, /^HTTP[^]*content-length: 13$/)
})

/** An endless stream; says how many parts were asked of it, and whether it has ended. */
const endless = (told: { parts: number, ended: boolean }): ActionTree => {
  const part = Buffer.alloc(10_000, 'x')
  const streamer = (id: RequestId) => spawn(() => endpoint.publisher(httpPart(id, _), {
    onMessage: ({ part: what }) => {
      if (what !== wanted) return undefined
      told.parts++
      return sendMessage(httpPart(id, part))
    },
    onAbsence: () => {
      told.ended = true
      return quit()
    },
  }))
  return route('GET', ['endless'], (id) => [streamer(id), answer(id, 200, streamed)])
}

onHttp('who streams waits for who reads, and hears when they leave', async (t, run) => {
  const told = { parts: 0, ended: false }
  const { program, port } = await run({}, endless(told))
  const socket = await client(port)
  socket.pause().write(get('/endless'))
  let before = -1
  await until(() => {
    const still = told.parts > 0 && told.parts === before
    before = told.parts
    return still
  }, 200)
  t.ok(told.parts * 10_000 < 16 * 1024 * 1024, `${told.parts} parts fill the kernel's buffers, and no more`)
  t.ok(program.transports[0].metrics.queuedBytes < 200_000, 'little waits in the server')
  socket.resume()
  const { parts } = told
  await until(() => told.parts > parts + 1000)
  socket.destroy()
  await until(() => told.ended)
  t.pass('it goes on when they read, and ends with them')
})

onHttp('a stream that breaks off is no whole body', async (t, run) => {
  const { url, port } = await run({}, route('GET', ['broken'], (id) => [
    spawn(() => endpoint.publisher(httpPart(id, _), {
      onMessage: () => [sendMessage(httpPart(id, 'the begin')), quit(new Error('no more'))],
    })),
    answer(id, 200, streamed),
  ]))
  for (const request of [get('/broken'), 'GET /broken HTTP/1.0\r\n\r\n']) {
    const socket = await client(port)
    socket.write(request)
    t.match(await cutOff(socket), { code: 'ECONNRESET' })
  }
  await t.rejects(fetch(`${url}/broken`).then((response) => response.text()))
})

onHttp('stopping: who has just connected, and who asks once more, has an answer', async (t, run) => {
  const { program, port } = await run()
  const fresh = await client(port)
  const again = await client(port)
  again.write(get('/hello/one'))
  await once(again, 'data')
  program.do(spawn(() => endpoint.publisher(stopping('test'))))
  await until(() => program.where.size === 0)
  for (const socket of [again, fresh]) {
    let heard = ''
    socket.setEncoding('utf8').on('data', (text: string) => { heard += text })
    socket.write(get('/hello/last'))
    await once(socket, 'end')
    socket.end()
    t.match(heard, /^HTTP\/1.1 200 OK\r\n[^]*connection: close\r\n[^]*hello, last\n$/)
  }
})

onHttp('stopping: what was asked is answered, who asks nothing more is sent home', async (t, run) => {
  const { program, port } = await run({}, slow())
  const idle = await client(port)
  idle.write(get('/hello/idle'))
  await once(idle, 'data')
  const asked = await client(port)
  let heard = ''
  asked.setEncoding('utf8').on('data', (text: string) => { heard += text })
  asked.write(get('/slow/stop') + get('/hello/too-late'))
  await until(() => later.has('stop'))
  program.do(spawn(() => endpoint.publisher(stopping('test'))))
  idle.resume()
  await once(idle, 'end')
  idle.end()
  await until(() => program.where.size === 0)
  await t.rejects(client(port), { code: 'ECONNREFUSED' })
  later.get('stop')?.()
  await once(asked, 'end')
  asked.end()
  t.match(heard, /connection: close\r\n[^]*slow stop\n$/)
  t.strictSame(statuses(heard), [200])
  program.letGo()
  t.ok(await endsByItself(program, 10_000), 'then nothing keeps it')
  later.clear()
})

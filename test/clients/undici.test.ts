/** `undici`, with connections of a net module by its `connect` option; the server is Node's own `http`. */
import { createServer, type RequestListener } from 'node:http'
import { Readable } from 'node:stream'
import type { Test } from 'tap'
import { Agent, Client, Pool, fetch, request } from 'undici'
import { freePort, pattern, until } from '../support/util.js'
import { serving, undiciConnect } from './lib/adapters.js'
import { readBytes } from './lib/bytes.js'
import { listen, onEachNet, type Listening, type Net } from './lib/nets.js'

const BIG = pattern(8 << 20)

const serve = (t: Test, net: Net, answer: RequestListener): Promise<Listening> =>
  listen(t, net, serving(createServer(answer)))

const echo: RequestListener = (asked, answer) => {
  asked.on('error', () => undefined)
  asked.pipe(answer)
}

const origin = (port: number): string => `http://127.0.0.1:${port}`

onEachNet('a pool: 200 requests over two connections that are kept', async (t, net) => {
  const { port, accepted } = await serve(t, net, echo)
  const pool = new Pool(origin(port), { connect: undiciConnect(net), connections: 2 })
  t.teardown(() => pool.destroy())
  const bodies = Array.from({ length: 200 }, (_, i) => `body ${i}`)
  const answers = await Promise.all(bodies.map(async (body) => {
    const answer = await pool.request({ path: '/', method: 'POST', body })
    return answer.body.text()
  }))
  t.same(answers, bodies)
  t.equal(accepted(), 2)
  await pool.close()
})

onEachNet('pipelining: four requests at a time on one connection', async (t, net) => {
  const { port, accepted } = await serve(t, net, (asked, answer) => { answer.end(asked.url) })
  const client = new Client(origin(port), { connect: undiciConnect(net), pipelining: 4 })
  const paths = Array.from({ length: 100 }, (_, i) => `/${i}`)
  const answers = await Promise.all(paths.map(async (path) => {
    const answer = await client.request({ path, method: 'GET' })
    return answer.body.text()
  }))
  t.same(answers, paths)
  t.equal(accepted(), 1)
  await client.close()
})

onEachNet('big bodies: up and down, as a buffer and as a stream', async (t, net) => {
  const { port } = await serve(t, net, echo)
  const dispatcher = new Agent({ connect: undiciConnect(net) })
  t.teardown(() => dispatcher.destroy())
  const known = await request(origin(port), { dispatcher, method: 'POST', body: BIG })
  t.ok((await readBytes(known.body)).equals(BIG))
  const pieces = async function* () {
    for (let at = 0; at < BIG.length; at += 100_000) yield BIG.subarray(at, at + 100_000)
  }
  const streamed = await request(origin(port), { dispatcher, method: 'POST', body: Readable.from(pieces()) })
  t.ok((await readBytes(streamed.body)).equals(BIG))
  await dispatcher.close()
})

onEachNet('fetch', async (t, net) => {
  const { port } = await serve(t, net, (asked, answer) => {
    if (asked.url === '/old') answer.writeHead(302, { location: '/new' }).end()
    else answer.setHeader('content-type', 'application/json').end(JSON.stringify({ url: asked.url }))
  })
  const dispatcher = new Agent({ connect: undiciConnect(net) })
  t.teardown(() => dispatcher.destroy())
  const answer = await fetch(`${origin(port)}/old`, { dispatcher })
  t.same([answer.status, answer.redirected, await answer.json()], [200, true, { url: '/new' }])
  await dispatcher.close()
})

onEachNet('abort: before the answer, and during its body; others go on', async (t, net) => {
  let open = 0
  const { port } = await serve(t, net, (asked, answer) => {
    if (asked.url === '/ok') return void answer.end('ok')
    open += 1
    answer.once('close', () => (open -= 1))
    if (asked.url === '/body') answer.write(BIG)
  })
  const pool = new Pool(origin(port), { connect: undiciConnect(net), connections: 1 })
  t.teardown(() => pool.destroy())
  const silent = new AbortController()
  const waiting = pool.request({ path: '/silent', method: 'GET', signal: silent.signal })
  await until(() => open === 1)
  silent.abort()
  await t.rejects(waiting, { name: 'AbortError' })
  await until(() => open === 0)
  const during = new AbortController()
  const { body } = await pool.request({ path: '/body', method: 'GET', signal: during.signal })
  during.abort()
  await t.rejects(body.text(), { name: 'AbortError' })
  await until(() => open === 0)
  const last = await pool.request({ path: '/ok', method: 'GET' })
  t.equal(await last.body.text(), 'ok')
})

onEachNet('a server that goes away: an error, and a new connection for the next request', async (t, net) => {
  const { port, accepted } = await serve(t, net, (asked, answer) => {
    if (asked.url === '/die') asked.socket.destroy()
    else answer.end('ok')
  })
  const client = new Client(origin(port), { connect: undiciConnect(net) })
  t.teardown(() => client.destroy())
  await t.rejects(client.request({ path: '/die', method: 'GET' }), { code: 'UND_ERR_SOCKET' })
  const answer = await client.request({ path: '/', method: 'GET' })
  t.equal(await answer.body.text(), 'ok')
  t.equal(accepted(), 2)
})

onEachNet('an address where nobody listens: the error that Node gives', async (t, net) => {
  const port = await freePort()
  const client = new Client(origin(port), { connect: undiciConnect(net) })
  t.teardown(() => client.destroy())
  await t.rejects(client.request({ path: '/', method: 'GET' }), {
    code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port,
  })
})

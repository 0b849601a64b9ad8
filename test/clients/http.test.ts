/** Node's own `http`, server and client, over the connections of a net module. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, request, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import { freePort, pattern, readAll, until } from '../support/util.js'
import { httpAgent, serving } from './lib/adapters.js'
import { ask, readBytes } from './lib/bytes.js'
import { listen, onEachNet } from './lib/nets.js'

const BIG = pattern(8 << 20)

/** Answers with what it gets. */
const echo = () => createServer((asked, answer) => { pipeline(asked, answer, () => undefined) })

onEachNet('keep-alive: many requests on one connection', async (t, net) => {
  const { port, accepted } = await listen(t, net, serving(echo()))
  const agent = httpAgent(net, { keepAlive: true, maxSockets: 1 })
  t.teardown(() => { agent.destroy() })
  const bodies = Array.from({ length: 50 }, (_, i) => `body ${i}`)
  const answers = await Promise.all(bodies.map((body) => ask({ port, agent, method: 'POST' }, body)))
  t.same(answers.map(({ body }) => body.toString()), bodies)
  t.equal(accepted(), 1)
})

onEachNet('many connections at once', async (t, net) => {
  const { port, accepted } = await listen(t, net, serving(echo()))
  const agent = httpAgent(net)
  const bodies = Array.from({ length: 100 }, (_, i) => `body ${i}`)
  const answers = await Promise.all(bodies.map((body) => ask({ port, agent, method: 'POST' }, body)))
  t.same(answers.map(({ body }) => body.toString()), bodies)
  t.equal(accepted(), 100)
})

onEachNet('big bodies, of known length and in chunks', async (t, net) => {
  const { port } = await listen(t, net, serving(echo()))
  const agent = httpAgent(net)
  const known = await ask({ port, agent, method: 'POST', headers: { 'content-length': BIG.length } }, BIG)
  t.ok(known.body.equals(BIG))
  const headers = { 'transfer-encoding': 'chunked' }
  const chunked = await ask({ port, agent, method: 'POST', headers }, BIG)
  t.ok(chunked.body.equals(BIG))
  t.equal(chunked.response.headers['transfer-encoding'], 'chunked')
})

onEachNet('100-continue: the body is sent when the server wants it', async (t, net) => {
  const server = createServer()
  server.on('checkContinue', (asked: IncomingMessage, answer) => {
    answer.writeContinue()
    pipeline(asked, answer, () => undefined)
  })
  const { port } = await listen(t, net, serving(server))
  const headers = { expect: '100-continue', 'content-length': 5 }
  const outgoing = request({ host: '127.0.0.1', port, agent: httpAgent(net), method: 'POST', headers })
  outgoing.flushHeaders()
  await once(outgoing, 'continue')
  outgoing.end('hello')
  const [response] = await once(outgoing, 'response') as [IncomingMessage]
  t.equal((await readBytes(response)).toString(), 'hello')
})

onEachNet('pipelining: answers in the order of the requests, and the end after them', async (t, net) => {
  const server = createServer((asked, answer) => { answer.end(`<${String(asked.url)}>`) })
  const { port, accepted } = await listen(t, net, serving(server))
  const socket = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  const paths = Array.from({ length: 200 }, (_, i) => `/${i}`)
  socket.end(paths.map((path) => `GET ${path} HTTP/1.1\r\nhost: test\r\n\r\n`).join(''))
  const text = (await readAll(socket)).toString()
  t.same(text.match(/<\/\d+>/g), paths.map((path) => `<${path}>`))
  t.equal(accepted(), 1)
})

onEachNet('upgrade: the connection is handed over, with the bytes that came with it', async (t, net) => {
  const server = createServer()
  server.on('upgrade', (_asked, socket: Socket, head: Buffer) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly ')
    socket.write(head)
    socket.pipe(socket)
  })
  const { port } = await listen(t, net, serving(server))
  const outgoing = request({
    host: '127.0.0.1', port, agent: httpAgent(net), headers: { connection: 'upgrade', upgrade: 'echo' },
  })
  outgoing.end()
  const [, socket, head] = await once(outgoing, 'upgrade') as [IncomingMessage, Socket, Buffer]
  socket.unshift(head)
  socket.end(BIG)
  const got = await readBytes(socket)
  t.ok(got.equals(Buffer.concat([Buffer.from('early '), BIG])))
})

onEachNet('a client that leaves during an answer does no harm', async (t, net) => {
  let closed = 0
  const server = createServer((asked, answer) => {
    if (asked.url === '/short') return void answer.end('ok')
    answer.once('close', () => (closed += 1))
    pipeline(function* () { for (;;) yield BIG }, answer, () => undefined)
  })
  const { port } = await listen(t, net, serving(server))
  const agent = httpAgent(net)
  const outgoing = request({ host: '127.0.0.1', port, agent, path: '/endless' }).end()
  const [response] = await once(outgoing, 'response') as [IncomingMessage]
  await once(response, 'data')
  response.destroy()
  await until(() => closed === 1)
  t.equal((await ask({ port, agent, path: '/short' })).body.toString(), 'ok')
})

onEachNet('a server that resets during an answer: the client is told', async (t, net) => {
  const server = createServer((_asked, answer) => {
    answer.writeHead(200, { 'content-length': 100 })
    answer.write('half', () => answer.socket?.resetAndDestroy())
  })
  const { port } = await listen(t, net, serving(server))
  await t.rejects(ask({ port, agent: httpAgent(net) }), { code: 'ECONNRESET' })
})

onEachNet('timeouts: of headers, of an idle connection, and of a request', async (t, net) => {
  const server = createServer({
    connectionsCheckingInterval: 20, headersTimeout: 100, requestTimeout: 200, keepAliveTimeout: 50,
  }, (asked, answer) => {
    if (asked.url !== '/never') answer.end('ok')
  })
  t.teardown(() => { server.closeAllConnections() })
  t.teardown(() => { server.close() })
  const { port } = await listen(t, net, serving(server))
  const slow = net.connect({ host: '127.0.0.1', port })
  slow.write('GET / HTTP/1.1\r\nhost: te')
  t.match((await readAll(slow)).toString(), /^HTTP\/1.1 408 Request Timeout/)
  const idle = net.connect({ host: '127.0.0.1', port })
  idle.write('GET / HTTP/1.1\r\nhost: test\r\n\r\n')
  t.match((await readAll(idle)).toString(), /^HTTP\/1.1 200 OK[^]*ok/, 'answered, and closed when idle')
  const outgoing = request({ host: '127.0.0.1', port, agent: httpAgent(net), path: '/never', timeout: 100 })
  outgoing.on('error', () => undefined)
  outgoing.end()
  await once(outgoing, 'timeout')
  outgoing.destroy()
})

onEachNet('an address where nobody listens: the error that Node gives', async (t, net) => {
  const port = await freePort()
  await t.rejects(ask({ port, agent: httpAgent(net) }), {
    code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port,
  })
})

onEachNet('a Unix socket', async (t, net) => {
  // Not tap's folder of the test: the kernel takes no more than 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'clients-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const path = join(folder, 'http.sock')
  const server = net.createServer(serving(echo())).listen(path)
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const { body } = await ask({ socketPath: path, agent: httpAgent(net), method: 'POST' }, BIG)
  t.ok(body.equals(BIG))
})

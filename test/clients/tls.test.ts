/** `node:tls` on top of the connections of a net module, in both roles; and `https` on top of that. */
import { once } from 'node:events'
import { createServer as createHttps, request } from 'node:https'
import type { IncomingMessage } from 'node:http'
import * as tls from 'node:tls'
import t, { type Test } from 'tap'
import { Agent, request as undiciRequest } from 'undici'
import { missing, pattern, until } from '../support/util.js'
import { serving, undiciConnect } from './lib/adapters.js'
import { readBytes } from './lib/bytes.js'
import { makeCertificates } from './lib/certificates.js'
import { listen, onEachNet, type Net } from './lib/nets.js'

const BIG = pattern(16 << 20)

/** A TLS server. @returns its port */
async function tlsServer(
  t: Test, net: Net, onSocket: (socket: tls.TLSSocket) => void, options: tls.TlsOptions = {},
): Promise<number> {
  const { key, cert } = CERTIFICATES
  const server = tls.createServer({ key, cert, allowHalfOpen: true, ...options }, onSocket)
  server.on('tlsClientError', () => undefined)
  const { port } = await listen(t, net, serving(server))
  return port
}

function tlsClient(net: Net, port: number, options: tls.ConnectionOptions = {}): tls.TLSSocket {
  const socket = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  return tls.connect({ ca: CERTIFICATES.ca, servername: 'localhost', socket, ...options })
}

const none = missing('openssl')
const CERTIFICATES = none === false ? makeCertificates() : undefined!
const test: typeof onEachNet = (name, body) => {
  if (none === false) onEachNet(name, body)
  else t.test(name, { skip: none }, () => undefined)
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${version}: a handshake, bytes there and back, and the end in both directions`, async (t, net) => {
    const port = await tlsServer(t, net, (socket) => { socket.pipe(socket) }, { maxVersion: version })
    const socket = tlsClient(net, port)
    await once(socket, 'secureConnect')
    t.equal(socket.getProtocol(), version)
    t.ok(socket.authorized)
    socket.end('hello')
    t.equal((await readBytes(socket)).toString(), 'hello')
    if (!socket.closed) await once(socket, 'close')
  })
}

test('ALPN and SNI: both sides know what was agreed', async (t, net) => {
  const asked: string[] = []
  const { key, cert } = CERTIFICATES
  const port = await tlsServer(t, net, (socket) => {
    socket.end(JSON.stringify([socket.alpnProtocol, (socket as { servername?: string }).servername]))
  }, {
    ALPNProtocols: ['second', 'first'],
    SNICallback: (name, done) => {
      asked.push(name)
      done(null, tls.createSecureContext({ key, cert }))
    },
  })
  const socket = tlsClient(net, port, { ALPNProtocols: ['first', 'other'] })
  t.same(JSON.parse((await readBytes(socket)).toString()), ['first', 'localhost'])
  t.equal(socket.alpnProtocol, 'first')
  t.same(asked, ['localhost'])
})

test('16 MiB in both directions at once', async (t, net) => {
  const port = await tlsServer(t, net, (socket) => { socket.pipe(socket) })
  const socket = tlsClient(net, port)
  socket.end(BIG)
  t.ok((await readBytes(socket)).equals(BIG))
})

test('a reader that waits holds the sender up', async (t, net) => {
  let taken = 0
  const port = await tlsServer(t, net, (socket) => {
    const step = 1 << 20
    for (let at = 0; at < BIG.length; at += step) {
      socket.write(BIG.subarray(at, at + step), () => (taken += 1))
    }
    socket.end()
  })
  const socket = tlsClient(net, port)
  await once(socket, 'readable')
  await until(() => taken > 0)
  t.ok(taken < BIG.length >> 20)
  t.ok((await readBytes(socket)).equals(BIG))
})

test('a certificate that nobody vouches for: the client refuses, the server goes on', async (t, net) => {
  const port = await tlsServer(t, net, (socket) => { socket.end('ok') })
  const distrusting = tlsClient(net, port, { ca: [] })
  const [error] = await once(distrusting, 'error') as [NodeJS.ErrnoException]
  t.match(error.code, /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT_LOCALLY/)
  t.equal((await readBytes(tlsClient(net, port))).toString(), 'ok')
})

test('a peer that speaks no TLS, and one that leaves in the handshake', async (t, net) => {
  let errors = 0
  const { key, cert } = CERTIFICATES
  const server = tls.createServer({ key, cert }, (socket) => { socket.end('ok') })
  server.on('tlsClientError', () => (errors += 1))
  const { port } = await listen(t, net, serving(server), {})
  const plain = net.connect({ host: '127.0.0.1', port })
  plain.on('error', () => undefined)
  plain.end('GET / HTTP/1.1\r\n\r\n')
  const early = net.connect({ host: '127.0.0.1', port })
  await once(early, 'connect')
  early.destroy()
  await until(() => errors === 2)
  t.equal((await readBytes(tlsClient(net, port))).toString(), 'ok')
})

test('https: Node\'s client and undici, keep-alive, big bodies', async (t, net) => {
  const { key, cert, ca } = CERTIFICATES
  const server = createHttps({ key, cert }, (asked, answer) => { asked.pipe(answer) })
  t.teardown(() => { server.close() })
  const { port, accepted } = await listen(t, net, serving(server))
  const createConnection = () => tlsClient(net, port)
  const outgoing = request({ host: 'localhost', port, method: 'POST', createConnection })
  outgoing.end(BIG)
  const [response] = await once(outgoing, 'response') as [IncomingMessage]
  t.ok((await readBytes(response)).equals(BIG))
  const dispatcher = new Agent({ connect: undiciConnect(net, { ca, host: 'localhost' }), connections: 1 })
  t.teardown(() => dispatcher.destroy())
  for (let i = 0; i < 5; i += 1) {
    const answer = await undiciRequest(`https://localhost:${port}/`, {
      dispatcher, method: 'POST', body: `body ${i}`,
    })
    t.equal(await answer.body.text(), `body ${i}`)
  }
  t.equal(accepted(), 2)
})

/**
 * `marketplace-native/tls` beside `node:tls`: the same programs on both, and each as the peer of the other. Only on
 * ours, with the environment's ONLY_OURS, as backends.test.ts has it run.
 */
import { EventEmitter, once } from 'node:events'
import * as http from 'node:http'
import * as https from 'node:https'
import * as nodeNet from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as nodeTls from 'node:tls'
import { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import net from 'marketplace-native/net'
import tls from 'marketplace-native/tls'
import { makeCertificate } from '../support/certificates.js'
import { tlsRecords } from '../support/tls-records.js'
import { pattern, until } from '../support/util.js'
import { leavingClients } from '../support/leaving-client.js'
import { patient } from '../support/patience.js'
import { ONLY_OURS } from '../net/both.js'

type Tls = typeof nodeTls
type Net = typeof nodeNet

const authority = makeCertificate({ name: 'authority of a test', authority: true })
const own = makeCertificate({ by: authority })
const other = makeCertificate({ by: authority, name: 'other.example' })
const shown = { key: own.key, cert: own.cert }
const ca = authority.cert
const host = '127.0.0.1'

interface Side {
  readonly tls: Tls
  readonly net: Net
}
const ours: Side = { tls: tls as unknown as Tls, net: net }
const nodes: Side = { tls: nodeTls, net: nodeNet }

interface Env {
  readonly server: Side
  readonly client: Side
  /** Listens on a port of its own, until the test ends. @returns the port */
  listen(server: nodeNet.Server): Promise<number>
}

const pairs: readonly (readonly [string, Side, Side])[] = process.env[ONLY_OURS] === '1'
  ? [['ours', ours, ours]]
  : [['node', nodes, nodes], ['ours', ours, ours], ['server', ours, nodes], ['client', nodes, ours]]

function test(name: string, body: (t: Test, env: Env) => Promise<void>): void {
  for (const [which, server, client] of pairs) {
    void t.test(`${which}: ${name}`, { timeout: patient(20_000) }, async (t) => {
      await body(t, {
        server, client,
        async listen(server) {
          const open = new Set<nodeNet.Socket>()
          server.on('connection', (socket: nodeNet.Socket) => {
            open.add(socket)
            socket.on('close', () => open.delete(socket))
          })
          server.listen(0, host)
          await once(server, 'listening')
          t.teardown(() => {
            for (const socket of open) socket.destroy()
            server.close()
          })
          return (server.address() as nodeNet.AddressInfo).port
        },
      })
    })
  }
}

const echo = (socket: nodeTls.TLSSocket): void => { socket.pipe(socket) }

async function all(socket: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** What a client that is refused ends with. */
function refusal(socket: nodeTls.TLSSocket): Promise<NodeJS.ErrnoException> {
  return new Promise((resolve) => { socket.on('error', resolve) })
}

test('bytes both ways, written before and after the handshake, with the end of both', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost' })
  const bytes = pattern(1_000_000)
  socket.write(bytes.subarray(0, 10))
  socket.write('')
  socket.once('secureConnect', () => { socket.write(bytes.subarray(10, 5000)) })
  socket.once('secure', () => { socket.end(bytes.subarray(5000)) })
  t.equal(socket.encrypted, true)
  t.equal(socket.connecting, true)
  t.ok((await all(socket)).equals(bytes))
  if (!socket.closed) await once(socket, 'close')
  t.equal(socket.bytesWritten >= bytes.length, true)
})

test('an end before there is a connection waits for the handshake', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const socket = env.client.tls.connect(port, host, { ca, servername: 'localhost' })
  socket.end('all of it')
  t.equal((await all(socket)).toString(), 'all of it')
})

test('what was agreed on', async (t, env) => {
  const server = env.server.tls.createServer({ ...shown, ALPNProtocols: ['one', 'two'], requestCert: true, ca }, echo)
  const port = await env.listen(server)
  const accepted = once(server, 'secureConnection') as Promise<[nodeTls.TLSSocket]>
  let called = 0
  const socket = env.client.tls.connect(port, host, {
    ca, servername: 'localhost', ALPNProtocols: ['two', 'three'], key: other.key, cert: other.cert,
  }, () => { called += 1 })
  const [peer] = await accepted
  if (called === 0) await once(socket, 'secureConnect')
  t.equal(called, 1)
  for (const one of [socket, peer]) {
    t.match(one, { authorized: true, alpnProtocol: 'two', servername: 'localhost', encrypted: true })
    t.ok(one.authorizationError === null || one.authorizationError === undefined)
    t.equal(one.getProtocol(), 'TLSv1.3')
    t.match(one.getCipher(), { name: /^TLS_/, standardName: /^TLS_/, version: 'TLSv1.3' })
  }
  const cn = (one: nodeTls.PeerCertificate | object | null): unknown => (one as nodeTls.PeerCertificate).subject.CN
  t.equal(cn(socket.getPeerCertificate()), 'localhost')
  t.equal(cn(socket.getPeerCertificate(true).issuerCertificate), 'authority of a test')
  t.equal(cn(peer.getPeerCertificate()), 'other.example')
  t.equal(cn(socket.getCertificate()), 'other.example')
  t.equal(cn(peer.getCertificate()), 'localhost')
  t.match(socket.getPeerX509Certificate()?.subject, 'CN=localhost')
  t.match(peer.getX509Certificate()?.subject, 'CN=localhost')
  t.equal(socket.remotePort, port)
  t.equal(peer.remotePort, socket.localPort)
  socket.end()
  socket.resume()
  await once(socket, 'close')
})

test('certificates that aren\'t to be believed', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const { connect } = env.client.tls
  const unknown = connect({ port, host, servername: 'localhost' })
  t.match(await refusal(unknown), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
  t.equal(unknown.authorized, false)
  const wrong = connect({ port, host, ca, servername: 'other.example' })
  t.match(await refusal(wrong), { code: 'ERR_TLS_CERT_ALTNAME_INVALID', host: 'other.example' })
  const thrown = connect({ port, host, ca, servername: 'localhost', checkServerIdentity: () => new Error('not him') })
  t.match(await refusal(thrown), { message: 'not him' })
  for (const [options, authorized, error] of [
    [{}, false, /^UNABLE_TO_VERIFY_LEAF_SIGNATURE$/],
    [{ ca, servername: 'other.example' }, false, /^ERR_TLS_CERT_ALTNAME/],
    [{ ca, servername: 'localhost' }, true, undefined],
  ] as const) {
    const socket = connect({ port, host, rejectUnauthorized: false, ...options })
    await once(socket, 'secureConnect')
    t.equal(socket.authorized, authorized)
    if (error !== undefined) t.match(String(socket.authorizationError), error)
    socket.destroy()
  }
})

test('a judge of names may say that all is well with any value, and sees who signed', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  for (const right of [undefined, null, false, 0, ''] as const) {
    let signers = 0
    const checkServerIdentity = (_name: string, cert: nodeTls.PeerCertificate): undefined => {
      let at = cert as nodeTls.DetailedPeerCertificate
      while (at.issuerCertificate.fingerprint256 !== at.fingerprint256) {
        at = at.issuerCertificate
        signers++
      }
      return right as undefined
    }
    const socket = env.client.tls.connect({ port, host, ca, servername: 'any', checkServerIdentity })
    socket.end('x')
    t.equal((await all(socket)).toString(), 'x')
    t.equal(signers, 1)
  }
})

test('a server tells of clients that come to nothing, and goes on', async (t, env) => {
  const server = env.server.tls.createServer({ ...shown, handshakeTimeout: 300 }, echo)
  const errors: NodeJS.ErrnoException[] = []
  const sockets: nodeTls.TLSSocket[] = []
  server.on('tlsClientError', (error, socket) => {
    errors.push(error)
    sockets.push(socket)
  })
  const port = await env.listen(server)
  const plain = nodeNet.connect(port, host)
  plain.on('error', () => undefined)
  plain.write('GET / HTTP/1.1\r\n\r\n')
  await until(() => errors.length === 1)
  t.match(errors[0], { code: 'ERR_SSL_HTTP_REQUEST' })
  t.equal(sockets[0].destroyed, true)
  if (env.server === ours) t.equal(sockets[0].remoteAddress, host)
  const silent = nodeNet.connect(port, host)
  silent.on('error', () => undefined)
  await until(() => errors.length === 2)
  t.match(errors[1], { code: 'ERR_TLS_HANDSHAKE_TIMEOUT' })
  const short = nodeNet.connect(port, host)
  short.end()
  short.resume().on('error', () => undefined)
  await until(() => errors.length === 3)
  t.match(errors[2], { code: 'ECONNRESET' })
  const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost' })
  socket.end('there')
  t.equal((await all(socket)).toString(), 'there')
  // Nothing is left of them; Node's own keeps some of it.
  if (env.server === ours) await new Promise((resolve) => server.close(resolve))
})

test('a client whose peer ends or speaks something else', async (t, env) => {
  const server = nodeNet.createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', (data) => { if (data.length > 0) socket.end() })
  })
  const port = await env.listen(server)
  t.match(await refusal(env.client.tls.connect({ port, host })), {
    code: 'ECONNRESET', message: /^Client network socket disconnected before secure TLS connection/, port, host,
  })
  const babble = nodeNet.createServer((socket) => {
    socket.on('error', () => undefined)
    socket.write('220 hello\r\n')
  })
  t.match(await refusal(env.client.tls.connect({ port: await env.listen(babble), host })), { code: /^ERR_SSL_/ })
  const nobody = nodeNet.createServer().listen(0, host)
  await once(nobody, 'listening')
  const gone = (nobody.address() as nodeNet.AddressInfo).port
  await new Promise((resolve) => nobody.close(resolve))
  t.match(await refusal(env.client.tls.connect({ port: gone, host })), {
    code: 'ECONNREFUSED', syscall: 'connect', address: host, port: gone,
  })
})

test('contexts by name, and renewed ones', async (t, env) => {
  const server = env.server.tls.createServer(shown, echo)
  server.addContext('*.example', { key: other.key, cert: other.cert })
  const port = await env.listen(server)
  const nameFor = async (servername: string): Promise<string> => {
    const socket = env.client.tls.connect({ port, host, ca, servername, rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { CN } = socket.getPeerCertificate().subject
    socket.destroy()
    return CN as string
  }
  t.equal(await nameFor('localhost'), 'localhost')
  t.equal(await nameFor('other.example'), 'other.example')
  t.equal(await nameFor('a.other.example'), 'localhost', 'one label')
  server.setSecureContext({ key: other.key, cert: other.cert })
  t.equal(await nameFor('localhost'), 'other.example')
  t.throws(() => { server.setSecureContext({ key: 'no key', cert: other.cert }) }, { code: /^ERR_OSSL/ })
  t.equal(await nameFor('localhost'), 'other.example', 'as it was')
  // Also for what it is given, whatever it was begun with.
  const [here, there] = duplexes()
  server.emit('connection', there)
  const over = env.client.tls.connect({
    socket: here, ca, servername: 'localhost', rejectUnauthorized: false,
  } as nodeTls.ConnectionOptions)
  await once(over, 'secureConnect')
  t.equal(over.getPeerCertificate().subject.CN, 'other.example')
  over.destroy()
  const keys = server.getTicketKeys()
  t.equal(keys.length, 48)
  server.setTicketKeys(Buffer.alloc(48, 7))
  t.ok(server.getTicketKeys().equals(Buffer.alloc(48, 7)))
  t.throws(() => { server.setTicketKeys('none' as never) }, { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => { server.setTicketKeys(Buffer.alloc(3)) })
  t.ok(server.getTicketKeys().equals(Buffer.alloc(48, 7)), 'as they were')
})

test('whom to trust is renewed as well', async (t, env) => {
  const server = env.server.tls.createServer({ ...shown, ca, requestCert: true, rejectUnauthorized: false }, echo)
  const port = await env.listen(server)
  const trusted = async (): Promise<boolean> => {
    const accepted = once(server, 'secureConnection') as Promise<[nodeTls.TLSSocket]>
    const client = { key: other.key, cert: other.cert }
    const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost', ...client })
    const [peer] = await accepted
    socket.on('error', () => undefined).destroy()
    return peer.authorized
  }
  t.equal(await trusted(), true)
  server.setSecureContext(shown)
  t.equal(await trusted(), false)
})

test('SNICallback, and one that fails', async (t, env) => {
  const server = env.server.tls.createServer({
    ...shown,
    SNICallback: (name, done) => {
      if (name === 'fails.example') done(new Error('not this one'))
      else done(null, env.server.tls.createSecureContext({ key: other.key, cert: other.cert }))
    },
  }, echo)
  const errors: Error[] = []
  server.on('tlsClientError', (error) => { errors.push(error) })
  const port = await env.listen(server)
  const socket = env.client.tls.connect({ port, host, ca, servername: 'other.example' })
  await once(socket, 'secureConnect')
  t.equal(socket.authorized, true)
  socket.destroy()
  t.match(await refusal(env.client.tls.connect({ port, host, ca, servername: 'fails.example' })), { code: String })
  await until(() => errors.some(({ message }) => message === 'not this one'))
})

test('a session is resumed', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const first = env.client.tls.connect({ port, host, ca, servername: 'localhost' })
  first.write('x')
  const [session] = await once(first, 'session') as [Buffer]
  t.equal(first.isSessionReused(), false)
  first.destroy()
  const second = env.client.tls.connect({ port, host, ca, servername: 'localhost', session })
  await once(second, 'secureConnect')
  t.equal(second.isSessionReused(), true)
  t.equal(second.authorized, true)
  second.destroy()
})

test('servers with the same ticket keys resume each other\'s sessions', async (t, env) => {
  const ticketKeys = Buffer.alloc(48, 3)
  const ports = [0, 1].map(() => env.listen(env.server.tls.createServer({ ...shown, ticketKeys }, echo)))
  const first = env.client.tls.connect({ port: await ports[0], host, ca, servername: 'localhost' })
  first.write('x')
  const [session] = await once(first, 'session') as [Buffer]
  first.destroy()
  const second = env.client.tls.connect({ port: await ports[1], host, ca, servername: 'localhost', session })
  await once(second, 'secureConnect')
  t.equal(second.isSessionReused(), true)
  second.destroy()
  // A session of before it mattered is believed no more than a certificate.
  const third = env.client.tls.connect({ port: await ports[0], host, rejectUnauthorized: false })
  third.write('x')
  const [careless] = await once(third, 'session') as [Buffer]
  third.destroy()
  const fourth = env.client.tls.connect({ port: await ports[0], host, session: careless })
  t.match(await refusal(fourth), { code: String })
})

test('what ends it from outside: a signal, the socket below, an async listener that fails', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  // Node 20's own is the end of the process.
  if (env.client === ours) {
    const early = env.client.tls.connect({ port, host, ca, signal: AbortSignal.abort() } as nodeTls.ConnectionOptions)
    t.match(await refusal(early), { name: 'AbortError' })
  }
  const controller = new AbortController()
  const { signal } = controller
  const late = env.client.tls.connect({
    port, host, ca, servername: 'localhost', signal,
  } as nodeTls.ConnectionOptions)
  await once(late, 'secureConnect')
  controller.abort()
  t.match(await refusal(late), { name: 'AbortError' })
  const raw = env.client.net.connect(port, host)
  const above = env.client.tls.connect({ socket: raw, ca, servername: 'localhost' })
  await once(above, 'secureConnect')
  raw.on('error', () => undefined).destroy(new Error('from below'))
  const lost = refusal(above)
  await new Promise((resolve) => above.once('close', resolve))
  // Node's own hears of it on node:net only.
  if (env.client === ours) t.match(await lost, { message: 'from below' })
  EventEmitter.captureRejections = true
  const server = env.server.tls.createServer(shown)
  EventEmitter.captureRejections = false
  const ends: Error[] = []
  server.on('secureConnection', (socket: nodeTls.TLSSocket) => {
    socket.on('error', (error: Error) => { ends.push(error) })
    return Promise.reject(new Error('kaboom')) as never
  })
  const client = env.client.tls.connect({ port: await env.listen(server), host, ca, servername: 'localhost' })
  client.on('error', () => undefined)
  await new Promise((resolve) => client.resume().once('close', resolve))
  t.match(ends, [{ message: 'kaboom' }])
})

test('a context for many connections', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const secureContext = env.client.tls.createSecureContext({ ca })
  for (let i = 0; i < 3; i++) {
    const socket = env.client.tls.connect({ port, host, secureContext, servername: 'localhost' })
    socket.end('x')
    t.equal((await all(socket)).toString(), 'x')
  }
})

test('TLS begins in the middle of a conversation, with bytes before and behind', async (t, env) => {
  const names: string[] = []
  const server = env.server.net.createServer((socket) => {
    socket.once('data', (data) => {
      t.equal(data.toString(), 'STARTTLS\n')
      socket.write('go\n')
      const secure = new env.server.tls.TLSSocket(socket, {
        isServer: true, ...shown, SNICallback: (name, done) => {
          names.push(name)
          done(null)
        },
      })
      secure.on('error', () => undefined)
      secure.pipe(secure)
    })
  })
  const port = await env.listen(server)
  const raw = env.client.net.connect(port, host)
  raw.write('STARTTLS\n')
  const [go] = await once(raw, 'data') as [Buffer]
  t.equal(go.toString(), 'go\n')
  const closed = once(raw, 'close')
  const socket = env.client.tls.connect({ socket: raw, ca, servername: 'localhost' })
  const bytes = pattern(300_000)
  socket.end(bytes)
  t.ok((await all(socket)).equals(bytes))
  t.same(names, ['localhost'])
  await closed
})

test('over a socket that connects yet, that fails to, and that is gone', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const socket = env.client.tls.connect({ socket: env.client.net.connect(port, host), ca, servername: 'localhost' })
  socket.end('x')
  t.equal((await all(socket)).toString(), 'x')
  const unconnected = new env.client.net.Socket()
  const later = env.client.tls.connect({ socket: unconnected, ca, servername: 'localhost' })
  unconnected.connect(port, host)
  t.equal(later.connecting, true)
  const connected = once(later, 'connect')
  later.end('x')
  await connected
  t.equal((await all(later)).toString(), 'x')
  // Node's own socket never tells.
  if (env.client === nodes) return
  const raw = env.client.net.connect(port, host)
  await once(raw, 'connect')
  const lost = env.client.tls.connect({ socket: raw, ca })
  raw.destroy()
  t.match(await refusal(lost), { code: 'ECONNRESET' })
})

/** A client's secured socket over one of `net`, which is connected. */
async function over(
  env: Env, port: number, options: object = {},
): Promise<{ below: nodeNet.Socket, above: nodeTls.TLSSocket }> {
  const below = env.client.net.connect({ port, host, ...options })
  await once(below, 'connect')
  return { below, above: env.client.tls.connect({ socket: below, ca, servername: 'localhost' }) }
}

/** What comes of a connection's end, in order: errors by their code, and what 'close' says. */
function ends(...sockets: (readonly [string, Duplex])[]): string[] {
  const seen: string[] = []
  for (const [name, socket] of sockets) {
    socket.on('error', (error: NodeJS.ErrnoException) => { seen.push(`${name} ${error.code ?? error.message}`) })
    socket.on('close', (hadError: unknown) => { seen.push(`${name} closed ${String(hadError)}`) })
  }
  return seen
}

test('a time-out of the socket below is heard when nobody answers the handshake', async (t, env) => {
  const port = await env.listen(env.server.net.createServer((socket) => { socket.resume() }))
  const { below, above } = await over(env, port)
  // Also one that is set when TLS has the connection.
  for (let i = 0; i < 2; i++) {
    await once(below.setTimeout(50), 'timeout')
    t.equal(above.destroyed, false, 'the program decides')
  }
  above.destroy()
  await once(above, 'close')
})

test('a time-out of the socket below counts from what the secured socket has last sent or received', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const limit = 200
  for (const when of ['before', 'after']) {
    const { below, above } = await over(env, port)
    if (when === 'before') below.setTimeout(limit)
    await once(above, 'secureConnect')
    if (when === 'after') below.setTimeout(limit)
    let active = 0
    above.on('data', () => { active = performance.now() })
    const timeout = once(below, 'timeout').then(() => performance.now())
    setTimeout(() => { above.write('x') }, limit / 2)
    await once(above, 'data')
    const silence = await timeout - active
    // On a machine that was too busy for that it was over before, which says nothing.
    t.ok(silence >= limit - 5 || silence < 0, `set ${when} the handshake: ${silence} ms`)
    above.destroy()
    await once(above, 'close')
  }
})

test('the end of the socket below is that of the secured one, which is read on', async (t, env) => {
  const server = env.server.tls.createServer({ ...shown, allowHalfOpen: true }, (peer) => {
    peer.resume().on('error', () => undefined).on('end', () => { peer.end('answer') })
  })
  const port = await env.listen(server)
  // Node's client says that it is secured before it has sent the last of the handshake.
  const accepted = once(server, 'secureConnection')
  const { below, above } = await over(env, port)
  const seen = ends(['below', below], ['above', above])
  await Promise.all([accepted, once(above, 'secureConnect')])
  await new Promise<void>((resolve) => { below.end(resolve) })
  t.equal(above.writable, true)
  t.equal((await all(above)).toString(), 'answer')
  await until(() => seen.length === 2)
  t.same(seen, ['below closed false', 'above closed false'])
})

test('what is written after the end of the socket below fails, what was before arrives', async (t, env) => {
  const bytes = pattern(3_000_000)
  const heard: Promise<Buffer>[] = []
  const server = env.server.tls.createServer({ ...shown, allowHalfOpen: true }, (peer) => {
    peer.on('error', () => undefined)
    heard.push(all(peer))
  })
  const port = await env.listen(server)
  const { below, above } = await over(env, port)
  const seen = ends(['below', below], ['above', above])
  await once(above, 'secureConnect')
  const written = new Promise((resolve) => above.write(bytes, resolve))
  await new Promise<void>((resolve) => { below.end(resolve) })
  t.notOk(await written)
  await until(() => heard.length === 1)
  t.ok((await heard[0]).equals(bytes))
  const failed = new Promise((resolve) => above.write('more', resolve))
  t.match(await failed, { code: 'EPIPE', syscall: 'write' })
  await until(() => seen.length === 3)
  t.same(seen, ['above EPIPE', 'below closed false', 'above closed true'])
})

test('the same where both directions have ended', async (t, env) => {
  const server = env.server.tls.createServer(shown, (peer) => { peer.on('error', () => undefined).resume().end() })
  const port = await env.listen(server)
  const { below, above } = await over(env, port, { allowHalfOpen: true })
  await once(above.resume(), 'end')
  await new Promise<void>((resolve) => { below.end(resolve) })
  const failed = new Promise((resolve) => above.write('more', resolve))
  above.on('error', () => undefined)
  t.match(await failed, { code: 'EPIPE', syscall: 'write' })
})

test('an end of the socket below reaches a peer that has not answered the handshake', async (t, env) => {
  const server = env.server.net.createServer({ allowHalfOpen: true }, (peer) => {
    peer.on('error', () => undefined).resume().on('end', () => { peer.end() })
  })
  const port = await env.listen(server)
  for (const when of ['before', 'in the handshake'] as const) {
    const below = env.client.net.connect(port, host)
    await once(below, 'connect')
    if (when === 'before') below.end()
    const above = env.client.tls.connect({ socket: below, ca, servername: 'localhost' })
    const seen = ends(['below', below], ['above', above])
    above.resume()
    if (when !== 'before') {
      await new Promise(setImmediate)
      below.end()
    }
    await until(() => seen.length === 3)
    t.same(seen, ['above ECONNRESET', 'below closed false', 'above closed true'], when)
  }
})

test('\'secure\' comes first, and tells of the secured connection', async (t, env) => {
  const seen: string[] = []
  const server = env.server.tls.createServer(shown, (peer) => {
    seen.push('secureConnection')
    // It has been told of by then.
    peer.on('secure', () => { seen.push('too late') })
    peer.resume().end()
  })
  const port = await env.listen(server)
  const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost' }, () => {
    seen.push('secureConnect')
    socket.on('secure', () => { seen.push('too late') })
  })
  socket.prependListener('secure', () => { seen.push('secure, first') })
  socket.on('secure', () => { seen.push('secure') })
  await once(socket.resume(), 'close')
  t.same(seen.filter((what) => what !== 'secureConnection'), ['secure, first', 'secureConnect', 'secure'])
  t.equal(seen.filter((what) => what === 'secureConnection').length, 1)
})

test('\'close\' says whether there was an error, also if there was never a connection', async (t, env) => {
  const nobody = nodeNet.createServer().listen(0, host)
  await once(nobody, 'listening')
  const { port } = nobody.address() as nodeNet.AddressInfo
  await new Promise((resolve) => nobody.close(resolve))
  const { tls, net } = env.client
  const closed = async (above: nodeTls.TLSSocket, begin: () => void): Promise<string[]> => {
    const below = (above as unknown as { _parent: nodeNet.Socket | null })._parent
    const seen = below === null ? ends(['above', above]) : ends(['below', below], ['above', above])
    begin()
    await until(() => seen.filter((what) => what.includes('closed')).length === (below === null ? 1 : 2))
    return seen
  }
  const fresh = new tls.TLSSocket(undefined as never)
  t.same(await closed(fresh, () => fresh.destroy()), ['above closed false'])
  const failed = new tls.TLSSocket(undefined as never)
  t.same(await closed(failed, () => failed.destroy(new Error('mine'))), ['above mine', 'above closed true'])
  const refused = tls.connect({ socket: net.connect(port, host) })
  t.same(await closed(refused, () => undefined), [
    'above ECONNREFUSED', 'below ECONNREFUSED', 'above closed false', 'below closed true',
  ])
  const given = tls.connect({ socket: net.connect(port, host) })
  t.same(await closed(given, () => given.destroy()), ['below closed false', 'above closed false'])
})

test('the socket below closes the connection, and with it the secured one', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  for (const [how, end, expected] of [
    ['destroyed', (above) => { above.destroy() }, ['below closed false', 'above closed false']],
    ['failed', (above) => { above.destroy(new Error('mine')) }, [
      'above mine', 'below closed false', 'above closed true',
    ]],
    ['destroyed below', (_, below) => { below.destroy() }, ['above closed false', 'below closed false']],
    ['failed below', (_, below) => { below.destroy(new Error('its own')) }, [
      'above its own', 'below its own', 'above closed false', 'below closed true',
    ]],
  ] as [string, (above: nodeTls.TLSSocket, below: nodeNet.Socket) => void, string[]][]) {
    const { below, above } = await over(env, port)
    await once(above, 'secureConnect')
    const seen = ends(['below', below], ['above', above])
    end(above, below)
    t.equal(below.destroyed, true, how)
    await until(() => seen.length === expected.length)
    t.same(seen, expected, how)
  }
})

test('a server is given a connection by its event, and any Duplex', async (t, env) => {
  const secure = env.server.tls.createServer(shown, echo)
  const port = await env.listen(env.server.net.createServer((socket) => { secure.emit('connection', socket) }))
  const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost' })
  socket.end('by hand')
  t.equal((await all(socket)).toString(), 'by hand')
  const [here, there] = duplexes()
  secure.emit('connection', there)
  const over = env.client.tls.connect({ socket: here, ca, servername: 'localhost' } as nodeTls.ConnectionOptions)
  over.write('over anything')
  const [data] = await once(over, 'data') as [Buffer]
  t.equal(data.toString(), 'over anything')
  over.destroy()
})

/** Two streams, each of which gives what the other is given. */
function duplexes(): [Duplex, Duplex] {
  const make = (peer: () => Duplex): Duplex => new Duplex({
    read() { /* It comes by itself. */ },
    write(chunk: Buffer, _encoding, done) {
      peer().push(chunk)
      done()
    },
    final(done) {
      peer().push(null)
      done()
    },
  })
  const one: Duplex = make(() => two)
  const two: Duplex = make(() => one)
  return [one, two]
}

test('http on it, both ways, and https of Node as the peer', async (t, env) => {
  const handler: http.RequestListener = (request, response) => {
    response.end(`${request.method} ${request.url} ${String((request.socket as nodeTls.TLSSocket).encrypted)}`)
  }
  const web = http.createServer(handler)
  const secure = env.server.tls.createServer(shown, (socket) => { web.emit('connection', socket) })
  const port = await env.listen(secure)
  const get = async (options: https.RequestOptions): Promise<string> => {
    const [response] = await once(https.get({ port, host, path: '/x', ca, servername: 'localhost', ...options }),
      'response') as [http.IncomingMessage]
    return (await all(response as unknown as Duplex)).toString()
  }
  t.equal(await get({ agent: false }), 'GET /x true')
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => { agent.destroy() })
  agent.createConnection = (options) => env.client.tls.connect(options as nodeTls.ConnectionOptions)
  for (let i = 0; i < 3; i++) t.equal(await get({ agent }), 'GET /x true')
  await t.rejects(get({ agent, servername: 'other.example' }), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
})

test('ws on it', async (t, env) => {
  const web = http.createServer()
  const sockets = new WebSocketServer({ server: web })
  sockets.on('connection', (socket) => { socket.on('message', (data) => { socket.send(data as Buffer) }) })
  const port = await env.listen(env.server.tls.createServer(shown, (socket) => { web.emit('connection', socket) }))
  const socket = new WebSocket(`wss://localhost:${port}`, {
    createConnection: ((options: nodeTls.ConnectionOptions) =>
      env.client.tls.connect({ ...options, host, port, ca, servername: 'localhost' })) as never,
  })
  await once(socket, 'open')
  socket.send('hello')
  const [data] = await once(socket, 'message') as [Buffer]
  t.equal(data.toString(), 'hello')
  socket.close()
  await once(socket, 'close')
})

test('written and ended while corked, and written after that', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost' })
  await once(socket, 'secureConnect')
  const failed = refusal(socket)
  socket.cork()
  socket.write('x')
  socket.end()
  socket.write('y')
  t.match(await failed, { code: 'ERR_STREAM_WRITE_AFTER_END' })
})

test('given up in the middle of a handshake', async (t, env) => {
  const server = env.server.tls.createServer(shown, echo)
  const port = await env.listen(server)
  for (let i = 0; i < 20; i++) {
    const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost' })
    socket.on('error', () => undefined)
    socket.write('x')
    if (i % 2 === 0) await once(socket, 'connect')
    // Node's own can't.
    if (i % 3 === 0 && env.client === ours) socket.resetAndDestroy()
    else socket.destroy()
    if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve))
  }
  const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost' })
  socket.end('x')
  t.equal((await all(socket)).toString(), 'x')
})

test('peers that have announced their end, and are gone before they are answered', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer({ ...shown, allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  }))
  t.equal(await leavingClients(t, port, 200), 0)
  const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost' })
  socket.end('x')
  t.equal((await all(socket)).toString(), 'x')
})

test('options that are wrong are said at once', async (t, env) => {
  const { connect, createServer } = env.client.tls
  t.throws(() => connect({ port: 1, host, key: 'no key' }), { code: /^ERR_OSSL/ })
  t.throws(() => createServer({ ...shown, handshakeTimeout: 'long' as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => createServer({ ...shown, SNICallback: 'no' as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => { createServer(shown).addContext('', {}) }, { code: 'ERR_TLS_REQUIRED_SERVER_NAME' })
  t.throws(() => connect({ port: -1, host }), { code: 'ERR_SOCKET_BAD_PORT' })
  // Node's own has begun to connect by then.
  if (env.client === ours) {
    t.throws(() => connect({ port: 1, host, servername: 5 as never }), { code: 'ERR_INVALID_ARG_TYPE' })
    t.throws(() => connect({ port: 1, host, session: 5 as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  }
})

void t.test('ours: a peer that takes nothing, and asks for new keys between bytes, is let go', {
  timeout: patient(20_000),
}, async (t) => {
  // The output of the first write waits, as more than the kernel takes; the answers wait behind it.
  let over!: (how: string) => void
  const outcome = new Promise<string>((resolve) => { over = resolve })
  const server = tls.createServer(shown, (socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => { over(String(error.code)) })
    socket.on('data', (data: Buffer) => { if (data.toString().includes('.')) over('all was answered') })
    socket.write(Buffer.alloc(32 * 1024 * 1024))
  })
  t.teardown(() => { server.close() })
  await once(server.listen(0, host), 'listening')
  const { raw, records } = await tlsRecords((server.address() as nodeNet.AddressInfo).port)
  raw.on('error', () => undefined)
  for (let i = 0; i < 8000; i++) {
    raw.write(records.newKeys())
    if (i % 10 === 0) raw.write(records.data('x'))
  }
  raw.write(records.data('.'))
  t.equal(await outcome, 'ERR_SSL_PROTOCOL_ERROR')
  raw.destroy()
})

void t.test('ours: a peer that asks for new keys when it was told the end is read on, and not answered', {
  timeout: patient(20_000),
}, async (t) => {
  let heard = ''
  const server = tls.createServer({ ...shown, allowHalfOpen: true }, (socket) => {
    socket.on('data', (data: Buffer) => { heard += data.toString() })
    socket.end('all')
  })
  t.teardown(() => { server.close() })
  const accepted = once(server, 'secureConnection') as Promise<[nodeTls.TLSSocket]>
  await once(server.listen(0, host), 'listening')
  const { raw, records } = await tlsRecords((server.address() as nodeNet.AddressInfo).port)
  raw.allowHalfOpen = true
  const [socket] = await accepted
  const closed = once(socket, 'close')
  await once(raw.resume(), 'end')
  for (const text of ['x', 'y', 'z']) {
    raw.write(records.newKeys())
    raw.write(records.data(text))
    await until(() => heard.endsWith(text))
  }
  raw.end()
  t.same(await closed, [false])
  t.equal(heard, 'xyz')
})

void t.test('ours: a peer on a Unix socket that is gone before it has its tickets has lost nothing', {
  timeout: patient(20_000),
}, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'tls-'))
  t.teardown(() => { rmSync(directory, { recursive: true, force: true }) })
  const path = join(directory, 'socket')
  const ends: Promise<unknown>[] = []
  const server = tls.createServer(shown, (socket) => {
    socket.resume()
    const failed = once(socket, 'error').then(([error]) => (error as NodeJS.ErrnoException).code)
    ends.push(Promise.race([failed, once(socket, 'close').then(() => 'closed', () => 'failed')]))
  })
  t.teardown(() => { server.close() })
  await once(server.listen(path), 'listening')
  for (let i = 0; i < 20; i++) {
    const told = once(server, 'secureConnection')
    const client = tls.connect({ path, ca, servername: 'localhost' }, () => { client.destroySoon() })
    await Promise.all([told, once(client, 'close')])
  }
  t.same([...new Set(await Promise.all(ends))], ['closed'])
})

/** What an error has besides its text, as programs tell errors apart by. */
function fieldsOf(error: unknown): object {
  const { code, errno, syscall } = error as NodeJS.ErrnoException
  return { code, errno, syscall }
}

test('errors of TLS name no system call, and those of the program are as it made them', async (t, env) => {
  const mine = new Error('none of that name')
  const cases: readonly (readonly [nodeTls.TlsOptions, nodeTls.ConnectionOptions, string | undefined, string])[] = [
    [{ ALPNProtocols: ['a'] }, { ALPNProtocols: ['b'] }, 'ERR_SSL_NO_APPLICATION_PROTOCOL',
      'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL'],
    [{ minVersion: 'TLSv1.3' }, { maxVersion: 'TLSv1.2' }, 'ERR_SSL_UNSUPPORTED_PROTOCOL',
      'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION'],
    [{ SNICallback: (_, done) => { done(mine) } }, {}, undefined, 'ECONNRESET'],
  ]
  for (const [forServer, forClient, serverCode, clientCode] of cases) {
    const server = env.server.tls.createServer({ ...shown, ...forServer }, echo)
    const failed = once(server, 'tlsClientError') as Promise<[Error]>
    const port = await env.listen(server)
    const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost', ...forClient })
    const told = fieldsOf(await refusal(socket)) as NodeJS.ErrnoException
    // The kernel may tell of the end first, which is an error of a system call.
    if (told.code === 'ECONNRESET') t.equal(clientCode, 'ECONNRESET')
    else t.same(told, { code: clientCode, errno: undefined, syscall: undefined })
    const [error] = await failed
    t.same(fieldsOf(error), { code: serverCode, errno: undefined, syscall: undefined })
    if (serverCode === undefined) t.equal(error, mine)
  }
})

test('an end in the handshake is no error of a system call', async (t, env) => {
  const server = env.server.tls.createServer(shown, echo)
  const failed = once(server, 'tlsClientError') as Promise<[Error]>
  const raw = nodeNet.connect(await env.listen(server), host)
  raw.resume().end()
  const [error] = await failed
  t.same(fieldsOf(error), { code: 'ECONNRESET', errno: undefined, syscall: undefined })
  t.equal(error.message, 'socket hang up')
  const port = await env.listen(env.server.net.createServer((socket) => {
    socket.once('data', () => { socket.end() })
  }))
  const told = await refusal(env.client.tls.connect({ port, host, ca }))
  t.same(fieldsOf(told), { code: 'ECONNRESET', errno: undefined, syscall: undefined })
})

test('a client without the certificate that TLS 1.3 asks it for is told so', async (t, env) => {
  const server = env.server.tls.createServer({ ...shown, requestCert: true, ca, minVersion: 'TLSv1.3' }, echo)
  const port = await env.listen(server)
  const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost' })
  socket.resume()
  // It comes when the client's own handshake is over already.
  const told = await refusal(socket)
  t.same(fieldsOf(told), {
    code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', errno: undefined, syscall: undefined,
  })
  t.match(told, { library: 'SSL routines', reason: 'tlsv13 alert certificate required' })
  t.match((told as Error).message, 'tlsv13 alert certificate required')
})

test('what checkServerIdentity says is why a server is not authorized', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const checkServerIdentity = (): Error => Object.assign(new Error('not that one'), { code: 'EOTHER' })
  const socket = env.client.tls.connect({ port, host, ca, servername: 'localhost', checkServerIdentity })
  t.match(await refusal(socket), { code: 'EOTHER' })
  t.equal(socket.authorizationError, 'EOTHER')
})

test('over a socket whose peer goes before the handshake can begin', async (t, env) => {
  const port = await env.listen(env.server.net.createServer((socket) => { socket.resetAndDestroy() }))
  for (let i = 0; i < 20; i++) {
    const below = env.client.net.connect(port, host)
    below.on('error', () => undefined)
    t.equal((await refusal(env.client.tls.connect({ socket: below, ca }))).code, 'ECONNRESET')
  }
})

test('a socket that is put on another one has its addresses at once', async (t, env) => {
  const port = await env.listen(env.server.tls.createServer(shown, echo))
  const { below, above } = await over(env, port)
  const known = (): object => {
    const { pending, remoteAddress, remotePort, localAddress, localPort } = above
    return { pending, remoteAddress, remotePort, localAddress, localPort, address: above.address() }
  }
  const all = {
    pending: false, remoteAddress: host, remotePort: port, localAddress: host, localPort: below.localPort,
    address: below.address(),
  }
  t.same(known(), all)
  await once(above, 'secureConnect')
  t.same(known(), all)
  above.destroy()
})

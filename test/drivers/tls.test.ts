/** TLS in the TCP drivers, on every transport, with `node:tls` at the other end. */
import { spawn as run } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  connect as tlsConnect, createSecureContext, createServer as tlsServer, type TLSSocket, type TlsOptions as NodeOptions,
} from 'node:tls'
import {
  _, abort, endpoint, eof, proxyHeader, sendFeedback, sendMessage, spawn, tcpAddress, tcpBare, tcpChannel, tcpCredit,
  tcpHandle, tcpSecured, tlsCredentials, unixListener, unixListening, type TcpError, type TlsOptions, type TlsState,
} from 'marketplace-native'
import { makeCertificate } from '../support/certificates.js'
import { leavingClients } from '../support/leaving-client.js'
import { client, cutOff, missing, pattern, randomSource, readAll, until } from '../support/util.js'
import { host, server, type Heard, type Program } from './tcp-program.js'
import {
  authority, echo, facts, onEach, own, refusedClient, relay, secureClient, shown, straight, t,
} from './tls-program.js'

type Failure = TcpError['error']

async function failure(program: Program, number = 1): Promise<Failure> {
  await until(() => program.errors.length >= number)
  return program.errors[number - 1].error
}

/** Whether the server still serves others. */
async function serves(port: number): Promise<boolean> {
  const socket = await secureClient(port)
  socket.end('well?')
  return (await readAll(socket)).toString() === 'well?'
}

onEach('an echo: what was agreed on is told, and bytes come back', async (t, start) => {
  const program = start(echo, { tls: { ...shown, ALPNProtocols: ['two', 'one'] } })
  const port = await program.port()
  const socket = await secureClient(port, { ALPNProtocols: ['one', 'two'] })
  t.equal(socket.authorized, true)
  t.equal(socket.alpnProtocol, 'two', 'the server prefers')
  const bytes = pattern(1_000_000)
  for (let at = 0, next = randomSource(1); at < bytes.length;) {
    const length = 1 + next(50_000)
    socket.write(bytes.subarray(at, at + length))
    at += length
  }
  socket.end()
  t.ok((await readAll(socket)).equals(bytes))
  t.match(facts(program), [{
    protocol: 'TLSv1.3', cipher: { name: /^TLS_/, version: 'TLSv1.3' }, alpnProtocol: 'two', servername: 'localhost',
    authorized: false, authorizationError: undefined, resumed: false, peerCertificate: undefined,
  }])
  t.equal(await program.reason('session'), undefined, 'the end was announced')
  t.equal(program.transports[0].metrics.tlsHandshakes, 1)
  t.equal(program.transports[0].metrics.tlsFailures, 0)
})

onEach('TLS 1.2, and RSA', async (t, start) => {
  const { key, cert } = makeCertificate({ by: authority, type: 'rsa' })
  const program = start(echo, { tls: { key, cert, maxVersion: 'TLSv1.2' } })
  const socket = await secureClient(await program.port())
  t.equal(socket.getProtocol(), 'TLSv1.2')
  socket.end('hello')
  t.equal((await readAll(socket)).toString(), 'hello')
  t.match(facts(program), [{ protocol: 'TLSv1.2', cipher: { name: /RSA/ } }])
})

onEach('each end can end first', async (t, start) => {
  const program = start(() => server((them, us) => endpoint.subscriber(tcpChannel(them, us, _), {
    onPresence: () => [sendMessage(tcpChannel(us, them, 'all of it')), sendMessage(tcpChannel(us, them, eof))],
    onMessage: ({ subpacket }) => { got.push(subpacket) },
  })), { tls: shown, allowHalfOpen: true })
  const got: unknown[] = []
  const socket = await secureClient(await program.port())
  t.equal((await readAll(socket)).toString(), 'all of it')
  socket.write('and still')
  await until(() => got.length > 0)
  socket.end()
  await until(() => got.includes(eof))
  t.equal(Buffer.concat(got.filter(Buffer.isBuffer)).toString(), 'and still')
})

onEach('clients with certificates', async (t, start, transport) => {
  const known = makeCertificate({ name: 'client', by: authority })
  const alien = makeCertificate({ name: 'alien' })
  const old = makeCertificate({ name: 'old', by: authority, from: -3, to: -2 })
  const program = start(echo, { tls: { ...shown, ca: authority.cert, requestCert: true } })
  const port = await program.port()
  const socket = await secureClient(port, { key: known.key, cert: known.cert })
  socket.end('x')
  await readAll(socket)
  const [fact] = facts(program) as TlsState[]
  t.equal(fact.authorized, true)
  t.equal(fact.peerCertificate?.subject.CN, 'client')
  await refusedClient(port, { key: alien.key, cert: alien.cert })
  t.match(await failure(program, 1), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  await refusedClient(port, { key: old.key, cert: old.cert })
  t.match(await failure(program, 2), { code: 'CERT_HAS_EXPIRED' })
  await refusedClient(port)
  const code = transport === 'native' ? 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE' : /./
  t.match(await failure(program, 3), { code })
  t.equal(facts(program).length, 1, 'none of them was a connection')
})

onEach('certificates that are wrong can be let in: what they are worth is told', async (t, start) => {
  const program = start(echo, { tls: { ...shown, ca: authority.cert, requestCert: true, rejectUnauthorized: false } })
  const port = await program.port()
  const alien = makeCertificate({ name: 'alien' })
  for (const options of [{ key: alien.key, cert: alien.cert }, {}]) {
    const socket = await secureClient(port, options)
    socket.end('x')
    await readAll(socket)
  }
  t.match(facts(program), [
    {
      authorized: false, authorizationError: 'DEPTH_ZERO_SELF_SIGNED_CERT',
      peerCertificate: { subject: { CN: 'alien' } },
    },
    { authorized: false, authorizationError: 'UNABLE_TO_GET_ISSUER_CERT', peerCertificate: undefined },
  ])
})

onEach('handshakes that fail: each says why, and nobody else is concerned', async (t, start) => {
  const program = start(echo, { tls: { ...shown, minVersion: 'TLSv1.2' } })
  const port = await program.port()
  const calm = await secureClient(port)
  let seen = 0
  const next = async (what: string, code: RegExp): Promise<void> => {
    t.match(await failure(program, ++seen), { code, message: /./ }, what)
  }
  const plain = await client(port)
  plain.on('error', () => undefined)
  plain.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await next('somebody who speaks HTTP', /^ERR_SSL_(HTTP_REQUEST|WRONG_VERSION_NUMBER)$/)
  plain.destroy()
  const garbage = await client(port)
  garbage.on('error', () => undefined)
  garbage.write(pattern(200))
  await next('garbage', /^ERR_SSL_/)
  garbage.destroy()
  await refusedClient(port, { ciphers: 'ECDHE-RSA-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' })
  await next('a client with other ciphers', /^ERR_SSL_NO_SHARED_CIPHER$/)
  const gone = await client(port)
  gone.resume().end()
  await next('one that goes at once', /^ECONNRESET$/)
  const reset = await client(port)
  reset.write(Buffer.from('160301', 'hex'))
  reset.resetAndDestroy()
  await next('a reset within the handshake', /^ECONNRESET$/)
  t.equal(program.transports[0].metrics.tlsFailures, 5)
  calm.end('still there')
  t.equal((await readAll(calm)).toString(), 'still there')
  t.ok(await serves(port))
})

onEach('who never finishes the handshake ends by the deadline', async (t, start) => {
  const program = start(echo, { tls: { ...shown, handshakeTimeout: 100 } })
  const port = await program.port()
  const silent = await client(port)
  const ended = cutOff(silent)
  t.match(await failure(program), { code: 'ERR_TLS_HANDSHAKE_TIMEOUT', message: /100 ms/ })
  t.ok(await ended)
  await until(() => program.connections === 0)
})

// Handles

/** A server of `node:tls` that sends back what it gets. */
async function nodeServer(t: { teardown(end: () => void): void }, options: NodeOptions = {}): Promise<number> {
  const sockets = new Set<TLSSocket>()
  const listening = tlsServer({ ...shown, allowHalfOpen: true, ...options } as NodeOptions, (socket) => {
    sockets.add(socket)
    socket.pipe(socket)
    socket.on('error', () => undefined)
  })
  listening.on('tlsClientError', () => undefined)
  listening.listen(0, host)
  await once(listening, 'listening')
  t.teardown(() => {
    listening.close()
    for (const socket of sockets) socket.destroy()
  })
  return (listening.address() as AddressInfo).port
}

/** A conversation by a handle. */
const talk = (program: Program, port: number, name = 'localhost', id = 1) => {
  const [us, them] = [tcpHandle(id), tcpAddress(name, port)]
  return spawn(() => [
    endpoint.subscriber(tcpSecured(them, us, _), {
      interest: 'observer', onPresence: ({ tls }) => { facts(program).push(tls) },
    }),
    endpoint.subscriber(tcpChannel(them, us, _), program.notes(`talk ${id}`, undefined, () => [
      sendMessage(tcpChannel(us, them, 'hello')),
    ])),
  ])
}

onEach('a handle: its server is whom it says to be', async (t, start) => {
  const port = await nodeServer(t, { ALPNProtocols: ['a'] })
  const program = start((program) => talk(program, port), { tls: { ca: authority.cert, ALPNProtocols: ['a', 'b'] } })
  await until(() => program.bytes('talk 1').toString() === 'hello')
  t.match(facts(program), [{
    authorized: true, authorizationError: undefined, alpnProtocol: 'a', servername: 'localhost',
    peerCertificate: { subject: { CN: 'localhost' } },
  }])
})

onEach('servers that a handle does not believe', async (t, start) => {
  const other = makeCertificate({ name: 'elsewhere.example', also: [], by: authority })
  const old = makeCertificate({ by: authority, from: -3, to: -2 })
  const alone = makeCertificate()
  const stranger = makeCertificate({ by: makeCertificate({ name: 'stranger', authority: true }) })
  const plain = createServer((socket) => socket.end('220 welcome\r\n')).listen(0, host)
  await once(plain, 'listening')
  t.teardown(() => { plain.close() })
  const cases: readonly (readonly [number, RegExp])[] = [
    [await nodeServer(t, { key: other.key, cert: other.cert }), /^ERR_TLS_CERT_ALTNAME_INVALID$/],
    [await nodeServer(t, { key: old.key, cert: old.cert }), /^CERT_HAS_EXPIRED$/],
    [await nodeServer(t, { key: alone.key, cert: alone.cert }), /^DEPTH_ZERO_SELF_SIGNED_CERT$/],
    [await nodeServer(t, { key: stranger.key, cert: stranger.cert }), /^UNABLE_TO_/],
    [(plain.address() as AddressInfo).port, /^ERR_SSL_/],
  ]
  const program = start((program) => cases.map(([port], id) => talk(program, port, 'localhost', id)), {
    tls: { ca: authority.cert },
  })
  await until(() => program.errors.length === cases.length)
  for (const [port, code] of cases) {
    const told = program.errors.find(({ remote }) => (remote as { port?: number }).port === port)
    t.match(told?.error.code, code, String(code))
  }
  t.equal(program.heard.length, 0, 'nobody heard of a connection')
  await until(() => program.connections === 0)
})

onEach('a server hears why it is not believed', async (t, start, transport) => {
  // Node's clients judge when the handshake is over, and then just go.
  if (transport === 'node') return
  const listening = start(echo, { tls: shown })
  const port = await listening.port()
  const program = start((program) => talk(program, port), { tls: {} })
  t.match(await failure(program), { code: /^UNABLE_TO_/ })
  t.match(await failure(listening), { code: /^ERR_SSL_(TLSV1_ALERT_UNKNOWN_CA|.*UNKNOWN_CA)$/ })
})

onEach('a session is resumed', async (t, start, transport) => {
  const program = start(echo, { tls: shown })
  const port = await program.port()
  const first = tlsConnect({ port, host, ca: authority.cert, servername: 'localhost' })
  const [session] = await once(first, 'session') as [Buffer]
  first.destroy()
  const socket = await secureClient(port, { session })
  t.equal(socket.isSessionReused(), true)
  socket.end('x')
  await readAll(socket)
  t.equal((facts(program).at(-1) as TlsState).resumed, true, transport)
})

// Contexts

onEach('certificates are renewed while connections go on', async (t, start) => {
  const credentials = tlsCredentials(shown)
  const program = start(echo, { tls: credentials })
  const port = await program.port()
  const before = await secureClient(port)
  const renewed = makeCertificate({ by: authority, also: ['renewed.example'] })
  credentials.setSecureContext({ key: renewed.key, cert: renewed.cert })
  const after = await secureClient(port)
  t.match(after.getPeerCertificate().subjectaltname, /renewed/)
  t.notMatch(before.getPeerCertificate().subjectaltname, /renewed/)
  before.end('old')
  after.end('new')
  t.equal((await readAll(before)).toString(), 'old')
  t.equal((await readAll(after)).toString(), 'new')
  t.throws(() => { credentials.setSecureContext({ key: own.key, cert: renewed.cert }) }, /key values mismatch/)
  t.throws(() => { credentials.setSecureContext({ requestCert: true } as never) }, /requestCert/)
  t.ok(await serves(port), 'as it was before')
})

onEach('the certificate is that of the name that is asked for', async (t, start) => {
  const other = makeCertificate({ name: 'other.example', by: authority })
  const context = createSecureContext({ key: other.key, cert: other.cert })
  // Node's own sockets may use the same context.
  const beside = await nodeServer(t, { SNICallback: (_name, done) => { done(null, context) } })
  const asked: string[] = []
  const program = start(echo, {
    tls: {
      ...shown,
      SNICallback: (name, done) => {
        asked.push(name)
        if (name === 'throws.example') throw new Error('not this one')
        if (name === 'fails.example') setTimeout(() => { done(new Error('nor this')) }, 1)
        else if (name === 'wrong.example') done(null, {} as never)
        else setTimeout(() => { done(null, name === 'other.example' ? context : undefined) }, 1)
      },
    },
  })
  const port = await program.port()
  for (const [where, name] of [[port, 'other.example'], [beside, 'other.example'], [port, 'localhost']] as const) {
    const socket = await secureClient(where, { servername: name })
    t.equal(socket.getPeerCertificate().subject.CN, name)
    socket.end('x')
    t.equal((await readAll(socket)).toString(), 'x')
  }
  for (const [name, message] of [
    ['throws.example', /not this one/], ['fails.example', /nor this/], ['wrong.example', /context|Invalid SNI/],
  ] as const) {
    const { length } = program.errors
    await refusedClient(port, { servername: name })
    t.match(await failure(program, length + 1), { message }, name)
  }
  t.same(asked, ['other.example', 'localhost', 'throws.example', 'fails.example', 'wrong.example'])
  t.ok(await serves(port))
})

onEach('what asks for a certificate may fail with any value: one connection\'s failure', async (t, start) => {
  const fail: Readonly<Record<string, (done: (error: never) => void) => unknown>> = {
    'text.example': () => { throw 'a string' },
    'null.example': () => { throw null },
    'undefined.example': () => { throw undefined },
    'frozen.example': () => { throw Object.freeze(new Error('frozen')) },
    'given.example': (done) => { done('a string' as never) },
    'async.example': () => Promise.reject(new Error('later')),
  }
  const program = start(echo, {
    tls: {
      ...shown, handshakeTimeout: 60_000,
      SNICallback: (name, done) => {
        if (Object.hasOwn(fail, name)) return fail[name](done) as undefined
        done(null)
      },
    },
  })
  const port = await program.port()
  for (const servername of Object.keys(fail)) {
    const { length } = program.errors
    let secured = false
    const socket = tlsConnect({ port, host, servername, ca: authority.cert })
    socket.on('error', () => undefined).on('secureConnect', () => { secured = true })
    await new Promise((resolve) => socket.once('close', resolve))
    t.notOk(secured, servername)
    t.match(await failure(program, length + 1), { code: String, syscall: String }, servername)
  }
  t.ok(await serves(port))
})

onEach('a record that is wrong ends its connection at once, and says why', async (t, start) => {
  const program = start(echo, { tls: shown })
  const port = await program.port()
  const records = {
    'no record': Buffer.from('hello garbage'),
    'too long': Buffer.from([23, 3, 3, 255, 255]),
    'not of its sender': Buffer.concat([Buffer.from([23, 3, 3, 0, 30]), Buffer.alloc(30, 7)]),
    'an alert that is not encrypted': Buffer.from([21, 3, 3, 0, 2, 2, 40]),
  }
  for (const [name, record] of Object.entries(records)) {
    const { length } = program.heard
    let server: Socket | undefined
    const socket = await secureClient(await relay(t, port, (data, _from, to) => {
      server = to
      to.write(data)
    }, straight))
    socket.on('error', () => undefined)
    socket.write('x')
    await once(socket, 'data')
    server?.write(record)
    const gone = (): Heard | undefined => program.heard.slice(length)
      .find(({ who, what }) => who === 'session' && what === 'absence')
    await until(() => gone() !== undefined)
    t.match(gone()?.reason, { code: /^ERR_SSL_/ }, name)
    socket.destroy()
  }
  t.ok(await serves(port))
})

onEach('a peer that wants new keys again and again, and says nothing, is ended', async (t, start, transport) => {
  const missingOpenssl = missing('openssl')
  // On node:net it is Node's to say, and Node says nothing.
  if (missingOpenssl !== false || transport === 'node') {
    t.comment(String(missingOpenssl))
    return
  }
  const program = start(echo, { tls: shown })
  const port = await program.port()
  const openssl = run('openssl', ['s_client', '-connect', `${host}:${port}`, '-tls1_3'], { stdio: 'pipe' })
  openssl.stdout.resume()
  openssl.stderr.resume()
  openssl.stdin.on('error', () => undefined)
  let over = false
  const ended = once(openssl, 'exit').then(() => { over = true })
  t.teardown(() => openssl.kill('SIGKILL'))
  await until(() => program.heard.some(({ who, what }) => who === 'session' && what === 'presence'))
  const gone = (): Heard | undefined => program.heard.find(({ who, what }) => who === 'session' && what === 'absence')
  // One for each that it reads: it takes what comes at once for one, so how many it needs is not known.
  for (let i = 0; gone() === undefined && !over; i++) {
    openssl.stdin.write('K\n')
    await new Promise((resolve) => setImmediate(resolve))
    if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await until(() => gone() !== undefined)
  t.match(gone()?.reason, { code: /^ERR_SSL_(TOO_MANY_KEY_UPDATES|PROTOCOL_ERROR)$/ })
  await ended
  t.ok(await serves(port))
})

onEach('peers that have announced their end, and are gone before they are answered', async (t, start) => {
  const program = start(echo, { tls: shown })
  const port = await program.port()
  t.equal(await leavingClients(t, port, 200), 0)
  t.ok(await serves(port))
})

onEach('who goes while its certificate is being looked for, is gone', async (t, start) => {
  const answers: (() => void)[] = []
  const program = start(echo, {
    tls: { ...shown, SNICallback: (_name, done) => { answers.push(() => { done(null) }) } },
  })
  const port = await program.port()
  const socket = tlsConnect({ port, host, servername: 'localhost', ca: authority.cert })
  socket.on('error', () => undefined)
  await until(() => answers.length === 1)
  socket.destroy()
  await once(socket, 'close')
  answers[0]()
  t.match(await failure(program), { code: /^(ECONNRESET|EPIPE)$/ })
  const second = tlsConnect({ port, host, servername: 'localhost', ca: authority.cert })
  await until(() => answers.length === 2)
  answers[1]()
  await once(second, 'secureConnect')
  second.destroy()
})

onEach('many who say all they have to say, and the end, before the handshake is over', async (t, start) => {
  const program = start(echo, { tls: shown })
  const port = await program.port()
  const bytes = pattern(20_000)
  // So many at the same time that much of it waits in the engine.
  for (let round = 0; round < 4; round++) {
    const heard = await Promise.all(Array.from({ length: 60 }, async () => {
      const socket = tlsConnect({ port, host, servername: 'localhost', ca: authority.cert })
      socket.end(bytes)
      return readAll(socket)
    }))
    // Node ends its reading with its writing: some hear less, and none hears what is not theirs.
    for (const got of heard) if (!bytes.subarray(0, got.length).equals(got)) t.fail('other bytes')
  }
  t.ok(await serves(port))
})

// What is sent

onEach('records that come in odd pieces', async (t, start) => {
  const program = start(echo, { tls: shown })
  const next = randomSource(7)
  const pieces = (data: Buffer, _from: unknown, to: { write(data: Buffer): unknown }): void => {
    for (let at = 0; at < data.length;) {
      const length = 1 + next(next(3) === 0 ? 3 : 3000)
      to.write(data.subarray(at, at + length))
      at += length
    }
  }
  const port = await relay(t, await program.port(), pieces, pieces)
  const socket = await secureClient(port)
  const bytes = pattern(300_000)
  socket.end(bytes)
  t.ok((await readAll(socket)).equals(bytes))
})

onEach('frames, credit, and what was written', async (t, start) => {
  let credited = 0
  const got: Buffer[] = []
  const program = start(() => server((them, us) => [
    endpoint.publisher(tcpChannel(us, them, _), {
      onMessage: ({ subpacket }) => { if (tcpCredit.is(subpacket)) credited += subpacket.amount },
    }),
    endpoint.subscriber(tcpChannel(them, us, _), {
      onMessage: ({ subpacket }) => {
        if (subpacket === eof) return undefined
        got.push(subpacket)
        return [
          sendMessage(tcpChannel(us, them, subpacket)), sendFeedback(tcpChannel(them, us, tcpCredit(1))),
        ]
      },
    }),
    sendFeedback(tcpChannel(them, us, tcpCredit(3))),
  ]), { driver: 'tcp', mode: { frame: 'length', bytes: 2 }, tls: shown })
  const socket = await secureClient(await program.port())
  const frames = Array.from({ length: 200 }, (_, i) => pattern(1 + i * 37 % 5000, i + 1))
  const wire = Buffer.concat(frames.flatMap((frame) => [Buffer.from([frame.length >> 8, frame.length & 255]), frame]))
  const read = readAll(socket)
  socket.write(wire)
  // As long as there is a connection: afterwards there is nobody to be told.
  await until(() => credited > 0)
  socket.end()
  t.ok((await read).equals(wire))
  t.equal(got.length, frames.length)
  t.ok(got.every((frame, i) => frame.equals(frames[i])))
})

onEach('much, to a peer that reads slowly: nothing is lost, and what waits is bounded', async (t, start) => {
  const program = start(echo, { tls: shown, highWaterMark: 65536 })
  const socket = await secureClient(await program.port())
  const bytes = pattern(8_000_000)
  socket.end(bytes)
  await until(() => program.transports[0].metrics.queuedBytes > 65536)
  const got = await readAll(socket)
  t.ok(got.equals(bytes))
  await until(() => program.transports[0].metrics.queuedBytes === 0)
})

onEach('an end that TLS has not announced', async (t, start, transport) => {
  for (const allowTruncation of [false, true]) {
    const program = start(echo, { tls: { ...shown, allowTruncation } })
    // The socket below ends, and TLS has nothing to say about it.
    const raw = connect({ port: await program.port(), host })
    const socket = tlsConnect({ socket: raw, ca: authority.cert, servername: 'localhost' })
    socket.on('error', () => undefined)
    await once(socket, 'secureConnect')
    socket.write('some')
    await once(socket, 'data')
    raw.end()
    const reason = await program.reason('session') as Failure | undefined
    const cut = transport === 'native' && !allowTruncation
    t.equal(reason?.code, cut ? 'ERR_SSL_UNEXPECTED_EOF_WHILE_READING' : undefined, String(allowTruncation))
    t.equal(program.bytes('session').toString(), 'some')
    raw.destroy()
  }
})

onEach('a program that aborts', async (t, start) => {
  const program = start(() => server((them, us) => endpoint.subscriber(tcpChannel(them, us, _), {
    onMessage: () => sendMessage(tcpChannel(us, them, abort)),
  })), { tls: shown })
  const socket = await secureClient(await program.port(), { allowHalfOpen: false } as never)
  socket.on('error', () => undefined)
  socket.write('x')
  await new Promise((resolve) => { socket.on('close', resolve) })
  await until(() => program.connections === 0)
  t.equal(program.errors.length, 0)
})

// Where it comes from

const introduced = { source: { host: '192.0.2.7', port: 4711 }, destination: { host: '192.0.2.8', port: 443 } }

onEach('behind a balancer: its header comes before the handshake', async (t, start) => {
  const program = start(echo, { tls: shown, proxy: { from: [host] } })
  const raw = await client(await program.port())
  const header = proxyHeader(introduced)
  raw.write(header.subarray(0, 9))
  raw.write(header.subarray(9))
  const socket = tlsConnect({ socket: raw, ca: authority.cert, servername: 'localhost' })
  await once(socket, 'secureConnect')
  socket.write('hello')
  const [data] = await once(socket, 'data') as [Buffer]
  t.equal(data.toString(), 'hello')
  t.match(program.heard[0].topic, { source: { host: '192.0.2.7', port: 4711 } })
  socket.destroy()
})

onEach('the header and the first bytes of the handshake in one piece', async (t, start) => {
  const program = start(echo, { tls: shown, proxy: { from: [host] } })
  let first = true
  const port = await relay(t, await program.port(), (data, _from, to) => {
    const header = proxyHeader(introduced)
    to.write(first ? Buffer.concat([header, data]) : data)
    first = false
  }, straight)
  const socket = await secureClient(port)
  socket.end('hello')
  t.equal((await readAll(socket)).toString(), 'hello')
})

onEach('Unix sockets', async (t, start) => {
  const folder = mkdtempSync(join(tmpdir(), 'tls-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const path = join(folder, 'socket')
  let listening = false
  start(() => [
    endpoint.subscriber(unixListening(unixListener(path)), { onPresence: () => { listening = true } }),
    endpoint.subscriber(tcpChannel(_, unixListener(path), _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) => spawn(() => endpoint.subscriber(tcpChannel(them, us, _), {
        onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
      })),
    }),
  ], { tls: shown })
  await until(() => listening)
  const socket = tlsConnect({ path, ca: authority.cert, servername: 'localhost', allowHalfOpen: true } as never)
  await once(socket, 'secureConnect')
  socket.end('hello')
  t.equal((await readAll(socket)).toString(), 'hello')
})

onEach('at depth, and beside connections that are not encrypted', async (t, start) => {
  const port = await nodeServer(t)
  const program = start((program) => [echo(program), talk(program, port)], {
    depth: 2, tls: (local) => (tcpHandle.is(local) ? { ca: authority.cert } : undefined),
  })
  await until(() => program.bytes('talk 1').toString() === 'hello')
  const plain = await client(await program.port())
  plain.end('plain')
  t.equal((await readAll(plain)).toString(), 'plain')
})

onEach('what the program gives as options of one listener is wrong: only that one hears of it', async (t, start) => {
  const program = start(echo, { tls: () => ({ handshakeTimeout: 0 }) })
  const socket = connect({ port: await program.port(), host })
  socket.on('error', () => undefined)
  t.match(await failure(program), { message: /handshakeTimeout/ })
  socket.destroy()
})

onEach('the handshake cut off at each byte', async (t, start) => {
  const program = start(echo, { tls: shown })
  const port = await program.port()
  const hello: Buffer[] = []
  const recorder = createServer((socket) => socket.on('data', (data) => { hello.push(data) })).listen(0, host)
  await once(recorder, 'listening')
  const recorded = tlsConnect({ port: (recorder.address() as AddressInfo).port, host, servername: 'localhost' })
  recorded.on('error', () => undefined)
  await until(() => Buffer.concat(hello).length > 200)
  recorded.destroy()
  recorder.close()
  const bytes = Buffer.concat(hello)
  for (let cut = 0; cut <= bytes.length; cut++) {
    const socket = await client(port)
    socket.on('error', () => undefined)
    socket.resume()
    socket.write(bytes.subarray(0, cut))
    if (cut % 2 === 0) socket.end()
    else setImmediate(() => { socket.resetAndDestroy() })
  }
  await until(() => program.errors.length === bytes.length + 1)
  t.equal(program.heard.length, 0)
  await until(() => program.connections === 0)
  t.ok(await serves(port))
})

t.test('options that are wrong', async (t) => {
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [true, /options\.tls/], [{ keys: '' }, /did you mean 'key'/], [{ ALPNProtocols: [''] }, /ALPNProtocols/],
    [{ handshakeTimeout: 0 }, /handshakeTimeout/], [{ SNICallback: 1 }, /SNICallback/], [{ key: 'x' }, /./],
    [{ cert: own.cert, key: authority.key }, /mismatch/], [{ ciphers: 'none' }, /./], [{ session: 'x' }, /session/],
    [{ minVersion: 'TLSv2' }, /tls\.minVersion must be 'TLSv1'/], [{ maxVersion: 1n }, /tls\.maxVersion must be/],
  ]
  for (const [tls, message] of wrong) t.throws(() => tcpBare({ tls: tls as TlsOptions }), message)
  // What Node finds wrong says whose it is, too, and where.
  for (const make of [() => tlsCredentials({ key: 'no key' }), () => tlsCredentials({ key: 5 as never })]) {
    let error: NodeJS.ErrnoException | undefined
    try {
      make()
    } catch (thrown) {
      error = thrown as NodeJS.ErrnoException
    }
    t.match(error, { message: /^tlsCredentials: /, code: /^ERR_/ })
    t.match(error?.stack?.split('\n').find((line) => line.includes('    at ')), /drivers\/tls\.test/)
  }
})

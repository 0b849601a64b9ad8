/** Who may have a WebSocket, what strangers can't do to a server, and limits, over each carrier. */
import { once } from 'node:events'
import { deflateRawSync } from 'node:zlib'
import t from 'tap'
import { WebSocket } from 'ws'
import {
  _, deleteEndpoint, endpoint, quit, sendMessage, wsAddress, wsChannel, wsClosed, wsHandle, type WebSocketOptions,
  type WsEnd, type WsPeer, type WsRequest,
} from 'marketplace-native'
import { siteOf } from '../../src/drivers/web-socket-admission.js'
import { makeCertificates } from '../clients/lib/certificates.js'
import { patient } from '../support/patience.js'
import { pattern, sleep, until } from '../support/util.js'
import { onEachCarrier, RawClient, server, type Start, type WsProgram } from './web-socket-program.js'

const echo = (program: WsProgram) => (them: WsPeer, us: WsEnd) =>
  endpoint.subscriber(wsChannel(them, us, _), {
    ...program.notes('session', ({ message }) => sendMessage(wsChannel(us, them, message))),
  })

const echoServer = (start: Start, options: WebSocketOptions = {}): WsProgram =>
  start((program) => server(echo(program)), options)

/** The status that a request gets. */
async function statusOf(url: string, headers: Readonly<Record<string, string>> = {}): Promise<number> {
  const raw = await RawClient.open(url, headers)
  raw.destroy()
  return raw.status
}

onEachCarrier('origins: a list, self, a function, all; who sends none is not judged by it', async (t, start) => {
  const { host } = new URL(await echoServer(start, { origins: ['self', 'https://example.org'] }).url())
  const url = `ws://${host}/`
  const cases: [string | undefined, number][] = [
    ['https://example.org', 101], [`http://${host}`, 101], [undefined, 101], ['https://example.org:444', 403],
    ['http://example.org', 403], ['https://evil.example', 403], ['null', 403], [`https://${host}`, 403],
    ['https://example.org.evil.example', 403], ['', 403], [`http://${host}, https://example.org`, 403],
  ]
  for (const [origin, status] of cases) {
    t.equal(await statusOf(url, origin === undefined ? {} : { origin }), status, String(origin))
  }
  const own = await echoServer(start, { origins: (origin, { path }) => origin === `x:${path}` }).url()
  t.equal(await statusOf(own, { origin: 'x:/' }), 101)
  t.equal(await statusOf(own, { origin: 'x:/y' }), 403)
  const all = await echoServer(start).url()
  t.equal(await statusOf(all, { origin: 'https://evil.example' }), 101)
  const none = await echoServer(start, { origins: [] }).url()
  t.equal(await statusOf(none, { origin: 'https://example.org' }), 403)
})

onEachCarrier('origins and protocols answer at once, and rightly; all else is 500, and told', async (t, start) => {
  const later = (): never => Promise.reject(new Error('async fault')) as never
  const cases: [WebSocketOptions, string][] = [
    [{ origins: later }, 'webSocket: options.origins() must be given at once, by a function that is not async; got P'],
    [{ origins: () => undefined as never }, 'webSocket: options.origins() must be true or false; got undefined'],
    [{ protocols: later }, 'webSocket: options.protocols() must be given at once, by a function that is not async; g'],
  ]
  for (const [options, told] of cases) {
    const program = echoServer(start, options)
    t.equal(await statusOf(await program.url(), { origin: 'https://example.org', 'sec-websocket-protocol': 'x' }), 500)
    t.ok(program.log.some(({ fields }) => String(fields['reason']).includes(told)), told)
  }
})

onEachCarrier('verify: yes, no, a status, an object, a promise; what it throws is 500', async (t, start) => {
  const seen: WsRequest[] = []
  const program = echoServer(start, {
    verify: (request) => {
      seen.push(request)
      const { query } = request
      if (query === 'object') return { user: 'ann' }
      if (query === 'later') return sleep(20).then(() => ({ user: 'bob' }))
      if (query === 'reject') return Promise.reject(new Error('secret'))
      if (query === 'throw') throw new Error('secret')
      if (/^\d+$/.test(query)) return Number(query)
      return query === 'nothing' ? undefined as never : query === 'yes'
    },
  })
  const url = await program.url()
  const cases: [string, number][] = [
    ['yes', 101], ['no', 403], ['object', 101], ['later', 101], ['401', 401], ['429', 429], ['200', 500],
    ['reject', 500], ['throw', 500], ['nothing', 500],
  ]
  for (const [query, status] of cases) {
    const raw = await RawClient.open(`${url}?${query}`, { 'x-token': 'abc' })
    t.equal(raw.status, status, query)
    t.notMatch(raw.response, /secret/)
    raw.destroy()
  }
  t.equal(seen[0].headers['x-token'], 'abc', 'it sees all headers')
  const verified = program.all('session', 'presence').map(({ topic }) => (topic.source as WsPeer).request.verified)
  t.same(verified, [undefined, { user: 'ann' }, { user: 'bob' }])
})

onEachCarrier('verify takes too long, or the peer has gone, or the listener: nothing comes of it', async (t, start) => {
  let release = (): void => undefined
  const gate = new Promise<void>((resolve) => { release = resolve })
  const program = echoServer(start, { handshakeTimeout: 300, verify: async ({ query }) => {
    await (query === 'slow' ? sleep(5_000, undefined, { ref: false }) : gate)
    return true
  } })
  const url = await program.url()
  const { port } = new URL(url)
  const late = await RawClient.open(`${url}?slow`)
  t.equal(late.status, 408)
  const gone = await RawClient.connect(url)
  gone.ask('/?gone')
  await sleep(30)
  gone.socket.resetAndDestroy()
  const unwanted = await RawClient.connect(url)
  unwanted.ask('/?unwanted')
  await sleep(30)
  program.do(deleteEndpoint('server of /'))
  await until(() => program.where.size === 0)
  release()
  await until(() => unwanted.ended || unwanted.response !== '')
  t.not(unwanted.status, 101, `nobody listens on ${port} any more`)
  t.same(program.heard, [])
})

onEachCarrier('limits: connections in all, and of one address; places become free again', async (t, start) => {
  const program = echoServer(start, { maxConnections: 3 })
  const url = await program.url()
  const three = await Promise.all([1, 2, 3].map(() => RawClient.open(url)))
  t.equal(await statusOf(url), 503)
  three[0].destroy()
  await until(() => program.all('session', 'absence').length === 1)
  t.equal(await statusOf(url), 101)
  for (const raw of three) raw.destroy()
  const each = await echoServer(start, { maxConnectionsPerAddress: 2 }).url()
  const two = await Promise.all([1, 2].map(() => RawClient.open(each)))
  t.equal(await statusOf(each), 429)
  // All of 127/8 is this machine.
  const other = await RawClient.from('127.0.0.2', each)
  t.equal(other.status, 101)
  for (const raw of [...two, other]) raw.destroy()
})

void t.test('connections are counted by address, and by /64 of IPv6', async (t) => {
  t.equal(siteOf('192.0.2.7'), '192.0.2.7')
  t.equal(siteOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64')
  t.equal(siteOf('2001:db8::1'), '2001:db8:0:0::/64')
  t.equal(siteOf('::1'), '0:0:0:0::/64')
  t.equal(siteOf('fe80::1%eth0'), 'fe80:0:0:0::/64')
  t.equal(siteOf('2001:0db8:0001::'), siteOf('2001:db8:1:0:ffff::'))
})

onEachCarrier('requests that are none: version, key, method, garbage, and huge ones', async (t, start, carrier) => {
  const program = echoServer(start)
  const url = await program.url()
  t.equal(await statusOf(url, { 'sec-websocket-version': '8' }), 426)
  const old = await RawClient.open(url, { 'sec-websocket-version': '12' })
  t.match(old.response, /sec-websocket-version: 13/i)
  for (const text of [
    'GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n',
    'POST / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 0\r\n\r\n',
    'nonsense\r\n\r\n', '\0\x16\x03\x01'.repeat(20), `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
    `GET / HTTP/1.1\r\nhost: x\r\n${'x-header: y\r\n'.repeat(10_000)}\r\n`,
  ]) {
    const raw = await RawClient.connect(url)
    raw.socket.write(text)
    // uWebSockets.js waits for more of what has no end yet.
    const patience = sleep(carrier === 'uws' ? 100 : 10_000, undefined, { ref: false })
    await Promise.race([until(() => raw.ended || raw.response !== ''), patience])
    t.not(raw.status, 101, text.slice(0, 20))
    raw.destroy()
    await until(() => raw.ended)
  }
  t.same(program.heard, [])
  t.equal(await statusOf(url), 101, 'it is there yet')
})

onEachCarrier('a path of nothing but slashes costs no more than others', async (t, start, carrier) => {
  const program = echoServer(start)
  const { port, hostname } = new URL(await program.url())
  const path = '/'.repeat(carrier === 'ws' ? 15_000 : 3_500)
  const since = performance.now()
  for (let i = 0; i < 10; i++) {
    const status = await statusOf(`ws://${hostname}:${port}${path}`)
    if (status !== 404) t.equal(status, 404)
  }
  t.ok(performance.now() - since < patient(1000))
})

onEachCarrier('half-open handshakes: who never finishes a request is cut off', async (t, start, carrier) => {
  const program = echoServer(start, { handshakeTimeout: 500 })
  const url = await program.url()
  const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(url)))
  clients.forEach((raw, i) => { if (i % 2 === 0) raw.socket.write('GET / HTTP/1.1\r\nhost: x\r\nx-a: ') })
  const drip = setInterval(() => { clients[0].socket.write('b') }, 50)
  // uWebSockets.js has 10 s for what says nothing.
  await until(() => clients.slice(0, carrier === 'ws' ? 20 : 0).every((raw) => raw.ended))
  clearInterval(drip)
  for (const raw of clients) raw.destroy()
  t.equal(await statusOf(url), 101)
})

onEachCarrier('too long a message: 1009, however it comes; nobody else notices', async (t, start, carrier) => {
  const program = echoServer(start, { maxPayload: 10_000 })
  const url = await program.url()
  const other = await RawClient.open(url)
  const fits = await RawClient.open(url)
  fits.send(2, pattern(10_000))
  await until(() => fits.frames.length === 1)
  const ways: [string, (raw: RawClient) => void][] = [
    ['at once', (raw) => { raw.send(2, pattern(10_001)) }],
    ['only the header, of 100 MB', (raw) => { raw.socket.write(RawClient.header(2, 100_000_000)) }],
    ['only the header, of 2^62', (raw) => { raw.socket.write(RawClient.header(2, 2n ** 62n)) }],
    ['in fragments', (raw) => {
      raw.send(2, pattern(5_000), { fin: false })
      for (let i = 0; i < 3; i++) raw.send(0, pattern(2_500), { fin: false })
    }],
  ]
  for (const [how, deed] of ways) {
    program.heard.length = 0
    const raw = await RawClient.open(url)
    await until(() => program.all('session', 'presence').length === 1)
    deed(raw)
    const { code, error } = await program.reason('session')
    t.equal(code, 1009, how)
    t.ok(error instanceof Error)
    if (carrier === 'ws' && !how.includes('2^62')) t.equal((await raw.closed())?.code, 1009)
    await until(() => raw.ended)
    t.same(program.messages('session'), [], 'no part of it was delivered')
  }
  other.text('still here')
  await until(() => other.texts.length === 1)
  for (const raw of [other, fits]) raw.destroy()
})

onEachCarrier('fragments without end, and empty ones, are no way around the limit', async (t, start) => {
  const program = echoServer(start, { maxPayload: 100_000 })
  const raw = await RawClient.open(await program.url())
  await until(() => program.all('session', 'presence').length === 1)
  raw.send(1, 'x', { fin: false })
  const flood = RawClient.frame(0, 'y', { fin: false })
  const many = Buffer.concat(Array.from({ length: 1_000 }, () => flood))
  while (!raw.ended && program.all('session', 'absence').length === 0) {
    raw.socket.write(many)
    await sleep(1)
  }
  t.ok([1008, 1009].includes((await program.reason('session')).code))
  raw.destroy()
})

onEachCarrier('what breaks the protocol ends: UTF-8, opcodes, masks, close frames', async (t, start, carrier) => {
  const program = echoServer(start)
  const url = await program.url()
  const other = await RawClient.open(url)
  const code = (number: number): Buffer => Buffer.of(number >> 8, number & 255)
  const ways: [string, number[], (raw: RawClient) => void][] = [
    ['invalid UTF-8', [1007], (raw) => { raw.send(1, Buffer.of(0xc3, 0x28)) }],
    ['cut UTF-8', [1007], (raw) => { raw.send(1, Buffer.from('é').subarray(0, 1)) }],
    ['a surrogate', [1007], (raw) => { raw.send(1, Buffer.of(0xed, 0xa0, 0x80)) }],
    ['invalid UTF-8 over fragments', [1007], (raw) => {
      raw.send(1, Buffer.of(0xf0, 0x9f), { fin: false })
      raw.send(0, Buffer.of(0x28), { fin: true })
    }],
    ['opcode 3', [1002], (raw) => { raw.send(3, 'x') }],
    ['opcode 11', [1002], (raw) => { raw.send(11, 'x') }],
    ['a reserved bit', [1002], (raw) => { raw.send(1, 'x', { rsv: 2 }) }],
    ['compressed without agreement', [1002], (raw) => { raw.send(1, 'x', { rsv: 4 }) }],
    ['a continuation of nothing', [1002], (raw) => { raw.send(0, 'x') }],
    ['a message within another', [1002], (raw) => {
      raw.send(1, 'x', { fin: false })
      raw.send(1, 'y')
    }],
    ['a long ping', [1002], (raw) => { raw.send(9, 'x'.repeat(126)) }],
    ['a fragmented ping', [1002], (raw) => { raw.send(9, 'x', { fin: false }) }],
    ['a close frame of one byte', [1002, 1005, 1006], (raw) => { raw.send(8, 'x') }],
    ['close code 1005', [1002, 1005, 1006], (raw) => { raw.send(8, code(1005)) }],
    ['close code 999', [1002, 1005, 1006], (raw) => { raw.send(8, code(999)) }],
    ['close code 5000', [1002, 1005, 1006], (raw) => { raw.send(8, code(5000)) }],
    ['a close reason that is not UTF-8', [1002, 1005, 1006, 1007], (raw) => {
      raw.send(8, Buffer.concat([code(1000), Buffer.of(0xff)]))
    }],
  ]
  for (const [how, codes, deed] of ways) {
    program.heard.length = 0
    const raw = await RawClient.open(url)
    await until(() => program.all('session', 'presence').length === 1)
    deed(raw)
    const reason = await program.reason('session')
    // uWebSockets.js doesn't always say why it has cut somebody off.
    const known = carrier === 'uws' ? [...codes, 1006] : codes
    t.ok(known.includes(reason.code), `${how}: ${reason.code} ${String(reason.error)}`)
    t.same(program.messages('session'), [], `${how}: nothing was delivered`)
    await until(() => raw.ended)
  }
  other.text('x')
  await until(() => other.texts.length === 1)
  other.destroy()
})

onEachCarrier('unmasked frames are refused', async (t, start, carrier) => {
  const program = echoServer(start)
  const raw = await RawClient.open(await program.url())
  await until(() => program.all('session', 'presence').length === 1)
  raw.send(1, 'hello', { masked: false })
  if (carrier === 'ws') {
    t.equal((await program.reason('session')).code, 1002)
  } else {
    // uWebSockets.js takes the next four bytes for a mask, so that more is missing, or reads nonsense.
    raw.send(1, 'hello', { masked: false })
    raw.socket.end()
    t.not((await program.reason('session')).code, 1000)
  }
  raw.destroy()
})

onEachCarrier('pings are answered; a flood of them from who never reads ends with the limit', async (t, start) => {
  const program = echoServer(start, { maxQueuedBytes: 100_000 })
  const url = await program.url()
  const polite = await RawClient.open(url)
  polite.send(9, 'are you there')
  await until(() => polite.frames.length === 1)
  t.match(polite.frames[0], { opcode: 10 })
  t.equal(polite.frames[0].payload.toString(), 'are you there')
  polite.destroy()
  await until(() => program.all('session', 'absence').length === 1)
  program.heard.length = 0
  const raw = await RawClient.open(url)
  await until(() => program.all('session', 'presence').length === 1)
  raw.socket.pause()
  const many = Buffer.concat(Array.from({ length: 500 }, () => RawClient.frame(9, 'x'.repeat(125))))
  let lost = false
  raw.socket.on('close', () => { lost = true })
  while (!lost && program.all('session', 'absence').length === 0) {
    if (raw.socket.writableLength < 10_000_000) raw.socket.write(many)
    await sleep(1)
  }
  const { error } = await program.reason('session')
  t.equal(error?.code, 'ENOBUFS')
  raw.destroy()
})

onEachCarrier('silence: pings, and the end of who does not answer', async (t, start) => {
  const program = echoServer(start, { pingInterval: 100, idleTimeout: 400 })
  const url = await program.url()
  const alive = new WebSocket(url)
  alive.on('error', () => undefined)
  let pings = 0
  alive.on('ping', () => { pings++ })
  await once(alive, 'open')
  const dead = await RawClient.open(url)
  await until(() => program.all('session', 'presence').length === 2)
  await until(() => dead.frames.some(({ opcode }) => opcode === 9))
  const { code, error } = await program.reason('session')
  t.same([code, error?.code], [1006, 'ETIMEDOUT'])
  await until(() => dead.ended)
  t.ok(pings >= 2, `${pings} pings`)
  t.equal(program.all('session', 'absence').length, 1, 'who answers stays')
  alive.terminate()
}, { timeout: patient(60_000) })

onEachCarrier('compression: both ways; a bomb is no way around the limit', async (t, start) => {
  const program = echoServer(start, { compression: { threshold: 100 }, maxPayload: 1_000_000 })
  const url = await program.url()
  const socket = new WebSocket(url, { perMessageDeflate: true })
  socket.on('error', () => undefined)
  await once(socket, 'open')
  t.match(socket.extensions, /permessage-deflate/)
  for (const text of ['short', 'long '.repeat(10_000)]) {
    const answer = once(socket, 'message') as Promise<[Buffer]>
    socket.send(text)
    t.ok((await answer)[0].toString() === text)
  }
  socket.terminate()
  await until(() => program.all('session', 'absence').length === 1)
  program.heard.length = 0
  const raw = await RawClient.open(url, { 'sec-websocket-extensions': 'permessage-deflate' })
  t.match(raw.response, /permessage-deflate/i)
  await until(() => program.all('session', 'presence').length === 1)
  raw.send(2, deflateRawSync(Buffer.alloc(30_000_000)), { rsv: 4 })
  t.equal((await program.reason('session')).code, 1009)
  t.same(program.messages('session'), [])
  program.heard.length = 0
  const nonsense = await RawClient.open(url, { 'sec-websocket-extensions': 'permessage-deflate' })
  await until(() => program.all('session', 'presence').length === 1)
  nonsense.send(2, Buffer.alloc(100, 0xff), { rsv: 4 })
  t.ok((await program.reason('session')).code !== 1000)
  for (const one of [raw, nonsense]) one.destroy()
})

onEachCarrier('compression has a bound: later connections do without', async (t, start) => {
  const program = echoServer(start, { compression: { maxConnections: 1 } })
  const url = await program.url()
  const ask = () => RawClient.open(url, { 'sec-websocket-extensions': 'permessage-deflate' })
  const first = await ask()
  t.match(first.response, /permessage-deflate/i)
  const second = await ask()
  t.equal(second.status, 101)
  t.notMatch(second.response, /permessage-deflate/i)
  first.destroy()
  await until(() => program.all('session', 'absence').length === 1)
  t.match((await ask()).response, /permessage-deflate/i, 'and the place is free again')
}, { only: 'ws' })

onEachCarrier('a session that fails ends its own connection, and no other', async (t, start) => {
  const program = start((program) => server((them, us) => endpoint.subscriber(wsChannel(them, us, _), {
    ...program.notes('session', ({ message }) => {
      if (message === 'throw') throw new Error('oops')
      return sendMessage(wsChannel(us, them, message))
    }),
  })))
  const url = await program.url()
  const clients = await Promise.all(Array.from({ length: 10 }, () => RawClient.open(url)))
  clients.forEach((raw, i) => { raw.text(i % 2 === 0 ? 'throw' : 'fine') })
  const closed = ({ frames }: RawClient) => frames.some(({ opcode }) => opcode === 8)
  await until(() => clients.every((raw, i) => (i % 2 === 0 ? closed(raw) : raw.texts[0] === 'fine')))
  t.ok(clients.every((raw, i) => i % 2 === 0 || !raw.ended), 'nobody else has noticed')
  for (const raw of clients) raw.destroy()
})

onEachCarrier('closing in each callback: sending to who has left does nothing', async (t, start) => {
  const program = start((program) => server((them, us) => {
    const late = (what: string) => [
      sendMessage(wsChannel(us, them, what)), sendMessage(wsChannel(us, them, Buffer.from(what))),
    ]
    return [
      endpoint.subscriber(wsChannel(them, us, _), {
        onPresence: () => late('presence'),
        onMessage: ({ message }) => message === 'go' ? [late('last'), quit()] : late('message'),
        onAbsence: (topic, _state, reason) => {
          program.heard.push({ who: 'session', what: 'absence', topic, reason })
          return [late('absence'), quit()]
        },
      }),
      late('boot'),
    ]
  }))
  const url = await program.url()
  const raw = await RawClient.open(url)
  raw.text('go')
  t.same(await raw.closed(), { code: 1000, reason: '' })
  t.same(raw.texts, ['boot', 'presence', 'last'])
  for (let i = 0; i < 20; i++) {
    const one = await RawClient.open(url)
    one.text('x')
    if (i % 3 === 0) one.socket.resetAndDestroy()
    else if (i % 3 === 1) one.close(1000)
    else one.text('go')
    one.text('y')
  }
  await until(() => program.all('session', 'absence').length >= 13)
  t.same(program.log.filter(({ level }) => level === 'error' || level === 'fatal'), [])
})

onEachCarrier('wss: with key and cert; a client of ours that trusts it, and one that does not', async (t, start) => {
  const { key, cert, ca } = makeCertificates()
  const program = echoServer(start, { key, cert })
  const url = (await program.url()).replace('127.0.0.1', 'localhost')
  t.match(url, /^wss:/)
  const remote = wsAddress(url)
  const here = start((own) => endpoint.subscriber(wsChannel(remote, wsHandle(1), _), own.notes(
    'client', undefined, () => sendMessage(wsChannel(wsHandle(1), remote, 'secret')),
  )), { connect: { ca } })
  await until(() => here.messages('client').length === 1)
  t.equal(here.messages('client')[0], 'secret')
  t.equal((program.all('session', 'presence')[0].topic.source as WsPeer).request.secure, true)
  const other = start((own) => endpoint.subscriber(wsChannel(remote, wsHandle(1), _), own.notes('client')))
  await until(() => other.errors.length === 1)
  t.match((other.errors[0].error as NodeJS.ErrnoException).code, /CERT|SIGNED|VERIFY/)
  here.do(deleteEndpoint('client'))
  const { code } = await program.reason('session')
  t.equal(code, 1000)
})

onEachCarrier('shutdown with 1,000 sockets: all are told, and it is over', async (t, start) => {
  const program = start((program) => server((them, us) => endpoint.subscriber(wsChannel(them, us, _), {
    onAbsence: (topic, _state, reason) => {
      program.heard.push({ who: 'session', what: 'absence', topic, reason })
      return quit()
    },
  })))
  const url = await program.url()
  const clients: RawClient[] = []
  while (clients.length < 1_000) {
    clients.push(...await Promise.all(Array.from({ length: 50 }, () => RawClient.open(url))))
  }
  const report = await program.vm.shutdown({ drainMs: 500 })
  t.equal(report.ended + report.aborted, 1_000)
  await until(() => clients.every((raw) => raw.frames.some(({ opcode }) => opcode === 8)))
  await until(() => clients.every(({ ended }) => ended))
  t.equal(program.all('session', 'absence').length, 1_000)
  t.ok(program.all('session', 'absence').every(({ reason }) => wsClosed.is(reason) && reason.code === 1001))
}, { timeout: patient(60_000) })

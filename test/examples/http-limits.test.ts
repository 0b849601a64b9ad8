/** The HTTP example against clients that send too much, too little, too late, or nonsense. */
import { once } from 'node:events'
import { route } from '../../examples/http/server.js'
import { client, until } from '../support/util.js'
import { get, last, onHttp, say, statuses } from './http-program.js'

const post = (headers: readonly string[], body = '') =>
  ['POST /echo HTTP/1.1', 'Host: here', ...headers, '', body].join('\r\n')
const chunked = 'Transfer-Encoding: chunked'

/** Each is answered so, and then the server closes: what follows could be anything. */
const refused: readonly [string, number, string][] = [
  ['no HTTP', 400, 'hello there\r\n\r\n'],
  ['a TLS hello', 400, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ['both lengths', 400, post(['Content-Length: 4', chunked], '0\r\n\r\n')],
  ['both lengths, the other way', 400, post([chunked, 'Content-Length: 4'], '0\r\n\r\n')],
  ['two lengths', 400, post(['Content-Length: 4', 'Content-Length: 5'], 'abcde')],
  ['the same length twice', 400, post(['Content-Length: 4', 'Content-Length: 4'], 'abcd')],
  ['a length with a sign', 400, post(['Content-Length: +4'], 'abcd')],
  ['a length that is none', 400, post(['Content-Length: 0x4'], 'abcd')],
  ['a length of 21 digits', 400, post(['Content-Length: 100000000000000000000'], 'abcd')],
  ['a space before the colon', 400, post(['Content-Length : 4'], 'abcd')],
  ['a folded header', 400, get('/', 'X: a', ' Content-Length: 4')],
  ['a header without a name', 400, get('/', ': x')],
  ['a NUL in a header', 400, get('/', 'X: a\0b')],
  ['line ends without CR', 400, 'GET / HTTP/1.1\nHost: here\n\n'],
  ['a chunk size that is none', 400, post([chunked], 'zz\r\n')],
  ['a chunk size with a sign', 400, post([chunked], '-1\r\n')],
  ['a chunk longer than it says', 400, post([chunked], '2\r\nabc\r\n0\r\n\r\n')],
  ['chunked, but not as the last', 400, post(['Transfer-Encoding: chunked, gzip'], '0\r\n\r\n')],
  ['a coding that isn\'t known', 501, post(['Transfer-Encoding: gzip, chunked'], '0\r\n\r\n')],
  ['chunked twice', 400, post([chunked, chunked], '0\r\n\r\n')],
  ['chunks, said by who knows none', 400,
    'POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n'
    + '2\r\nab\r\n0\r\n\r\n'],
  ['chunks and a length, said by who knows none', 400,
    'POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n'
    + 'Transfer-Encoding: chunked\r\n\r\nab'],
  ['a Transfer-Encoding that is empty', 501, post(['Transfer-Encoding:'], '')],
  ['a Host that is none', 400, 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n'],
  ['a Host with a path', 400, 'GET / HTTP/1.1\r\nHost: here/there\r\n\r\n'],
  ['a Host with a user', 400, 'GET / HTTP/1.1\r\nHost: me@here\r\n\r\n'],
  ['a length that is empty', 400, post(['Content-Length:'], 'abcd')],
  ['a list of lengths', 400, post(['Content-Length: 4, 4'], 'abcd')],
  ['a chunk that ends with LF alone', 400, post([chunked], '2\nab\n0\n\n')],
  ['a chunk extension with a bare CR', 400, post([chunked], '2;a\rb\r\nab\r\n0\r\n\r\n')],
  ['no Host', 400, 'GET / HTTP/1.1\r\n\r\n'],
  ['two Hosts', 400, get('/', 'Host: there')],
  ['a path with bad escapes', 400, get('/hello/%zz')],
  ['a method that there isn\'t', 400, 'FETCH / HTTP/1.1\r\nHost: here\r\n\r\n'],
  ['a tunnel', 501, 'CONNECT here:443 HTTP/1.1\r\nHost: here:443\r\n\r\n'],
  ['HTTP/2 without asking', 400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a version to come', 400, 'GET / HTTP/1.9\r\nHost: here\r\n\r\n'],
  ['a header too long', 431, get('/', `X: ${'x'.repeat(20_000)}`)],
  ['a header that never ends', 431, `GET / HTTP/1.1\r\nX: ${'x'.repeat(40_000)}`],
  ['too many headers', 431, get('/', ...Array.from({ length: 101 }, (_, n) => `X${n}: x`))],
  ['a target too long', 414, get(`/${'x'.repeat(20_000)}`)],
  ['trailers too long', 431, post([chunked], `0\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)],
  ['a body that says that it is too long', 413, post(['Content-Length: 1048577'])],
  ['a body that is too long', 413, post([chunked], `100001\r\n${'x'.repeat(1_048_577)}\r\n`)],
  ['expecting what is unheard of', 417, post(['Expect: a miracle', 'Content-Length: 1'])],
  ['asking first, where there is nobody', 404,
    'POST /nobody HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n'],
  ['asking first, for too much', 413, post(['Expect: 100-continue', 'Content-Length: 2000000'])],
]

onHttp('what is refused, and then the connection closes', async (t, run) => {
  const { program, port } = await run()
  for (const [what, status, bytes] of refused) {
    // What would be a smuggled request has to stay unanswered.
    const heard = await say(port, bytes, get('/hello/smuggled'))
    t.strictSame(statuses(heard), [status], what)
    t.match(heard, /\r\nconnection: close\r\n/, `${what}: and says so`)
  }
  t.strictSame(statuses(await say(port, get('/', last))), [200], 'the server is as it was')
  await until(() => program.connections === 0)
})

onHttp('a good request before a bad one has its answer', async (t, run) => {
  const { port } = await run()
  const heard = await say(port, get('/') + get('/nobody') + post(['Content-Length: x']))
  t.strictSame(statuses(heard), [200, 404, 400])
})

onHttp('an upgrade is not given, and the connection goes on', async (t, run) => {
  const { port } = await run()
  const heard = await say(port, get('/', 'Connection: upgrade', 'Upgrade: h2c') + get('/hello/next', last))
  t.strictSame(statuses(heard), [200, 200])
  t.match(heard, /hello, next/)
})

onHttp('a client that finishes too early', async (t, run) => {
  const { port } = await run()
  for (const bytes of ['GET / HT', post(['Content-Length: 5'], 'abc'), post([chunked], '5\r\nab')]) {
    const socket = await client(port)
    let heard = ''
    socket.setEncoding('utf8').on('data', (text: string) => { heard += text })
    socket.end(bytes)
    await once(socket, 'end')
    t.strictSame(statuses(heard), [400])
  }
})

onHttp('a slow request is over in time, however busy it seems', async (t, run) => {
  const { port } = await run({ requestTimeout: 400, keepAliveTimeout: 60_000 })
  for (const begin of ['GET /', get('/').slice(0, -2), post(['Content-Length: 1000'])]) {
    const socket = await client(port)
    let heard = ''
    socket.setEncoding('utf8').on('data', (text: string) => { heard += text })
    socket.on('error', () => undefined).write(begin)
    const drip = setInterval(() => socket.write('x'), 20)
    await once(socket, 'end')
    clearInterval(drip)
    socket.destroy()
    t.strictSame(statuses(heard), [408])
  }
})

onHttp('who says nothing, or nothing more, is sent home without a word', async (t, run) => {
  const { program, port } = await run({ keepAliveTimeout: 300 })
  t.equal(await say(port), '')
  t.strictSame(statuses(await say(port, get('/'))), [200])
  await until(() => program.connections === 0)
})

onHttp('a handler that never answers: 503', async (t, run) => {
  const { port } = await run(
    { answerTimeout: 300, requestTimeout: 200 }, route('GET', ['never'], () => new Promise(() => undefined)),
  )
  t.strictSame(statuses(await say(port, get('/never') + get('/'))), [503])
})

onHttp('a client that sends on, refused, still reads its answer', async (t, run) => {
  const { port } = await run()
  const socket = await client(port)
  let heard = ''
  socket.setEncoding('utf8').on('data', (text: string) => { heard += text })
  const ended = once(socket, 'end')
  socket.write(post(['Content-Length: 50000000']))
  const flood = Buffer.alloc(100_000)
  for (let sent = 0; sent < 50; sent++) {
    if (!socket.write(flood)) await once(socket, 'drain')
  }
  socket.end()
  await ended
  t.strictSame(statuses(heard), [413])
})

onHttp('who asks and asks, and reads no answer, is held up', async (t, run) => {
  const { program, port } = await run()
  const socket = await client(port)
  socket.pause()
  const many = Buffer.from(post(['Content-Length: 1000'], 'x'.repeat(1000)).repeat(500))
  let sent = 0
  while (socket.write(many) && sent < 500) {
    sent++
    await new Promise(setImmediate)
  }
  const [{ metrics }] = program.transports
  let before = -1
  await until(() => {
    const still = metrics.bytesIn === before
    before = metrics.bytesIn
    return still
  }, 200)
  t.ok(metrics.queuedBytes < 4 * 1024 * 1024, `${metrics.queuedBytes} bytes wait to be sent`)
  socket.destroy()
  await until(() => program.connections === 0)
})

onHttp('a connection stays only where that was said, and not said otherwise', async (t, run) => {
  const { port } = await run()
  const cases: readonly [string, string, boolean][] = [
    ['1.1', '', true],
    ['1.1', 'Connection: close', false],
    ['1.1', 'Connection: keep-alive, Close', false],
    ['1.1', 'Connection: x\r\nConnection: close', false],
    ['1.0', '', false],
    ['1.0', 'Connection: keep-alive', true],
    ['1.0', 'Connection: keep-alive, close', false],
    ['1.0', 'Connection: close, keep-alive', false],
  ]
  for (const [version, header, stays] of cases) {
    const first = `GET / HTTP/${version}\r\nHost: here\r\n${header === '' ? '' : `${header}\r\n`}\r\n`
    const heard = await say(port, first, get('/', last))
    t.strictSame(statuses(heard), stays ? [200, 200] : [200], `${version} ${header}`)
  }
  const asks = 'POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab'
  t.strictSame(statuses(await say(port, asks)), [200], 'who speaks 1.0 is not told to go on')
  const empty = 'GET / HTTP/1.1\r\nX-Empty:\r\nHost: here\r\nConnection: close\r\n\r\n'
  t.strictSame(statuses(await say(port, empty)), [200], 'an empty header is not joined with the next')
})

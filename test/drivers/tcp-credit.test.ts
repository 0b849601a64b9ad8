/** The flow-controlled driver: credit, modes, line ends, and what it refuses. */
import { onBothWithCredit, writeApart } from './credit-session.js'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { eof } from 'marketplace-native'
import { pattern, randomSource, readAll, sleep, until } from '../support/util.js'
import { patient } from '../support/patience.js'
import { anyTcpCredit, anyTcpMode } from '../support/unchecked.js'

onBothWithCredit('line ends are LF, CRLF and CR, also when packets cut them', async (t, open) => {
  const { session, socket } = await open()
  session.mode('lines', 1000)
  const text = 'lf\ncrlf\r\ncr\rempty\n\n\r\n\r\rgrüße\r\nafter'
  const lines = ['lf', 'crlf', 'cr', 'empty', '', '', '', '', 'grüße', 'after', eof]
  await writeApart(socket, Array.from(Buffer.from(text), (byte) => Buffer.of(byte)))
  socket.end()
  await session.gets(lines)
  t.strictSame(session.got, lines, 'byte by byte')
})

onBothWithCredit('random lines, random packets', async (t, open) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = randomSource(seed)
  const { session, socket } = await open()
  session.mode('lines', 1_000_000)
  let text = ''
  for (let i = 0; i < 300; i++) {
    text += 'x'.repeat(random(random(20) === 0 ? 3000 : 12)) + ['\n', '\r\n', '\r'][random(3)]
  }
  text += 'tail'
  const parts: string[] = []
  for (let at = 0; at < text.length;) {
    const size = 1 + random(600)
    parts.push(text.slice(at, at + size))
    at += size
  }
  await writeApart(socket, parts)
  socket.end()
  const lines = [...text.split(/\r\n|\n|\r/), eof]
  await session.gets(lines)
  t.strictSame(session.got, lines)
})

onBothWithCredit('both sides have ended: what waits for credit is not lost', async (t, open) => {
  const { program, session, socket } = await open()
  session.remote.do(session.send(eof))
  socket.end('abcdefghij')
  await readAll(socket)
  await once(socket, 'close')
  session.credit(4)
  await until(() => session.got.join('') === 'abcd')
  t.equal(program.all('in', 'absence').length, 0, 'it goes on until all was delivered')
  session.credit(100)
  await until(() => session.got.length > 1 && program.all('in', 'absence').length > 0)
  t.strictSame(session.got, ['abcd', 'efghij', eof])
  t.equal(program.all('in', 'absence')[0].reason, undefined)
  await until(() => program.connections === 0)
})

onBothWithCredit('both sides have ended, and who is to read leaves: the socket is let go', async (t, open) => {
  const { program, session, socket } = await open()
  session.remote.do(session.send(eof))
  socket.end('abcdefghij')
  await readAll(socket)
  session.credit(1)
  await until(() => session.got.length === 1)
  await program.vm.stop()
  t.equal(program.connections, 0)
})

onBothWithCredit('never more than the credit, bytes as they come', async (t, open) => {
  const { session, socket } = await open()
  socket.write('abcdefghij')
  await sleep(30)
  t.strictSame(session.got, [], 'nothing without credit')
  session.credit(0)
  session.credit(3)
  await session.gets(['abc'])
  t.equal(session.got.join(''), 'abc')
  session.credit(2)
  session.credit(2)
  await until(() => session.got.join('') === 'abcdefg')
  session.credit(100)
  await until(() => session.got.join('') === 'abcdefghij')
  socket.write('klm')
  await until(() => session.got.join('') === 'abcdefghijklm')
  session.mode('bytes')
  socket.write('nop')
  await sleep(30)
  t.equal(session.got.join(''), 'abcdefghijklm', 'setting the mode resets the credit')
})

onBothWithCredit('lines by credit; the mode may change with data waiting', async (t, open) => {
  const { session, socket } = await open()
  session.mode('lines', 1)
  socket.write('one\ntwo\nthree\r\nBODYfour\nBODY2')
  await session.gets(['one'])
  t.strictSame(session.got, ['one'])
  session.credit(2)
  await session.gets(['', '', ''])
  t.strictSame(session.got, ['one', 'two', 'three'])
  session.mode('bytes', 4)
  await until(() => session.got.slice(3).join('') === 'BODY')
  await sleep(10)
  session.mode('lines', 5)
  await until(() => session.got.at(-1) === 'four')
  session.mode('bytes', 2)
  await until(() => session.got.join('').endsWith('BO'))
  session.mode('lines')
  session.mode('bytes', 100)
  await until(() => session.got.join('').endsWith('DY2'))
  t.equal(session.got.slice(3).join(''), 'BODYfourBODY2', 'each byte once, line ends not at all')
})

onBothWithCredit('a line that did not end before eof counts as one, for credit', async (t, open) => {
  const { program, session, socket } = await open()
  session.mode('lines', 1)
  socket.end('whole\nrest')
  await session.gets(['whole'])
  await sleep(30)
  t.strictSame(session.got, ['whole'])
  t.strictSame(program.all('in', 'absence'), [], 'data waits, so the end is not told')
  session.credit(1)
  await session.gets(['whole', 'rest', eof])
  t.strictSame(session.got, ['whole', 'rest', eof])
  t.equal(await program.reason('in'), undefined)
})

onBothWithCredit('eof needs no credit, whatever the last line ends with', async (t, open) => {
  for (const end of ['\n', '\r', '\r\n']) {
    const { program, session, socket } = await open()
    session.mode('lines', 1)
    socket.end(`line${end}`)
    t.equal(await program.reason('in'), undefined)
    t.strictSame(session.got, ['line', eof], JSON.stringify(end))
  }
})

onBothWithCredit('an LF that belongs to a CR waits for no credit', async (t, open) => {
  const { program, session, socket } = await open()
  session.mode('lines', 1)
  await writeApart(socket, ['line\r', '\n'])
  session.mode('bytes')
  socket.end()
  t.equal(await program.reason('in'), undefined, 'it is no byte that could be read')
  t.strictSame(session.got, ['line', eof])
})

onBothWithCredit('eof is noticed without credit', async (t, open) => {
  const { program, session, socket } = await open()
  socket.end()
  t.equal(await program.reason('in'), undefined)
  t.strictSame(session.got, [eof])
  const reset = await open()
  reset.socket.resetAndDestroy()
  t.match(await reset.program.reason('in'), { code: 'ECONNRESET' }, 'a reset, too')
})

onBothWithCredit('the credit for what is written adds up to its bytes', async (t, open) => {
  const { session, socket } = await open()
  const bytes = pattern(8 * 1024 * 1024)
  session.remote.do(session.send(bytes.subarray(0, 10)))
  await until(() => session.accepted === 10)
  session.remote.do(session.send(bytes.subarray(10, 11)), session.send(bytes.subarray(11)))
  await sleep(100)
  t.ok(session.accepted < bytes.length, `${session.accepted} bytes accepted while nobody reads`)
  session.remote.do(session.send(eof))
  t.ok((await readAll(socket)).equals(bytes))
  await until(() => session.accepted >= bytes.length)
  t.equal(session.accepted, bytes.length)
})

onBothWithCredit('illegal feedback and subpackets end the connection, with a reason', async (t, open) => {
  const illegal: readonly [unknown, RegExp][] = [
    [anyTcpCredit(-1), /credit.*-1/], [anyTcpCredit(NaN), /credit.*NaN/], [anyTcpCredit('5'), /credit.*'5'/],
    [anyTcpMode('blocks'), /mode.*blocks/], [Buffer.from('data'), /Buffer/], [eof, /eof/], [7, /7/],
  ]
  for (const [subpacket, text] of illegal) {
    const { program, session, socket } = await open()
    session.remote.do(session.feedback(subpacket))
    const reason = await program.reason('in') as Error
    t.type(reason, TypeError)
    t.match(reason.message, text)
    t.equal(await program.reason('out'), reason)
    t.equal((await readAll(socket)).length, 0)
  }
  const { program, session, socket } = await open()
  session.remote.do(session.send('a string'))
  t.match(await program.reason('out'), { message: /a string/ })
  t.equal((await readAll(socket)).length, 0)
})

onBothWithCredit('a line longer than maxLineLength ends the connection', async (t, open) => {
  const { program, session, socket } = await open({ maxLineLength: 100 })
  session.mode('lines', 10)
  await writeApart(socket, ['x'.repeat(100), '\n', 'short\n', 'y'.repeat(60)])
  await session.gets(['', ''])
  t.strictSame(session.got, ['x'.repeat(100), 'short'], 'as long as allowed')
  socket.write('y'.repeat(41))
  const reason = await program.reason('in') as Error
  t.type(reason, RangeError)
  t.match(reason.message, /longer than 100/)
  t.equal((await readAll(socket)).length, 0)

  const whole = await open({ maxLineLength: 100 })
  whole.session.mode('lines', 10)
  whole.socket.write(`${'z'.repeat(500)}\n`)
  await Promise.race([whole.program.reason('in'), sleep(200)])
  t.strictSame(whole.session.got, [])
})

const PACKAGE = new URL('../../src/index.js', import.meta.url).href
const FRACTION = `
  import { _, defineRecord, endpoint, groundVm, sendFeedback, tcp, tcpChannel, tcpListener, tcpListening }
    from ${JSON.stringify(PACKAGE)}
  import { connect } from 'node:net'
  const anyTcpCredit = defineRecord('tcp-credit', ['amount'])
  const vm = groundVm(() => [
    tcp({ transport: 'node', host: '127.0.0.1' }),
    endpoint.subscriber(tcpListening(_, _), {
      onPresence: ({ address }) => { connect(address.port, '127.0.0.1').end('abc') },
    }),
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
      onPresence: ({ source, destination }) => sendFeedback(tcpChannel(source, destination, anyTcpCredit(1.5))),
      onAbsence: () => { console.log('absence'); process.exit() },
      onMessage: ({ subpacket }) => { console.log(String(subpacket)) },
    }),
  ])
  setTimeout(() => { console.log('alive'); process.exit() }, 500)
`

t.test('a credit that is no integer does not hang the driver', { timeout: patient(20_000) }, async (t) => {
  const { status, stdout } = spawnSync(process.execPath, [
    '--max-old-space-size=128', '--input-type=module', '-e', FRACTION,
  ], { timeout: patient(30_000), encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', MARKETPLACE_LOG: 'off' } })
  t.equal(status, 0, `ended by itself; it said ${JSON.stringify(stdout)}`)
})

/** The spies: what they print of a VM and of TCP traffic, and that they change nothing. */
import { onBoth } from './tcp-program.js'
import { logged, run } from '../vm/harness.js'
import { spawnSync } from 'node:child_process'
import t from 'tap'
import {
  _, defineRecord, deleteEndpoint, endpoint, hexDump, nestedVm, quit, sendFeedback, sendMessage, spawn, spy,
  tcpCredit, tcpChannel, tcpSpy, yieldTurn,
} from 'marketplace-native'
import { echoServer } from '../../examples/echo.js'
import { client, readAll, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const news = defineRecord('news', ['of', 'text']).of<[of: string, text: string]>()

t.test('presences, absences with reasons and messages of publishers', { timeout: patient(10_000) }, async (t) => {
  const heard: string[] = []
  const { lines, ended } = await run((print) => [
    spy('SPY 1', { print: (line) => { print(line) } }),
    spawn(() => [
      endpoint.publisher(news('x', _), {
        name: 'p',
        onPresence: () => { heard.push('presence') },
        onMessage: () => { heard.push('feedback') },
      }),
      // By now the spy is there.
      yieldTurn(() => yieldTurn(() => [
        sendMessage(news('x', 'hello')),
        sendFeedback(news('x', 'back')),
        deleteEndpoint('p', new Error('why')),
        endpoint.subscriber('not a publisher'),
      ])),
    ]),
    nestedVm(() => sendMessage('inside, not seen')),
  ])
  t.ok(ended, 'a spy keeps nothing alive')
  t.strictSame(heard, ['feedback'], 'nobody is told of a spy: it is an observer')
  t.equal(lines.length, 3, lines.join('\n'))
  t.match(lines[0], /^SPY 1: presence of publisher participant .*news.*'x'/)
  t.match(lines[1], /^SPY 1: message .*news.*'x'.*'hello'/)
  t.match(lines[2], /^SPY 1: absence of publisher participant .*news.* because .*Error: why/)
})

t.test('each event is one line, whatever it is about', { timeout: patient(10_000) }, async (t) => {
  const deep = new Map([['k', { deep: { er: [1, 2, 3] } }]])
  const wild: unknown[] = ['two\nlines', Buffer.alloc(200), null, 'x'.repeat(300), deep]
  const { lines, log } = await run((print) => [
    spy('S', { print: (line) => { print(line) } }),
    spawn(() => yieldTurn(() => yieldTurn(() => wild.map((body) => sendMessage(body))))),
  ])
  t.equal(lines.length, wild.length)
  for (const [i, line] of lines.entries()) {
    t.notOk(line.includes('\n'), `event ${i}`)
  }
  t.strictSame(logged(log, 'error'), [])
})

t.test('a printer that throws ends the spy, not the program', { timeout: patient(10_000) }, async (t) => {
  const { lines, ended } = await run((print) => [
    spy('S', { print: () => { throw new Error('printer') } }),
    spawn(() => [
      endpoint.subscriber('m', { onMessage: () => { print('m') } }),
      yieldTurn(() => yieldTurn(() => [sendMessage('m'), yieldTurn(() => [sendMessage('m'), quit()])])),
    ]),
  ])
  t.strictSame(lines, ['m', 'm'])
  t.ok(ended)
})

onBoth('TCP traffic as hex dumps', async (t, start) => {
  const lines: string[] = []
  const program = start(() => [tcpSpy({ print: (line) => { lines.push(line) } }), echoServer(0)])
  const socket = await client(await program.port())
  const { localPort: port } = socket
  socket.end('hello\n\x00\xff~, and more')
  t.equal((await readAll(socket)).toString(), 'hello\n\x00\xff~, and more')
  await until(() => lines.some((line) => line.startsWith('TCPDISCONNECT')))
  const kinds = lines.filter((line) => line.startsWith('TCP')).map((line) => line.split(' ')[0])
  t.match(kinds.join(' '), /^TCPCONNECT/)
  for (const kind of ['TCPDATA', 'TCPEOF', 'TCPDISCONNECT']) t.ok(kinds.includes(kind), kind)
  const data = lines.find((line) => line.startsWith('TCPDATA'))
  t.match(data, new RegExp(`127\\.0\\.0\\.1.*${port}.* -> .*0`))
  t.ok(lines.includes('00000000  68 65 6c 6c 6f 0a 00 c3 bf 7e 2c 20 61 6e 64 20  |hello....~, and |'))
  t.ok(lines.includes('00000010  6d 6f 72 65                                      |more|'))
})

onBoth('the TCP spy shows what closed a connection, and what is no data', async (t, start) => {
  const lines: string[] = []
  const program = start((p) => [
    tcpSpy({ print: (line) => { lines.push(line) } }),
    endpoint.subscriber(tcpChannel(_, _, _), p.notes('wild')),
    endpoint.subscriber(tcpChannel('a' as never, 'b' as never, _)),
    echoServer(0),
  ])
  const socket = await client(await program.port())
  await until(() => program.connections === 1)
  program.do(sendMessage(tcpChannel('a' as never, 'b' as never, tcpCredit(3))))
  await until(() => lines.some((line) => /^TCPCONTROL .*a.* -> .*b.* .*credit.*3/.test(line)))
  socket.resetAndDestroy()
  await until(() => lines.some((line) => /^TCPDISCONNECT .* because .*ECONNRESET/.test(line)))
  t.pass('told')
})

t.test('hexDump', async (t) => {
  t.strictSame(hexDump(new Uint8Array(0)), [])
  t.throws(() => hexDump('x' as never), { message: "hexDump: data must be a Uint8Array; got 'x'" })
  t.strictSame(hexDump(Uint8Array.from([0x20, 0x7e, 0x7f, 0x1f])), [
    `00000000  20 7e 7f 1f${' '.repeat(36)}  | ~..|`,
  ])
  const all = hexDump(Uint8Array.from({ length: 256 }, (_byte, i) => i))
  t.equal(all.length, 16)
  t.equal(all[4], '00000040  40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  |@ABCDEFGHIJKLMNO|')
  t.equal(hexDump(new Uint8Array(0x12345)).at(-1)?.slice(0, 8), '00012340')
})

t.test('without the option they print to standard error', { timeout: patient(10_000) }, async (t) => {
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', `
    import { groundVm, sendMessage, spawn, spy, yieldTurn } from
      ${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)}
    await groundVm(() => [spy(), spawn(() => yieldTurn(() => yieldTurn(() => sendMessage('hello'))))])
  `], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', MARKETPLACE_LOG: 'off' } })
  t.strictSame([stdout, stderr], ['', "SPY: message 'hello'\n"])
})

t.test('wrong arguments are told', async (t) => {
  t.throws(() => spy(5 as never), { name: 'TypeError', message: 'spy: label must be a string; got 5' })
  t.throws(() => spy('x', { print: 'y' as never }), {
    name: 'TypeError', message: "spy: options.print must be a function; got 'y'",
  })
  t.throws(() => tcpSpy({ print: 1 as never }), {
    name: 'TypeError', message: 'tcpSpy: options.print must be a function; got 1',
  })
  t.throws(() => spy('x', { prnt: () => undefined } as never), {
    code: 'ERR_INVALID_ARG_VALUE', message: "spy: unknown option 'prnt'; did you mean 'print'?",
  })
})

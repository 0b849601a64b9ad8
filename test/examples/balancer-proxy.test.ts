/** The balancer and the PROXY protocol: headers byte by byte as the specification has them. */
import { onBoth, type Program, type Start } from '../drivers/tcp-program.js'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { tcpAddress, timerDriver } from 'marketplace-native'
import { balancer, driverOptions, type BalancerOptions } from '../../examples/balancer/balance.js'
import { trustIn } from '../../examples/balancer.js'
import { parseProxyHeader, proxyHeader } from '../../examples/balancer/proxy-protocol.js'
import { client, readAll, until } from '../support/util.js'

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex')
const signature = '0d0a0d0a 000d0a51 5549540a'
const far = { source: tcpAddress('192.0.2.1', 56324), destination: tcpAddress('198.51.100.7', 443) }
const far6 = { source: tcpAddress('2001:db8::1', 56324), destination: tcpAddress('2001:db8::2', 443) }

const v2tcp4 = hex(`${signature} 21 11 000c c0000201 c6336407 dc04 01bb`)
const v2tcp6 = hex(`${signature} 21 21 0024 20010db8000000000000000000000001
  20010db8000000000000000000000002 dc04 01bb`)
const v1tcp4 = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n')
const v1tcp6 = Buffer.from('PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n')

t.test('what is said is what the specification has', async (t) => {
  t.ok(proxyHeader('v1', far).equals(v1tcp4))
  t.ok(proxyHeader('v1', far6).equals(v1tcp6))
  t.ok(proxyHeader('v2', far).equals(v2tcp4))
  t.ok(proxyHeader('v2', far6).equals(v2tcp6))
  t.equal(proxyHeader('v1', undefined).toString(), 'PROXY UNKNOWN\r\n')
  t.ok(proxyHeader('v2', undefined).equals(hex(`${signature} 21 00 0000`)))
  const linked = { source: tcpAddress('fe80::1%lo', 1), destination: tcpAddress('fe80::2%lo', 2) }
  t.equal(proxyHeader('v1', linked).toString(), 'PROXY TCP6 fe80::1 fe80::2 1 2\r\n', 'zones stay here')
  const mixed = { source: far.source, destination: far6.destination }
  t.equal(proxyHeader('v1', mixed).toString(), 'PROXY TCP6 ::ffff:c000:201 2001:db8::2 56324 443\r\n')
})

t.test('what is heard, cut anywhere', async (t) => {
  const known = [
    [v1tcp4, far], [v1tcp6, far6], [v2tcp4, far], [v2tcp6, far6],
    [Buffer.from('PROXY UNKNOWN\r\n'), undefined],
    [Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`), undefined],
    [Buffer.from('PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n'), undefined],
    [hex(`${signature} 20 00 0000`), undefined],
    [hex(`${signature} 20 11 000c c0000201 c6336407 dc04 01bb`), undefined],
    [hex(`${signature} 21 31 0003 010203`), undefined],
    [hex(`${signature} 21 11 0010 c0000201 c6336407 dc04 01bb 04 0001 ff`), far],
  ] as const
  for (const [bytes, ends] of known) {
    const all = Buffer.concat([bytes, Buffer.from('rest')])
    t.strictSame(parseProxyHeader(all), { ends, rest: Buffer.from('rest') })
    for (let cut = 0; cut < bytes.length; cut++) {
      t.ok('need' in parseProxyHeader(bytes.subarray(0, cut)), `${cut} of ${bytes.length} bytes`)
    }
  }
})

/** Each is refused, and not a byte of it gets through. */
const wrong: readonly (readonly [Buffer | string, RegExp])[] = [
  ['GET / HTTP/1.1\r\n', /does not begin as one/],
  ['proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n', /does not begin as one/],
  ['PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n', /protocol "UDP4" is not known/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n', /5 words/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n', /7 words/],
  ['PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n', /7 words/],
  ['PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n', /no address of TCP4/],
  ['PROXY TCP4 2001:db8::1 198.51.100.7 1 2\r\n', /no address of TCP4/],
  ['PROXY TCP6 192.0.2.1 ::1 1 2\r\n', /no address of TCP6/],
  ['PROXY TCP6 fe80::1%lo ::1 1 2\r\n', /"fe80::1%lo" is no address of TCP6/],
  ['PROXY TCP6 ::1 fe80::1%1 1 2\r\n', /no address of TCP6/],
  ['PROXY TCP6 [::1] ::1 1 2\r\n', /no address of TCP6/],
  ['PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n', /no address of TCP4/],
  ['PROXY TCP4 192.0.2.1\t198.51.100.7 1 2\r\n', /5 words/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n', /7 words/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n\r\n', /no port/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 0x1 2\r\n', /no port/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 00 2\r\n', /no port/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n', /no port/],
  ['PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n', /protocol "" is not known/],
  ['PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n', /protocol "tcp4" is not known/],
  ['PROXY UNKNOWNX\r\n', /protocol "UNKNOWNX" is not known/],
  [`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`, /does not end within 107/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n', /no port/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n', /no port/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 -1 2\r\n', /no port/],
  [`PROXY TCP4 ${'1'.repeat(200)}`, /does not end within 107/],
  [hex(`${signature} 11 11 000c c0000201 c6336407 dc04 01bb`), /version is 1/],
  [hex(`${signature} 22 11 000c c0000201 c6336407 dc04 01bb`), /command is 2/],
  [hex(`${signature} 21 41 0000`), /family and protocol are 0x41/],
  [hex(`${signature} 21 13 000c c0000201 c6336407 dc04 01bb`), /family and protocol are 0x13/],
  [hex(`${signature} 21 11 0004 c0000201`), /cut off/],
  [hex(`${signature} 21 11 ffff c0000201`), /more than/],
  [hex('0d0a0d0a 000d0a51 5549540b 21 11'), /does not begin as one/],
]

t.test('what is refused', async (t) => {
  for (const [bytes, why] of wrong) t.throws(() => parseProxyHeader(Buffer.from(bytes)), { message: why })
})

/** A backend that keeps all it hears of each client. */
async function listener(t: Test) {
  const heard: string[] = []
  const server = createServer((socket) => {
    const index = heard.push('') - 1
    socket.setEncoding('latin1').on('error', () => undefined)
    socket.on('data', (text: string) => { heard[index] += text })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const at = tcpAddress('127.0.0.1', (server.address() as AddressInfo).port)
  return { at, all: () => heard.filter((text) => text !== '') }
}

async function run(start: Start, options: Omit<BalancerOptions, 'log'>) {
  const log: string[] = []
  const program: Program = start(
    () => [timerDriver(), balancer(0, { interval: 60_000, ...options, log: (text) => log.push(text) })],
    { driver: 'tcp', ...driverOptions },
  )
  const port = await program.port()
  await until(() => log.some((line) => line.includes('is up')))
  return { program, port, log }
}

onBoth('backends are told of the client', async (t, start) => {
  for (const sendProxy of ['v1', 'v2'] as const) {
    const backend = await listener(t)
    const { port, program } = await run(start, { backends: [backend.at], sendProxy })
    const socket = await client(port)
    const { port: mine } = socket.address() as AddressInfo
    socket.end('payload')
    await readAll(socket)
    const ends = { source: tcpAddress('127.0.0.1', mine), destination: tcpAddress('127.0.0.1', port) }
    t.strictSame(backend.all(), [`${proxyHeader(sendProxy, ends).toString('latin1')}payload`])
    await program.stop()
  }
})

onBoth('what a trusted proxy says is believed and passed on, however it is cut', async (t, start) => {
  const backend = await listener(t)
  const trusts = trustIn(['10.0.0.0/8', '127.0.0.1', '::1/128'])
  const { port, program } = await run(start, { backends: [backend.at], trusts, sendProxy: 'v1' })
  const long = 'x'.repeat(100_000)
  for (const header of [v1tcp4, v2tcp4]) {
    const whole = await client(port)
    whole.end(Buffer.concat([header, Buffer.from(long)]))
    await readAll(whole)
    const slow = await client(port)
    for (const byte of Buffer.concat([header, Buffer.from('slow')])) {
      slow.write(Buffer.of(byte))
      await new Promise(setImmediate)
    }
    slow.end()
    await readAll(slow)
  }
  const said = [long, 'slow', long, 'slow'].map((text) => v1tcp4.toString() + text)
  t.ok(backend.all().join('|') === said.join('|'), 'the client\'s address, and every byte behind it')
  await until(() => program.connections === 0)
})

onBoth('wrong headers, and headers of strangers, abort; nothing of them gets through', async (t, start) => {
  const backend = await listener(t)
  const { port, log, program } = await run(start, { backends: [backend.at], trusts: trustIn(['127.0.0.1']) })
  for (const [bytes, why] of wrong) {
    const socket = await client(port)
    socket.on('error', () => undefined).write(bytes)
    await readAll(socket).catch(() => undefined)
    socket.destroy()
    t.match(log.at(-1), why)
  }
  const short = await client(port)
  short.end('PROXY TCP4 ')
  await t.rejects(readAll(short), { code: 'ECONNRESET' })
  t.match(log.at(-1), /its PROXY header is wrong: it is cut off/)
  t.strictSame(backend.all(), [])
  await until(() => program.connections === 0)
  await program.stop()

  const strict = await run(start, { backends: [backend.at], trusts: trustIn(['10.0.0.0/8']) })
  // So quickly that it may not even know that it was connected.
  await t.rejects(client(strict.port).then((stranger) => {
    stranger.write(v1tcp4)
    return readAll(stranger)
  }))
  await until(() => strict.log.some((line) => line.includes('not trusted to send a PROXY header')))
  t.strictSame(backend.all(), [])
})

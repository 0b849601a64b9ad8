/** The PROXY protocol: headers byte by byte as the specification has them, and listeners that begin with one. */
import { onBoth, type Program } from './tcp-program.js'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import {
  _, endpoint, proxyHeader, sendMessage, spawn, tcpAddress, tcpBare, tcpChannel, tcpCredit, sendFeedback,
  tcpListener, tcpProxied, unixListener, unixListening, unixPeer, type ActionTree, type ProxyHeader, type TcpEnd,
} from 'marketplace-native'
import { readProxyHeader } from '../../src/drivers/proxy-header.js'
import { client, readAll, until } from '../support/util.js'

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')
const signature = '0d0a0d0a 000d0a51 5549540a'
const far = { source: { host: '192.0.2.1', port: 56324 }, destination: { host: '198.51.100.7', port: 443 } }
const far6 = { source: { host: '2001:db8::1', port: 56324 }, destination: { host: '2001:db8::2', port: 443 } }
const v2tcp4 = hex(`${signature} 21 11 000c c0000201 c6336407 dc04 01bb`)
const v2tcp6 = hex(`${signature} 21 21 0024 20010db8000000000000000000000001
  20010db8000000000000000000000002 dc04 01bb`)
const v1tcp4 = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n')
const v1tcp6 = Buffer.from('PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n')

t.test('what is written is what the specification has', async (t) => {
  t.ok(proxyHeader({ version: 1, ...far }).equals(v1tcp4))
  t.ok(proxyHeader({ version: 1, ...far6 }).equals(v1tcp6))
  t.ok(proxyHeader(far).equals(v2tcp4))
  t.ok(proxyHeader(far6).equals(v2tcp6))
  t.equal(proxyHeader({ version: 1 }).toString(), 'PROXY UNKNOWN\r\n')
  t.ok(proxyHeader().equals(hex(`${signature} 20 00 0000`)))
  const linked = { source: { host: 'fe80::1%lo', port: 1 }, destination: { host: 'fe80::2%lo', port: 2 } }
  t.equal(proxyHeader({ version: 1, ...linked }).toString(), 'PROXY TCP6 fe80::1 fe80::2 1 2\r\n', 'zones stay here')
  const mixed = { source: far.source, destination: far6.destination }
  t.equal(proxyHeader({ version: 1, ...mixed }).toString(), 'PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 56324 443\r\n')
  t.throws(() => proxyHeader({ version: 3 as never }), /version must be 1 or 2/)
  t.throws(() => proxyHeader({ source: far.source }), /destination/)
  t.throws(() => proxyHeader({ sorce: far.source } as never), /unknown option 'sorce'; did you mean 'source'/)
  t.throws(() => proxyHeader({ tlvs: 5 as never }), /options\.tlvs must be an array; got 5/)
  t.throws(() => proxyHeader({ source: { host: 'example.org', port: 1 }, destination: far.source }), /source\.host/)
  t.throws(() => proxyHeader({ source: { host: '::1', port: 65536 }, destination: far.source }), /source\.port/)
  t.throws(() => proxyHeader({ version: 1, ...far, checksum: true }), /checksum/)
  t.throws(() => proxyHeader({ ...far, tlvs: [{ type: 5, value: 'x'.repeat(129) }] }), /tlvs\[0\]\.value/)
  t.throws(() => proxyHeader({ ...far, tlvs: [{ type: 3, value: 'sum!' }] }), /tlvs\[0\]\.type/)
  t.throws(() => proxyHeader({ ...far, tlvs: [{ type: 256, value: '' }] }), /tlvs\[0\]\.type/)
  t.throws(() => proxyHeader({ ...far, tlvs: [{ type: 1, value: 'x'.repeat(9000) }] }), /at most 8192/)
})

t.test('what is read, cut anywhere', async (t) => {
  const known: readonly (readonly [Buffer, Partial<ProxyHeader>])[] = [
    [v1tcp4, { version: 1, family: 'IPv4', transport: 'stream', command: 'proxy', ...far }],
    [v1tcp6, { version: 1, family: 'IPv6', ...far6 }],
    [Buffer.from('PROXY TCP6 2001:DB8:0::0001 2001:db8:0:0:0:0:0:2 56324 443\r\n'), far6],
    [Buffer.from('PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6407 1 2\r\n'), {
      source: { host: '::ffff:192.0.2.1', port: 1 }, destination: { host: '::ffff:198.51.100.7', port: 2 },
    }],
    [v2tcp4, { version: 2, family: 'IPv4', command: 'proxy', ...far }],
    [v2tcp6, { version: 2, family: 'IPv6', ...far6 }],
    [Buffer.from('PROXY UNKNOWN\r\n'), { family: 'unknown', source: undefined }],
    [Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`), { family: 'unknown', source: undefined }],
    [hex(`${signature} 20 00 0000`), { command: 'local', source: undefined }],
    [hex(`${signature} 20 11 000c c0000201 c6336407 dc04 01bb`), { command: 'local', source: undefined }],
    [hex(`${signature} 20 11 0003 010203`), { command: 'local', source: undefined }],
    [hex(`${signature} 21 00 0004 04000101`), { family: 'unknown', source: undefined }],
    [hex(`${signature} 21 12 000c c0000201 c6336407 dc04 01bb`), { transport: 'datagram', ...far }],
    [Buffer.concat([hex(`${signature} 21 31 00d8`), Buffer.alloc(216, '/run/a\0', 'latin1')]),
      { family: 'unix', source: { host: '/run/a', port: 0 } }],
    [hex(`${signature} 21 11 0010 c0000201 c6336407 dc04 01bb 04 0001 ff`), far],
    [hex(`${signature} 21 21 0024 00000000000000000000ffffc0000201 00000000000000000000000000000000 0001 0002`),
      { source: { host: '::ffff:192.0.2.1', port: 1 }, destination: { host: '::', port: 2 } }],
  ]
  for (const [bytes, fields] of known) {
    const read = readProxyHeader(Buffer.concat([bytes, Buffer.from('rest')]))
    t.equal(read.is === 'header' && read.length, bytes.length)
    t.match(read.is === 'header' && read.header, fields)
    for (let cut = 0; cut < bytes.length; cut++) t.equal(readProxyHeader(bytes.subarray(0, cut)).is, 'part')
  }
  for (const bytes of [undefined, 'PROXY', new Uint8Array(8)]) {
    t.throws(() => readProxyHeader(bytes as never), { message: /^readProxyHeader: bytes must be a Buffer; got/ })
  }
  const ssl = Buffer.concat([
    hex('07 00000000 21 0007'), Buffer.from('TLSv1.3'), hex('22 0003'), Buffer.from('Ann'),
    hex('23 0016'), Buffer.from('TLS_AES_256_GCM_SHA384'),
  ])
  const all = proxyHeader({
    ...far,
    checksum: true,
    tlvs: [
      { type: 0x01, value: 'h2' }, { type: 0x02, value: 'example.org' }, { type: 0x05, value: 'id-1' },
      { type: 0x20, value: ssl }, { type: 0x30, value: 'blue' }, { type: 0xea, value: '\x01vpce-08d2bf15fac5001c9' },
    ],
  })
  const read = readProxyHeader(all, true)
  t.match(read.is === 'header' && read.header, {
    alpn: 'h2', authority: 'example.org', uniqueId: Buffer.from('id-1'), netns: 'blue',
    awsVpcEndpoint: 'vpce-08d2bf15fac5001c9',
    ssl: {
      clientCertificate: true, verified: true, version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', commonName: 'Ann',
    },
  })
  t.equal(read.is === 'header' && read.header.tlvs.length, 7, 'the checksum is one')
  for (let i = 0; i < all.length; i++) {
    const changed = Buffer.from(all)
    changed[i] ^= 1
    t.not(readProxyHeader(changed, true).is, 'header', `a wrong bit in byte ${i}`)
  }
  t.match(readProxyHeader(v2tcp4, true), { is: 'wrong', why: /no checksum/ })
  t.match(readProxyHeader(v1tcp4, true), { is: 'wrong', why: /no checksum/ })
  for (const [rest, why] of [['20 11 0003 020000', /addresses/], ['20 00 0003 020009', /TLV/]] as const) {
    const local = hex(`${signature} ${rest}`)
    t.match(readProxyHeader(local), { is: 'header' }, "what is behind the balancer's own is ignored")
    t.match(readProxyHeader(local, true), { is: 'wrong', why }, 'but for the checksum')
  }
})

/** What is no header, or a wrong one. */
const wrong: readonly (readonly [Buffer | string, RegExp | 'other'])[] = [
  ['GET / HTTP/1.1\r\n', 'other'],
  ['proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n', 'other'],
  ['PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n', /family/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n', /two addresses and two ports/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n', /two addresses and two ports/],
  ['PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n', /two addresses and two ports/],
  ['PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n', /none of TCP4/],
  ['PROXY TCP4 2001:db8::1 198.51.100.7 1 2\r\n', /none of TCP4/],
  ['PROXY TCP6 192.0.2.1 ::1 1 2\r\n', /none of TCP6/],
  ['PROXY TCP6 fe80::1%lo ::1 1 2\r\n', /none of TCP6/],
  ['PROXY TCP4 192.0.2.1\t198.51.100.7 1 2\r\n', /two addresses/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 0x1 2\r\n', /a port/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 00 2\r\n', /a port/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n', /a port/],
  ['PROXY UNKNOWNX\r\n', /family/],
  [`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`, /longer than 107/],
  [hex(`${signature} 11 11 000c c0000201 c6336407 dc04 01bb`), /version is 1/],
  [hex(`${signature} 22 11 000c c0000201 c6336407 dc04 01bb`), /command is 2/],
  [hex(`${signature} 21 41 0000`), /family and protocol are 0x41/],
  [hex(`${signature} 21 13 000c c0000201 c6336407 dc04 01bb`), /family and protocol are 0x13/],
  [hex(`${signature} 21 11 0004 c0000201`), /within its addresses/],
  [hex(`${signature} 21 11 000e c0000201 c6336407 dc04 01bb 0400`), /within a TLV/],
  [hex(`${signature} 21 11 000f c0000201 c6336407 dc04 01bb 040001`), /within a TLV/],
  [hex(`${signature} 21 11 0013 c0000201 c6336407 dc04 01bb 030004 00000000`), /checksum is wrong/],
  [hex(`${signature} 21 11 ffff c0000201`), /longer than 8192/],
  [hex('0d0a0d0a 000d0a51 5549540b 21 11'), 'other'],
]

t.test('what is no header, or a wrong one', async (t) => {
  for (const [bytes, why] of wrong) {
    const read = readProxyHeader(Buffer.from(bytes))
    t.match(read, why === 'other' ? { is: 'other' } : { is: 'wrong', why }, JSON.stringify(String(bytes)))
  }
})

t.test('wrong options', async (t) => {
  const proxied = (proxy: object) => () => tcpBare({ proxy: proxy as never })
  t.throws(proxied([]), /options\.proxy must be an object; got \[\]/)
  t.throws(proxied({}), /options\.proxy\.from must be an array/)
  t.throws(proxied({ from: '10.0.0.0/8' }), /proxy\.from must be an array.*got '10\.0\.0\.0\/8'/)
  t.throws(proxied({ from: [] }), /not empty/)
  for (const from of ['10.0.0.0/33', '10.0.0', 'fd00::/129', 'example.org', '', '10.0.0.0/', '::1%lo']) {
    t.throws(proxied({ from: ['10.0.0.0/8', from] }), /proxy\.from\[1\] must be an address, a prefix or unix/, from)
  }
  t.throws(proxied({ from: ['unix'], require: true }), /unknown option 'require'.*required/)
  t.throws(proxied({ from: ['unix'], timeout: 0 }), /proxy\.timeout/)
  t.throws(proxied({ from: ['unix'], others: 'drop' }), /proxy\.others must be 'data' or 'refuse'/)
})

/** Greets each client with what is known of it, and sends back what it says. */
function greeter(at: ReturnType<typeof tcpListener> | ReturnType<typeof unixListener>, flow = false): ActionTree {
  const session = (them: TcpEnd, us: TcpEnd): ActionTree => {
    let via = 'nobody'
    return [
      endpoint.subscriber(tcpProxied(them, us, _), {
        onPresence: ({ header }) => {
          const who = header.via
          const { version, command, authority = '-' } = header
          via = `${unixPeer.is(who) ? 'a peer' : who.host} v${version} ${command} ${authority}`
        },
      }),
      endpoint.subscriber(tcpChannel(them, us, _), {
        onPresence: () => [
          flow && sendFeedback(tcpChannel(them, us, tcpCredit(1_000_000))),
          sendMessage(tcpChannel(us, them, Buffer.from(
            `${tcpAddress.is(them) ? `${them.host} ${them.port}` : 'a peer'} by ${via}\n`,
          ))),
        ],
        onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
      }),
    ]
  }
  return endpoint.subscriber(tcpChannel(_, at, _), {
    interest: 'observer',
    onPresence: ({ source, destination }) => spawn(() => session(source, destination)),
  })
}

async function say(port: number, ...pieces: readonly (Buffer | string)[]): Promise<string> {
  const socket = await client(port)
  for (const piece of pieces) {
    socket.write(piece)
    await new Promise(setImmediate)
  }
  socket.end()
  return (await readAll(socket)).toString()
}

const cut = (bytes: Buffer): Buffer[] => [...bytes].map((byte) => Buffer.of(byte))

for (const driver of ['bare', 'tcp'] as const) {
  for (const pauseOnAccept of [false, true]) {
    onBoth(`${driver}${pauseOnAccept ? ', paused' : ''}: the header's address is the remote one`, async (t, start) => {
      const proxy = { from: ['127.0.0.0/8', '::1'] }
      const program: Program = start(() => greeter(tcpListener(0), driver === 'tcp'), { driver, pauseOnAccept, proxy })
      const port = await program.port()
      const long = 'x'.repeat(300_000)
      const named = proxyHeader({ ...far6, tlvs: [{ type: 2, value: 'example.org' }], checksum: true })
      t.equal(await say(port, v1tcp4, 'hello'), '192.0.2.1 56324 by 127.0.0.1 v1 proxy -\nhello')
      t.equal(await say(port, Buffer.concat([v2tcp4, Buffer.from(long)])),
        `192.0.2.1 56324 by 127.0.0.1 v2 proxy -\n${long}`)
      t.equal(await say(port, ...cut(named), 'slow'), '2001:db8::1 56324 by 127.0.0.1 v2 proxy example.org\nslow')
      t.equal(await say(port, v1tcp4), '192.0.2.1 56324 by 127.0.0.1 v1 proxy -\n', 'which says nothing')
      t.match(await say(port, proxyHeader(), 'check'), /^127\.0\.0\.1 \d+ by 127\.0\.0\.1 v2 local -\ncheck$/)
      // Two of one name at the same time are two.
      const both = await Promise.all(['one', 'two'].map((text) => say(port, v1tcp4, text)))
      t.strictSame(both.map((text) => text.split('\n')[1]), ['one', 'two'])
      await until(() => program.connections === 0)
      t.strictSame(program.errors, [])
    })
  }
}

/** Until the server ends it. */
async function ended(socket: Socket): Promise<void> {
  socket.on('error', () => undefined).resume()
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve))
}

onBoth('who says nothing, or something else, is refused, and nobody else', async (t, start) => {
  const proxy = { from: ['127.0.0.1'], timeout: 300 }
  const program = start(() => greeter(tcpListener(0)), { proxy })
  const port = await program.port()
  const silent = await client(port)
  const { port: its } = silent.address() as AddressInfo
  const half = await client(port)
  half.write('PROXY TCP4 192')
  const others = Promise.all([ended(silent), ended(half)])
  for (const [bytes, why] of wrong) {
    const before = program.errors.length
    const socket = connect(port, '127.0.0.1')
    socket.write(bytes)
    await ended(socket)
    await until(() => program.errors.length > before)
    const { error, remote } = program.errors.find(({ error }) => error.code === 'EPROTO' && !seen.has(error))
      ?? program.errors[before]
    seen.add(error)
    t.match(error, { code: 'EPROTO', syscall: 'read', address: '127.0.0.1' })
    t.match(error.message, why === 'other' ? /does not begin with a header/ : why)
    t.ok(tcpAddress.is(remote))
  }
  await others
  await until(() => program.errors.filter(({ error }) => error.code === 'ETIMEDOUT').length === 2)
  t.ok(program.errors.some(({ error }) => error.code === 'ETIMEDOUT' && error.port === its))
  t.equal(await say(port, v1tcp4, 'hello'), '192.0.2.1 56324 by 127.0.0.1 v1 proxy -\nhello')
  // Checks that only connect are no errors.
  const count = program.errors.length
  t.equal(await say(port).catch(() => 'reset'), 'reset')
  await until(() => program.connections === 0)
  t.equal(program.errors.length, count)
})
const seen = new Set<unknown>()

onBoth('not required, and from elsewhere', async (t, start) => {
  const lax = start(() => greeter(tcpListener(0)), { proxy: { from: ['127.0.0.1'], required: false } })
  const port = await lax.port()
  t.match(await say(port, 'GET /'), /^127\.0\.0\.1 \d+ by nobody\nGET \/$/)
  t.match(await say(port, 'PRO'), /^127\.0\.0\.1 \d+ by nobody\nPRO$/, 'what could have become one')
  t.match(await say(port), /^127\.0\.0\.1 \d+ by nobody\n$/)
  t.equal(await say(port, v1tcp4, 'x'), '192.0.2.1 56324 by 127.0.0.1 v1 proxy -\nx')
  const open = start(() => greeter(tcpListener(0)), { proxy: { from: ['192.0.2.0/24'] } })
  t.match(await say(await open.port(), v1tcp4), /^127\.0\.0\.1 \d+ by nobody\nPROXY TCP4 192/, 'is no more than data')
  const strict = start(() => greeter(tcpListener(0)), { proxy: { from: ['192.0.2.0/24'], others: 'refuse' } })
  const socket = connect(await strict.port(), '127.0.0.1')
  await ended(socket)
  t.equal(socket.bytesRead, 0)
  await until(() => strict.connections === 0)
})

onBoth('on a Unix socket, with borrowed memory, in a nested VM', async (t, start) => {
  const folder = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const path = join(folder, 'socket')
  let listening = false
  const program = start(() => [
    endpoint.subscriber(unixListening(unixListener(path)), { onPresence: () => { listening = true } }),
    greeter(unixListener(path)),
  ], { proxy: { from: ['unix'] }, buffers: 'borrowed', depth: 1 })
  await until(() => listening)
  const both = await Promise.all(['one', 'two'].map(async (text) => {
    const socket = connect({ path, allowHalfOpen: true })
    socket.write(Buffer.concat([v1tcp4, Buffer.from(text)]))
    socket.end()
    return (await readAll(socket)).toString()
  }))
  t.strictSame(both, ['one', 'two'].map((text) => `192.0.2.1 56324 by a peer v1 proxy -\n${text}`))
  await until(() => program.connections === 0)
})


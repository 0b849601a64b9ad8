/** Datagrams through both transports: echo, sizes, families, limits, options, failures, close. */
import { createSocket } from 'node:dgram'
import { readdirSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import t, { type Test } from 'tap'
import type { SocketError } from '../../src/transport/seam/transport.js'
import { openUdpTransport } from '../../src/transport/choose.js'
import { loadNative } from '../../src/transport/native/transport.js'
import type { UdpSocketOptions } from '../../src/transport/seam/udp-transport.js'
import {
  collectGarbage, deferred, missing, pattern, randomSource, runProgram, sleep, until,
} from '../support/util.js'
import { onEveryUdpTransport, type Station } from './udp-station.js'

const hasIPv6 = Object.values(networkInterfaces()).flat().some((entry) => entry?.family === 'IPv6')
const host = '127.0.0.1'
const noIPv6 = hasIPv6 ? false : 'no IPv6 on this machine'

/** The error with which a socket can't be bound. */
async function bindError(
  station: Station, options: Partial<UdpSocketOptions>,
): Promise<SocketError | undefined> {
  try {
    await station.bind(options)
    return undefined
  } catch (error) {
    return error as SocketError
  }
}

async function echoes(t: Test, station: Station, host: string): Promise<void> {
  const [server, , port] = await station.bind({ host })
  const [client, log] = await station.bind({ host })
  station.onEvent = ({ kind, socket, data, remote }) => {
    if (kind === 'datagram' && socket === server) socket.send(data!, remote!.address, remote!.port)
  }
  const sent = ['one', Buffer.from('two'), '', 'drei \u{1f600}', new Uint8Array([0, 255, 10])]
  for (const data of sent) station.call(() => { client.send(data, host, port) })
  await until(() => log.received.length === sent.length)
  t.strictSame(log.received.map(({ data }) => data), sent.map((data) => Buffer.from(data as string)))
  t.match(log.received[0].remote, { address: host, family: host.includes(':') ? 'IPv6' : 'IPv4', port })
}

onEveryUdpTransport('echo over IPv4', (t, open) => echoes(t, open(), '127.0.0.1'))
onEveryUdpTransport('echo over IPv6', (t, open) => echoes(t, open(), '::1'), noIPv6)

onEveryUdpTransport('one socket for both families', async (t, open) => {
  const station = open()
  const [socket, log, port] = await station.bind({ host: undefined })
  t.equal(socket.address?.address, '::')
  const [four, fourLog, fourPort] = await station.bind()
  const [six, sixLog, sixPort] = await station.bind({ host: '::1' })
  four.send('from 4', '127.0.0.1', port)
  six.send('from 6', '::1', port)
  await until(() => log.received.length === 2)
  t.same(log.received.map(({ remote }) => `${remote.family} ${remote.address} ${remote.port}`).sort(), [
    `IPv4 127.0.0.1 ${fourPort}`, `IPv6 ::1 ${sixPort}`,
  ])
  socket.send('to 4', '127.0.0.1', fourPort)
  socket.send('to 6', '::1', sixPort)
  await until(() => fourLog.received.length + sixLog.received.length === 2)
  four.send('to 6', '::1', sixPort)
  await until(() => station.violations.length > 0 || fourCodes().length === 1)
  t.strictSame(fourCodes(), ['EAFNOSUPPORT'])
  function fourCodes(): string[] {
    return fourLog.codes
  }
}, noIPv6)

onEveryUdpTransport('names are looked up', async (t, open) => {
  const station = open()
  const [socket, log, port] = await station.bind({ host: 'localhost', type: 'udp4' })
  socket.send('to myself', 'localhost', port)
  await until(() => log.received.length === 1)
  socket.send('to nobody', 'no-such-host.invalid', port)
  await until(() => log.failures.length === 1)
  t.match(log.failures[0], { kind: 'send-failed', remote: { address: 'no-such-host.invalid', port } })
  t.match(log.codes[0], /^(ENOTFOUND|EAI_AGAIN)$/)
  t.match((await bindError(station, { host: 'no-such-host.invalid' }))?.code, /^(ENOTFOUND|EAI_AGAIN)$/)
  socket.send('given up', 'no-such-host.invalid', port)
  socket.close()
  await until(() => log.closed)
  t.equal(log.codes[1], 'ECANCELED')
})

for (const host of ['127.0.0.1', '::1']) {
  onEveryUdpTransport(`65,507 bytes arrive whole, 65,508 are reported, on ${host}`, async (t, open) => {
    const station = open()
    const [a, aLog] = await station.bind({ host })
    const [, bLog, port] = await station.bind({ host })
    const largest = pattern(65_507, 3)
    a.send(largest, host, port)
    await until(() => bLog.received.length === 1)
    t.ok(bLog.received[0].data.equals(largest))
    a.send(pattern(65_508), host, port)
    a.send('after it', host, port)
    await until(() => bLog.received.length === 2 && aLog.failures.length === 1)
    t.match(aLog.failures[0], {
      kind: 'send-failed',
      remote: { address: host, port },
      error: { code: 'EMSGSIZE', syscall: 'send', address: host, port },
    })
    t.strictSame(bLog.texts[1], 'after it')
  }, host === '::1' ? noIPv6 : false)
}

onEveryUdpTransport('what is longer than maxDatagramSize is reported, not cut', async (t, open) => {
  const station = open()
  const [a, aLog, aPort] = await station.bind()
  const [b, bLog, port] = await station.bind({ maxDatagramSize: 100 })
  a.send(pattern(101), '127.0.0.1', port)
  a.send(pattern(100, 5), '127.0.0.1', port)
  await until(() => bLog.received.length === 1 && bLog.failures.length === 1)
  t.ok(bLog.received[0].data.equals(pattern(100, 5)))
  t.match(bLog.failures[0], {
    kind: 'truncated',
    remote: { address: '127.0.0.1', port: aPort },
    error: { code: 'EMSGSIZE', syscall: 'recvmsg' },
  })
  b.send(pattern(101), '127.0.0.1', aPort)
  await until(() => bLog.failures.length === 2)
  t.equal(bLog.failures[1]?.kind, 'send-failed')
  t.strictSame(aLog.received, [])
})

onEveryUdpTransport('the default is to refuse broadcast', async (t, open) => {
  const station = open()
  const [refused, refusedLog] = await station.bind({ host: '0.0.0.0' })
  refused.send('all', '255.255.255.255', 9)
  await until(() => refusedLog.failures.length === 1)
  t.match(refusedLog.failures[0]?.error, { code: 'EACCES', address: '255.255.255.255', port: 9 })
  const [allowed, allowedLog] = await station.bind({ host: '0.0.0.0', broadcast: true })
  allowed.send('all', '127.255.255.255', 9)
  allowed.send('all', '255.255.255.255', 9)
  await sleep(50)
  t.notOk(allowedLog.codes.includes('EACCES'))
})

onEveryUdpTransport('ports in use, and shared ones', async (t, open) => {
  const station = open()
  const [, , port] = await station.bind()
  const error = await bindError(station, { port })
  t.match(error, { code: 'EADDRINUSE', syscall: 'bind', address: '127.0.0.1', port })
  t.equal((await bindError(station, { host: '192.0.2.77' }))?.code, 'EADDRNOTAVAIL')
  t.equal((await bindError(station, { type: 'udp6' }))?.code, 'EAFNOSUPPORT')
  const [, , shared] = await station.bind({ reuseAddress: true })
  const [second] = await station.bind({ reuseAddress: true, port: shared })
  t.equal(second.address?.port, shared)
})

onEveryUdpTransport('the options of a socket are taken', async (t, open) => {
  const station = open()
  const options = {
    ttl: 3, multicastTTL: 4, multicastLoopback: false, broadcast: true,
    receiveBufferSize: 100_000, sendBufferSize: 100_000, multicastInterface: '127.0.0.1',
  }
  const [socket, log, port] = await station.bind({ ...options, type: 'udp4' })
  socket.send('x', '127.0.0.1', port)
  await until(() => log.received.length === 1)
  t.equal((await bindError(station, { multicastInterface: 'no-such-if' }))?.code, 'ENODEV')
  if (hasIPv6) await station.bind({ ...options, host: undefined })
})

onEveryUdpTransport('close sends what was given before, and frees the port at once', async (t, open) => {
  const station = open()
  const [, log, port] = await station.bind()
  const [client, clientLog, clientPort] = await station.bind()
  for (let i = 0; i < 20; i++) client.send(`${i}`, '127.0.0.1', port)
  client.close()
  client.close()
  t.throws(() => { client.send('late', '127.0.0.1', port) }, /after close/)
  const [again] = await station.bind({ port: clientPort })
  await until(() => log.received.length === 20 && clientLog.closed)
  t.strictSame(log.texts, Array.from({ length: 20 }, (_, i) => `${i}`))
  t.strictSame(clientLog.failures, [])
  again.send('again', '127.0.0.1', port)
  await until(() => log.received.length === 21)
  t.equal(log.received[20]?.remote.port, clientPort)
  t.equal(station.transport.metrics.sockets, 2)
  t.equal(station.transport.metrics.datagramsOut, 21)
  t.equal(station.transport.metrics.datagramsIn, 21)
})

onEveryUdpTransport('a socket that is closed while it is made', async (t, open) => {
  const station = open()
  const logs = await Promise.all(['127.0.0.1', 'localhost', undefined].map(async (host) => {
    const log = { received: [], failures: [], bound: false, closed: false, bindError: undefined }
    const socket = station.call(() => station.transport.bind({ host, port: 0 }))
    socket.context = log
    socket.close()
    await until(() => log.closed)
    return log
  }))
  t.equal(logs.length, 3)
  t.equal(station.transport.metrics.sockets, 0)
})

onEveryUdpTransport('10,000 datagrams arrive as they were sent', async (t, open) => {
  const station = open()
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = randomSource(seed)
  const TOTAL = 10_000
  const [server, , port] = await station.bind({ receiveBufferSize: 1024 * 1024 })
  const [client, log] = await station.bind({ receiveBufferSize: 1024 * 1024 })
  let wrong = 0
  // Kept, so that memory that is used again would show.
  const kept: Buffer[] = []
  station.onEvent = ({ kind, socket, data, remote }) => {
    if (kind !== 'datagram') return
    if (socket === server) socket.send(data!, remote!.address, remote!.port)
    else if (kept.push(data!) % 500 === 0) collectGarbage()
  }
  const size = (index: number): number => 4 + (index * 7) % 600
  for (let i = 0; i < TOTAL;) {
    const burst = 1 + random(40)
    for (let end = Math.min(TOTAL, i + burst); i < end; i++) {
      const data = pattern(size(i), i)
      data.writeUInt32LE(i)
      client.send(data, '127.0.0.1', port)
    }
    // Paced by what has come back, so that no buffer of the kernel overflows.
    while (i - log.received.length > 60) await new Promise(setImmediate)
  }
  await until(() => log.received.length === TOTAL)
  kept.forEach((data, i) => {
    const expected = pattern(size(i), i)
    expected.writeUInt32LE(i)
    if (!data.equals(expected)) wrong += 1
  })
  t.equal(wrong, 0)
  const { metrics } = station.transport
  t.equal(metrics.datagramsIn, 2 * TOTAL)
  t.equal(metrics.datagramsOut, 2 * TOTAL)
  t.ok(metrics.batches < 2 * TOTAL, `${metrics.batches} batches`)
})

onEveryUdpTransport('no descriptor is left open', async (t, open) => {
  const descriptors = (): number => readdirSync('/proc/self/fd').length
  const station = open()
  const [, , taken] = await station.bind()
  const before = descriptors()
  for (let i = 0; i < 50; i++) {
    const [socket, log] = await station.bind()
    await bindError(station, { port: taken })
    socket.close()
    await until(() => log.closed)
  }
  t.equal(descriptors(), before)
  await Promise.all(Array.from({ length: 50 }, () => station.bind()))
  await station.transport.close()
  t.ok(descriptors() < before)
}, process.platform === 'linux' ? false : 'needs /proc')

onEveryUdpTransport('after close nothing is reported', async (t, open) => {
  const station = open()
  const [socket, log, port] = await station.bind()
  socket.send('x', '127.0.0.1', port)
  const closed = station.transport.close()
  await closed
  await sleep(20)
  t.strictSame(log.received, [])
  t.throws(() => station.transport.bind({ port: 0 }), /after close/)
  t.equal(station.transport.close(), closed)
})

const PYTHON = `
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(10)
for i in range(100):
    data = (b'%d:' % i) + bytes(range(256)) * (i % 5)
    client.sendto(data, ('127.0.0.1', int(sys.argv[1])))
    got, _ = client.recvfrom(65536)
    assert got == data, (i, len(got))
print('done')
`

const CLIENTS = [
  { command: 'python3', args: (port: string) => ['-c', PYTHON, port], input: '', output: 'done\n' },
  {
    command: 'socat', args: (port: string) => ['-T', '1', '-', `UDP:127.0.0.1:${port}`],
    input: 'hello', output: 'hello',
  },
  { command: 'nc', args: (port: string) => ['-u', '-w', '1', host, port], input: 'hello', output: 'hello' },
]

for (const { command, args, input, output } of CLIENTS) {
  onEveryUdpTransport(`echo to ${command}`, async (t, open) => {
    const station = open()
    const [, , port] = await station.bind()
    station.onEvent = ({ kind, socket, data, remote }) => {
      if (kind === 'datagram') socket.send(data!, remote!.address, remote!.port)
    }
    const result = await runProgram(command, args(`${port}`), Buffer.from(input))
    t.equal(result.stdout.toString(), output, result.stderr)
  }, missing(command))
}

void t.test('auto is native where it can be', async (t) => {
  const transport = openUdpTransport('auto')
  t.equal(transport.name, loadNative().ok ? 'native' : 'node')
  t.throws(() => openUdpTransport('other' as 'auto'), /openUdpTransport: name must be/)
  await transport.close()
})

const FALLBACK = `
process.env.MARKETPLACE_NATIVE = ''
Object.defineProperty(process, 'platform', { value: 'sunos' })
const { openUdpTransport } = await import(process.argv[1])
process.on('warning', ({ name, message }) => { console.log(name + ': ' + message) })
console.log(openUdpTransport('auto').name)
console.log(openUdpTransport('auto').name)
try {
  openUdpTransport('native')
} catch (error) {
  console.log(error.message)
}
`

void t.test('auto is node where the addon cannot be loaded, and says so once', async (t) => {
  const { href } = new URL('../../src/transport/choose.js', import.meta.url)
  const args = ['--no-warnings', '--input-type=module', '-e', FALLBACK, href]
  const { stdout } = await runProgram(process.execPath, args, Buffer.alloc(0))
  t.match(stdout.toString().split('\n'), [
    'node', 'node', /^the native transport can't be loaded: the engine is for Linux/,
    /^MarketplaceWarning: native transport not available, using node:dgram: the engine is for Linux/, /^$/,
  ])
})

const skip = loadNative().ok ? false : 'no addon'
void t.test('a plain dgram client and a native server', { skip }, async (t) => {
  const transport = openUdpTransport('native')
  const bound = deferred<number>()
  transport.open((events) => {
    for (const { kind, socket, data, remote } of events) {
      if (kind === 'bound') bound.resolve(socket.address!.port)
      if (kind === 'datagram') socket.send(`${data!.toString()}!`, remote!.address, remote!.port)
    }
  })
  transport.bind({ port: 0 })
  const port = await bound.promise
  const client = createSocket('udp4')
  const answer = deferred<string>()
  client.on('message', (data: Buffer) => { answer.resolve(data.toString()) })
  client.send(Buffer.from('hi'), port, '127.0.0.1')
  t.equal(await answer.promise, 'hi!')
  client.close()
  await transport.close()
})

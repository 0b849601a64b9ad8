/** The balancer and the PROXY protocol: what is said to it and by it. The headers themselves are the driver's. */
import { onBoth, type Program, type Start } from '../drivers/tcp-program.js'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { proxyHeader, tcpAddress, timerDriver, type ProxyOptions } from 'marketplace-native'
import { balancer, driverOptions, type BalancerOptions } from '../../examples/balancer/balance.js'
import { client, readAll, until } from '../support/util.js'

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex')
const signature = '0d0a0d0a 000d0a51 5549540a'

const v2tcp4 = hex(`${signature} 21 11 000c c0000201 c6336407 dc04 01bb`)
const v1tcp4 = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n')

/** Some that are refused, and not a byte of them gets through. */
const wrong: readonly (readonly [Buffer | string, RegExp])[] = [
  ['GET / HTTP/1.1\r\n', /does not begin with a header/],
  ['PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n', /a port/],
  [hex(`${signature} 22 11 000c c0000201 c6336407 dc04 01bb`), /command is 2/],
]

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

async function run(start: Start, options: Omit<BalancerOptions, 'log'>, proxy?: ProxyOptions) {
  const log: string[] = []
  const program: Program = start(
    () => [timerDriver(), balancer(0, { interval: 60_000, ...options, log: (text) => log.push(text) })],
    { driver: 'tcp', ...driverOptions, proxy },
  )
  const port = await program.port()
  await until(() => log.some((line) => line.includes('is up')))
  return { program, port, log }
}

onBoth('backends are told of the client', async (t, start) => {
  for (const sendProxy of [1, 2] as const) {
    const backend = await listener(t)
    const { port, program } = await run(start, { backends: [backend.at], sendProxy })
    const socket = await client(port)
    const { port: mine } = socket.address() as AddressInfo
    socket.end('payload')
    await readAll(socket)
    const ends = { source: tcpAddress('127.0.0.1', mine), destination: tcpAddress('127.0.0.1', port) }
    t.strictSame(backend.all(), [`${proxyHeader({ version: sendProxy, ...ends }).toString('latin1')}payload`])
    await program.stop()
  }
})

onBoth('what a trusted proxy says is believed and passed on, however it is cut', async (t, start) => {
  const backend = await listener(t)
  const proxy: ProxyOptions = { from: ['10.0.0.0/8', '127.0.0.1', '::1/128'], others: 'refuse' }
  const { port, program } = await run(start, { backends: [backend.at], sendProxy: 1 }, proxy)
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
  const { port, log, program } = await run(start, { backends: [backend.at] }, { from: ['127.0.0.1'] })
  for (const [bytes, why] of wrong) {
    const socket = await client(port)
    socket.on('error', () => undefined).write(bytes)
    await readAll(socket).catch(() => undefined)
    socket.destroy()
    await until(() => why.test(log.at(-1) ?? ''))
    t.match(log.at(-1), /^client 127\.0\.0\.1:\d+ refused: /)
  }
  const short = await client(port)
  short.end('PROXY TCP4 ')
  await t.rejects(readAll(short), { code: 'ECONNRESET' })
  t.strictSame(backend.all(), [])
  await until(() => program.connections === 0)
  await program.stop()

  const strict = await run(start, { backends: [backend.at] }, { from: ['10.0.0.0/8'], others: 'refuse' })
  // So quickly that it may not even know that it was connected.
  await t.rejects(client(strict.port).then((stranger) => {
    stranger.write(v1tcp4)
    return readAll(stranger)
  }))
  await until(() => strict.program.connections === 0)
  t.strictSame(backend.all(), [])
})

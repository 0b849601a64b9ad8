/** Addresses with a zone, sockets as a child's stdio, options of newer Nodes, time-outs, promises. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type nodeNet from 'node:net'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import t from 'tap'
import net, { promises, Socket as OurSocket } from '../../src/net/index.js'
import { timeoutEntries } from '../../src/net/timeouts.js'
import type { SocketSettings } from '../../src/transport/seam/transport.js'
import { both, portOf, text, type Socket } from './both.js'

const ours = net as unknown as typeof nodeNet
const module = fileURLToPath(new URL('../../src/net/index.js', import.meta.url))

/** A program for a network of its own, where a link has the address fe80::1. */
const ZONES = `
const net = process.argv[1] === 'node' ? require('node:net') : (await import(process.argv[2])).default
const { once } = require('node:events')
const server = net.createServer()
server.listen(0, 'fe80::1%lo')
await once(server, 'listening')
const { port, ...address } = server.address()
const accepted = once(server, 'connection')
const client = net.connect(port, 'fe80::1%lo')
await once(client, 'connect')
const [peer] = await accepted
for (const socket of [client, peer]) {
  console.log(socket.address().address, socket.localAddress, socket.remoteAddress, socket.remoteFamily)
}
console.log(JSON.stringify(address))
process.exit()
`
const link = 'ip link set lo up && ip addr add fe80::1/64 dev lo nodad'
const hasNetworks = spawnSync('unshare', ['-n', 'sh', '-c', link]).status === 0

const skip = !hasNetworks && 'no network of its own'

void t.test('link-local addresses have their zone', { skip }, (t) => {
  const run = (which: string): string => {
    const program = `(async () => {${ZONES}})()`
    const command = [process.execPath, '-e', program, which, module]
    const result = spawnSync(
      'unshare', ['-n', 'sh', '-c', `${link} && exec "$@"`, 'sh', ...command],
      { encoding: 'utf8', timeout: 30_000 })
    return result.stdout + result.stderr
  }
  const node = run('node')
  t.match(node, /fe80::1%lo/)
  t.equal(run('ours'), node)
  t.end()
})

for (const side of ['server', 'client'] as const) {
  both('child-process-connect-reset', `a ${side}'s socket as stdio`, async (t, { net, listen, own }) => {
    const handOver = (socket: Socket): void => {
      const child = spawn('tr', ['a-z', 'A-Z'], { stdio: [socket, socket, 'inherit'] })
      child.on('exit', () => { socket.destroy() })
    }
    const server = await listen((socket) => {
      if (side === 'server') handOver(socket)
    })
    const client = own(net.connect(portOf(server), '127.0.0.1'))
    if (side === 'server') {
      client.end('hello')
      t.equal(await text(client), 'HELLO')
    } else {
      const accepted = once(server, 'connection') as Promise<[Socket]>
      client.once('connect', () => { handOver(client) })
      const [peer] = await accepted
      peer.end('hello')
      t.equal(await text(peer), 'HELLO')
    }
  })
}

both('socket-constructor', 'a socket without a connection is nobody\'s stdio', (t, { net, own }) => {
  const socket = own(new net.Socket())
  const stdio = [socket, 'ignore', 'ignore'] as const
  t.throws(() => spawn('true', [], { stdio: [...stdio] }), { code: 'ERR_INVALID_ARG_VALUE' })
})

both('child-process-connect-reset', 'to look at a socket does not stop it', async (t, { pair }) => {
  const { client, peer } = await pair()
  const heard = once(client, 'data')
  inspect(client, { showHidden: true, depth: 0 })
  const names: string[] = []
  for (const name in client) names.push(name)
  t.notOk(names.includes('fd'))
  // eslint-disable-next-line @typescript-eslint/no-misused-spread -- that is what is looked at
  t.notOk('fd' in { ...client })
  Object.assign({}, client)
  peer.write('hello')
  t.equal(String((await heard)[0]), 'hello')
})

type Newer = OurSocket & {
  setKeepAlive(...args: unknown[]): Newer
  setTypeOfService(value: unknown): Newer
  getTypeOfService(): number
}

async function pair(host: string): Promise<[nodeNet.Server, Newer]> {
  const server = ours.createServer().listen(0, host)
  await once(server, 'listening')
  const client = ours.connect((server.address() as nodeNet.AddressInfo).port, host)
  await once(client, 'connect')
  return [server, client as Newer]
}

const SERVICE = [['127.0.0.1', 'IP_TOS'], ['::1', 'IPV6_TCLASS']]

for (const [host, name] of SERVICE) {
  void t.test(`type of service: ${name}`, async (t) => {
    const [server, client] = await pair(host)
    t.equal(client.getTypeOfService(), 0)
    t.equal(client.setTypeOfService(0x20), client)
    t.equal(client.getTypeOfService(), 0x20)
    client.destroy()
    const early = new OurSocket() as Newer
    early.setTypeOfService(0x10)
    t.equal(early.getTypeOfService(), 0x10)
    early.connect((server.address() as nodeNet.AddressInfo).port, host)
    await once(early, 'connect')
    t.equal(early.getTypeOfService(), 0x10)
    early.destroy()
    server.close()
  })
}

void t.test('type of service: bad values', (t) => {
  const socket = new OurSocket() as Newer
  t.throws(() => socket.setTypeOfService('1'), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => socket.setTypeOfService(NaN), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => socket.setTypeOfService(-1), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => socket.setTypeOfService(256), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => socket.setTypeOfService(1.5), { code: 'ERR_OUT_OF_RANGE' })
  t.end()
})

/** The engine is given what was asked for at the end of the turn. */
const handedOver = async (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })

/** What the kernel has. */
const settings = (socket: Socket): SocketSettings => (
  (socket as unknown as { _nativeLink: { settings: SocketSettings } })._nativeLink.settings
)

void t.test('what setNoDelay says while an attempt to connect is on holds for the connection', async (t) => {
  for (const [before, after] of [[false, true], [true, false]]) {
    const server = ours.createServer()
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const client = new OurSocket({ noDelay: before } as nodeNet.SocketConstructorOpts)
    // The attempt has begun by then, and is not over.
    client.once('connectionAttempt', () => { process.nextTick(() => { client.setNoDelay(after) }) })
    client.connect(portOf(server), '127.0.0.1')
    await once(client, 'connect')
    await handedOver()
    t.equal(settings(client).noDelay, after)
    client.destroy()
    server.close().unref()
  }
})

void t.test('the kernel has the times and the count of setKeepAlive', async (t) => {
  const [server, client] = await pair('127.0.0.1')
  t.equal(settings(client).keepAlive, false)
  const cases: readonly (readonly [args: unknown[], times: object])[] = [
    [[true, 30_000, 5_000, 7], { idle: 30_000, interval: 5_000, count: 7 }],
    [[{ enable: true, initialDelay: 40_000, interval: 2_000, count: 3 }], { idle: 40_000, interval: 2_000, count: 3 }],
    [[true, 40_000, 2_000, 4], { idle: 40_000, interval: 2_000, count: 4 }],
    [[true, 40_000, 9_000, 4], { idle: 40_000, interval: 9_000, count: 4 }],
    [[true, 50_000], { idle: 50_000, interval: 1_000, count: 10 }],
  ]
  for (const [args, times] of cases) {
    client.setKeepAlive(...args)
    await handedOver()
    t.match(settings(client).keepAlive, times, inspect(args))
  }
  client.setKeepAlive(false)
  await handedOver()
  t.equal(settings(client).keepAlive, false)
  const early = new OurSocket() as Newer
  early.setKeepAlive(true, 30_000, 5_000, 7)
  early.connect((server.address() as nodeNet.AddressInfo).port, '127.0.0.1')
  await once(early, 'connect')
  await handedOver()
  t.match(settings(early).keepAlive, { idle: 30_000, interval: 5_000, count: 7 }, 'before it connects')
  for (const socket of [client, early]) socket.destroy()
  server.close()
})

const hasSs = spawnSync('ss', ['--version']).status === 0

void t.test('the kernel has the type of service', { skip: !hasSs && 'no ss' }, async (t) => {
  const [server, client] = await pair('127.0.0.1')
  client.setTypeOfService(0x68)
  const ports = `( sport = :${client.localPort} )`
  const { stdout } = spawnSync('ss', ['-tn', '--tos', ports], { encoding: 'utf8' })
  t.match(stdout, /tos:0x68\b/)
  client.destroy()
  server.close()
})

void t.test('time-outs that are cancelled do not stay', (t) => {
  for (let i = 0; i < 1_000; i++) {
    const socket = new OurSocket()
    socket.setTimeout(1_000_000)
    if (i % 2 === 0) socket.setTimeout(0)
    else socket.destroy()
  }
  t.ok(timeoutEntries() <= 2, String(timeoutEntries()))
  t.end()
})

void t.test('connect once connected, of another kind, fails', async (t) => {
  const [server, client] = await pair('127.0.0.1')
  client.connect('/nowhere')
  const [error] = await once(client, 'error') as [NodeJS.ErrnoException]
  t.equal(error.code, 'EISCONN')
  t.equal(client.destroyed, true)
  server.close()
})

/** Lookups of all addresses whose answer is no list of them. */
const ANSWERS: readonly unknown[] = [[], undefined, null, 7, {}, [null], [undefined], [{}]]

for (const found of ANSWERS) {
  const name = `a lookup that answers ${inspect(found)} fails its socket, and throws at nobody`
  void t.test(name, async (t) => {
    const lookup = (_host: string, _options: object, done: (error: null, found: unknown) => void): void => {
      setImmediate(done, null, found)
    }
    const socket = ours.connect({ host: 'a.test', port: 1, autoSelectFamily: true, lookup: lookup as never })
    const [error] = await once(socket, 'error') as [NodeJS.ErrnoException]
    t.equal(error.code, 'ERR_INVALID_IP_ADDRESS')
    t.match(socket, { destroyed: true, connecting: false })
  })
}

void t.test('connect after destroy is a new attempt, whatever the last one was about to do', async (t) => {
  const server = ours.createServer((peer) => { peer.resume() }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as nodeNet.AddressInfo
  const later = (_host: string, _options: object, done: (...found: unknown[]) => void): void => {
    // Where nobody listens: nothing is to come of it.
    setImmediate(done, null, '127.0.0.2', 4)
  }
  const turn = async (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })
  const tick = async (): Promise<void> => new Promise((resolve) => { process.nextTick(resolve) })
  for (const first of [{ port, host: '127.0.0.1' }, { port, host: 'a.test', family: 4, lookup: later }]) {
    for (const wait of [async () => undefined, tick, turn]) {
      const socket = ours.connect(first as nodeNet.NetConnectOpts)
      socket.on('error', (error) => { t.fail(error.message) })
      await wait()
      socket.destroy()
      socket.connect(port, '127.0.0.1')
      await once(socket, 'connect')
      t.equal(socket.remoteAddress, '127.0.0.1')
      await turn()
      t.equal(socket.destroyed, false)
      socket.destroy()
      await once(socket, 'close')
    }
  }
  server.close()
})

void t.test('an end before a further connect is sent', async (t) => {
  const server = ours.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as nodeNet.AddressInfo
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const client = ours.connect(port, '127.0.0.1')
  await once(client, 'connect')
  const [peer] = await accepted
  client.end('last')
  client.connect(port, '127.0.0.1')
  t.equal(await text(peer), 'last')
  client.destroy()
  server.close()
})

void t.test('promises have the names and the ways of newer Nodes', async (t) => {
  t.same(Object.keys(promises).sort(), [
    'BlockList', 'SocketAddress', 'connect', 'isIP', 'isIPv4', 'isIPv6', 'listen',
  ])
  let connections = 0
  const server = await promises.listen({ connectionListener: (peer) => { connections++; peer.end() } })
  const { port } = server.address() as nodeNet.AddressInfo
  t.ok(port > 0)
  const controller = new AbortController()
  const socket = await promises.connect({ port, signal: controller.signal })
  controller.abort()
  t.equal(socket.destroyed, false, 'a signal is for the attempt')
  socket.destroy()
  ;(await promises.connect(port, '127.0.0.1')).destroy()
  await t.rejects(promises.connect({ port, signal: controller.signal }), { name: 'AbortError' })
  await t.rejects(promises.connect({ port, signal: {} as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  await t.rejects(promises.connect('/nowhere'), { code: 'ENOENT' })
  await t.rejects(promises.listen(3 as never), { code: 'ERR_INVALID_ARG_TYPE' })
  await t.rejects(promises.listen({ port }), { code: 'EADDRINUSE' })
  server.close()
  await once(server, 'close')
  t.ok(connections >= 1)
})

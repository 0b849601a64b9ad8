/** Handing listeners over, with everything that can go wrong: who asks, what is said, who dies, how much there is. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import * as nodeNet from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import * as net from 'marketplace-native/net'
import { handOff, takeOver, type HandOffOptions, type TakenOver } from 'marketplace-native'
import { hasNative } from '../../src/transport/choose.js'
import { duplicate, isOpen, listeningDescriptor, openSockets } from '../support/descriptors.js'
import { client, readAll, sleep, until } from '../support/util.js'
import { conversation, ServerProcess } from './restarting.js'
import { patient } from '../support/patience.js'

const skip = process.platform === 'linux' && hasNative() ? false : 'the engine is not here'
const timeout = patient(30_000)
t.setTimeout(0)

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(path, { recursive: true }) })
  return path
}

/** A server of this process that is offered. */
async function offered(t: Test, options: HandOffOptions = {}, path = join(folder(t), 'hand-off')) {
  const server = net.createServer((socket) => { socket.end('the old one') })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const offer = await handOff(path, { web: server }, options)
  t.teardown(async () => {
    await offer.close()
    server.close()
  })
  return { server, offer, path, port: (server.address() as nodeNet.AddressInfo).port }
}

async function answer(port: number): Promise<string> {
  const socket = await client(port)
  socket.end()
  return (await readAll(socket)).toString()
}

function closeAll(taken: TakenOver | undefined): void {
  for (const { fd } of taken?.sockets ?? []) closeSync(fd)
}

/** A peer that says what it likes, and all that it is told. (libuv drops what comes after descriptors with the end.) */
async function peer(path: string, ...says: readonly string[]): Promise<string> {
  const socket = net.connect(path)
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  for (const text of says) socket.write(text)
  return (await readAll(socket)).toString()
}

const HELLO = `${JSON.stringify({ protocol: 'marketplace hand-off', version: 1, pid: 1 })}\n`

void t.test('a server is taken over; the old one serves what it had', { skip, timeout }, async (t) => {
  const { server, offer, path, port } = await offered(t)
  const open = await client(port)
  await once(open, 'readable')
  const taken = await takeOver(path)
  t.match(taken, {
    pid: process.pid, sockets: [{ name: 'web', kind: 'listener', address: { address: '127.0.0.1', port } }],
  })
  const heir = net.createServer((socket) => { socket.end('the new one') })
  await once(heir.listen({ fd: taken?.sockets[0].fd }), 'listening')
  t.ok(server.listening && existsSync(path), 'until it is ready, both accept')
  await taken?.ready()
  const over = await offer.taken
  t.equal(over?.pid, process.pid)
  t.notOk(server.listening || existsSync(path))
  t.equal(await answer(port), 'the new one')
  open.end()
  t.equal((await readAll(open)).toString(), 'the old one')
  await over?.drained
  heir.close()
})

void t.test('nobody is there: no file, a stale file, no socket', { skip, timeout }, async (t) => {
  const path = join(folder(t), 'hand-off')
  t.equal(await takeOver(path), undefined)
  const { fd } = await listeningDescriptor(path)
  closeSync(fd)
  t.equal(await takeOver(path), undefined, 'a file that is left from somebody')
  const { offer } = await offered(t, {}, path)
  t.equal(statSync(path).mode & 0o777, 0o600, 'is removed by who offers')
  await t.rejects(handOff(path, {}), { code: 'EADDRINUSE' }, 'another one offers')
  await offer.close()
  t.equal(await offer.taken, undefined)
  t.notOk(existsSync(path))
  writeFileSync(path, 'precious')
  await t.rejects(handOff(path, {}), { code: 'EADDRINUSE' }, 'a file that is no socket stays')
  t.ok(existsSync(path))
})

void t.test('who says nonsense, or nothing, or another version is sent away', { skip, timeout }, async (t) => {
  const { path, port, offer } = await offered(t, { deadline: 200, readyWithin: 200 })
  const before = openSockets().length
  t.match(await peer(path, 'GET / HTTP/1.1\r\n\r\n'), /EPROTO/)
  t.match(await peer(path, '{"protocol":"another"}\n'), /EPROTO"/)
  t.match(await peer(path, '[]\n'), /EPROTO"/)
  t.match(await peer(path, HELLO.replace('1', '2')), /EPROTONOSUPPORT/)
  t.match(await peer(path, 'x'.repeat(5000)), /EPROTO"/, 'a line that is too long')
  t.match(await peer(path), /ETIMEDOUT/, 'silence')
  t.match(await peer(path, HELLO), /sockets.*\n.*ETIMEDOUT/, 'silence after the descriptors, which its kernel closes')
  t.match(await peer(path, HELLO, 'nonsense\n'), /EPROTO"/)
  t.match(await peer(path, HELLO, '{"ready":false}\n'), /EPROTO"/)
  const vanishes = nodeNet.connect(path)
  await once(vanishes, 'connect')
  vanishes.write(HELLO)
  vanishes.destroy()
  t.equal(await answer(port), 'the old one', 'it goes on')
  const slow = nodeNet.connect(path)
  await once(slow, 'connect')
  await t.rejects(takeOver(path), { code: 'EBUSY' }, 'one at a time')
  slow.destroy()
  await until(() => openSockets().length <= before)
  const taken = await takeOver(path)
  closeAll(taken)
  await taken?.ready()
  t.equal((await offer.taken)?.pid, process.pid, 'and can be taken over afterwards')
})

void t.test('who offers says nonsense, or nothing, or is gone', { skip, timeout }, async (t) => {
  const path = join(folder(t), 'hand-off')
  const answers: string[] = []
  const server = nodeNet.createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      const text = answers.shift()
      if (text === undefined) socket.destroy()
      else socket.write(text)
    })
  })
  await once(server.listen(path), 'listening')
  const list = (sockets: unknown): string => `${JSON.stringify({ version: 1, sockets })}\n`
  for (const [text, code] of [
    ['garbage\n', 'EPROTO'], ['x'.repeat(1_100_000), 'EPROTO'], ['', 'ETIMEDOUT'], ['{"error":"EBUSY"}\n', 'EBUSY'],
    ['{"error":"E-NONE","why":5}\n', 'EPROTO'], ['{"over":true}\n', 'EPROTO'], [list([{ name: 'x' }]), 'ETIMEDOUT'],
    [list(Array(2000).fill({})), 'EPROTO'], [undefined, 'ECONNRESET'],
  ] as const) {
    answers.splice(0)
    if (text !== undefined) answers.push(text === '' ? ' ' : text)
    const deadline = code === 'ETIMEDOUT' ? 200 : 20_000
    await t.rejects(takeOver(path, { deadline }), { code, syscall: 'takeOver' }, `${text?.slice(0, 20)}`)
  }
  server.close()
})

void t.test('the arguments', { skip, timeout }, async (t) => {
  await t.rejects(handOff(5 as never, {}), { code: 'ERR_INVALID_ARG_TYPE' })
  await t.rejects(handOff('', {}), { code: 'ERR_INVALID_ARG_TYPE' })
  await t.rejects(handOff('x'.repeat(200), {}), { code: 'ENAMETOOLONG' })
  await t.rejects(handOff('x', null as never), { message: /sockets must be an object/ })
  for (const wrong of [{}, 'x', -1, 1.5, null]) {
    await t.rejects(handOff('x', { one: wrong as never }), { message: /sockets\.one must be a driver's engine, a/ })
  }
  await t.rejects(handOff('x', {}, { deadline: 0 }), { code: 'ERR_OUT_OF_RANGE' })
  await t.rejects(handOff('x', {}, { deadlin: 1 } as never), { message: /did you mean 'deadline'/ })
  await t.rejects(takeOver(5 as never), { code: 'ERR_INVALID_ARG_TYPE' })
  await t.rejects(takeOver('x', { deadline: NaN }), { code: 'ERR_OUT_OF_RANGE' })
  const path = join(folder(t), 'socket')
  const server = nodeNet.createServer()
  await once(server.listen(path), 'listening')
  await t.rejects(handOff(`${path}-off`, { one: server }), { message: /no Unix socket of node:net's/ })
  server.close()
})

void t.test('more descriptors than one message carries; a Unix socket\'s file goes along', {
  skip, timeout,
}, async (t) => {
  const path = join(folder(t), 'hand-off')
  const unix = join(folder(t), 'socket')
  const { fd } = await listeningDescriptor()
  const many = Array.from({ length: 600 }, () => duplicate(fd))
  const server = net.createServer((socket) => { socket.end('old') })
  await once(server.listen(unix), 'listening')
  const offer = await handOff(path, { many, unix: server })
  const taken = await takeOver(path)
  const { sockets = [] } = taken ?? {}
  t.equal(sockets.length, 601)
  t.ok(sockets.every(({ kind }) => kind === 'listener'))
  t.equal(new Set(sockets.map((socket) => socket.fd)).size, 601)
  t.match(sockets[600], { name: 'unix', address: { address: unix, family: 'unix' } })
  const heir = net.createServer((socket) => { socket.end('new') })
  await once(heir.listen({ fd: sockets[600].fd }), 'listening')
  await taken?.ready()
  t.ok(await offer.taken)
  t.ok(existsSync(unix), 'the file is there')
  t.equal(await conversation({ path: unix }, ''), 'new')
  await once(heir.close(), 'close')
  t.notOk(existsSync(unix), 'it goes with who has it now')
  for (const one of [...many, ...sockets.slice(0, 600).map((socket) => socket.fd), fd]) closeSync(one)
})

void t.test('a taker that is not ready in time, or gives up: the old one goes on', { skip, timeout }, async (t) => {
  const { path, port, server } = await offered(t, { readyWithin: 100 })
  const late = await takeOver(path)
  await sleep(300)
  await t.rejects(async () => late?.ready(), { code: 'ETIMEDOUT' })
  closeAll(late)
  const given = await takeOver(path)
  given?.abandon()
  closeAll(given)
  await t.rejects(async () => given?.ready(), { code: 'ECANCELED' })
  t.equal(await answer(port), 'the old one')
  t.ok(server.listening)
})

void t.test('a listener that closes meanwhile, and one that is not open any more', { skip, timeout }, async (t) => {
  const { path, port, server, offer } = await offered(t)
  const taken = await takeOver(path)
  server.close()
  const heir = net.createServer((socket) => { socket.end('new') })
  await once(heir.listen({ fd: taken?.sockets[0].fd }), 'listening')
  t.equal(await answer(port), 'new')
  await taken?.ready()
  await (await offer.taken)?.drained
  heir.close()
  const { fd } = await listeningDescriptor()
  const second = join(folder(t), 'second')
  const other = await handOff(second, { fd })
  closeSync(fd)
  await t.rejects(takeOver(second), { code: 'EBADF' })
  await other.close()
})

void t.test('nothing stays open', { skip, timeout }, async (t) => {
  const before = openSockets().length
  for (let i = 0; i < 5; i++) {
    const { fd } = await listeningDescriptor()
    const path = join(folder(t), 'hand-off')
    const offer = await handOff(path, { fd })
    const taken = await takeOver(path)
    t.ok(isOpen(taken?.sockets[0].fd ?? -1))
    closeAll(taken)
    await taken?.ready()
    await offer.taken
    closeSync(fd)
  }
  await until(() => openSockets().length <= before)
  t.pass()
})

void t.test('another user is sent away', {
  skip: skip || (process.getuid?.() !== 0 && 'only root can be somebody else'), timeout,
}, async (t) => {
  // Without a file, whose mode would keep them away before.
  const path = `\0marketplace-hand-off-${process.pid}`
  const { port } = await offered(t, {}, path)
  const code = `import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(b"\\0" + b"${path.slice(1)}")
s.sendall(b'${HELLO.trim()}\\n')
data, fds, flags, _ = socket.recv_fds(s, 65536, 16)
print(len(data), len(fds))`
  const child = spawn('python3', ['-c', code], { uid: 65534, gid: 65534, stdio: ['ignore', 'pipe', 'ignore'] })
  const text = (await readAll(child.stdout as unknown as nodeNet.Socket)).toString()
  t.notMatch(text, /[1-9]/, 'it was told nothing')
  t.equal(await answer(port), 'the old one')
})

for (const kind of ['net', 'drivers']) {
  void t.test(`${kind}: whoever is killed, the listener lives on`, { skip, timeout }, async (t) => {
    const path = join(folder(t), 'hand-off')
    const args = [path, kind, join(folder(t), 'socket')]
    const first = new ServerProcess(t, args)
    const { port = 0 } = await first.hears('ready') ?? {}
    const where = { port, host: '127.0.0.1' }
    await new ServerProcess(t, [...args, 'die']).exited
    t.match(await conversation(where, 'x'), new RegExp(`^${first.child.pid}\n`), 'the new one, before it was ready')
    const second = new ServerProcess(t, [...args, 'silent'])
    await second.hears('silent')
    first.child.kill('SIGKILL')
    await first.exited
    t.match(await conversation(where, 'x'), new RegExp(`^${second.child.pid}\n`), 'the old one, before that')
    second.child.kill('SIGKILL')
    await second.exited
  })
}

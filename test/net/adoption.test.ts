/** Descriptors and handles of others in `marketplace-native/net`: the engine has them. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import * as nodeNet from 'node:net'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import * as net from 'marketplace-native/net'
import {
  boundDescriptor, connectedDescriptor, datagramDescriptor, duplicate, fileDescriptor, handleOf, isOpen,
  listeningDescriptor, openSockets,
} from '../support/descriptors.js'
import { hasNative } from '../../src/transport/choose.js'
import { client, readAll, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const skip = process.platform === 'linux' && hasNative() ? false : 'the engine is not here'
const isOurs = (of: object): boolean => '_nativeReader' in of || '_nativeHandOver' in of
const timeout = patient(60_000)

function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(path, { recursive: true }) })
  return path
}

function portOf(server: nodeNet.Server): number {
  return (server.address() as nodeNet.AddressInfo).port
}

void t.test('listen({ fd }): TCP and Unix, listening or only bound', { skip, timeout }, async (t) => {
  const path = join(directory(t), 'socket')
  for (const fd of [(await listeningDescriptor()).fd, (await listeningDescriptor(path)).fd, boundDescriptor()]) {
    const sockets: nodeNet.Socket[] = []
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      sockets.push(socket)
      socket.pipe(socket)
    })
    await once(server.listen({ fd }), 'listening')
    t.equal(handleOf(server).fd, fd, 'the engine has it')
    const address = server.address() as nodeNet.AddressInfo | null
    const peer = address === null ? nodeNet.connect({ path, allowHalfOpen: true }) : await client(address.port)
    peer.end('hello')
    t.equal((await readAll(peer)).toString(), 'hello')
    t.ok(isOurs(sockets[0]))
    server.close()
    await once(server, 'close')
    t.notOk(isOpen(fd))
  }
  t.ok(existsSync(path), 'the file is whoever made it')
})

void t.test('listen({ fd }): what can\'t be is told, and stays open', { skip, timeout }, async (t) => {
  const { fd: connected, peer } = await connectedDescriptor()
  for (const fd of [connected, await datagramDescriptor(), fileDescriptor()]) {
    const server = net.createServer().listen({ fd })
    const [error] = await once(server, 'error') as [Error]
    t.match(error, { code: 'EINVAL', syscall: 'listen', errno: -constants.errno.EINVAL })
    t.ok(isOpen(fd))
  }
  const { fd } = await listeningDescriptor()
  const server = net.createServer().listen({ fd })
  const [error] = await once(net.createServer().listen({ fd }), 'error') as [Error]
  t.match(error, { code: 'EEXIST', syscall: 'listen' })
  const second = net.createServer((socket) => { socket.end() })
  second.listen(server as never)
  await once(second, 'listening')
  t.not(handleOf(second).fd, fd, 'a server that is given another shares what it listens on')
  t.equal(portOf(second), portOf(server))
  server.close()
  second.close()
  peer.destroy()
})

void t.test('new Socket({ fd }): TCP and Unix, read, ended, paused', { skip, timeout }, async (t) => {
  for (const path of [undefined, join(directory(t), 'socket')]) {
    const { fd, peer } = await connectedDescriptor(path)
    const socket = new net.Socket({ fd, allowHalfOpen: true })
    t.ok(isOurs(socket))
    t.match(socket, { connecting: false, pending: false, readyState: 'open' })
    if (path === undefined) t.match(socket, { remoteAddress: '127.0.0.1', remotePort: peer.localPort })
    t.throws(() => new net.Socket({ fd }), { code: 'EEXIST', syscall: 'open' })
    socket.pipe(socket)
    peer.end('hello')
    t.equal((await readAll(peer)).toString(), 'hello')
    await once(socket, 'close')
    t.notOk(isOpen(fd))
  }
  const { fd, peer } = await connectedDescriptor()
  peer.write('later')
  const socket = new net.Socket({ fd, pauseOnCreate: true } as never)
  await new Promise((resolve) => { setTimeout(resolve, 50) })
  t.equal(socket.readableLength, 0, 'nothing is read')
  t.equal(String((await once(socket.resume(), 'data'))[0]), 'later')
  const reset = once(peer, 'error')
  socket.resetAndDestroy()
  t.match((await reset)[0], { code: 'ECONNRESET' })
})

void t.test('new Socket({ fd }) of a pipe is Node\'s own; what is wrong is told as Node does', { skip }, async (t) => {
  const child = spawn('sh', ['-c', 'exit 0'])
  t.notOk(isOurs(child.stdout))
  const file = fileDescriptor()
  t.throws(() => new net.Socket({ fd: file }), { code: 'ERR_INVALID_FD_TYPE' })
  t.ok(isOpen(file))
  await once(child, 'close')
})

/** A child that runs this code with our `net`. */
function childThat(t: Test, code: string, stdio: readonly ('inherit' | 'ipc' | 'ignore' | 'pipe' | object)[] = []) {
  const program = `import * as net from 'marketplace-native/net'\n${code}`
  const args = ['--input-type=module', '-e', program]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...stdio] as never })
  t.teardown(() => { child.kill() })
  return child
}

const ECHO = `const echo = (socket) => {
  socket.write(('_nativeReader' in socket ? 'engine' : 'node') + '\\n')
  socket.pipe(socket)
}`

void t.test('a socket, a listener and a Unix socket inherited from a parent', { skip, timeout }, async (t) => {
  const { fd, port } = await listeningDescriptor()
  const { fd: end, peer } = await connectedDescriptor()
  const unix = await connectedDescriptor(join(directory(t), 'socket'))
  const child = childThat(t, `${ECHO}
    net.createServer({ allowHalfOpen: true }, echo).listen({ fd: 4 }, () => process.send('listening'))
    for (const fd of [5, 6]) echo(new net.Socket({ fd, allowHalfOpen: true }))
  `, [fd, end, unix.fd] as never)
  await once(child, 'message')
  for (const socket of [await client(port), peer, unix.peer]) {
    socket.end('hello')
    t.equal((await readAll(socket)).toString(), 'engine\nhello')
  }
  child.kill()
  await once(child, 'exit')
})

void t.test('child.send, both ways: what Node gives is adopted', { skip, timeout }, async (t) => {
  const child = childThat(t, `${ECHO}
    process.on('message', (text, handle) => {
      const ours = net.adopt(handle)
      if (text === 'server') {
        ours.on('connection', echo)
        ours.on('listening', () => process.send('listening'))
      } else if (text === 'back') {
        process.send('returned', ours)
      } else {
        echo(ours)
      }
    })
    process.send('ready')
  `)
  await once(child, 'message')
  const before = openSockets()
  const server = net.createServer({ allowHalfOpen: true })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const accepted = async (): Promise<[nodeNet.Socket, nodeNet.Socket]> => {
    const peer = nodeNet.connect({ port: portOf(server), host: '127.0.0.1', allowHalfOpen: true })
    const [socket] = await once(server, 'connection') as [nodeNet.Socket]
    return [socket, peer]
  }
  const [first, firstPeer] = await accepted()
  child.send('socket', first)
  firstPeer.end('one')
  t.equal((await readAll(firstPeer)).toString(), 'engine\none')
  const [second, secondPeer] = await accepted()
  child.send('back', second)
  const [text, returned] = await once(child, 'message') as [string, nodeNet.Socket]
  t.equal(text, 'returned')
  const back = net.adopt(returned)
  t.ok(isOurs(back) && !isOurs(returned))
  t.equal(net.adopt(back), back)
  secondPeer.end('two')
  back.end('and back')
  back.resume()
  t.equal((await readAll(secondPeer)).toString(), 'and back')
  const port = portOf(server)
  child.send('server', server)
  await once(child, 'message')
  server.close()
  const peer = await client(port)
  peer.end('three')
  t.equal((await readAll(peer)).toString(), 'engine\nthree', 'the listener is the child\'s')
  await until(() => openSockets().length <= before.length)
})

void t.test('adopt: what was received comes first; what can\'t be is told', { skip, timeout }, async (t) => {
  const server = nodeNet.createServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const peer = nodeNet.connect(portOf(server), '127.0.0.1')
  const [theirs] = await once(server, 'connection') as [nodeNet.Socket]
  peer.write('first, ')
  await until(() => theirs.readableLength > 0)
  const ours = net.adopt(theirs)
  peer.end('second')
  t.equal((await readAll(ours)).toString(), 'first, second')
  t.ok(theirs.destroyed)
  const adopted = net.adopt(server)
  adopted.on('connection', (socket) => { socket.end('adopted') })
  t.notOk(server.listening)
  await until(() => adopted.listening)
  const visitor = await client(portOf(adopted))
  visitor.end()
  t.equal((await readAll(visitor)).toString(), 'adopted')
  adopted.close()
  t.throws(() => net.adopt(new nodeNet.Socket()), { code: 'ERR_SOCKET_CLOSED' })
  t.throws(() => net.adopt({} as never), { code: 'ERR_INVALID_ARG_TYPE' })
})

const { BoundSocket } = net as unknown as { BoundSocket?: new (options: object) => { fd(): number } }
void t.test('a BoundSocket', { skip: skip || (BoundSocket === undefined && 'this Node has none') }, async (t) => {
  const bound = new (BoundSocket as NonNullable<typeof BoundSocket>)({ host: '127.0.0.1', port: 0 })
  const server = net.createServer((socket) => { socket.end('bound') }).listen(bound as never)
  await once(server, 'listening')
  t.match(handleOf(server).constructor.name, 'ListenHandle')
  const visitor = await client(portOf(server))
  visitor.end()
  t.equal((await readAll(visitor)).toString(), 'bound')
  server.close()
})

void t.test('nothing stays open', { skip, timeout }, async (t) => {
  const { fd } = await listeningDescriptor()
  const before = openSockets()
  for (let i = 0; i < 20; i++) {
    const server = net.createServer().listen({ fd: duplicate(fd) })
    await once(server, 'listening')
    await once(server.close(), 'close')
    const { fd: end, peer } = await connectedDescriptor()
    new net.Socket({ fd: end }).destroy()
    peer.destroy()
  }
  await until(() => openSockets().every((one) => before.includes(one)))
  t.pass()
})

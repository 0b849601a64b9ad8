/** Sockets that others have opened, adopted by their descriptors; and what can't be, which stays whoever's it was. */
import { closeSync, existsSync, mkdtempSync, readlinkSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  boundDescriptor, closedDescriptor, connectedDescriptor, datagramDescriptor, duplicate, fileDescriptor, isOpen,
  listeningDescriptor, openSockets,
} from '../support/descriptors.js'
import { ECHO, onEveryTransport, portOf } from '../support/transports.js'
import { client, deferred, pattern, readAll, until } from '../support/util.js'
import { loadNative } from '../../src/transport/native/addon.js'
import type { SocketError, TransportConnection } from '../../src/transport/seam/transport.js'

const skip = process.platform !== 'linux' ? 'tested where the kernel lists sockets'
  : loadNative().ok ? false : 'descriptors are duplicated by the addon'
const NOWHERE = { port: undefined, host: undefined }

function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(path, { recursive: true }) })
  return path
}

/** Whether the kernel has these flags for a descriptor. */
function flags(fd: number): { nonBlocking: boolean, closeOnExec: boolean } {
  const value = parseInt(/^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8)
  return { nonBlocking: (value & 0o4000) !== 0, closeOnExec: (value & 0o2000000) !== 0 }
}

onEveryTransport('adoption: a listener, TCP and Unix, serves; the descriptor goes with it', async (t, open) => {
  const path = join(directory(t), 'socket')
  for (const where of [undefined, path]) {
    const { fd, port } = await listeningDescriptor(where)
    const station = open()
    const listener = await station.listen(ECHO, { ...NOWHERE, fd })
    if (where === undefined) t.strictSame(listener.address, { address: '127.0.0.1', family: 'IPv4', port })
    else t.match(listener.address, { family: 'unix', port: 0 })
    if (station.transport.name === 'native' && where !== undefined) t.equal(listener.address?.address, where)
    t.strictSame(flags(fd), { nonBlocking: true, closeOnExec: true })
    const bytes = pattern(1024 * 1024)
    const socket = where === undefined ? await client(port) : connect({ path: where, allowHalfOpen: true })
    socket.end(bytes)
    t.ok((await readAll(socket)).equals(bytes), 'what it accepts works')
    listener.close()
    await until(() => !isOpen(fd))
    await station.transport.close()
    if (where !== undefined) {
      t.ok(existsSync(where), 'the file is left to who made it')
      rmSync(where)
    }
  }
}, { skip })

onEveryTransport('adoption: a connection, TCP and Unix, in both directions', async (t, open) => {
  const path = join(directory(t), 'socket')
  for (const where of [undefined, path]) {
    const { fd, peer } = await connectedDescriptor(where)
    const station = open()
    const bytes = pattern(1024 * 1024)
    peer.end(bytes)
    const closed = deferred<SocketError | undefined>()
    const connection = station.connect({ fd }, {
      ...ECHO, closed: (_connection, error) => { closed.resolve(error) },
    })
    // Before it is told of: as with a connection that is being made.
    connection.write('first')
    t.ok((await readAll(peer)).equals(Buffer.concat([Buffer.from('first'), bytes])))
    t.equal(await closed.promise, undefined)
    if (where === undefined) t.match(connection.remote, { address: '127.0.0.1', family: 'IPv4' })
    else t.match(connection.remote, { address: '', family: 'unix' })
    t.notOk(isOpen(fd), 'the descriptor is closed')
    t.strictSame([station.transport.metrics.connects, station.transport.metrics.connections], [1, 0])
    await station.transport.close()
  }
}, { skip })

onEveryTransport('adoption: what can\'t be adopted is told, and left as it is', async (t, open) => {
  const { fd: listening } = await listeningDescriptor()
  const { fd: connected, peer } = await connectedDescriptor()
  const unix = await connectedDescriptor(join(directory(t), 'socket'))
  const [bound, datagrams, file] = [boundDescriptor(), await datagramDescriptor(), fileDescriptor()]
  const closed = closedDescriptor()
  const wrongListeners = [
    [closed, 'EBADF', 'is not open'], [file, 'ENOTSOCK', 'is not a socket'],
    [datagrams, 'EPROTOTYPE', 'is not a stream'], [connected, 'EINVAL', 'is not listening'],
    [bound, 'EINVAL', 'is not listening'], [unix.fd, 'EINVAL', 'is not listening'],
  ] as const
  const wrongConnections = [
    [closed, 'EBADF', 'is not open'], [file, 'ENOTSOCK', 'is not a socket'],
    [datagrams, 'EPROTOTYPE', 'is not a stream'], [listening, 'EINVAL', 'is listening'],
    [bound, 'ENOTCONN', 'is not connected'],
  ] as const
  const station = open()
  // Linux does not list TCP sockets that are bound only: without the addon nobody knows.
  const tries = (fd: number): boolean => fd !== bound || station.transport.name === 'native'
  const before = new Map([listening, connected, unix.fd, bound, datagrams, file].map(
    (fd) => [fd, readlinkSync(`/proc/self/fd/${fd}`)]))
  for (const [fd, code, text] of wrongListeners.filter(([one]) => tries(one))) {
    const errno = -constants.errno[code]
    await t.rejects(station.listen({}, { ...NOWHERE, fd }), { code, errno, syscall: 'listen', message: text }, code)
  }
  for (const [fd, code, text] of wrongConnections.filter(([one]) => tries(one))) {
    const errno = -constants.errno[code]
    t.match(await station.failure({ fd }), { code, errno, syscall: 'open', message: text }, code)
  }
  for (const fd of [-1, 1.5, NaN, 2 ** 31]) {
    t.throws(() => { station.transport.listen({ fd }) }, { code: 'ERR_OUT_OF_RANGE' })
    t.throws(() => { station.transport.connect({ fd }) }, { code: 'ERR_OUT_OF_RANGE' })
  }
  t.throws(() => { station.transport.listen({ fd: '3' as never }) }, { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => { station.transport.listen({ fd: 3, port: 1 }) }, { message: /port must be undefined with a desc/ })
  t.throws(() => { station.transport.listen({ fd: 3, path: 'x' }) }, { message: /path must be undefined with a desc/ })
  t.throws(() => { station.transport.connect({ fd: 3, host: 'x' }) }, { message: /host must be undefined with a desc/ })
  // The event loop has had its chance to close what it should not.
  await station.transport.close()
  for (const [fd, target] of before) t.equal(readlinkSync(`/proc/self/fd/${fd}`), target)
  for (const fd of before.keys()) closeSync(fd)
  peer.destroy()
  unix.peer.destroy()
}, { skip })

onEveryTransport('adoption: the same descriptor twice, and one of the engine\'s own', async (t, open) => {
  const { fd, port } = await listeningDescriptor()
  const station = open()
  const other = open()
  const listener = await station.listen(ECHO, { ...NOWHERE, fd })
  for (const one of [station, other]) {
    await t.rejects(one.listen({}, { ...NOWHERE, fd }), { code: 'EEXIST', syscall: 'listen' })
  }
  const { fd: end, peer } = await connectedDescriptor()
  const connection = station.connect({ fd: end }, ECHO)
  for (const one of [station, other]) t.match(await one.failure({ fd: end }), { code: 'EEXIST', syscall: 'open' })
  const accepted: TransportConnection[] = []
  const own = await station.listen({ accepted: (made) => { accepted.push(made) } })
  const { descriptor } = own
  if (descriptor !== undefined) {
    await t.rejects(other.listen({}, { ...NOWHERE, fd: descriptor }), { code: 'EEXIST' }, 'its number was told')
    const socket = await client(portOf(own))
    await until(() => accepted.length === 1)
    t.match(await other.failure({ fd: accepted[0].descriptor }), { code: 'EEXIST' })
    socket.destroy()
  }
  const socket = await client(port)
  socket.end('still')
  t.equal((await readAll(socket)).toString(), 'still', 'they go on')
  connection.close()
  listener.close()
  await until(() => !isOpen(fd) && !isOpen(end))
  peer.destroy()
}, { skip })

onEveryTransport('adoption: others keep their descriptors, and the engine hears no more of them', async (t, open) => {
  const { fd, port } = await listeningDescriptor()
  const kept = duplicate(fd)
  const station = open()
  const listener = await station.listen(ECHO, { ...NOWHERE, fd })
  listener.close()
  await until(() => !isOpen(fd))
  const { fd: end, peer } = await connectedDescriptor()
  const keptEnd = duplicate(end)
  const done = deferred()
  const connection = station.connect({ fd: end }, { closed: () => { done.resolve() } })
  connection.close()
  await done.promise
  // A connection waits, and bytes came: the engine, which has neither any more, must not be woken for them.
  const waiting = await client(port)
  peer.write('for whoever has it')
  const events = station.events
  const { user } = process.cpuUsage()
  const start = process.hrtime.bigint()
  await new Promise((resolve) => { setTimeout(resolve, 200) })
  const busy = (process.cpuUsage().user - user) / Number((process.hrtime.bigint() - start) / 1000n)
  t.equal(station.events, events)
  t.ok(busy < 0.5, `the thread sleeps: ${busy}`)
  const again = open()
  const heir = await again.listen(ECHO, { ...NOWHERE, fd: kept })
  waiting.end('patience')
  t.equal((await readAll(waiting)).toString(), 'patience', 'who has another one accepts what waited')
  heir.close()
  closeSync(keptEnd)
  peer.destroy()
}, { skip })

onEveryTransport('adoption: one that is bound is made to listen, where that was asked for', async (t, open) => {
  const fd = boundDescriptor()
  const station = open()
  const listener = await station.listen(ECHO, { ...NOWHERE, fd, bound: true })
  const socket = await client(portOf(listener))
  socket.end('hello')
  t.equal((await readAll(socket)).toString(), 'hello')
  listener.close()
  await until(() => !isOpen(fd))
}, { skip })

void t.test('adoption: nothing is left open', { skip }, async (t) => {
  const before = openSockets()
  for (let i = 0; i < 20; i++) {
    const { fd } = await listeningDescriptor()
    closeSync(fd)
    const { fd: end, peer } = await connectedDescriptor()
    closeSync(end)
    peer.destroy()
  }
  await until(() => openSockets().every((one) => before.includes(one)))
  t.pass('by the helpers themselves')
})

/** What may wait to be sent: limits, what happens beyond them, and buffers that are taken away. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { MessageChannel } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { nodeTransport } from '../../src/transport/node/transport.js'
import { onEveryTransport, portOf, type Handlers, type Station } from '../support/transports.js'
import { client, collectGarbage, deferred, pattern, until, type Deferred } from '../support/util.js'
import type { SocketError, TransportConnection, TransportOptions } from '../../src/transport/seam/transport.js'

const MEBIBYTE = 1024 * 1024
/** More than a kernel takes for a peer that does not read. */
const MUCH = 12 * MEBIBYTE

interface Line {
  readonly connection: TransportConnection
  readonly socket: Socket
  readonly closed: Promise<SocketError | undefined>
}

/** Connections to peers that do not read yet, and go with the test. */
async function lines(t: Test, station: Station, count: number, handlers: Handlers = {}): Promise<Line[]> {
  const accepted: TransportConnection[] = []
  const closed = new Map<TransportConnection, Deferred<SocketError | undefined>>()
  const listener = await station.listen({
    ...handlers,
    accepted: (connection) => { accepted.push(connection) },
    closed: (connection, error) => { closed.get(connection)?.resolve(error) },
  })
  const result: Line[] = []
  for (let i = 0; i < count; i++) {
    const socket = (await client(portOf(listener))).pause()
    socket.on('error', () => undefined)
    t.teardown(() => socket.destroy())
    await until(() => accepted.length > i)
    const connection = accepted[i]
    const end = deferred<SocketError | undefined>()
    closed.set(connection, end)
    result.push({ connection, socket, closed: end.promise })
  }
  return result
}

const readsAll = async (socket: Socket, length: number): Promise<Buffer> => {
  const chunks: Buffer[] = []
  let got = 0
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    got += chunk.length
  })
  socket.resume()
  await until(() => got >= length)
  return Buffer.concat(chunks)
}

onEveryTransport('more than maxQueuedBytes: ENOBUFS for this connection only', async (t, open) => {
  const [slow, other] = await lines(t, open({ maxQueuedBytes: MEBIBYTE }), 2)
  slow.connection.write(Buffer.alloc(MUCH))
  other.connection.write('still there')
  const error = await slow.closed
  t.match(error, {
    code: 'ENOBUFS', syscall: 'write', message: /\d+ bytes wait to be sent; maxQueuedBytes is 1048576$/,
  })
  t.equal((await readsAll(other.socket, 11)).toString(), 'still there')
  t.equal(slow.connection.queuedBytes, 0)
  t.equal(other.connection.overflow, undefined)
  other.connection.close()
  other.socket.end()
})

onEveryTransport('whoever goes on writing in the same turn can see that it was too much', async (t, open) => {
  const [slow] = await lines(t, open({ maxQueuedBytes: MEBIBYTE }), 1)
  const chunk = Buffer.alloc(MEBIBYTE)
  let written = 0
  while (slow.connection.overflow === undefined) {
    slow.connection.write(chunk)
    written += chunk.length
    if (written > 100 * MEBIBYTE) throw new Error('there is no limit within a turn')
  }
  t.match(slow.connection.overflow, { code: 'ENOBUFS' })
  slow.connection.write(chunk)
  t.match(await slow.closed, { code: 'ENOBUFS' })
})

onEveryTransport('more than maxQueuedBytesTotal: the longest queue ends', async (t, open) => {
  const options: TransportOptions = { maxQueuedBytesTotal: 40 * MEBIBYTE }
  const [first, second, third, fourth] = await lines(t, open(options), 4)
  first.connection.write(Buffer.alloc(17 * MEBIBYTE))
  second.connection.write(Buffer.alloc(21 * MEBIBYTE))
  await until(() => second.connection.queuedBytes > 0)
  third.connection.write(Buffer.alloc(18 * MEBIBYTE))
  fourth.connection.write('small')
  t.match(await second.closed, {
    code: 'ENOBUFS', message: /sent on this connection, the most of all; maxQueuedBytesTotal is \d+$/,
  })
  t.equal((await readsAll(fourth.socket, 5)).toString(), 'small')
  t.equal((await readsAll(first.socket, 17 * MEBIBYTE)).length, 17 * MEBIBYTE)
  t.equal((await readsAll(third.socket, 18 * MEBIBYTE)).length, 18 * MEBIBYTE)
  for (const { connection, socket } of [first, third, fourth]) {
    connection.close()
    socket.end()
  }
})

for (const total of [false, true]) {
  const what = total ? 'beyond the total of all, nobody' : 'beyond its own limit, a connection'
  onEveryTransport(`overflow 'pause': ${what} is read from until half is queued`, async (t, open) => {
    const limit = 4 * MEBIBYTE
    const got = new Map<TransportConnection, string>()
    const station = open({ overflow: 'pause', [total ? 'maxQueuedBytesTotal' : 'maxQueuedBytes']: limit })
    const all = await lines(t, station, 3, {
      data: (connection, data) => { got.set(connection, (got.get(connection) ?? '') + data.toString()) },
    })
    const [slow, ...others] = all
    const much = pattern(16 * MEBIBYTE)
    slow.connection.write(much)
    await until(() => slow.connection.queuedBytes > limit)
    // Told in two steps, as node:net has read one piece already when it is paused.
    for (const { socket } of all) socket.write('early,')
    for (const { socket } of others) if (!total) await until(() => socket.bytesWritten === 6)
    if (!total) await until(() => others.every(({ connection }) => got.get(connection) === 'early,'))
    else await new Promise((resolve) => setTimeout(resolve, 30))
    for (const { socket } of all) socket.write('late')
    if (!total) await until(() => others.every(({ connection }) => got.get(connection) === 'early,late'))
    else await new Promise((resolve) => setTimeout(resolve, 30))
    const held = total ? all : [slow]
    t.ok(held.every(({ connection }) => !(got.get(connection) ?? '').includes('late')), 'nothing is read')
    const received = await readsAll(slow.socket, much.length)
    t.ok(received.equals(much))
    await until(() => all.every(({ connection }) => got.get(connection) === 'early,late'))
    t.equal(station.transport.metrics.connections, 3, 'nobody was cut off')
    for (const { connection, socket } of all) {
      connection.close()
      socket.end()
    }
  })
}

onEveryTransport('a peer that never reads: memory stays within the limits', async (t, open) => {
  const [line] = await lines(t, open({ maxQueuedBytes: 8 * MEBIBYTE }), 1)
  const { connection } = line
  collectGarbage()
  const before = process.memoryUsage().rss
  let most = 0
  let written = 0
  let over = false
  void line.closed.then(() => { over = true })
  while (!over && written < 512 * MEBIBYTE) {
    // New memory each time, which stays only as long as it is queued.
    for (let i = 0; i < 4; i++) connection.write(Buffer.alloc(64 * 1024, i))
    connection.write('text'.repeat(1000))
    written += 4 * 64 * 1024
    most = Math.max(most, process.memoryUsage().rss - before)
    await new Promise(setImmediate)
  }
  t.ok(most < 96 * MEBIBYTE, `resident memory grew by ${most} bytes`)
  t.match(await line.closed, { code: 'ENOBUFS' })
})

/** Ways of taking the memory of a buffer away. */
type Transferable = ArrayBuffer & { transfer(): unknown }
const takers: readonly (readonly [string, (buffer: ArrayBuffer) => unknown])[] = [
  ['structuredClone', (buffer) => structuredClone(buffer, { transfer: [buffer] })],
  ['postMessage', (buffer) => {
    const { port1, port2 } = new MessageChannel()
    port1.postMessage(buffer, [buffer])
    port1.close()
    return port2
  }],
  // Node 21 and newer.
  ...'transfer' in ArrayBuffer.prototype
    ? [['transfer', (buffer: ArrayBuffer) => (buffer as Transferable).transfer()] as const]
    : [],
]

for (const [name, take] of takers) {
  onEveryTransport(`${name} of a buffer that is queued: EFAULT, whenever it happens`, async (t, open) => {
    const all = await lines(t, open(), 3)
    const [sameTurn, later, other] = all
    const kept: unknown[] = []
    const first = new Uint8Array(MUCH)
    sameTurn.connection.write(first)
    kept.push(take(first.buffer))
    const second = new Uint8Array(2 * MUCH)
    later.connection.write(second.subarray(0, MUCH))
    later.connection.write(second.subarray(MUCH))
    const third = pattern(MUCH)
    other.connection.write(third)
    await until(() => later.connection.queuedBytes > 0 && other.connection.queuedBytes > 0)
    kept.push(take(second.buffer))
    sameTurn.socket.resume()
    later.socket.resume()
    for (const { closed } of [sameTurn, later]) {
      t.match(await closed, { code: 'EFAULT', syscall: 'write', message: /transferred, detached or shrunk/ })
    }
    t.ok((await readsAll(other.socket, third.length)).equals(third), 'others are not touched')
    other.connection.close()
    other.socket.end()
    t.equal(kept.length, 2)
  })
}

onEveryTransport('a queued buffer stays, though nobody else refers to it', async (t, open) => {
  const [line] = await lines(t, open(), 1)
  const much = pattern(MUCH)
  for (let i = 0; i < 3; i++) line.connection.write(Buffer.from(much))
  await until(() => line.connection.queuedBytes > 0)
  collectGarbage()
  const others = Array.from({ length: 3 }, () => Buffer.alloc(MUCH, 'x'))
  const received = await readsAll(line.socket, 3 * MUCH)
  t.ok(received.equals(Buffer.concat([much, much, much])))
  t.equal(others.length, 3)
})

onEveryTransport('a resizable buffer that shrinks while it is queued: EFAULT', async (t, open) => {
  type Resizable = ArrayBuffer & { resize(length: number): void }
  const Constructor = ArrayBuffer as unknown as new (length: number, options: object) => Resizable
  const buffer = new Constructor(MUCH, { maxByteLength: MUCH })
  const [line] = await lines(t, open(), 1)
  line.connection.write(new Uint8Array(buffer))
  await until(() => line.connection.queuedBytes > 0)
  buffer.resize(100)
  line.socket.resume()
  t.match(await line.closed, { code: 'EFAULT', syscall: 'write' })
})

onEveryTransport('received data that is sent back and taken away: EFAULT, or all of it', async (t, open) => {
  const echoed = new Set<ArrayBuffer>()
  const [line] = await lines(t, open(), 1, {
    data: (connection, data) => {
      connection.write(data)
      echoed.add(data.buffer as ArrayBuffer)
    },
  })
  const chunk = pattern(MEBIBYTE)
  const total = 16 * MEBIBYTE
  for (let i = 0; i < 16; i++) line.socket.write(chunk)
  await until(() => line.connection.queuedBytes > 2 * MEBIBYTE)
  const kept: unknown[] = []
  for (const buffer of echoed) {
    if (buffer.byteLength === 0) continue
    try {
      kept.push(structuredClone(buffer, { transfer: [buffer] }))
    } catch (refused) {
      // Newer Nodes don't let memory of addons go.
      kept.push(refused)
      t.match(refused, { name: 'DataCloneError' })
    }
  }
  const received: Buffer[] = []
  let got = 0
  let error: SocketError | undefined
  void line.closed.then((reason) => { error = reason })
  line.socket.on('data', (data: Buffer) => {
    received.push(data)
    got += data.length
  })
  line.socket.resume()
  // What was copied because it was short is not taken away.
  await until(() => error !== undefined || got === total)
  if (got < total) t.match(error, { code: 'EFAULT', syscall: 'write' })
  const expected = Buffer.concat(Array.from({ length: 16 }, () => chunk))
  t.ok(Buffer.concat(received).equals(expected.subarray(0, got)), 'not other bytes')
  t.ok(kept.length > 0)
})

t.test('wrong limits are told', (t) => {
  for (const [options, message] of [
    [{ maxQueuedBytes: -1 }, /maxQueuedBytes must be a non-negative integer or Infinity; got -1/],
    [{ maxQueuedBytesTotal: 0.5 }, /maxQueuedBytesTotal must be a non-negative integer or Infinity; got 0.5/],
    [{ maxQueuedBytes: '1' }, /maxQueuedBytes must be a number; got '1'/],
    [{ overflow: 'drop' }, /overflow must be 'abort' or 'pause'; got 'drop'/],
  ] as const) {
    t.throws(() => nodeTransport(options as unknown as TransportOptions), { message })
  }
  t.end()
})

onEveryTransport('no limits at all', async (t, open) => {
  const [line] = await lines(t, open({ maxQueuedBytes: Infinity, maxQueuedBytesTotal: Infinity }), 1)
  const chunk = pattern(MUCH)
  for (let i = 0; i < 7; i++) line.connection.write(chunk)
  line.connection.close()
  line.socket.resume()
  await once(line.socket, 'end')
  t.equal(line.socket.bytesRead, 7 * MUCH)
  line.socket.end()
  t.equal(await line.closed, undefined)
})

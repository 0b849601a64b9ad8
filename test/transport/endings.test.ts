/** How connections end: half-close, reset, close with unsent data, abort, deadline, closing the transport. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { onEveryTransport, portOf } from '../support/transports.js'
import { client, deferred, pattern, readAll, sleep } from '../support/util.js'
import type { SocketError } from '../../src/transport/seam/transport.js'

onEveryTransport('a client that half-closes gets its answer, and an orderly end', async (t, open) => {
  const closed = deferred<SocketError | undefined>()
  const events: string[] = []
  const listener = await open().listen({
    data: () => { events.push('data') },
    end: (connection) => {
      events.push('end')
      // Later than the end itself: the outbound flow is still open then.
      setTimeout(() => {
        connection.write('the answer')
        connection.shutdown()
        connection.shutdown()
      }, 50)
    },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  socket.end('the question')
  t.equal((await readAll(socket)).toString(), 'the answer')
  t.equal(await closed.promise, undefined, 'closed, without an error')
  t.equal(events.at(-1), 'end', 'the end came after all data')
})

onEveryTransport('a server that half-closes still receives', async (t, open) => {
  const received: Buffer[] = []
  const closed = deferred<SocketError | undefined>()
  const listener = await open().listen({
    accepted: (connection) => {
      connection.write('bye')
      connection.shutdown()
    },
    data: (_connection, data) => { received.push(data) },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  t.equal((await readAll(socket)).toString(), 'bye')
  socket.end('more, after your end')
  t.equal(await closed.promise, undefined)
  t.equal(Buffer.concat(received).toString(), 'more, after your end')
})

onEveryTransport('a reset is told apart from an end', async (t, open) => {
  const closed = deferred<SocketError | undefined>()
  const accepted = deferred()
  let ends = 0
  const listener = await open().listen({
    data: () => { accepted.resolve() },
    end: () => { ends += 1 },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  socket.write('x')
  await accepted.promise
  socket.resetAndDestroy()
  const error = await closed.promise
  t.match(error, { code: 'ECONNRESET', syscall: 'read' })
  t.type(error?.errno, 'number')
  t.ok((error?.errno ?? 0) < 0, 'errno is negative, as Node\'s')
  t.equal(ends, 0, 'no end before a reset')
})

onEveryTransport('close hands what is queued to the kernel first', async (t, open) => {
  const bytes = pattern(8 * 1024 * 1024)
  const closed = deferred<SocketError | undefined>()
  const listener = await open().listen({
    accepted: (connection) => {
      connection.write(bytes)
      t.ok(connection.queuedBytes > 0, 'not everything was taken at once')
      connection.close()
      connection.close()
    },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  await sleep(100)
  const answer = await readAll(socket)
  t.ok(answer.equals(bytes), 'all bytes arrived before the end')
  socket.end()
  t.equal(await closed.promise, undefined)
})

onEveryTransport('close does not wait for the peer to end', async (t, open) => {
  const closed = deferred<SocketError | undefined>()
  const listener = await open().listen({
    accepted: (connection) => { connection.close() },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  t.equal(await closed.promise, undefined)
  t.equal((await readAll(socket)).length, 0)
  socket.destroy()
})

/** Reads until the connection is gone, however it goes; how many bytes came. */
async function countAll(socket: Socket): Promise<number> {
  let count = 0
  socket.on('data', (data: Buffer) => { count += data.length })
  socket.on('error', () => undefined)
  // libuv reports a reset that comes with data as an end, hence both.
  const ends = [once(socket, 'end'), once(socket, 'close')]
  await Promise.race(ends.map((event) => event.catch(() => undefined)))
  socket.destroy()
  return count
}

onEveryTransport('close gives up at its deadline', async (t, open) => {
  const LENGTH = 64 * 1024 * 1024
  const closed = deferred<SocketError | undefined>()
  const listener = await open({ closeTimeout: 200 }).listen({
    accepted: (connection) => {
      connection.write(Buffer.alloc(LENGTH))
      connection.close()
    },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  t.match(await closed.promise, { code: 'ETIMEDOUT' })
  t.ok(await countAll(socket) < LENGTH, 'the rest was dropped')
})

onEveryTransport('abort resets', async (t, open) => {
  const closed = deferred<SocketError | undefined>()
  const station = open()
  const listener = await station.listen({
    data: (connection) => {
      station.call(() => {
        connection.abort()
        connection.abort()
        connection.close()
      })
    },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  socket.write('go')
  const [error] = await once(socket, 'error') as [SocketError]
  t.equal(error.code, 'ECONNRESET')
  t.equal(await closed.promise, undefined, 'what was asked for is not an error')
})

onEveryTransport('abort drops what is queued', async (t, open) => {
  const LENGTH = 64 * 1024 * 1024
  const closed = deferred<SocketError | undefined>()
  const listener = await open().listen({
    accepted: (connection) => {
      connection.write(Buffer.alloc(LENGTH))
      setTimeout(() => { connection.abort() }, 100)
    },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  t.equal(await closed.promise, undefined)
  t.ok(await countAll(socket) < LENGTH)
})

onEveryTransport('an outbound connection can be given up', async (t, open) => {
  const station = open()
  const server = createServer((socket) => socket.on('error', () => undefined))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  for (const how of ['close', 'abort'] as const) {
    const events: string[] = []
    const closed = deferred<SocketError | undefined>()
    const connection = station.connect({ host: '127.0.0.1', port }, {
      connected: () => { events.push('connected') },
      closed: (_connection, error) => { closed.resolve(error) },
    })
    station.call(() => { connection[how]() })
    t.equal(await closed.promise, undefined, `${how} while connecting`)
    t.strictSame(events, [])
  }
  const sent = deferred<SocketError | undefined>()
  const connection = station.connect({ host: '127.0.0.1', port }, {
    closed: (_connection, error) => { sent.resolve(error) },
  })
  const received = new Promise<Buffer>((resolve) => {
    server.once('connection', (socket) => { resolve(readAll(socket)) })
  })
  connection.write('sent before it was connected')
  connection.close()
  t.equal((await received).toString(), 'sent before it was connected')
  t.equal(await sent.promise, undefined)
})

onEveryTransport('closing the transport closes everything and reports nothing more', async (t, open) => {
  const station = open()
  const bytes = pattern(4 * 1024 * 1024, 3)
  const accepted = deferred()
  const listener = await station.listen({
    accepted: (connection) => {
      connection.write(bytes)
      accepted.resolve()
    },
  })
  const port = portOf(listener)
  const socket = await client(port)
  await accepted.promise
  const before = station.events
  const done = station.call(() => station.transport.close())
  t.equal(station.transport.close(), done, 'closing again is the same closing')
  t.ok((await readAll(socket)).equals(bytes), 'queued bytes are still sent')
  socket.end()
  await done
  t.equal(station.events, before, 'no event came after the call')
  t.equal(station.transport.metrics.connections, 0)
  await t.rejects(client(port), { code: 'ECONNREFUSED' }, 'nobody listens any more')
})

/** Volume: pausing, slow readers, what may be written, and what `written` and `queuedBytes` say. */
import { createHash } from 'node:crypto'
import { ECHO, onEveryTransport, portOf } from '../support/transports.js'
import { client, deferred, pattern, readAll, sleep, until } from '../support/util.js'
import type { SocketError, TransportConnection } from '../../src/transport/seam/transport.js'

const MEBIBYTE = 1024 * 1024

onEveryTransport('pause closes the window, resume loses nothing', async (t, open) => {
  const hash = createHash('sha256')
  const accepted = deferred<TransportConnection>()
  const closed = deferred<SocketError | undefined>()
  let received = 0
  const listener = await open().listen({
    accepted: (connection) => {
      connection.pause()
      accepted.resolve(connection)
    },
    data: (_connection, data) => {
      hash.update(data)
      received += data.length
    },
    end: (connection) => { connection.close() },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  const bytes = pattern(48 * MEBIBYTE)
  for (let at = 0; at < bytes.length; at += MEBIBYTE) socket.write(bytes.subarray(at, at + MEBIBYTE))
  socket.end()
  const connection = await accepted.promise
  await sleep(500)
  const [blocked, taken] = [socket.writableLength, received]
  t.ok(blocked > 8 * MEBIBYTE, `the sender is blocked with ${blocked} bytes`)
  t.ok(taken <= MEBIBYTE, `${taken} bytes were reported in spite of the pause`)
  await sleep(200)
  t.equal(socket.writableLength, blocked, 'nothing moves')
  connection.resume()
  t.equal(await closed.promise, undefined)
  t.equal(received, bytes.length)
  t.equal(hash.digest('hex'), createHash('sha256').update(bytes).digest('hex'), 'lossless and in order')
})

onEveryTransport('50 MB to a slow reader', async (t, open) => {
  const bytes = pattern(50 * MEBIBYTE, 9)
  const closed = deferred<SocketError | undefined>()
  const all: TransportConnection[] = []
  let written = 0
  const station = open()
  const listener = await station.listen({
    accepted: (connection) => {
      all.push(connection)
      connection.reportWrites = true
      connection.write(bytes)
      connection.shutdown()
    },
    written: (_connection, count) => { written += count },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  const socket = await client(portOf(listener))
  socket.pause()
  await sleep(200)
  t.ok((all[0]?.queuedBytes ?? 0) > 8 * MEBIBYTE, 'most of it is still queued')
  const hash = createHash('sha256')
  let got = 0
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    hash.update(chunk as Buffer)
    const before = Math.floor(got / MEBIBYTE)
    got += (chunk as Buffer).length
    if (Math.floor(got / MEBIBYTE) > before) await sleep(5)
  }
  socket.end()
  t.equal(await closed.promise, undefined)
  t.equal(got, bytes.length)
  t.equal(hash.digest('hex'), createHash('sha256').update(bytes).digest('hex'))
  t.equal(written, bytes.length, 'the written reports add up')
  t.equal(all[0]?.queuedBytes, 0)
  t.equal(station.transport.metrics.bytesOut, bytes.length)
})

onEveryTransport('strings, buffers, views of larger arrays, empty writes', async (t, open) => {
  const whole = pattern(1000, 5)
  const array = new Uint8Array(new ArrayBuffer(64), 16, 8).fill(65)
  const shared = new Uint8Array(whole.buffer, whole.byteOffset + 10, 20)
  const parts: (string | Uint8Array)[] = [
    'ascii', 'ünïcödé ✓ 🎈', whole, whole.subarray(100, 200), array, shared, '', new Uint8Array(0),
    Buffer.from('last'), 'x'.repeat(100_000), '✓'.repeat(50_000),
  ]
  const expected = Buffer.concat(parts.map((part) => Buffer.from(part as Uint8Array)))
  let written = 0
  const listener = await open().listen({
    accepted: (connection) => {
      connection.reportWrites = true
      for (const part of parts) connection.write(part)
    },
    data: (connection) => {
      // Again, from inside another batch.
      for (const part of parts) connection.write(part)
      connection.shutdown()
    },
    written: (_connection, count) => { written += count },
  })
  const socket = await client(portOf(listener))
  socket.end('again')
  const answer = await readAll(socket)
  t.ok(answer.subarray(0, expected.length).equals(expected), 'as written')
  t.ok(answer.subarray(expected.length).equals(expected), 'and again')
  await until(() => written === 2 * expected.length)
  t.equal(written, 2 * expected.length)
})

onEveryTransport('writes are reported only if asked for', async (t, open) => {
  let reports = 0
  const closed = deferred()
  const listener = await open().listen({
    ...ECHO,
    written: () => { reports += 1 },
    closed: () => { closed.resolve() },
  })
  const socket = await client(portOf(listener))
  socket.end('hello')
  t.equal((await readAll(socket)).toString(), 'hello')
  await closed.promise
  t.equal(reports, 0)
})

onEveryTransport('received data stays as it was for as long as it is kept', async (t, open) => {
  const SIZE = 64
  const kept: Buffer[] = []
  const copies: Buffer[] = []
  let messages = 0
  const listener = await open().listen({
    data: (connection, data) => {
      if (kept.length < 1000) {
        kept.push(data)
        copies.push(Buffer.from(Uint8Array.from(data)))
      }
      messages += 1
      connection.write(data)
    },
    end: (connection) => { connection.close() },
  })
  const PAIRS = 50
  const ROUNDS = Math.ceil(51_000 / PAIRS)
  await Promise.all(Array.from({ length: PAIRS }, async (_, index) => {
    const socket = await client(portOf(listener))
    const done = deferred()
    let round = 0
    let missing = 0
    const send = (): void => {
      missing = SIZE
      socket.write(pattern(SIZE, index * ROUNDS + round))
    }
    socket.on('data', (data: Buffer) => {
      missing -= data.length
      if (missing > 0) return
      round += 1
      if (round < ROUNDS) send()
      else done.resolve()
    })
    send()
    await done.promise
    socket.end()
  }))
  t.ok(messages >= 51_000, `${messages} messages`)
  t.equal(kept.length, 1000)
  t.strictSame(kept.flatMap((data, index) => (copies[index]?.equals(data) ? [] : [index])), [])
})

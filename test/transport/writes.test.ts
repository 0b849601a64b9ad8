/** Writing: any sizes, of any kind, to slow readers and to peers that are gone: order, nothing lost. */
import fc from 'fast-check'
import type { Socket } from 'node:net'
import { once } from 'node:events'
import { onEveryTransport, portOf, type Handlers, type Station } from '../support/transports.js'
import { client, deferred, pattern, readAll, until } from '../support/util.js'
import type { ListenOptions, SocketError, TransportConnection } from '../../src/transport/seam/transport.js'
import { patient } from '../support/patience.js'

const MEBIBYTE = 1024 * 1024
const BYTES = pattern(3 * MEBIBYTE)
/** One, two, three and four bytes each in UTF-8. */
const TEXT = 'aé€😀'.repeat(30_000)

/** A connection of the transport's, and its peer. */
async function pair(
  station: Station, handlers: Handlers = {}, options: Partial<ListenOptions> = {},
): Promise<{ connection: TransportConnection, socket: Socket }> {
  const accepted = deferred<TransportConnection>()
  const listener = await station.listen({ ...handlers, accepted: accepted.resolve }, options)
  const socket = await client(portOf(listener))
  socket.on('error', () => undefined)
  const connection = await accepted.promise
  listener.close()
  return { connection, socket }
}

/** What to write: bytes of a length from an offset on, or a text of so many characters. */
type Piece = { readonly length: number, readonly at: number } | { readonly characters: number }

const length = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 200 }) },
  { weight: 3, arbitrary: fc.integer({ min: 4000, max: 20_000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 60_000, max: MEBIBYTE }) },
)
const piece: fc.Arbitrary<Piece> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ length, at: fc.integer({ min: 0, max: 2 * MEBIBYTE }) }) },
  { weight: 1, arbitrary: fc.record({ characters: fc.integer({ min: 0, max: 300 }) }) },
  { weight: 1, arbitrary: fc.record({ characters: fc.integer({ min: 20_000, max: 100_000 }) }) },
)
const plan = fc.record({
  /** What is written in each turn. */
  turns: fc.array(fc.array(piece, { maxLength: 12 }), { minLength: 1, maxLength: 6 }),
  /** How many turns the reader stays away, and how much it reads before each pause after that. */
  away: fc.integer({ min: 0, max: 6 }),
  gulp: fc.constantFrom(20_000, 300_000, Infinity),
  sendBufferSize: fc.constantFrom(undefined, 5000, 50_000),
})

const dataOf = (piece: Piece): Buffer | string =>
  'length' in piece ? BYTES.subarray(piece.at, piece.at + piece.length) : TEXT.slice(0, piece.characters)

/** Reads in gulps; resolves with everything when the peer has ended. */
async function readSlowly(socket: Socket, gulp: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let left = gulp
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    left -= chunk.length
    if (left > 0) return
    left = gulp
    socket.pause()
    setImmediate(() => socket.resume())
  })
  await once(socket, 'end')
  return Buffer.concat(chunks)
}

onEveryTransport('random writes to a slow reader: all arrive, in order', async (t, open) => {
  const station = open()
  await fc.assert(fc.asyncProperty(plan, async ({ turns, away, gulp, sendBufferSize }) => {
    let written = 0
    const ended = deferred<SocketError | undefined>()
    const { connection, socket } = await pair(station, {
      written: (_connection, bytes) => { written += bytes },
      closed: (_connection, error) => { ended.resolve(error) },
    }, { sendBufferSize, unsupported: 'ignore' })
    connection.reportWrites = true
    const expected: Buffer[] = []
    let total = 0
    let reading: Promise<Buffer> | undefined
    for (const [turn, pieces] of turns.entries()) {
      if (turn === away) reading = readSlowly(socket, gulp)
      for (const data of pieces.map(dataOf)) {
        connection.write(data)
        expected.push(Buffer.from(data as Buffer))
        total += Buffer.byteLength(data)
      }
      if (connection.queuedBytes > total - written) throw new Error('more is queued than was written')
      await new Promise(setImmediate)
    }
    connection.shutdown()
    const received = await (reading ?? readSlowly(socket, gulp))
    if (!received.equals(Buffer.concat(expected))) throw new Error('not what was written')
    await until(() => written === total)
    if (connection.queuedBytes !== 0) throw new Error(`${connection.queuedBytes} bytes are left`)
    socket.end()
    if (await ended.promise !== undefined) throw new Error('it did not end in order')
  }), { numRuns: 12, endOnFailure: true })
  const { metrics } = station.transport
  t.equal(metrics.queuedBytes, 0)
}, { timeout: patient(60_000) })

onEveryTransport('many small writes in a row, in one turn and in many', async (t, open) => {
  const { connection, socket } = await pair(open())
  const received = readAll(socket)
  const expected: string[] = []
  const write = (text: string): void => {
    expected.push(text)
    connection.write(text)
  }
  for (let i = 0; i < 30_000; i++) write(`${i},`)
  for (let i = 0; i < 200; i++) {
    await new Promise(setImmediate)
    write(`turn ${i},`)
  }
  connection.shutdown()
  t.equal((await received).toString(), expected.join(''))
  socket.end()
})

onEveryTransport('small and big writes behind a full queue keep their order', async (t, open) => {
  const { connection, socket } = await pair(open())
  const parts: Buffer[] = []
  for (let i = 0; i < 60; i++) {
    const part = i % 3 === 0 ? BYTES.subarray(i, i + 400_000) : Buffer.from(`<${i}>`)
    parts.push(part)
    connection.write(part)
    if (i % 5 === 0) await new Promise(setImmediate)
  }
  t.ok(connection.queuedBytes > 0, `${connection.queuedBytes} bytes are queued`)
  connection.close()
  t.ok((await readAll(socket)).equals(Buffer.concat(parts)))
  socket.end()
})

onEveryTransport('writes of nothing: alone, between others, behind a queue', async (t, open) => {
  let events = 0
  const { connection, socket } = await pair(open(), {
    written: (_connection, bytes) => { events += bytes },
  })
  connection.reportWrites = true
  const nothing = [Buffer.alloc(0), new Uint8Array(0), '', BYTES.subarray(5, 5)]
  for (const data of nothing) connection.write(data)
  t.equal(connection.queuedBytes, 0)
  connection.write('one')
  for (const data of nothing) connection.write(data)
  connection.write(BYTES)
  connection.write(BYTES)
  for (const data of nothing) connection.write(data)
  await until(() => connection.queuedBytes > 0)
  for (const data of nothing) connection.write(data)
  connection.write('two')
  for (const data of nothing) connection.write(data)
  connection.shutdown()
  const expected = Buffer.concat([Buffer.from('one'), BYTES, BYTES, Buffer.from('two')])
  t.ok((await readAll(socket)).equals(expected))
  await until(() => events === expected.length)
  socket.end()
})

onEveryTransport('writes to a peer that has reset: an error in `closed`', async (t, open) => {
  const closed = deferred<SocketError | undefined>()
  const { connection, socket } = await pair(open(), {
    closed: (_connection, error) => { closed.resolve(error) },
  })
  socket.resetAndDestroy()
  // From one turn to the next, as the program can't know when it hears of the end.
  let over = false
  void closed.promise.then(() => { over = true })
  while (!over) {
    connection.write('to nobody')
    connection.write(BYTES)
    await new Promise(setImmediate)
  }
  t.match(await closed.promise, { code: /^(ECONNRESET|EPIPE)$/ })
  connection.write('even now')
  t.equal(connection.queuedBytes, 0)
})

onEveryTransport('writes to a peer that has finished sending, and only reads', async (t, open) => {
  const ended = deferred()
  const { connection, socket } = await pair(open(), { end: () => { ended.resolve() } })
  socket.end()
  await ended.promise
  for (let i = 0; i < 4; i++) {
    connection.write(BYTES)
    await new Promise(setImmediate)
  }
  connection.close()
  t.ok((await readAll(socket)).equals(Buffer.concat([BYTES, BYTES, BYTES, BYTES])))
})

onEveryTransport('writes to a peer that closes without having read', async (t, open) => {
  const closed = deferred<SocketError | undefined>()
  const { connection, socket } = await pair(open(), {
    closed: (_connection, error) => { closed.resolve(error) },
  })
  socket.pause()
  for (let i = 0; i < 5; i++) connection.write(BYTES)
  await until(() => connection.queuedBytes > 0)
  socket.destroy()
  t.match(await closed.promise, { code: /^(ECONNRESET|EPIPE)$/ })
})

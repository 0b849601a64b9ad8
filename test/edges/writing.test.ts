/** Writing: many and few, empty and huge, in a row, into a full queue, and to peers that have gone. */
import { onEveryTransport, portOf } from '../support/transports.js'
import { client, pattern, randomSource, readAll } from '../support/util.js'
import { QUIET_TURNS, turnsIn } from './peers.js'
import { recorder } from './recorder.js'

onEveryTransport('thousands of writes in a row, in order', async (t, open) => {
  const random = randomSource(3)
  const size = (): number => 1 + random(random(50) === 0 ? 30_000 : 40)
  const pieces = Array.from({ length: 5000 }, (_, i) => pattern(size(), i))
  const seen = recorder({
    accepted: (connection) => {
      pieces.forEach((piece, i) => {
        // Some in this turn, the others in later ones, while those are queued.
        if (i < 3000) connection.write(piece)
        else setImmediate(() => { connection.write(piece) })
      })
      setImmediate(() => { connection.shutdown() })
    },
  })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  const answer = await readAll(socket)
  t.ok(answer.equals(Buffer.concat(pieces)))
  socket.end()
  t.equal(await seen.closed, undefined)
})

onEveryTransport('empty writes: alone, between others, and into a full queue', async (t, open) => {
  const bytes = pattern(8 * 1024 * 1024)
  const seen = recorder({
    accepted: (connection) => {
      connection.reportWrites = true
      for (const empty of ['', new Uint8Array(0), Buffer.alloc(0)]) connection.write(empty)
    },
  })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  const connection = await seen.opened
  t.ok(await turnsIn(100) < QUIET_TURNS)
  t.equal(connection.queuedBytes, 0)
  connection.write(bytes)
  connection.write('')
  connection.write('a')
  connection.write(new Uint8Array(0))
  connection.write('z')
  connection.write('')
  connection.shutdown()
  const answer = await readAll(socket)
  t.ok(answer.equals(Buffer.concat([bytes, Buffer.from('az')])), 'no byte more or less')
  socket.end()
  t.equal(await seen.closed, undefined)
})

onEveryTransport('writing on to a peer that has gone', async (t, open) => {
  for (const how of ['reset', 'close'] as const) {
    const seen = recorder()
    const listener = await open().listen(seen.handlers)
    const socket = await client(portOf(listener))
    const connection = await seen.opened
    if (how === 'reset') socket.resetAndDestroy()
    else socket.destroy()
    // A peer that has closed answers the first bytes with a reset.
    const timer = setInterval(() => { connection.write('anybody?') }, 1)
    const error = await seen.closed
    clearInterval(timer)
    t.match(error, { code: /^(ECONNRESET|EPIPE)$/, syscall: /^(read|write)$/ }, how)
    t.equal(connection.queuedBytes, 0)
  }
})

onEveryTransport('queued bytes that cannot be sent end in an error, not in silence', async (t, open) => {
  const station = open()
  const seen = recorder({
    accepted: (connection) => {
      connection.reportWrites = true
      connection.write(pattern(16 * 1024 * 1024))
      connection.close()
    },
  })
  const listener = await station.listen(seen.handlers)
  const socket = await client(portOf(listener))
  socket.pause()
  await seen.opened
  socket.resetAndDestroy()
  t.match(await seen.closed, { code: /^(ECONNRESET|EPIPE)$/ }, 'close did not succeed')
})

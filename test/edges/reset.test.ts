/** Resets: data before one is delivered, it is not taken for an end, and it never makes the loop spin. */
import { onEveryTransport, portOf } from '../support/transports.js'
import { client, pattern, until } from '../support/util.js'
import { NO_PYTHON, QUIET_TURNS, fate, python, server, turnsIn } from './peers.js'
import { recorder } from './recorder.js'

const BYTES = 200_000
const SEND_AND_RESET = `
peer = dial()
wait()
peer.sendall(b'x' * ${BYTES})
reset(peer)
`

onEveryTransport('all that came before a reset, then the reset', async (t, open) => {
  const seen = recorder()
  const station = open()
  const listener = await station.listen(seen.handlers)
  const peer = python(t, SEND_AND_RESET, portOf(listener))
  await seen.opened
  peer.go()
  t.equal(await peer.ended(), 0)
  const { variant } = station
  if (variant === 'node') {
    // libuv takes a reset that comes with data for an end; only writing tells.
    await until(() => seen.events.includes('end') || seen.events.includes('closed ECONNRESET'))
    if (seen.events.includes('end')) {
      (await seen.opened).close()
      await seen.closed
    }
  } else {
    t.match(await seen.closed, { code: 'ECONNRESET', syscall: 'read' })
    t.strictSame(seen.events, ['accepted', 'data', 'closed ECONNRESET'], 'no end')
  }
  t.equal(seen.text().length, BYTES, 'every byte')
}, { skip: NO_PYTHON })

onEveryTransport('data and a reset that came before the connection was accepted', async (t, open) => {
  const seen = recorder({ end: (connection) => { connection.close() } })
  const station = open()
  const listener = await station.listen(seen.handlers)
  const peer = python(t, `
peer = dial()
peer.sendall(b'early')
reset(peer)
os._exit(0)
`, portOf(listener))
  // Nothing is accepted while this thread is busy.
  const busy = Date.now() + 400
  while (Date.now() < busy) Math.sqrt(busy)
  t.equal(await peer.ended(), 0)
  if (station.variant === 'node') {
    // Node does not know its peer any more, and drops it; nobody was told of it. If the peer came late, as the machine
    // is busy, it is a connection as any other.
    if (seen.events.length > 0) await seen.closed
    t.ok(seen.events.length === 0 || seen.events.at(-1)?.startsWith('closed'))
    return
  }
  t.match(await seen.closed, { code: 'ECONNRESET' })
  t.strictSame(seen.events, ['accepted', 'data', 'closed ECONNRESET'])
  t.equal(seen.text(), 'early')
  t.match((await seen.opened).remote, { address: '127.0.0.1', family: 'IPv4' })
  t.ok(((await seen.opened).remote?.port ?? 0) > 0)
}, { skip: NO_PYTHON })

onEveryTransport('a reset while we have something to send', async (t, open) => {
  const seen = recorder({ accepted: (connection) => { connection.write(pattern(16 * 1024 * 1024)) } })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  socket.pause()
  await seen.opened
  socket.resetAndDestroy()
  t.match(await seen.closed, { code: /^(ECONNRESET|EPIPE)$/, syscall: /^(read|write)$/ })
  t.notOk(seen.events.includes('end'))
})

onEveryTransport('a reset after the peer had ended', async (t, open) => {
  const seen = recorder()
  const station = open()
  const listener = await station.listen(seen.handlers)
  const peer = python(t, `
peer = dial()
peer.shutdown(socket.SHUT_WR)
wait()
reset(peer)
`, portOf(listener))
  await until(() => seen.events.includes('end'))
  peer.go()
  t.equal(await peer.ended(), 0)
  if (station.variant === 'node') {
    // Nobody reads any more, so that libuv does not look: the next write tells.
    t.ok(await turnsIn(300) < QUIET_TURNS, 'nothing spins')
    ;(await seen.opened).write('is anybody there?')
  }
  t.match(await seen.closed, { code: /^(ECONNRESET|EPIPE)$/ })
  t.strictSame(seen.events.slice(0, 2), ['accepted', 'end'])
}, { skip: NO_PYTHON })

onEveryTransport('a reset of a connection that we have ended', async (t, open) => {
  const seen = recorder({ accepted: (connection) => { connection.shutdown() } })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  await fate(socket)
  socket.resetAndDestroy()
  t.match(await seen.closed, { code: 'ECONNRESET', syscall: 'read' })
  t.strictSame(seen.events, ['accepted', 'closed ECONNRESET'])
})

onEveryTransport('a reset of an outbound connection', async (t, open) => {
  const port = await server(t, (socket) => {
    socket.once('data', () => { socket.resetAndDestroy() })
  })
  const seen = recorder({ connected: (connection) => { connection.write('reset me') } })
  open().connect({ host: '127.0.0.1', port }, seen.handlers)
  t.match(await seen.closed, { code: 'ECONNRESET', syscall: 'read' })
  t.strictSame(seen.events, ['connected', 'closed ECONNRESET'])
})

onEveryTransport('writing on after a reset says nothing new and harms nobody', async (t, open) => {
  const seen = recorder({
    closed: (connection) => {
      connection.write('too late')
      connection.pause()
      connection.resume()
      connection.shutdown()
      connection.close()
      connection.abort()
    },
  })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  const connection = await seen.opened
  socket.resetAndDestroy()
  await seen.closed
  connection.write('later still')
  connection.close()
  t.equal(connection.queuedBytes, 0)
  t.ok(await turnsIn(100) < QUIET_TURNS)
  t.strictSame(seen.events, ['accepted', 'closed ECONNRESET'])
})

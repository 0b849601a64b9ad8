/**
 * What must not spin: every state in which the kernel may go on calling a socket ready although there
 * is nothing to do. Measured in turns of the event loop, which a busy machine does not add to.
 */
import { once } from 'node:events'
import { onEveryTransport, portOf } from '../support/transports.js'
import { client, nodeMajor, pattern, until } from '../support/util.js'
import { NO_PYTHON, QUIET_TURNS, python, turnsIn } from './peers.js'
import { recorder } from './recorder.js'

/** What is under way may take its time to settle; what spins never does. */
async function quiet(): Promise<boolean> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    if (await turnsIn(200) < QUIET_TURNS) return true
  }
  return false
}

onEveryTransport('paused with bytes to read, then with an end to read', async (t, open) => {
  const seen = recorder({ accepted: (connection) => { connection.pause() } })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  const connection = await seen.opened
  socket.write('unexpected')
  t.ok(await quiet(), 'bytes')
  socket.end()
  await once(socket, 'finish')
  t.ok(await quiet(), 'bytes and an end')
  t.strictSame(seen.events, ['accepted'], 'nothing is reported')
  connection.resume()
  await until(() => seen.events.includes('end'))
  connection.pause()
  t.ok(await quiet(), 'an end that was read')
  connection.resume()
  connection.shutdown()
  t.equal(await seen.closed, undefined)
  t.equal(seen.text(), 'unexpected')
})

onEveryTransport('both directions have ended, one of them unread', async (t, open) => {
  const seen = recorder({
    accepted: (connection) => {
      connection.pause()
      connection.shutdown()
    },
  })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  socket.resume()
  await once(socket, 'end')
  socket.end('last words')
  await once(socket, 'close')
  const connection = await seen.opened
  t.ok(await quiet(), 'hung up, and paused')
  t.strictSame(seen.events, ['accepted'])
  connection.resume()
  t.equal(await seen.closed, undefined)
  t.strictSame(seen.events, ['accepted', 'data', 'end', 'closed'])
  t.equal(seen.text(), 'last words')
})

onEveryTransport('paused and reset, with nothing left to read', async (t, open) => {
  const station = open()
  const seen = recorder({ accepted: (connection) => { connection.pause() } })
  const listener = await station.listen(seen.handlers)
  const socket = await client(portOf(listener))
  const connection = await seen.opened
  socket.resetAndDestroy()
  t.ok(await quiet())
  if (station.variant === 'node') connection.resume()
  t.match(await seen.closed, { code: 'ECONNRESET', syscall: 'read' }, 'told although it is paused')
  t.strictSame(seen.events, ['accepted', 'closed ECONNRESET'])
})

onEveryTransport('paused and reset, with bytes to read', async (t, open) => {
  const station = open()
  const seen = recorder({ accepted: (connection) => { connection.pause() } })
  const listener = await station.listen(seen.handlers)
  const peer = python(t, `
peer = dial()
wait()
peer.sendall(b'x' * 30000)
reset(peer)
`, portOf(listener))
  // Node passes on no connection that was reset before it was accepted.
  const connection = await seen.opened
  peer.go()
  t.equal(await peer.ended(), 0)
  t.ok(await quiet())
  if (station.variant === 'node' && nodeMajor >= 24) {
    // These Nodes end a paused connection at its reset, whatever it was sent.
    t.strictSame(seen.events, ['accepted', 'closed ECONNRESET'])
    return
  }
  t.strictSame(seen.events, ['accepted'], 'what was sent is still there')
  connection.resume()
  if (station.variant === 'node') {
    // libuv takes this for an end.
    await until(() => seen.events.length > 2)
    connection.close()
    await seen.closed
  } else {
    t.match(await seen.closed, { code: 'ECONNRESET' })
    t.strictSame(seen.events, ['accepted', 'data', 'closed ECONNRESET'])
  }
  t.equal(seen.text().length, 30_000)
}, { skip: NO_PYTHON })

onEveryTransport('a peer that never reads', async (t, open) => {
  const station = open({ closeTimeout: 300 })
  const seen = recorder({ accepted: (connection) => { connection.write(pattern(16 * 1024 * 1024)) } })
  const listener = await station.listen(seen.handlers)
  const socket = await client(portOf(listener))
  socket.pause()
  const connection = await seen.opened
  await until(() => connection.queuedBytes > 0)
  t.ok(await quiet(), 'a full send buffer')
  t.ok(connection.queuedBytes > 0)
  connection.close()
  t.ok(await turnsIn(200) < QUIET_TURNS, 'closing and waiting')
  t.match(await seen.closed, { code: 'ETIMEDOUT' }, 'the deadline ends it')
  socket.destroy()
})

onEveryTransport('many connections with nothing to do', async (t, open) => {
  const station = open()
  const listener = await station.listen({})
  const sockets = await Promise.all(Array.from({ length: 100 }, () => client(portOf(listener))))
  await until(() => station.transport.metrics.connections === 100)
  const { batches } = station.transport.metrics
  t.ok(await quiet())
  t.equal(station.transport.metrics.batches, batches, 'no batch')
  for (const socket of sockets) socket.resetAndDestroy()
  await until(() => station.transport.metrics.connections === 0)
  t.ok(await quiet(), 'and after they have gone')
})

/** Half-close in both directions: each flow has its own end. */
import { once } from 'node:events'
import { onEveryTransport, portOf } from '../support/transports.js'
import { client, pattern, readAll, until } from '../support/util.js'
import { recorder } from './recorder.js'
import { QUIET_TURNS, server, turnsIn } from './peers.js'

onEveryTransport('written long after the peer has ended', async (t, open) => {
  const seen = recorder()
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  const answer = readAll(socket)
  socket.end('all I have to say')
  await until(() => seen.events.includes('end'))
  const connection = await seen.opened
  const bytes = pattern(3 * 1024 * 1024)
  for (let at = 0; at < bytes.length; at += 65_536) {
    connection.write(bytes.subarray(at, at + 65_536))
    await new Promise(setImmediate)
  }
  t.strictSame(seen.events, ['accepted', 'data', 'end'], 'it stays open')
  connection.shutdown()
  t.ok((await answer).equals(bytes), 'everything arrived')
  t.equal(await seen.closed, undefined)
  t.strictSame(seen.events, ['accepted', 'data', 'end', 'closed'], 'one end')
})

onEveryTransport('received long after our own end', async (t, open) => {
  const seen = recorder({ accepted: (connection) => { connection.shutdown() } })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  t.equal((await readAll(socket)).length, 0, 'our end comes first')
  const bytes = pattern(3 * 1024 * 1024)
  for (let at = 0; at < bytes.length; at += 65_536) {
    if (!socket.write(bytes.subarray(at, at + 65_536))) await once(socket, 'drain')
  }
  t.notOk(seen.events.includes('closed'))
  socket.end()
  t.equal(await seen.closed, undefined)
  t.equal(seen.text().length, bytes.length)
  t.ok(Buffer.from(seen.text(), 'latin1').equals(bytes))
})

onEveryTransport('both ends at the same time', async (t, open) => {
  for (let round = 0; round < 20; round += 1) {
    const seen = recorder()
    const station = open()
    const listener = await station.listen(seen.handlers)
    const socket = await client(portOf(listener))
    const connection = await seen.opened
    const answer = readAll(socket)
    socket.end('from the peer')
    connection.write('from here')
    connection.shutdown()
    t.equal((await answer).toString(), 'from here')
    t.equal(await seen.closed, undefined)
    t.equal(seen.text(), 'from the peer')
    await station.transport.close()
  }
})

onEveryTransport('an end with nothing before it', async (t, open) => {
  const seen = recorder({ end: (connection) => { connection.shutdown() } })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  socket.end()
  t.equal((await readAll(socket)).length, 0)
  t.equal(await seen.closed, undefined)
  t.strictSame(seen.events, ['accepted', 'end', 'closed'], 'readable on end')
})

onEveryTransport('shutdown: after writes, twice, and before close', async (t, open) => {
  const seen = recorder({
    accepted: (connection) => {
      connection.write('before')
      connection.shutdown()
      connection.shutdown()
      t.throws(() => { connection.write('after') }, /write after shutdown/)
      connection.close()
      connection.close()
      t.throws(() => { connection.write('after') }, /write after shutdown/)
    },
  })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  t.equal((await readAll(socket)).toString(), 'before')
  socket.end()
  t.equal(await seen.closed, undefined)
  t.strictSame(seen.events, ['accepted', 'closed'])
})

onEveryTransport('shutdown when the peer has ended already, in the same turn and later', async (t, open) => {
  const port = await server(t, (socket) => { socket.end('bye') })
  for (const later of [false, true]) {
    const seen = recorder({ end: (connection) => { if (!later) connection.shutdown() } })
    open().connect({ host: '127.0.0.1', port }, seen.handlers)
    const connection = await seen.opened
    await until(() => seen.events.includes('end'))
    if (later) {
      t.ok(await turnsIn(300) < QUIET_TURNS, 'an end that was read makes nothing turn')
      t.strictSame(seen.events, ['connected', 'data', 'end'], 'half-open until we end, too')
      connection.shutdown()
    }
    t.equal(await seen.closed, undefined)
    t.equal(seen.text(), 'bye')
  }
})

onEveryTransport('shutdown before it is connected', async (t, open) => {
  const received: Promise<Buffer>[] = []
  const port = await server(t, (socket) => {
    received.push(readAll(socket))
    socket.end('answer')
  })
  const seen = recorder()
  const connection = open().connect({ host: '127.0.0.1', port }, seen.handlers)
  connection.write('early')
  connection.shutdown()
  t.throws(() => { connection.write('late') }, /write after shutdown/)
  t.equal(await seen.closed, undefined)
  t.equal(seen.text(), 'answer')
  t.equal((await received[0]).toString(), 'early')
})

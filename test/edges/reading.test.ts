/** Reading: paused and resumed at every moment, in handlers too, and peers that are slow or in a hurry. */
import { ECHO, onEveryTransport, portOf } from '../support/transports.js'
import { client, pattern, randomSource, readAll, until } from '../support/util.js'
import { NO_PYTHON, python, server } from './peers.js'
import { recorder } from './recorder.js'

onEveryTransport('paused and resumed again and again, in handlers and between turns', async (t, open) => {
  const random = randomSource(7)
  const seen = recorder({
    data: (connection) => {
      connection.pause()
      if (random(3) === 0) connection.resume()
      else if (random(2) === 0) setImmediate(() => { connection.resume() })
      else setTimeout(() => { connection.resume() }, random(3))
      if (random(4) === 0) connection.pause()
      if (random(4) === 0) setTimeout(() => { connection.resume() }, 1)
      // However that went, it goes on in the end.
      setTimeout(() => { connection.resume() }, 4)
    },
    end: (connection) => { connection.shutdown() },
  })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  const bytes = pattern(2 * 1024 * 1024, 11)
  for (let at = 0; at < bytes.length;) {
    const size = 1 + random(60_000)
    socket.write(bytes.subarray(at, at + size))
    if (random(2) === 0) await new Promise(setImmediate)
    at += size
  }
  socket.end()
  t.equal((await readAll(socket)).length, 0)
  t.equal(await seen.closed, undefined)
  t.ok(Buffer.from(seen.text(), 'latin1').equals(bytes), 'every byte, once, in order')
  t.equal(seen.events.filter((event) => event === 'end').length, 1)
})

onEveryTransport('paused before the first byte: accepted, connected, before that', async (t, open) => {
  const port = await server(t, (socket) => { socket.end('at once') })
  for (const when of ['before', 'connected'] as const) {
    const seen = recorder({ connected: (made) => { if (when === 'connected') made.pause() } })
    const connection = open().connect({ host: '127.0.0.1', port }, seen.handlers)
    if (when === 'before') connection.pause()
    await seen.opened
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)
    t.strictSame(seen.events, ['connected'], `paused ${when}`)
    connection.resume()
    await until(() => seen.events.includes('end'))
    t.equal(seen.text(), 'at once')
    connection.close()
    await seen.closed
  }
  const seen = recorder({ accepted: (connection) => { connection.pause() } })
  const listener = await open().listen(seen.handlers)
  const socket = await client(portOf(listener))
  socket.end('early')
  const connection = await seen.opened
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)
  t.strictSame(seen.events, ['accepted'], 'paused when accepted')
  connection.resume()
  await until(() => seen.events.includes('end'))
  t.equal(seen.text(), 'early')
  connection.close()
  await seen.closed
})

onEveryTransport('closed while paused, with bytes unread', async (t, open) => {
  for (const how of ['close', 'abort'] as const) {
    const seen = recorder({ accepted: (connection) => { connection.pause() } })
    const listener = await open().listen(seen.handlers)
    const socket = await client(portOf(listener))
    socket.on('error', () => undefined).resume()
    socket.write('nobody reads this')
    const connection = await seen.opened
    connection[how]()
    t.equal(await seen.closed, undefined)
    t.strictSame(seen.events, ['accepted', 'closed'], how)
    socket.destroy()
  }
})

onEveryTransport('a peer that sends one byte at a time, slowly', async (t, open) => {
  const listener = await open().listen(ECHO)
  const socket = await client(portOf(listener))
  const answer = readAll(socket)
  const text = 'one byte after another'
  for (const byte of text) {
    socket.write(byte)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  socket.end()
  t.equal((await answer).toString(), text)
})

onEveryTransport('a peer that never reads harms nobody else', async (t, open) => {
  const station = open()
  const listener = await station.listen({
    ...ECHO,
    accepted: (connection) => { connection.write(pattern(4 * 1024 * 1024)) },
  })
  const deaf = await Promise.all(Array.from({ length: 10 }, () => client(portOf(listener))))
  for (const socket of deaf) socket.pause()
  const socket = await client(portOf(listener))
  socket.end('hello')
  const answer = await readAll(socket)
  t.equal(answer.length, 4 * 1024 * 1024 + 5)
  t.equal(answer.subarray(-5).toString(), 'hello')
  for (const other of deaf) other.resetAndDestroy()
  await until(() => station.transport.metrics.connections === 0)
})

onEveryTransport('bytes that wait when the connection is accepted late', async (t, open) => {
  let accepted = 0
  const texts: string[] = []
  const listener = await open().listen({
    accepted: () => { accepted += 1 },
    data: (connection, data) => {
      texts.push(data.toString())
      connection.write(data)
    },
    end: (connection) => { connection.shutdown() },
  })
  const peer = python(t, `
peers = [dial() for i in range(20)]
for peer in peers:
    peer.sendall(b'waited')
    peer.shutdown(socket.SHUT_WR)
say('sent')
for peer in peers:
    assert peer.recv(100) == b'waited'
    assert peer.recv(100) == b''
`, portOf(listener))
  // Nothing is accepted while this thread is busy.
  const busy = Date.now() + 300
  while (Date.now() < busy) Math.sqrt(busy)
  t.equal(await peer.line(), 'sent')
  t.equal(await peer.ended(), 0)
  t.equal(accepted, 20)
  t.strictSame([...new Set(texts)], ['waited'])
}, { skip: NO_PYTHON })

/** Closing: at once, in every handler, before and while it connects, many in one turn, and listeners. */
import { connect, type Socket } from 'node:net'
import { readdirSync } from 'node:fs'
import { ECHO, type Handlers, onEveryTransport, portOf } from '../support/transports.js'
import { client, deferred, freePort, readAll, sleep, until } from '../support/util.js'
import type { TransportConnection } from '../../src/transport/seam/transport.js'
import { NO_PYTHON, fate, python, server } from './peers.js'
import { recorder } from './recorder.js'

/** Open descriptors; 0 where the system doesn't tell. */
function descriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length
  } catch {
    return 0
  }
}

const HOW = ['close', 'abort'] as const
const WHERE = ['accepted', 'data', 'end', 'written'] as const

for (const how of HOW) {
  onEveryTransport(`${how} in every handler`, async (t, open) => {
    for (const where of WHERE) {
      const act = (connection: TransportConnection): void => { connection[how]() }
      const extra: Handlers = {
        accepted: (connection) => {
          connection.reportWrites = where === 'written'
          if (where === 'written') connection.write('something')
          if (where === 'accepted') act(connection)
        },
        [where]: act,
      }
      const seen = recorder(extra)
      const listener = await open().listen(seen.handlers)
      // It may be reset before it knows that it is connected.
      const socket = connect({ port: portOf(listener), host: '127.0.0.1', allowHalfOpen: true })
      const ended = fate(socket)
      if (where === 'data') socket.write('data')
      if (where === 'end') socket.end('data')
      t.equal(await seen.closed, undefined, `in ${where}`)
      t.match(await ended, how === 'abort' ? /^(ECONNRESET|end|close)$/ : /^(end|close)$/)
      const last = where === 'written' ? 'accepted' : where
      t.equal(seen.events.at(-2), last, `nothing after ${where} but closed`)
      socket.destroy()
    }
  })
}

onEveryTransport('a client that connects and leaves at once', async (t, open) => {
  const station = open()
  let closed = 0
  const errors: unknown[] = []
  const listener = await station.listen({
    end: (connection) => { connection.shutdown() },
    closed: (_connection, error) => {
      closed += 1
      if (error !== undefined && error.code !== 'ECONNRESET') errors.push(error)
    },
  })
  const peer = python(t, `
for i in range(200):
    peer = dial()
    if i % 2: peer.sendall(b'x')
    peer.close()
`, portOf(listener))
  t.equal(await peer.ended(), 0)
  await until(() => closed === 200)
  t.strictSame(errors, [])
  t.equal(station.transport.metrics.connections, 0)
}, { skip: NO_PYTHON })

for (const how of HOW) {
  onEveryTransport(`${how} before and while it connects`, async (t, open) => {
    const station = open()
    const port = await server(t, (socket) => { socket.resume().end() })
    const before = descriptors()
    let closed = 0
    const wrong: unknown[] = []
    for (let i = 0; i < 300; i += 1) {
      const connection = station.connect({ host: '127.0.0.1', port }, {
        closed: (_connection, error) => {
          closed += 1
          if (error !== undefined) wrong.push(error)
        },
      })
      if (i % 3 === 0) connection[how]()
      else if (i % 3 === 1) process.nextTick(() => { connection[how]() })
      else setImmediate(() => { connection[how]() })
      if (i % 10 === 9) await new Promise(setImmediate)
    }
    await until(() => closed === 300)
    t.strictSame(wrong, [], 'what was asked for is not an error')
    await until(() => station.transport.metrics.connections === 0)
    // The server's ends follow.
    await until(() => descriptors() <= before)
    t.pass('no descriptor stays')
  })
}

onEveryTransport('500 connections closed in one turn, by us and by their peers', async (t, open) => {
  const COUNT = 500
  for (const who of ['close', 'abort', 'peers'] as const) {
    const station = open()
    const all: TransportConnection[] = []
    let closed = 0
    const listener = await station.listen({
      accepted: (connection) => { all.push(connection) },
      closed: () => { closed += 1 },
    })
    const sockets: Socket[] = []
    for (let i = 0; i < COUNT; i += 100) {
      sockets.push(...await Promise.all(Array.from({ length: 100 }, () => client(portOf(listener)))))
    }
    for (const socket of sockets) socket.on('error', () => undefined).resume()
    await until(() => all.length === COUNT)
    station.call(() => {
      for (const connection of all) {
        if (who === 'peers') continue
        connection.write('bye')
        connection[who]()
      }
    })
    if (who === 'peers') for (const socket of sockets) socket.resetAndDestroy()
    await until(() => closed === COUNT)
    t.equal(station.transport.metrics.connections, 0, who)
    for (const socket of sockets) socket.destroy()
    await station.transport.close()
  }
})

onEveryTransport('a listener closed while connections wait for it', async (t, open) => {
  const station = open()
  for (let round = 0; round < 5; round += 1) {
    let accepted = 0
    let closed = 0
    const listener = await station.listen({
      ...ECHO,
      accepted: () => { accepted += 1 },
      closed: () => { closed += 1 },
    })
    const port = portOf(listener)
    const sockets = Array.from({ length: 50 }, () => connect({ port, host: '127.0.0.1' }))
    const fates = sockets.map((socket) => {
      socket.on('connect', () => socket.end('echo'))
      return fate(socket)
    })
    // At several moments: before, between and after the connections are made.
    for (let turn = 0; turn < round; turn += 1) await new Promise(setImmediate)
    listener.close()
    for (const end of await Promise.all(fates)) {
      t.match(end, /^(end|close|ECONNRESET|ECONNREFUSED|EPIPE)$/, 'nobody is left hanging')
    }
    await until(() => closed === accepted)
  }
})

onEveryTransport('a listener closed by the handler of its first connection', async (t, open) => {
  const station = open()
  let accepted = 0
  const listener = await station.listen({
    ...ECHO,
    accepted: () => {
      accepted += 1
      listener.close()
    },
  })
  const port = portOf(listener)
  const sockets = Array.from({ length: 20 }, () => connect({ port, host: '127.0.0.1' }))
  const fates = await Promise.all(sockets.map((socket) => {
    socket.on('connect', () => socket.end('x'))
    return fate(socket)
  }))
  t.equal(fates.length, 20, 'nobody is left hanging')
  t.ok(accepted >= 1)
  await t.rejects(client(port), { code: 'ECONNREFUSED' })
})

onEveryTransport('a listener closed, its connections left: the transport closes', async (t, open) => {
  const station = open({ closeTimeout: 200 })
  const accepted = deferred<TransportConnection>()
  const listener = await station.listen({
    accepted: (connection) => {
      connection.write(Buffer.alloc(32 * 1024 * 1024))
      accepted.resolve(connection)
    },
  })
  const socket = await client(portOf(listener))
  socket.pause()
  socket.on('error', () => undefined)
  await accepted.promise
  listener.close()
  await station.transport.close()
  t.equal(station.transport.metrics.connections, 0, 'at its deadline, although the peer never reads')
  socket.destroy()
})

onEveryTransport('both sides close at the same time', async (t, open) => {
  const station = open()
  const wrong: unknown[] = []
  for (let round = 0; round < 50; round += 1) {
    const seen = recorder()
    const listener = await station.listen(seen.handlers)
    const socket = await client(portOf(listener))
    const connection = await seen.opened
    const ended = fate(socket)
    socket.end()
    connection.close()
    const error = await seen.closed
    if (error !== undefined) wrong.push(error)
    t.match(await ended, /^(end|close)$/)
    socket.destroy()
    listener.close()
  }
  t.strictSame(wrong, [])
})

onEveryTransport('listening that fails a thousand times leaves nothing behind', async (t, open) => {
  const station = open()
  const first = await station.listen(ECHO)
  const port = portOf(first)
  const before = descriptors()
  let failed = 0
  for (let i = 0; i < 1000; i += 1) {
    await station.listen(ECHO, { port }).catch(() => { failed += 1 })
  }
  t.equal(failed, 1000)
  const [one, other] = [await freePort(), descriptors()]
  t.ok(one > 0 && other <= before, 'no descriptor stays')
  const socket = await client(port)
  socket.end('well')
  t.equal((await readAll(socket)).toString(), 'well')
  await sleep(0)
})

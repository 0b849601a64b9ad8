/** `idleTimeout` and `readTimeout`: who is quiet ends, whatever its state; who has traffic does not. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { onEveryTransport, portOf, type Handlers } from '../support/transports.js'
import { deferred, sleep, until } from '../support/util.js'
import type { ListenOptions, SocketError, TransportConnection } from '../../src/transport/seam/transport.js'

const folder = mkdtempSync(join(tmpdir(), 'marketplace-'))
t.teardown(() => { rmSync(folder, { recursive: true }) })
let count = 0

const KINDS: Record<string, () => Partial<ListenOptions>> = {
  tcp: () => ({}),
  unix: () => ({ host: undefined, port: undefined, path: join(folder, String(++count)) }),
}

const STATES: Record<string, (connection: TransportConnection) => void> = {
  'just accepted': () => undefined,
  paused: (connection) => { connection.pause() },
  'half-closed': (connection) => { connection.shutdown() },
  'with a peer that does not read': (connection) => { connection.write(Buffer.alloc(32 * 1024 * 1024)) },
}

for (const [kind, where] of Object.entries(KINDS)) {
  onEveryTransport(`${kind}: a quiet connection ends with an error`, async (t, open) => {
    const station = open()
    for (const [state, put] of Object.entries(STATES)) {
      const closed = deferred<SocketError | undefined>()
      let since = 0
      const listener = await station.listen({
        accepted: (connection) => {
          since = performance.now()
          put(connection)
        },
        closed: (_connection, error) => { closed.resolve(error) },
      }, { ...where(), idleTimeout: 100 })
      const socket = to(listener.address?.family === 'unix' ? listener.address.address : portOf(listener))
      const error = await closed.promise
      t.match(error, { code: 'ETIMEDOUT', syscall: 'idle', errno: Number, message: /idleTimeout/ }, state)
      // node:net's time begins a little before it is told.
      t.ok(performance.now() - since >= 80, 'not early')
      socket.destroy()
      listener.close()
    }
    t.equal(station.transport.metrics.connections, 0)
  })

  onEveryTransport(`${kind}: traffic puts the end off, in either direction`, async (t, open) => {
    const station = open()
    const listener = await station.listen({ data: (connection) => { connection.write('pong') } }, where())
    const address = listener.address?.family === 'unix'
      ? { path: listener.address.address } : { host: '127.0.0.1', port: portOf(listener) }
    const closed = deferred<SocketError | undefined>()
    let rounds = 0
    let last = 0
    let longest = 0
    const handlers: Handlers = {
      connected: (made) => {
        last = performance.now()
        made.write('ping')
      },
      data: (made) => {
        longest = Math.max(longest, performance.now() - last)
        last = performance.now()
        if (++rounds < 12) setTimeout(() => { made.write('ping') }, 60)
      },
      closed: (_connection, error) => { closed.resolve(error) },
    }
    const start = performance.now()
    station.connect({ ...address, idleTimeout: 400 }, handlers)
    t.match(await closed.promise, { code: 'ETIMEDOUT', syscall: 'idle' })
    // A machine that was away for so long lets it end sooner, rightly.
    if (longest < 350) t.equal(rounds, 12)
    t.ok(performance.now() - start >= 400)
  })
}

onEveryTransport('what came while the program was busy counts', async (t, open) => {
  const received = deferred<string>()
  const accepted = deferred<TransportConnection>()
  const listener = await open().listen({
    accepted: (connection) => { accepted.resolve(connection) },
    data: (_connection, data) => { received.resolve(data.toString()) },
    closed: (_connection, error) => { received.resolve(String(error)) },
  }, { idleTimeout: 150 })
  const socket = to(portOf(listener))
  socket.write('in time')
  await accepted.promise
  const start = performance.now()
  while (performance.now() - start < 400);
  t.equal(await received.promise, 'in time')
  socket.destroy()
})

onEveryTransport('without it a quiet connection stays', async (t, open) => {
  const events: string[] = []
  const listener = await open().listen({
    accepted: () => { events.push('accepted') },
    closed: () => { events.push('closed') },
  }, { idleTimeout: 0 })
  const socket = to(portOf(listener))
  await until(() => events.length > 0)
  await sleep(200)
  t.strictSame(events, ['accepted'])
  socket.destroy()
})

for (const [kind, where] of Object.entries(KINDS)) {
  onEveryTransport(`${kind}: a peer that says nothing ends by readTimeout, whatever it is sent`, async (t, open) => {
    const station = open()
    const STATES: Record<string, (connection: TransportConnection) => void> = {
      'that is sent to': (connection) => { connection.write('news') },
      'that does not read': (connection) => { connection.write(Buffer.alloc(64 * 1024)) },
      'while paused, with output': (connection) => {
        connection.pause()
        connection.write('news')
      },
    }
    for (const [state, put] of Object.entries(STATES)) {
      const closed = deferred<SocketError | undefined>()
      let since = 0
      let sending: NodeJS.Timeout | undefined
      const listener = await station.listen({
        accepted: (connection) => {
          since = performance.now()
          put(connection)
          sending = setInterval(() => { put(connection) }, 10)
        },
        closed: (_connection, error) => {
          clearInterval(sending)
          closed.resolve(error)
        },
      }, { ...where(), readTimeout: 150, idleTimeout: 60_000 })
      const socket = to(listener.address?.family === 'unix' ? listener.address.address : portOf(listener))
      const error = await closed.promise
      const expected = { code: 'ETIMEDOUT', syscall: 'read', errno: Number, message: /nothing came within readTimeout/ }
      t.match(error, expected, state)
      t.ok(performance.now() - since >= 130, 'not early')
      socket.destroy()
      listener.close()
    }
  })
}

onEveryTransport('readTimeout: what comes puts it off; half-closed and unexpecting ones have none', async (t, open) => {
  const station = open()
  const closed: string[] = []
  const accepted: TransportConnection[] = []
  let data = ''
  const listener = await station.listen({
    accepted: (connection) => { accepted.push(connection) },
    data: (_connection, piece) => { data += piece.toString() },
    closed: (connection) => { closed.push(['talker', 'half-closed', 'waited for'][accepted.indexOf(connection)]) },
  }, { readTimeout: 400 })
  const next = async (): Promise<Socket> => {
    const before = accepted.length
    const socket = to(portOf(listener))
    await until(() => accepted.length > before)
    return socket
  }
  const talker = await next()
  const ended = await next()
  ended.end()
  const patientOne = await next()
  accepted[2].expectInput(false)
  let longest = 0
  for (let i = 0, last = performance.now(); i < 30; i++) {
    talker.write('x')
    await sleep(25)
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
  }
  if (longest < 300) t.strictSame(closed, [], 'nobody so far')
  accepted[2].expectInput(true)
  const start = performance.now()
  while (!closed.includes('waited for')) {
    talker.write('x')
    await sleep(25)
  }
  t.ok(performance.now() - start >= 380, 'from then on')
  t.notOk(closed.includes('half-closed'))
  await until(() => closed.includes('talker'))
  t.ok(data.length >= 30)
  for (const socket of [talker, ended, patientOne]) socket.destroy()
})

onEveryTransport('readTimeout: of an outbound connection, and of both limits the first', async (t, open) => {
  const station = open()
  const listener = await station.listen({}, {})
  const address = { host: '127.0.0.1', port: portOf(listener) }
  const ends: unknown[] = []
  for (const options of [{ readTimeout: 100, idleTimeout: 60_000 }, { readTimeout: 60_000, idleTimeout: 100 }]) {
    const closed = deferred<SocketError | undefined>()
    station.connect({ ...address, ...options }, { closed: (_connection, error) => { closed.resolve(error) } })
    ends.push((await closed.promise)?.syscall)
  }
  t.strictSame(ends, ['read', 'idle'])
})

onEveryTransport('readTimeout: what came while the program was busy, or is paused, counts', async (t, open) => {
  const received = deferred<string>()
  const accepted = deferred<TransportConnection>()
  const closed = deferred<unknown>()
  const listener = await open().listen({
    accepted: (connection) => {
      connection.pause()
      accepted.resolve(connection)
    },
    data: (_connection, data) => { received.resolve(data.toString()) },
    closed: (_connection, error) => {
      received.resolve(String(error))
      closed.resolve(error)
    },
  }, { readTimeout: 150 })
  const socket = to(portOf(listener))
  const connection = await accepted.promise
  socket.write('in time')
  const start = performance.now()
  while (performance.now() - start < 300);
  connection.resume()
  t.equal(await received.promise, 'in time')
  t.match(await closed.promise, { code: 'ETIMEDOUT' })
  socket.destroy()
})

/** A client that reads nothing. */
function to(where: string | number): Socket {
  const options = { allowHalfOpen: true }
  const socket = typeof where === 'string'
    ? connect({ path: where, ...options }) : connect({ port: where, host: '127.0.0.1', ...options })
  return socket.on('error', () => undefined)
}

/** Busy polling: that it spins, that it stops, and that the rest of the event loop has its turn. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setImmediate as immediate } from 'node:timers/promises'
import t from 'tap'
import { Stat } from '../../src/transport/seam/stats.js'
import type { TransportConnection } from '../../src/transport/seam/transport.js'
import { ECHO, onEveryTransport, pingPong, portOf, VARIANTS, type Station, type Suite } from '../support/transports.js'
import { client, sleep, until } from '../support/util.js'

/** How often the event loop has turned; undefined where this Node doesn't say. */
function loopCount(): number | undefined {
  return (performance.nodeTiming as { uvMetricsInfo?: { loopCount: number } }).uvMetricsInfo?.loopCount
}

onEveryTransport('one that is never idle leaves time for timers, files and sockets', async (t, open) => {
  const messages = await pingPong(open({ busyPoll: 1000 }))
  await until(() => messages() > 100)
  const server = createServer((socket) => { socket.pipe(socket) }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = await client((server.address() as { port: number }).port)
  for (let i = 0; i < 20; i++) {
    await immediate()
    await sleep(1)
    await readFile(new URL(import.meta.url))
    socket.write('y')
    await once(socket, 'data')
  }
  const before = messages()
  await until(() => messages() > before)
  t.ok(messages() > 100)
  socket.destroy()
  server.close()
})

onEveryTransport('a spin takes several turns of the engine, and none without the option', async (t, open) => {
  // An engine that sleeps itself has several turns in one of the loop's in any case.
  const station = open({ busyPoll: 1000, sleepIn: 'libuv' })
  if (loopCount() === undefined || station.transport.name === 'node') return
  const perLoop = async (messages: () => number): Promise<number> => {
    await until(() => messages() > 0)
    const [loops, count] = [loopCount() as number, messages()]
    await until(() => messages() > count + 2000)
    return (messages() - count) / ((loopCount() as number) - loops)
  }
  const sleepy = open({ sleepIn: 'libuv' })
  const slow = await perLoop(await pingPong(sleepy))
  // There and back takes two turns.
  t.ok(slow <= 1, `${slow} messages per turn of the loop without busy polling`)
  await sleepy.transport.close()
  const fast = await perLoop(await pingPong(station))
  t.ok(fast > 2, `${fast} messages per turn of the loop with it`)
})

/** How often the engine of a native transport has waited awake. */
function spins(station: Station): number {
  const { engine } = station.transport.metrics as unknown as { engine: { stats: Float64Array } }
  return engine.stats[Stat.spins]
}

onEveryTransport('adaptive: spins as long as events come soon', async (t, open) => {
  const station = open({ busyPoll: 'adaptive' })
  const messages = await pingPong(station)
  if (station.transport.name === 'node') {
    await until(() => messages() > 100)
    return
  }
  await until(() => spins(station) > 100)
  t.ok(messages() > spins(station), `${messages()} messages in ${spins(station)} spins`)
})

onEveryTransport('adaptive: does not spin for what takes long to come', async (t, open) => {
  const spinsOf = async (busyPoll: number | 'adaptive'): Promise<number> => {
    const station = open({ busyPoll })
    const listener = await station.listen(ECHO)
    const socket = await client(portOf(listener))
    const roundTrip = async (): Promise<void> => {
      await sleep(3)
      socket.write('x')
      await once(socket, 'data')
    }
    for (let i = 0; i < 5; i++) await roundTrip()
    const before = station.transport.name === 'node' ? 0 : spins(station)
    for (let i = 0; i < 20; i++) await roundTrip()
    const count = station.transport.name === 'node' ? 0 : spins(station) - before
    socket.destroy()
    return count
  }
  const adaptive = await spinsOf('adaptive')
  const always = await spinsOf(100)
  t.ok(adaptive <= 2, `${adaptive} spins`)
  if (open().transport.name === 'native') t.ok(always >= 20, `${always} spins where it always does`)
})

onEveryTransport('adaptive: spins again when events come soon again', async (_t, open) => {
  const station = open({ busyPoll: 'adaptive' })
  if (station.transport.name === 'node') return
  const listener = await station.listen(ECHO)
  const socket = await client(portOf(listener))
  for (let i = 0; i < 5; i++) {
    await sleep(3)
    socket.write('x')
    await once(socket, 'data')
  }
  const before = spins(station)
  await pingPong(station)
  await until(() => spins(station) > before + 100)
  socket.destroy()
})

const sleepsWhenIdle = (busyPoll: number | 'adaptive'): Suite => async (t, open) => {
  const station = open({ busyPoll })
  const listener = await station.listen(ECHO)
  const socket = await client(portOf(listener))
  socket.write('x')
  await once(socket, 'data')
  await sleep(20)
  const before = process.cpuUsage()
  await sleep(400)
  const { user, system } = process.cpuUsage(before)
  t.ok(user + system < 200_000, `${user + system} us of CPU in 400 ms`)
  socket.destroy()
}
onEveryTransport('with nothing to do it sleeps', sleepsWhenIdle(1000))
onEveryTransport('adaptive: with nothing to do it sleeps', sleepsWhenIdle('adaptive'))

onEveryTransport('closed from inside a spin', async (t, open) => {
  const station = open({ busyPoll: 1000 })
  let left = 200
  let closed: Promise<void> | undefined
  const echo = {
    data: (connection: TransportConnection, data: Buffer) => {
      if (closed !== undefined) return
      if (--left > 0) connection.write(data)
      else closed = station.transport.close()
    },
  }
  const listener = await station.listen(echo)
  station.connect({ host: '127.0.0.1', port: portOf(listener) }, {
    ...echo, connected: (connection) => { connection.write('x') },
  })
  await until(() => closed !== undefined)
  await closed
  t.equal(station.transport.metrics.connections, 0)
})

t.test('wrong durations are refused', async (t) => {
  for (const { make } of VARIANTS.filter(({ skip }) => skip === false)) {
    for (const busyPoll of [-1, 1.5, 1001, NaN]) {
      t.throws(() => make({ busyPoll }), { name: 'RangeError', message: /busyPoll.*from 0 to 1000.*or 'adaptive'/ })
    }
    for (const busyPoll of ['5', 'Adaptive', '', true, null, {}]) {
      t.throws(() => make({ busyPoll: busyPoll as number }), { name: 'TypeError', message: /busyPoll.*or 'adaptive'/ })
    }
  }
})

/** What a transport counts: against what a client did, and that the sums are right. */
import { once } from 'node:events'
import t from 'tap'
import {
  _, endpoint, groundVm, sendMessage, tcpBare, tcpChannel, tcpEngine, tcpListener, tcpListening,
} from 'marketplace-native'
import { metricsSum } from '../../src/transport/seam/metrics.js'
import { freePort } from '../conformance/sockets.js'
import { ECHO, onEveryTransport, portOf } from '../support/transports.js'
import { client, pattern, readAll, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)

onEveryTransport('connections, chunks, bytes, batches and times are counted', async (t, open) => {
  const station = open()
  const { metrics } = station.transport
  const before = metrics.totalTime
  const listener = await station.listen(ECHO)
  const sockets = await Promise.all([1, 2, 3].map(() => client(portOf(listener))))
  await until(() => metrics.connections === 3)
  for (const socket of sockets) {
    for (let i = 0; i < 10; i++) {
      socket.write('four')
      await once(socket, 'data')
    }
  }
  t.equal(metrics.accepts, 3)
  t.equal(metrics.connects, 0)
  t.equal(metrics.bytesIn, 3 * 10 * 4)
  await until(() => metrics.bytesOut === metrics.bytesIn)
  t.equal(metrics.chunksOut, metrics.chunksIn, 'each chunk was given back')
  t.equal(metrics.queuedBytes, 0)
  t.equal(sum(metrics.batchSizes), metrics.batches)
  t.equal(metrics.batchSizes.length, 16)
  // Each message of a ping-pong is a batch of its own.
  t.ok(metrics.batchSizes[0] >= 29, metrics.batchSizes.join())
  t.ok(metrics.jsTime > 0)
  if (station.transport.name === 'native') t.ok((metrics.kernelTime ?? 0) > 0)
  else t.equal(metrics.kernelTime, undefined)
  t.ok(before > 0 && metrics.totalTime > metrics.jsTime + (metrics.kernelTime ?? 0), 'the rest is idle')
  for (const socket of sockets) socket.destroy()
  await until(() => metrics.connections === 0)
  await station.transport.close()
  const end = metrics.totalTime
  await new Promise(setImmediate)
  t.equal(metrics.totalTime, end, 'a closed transport takes no more time')
})

onEveryTransport('what the kernel does not take is in the sum of queued bytes', async (t, open) => {
  const station = open()
  const { metrics } = station.transport
  const chunk = pattern(1024 * 1024)
  const listener = await station.listen({
    accepted: (connection) => { for (let i = 0; i < 16; i++) connection.write(chunk) },
  })
  const sockets = await Promise.all([client(portOf(listener)), client(portOf(listener))])
  await until(() => metrics.connections === 2 && metrics.queuedBytes > 0)
  const queued = metrics.queuedBytes
  t.ok(queued <= 2 * 16 * chunk.length)
  t.equal(metrics.chunksOut, 2 * 16)
  sockets[0].destroy()
  await until(() => metrics.connections === 1)
  t.ok(metrics.queuedBytes < queued, 'less by what a lost connection had')
  t.ok(metrics.queuedBytes > 0)
  const rest = readAll(sockets[1])
  await until(() => metrics.queuedBytes === 0)
  t.ok(metrics.bytesOut >= 16 * chunk.length)
  sockets[1].end()
  await until(() => metrics.connections === 1)
  await station.transport.close()
  t.equal((await rest).length, 16 * chunk.length)
})

onEveryTransport('errors are counted by code', async (t, open) => {
  const station = open()
  const { metrics } = station.transport
  await station.failure({ host: '127.0.0.1', port: await freePort() })
  const listener = await station.listen({ accepted: (connection) => { connection.write('x') } })
  await t.rejects(station.listen({}, { port: portOf(listener) }), { code: 'EADDRINUSE' })
  const socket = await client(portOf(listener))
  await once(socket, 'data')
  socket.resetAndDestroy()
  await until(() => metrics.connections === 0)
  t.strictSame({ ...metrics.errors }, { ECONNREFUSED: 1, EADDRINUSE: 1, ECONNRESET: 1 })
  t.equal(metrics.accepts, 1)
  t.equal(metrics.connects, 0)
})

onEveryTransport('outbound connections are counted apart', async (t, open) => {
  const station = open()
  const { metrics } = station.transport
  const listener = await station.listen({})
  const connection = station.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
  await until(() => metrics.accepts === 1 && metrics.connects === 1)
  t.equal(metrics.connections, 2)
  connection.close()
})

t.test('a sum of metrics is plain data', async (t) => {
  const zero = metricsSum([])
  t.strictSame(JSON.parse(JSON.stringify(zero)), {
    connections: 0, accepts: 0, connects: 0, drops: 0, tlsHandshakes: 0, tlsFailures: 0,
    bytesIn: 0, bytesOut: 0, chunksIn: 0, chunksOut: 0,
    queuedBytes: 0, slabBytes: 0, slabBytesFree: 0, slabBytesPinned: 0, slabBytesIdle: 0,
    slabStalls: 0, batches: 0, jsTime: 0, totalTime: 0, events: 0, batchSizes: new Array(16).fill(0), errors: {},
    listenersPaused: 0,
    limited: {
      maxConnections: 0, acceptRate: 0, connectionsPerPrefix: 0, acceptRatePerPrefix: 0, firstByteTimeout: 0,
      frameTimeout: 0, receiveRate: 0, pauseAbove: 0,
    },
  })
  const limited = { ...zero.limited, acceptRate: 2 }
  const one = { ...zero, bytesIn: 5, kernelTime: 7, batchSizes: [1, 2], errors: { EPIPE: 1 }, limited }
  const two = metricsSum([one, one, { ...zero, errors: { EPIPE: 1, ENOBUFS: 1 } }])
  t.match(two, { bytesIn: 10, kernelTime: 14, errors: { EPIPE: 3, ENOBUFS: 1 }, limited: { acceptRate: 4 } })
  t.strictSame(two.batchSizes.slice(0, 3), [2, 4, 0])
})

t.test('an engine handle outlives the transports of its driver', { timeout: patient(20_000) }, async (t) => {
  for (const transport of ['auto', 'node'] as const) {
    const engine = tcpEngine()
    t.equal(engine.metrics().accepts, 0)
    t.equal(engine.info(), undefined)
    for (let round = 1; round <= 2; round++) {
      let tell: (port: number) => void = () => undefined
      const port = new Promise<number>((resolve) => { tell = resolve })
      const vm = groundVm(() => [
        tcpBare({ engine, transport, host: '127.0.0.1' }),
        endpoint.subscriber(tcpListening(_, _), { onPresence: ({ address }) => { tell(address.port) } }),
        endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
          onMessage: ({ source, subpacket }) => sendMessage(tcpChannel(tcpListener(0), source, subpacket)),
        }),
      ])
      const socket = await client(await port)
      socket.write('hello')
      await until(() => engine.metrics().bytesIn === 5 * round)
      t.equal(engine.metrics().connections, 1)
      if (engine.info() !== undefined) t.match(engine.info()?.backend, /^(epoll|io_uring)$/)
      socket.destroy()
      await vm.stop()
      t.equal(engine.metrics().connections, 0)
      t.equal(engine.info(), undefined)
      t.equal(engine.metrics().accepts, round, 'the sum over all transports')
    }
  }
})

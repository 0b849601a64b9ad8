/**
 * One engine for all native transports of a thread whose options about engines are the same: what they share,
 * and what none of them notices of the others.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { setImmediate as immediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { openTransport, openUdpTransport } from '../../src/transport/choose.js'
import { metricsSum } from '../../src/transport/seam/metrics.js'
import type {
  Transport, TransportBackend, TransportEvent, TransportOptions, TransportSink,
} from '../../src/transport/seam/transport.js'
import type { UdpEvent, UdpSink, UdpTransport, UdpTransportOptions } from '../../src/transport/seam/udp-transport.js'
import { patient } from '../support/patience.js'
import { VARIANTS } from '../support/transports.js'
import { client, until } from '../support/util.js'

const host = '127.0.0.1'
const CHOOSE = new URL('../../src/transport/choose.js', import.meta.url).href

/** What an engine has open that is no socket: what it waits with, and for. */
function engineDescriptors(): number {
  return readdirSync('/proc/self/fd').filter((name) => {
    try {
      return /eventpoll|io_uring|eventfd|timerfd/.test(readlinkSync(`/proc/self/fd/${name}`))
    } catch {
      return false
    }
  }).length
}

/** Transports of one backend, which are closed at the end. */
class Transports {
  readonly events: TransportEvent[] = []
  readonly datagrams: UdpEvent[] = []
  readonly #open: { close(): Promise<void> }[] = []

  constructor(t: Test, readonly backend: TransportBackend) {
    t.teardown(async () => { await Promise.all(this.#open.map((transport) => transport.close())) })
  }

  tcp(options: TransportOptions = {}, sink: TransportSink = (events) => { this.events.push(...events) }): Transport {
    const transport = openTransport('native', { backend: this.backend, ...options })
    transport.open(sink)
    this.#open.push(transport)
    return transport
  }

  udp(options: UdpTransportOptions = {}, sink: UdpSink = (events) => { this.datagrams.push(...events) }): UdpTransport {
    const transport = openUdpTransport('native', { backend: this.backend, ...options })
    transport.open(sink)
    this.#open.push(transport)
    return transport
  }
}

async function listening(transport: Transport): Promise<number> {
  const listener = transport.listen({ host, port: 0 })
  await until(() => listener.address !== undefined)
  return listener.address?.port ?? 0
}

async function boundPort(transport: UdpTransport): Promise<number> {
  const socket = transport.bind({ host, port: 0 })
  await until(() => socket.address !== undefined)
  return socket.address?.port ?? 0
}

async function sendDatagram(text: string, port: number): Promise<void> {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => { socket.send(text, port, host, () => { resolve() }) })
  socket.close()
}

function onEveryBackend(name: string, body: (t: Test, transports: Transports) => Promise<void>): void {
  for (const { name: variant, skip } of VARIANTS.filter(({ name }) => name.startsWith('native '))) {
    void t.test(`${variant}: ${name}`, { skip, timeout: patient(60_000) }, async (t) => {
      // What looked whether this backend works is closed by then.
      for (let i = 0; i < 5; i++) await immediate()
      await body(t, new Transports(t, variant.split(' ')[1] as TransportBackend))
    })
  }
}

onEveryBackend('connections and datagrams of several transports have one engine', async (t, transports) => {
  const none = engineDescriptors()
  const first = transports.tcp()
  const one = engineDescriptors()
  t.ok(one > none, 'an engine has descriptors of its own')
  const own = { closeTimeout: 5, maxQueuedBytes: 1000, maxQueuedBytesTotal: 2000, overflow: 'pause' } as const
  const others = [transports.tcp(), transports.udp(), transports.udp(), transports.tcp(own)]
  t.equal(engineDescriptors(), one, 'what concerns sockets only makes no difference')
  const ofItsOwn = { maxSlabBytes: 64 * 1024 * 1024 }
  const different = [{ buffers: 'borrowed' } as const, { busyPoll: 50 }, ofItsOwn].map((one) => transports.tcp(one))
  t.equal(engineDescriptors(), one + 3 * (one - none), 'what concerns the engine does')
  const shared = transports.udp(ofItsOwn)
  t.equal(engineDescriptors(), one + 3 * (one - none))
  await Promise.all([shared, ...different].map((transport) => transport.close()))
  t.equal(engineDescriptors(), one, 'and an engine goes with its last transport')
  await first.close()
  t.equal(engineDescriptors(), one)
  await Promise.all(others.map((transport) => transport.close()))
  t.equal(engineDescriptors(), none)
})

onEveryBackend('each counts its own', async (t, transports) => {
  const tcp = transports.tcp()
  const silent = transports.tcp()
  const udp = transports.udp()
  const [port, udpPort] = [await listening(tcp), await boundPort(udp)]
  const socket = await client(port)
  socket.write('12345')
  await sendDatagram('123', udpPort)
  await until(() => tcp.metrics.bytesIn === 5 && udp.metrics.bytesIn === 3)
  transports.events.find(({ kind }) => kind === 'accepted')?.connection?.write('1234567')
  udp.bind({ host, port: 0 })
  await until(() => transports.datagrams.filter(({ kind }) => kind === 'bound').length === 2)
  transports.datagrams.at(-1)?.socket.send('12', host, udpPort)
  await until(() => tcp.metrics.bytesOut === 7 && udp.metrics.bytesOut === 2 && udp.metrics.datagramsIn === 2)
  t.match(tcp.metrics, { connections: 1, accepts: 1, bytesIn: 5, bytesOut: 7, chunksIn: 1, chunksOut: 1 })
  t.match(udp.metrics, { sockets: 2, bytesIn: 5, bytesOut: 2, datagramsIn: 2, datagramsOut: 1 })
  t.match(silent.metrics, { connections: 0, bytesIn: 0, bytesOut: 0, batches: 0, kernelTime: 0, jsTime: 0 })
  t.ok((tcp.metrics.kernelTime ?? 0) > 0 && (udp.metrics.kernelTime ?? 0) > 0 && tcp.metrics.jsTime > 0)
  t.equal(tcp.metrics.slabBytesFree, udp.metrics.slabBytesFree, 'memory is the engine\'s')
  t.equal(metricsSum([tcp.metrics, silent.metrics]).slabBytesFree, tcp.metrics.slabBytesFree, 'and counts once')
  socket.destroy()
  await udp.close()
  t.match(udp.metrics, { bytesIn: 5, slabBytes: 0 })
  t.ok(tcp.metrics.slabBytesFree > 0)
})

onEveryBackend('one that closes in its handler, or throws, takes nothing from the others', async (t, transports) => {
  const thrown: string[] = []
  const onError = (error: Error): void => { thrown.push(error.message) }
  process.on('uncaughtException', onError)
  t.teardown(() => { process.off('uncaughtException', onError) })
  const closed: Promise<void>[] = []
  const throwing = transports.tcp({}, (events) => {
    if (events.some(({ kind }) => kind === 'data')) throw new Error('on purpose')
  })
  const closing = transports.tcp({}, (events) => {
    if (events.some(({ kind }) => kind === 'data')) closed.push(closing.close())
  })
  const last = transports.tcp()
  const udp = transports.udp()
  const ports = await Promise.all([throwing, closing, last].map(listening))
  const udpPort = await boundPort(udp)
  const sockets = await Promise.all(ports.map((port) => client(port)))
  await until(() => [throwing, closing, last].every(({ metrics }) => metrics.connections === 1))
  for (const socket of sockets) socket.write('all at once')
  await sendDatagram('and this', udpPort)
  await until(() => last.metrics.bytesIn === 11 && udp.metrics.bytesIn === 8 && thrown.length > 0 && closed.length > 0)
  await Promise.all(closed)
  t.same(thrown, ['on purpose'])
  t.equal(closing.metrics.connections, 0)
  const { metrics } = last
  sockets[2].write('goes on')
  sockets[0].write('too')
  await until(() => metrics.bytesIn === 18 && throwing.metrics.bytesIn === 14)
  t.match(transports.events.map(({ kind }) => kind), ['listening', 'accepted', 'data', 'data'])
  for (const socket of sockets) socket.destroy()
})

onEveryBackend('each has its own async context, and its own limits', async (t, transports) => {
  const storage = new AsyncLocalStorage<string>()
  const seen = new Set<string>()
  const note = (kind: string) => () => { seen.add(`${kind} in ${String(storage.getStore())}`) }
  const tcp = storage.run('the first', () => transports.tcp({}, note('tcp')))
  const udp = storage.run('the second', () => transports.udp({}, note('udp')))
  const [port, udpPort] = [await listening(tcp), await boundPort(udp)]
  const socket = await client(port)
  await sendDatagram('x', udpPort)
  await until(() => tcp.metrics.connections === 1 && udp.metrics.datagramsIn === 1)
  t.same([...seen].sort(), ['tcp in the first', 'udp in the second'])
  const narrow = transports.tcp({ maxQueuedBytesTotal: 1000 })
  const wide = transports.tcp()
  const server = createServer((socket) => { socket.pause() }).listen(0, host)
  await once(server, 'listening')
  const to = { host, port: (server.address() as { port: number }).port }
  const connections = [narrow, wide].map((transport) => transport.connect(to))
  await until(() => narrow.metrics.connections === 1 && wide.metrics.connections === 1)
  for (const connection of connections) connection.write(Buffer.alloc(32 * 1024 * 1024))
  await until(() => narrow.metrics.connections === 0)
  t.match(narrow.metrics.errors, { ENOBUFS: 1 })
  t.equal(wide.metrics.connections, 1)
  t.ok(wide.metrics.queuedBytes > 1000)
  connections[1].abort()
  socket.destroy()
  server.close()
})

/** A process that has both, to see from outside. */
function program(backend: string, text: string): Promise<number | null> {
  const head = `
    const { openTransport, openUdpTransport } = await import('${CHOOSE}')
    const tcp = openTransport('native'), udp = openUdpTransport('native')
    tcp.open(() => {})
    udp.open(() => {})
    const listener = tcp.listen({ host: '${host}', port: 0 })
    const socket = udp.bind({ host: '${host}', port: 0 })
    await new Promise((resolve) => setImmediate(resolve))
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', head + text], {
    stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, MARKETPLACE_BACKEND: backend },
  })
  return once(child, 'close').then(([code]) => code as number | null)
}

onEveryBackend('one keeps the process alive, or does not, whatever the other does', async (t, { backend }) => {
  const STILL_THERE = '; setTimeout(() => process.exit(3), 500).unref()'
  const cases: [text: string, code: number][] = [
    ['tcp.unref()', 3], ['udp.unref()', 3], ['tcp.unref(); udp.unref()', 0],
    ['tcp.unref(); udp.close()', 0], ['udp.unref(); udp.ref(); tcp.close()', 3],
    ['tcp.unref(); udp.unref(); tcp.ref()', 3],
  ]
  await Promise.all(cases.map(async ([text, code]) => {
    t.equal(await program(backend, text + STILL_THERE), code, text)
  }))
})

onEveryBackend('what each has written goes out when the process exits', async (t, { backend }) => {
  const receiver = createSocket('udp4').bind(0, host)
  const got: string[] = []
  receiver.on('message', (data) => { got.push(`udp ${data.toString()}`) })
  const server = createServer((socket) => {
    socket.on('data', (data) => { got.push(`tcp ${data.toString()}`) })
  }).listen(0, host)
  await Promise.all([once(server, 'listening'), once(receiver, 'listening')])
  const { port } = server.address() as { port: number }
  t.equal(await program(backend, `
    const connection = tcp.connect({ host: '${host}', port: ${port} })
    while (tcp.metrics.connects === 0) await new Promise((resolve) => setImmediate(resolve))
    connection.write('last words')
    socket.send('last words', '${host}', ${receiver.address().port})
    process.exit(7)
  `), 7)
  await until(() => got.length === 2)
  t.same(got.sort(), ['tcp last words', 'udp last words'])
  server.close()
  receiver.close()
})

onEveryBackend('a worker that is terminated leaves nothing of it open', async (t, { backend }) => {
  const none = engineDescriptors()
  const isBusy = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(`
    import('${CHOOSE}').then(({ openTransport, openUdpTransport }) => {
      const { parentPort, workerData } = require('node:worker_threads')
      const tcp = openTransport('native', { backend: '${backend}' })
      const udp = openUdpTransport('native', { backend: '${backend}' })
      let listener
      tcp.open((events) => {
        if (events.some(({ kind }) => kind === 'data')) for (;;) Atomics.store(workerData, 0, 1)
      })
      udp.open(() => { parentPort.postMessage(listener.address.port) })
      listener = tcp.listen({ host: '${host}', port: 0 })
      udp.bind({ host: '${host}', port: 0 })
    })
  `, { eval: true, workerData: isBusy })
  const [port] = await once(worker, 'message') as [number]
  const socket: Socket = await client(port)
  socket.on('error', () => undefined)
  const gone = new Promise((resolve) => { socket.resume().once('end', () => socket.end()).once('close', resolve) })
  socket.write('go')
  // It is in the middle of a turn then.
  await until(() => Atomics.load(isBusy, 0) === 1)
  await worker.terminate()
  await gone
  t.equal(engineDescriptors(), none)
  const again = createServer().listen(port, host)
  await once(again, 'listening')
  again.close()
})

onEveryBackend('busy polling is for all of them', async (t, transports) => {
  const none = engineDescriptors()
  const tcp = transports.tcp({ busyPoll: 200 })
  const one = engineDescriptors()
  const udp = transports.udp({ busyPoll: 200 })
  t.equal(engineDescriptors(), one)
  t.ok(one > none)
  const [port, udpPort] = [await listening(tcp), await boundPort(udp)]
  const socket = await client(port)
  for (let i = 1; i <= 20; i++) {
    socket.write('x')
    await sendDatagram('y', udpPort)
    await until(() => tcp.metrics.bytesIn === i && udp.metrics.bytesIn === i)
  }
  await tcp.close()
  await sendDatagram('z', udpPort)
  await until(() => udp.metrics.bytesIn === 21)
  socket.destroy()
})

onEveryBackend('borrowed memory is used again only when none of them looks at it', async (t, transports) => {
  const kept: Buffer[] = []
  const keeps = transports.tcp({ buffers: 'borrowed', poison: true }, (events) => {
    for (const { data } of events) if (data !== undefined) kept.push(data)
    return kept.length === 0
  })
  const other = transports.tcp({ buffers: 'borrowed', poison: true })
  const sockets = await Promise.all((await Promise.all([keeps, other].map(listening))).map((port) => client(port)))
  sockets[0].write('kept')
  await until(() => kept.length === 1)
  for (let i = 1; i <= 10; i++) {
    sockets[1].write('not kept')
    await until(() => other.metrics.bytesIn === 8 * i)
  }
  t.equal(kept[0].toString(), 'kept')
  keeps.reuse()
  sockets[1].write('once more')
  await until(() => other.metrics.bytesIn === 89)
  await until(() => kept[0].toString() !== 'kept')
  for (const socket of sockets) socket.destroy()
})

/**
 * Memory of slabs is used again once V8 has freed it: without page faults, not before, within its limits,
 * and given back in the end.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { client, collectGarbage, pattern, sleep, until } from '../support/util.js'
import { portOf, Station, VARIANTS } from '../support/transports.js'
import type { Transport, TransportListener, TransportOptions } from '../../src/transport/seam/transport.js'
import { loadNative } from '../../src/transport/native/transport.js'
import { nativeUdpTransport } from '../../src/transport/native/udp.js'
import { Station as UdpStation } from './udp-station.js'
import { patient } from '../support/patience.js'

const KIBIBYTE = 1024
const MEBIBYTE = 1024 * 1024
const SLAB = 128 * KIBIBYTE

type Body = (t: Test, open: (options?: TransportOptions) => Station) => Promise<void>

/** On each of the engine's backends. */
function onNative(name: string, body: Body): void {
  for (const { name: variant, make, skip } of VARIANTS) {
    if (variant === 'node') continue
    void t.test(`${variant}: ${name}`, { skip, timeout: patient(30_000) }, async (t) => {
      await body(t, (options) => {
        const station = new Station(make(options), variant)
        t.teardown(() => station.transport.close())
        return station
      })
    })
  }
}

/** Page faults of this process that needed no disk. */
function minorFaults(): number {
  const [, fields = ''] = readFileSync('/proc/self/stat', 'utf8').split(') ')
  return Number(fields.split(' ')[7])
}

/** Garbage is collected, and what V8 had from outside has come back: it is told in later turns. */
async function collected(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    collectGarbage()
    await sleep(5)
  }
}

/** Sends `bytes` as they are to the listener; resolves when `received` says that they have come. */
async function send(listener: TransportListener, bytes: Buffer, received: () => boolean): Promise<void> {
  const socket = await client(portOf(listener))
  socket.on('error', () => undefined).write(bytes)
  await until(received, 1)
  // Otherwise the connection lingers.
  socket.resetAndDestroy()
}

/** Of which no two slabs' worth are the same. */
function bytesOf(length: number, seed = 1): Buffer {
  return Buffer.alloc(length, pattern(SLAB + 1, seed))
}

onNative('memory comes back without page faults', async (t, open) => {
  let length = 0
  const station = open()
  const listener = await station.listen({ data: (_connection, data) => { length += data.length } })
  const socket = await client(portOf(listener))
  const block = Buffer.alloc(256 * KIBIBYTE, 'x')
  const receive = async (bytes: number): Promise<void> => {
    const end = length + bytes
    for (let at = 0; at < bytes; at += block.length) {
      if (!socket.write(block)) await new Promise((resolve) => socket.once('drain', resolve))
    }
    await until(() => length === end, 1)
  }
  let least = Infinity
  // At first, the pool grows to what is needed between two collections.
  for (let round = 0; round < 10 && least >= 4; round++) {
    const before = minorFaults()
    await receive(48 * MEBIBYTE)
    least = Math.min(least, (minorFaults() - before) / 48)
  }
  t.ok(least < 4, `${least} faults per MiB`)
  t.ok(station.transport.metrics.slabBytesIdle <= 64 * MEBIBYTE)
  socket.resetAndDestroy()
})

onNative('views are right when other memory was used again, and when the engine is closed', async (t, open) => {
  const station = open()
  const kept: Buffer[] = []
  let length = 0
  let dropping = false
  const listener = await station.listen({
    data: (_connection, data) => {
      length += data.length
      if (!dropping) kept.push(data)
    },
  })
  const sent = bytesOf(16 * MEBIBYTE)
  await send(listener, sent, () => length === sent.length)
  dropping = true
  for (let round = 1; round <= 2; round++) {
    await send(listener, bytesOf(8 * MEBIBYTE, round + 1), () => length === sent.length + round * 8 * MEBIBYTE)
    await collected()
  }
  t.ok(station.transport.metrics.slabBytesIdle > 0, 'some of it waits to be used again')
  t.ok(Buffer.concat(kept).equals(sent), 'what is kept is as it was')
  await station.transport.close()
  await collected()
  t.ok(Buffer.concat(kept).equals(sent), 'also when the engine is closed')
  await collected()
  const before = process.memoryUsage()
  kept.length = 0
  await collected()
  const after = process.memoryUsage()
  t.ok(before.external - after.external > 14 * MEBIBYTE, 'V8 has counted it')
  t.ok(before.rss - after.rss > 10 * MEBIBYTE, `the system got ${before.rss - after.rss} bytes back`)
  t.equal(station.transport.metrics.slabBytesIdle, 0)
})

onNative('when nothing comes any more, idle memory is given back', async (t, open) => {
  const station = open()
  const { metrics } = station.transport
  const listener = await station.listen({ data: () => undefined })
  const bytes = bytesOf(16 * MEBIBYTE)
  // What comes back while nothing was taken for a while is not kept: a busy machine may need a second time.
  for (let got = 0; metrics.slabBytesIdle < 8 * MEBIBYTE; got += bytes.length) {
    await send(listener, bytes, () => metrics.bytesIn === got + bytes.length)
    await collected()
  }
  const { rss } = process.memoryUsage()
  await until(() => metrics.slabBytesIdle === 0, 50)
  t.ok(rss - process.memoryUsage().rss > 4 * MEBIBYTE, 'the system has it')
})

onNative('idle memory is at most a quarter of maxSlabBytes', async (t, open) => {
  const station = open({ maxSlabBytes: 4 * MEBIBYTE })
  let length = 0
  const listener = await station.listen({ data: (_connection, data) => { length += data.length } })
  await send(listener, bytesOf(16 * MEBIBYTE), () => length === 16 * MEBIBYTE)
  await collected()
  const { slabBytesIdle } = station.transport.metrics
  t.ok(slabBytesIdle > 0 && slabBytesIdle <= MEBIBYTE, `${slabBytesIdle} bytes are idle`)
})

/** Takes an ArrayBuffer's memory away from it: another one has it, as soon as `waiting` says which. */
function moved(buffer: ArrayBuffer): ArrayBuffer {
  const { transfer } = ArrayBuffer.prototype as { transfer?: () => ArrayBuffer }
  if (transfer !== undefined) return transfer.call(buffer)
  let controller: ReadableByteStreamController | undefined
  const stream = new ReadableStream({ type: 'bytes', start: (it) => { controller = it } })
  // It answers the pending read with the memory that it has moved.
  const read = stream.getReader().read()
  controller?.enqueue(new Uint8Array(buffer))
  waiting.push(read.then(({ value }) => (value as Uint8Array).buffer as ArrayBuffer))
  return buffer
}
const waiting: Promise<ArrayBuffer>[] = []

onNative('memory that was moved to another ArrayBuffer is not used again meanwhile', async (t, open) => {
  const station = open()
  const taken: { at: number, bytes: ArrayBuffer }[] = []
  let length = 0
  let taking = true
  const listener = await station.listen({
    data: (_connection, data) => {
      length += data.length
      const { buffer } = data
      // Only a full one, into which nothing will be received any more.
      if (!taking || data.byteOffset + data.length < buffer.byteLength || buffer.byteLength !== SLAB) return
      taken.push({ at: length - data.length - data.byteOffset, bytes: moved(buffer as ArrayBuffer) })
      t.equal(buffer.byteLength, 0)
    },
  })
  const sent = bytesOf(8 * MEBIBYTE)
  await send(listener, sent, () => length === sent.length)
  for (const [i, bytes] of (await Promise.all(waiting.splice(0))).entries()) taken[i].bytes = bytes
  t.ok(taken.length > 8, `${taken.length} slabs were moved`)
  taking = false
  const copies = taken.map(({ bytes }) => Buffer.from(new Uint8Array(bytes)))
  for (let round = 1; round <= 2; round++) {
    await send(listener, bytesOf(8 * MEBIBYTE, round + 1), () => length === sent.length + round * 8 * MEBIBYTE)
    await collected()
  }
  await station.transport.close()
  await collected()
  t.ok(taken.every(({ bytes }, i) => copies[i].equals(new Uint8Array(bytes))), 'they are as they were')
})

const WORKER = `
  import { parentPort } from 'node:worker_threads'
  const { openTransport } = await import(TRANSPORT)
  const transport = openTransport('native')
  const kept = []
  let length = 0
  transport.open((events) => {
    for (const { kind, listener, data } of events) {
      if (kind === 'listening') parentPort.postMessage({ port: listener.address.port })
      if (data === undefined) continue
      kept.push(data)
      length += data.length
      if (length !== ${8 * MEBIBYTE}) continue
      // A byte stream moves the memory to an ArrayBuffer which can be posted.
      let controller
      const stream = new ReadableStream({ type: 'bytes', start: (it) => { controller = it } })
      const reader = stream.getReader()
      const read = reader.read()
      const copy = new Uint8Array(data)
      let chunk = Promise.resolve({ value: copy })
      try {
        controller.enqueue(data)
        chunk = read
      } catch {}
      chunk.then(({ value }) => { parentPort.postMessage({ value, copy }, [value.buffer]) })
    }
  })
  transport.listen({ host: '127.0.0.1', port: 0 })
  parentPort.on('message', () => { process.exit() })
`

void t.test('a worker ends while it keeps views, and others what it has moved', {
  skip: VARIANTS[0].skip, timeout: patient(60_000),
}, async (t) => {
  const { href } = new URL('../../src/transport/choose.js', import.meta.url)
  const url = new URL(`data:text/javascript,${encodeURIComponent(WORKER.replace('TRANSPORT', JSON.stringify(href)))}`)
  const left: { value: Uint8Array, copy: Uint8Array }[] = []
  let rss = 0
  for (let i = 0; i < 8; i++) {
    const worker = new Worker(url)
    const exited = new Promise((resolve) => worker.once('exit', resolve))
    const next = (): Promise<unknown> => new Promise((resolve, reject) => {
      worker.once('message', resolve).once('error', reject)
    })
    const { port } = await next() as { port: number }
    const result = next()
    const socket = await client(port)
    socket.on('error', () => undefined).write(bytesOf(8 * MEBIBYTE))
    left.push(await result as typeof left[number])
    if (i % 2 === 0) await worker.terminate()
    else worker.postMessage('end')
    await exited
    socket.resetAndDestroy()
    await collected()
    if (i === 1) ({ rss } = process.memoryUsage())
  }
  t.ok(left.every(({ value, copy }) => value.length > 0 && Buffer.from(copy).equals(value)))
  const more = process.memoryUsage().rss - rss
  t.ok(more < 24 * MEBIBYTE, `${more} bytes more after 6 further workers, each with 8 MiB`)
})

onNative('thousands of transports that come and go leave nothing', async (t, open) => {
  const { variant, transport: first } = open()
  const make = VARIANTS.find(({ name }) => name === variant)?.make ?? ((): Transport => first)
  const descriptors = (): number => readdirSync('/proc/self/fd').length
  const mappings = (): number => readFileSync('/proc/self/maps', 'utf8').split('\n').length
  let before = { rss: 0, descriptors: 0, mappings: 0 }
  // Rings take their time to go; io_uring's are as good as any after fewer. `npm run test:soak` takes more.
  const soak = process.env['MARKETPLACE_SOAK'] === '1'
  const rounds = variant === 'native io_uring' ? 300 : soak ? 10_000 : 2000
  for (let i = 0; i < rounds; i++) {
    const transport = make()
    transport.open(() => undefined)
    await transport.close()
    // What V8 and libuv keep for themselves is there by then.
    if (i !== rounds * 0.4) continue
    await collected()
    before = { rss: process.memoryUsage().rss, descriptors: descriptors(), mappings: mappings() }
  }
  await collected()
  const rss = process.memoryUsage().rss - before.rss
  t.ok(rss < 32 * MEBIBYTE, `${rss} bytes more`)
  t.ok(descriptors() <= before.descriptors + 4, 'no descriptors')
  t.ok(mappings() <= before.mappings + 100, `${mappings()} mappings, ${before.mappings} before`)
})

const udp = loadNative()

void t.test('datagrams: memory comes back without page faults', {
  skip: udp.ok ? false : udp.reason, timeout: patient(30_000),
}, async (t) => {
  const station = new UdpStation(nativeUdpTransport())
  t.teardown(() => station.transport.close())
  const [socket, log, port] = await station.bind({ receiveBufferSize: MEBIBYTE })
  const data = pattern(16 * KIBIBYTE)
  const receive = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      socket.send(data, '127.0.0.1', port)
      if (i % 4 === 3) await until(() => log.received.length === 4, 0)
      if (i % 4 === 3) log.received.length = 0
    }
  }
  let least = Infinity
  for (let round = 0; round < 12 && least >= 8; round++) {
    const before = minorFaults()
    await receive(16 * MEBIBYTE / data.length)
    least = Math.min(least, (minorFaults() - before) / 16)
  }
  t.ok(least < 8, `${least} faults per MiB`)
})

/** Receives 512 MiB with a heap of between 8 and 9 MB, and says how often all of that was collected meanwhile. */
const SMALL_HEAP = `
  import { constants, PerformanceObserver } from 'node:perf_hooks'
  import { getHeapStatistics } from 'node:v8'
  import { _, endpoint, groundVm, spawn, tcpBare, tcpChannel, tcpListener, tcpListening } from 'marketplace-native'
  const used = () => { gc(); return getHeapStatistics().used_heap_size }
  const kept = []
  while (used() < 8.5e6) for (let i = 0; i < 1000; i++) kept.push({ i })
  const whole = [constants.NODE_PERFORMANCE_GC_MAJOR, constants.NODE_PERFORMANCE_GC_INCREMENTAL]
  let collections = 0
  let bytes = 0
  const count = (list) => { for (const { detail } of list.getEntries()) if (whole.includes(detail.kind)) collections++ }
  const end = () => { console.log(collections, kept.length > 0); process.exit() }
  await groundVm(() => [
    tcpBare({ host: '127.0.0.1' }),
    spawn(() => [
      endpoint.subscriber(tcpListening(_, _), { onPresence: ({ address }) => { console.log(address.port) } }),
      endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
        interest: 'observer',
        onPresence: ({ source, destination }) => {
          new PerformanceObserver(count).observe({ entryTypes: ['gc'] })
          return spawn(() => endpoint.subscriber(tcpChannel(source, destination, _), {
            onMessage: ({ subpacket }) => {
              bytes += subpacket.length
              if (bytes === 512 * 2 ** 20) setTimeout(end, 50)
            },
          }))
        },
      }),
    ]),
  ])`

void t.test('a small heap is not collected again and again for what is received', {
  skip: VARIANTS.some(({ name, skip }) => name !== 'node' && !skip) ? false : 'the engine is not here',
  timeout: patient(60_000),
}, async (t) => {
  const library = JSON.stringify(new URL('../../src/index.js', import.meta.url).href)
  const program = SMALL_HEAP.replace("'marketplace-native'", library)
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' },
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const socket = await client(Number((await lines.next()).value))
  socket.on('error', () => undefined)
  const block = Buffer.alloc(MEBIBYTE)
  for (let i = 0; i < 512; i++) if (!socket.write(block)) await once(socket, 'drain')
  const [collections] = String((await lines.next()).value).split(' ').map(Number)
  t.ok(collections <= 4, `${collections} times`)
  socket.destroy()
})

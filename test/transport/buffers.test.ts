/** The memory of received bytes: how long it stays, what pins it, its limit, and what may be done to it. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInThisContext } from 'node:vm'
import t, { type Test } from 'tap'
import { client, collectGarbage, pattern, sleep, until } from '../support/util.js'
import { ECHO, onEveryTransport, portOf, Station, VARIANTS } from '../support/transports.js'
import type { TransportOptions } from '../../src/transport/seam/transport.js'
import { patient } from '../support/patience.js'

const KIBIBYTE = 1024
const MEBIBYTE = 1024 * 1024

type Body = (t: Test, open: (options?: TransportOptions) => Station) => Promise<void>

/** What only the native engine does, on each of its backends. */
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

onEveryTransport('what is received stays as it is for as long as it is kept', async (t, open) => {
  const kept: Buffer[] = []
  let length = 0
  const listener = await open().listen({
    data: (_connection, data) => {
      kept.push(data)
      length += data.length
    },
  })
  const sent = pattern(6 * MEBIBYTE)
  const socket = await client(portOf(listener))
  for (let at = 0; at < sent.length; at += 100_000) socket.write(sent.subarray(at, at + 100_000))
  await until(() => length === sent.length)
  collectGarbage()
  t.ok(Buffer.concat(kept).equals(sent))
  socket.destroy()
})

/** Bytes outside of V8's heap, as those of ArrayBuffers are, that `body` leaves reachable. */
async function growth(body: () => Promise<void>): Promise<number> {
  collectGarbage()
  const before = process.memoryUsage().external
  await body()
  // What was freed is counted when the sweeper has seen it.
  for (let i = 0; i < 3; i++) {
    collectGarbage()
    await sleep(5)
  }
  return process.memoryUsage().external - before
}

onNative('short pieces that are kept pin no more than twice their bytes', async (t, open) => {
  const PIECES = 20_000
  const SIZE = 512
  const kept: Buffer[] = []
  let wanted = 0
  const loudPorts = new Set<number | undefined>()
  let dropped = 0
  const station = open()
  const listener = await station.listen({
    data: (connection, data) => {
      // A block of the ring's can end within a piece.
      const begun = (connection.context as { got?: number }).got ?? 0
      const got = begun + data.length
      ;(connection.context as { got?: number }).got = got
      if (data.length > SIZE || loudPorts.has(connection.remote?.port)) {
        dropped += data.length
        return
      }
      kept.push(data)
      wanted += data.length
      if (got % SIZE === 0) connection.write('.')
    },
  })
  const port = portOf(listener)
  const talkers = await Promise.all(Array.from({ length: 50 }, () => client(port)))
  const loud = await client(port)
  loudPorts.add(loud.localPort)
  const piece = pattern(SIZE)
  const bytes = await growth(async () => {
    // Each next piece is sent when the one before has come: one read each.
    for (const talker of talkers) {
      talker.on('data', () => {
        if (wanted < (PIECES - talkers.length) * SIZE) talker.write(piece)
      })
      talker.write(piece)
    }
    // Reads of up to 128 KiB between them, of which nothing is kept.
    const noise = pattern(64 * KIBIBYTE + 1)
    while (wanted < (PIECES - talkers.length) * SIZE) {
      loud.write(noise)
      await sleep(1)
    }
  })
  t.ok(dropped > MEBIBYTE, `${dropped} bytes came between them`)
  t.ok(bytes <= 2 * wanted, `${bytes} bytes are pinned by ${wanted}`)
  const { slabBytesPinned, slabBytesFree, slabBytes } = station.transport.metrics
  t.ok(slabBytesPinned <= 2 * wanted && slabBytesPinned > wanted / 2, `${slabBytesPinned} by the metrics`)
  t.equal(slabBytes, slabBytesFree + slabBytesPinned)
  kept.length = 0
  await growth(async () => { await sleep(1) })
  t.ok(station.transport.metrics.slabBytesPinned < MEBIBYTE, 'freed when nothing is kept')
  for (const socket of [...talkers, loud]) socket.destroy()
})

onNative('a part of a long piece pins its slab; a copy of it does not', async (t, open) => {
  const views: Buffer[] = []
  const copies: Buffer[] = []
  let length = 0
  const listener = await open().listen({
    data: (_connection, data) => {
      views.push(data.subarray(0, 512))
      copies.push(Buffer.from(data.subarray(0, 512)))
      length += data.length
    },
  })
  const socket = await client(portOf(listener))
  const total = 16 * MEBIBYTE
  const both = await growth(async () => {
    socket.write(pattern(total))
    await until(() => length === total)
  })
  const withoutViews = await growth(async () => {
    views.length = 0
    await sleep(1)
  })
  const most = (length / (128 * KIBIBYTE)) * 2 * 128 * KIBIBYTE + 4 * MEBIBYTE
  t.ok(both <= most, `${both} bytes are pinned by ${copies.length} views: never more than was received`)
  t.ok(both + withoutViews <= 2 * MEBIBYTE, `${both + withoutViews} bytes by the copies`)
  socket.destroy()
})

function isGlibc(): boolean {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime !== undefined
}

const ALLOCATES = `
  import { readFileSync } from 'node:fs'
  import { openTransport } from TRANSPORT
  const transport = openTransport('native')
  transport.open(() => undefined)
  const heap = () => {
    const maps = readFileSync('/proc/self/maps', 'utf8')
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) .*\\[heap\\]$/m.exec(maps)
    return parseInt(to, 16) - parseInt(from, 16)
  }
  const before = heap()
  const big = Buffer.allocUnsafeSlow(24 * 1024 * 1024).fill(1)
  console.log(heap() - before >= big.length)
  await transport.close()
`

void t.test('malloc does what it does without us', async (t) => {
  if (VARIANTS[0].skip || !isGlibc()) return void t.pass('only of glibc is known what it does')
  const { href } = new URL('../../src/transport/choose.js', import.meta.url)
  const program = ALLOCATES.replace('TRANSPORT', JSON.stringify(href))
  // A big block is not taken from the heap, which grows only, but mapped, and given back when it is freed.
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath, ['--input-type=module', '-e', program],
  )
  t.equal(stdout, 'false\n', stderr)
})

onNative('borrowed: what is kept is overwritten when its turn is over', async (t, open) => {
  let kept: Buffer | undefined
  let seen = ''
  const station = open({ buffers: 'borrowed', poison: true })
  const listener = await station.listen({
    data: (connection, data) => {
      kept = data
      seen += data.toString()
      connection.write(data)
    },
  })
  const socket = await client(portOf(listener))
  let answer = ''
  socket.on('data', (data) => { answer += data.toString() })
  socket.write('hello')
  await until(() => answer === 'hello')
  t.equal(seen, 'hello', 'in its turn it is what was sent')
  t.same(kept, Buffer.alloc(5, 0xdb))
  socket.destroy()
})

onNative('borrowed: the same memory is used turn after turn, for big and small', async (t, open) => {
  const buffers = new Set<ArrayBufferLike>()
  const station = open({ buffers: 'borrowed', poison: true })
  const listener = await station.listen({
    ...ECHO,
    data: (connection, data) => {
      buffers.add(data.buffer)
      connection.write(data)
    },
  })
  for (const size of [1, 600, 20_000]) {
    const sent = pattern(size * 100, size)
    const socket = await client(portOf(listener))
    const back: Buffer[] = []
    let length = 0
    socket.on('data', (data) => {
      back.push(data)
      length += data.length
    })
    for (let at = 0; at < sent.length; at += size) {
      socket.write(sent.subarray(at, at + size))
      await until(() => length >= at + size, 0)
    }
    t.ok(Buffer.concat(back).equals(sent), `messages of ${size} bytes`)
    socket.destroy()
  }
  t.ok(buffers.size <= 16, `${buffers.size} slabs`)
  t.equal(station.transport.metrics.slabBytesPinned, 0)
})

onNative('borrowed: 32 MiB there and back, most of it queued on the way', async (t, open) => {
  const listener = await open({ buffers: 'borrowed', poison: true }).listen(ECHO)
  const socket = await client(portOf(listener))
  const sent = pattern(MEBIBYTE)
  let length = 0
  let wrong = 0
  socket.on('data', (data) => {
    for (let at = 0; at < data.length;) {
      const from = (length + at) % sent.length
      const part = data.subarray(at, at + Math.min(data.length - at, sent.length - from))
      if (!part.equals(sent.subarray(from, from + part.length))) wrong++
      at += part.length
    }
    length += data.length
  })
  for (let i = 0; i < 32; i++) socket.write(sent)
  await until(() => length === 32 * MEBIBYTE)
  t.equal(wrong, 0)
  socket.destroy()
})

for (const { name, make, skip } of VARIANTS) {
  void t.test(`${name}: a sink that says false keeps the memory until reuse`, { skip }, async (t) => {
    const transport = make({ buffers: 'borrowed', poison: true })
    t.teardown(() => transport.close())
    const kept: Buffer[] = []
    let port = 0
    transport.open((events) => {
      for (const { kind, data, listener } of events) {
        if (kind === 'listening') port = listener?.address?.port ?? 0
        if (data !== undefined) kept.push(data)
      }
      return false
    })
    transport.listen({ host: '127.0.0.1', port: 0 })
    await until(() => port !== 0)
    const socket = await client(port)
    for (const text of ['one', 'two', 'three']) {
      const { length } = kept
      socket.write(text)
      await until(() => kept.length > length)
    }
    t.equal(Buffer.concat(kept).toString(), 'onetwothree')
    transport.reuse()
    const over = name === 'node' ? 'onetwothree' : Buffer.alloc(11, 0xdb).toString()
    t.equal(Buffer.concat(kept).toString(), over, 'the node transport lends nothing')
    socket.destroy()
  })
}

onNative('at maxSlabBytes reading waits; it goes on when views are let go, nothing lost', async (t, open) => {
  const station = open({ maxSlabBytes: 2 * MEBIBYTE })
  const { metrics } = station.transport
  const sent = pattern(8 * MEBIBYTE)
  let kept: Buffer[] = []
  let at = 0
  let wrong = 0
  let stalls = 0
  const listener = await station.listen({
    data: (_connection, data) => {
      if (!data.equals(sent.subarray(at, at + data.length))) wrong++
      at += data.length
      kept.push(data)
    },
  })
  const socket = await client(portOf(listener))
  socket.write(sent)
  while (at < sent.length) {
    await until(() => metrics.slabStalls > stalls || at === sent.length)
    stalls = metrics.slabStalls
    t.ok(metrics.slabBytes <= 2 * MEBIBYTE, `${metrics.slabBytes} bytes in use`)
    const stoppedAt = at
    // Long enough to look for room more than once.
    await sleep(60)
    t.equal(at, stoppedAt, 'nothing is read meanwhile')
    kept = []
    // No garbage collector is called here: nobody else would.
    await until(() => at > stoppedAt || at === sent.length)
  }
  t.equal(wrong, 0)
  t.ok(stalls >= 2, `${stalls} stalls`)
  socket.destroy()
})

setFlagsFromString('--allow-natives-syntax')
type Detach = (buffer: ArrayBufferLike) => void
const detaching: Detach[] = [runInThisContext('(buffer) => %ArrayBufferDetach(buffer)') as Detach]
// Node 21 and newer: the memory lives on in another buffer, which is kept for a while.
if ('transfer' in ArrayBuffer.prototype) {
  const taken: unknown[] = []
  detaching.push((buffer) => {
    taken.push((buffer as unknown as { transfer(): unknown }).transfer())
    if (taken.length > 20) taken.shift()
  })
}
let detachments = 0
let refusals = 0

/** In all ways by turns. Newer Nodes have a key without which memory of addons is not detached. */
const detach: Detach = (buffer) => {
  if (buffer.byteLength === 0) return
  try {
    detaching[detachments++ % detaching.length](buffer)
  } catch (error) {
    const refused = error instanceof TypeError && /ArrayBufferDetachKey|not detachable/.test(error.message)
    if (!refused) throw error
    refusals++
  }
}

onNative('a slab cannot be transferred: a copy of it is', async (t, open) => {
  const listener = await open().listen({
    data: (connection, data) => {
      const buffer = data.buffer as ArrayBuffer
      const { byteLength } = buffer
      try {
        t.equal(structuredClone(buffer, { transfer: [buffer] }).byteLength, byteLength)
      } catch (error) {
        t.match(error, { name: 'DataCloneError' }, 'newer Nodes say no')
      }
      t.equal(buffer.byteLength, byteLength)
      t.throws(() => { (buffer as unknown as { resize(size: number): void }).resize(1) }, TypeError)
      connection.write(data)
    },
  })
  const socket = await client(portOf(listener))
  const answer = new Promise<Buffer>((resolve) => socket.once('data', resolve))
  socket.write('hello')
  t.equal((await answer).toString(), 'hello')
  socket.destroy()
})

for (const buffers of ['owned', 'borrowed'] as const) {
  onNative(`${buffers}: slabs that are detached at any time crash nothing`, async (t, open) => {
    const station = open({ buffers, poison: true })
    let events = 0
    let detached = 0
    const listener = await station.listen({
      data: (connection, data) => {
        // Before, after, or without being used for output.
        if (++events % 7 === 0) detach(data.buffer)
        if (data.length > 0) connection.write(data)
        if (events % 11 === 0) detach(data.buffer)
        if (events % 13 === 0) setImmediate(() => { detach(data.buffer) })
        if (data.length === 0) detached++
      },
    })
    const sockets = await Promise.all(Array.from({ length: 20 }, () => client(portOf(listener))))
    const sent = pattern(MEBIBYTE)
    let ended = 0
    for (const socket of sockets) socket.on('error', () => undefined).on('close', () => { ended++ }).resume()
    for (const [i, socket] of sockets.entries()) {
      const size = i % 2 === 0 ? 300 : 30_000
      for (let at = 0; at < 100 * size && at < sent.length; at += size) {
        socket.write(sent.subarray(at, at + size))
        if (at % (size * 10) === 0) await sleep(0)
      }
      socket.end()
    }
    await until(() => events > 150 && station.transport.metrics.queuedBytes === 0)
    t.ok(detached > 0 || refusals > 0)
    for (const socket of sockets) socket.destroy()
    await until(() => ended === sockets.length)
    const after = await client(portOf(listener))
    const before = events
    after.on('error', () => undefined).write('still there')
    await until(() => events > before)
    after.destroy()
  })
}

onEveryTransport('isolated: pieces of any size have memory of their own', async (t, open) => {
  const kept: Buffer[] = []
  let length = 0
  // Memory that is received into again is overwritten before: what is no copy would show it.
  const listener = await open({ buffers: 'isolated', poison: true }).listen({
    data: (connection, data) => {
      kept.push(data)
      length += data.length
      connection.write(data)
    },
  })
  const port = portOf(listener)
  const sizes = [1, 64, 65, 512, 2048, 2049, 128 * KIBIBYTE, MEBIBYTE]
  const sent = sizes.map((size) => pattern(size, size))
  for (const bytes of sent) {
    const socket = await client(port)
    const back: Buffer[] = []
    let returned = 0
    socket.on('data', (data) => {
      back.push(data)
      returned += data.length
    })
    socket.write(bytes)
    await until(() => returned === bytes.length)
    t.ok(Buffer.concat(back).equals(bytes), `${bytes.length} bytes came back`)
    socket.destroy()
  }
  t.ok(Buffer.concat(kept).equals(Buffer.concat(sent)), 'and are as they were')
  t.strictSame(kept.filter((data) => data.buffer.byteLength !== data.length), [], 'nothing is beside them')
  const moved = kept.map((data) => structuredClone(data, { transfer: [data.buffer as ArrayBuffer] }))
  t.ok(kept.every((data) => data.length === 0), 'they can be transferred')
  t.ok(Buffer.concat(moved).equals(Buffer.concat(sent)))
  t.equal(length, Buffer.concat(sent).length)
})

onNative('isolated: slabs are used again at once, whatever the program keeps', async (t, open) => {
  const station = open({ buffers: 'isolated', maxSlabBytes: MEBIBYTE })
  const kept: Buffer[] = []
  let length = 0
  const listener = await station.listen({
    data: (_connection, data) => {
      kept.push(data)
      length += data.length
    },
  })
  const socket = await client(portOf(listener))
  const sent = pattern(4 * MEBIBYTE)
  socket.write(sent)
  await until(() => length === sent.length)
  t.ok(Buffer.concat(kept).equals(sent))
  t.equal(station.transport.metrics.slabBytesPinned, 0)
  socket.destroy()
})

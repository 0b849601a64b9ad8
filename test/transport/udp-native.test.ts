/** What only the native transport for datagrams has: memory lent to it, and worker threads. */
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { addonOrReason } from '../../src/transport/native/addon.js'
import { loadNative } from '../../src/transport/native/transport.js'
import { nativeUdpTransport } from '../../src/transport/native/udp.js'
import { collectGarbage, pattern, until } from '../support/util.js'
import { Station } from './udp-station.js'
import { patient } from '../support/patience.js'

const loaded = loadNative()
const options = { skip: loaded.ok ? false : loaded.reason, timeout: patient(30_000) }

/** Takes the memory of a datagram away from everyone. */
function movedAway(data: Buffer): Buffer {
  const memory = data.buffer as ArrayBuffer
  structuredClone(memory, { transfer: [memory] })
  return data
}

void t.test('datagrams stay as they are, whatever happens to the memory of others', options, async (t) => {
  const station = new Station(nativeUdpTransport())
  const [socket, log, port] = await station.bind({ receiveBufferSize: 1024 * 1024 })
  const kept = new Map<number, Buffer>()
  for (let i = 0; i < 2_000; i++) {
    const data = pattern(1 + (i * 37) % 1400, i)
    socket.send(data, '127.0.0.1', port)
    await until(() => log.received.length === i + 1, 0)
    const { data: got } = log.received[i]
    if (!got.equals(data)) t.fail(`datagram ${i} is wrong`)
    // Now and then the program moves the memory to somewhere else: the engine must not write into it.
    if (i % 97 === 0) kept.set(i, movedAway(got))
    else if (i % 7 === 0) kept.set(i, got)
    if (i % 300 === 0) collectGarbage()
  }
  let wrong = 0
  for (const [i, data] of kept) {
    if (data.length > 0 && !data.equals(pattern(1 + (i * 37) % 1400, i))) wrong += 1
  }
  t.equal(wrong, 0)
  await station.transport.close()
  t.strictSame(station.violations, [])
})

void t.test('an exception in the sink is uncaught, and the transport goes on', options, async (t) => {
  const transport = nativeUdpTransport()
  const caught: unknown[] = []
  const catcher = (error: unknown): void => { caught.push(error) }
  const before = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException').on('uncaughtException', catcher)
  let received = 0
  transport.open((events) => {
    for (const { kind, socket } of events) {
      if (kind === 'bound') for (let i = 0; i < 2; i++) socket.send('x', '127.0.0.1', socket.address!.port)
      if (kind !== 'datagram') continue
      received += 1
      if (received === 1) {
        socket.send('y', '127.0.0.1', socket.address!.port)
        throw new Error('from the sink')
      }
    }
  })
  transport.bind({ host: '127.0.0.1', port: 0 })
  await until(() => received > 0 && transport.metrics.datagramsIn === 3)
  process.off('uncaughtException', catcher)
  for (const listener of before) process.on('uncaughtException', listener)
  t.match(caught, [{ message: 'from the sink' }])
  await transport.close()
})

const WORKER = `
const { nativeUdpTransport } = await import(process.env.UDP_NATIVE)
const { parentPort } = await import('node:worker_threads')
const transport = nativeUdpTransport()
transport.open((events) => {
  for (const { kind, socket, data } of events) {
    if (kind === 'bound') parentPort.postMessage('bound')
    if (kind === 'bound' || kind === 'datagram') {
      for (let i = 0; i < 3; i++) socket.send('again', '127.0.0.1', socket.address.port)
    }
  }
})
transport.bind({ host: '127.0.0.1', port: 0 })
`

void t.test('workers that are terminated while datagrams fly', options, async (t) => {
  const { href } = new URL('../../src/transport/native/udp.js', import.meta.url)
  for (let i = 0; i < 8; i++) {
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(WORKER)}`), {
      env: { ...process.env, UDP_NATIVE: href },
    })
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    await new Promise((resolve) => setTimeout(resolve, i * 3))
    t.equal(await worker.terminate(), 1)
  }
})

void t.test('what is not an engine is refused', options, (t) => {
  const loaded = addonOrReason()
  if (!loaded.ok) throw new Error(loaded.reason)
  const { addon } = loaded
  t.throws(() => addon.bind({}, 0, '127.0.0.1', 0, new Int32Array(10)), TypeError)
  t.throws(() => addon.multicast({}, 1, '127.0.0.1'), TypeError)
  t.ok(addon.parseAddress('127.0.0.1', new Int32Array(5)) < 0, 'too short')
  t.ok(addon.parseAddress('localhost', new Int32Array(6)) < 0)
  t.end()
})

void t.test('the memory of datagrams cannot be transferred from under other senders', options, async (t) => {
  const station = new Station(nativeUdpTransport())
  const [socket, log, port] = await station.bind({})
  for (let i = 0; i < 10; i++) socket.send(`datagram ${i}`, '127.0.0.1', port)
  await until(() => log.received.length === 10)
  const memory = log.received[0].data.buffer as ArrayBuffer & { transfer?(): unknown }
  const { byteLength } = memory
  try {
    structuredClone(memory, { transfer: [memory] })
  } catch (error) {
    t.match(error, { name: 'DataCloneError' }, 'newer Nodes say no')
  }
  if (memory.transfer !== undefined) t.throws(() => memory.transfer?.(), TypeError)
  t.equal(memory.byteLength, byteLength)
  t.strictSame(
    log.received.map(({ data }) => data.toString()).sort(),
    Array.from({ length: 10 }, (_, i) => `datagram ${i}`),
  )
  await station.transport.close()
})

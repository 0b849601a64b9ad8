/** What datagrams share with connections, being in the same engine: memory and its limit, counters, ref. */
import { spawn } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import t from 'tap'
import { UDP_CHANNELS, type UdpDiagnostics } from '../../src/transport/seam/diagnostics.js'
import type { UdpSocket } from '../../src/transport/seam/udp-transport.js'
import { patient } from '../support/patience.js'
import { collectGarbage, pattern, sleep, until } from '../support/util.js'
import { VARIANTS } from '../support/variants.js'
import { Log, onEveryUdpTransport, onNativeUdp } from './udp-station.js'

const MEBIBYTE = 1024 * 1024

onNativeUdp('a short datagram that is kept pins little, however long the others are', async (t, open) => {
  const SENDERS = 10_000
  const SIZE = 20
  const receiver = open()
  const senders = open()
  const [, log, port] = await receiver.bind({ receiveBufferSize: MEBIBYTE })
  const kept: Buffer[] = []
  let received = 0
  receiver.onEvent = ({ kind, data }) => {
    if (kind !== 'datagram') return
    received += 1
    log.received.length = 0
    if (data!.length === SIZE) kept.push(data!)
  }
  const short = pattern(SIZE, 1)
  const long = pattern(8 * 1024, 2)
  const ports = new Set<number>()
  senders.onEvent = ({ kind, socket }) => {
    if (kind !== 'bound') return
    ports.add(socket.address!.port)
    socket.send(long, '127.0.0.1', port)
    socket.send(short, '127.0.0.1', port)
    socket.close()
  }
  for (let i = 0; i < SENDERS; i++) {
    senders.transport.bind({ host: '127.0.0.1', port: 0 }).context = new Log()
    // No more than the kernel's buffer holds.
    if (i % 20 === 19) await until(() => received === 2 * (i + 1), 0)
  }
  t.equal(kept.length, SENDERS)
  t.ok(ports.size > SENDERS / 10)
  const { metrics } = receiver.transport
  const most = SENDERS * 4096 / 10
  await until(() => {
    collectGarbage()
    return metrics.slabBytesPinned <= most
  })
  t.ok(metrics.slabBytesPinned >= SENDERS * SIZE / 2, `${metrics.slabBytesPinned} bytes are pinned`)
  t.ok(kept.every((data) => data.equals(short)))
})

onNativeUdp('a short datagram that is kept pins little, though all the others are short, too', async (t, open) => {
  const KEPT = 200
  // More than a slab for such short ones holds: none has two of those that are kept.
  const EVERY = 400
  const BURST = 200
  const SLAB = 4096
  const receiver = open()
  const [, log, port] = await receiver.bind({ receiveBufferSize: MEBIBYTE })
  const [sender] = await open().bind()
  const kept: Buffer[] = []
  let received = 0
  let keeps = false
  receiver.onEvent = ({ kind, data }) => {
    if (kind !== 'datagram') return
    received += 1
    log.received.length = 0
    if (keeps && received % EVERY === 0) kept.push(data!)
  }
  const short = pattern(20, 1)
  const send = async (bursts: number): Promise<void> => {
    for (let i = 0; i < bursts; i++) {
      const next = received + BURST
      for (let j = 0; j < BURST; j++) sender.send(short, '127.0.0.1', port)
      await until(() => received === next, 0)
    }
  }
  // Until there are as many slabs for such datagrams as a turn takes.
  await send(20)
  keeps = true
  await send(KEPT * EVERY / BURST)
  t.equal(kept.length, KEPT)
  const { metrics } = receiver.transport
  await until(() => {
    collectGarbage()
    return metrics.slabBytesPinned <= KEPT * SLAB
  })
  t.ok(metrics.slabBytesPinned >= KEPT * SLAB / 2, `${metrics.slabBytesPinned} bytes are pinned`)
  t.ok(kept.every((data) => data.equals(short)))
})

onNativeUdp('receiving stops at the limit of memory, and nothing that was received is lost', async (t, open) => {
  const station = open({ maxSlabBytes: MEBIBYTE })
  const [socket, log, port] = await station.bind()
  const { metrics } = station.transport
  const sent = pattern(30_000, 1)
  let count = 0
  for (let round = 1; round <= 2; round++) {
    while (metrics.slabStalls < round) {
      socket.send(sent, '127.0.0.1', port)
      count += 1
      await until(() => log.received.length === count || metrics.slabStalls === round)
    }
    t.ok(metrics.slabBytes <= 2 * MEBIBYTE, `${metrics.slabBytes} bytes in use`)
    const stoppedAt = log.received.length
    await sleep(60)
    t.equal(log.received.length, stoppedAt, 'nothing is received meanwhile')
    t.ok(log.received.every(({ data }) => data.equals(sent)))
    log.received.length = 0
    count = count - stoppedAt
    await until(() => {
      collectGarbage()
      return log.received.length === count
    })
  }
})

onEveryUdpTransport('what is counted', async (t, open) => {
  const station = open()
  const [socket, log, port] = await station.bind()
  for (let i = 0; i < 10; i++) socket.send(`number ${i}`, '127.0.0.1', port)
  await until(() => log.received.length === 10)
  const { metrics } = station.transport
  await until(() => metrics.datagramsOut === 10)
  const { sockets, datagramsIn, datagramsOut, bytesIn, bytesOut, queuedBytes, errors } = metrics
  t.strictSame(
    { sockets, datagramsIn, datagramsOut, bytesIn, bytesOut, queuedBytes, errors: { ...errors } },
    { sockets: 1, datagramsIn: 10, datagramsOut: 10, bytesIn: 80, bytesOut: 80, queuedBytes: 0, errors: {} },
  )
  t.ok(metrics.events >= 11 && metrics.batches >= 2 && metrics.jsTime > 0 && metrics.totalTime > 0)
  socket.send('x'.repeat(65_508), '127.0.0.1', 9)
  await until(() => log.failures.length === 1)
  t.strictSame(Object.values(metrics.errors), [1])
  const isNative = station.transport.name === 'native'
  t.equal(metrics.slabBytes > 0, isNative)
  t.equal(station.transport.info !== undefined, isNative)
})

onEveryUdpTransport('diagnostics channels tell of sockets and of errors', async (t, open) => {
  type Name = keyof typeof UDP_CHANNELS
  const heard: [Name, UdpDiagnostics][] = []
  for (const name of Object.keys(UDP_CHANNELS) as Name[]) {
    const on = (message: unknown): void => { heard.push([name, message as UdpDiagnostics]) }
    subscribe(UDP_CHANNELS[name], on)
    t.teardown(() => unsubscribe(UDP_CHANNELS[name], on))
  }
  const station = open()
  const [socket, log, port] = await station.bind()
  socket.send('x'.repeat(65_508), '127.0.0.1', 9)
  socket.send('x', '127.0.0.1', port)
  await until(() => log.received.length === 1 && log.failures.length === 1)
  await t.rejects(station.bind({ port }), { code: 'EADDRINUSE' })
  socket.close()
  await until(() => log.closed)
  t.strictSame(heard.map(([name]) => name), ['bind', 'error', 'error', 'close'])
  t.ok(heard.every(([, { transport }]) => transport === station.transport.name))
  t.match(heard[0][1], { local: { address: '127.0.0.1', port }, remote: undefined, error: undefined })
  t.equal(heard[3][1].socket, socket)
  t.match(heard[1][1], { remote: { address: '127.0.0.1', port: 9 }, error: { code: 'EMSGSIZE', syscall: 'send' } })
  t.match(heard[2][1], { local: undefined, error: { code: 'EADDRINUSE', syscall: 'bind' } })
})

onNativeUdp('a transport has one engine, whatever kind of sockets it has', async (t, open) => {
  const descriptors = (): number => readdirSync('/proc/self/fd')
    .filter((name) => {
      try {
        return readlinkSync(`/proc/self/fd/${name}`).includes('eventpoll')
      } catch {
        return false
      }
    }).length
  const before = descriptors()
  const station = open()
  t.equal(descriptors(), before + 1)
  const sockets: UdpSocket[] = []
  for (let i = 0; i < 20; i++) sockets.push((await station.bind())[0])
  t.equal(descriptors(), before + 1)
})

const PROGRAM = `
const { openUdpTransport } = await import(process.env.CHOOSE)
const transport = openUdpTransport(process.env.TRANSPORT)
const bound = new Promise((resolve) => {
  transport.open((events) => { if (events[0].kind === 'bound') resolve() })
})
const bind = () => transport.bind({ host: '127.0.0.1', port: 0 })
setTimeout(() => process.exit(3), 1000).unref()
`

for (const { name: variant, skip } of VARIANTS) {
  void t.test(`${variant}: what keeps a process alive`, { skip, timeout: patient(60_000) }, async (t) => {
    const cases: [name: string, rest: string, code: number][] = [
      ['a socket does', 'bind(); await bound', 3],
      ['not after `unref`', 'bind(); await bound; transport.unref()', 0],
      ['`unref` holds for what is bound later', 'transport.unref(); bind()', 0],
      ['after `ref` it does again', 'bind(); await bound; transport.unref(); transport.ref()', 3],
    ]
    await Promise.all(cases.map(async ([name, rest, code]) => {
      const [transport, backend = ''] = variant.split(' ')
      const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM + rest], {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: {
          ...process.env,
          CHOOSE: new URL('../../src/transport/choose.js', import.meta.url).href,
          TRANSPORT: transport,
          MARKETPLACE_BACKEND: backend,
        },
      })
      t.strictSame(await once(child, 'exit'), [code, null], name)
    }))
  })
}

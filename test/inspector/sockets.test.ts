/** The sockets of a program as its inspector shows them: what the kernel knows, why nothing is read, closing one. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  _, endpoint, spawn, tcp, tcpBare, tcpChannel, tcpListener, tcpListening, unixListener, type ActionTree,
} from 'marketplace-native'
import { deferred, until } from '../support/util.js'
import { inspected, type Answer } from './program.js'

/** Who accepts, hears bytes, and is told why somebody has gone. */
const server = (
  listener: ReturnType<typeof tcpListener> | ReturnType<typeof unixListener>, bound: (port: number) => void,
  gone: (reason: unknown) => void, heard: (bytes: number) => void = () => undefined,
): ActionTree => [
  spawn(() => endpoint.subscriber(tcpChannel(_, listener, _), {
    onMessage: ({ subpacket }) => { if (Buffer.isBuffer(subpacket)) heard(subpacket.length) },
    onAbsence: (_topic, _state, reason) => { gone(reason) },
  }), { name: 'server' }),
  spawn(() => endpoint.subscriber(tcpListening(listener as ReturnType<typeof tcpListener>, _), {
    onPresence: ({ address }) => { bound(address.port) },
  })),
]

async function dialled(t: Test, port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  t.teardown(() => socket.destroy())
  return socket
}

for (const transport of ['native', 'node'] as const) {
  t.test(`connections and listeners of the ${transport} transport`, async (t) => {
    const bound = deferred<number>()
    const gone = deferred<unknown>()
    let heard = 0
    const { client } = await inspected(t, () => [
      tcpBare({ host: '127.0.0.1', transport }),
      server(tcpListener(0), bound.resolve, gone.resolve, (bytes) => { heard += bytes }),
    ])
    const port = await bound.promise
    const socket = await dialled(t, port)
    socket.write(Buffer.alloc(1000))
    await until(() => heard === 1000)
    const { sockets, listeners, left } = await client.ask('sockets')
    t.match(listeners, [{ name: 'tcp-listener(0)', address: `127.0.0.1:${port}`, transport }])
    t.equal(left, 0)
    t.equal((sockets as Answer[]).length, 1)
    const [row] = sockets as Answer[]
    t.match(row, {
      accepted: true, transport, local: `127.0.0.1:${port}`, remote: `127.0.0.1:${socket.localPort}`, queued: 0,
      held: [], name: `tcp-address('127.0.0.1', ${socket.localPort}) - tcp-listener(0)`,
    })
    if (transport === 'native') {
      const tcp = row['tcp'] as Record<string, number>
      t.match(tcp, { bytesReceived: 1000, bytesSent: 0, retransmits: 0 })
      t.ok(tcp['roundTrip'] > 0 && tcp['roundTrip'] < 10_000_000, `${tcp['roundTrip']} us`)
      t.ok(tcp['congestionWindow'] > 0 && tcp['segmentSize'] > 0)
      t.ok(tcp['sinceReceived'] < 60_000)
    } else {
      t.notOk('tcp' in row, 'node:net does not ask the kernel')
    }
    const again = await client.ask('sockets')
    t.equal((again['sockets'] as Answer[])[0]['socket'], row['socket'], 'it keeps its number')

    const ended = once(socket, 'end')
    socket.resume()
    await client.ask('close', { socket: row['socket'] as number, reason: 'by hand' })
    t.equal(await gone.promise, 'by hand', 'the program hears why')
    await ended
    await t.rejects(client.ask('close', { socket: 99_999 }), { message: 'there is no socket 99999' })
    await t.rejects(client.ask('close', {}), { message: /socket: expected an integer/ })
  })
}

t.test('why nothing is read; what waits', async (t) => {
  const bound = deferred<number>()
  const { client } = await inspected(t, () => [
    tcp({ host: '127.0.0.1', transport: 'native' }),
    // With flow control, who gives no credit is told nothing.
    server(tcpListener(0), bound.resolve, () => undefined),
  ])
  const socket = await dialled(t, await bound.promise)
  socket.write(Buffer.alloc(1_000_000))
  let row: Answer | undefined
  while (!(row?.['held'] as string[] | undefined)?.includes('paused')) {
    row = ((await client.ask('sockets'))['sockets'] as Answer[]).at(0)
  }
  t.same(row?.['held'], ['paused'])
})

t.test('a Unix socket has no round trips; who only looks closes nothing', async (t) => {
  // Longer paths can't be those of sockets.
  const folder = mkdtempSync(join(tmpdir(), 'inspected-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const path = join(folder, 'socket')
  const listening = deferred()
  const { client } = await inspected(t, () => [
    tcpBare({ transport: 'native' }),
    server(unixListener(path), () => { listening.resolve() }, () => undefined),
  ], { readOnly: true })
  let socket: Socket | undefined
  while (socket === undefined) {
    const attempt = connect(path)
    socket = await once(attempt, 'connect').then(() => attempt, () => undefined)
  }
  t.teardown(() => socket.destroy())
  let rows: Answer[] = []
  while (rows.length === 0) rows = (await client.ask('sockets'))['sockets'] as Answer[]
  t.match(rows, [{ local: path, held: [], accepted: true }])
  t.notOk('tcp' in rows[0])
  await t.rejects(client.ask('close', { socket: rows[0]['socket'] as number }), { message: /only looks/ })
})

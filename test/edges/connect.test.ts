/** Outbound connections that fail, and what was asked of them meanwhile. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { onEveryTransport, portOf } from '../support/transports.js'
import { freePort, until } from '../support/util.js'
import type { SocketError } from '../../src/transport/seam/transport.js'
import { QUIET_TURNS, turnsIn } from './peers.js'
import { recorder } from './recorder.js'

onEveryTransport('written to a connection that is refused', async (t, open) => {
  const port = await freePort()
  const seen = recorder()
  const connection = open().connect({ host: '127.0.0.1', port }, seen.handlers)
  connection.reportWrites = true
  connection.write('never sent')
  t.equal(connection.queuedBytes, 10)
  t.match(await seen.closed, { code: 'ECONNREFUSED', syscall: 'connect', port })
  t.strictSame(seen.events, ['closed ECONNREFUSED'])
  connection.write('after the error')
  connection.shutdown()
  connection.close()
  t.ok(await turnsIn(100) < QUIET_TURNS)
  t.strictSame(seen.events, ['closed ECONNREFUSED'], 'no second end')
})

onEveryTransport('refused, a thousand times at once', async (t, open) => {
  const station = open()
  const port = await freePort()
  const codes = new Map<string | undefined, number>()
  await Promise.all(Array.from({ length: 1000 }, async () => {
    const error = await station.failure({ host: '127.0.0.1', port })
    codes.set(error?.code, (codes.get(error?.code) ?? 0) + 1)
  }))
  t.strictSame([...codes], [['ECONNREFUSED', 1000]])
})

/** The fields in which errors may differ. */
interface Fields {
  readonly code: string
  readonly errno: number
  readonly syscall: string
  readonly address: string | undefined
  readonly port: number | undefined
}

function fieldsOf(error: unknown): Fields {
  const { code, errno, syscall, address, port } = error as SocketError
  return { code, errno, syscall, address, port }
}

/** `node:net`'s error for the same attempt. */
async function nodeConnect(host: string, port: number): Promise<Fields> {
  const [error] = await once(connect({ host, port }), 'error') as [Error]
  return fieldsOf(error)
}

async function nodeListen(host: string | undefined, port: number): Promise<Fields> {
  const [error] = await once(createServer().listen({ host, port }), 'error') as [Error]
  return fieldsOf(error)
}

onEveryTransport('errors of connecting are those of node:net, field by field', async (t, open) => {
  const station = open()
  const closedPort = await freePort()
  const table: readonly (readonly [string, string, number])[] = [
    ['refused', '127.0.0.1', closedPort],
    ['refused over IPv6', '::1', closedPort],
    ['a name that there is not', 'no-such-host.invalid', 80],
    ['a broadcast address', '255.255.255.255', 80],
    ['a multicast address', '224.0.0.1', 80],
  ]
  for (const [what, host, port] of table) {
    const wanted = await nodeConnect(host, port)
    t.strictSame(fieldsOf(await station.failure({ host, port })), wanted, `${what}: ${wanted.code}`)
  }
})

onEveryTransport('errors of listening are those of node:net, field by field', async (t, open) => {
  const station = open()
  const used = portOf(await station.listen({}))
  const usedByAll = portOf(await station.listen({}, { host: undefined }))
  const table: readonly (readonly [string, string | undefined, number])[] = [
    ['in use', '127.0.0.1', used],
    ['in use, on all interfaces', undefined, usedByAll],
    ['in use by all interfaces', '127.0.0.1', usedByAll],
    ['not ours', '192.0.2.1', 0],
    ['not ours, IPv6', '2001:db8::1', 0],
    ['a name that there is not', 'no-such-host.invalid', 0],
  ]
  for (const [what, host, port] of table) {
    const wanted = await nodeListen(host, port)
    const error: unknown = await station.listen({}, { host, port }).catch((reason: unknown) => reason)
    t.strictSame(fieldsOf(error), wanted, `${what}: ${wanted.code}`)
  }
})

onEveryTransport('several listeners on one port: one after the other, elsewhere', async (t, open) => {
  const station = open()
  const first = await station.listen({})
  const port = portOf(first)
  const other = await station.listen({}, { host: '127.0.0.2', port })
  t.match(other.address, { address: '127.0.0.2', port }, 'another address is another place')
  await t.rejects(station.listen({}, { port }), { code: 'EADDRINUSE' })
  first.close()
  const again = await station.listen({}, { port })
  t.equal(portOf(again), port)
  again.close()
  await until(() => station.events >= 4)
})

onEveryTransport('addresses of both ends agree', async (t, open) => {
  for (const host of ['127.0.0.1', '::1']) {
    const station = open()
    const inbound = recorder()
    const outbound = recorder()
    const listener = await station.listen(inbound.handlers, { host }).catch(() => undefined)
    if (listener === undefined) {
      t.comment(`skipped: there is no ${host}`)
      continue
    }
    station.connect({ host, port: portOf(listener) }, outbound.handlers)
    const [from, to] = await Promise.all([outbound.opened, inbound.opened])
    const family = host === '::1' ? 'IPv6' : 'IPv4'
    t.match(from.local, { address: host, family })
    t.strictSame({ ...from.local }, { ...to.remote })
    t.strictSame({ ...from.remote }, { ...to.local })
    t.strictSame({ ...to.local }, { ...listener.address })
    from.close()
    await outbound.closed
    t.match(from.remote, { address: host, family }, 'still known when it is gone')
  }
})

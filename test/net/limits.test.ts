/** Limits of servers: what is refused before JavaScript hears of it, and what is told of that. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import * as nodeNet from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import net, { changeLimits, type LimitedServerOpts } from 'marketplace-native/net'
import tls from 'marketplace-native/tls'
import { hasNative } from '../../src/transport/choose.js'
import { makeCertificate } from '../support/certificates.js'
import { until } from '../support/util.js'

const host = '127.0.0.1'
const skip = hasNative() ? false : 'limits need the engine'

async function listening(t: Test, server: nodeNet.Server): Promise<number> {
  const open = new Set<nodeNet.Socket>()
  server.on('connection', (socket: nodeNet.Socket) => {
    open.add(socket)
    socket.on('error', () => undefined).on('close', () => open.delete(socket))
  })
  server.listen(0, host)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  return (server.address() as nodeNet.AddressInfo).port
}

/** A client, and what becomes of it: `undefined` while it is there. */
function client(t: Test, port: number): { readonly socket: nodeNet.Socket, readonly end: () => string | undefined } {
  let end: string | undefined
  const socket = nodeNet.connect(port, host)
  socket.on('error', (error: NodeJS.ErrnoException) => { end = error.code })
  socket.on('close', () => { end ??= 'closed' })
  t.teardown(() => { socket.destroy() })
  return { socket, end: () => end }
}

const server = (limits: LimitedServerOpts['limits'], onSocket: (socket: nodeNet.Socket) => void): nodeNet.Server =>
  net.createServer({ limits }, onSocket)

t.test('connections of a prefix, and a change of that', { skip }, async (t) => {
  let accepted = 0
  const drops: unknown[] = []
  const one = server({ connectionsPerPrefix: 2 }, () => { accepted += 1 })
  one.on('drop', (data) => { drops.push(data) })
  const port = await listening(t, one)
  const [first] = [client(t, port), client(t, port)]
  await until(() => accepted === 2)
  const third = client(t, port)
  await until(() => third.end() !== undefined)
  t.equal(third.end(), 'ECONNRESET')
  await until(() => drops.length === 1)
  t.match(drops, [{ count: 1, limits: { connectionsPerPrefix: 1 }, remoteAddress: host, remoteFamily: 'IPv4' }])
  t.equal(accepted, 2, 'JavaScript has heard of no other')
  changeLimits(one, { connectionsPerPrefix: 3 })
  client(t, port)
  await until(() => accepted === 3)
  first.socket.destroy()
  await until(() => first.end() !== undefined)
  changeLimits(one, { connectionsPerPrefix: 0, maxConnections: 3 })
  t.equal(one.maxConnections, 3)
})

t.test('who says nothing, with TLS as well', { skip }, async (t) => {
  const { key, cert } = makeCertificate()
  const secure = tls.createServer({ key, cert, limits: { firstByteTimeout: 100 } } as object)
  const errors: NodeJS.ErrnoException[] = []
  secure.on('tlsClientError', (error) => { errors.push(error) })
  const plain = server({ firstByteTimeout: 100 }, (socket) => {
    socket.on('error', (error) => { errors.push(error) })
  })
  for (const one of [plain, secure]) {
    errors.length = 0
    const silent = client(t, await listening(t, one))
    await until(() => silent.end() !== undefined)
    t.equal(silent.end(), 'ECONNRESET')
    await until(() => errors.length === 1)
    t.match(errors, [{ code: 'ETIMEDOUT' }])
  }
})

t.test('Unix sockets, and a rate', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'limits-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const path = join(folder, 'socket')
  let accepted = 0
  const one = server({ acceptRatePerPrefix: { perSecond: 1, burst: 2 } }, (socket) => {
    accepted += 1
    socket.end()
  })
  const dropped = once(one, 'drop') as Promise<[{ count: number }]>
  one.listen(path)
  await once(one, 'listening')
  t.teardown(() => one.close())
  for (let i = 0; i < 5; i++) {
    const socket = nodeNet.connect(path)
    socket.on('error', () => undefined).resume()
    await new Promise((resolve) => socket.once('close', resolve))
  }
  t.match(await dropped, [{ limits: { acceptRatePerPrefix: Number } }])
  t.ok(accepted >= 2 && accepted < 5, String(accepted))
})

t.test('what is wrong is said at once', { skip }, async (t) => {
  const nothing = (): void => undefined
  t.throws(() => server({ connectionsPerPrefix: -1 }, nothing), { message: /options\.limits\.connectionsPer/ })
  t.throws(() => server({ some: 1 } as never, nothing), { message: /some/ })
  t.throws(() => server(7 as never, nothing), TypeError)
  const one = server({}, nothing)
  t.throws(() => { changeLimits(one, { acceptRate: 'many' as never }) }, { message: /changeLimits: acceptRate/ })
  t.throws(() => { changeLimits({} as never, {}) }, { message: /changeLimits: server must be a server of/ })
})

/** Unix sockets, with a file and abstract: whatever TCP does, they do, but for resets. */
import { closeSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { listeningDescriptor } from '../support/descriptors.js'
import { ECHO, onEveryTransport, type Handlers, type Station } from '../support/transports.js'
import { deferred, pattern, readAll, until } from '../support/util.js'
import type {
  ListenOptions, SocketError, TransportConnection, TransportListener,
} from '../../src/transport/seam/transport.js'

const skip = process.platform === 'linux' ? false : 'abstract names are Linux\'s'
const UNIX = { port: undefined, host: undefined }

/** A directory for one test. */
function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(path, { recursive: true }) })
  return path
}

let names = 0

/** A free address of each kind. */
function addresses(t: Test): Record<'file' | 'abstract', string> {
  return { file: join(directory(t), 'socket'), abstract: `\0marketplace-${process.pid}-${++names}` }
}

function listen(
  station: Station, path: string, handlers: Handlers, options: Partial<ListenOptions> = {},
): Promise<TransportListener> {
  return station.listen(handlers, { ...UNIX, ...options, path })
}

/** A plain client that is connected. */
async function client(path: string): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true })
  await new Promise((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
  return socket
}

onEveryTransport('unix: echo in both directions, addresses, half-close', async (t, open) => {
  for (const path of Object.values(addresses(t))) {
    const station = open()
    const accepted: TransportConnection[] = []
    const listener = await listen(station, path, {
      ...ECHO, accepted: (connection) => { accepted.push(connection) },
    })
    t.strictSame(listener.address, { address: path, family: 'unix', port: 0 })
    const bytes = pattern(3 * 1024 * 1024)
    // Node 20 fills up an abstract name with zero bytes: for others it is another name.
    if (path.startsWith('/')) {
      const socket = await client(path)
      socket.end(bytes)
      t.ok((await readAll(socket)).equals(bytes), 'a plain client')
    }
    let local: unknown
    const received: Buffer[] = []
    const closed = deferred<SocketError | undefined>()
    const connection = station.connect({ path }, {
      connected: (made) => {
        local = made.local
        made.shutdown()
      },
      data: (_connection, data) => { received.push(data) },
      closed: (_connection, error) => { closed.resolve(error) },
    })
    connection.write(bytes)
    t.equal(await closed.promise, undefined)
    t.ok(Buffer.concat(received).equals(bytes), 'ours, with what was written before it was connected')
    const none = { address: '', family: 'unix', port: 0 }
    t.strictSame([connection.remote, local], [listener.address, none])
    t.strictSame([accepted[0].remote, accepted[0].local], [none, listener.address])
    listener.close()
    t.notOk(path.startsWith('/') && existsSync(path), 'the file goes with the listener')
    const gone = await station.failure({ path })
    t.match(gone, { code: /ENOENT|ECONNREFUSED/, syscall: 'connect', address: path })
  }
}, { skip })

onEveryTransport('unix: addresses in use, stale and foreign files, wrong paths', async (t, open) => {
  const station = open()
  for (const path of Object.values(addresses(t))) {
    await listen(station, path, ECHO)
    const again = listen(station, path, ECHO)
    await t.rejects(again, { code: 'EADDRINUSE', syscall: 'listen', address: path, port: undefined })
    t.equal(await station.failure({ path }), undefined, 'the first one is unharmed')
  }
  const folder = directory(t)
  const stale = join(folder, 'stale')
  writeFileSync(stale, '')
  await t.rejects(listen(station, stale, ECHO), { code: 'EADDRINUSE' })
  t.strictSame(readdirSync(folder), ['stale'], 'a file of somebody else stays')
  const missing = join(folder, 'none')
  const error = await station.failure({ path: missing })
  t.match(error, { code: 'ENOENT', syscall: 'connect', address: missing })
  t.equal(error?.message, `connect ENOENT ${missing}`)
  t.equal(error?.port, undefined)

  const long = join(folder, 'x'.repeat(108 - folder.length))
  const wrong: [unknown, { code: string } | { message: RegExp }][] = [
    [long, { message: /path must be at most 107 bytes long/ }],
    ['\0' + 'ä'.repeat(54), { code: 'ENAMETOOLONG' }],
    ['', { message: /path must be a path/ }], ['\0', { message: /path must be a path/ }],
    ['a\0b', { message: /path must be a path/ }], [5, { message: /path must be a string; got 5/ }],
  ]
  for (const [path, expected] of wrong) {
    t.throws(() => station.transport.listen({ path: path as string }), expected)
    t.throws(() => station.transport.connect({ path: path as string }), expected)
  }
  const both = { path: '/x', port: 1 }
  t.throws(() => station.transport.listen(both), { message: /port must be undefined with a path/ })
  t.throws(() => station.transport.connect({ path: '/x', host: 'x' }), { message: /host must be undefined/ })
  t.equal(await station.failure({ path: (await listen(station, long.slice(0, 107), ECHO)).address!.address }),
    undefined, '107 bytes are not too long')
}, { skip })

onEveryTransport('unix: abort, close with unsent data, and a peer that goes', async (t, open) => {
  const { file: path } = addresses(t)
  const station = open({ closeTimeout: 5000 })
  const bytes = pattern(4 * 1024 * 1024)
  const closed: (SocketError | undefined)[] = []
  let act = (connection: TransportConnection): void => { connection.abort() }
  await listen(station, path, {
    accepted: (connection) => { act(connection) },
    closed: (_connection, error) => { closed.push(error) },
  })
  const aborted = await client(path)
  t.equal((await readAll(aborted)).length, 0, 'abort: the peer sees an end')
  act = (connection) => {
    connection.write(bytes)
    connection.close()
  }
  const patient = await client(path)
  patient.write('unread')
  t.ok((await readAll(patient)).equals(bytes), 'all of it comes before the end')
  patient.destroy()
  t.strictSame(await (async () => (await until(() => closed.length === 2), closed))(), [undefined, undefined])

  const ended = deferred<TransportConnection>()
  act = () => undefined
  const other = addresses(t).file
  const gone: (SocketError | undefined)[] = []
  await listen(station, other, {
    end: (connection) => { ended.resolve(connection) },
    closed: (_connection, error) => { gone.push(error) },
  })
  const leaving = await client(other)
  leaving.destroy()
  const left = await ended.promise
  const { batches } = station.transport.metrics
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.ok(station.transport.metrics.batches - batches < 3, 'a peer that has gone makes nothing spin')
  t.strictSame(gone, [], 'as with TCP, nothing more is known until something is sent')
  left.write('too late')
  await until(() => gone.length === 1)
  t.match(gone, [{ code: 'EPIPE', syscall: 'write' }])
}, { skip })

onEveryTransport('unix: options work as on TCP', async (t, open) => {
  const { file: path } = addresses(t)
  const station = open()
  const events: string[] = []
  const connections: TransportConnection[] = []
  await listen(station, path, {
    accepted: (connection) => { connections.push(connection) },
    data: (_connection, data) => { events.push(data.toString()) },
    closed: (_connection, error) => { events.push(error?.code ?? 'closed') },
  }, { pauseOnAccept: true, maxConnections: 1, idleTimeout: 250, keepAlive: { idle: 1000 }, userTimeout: 5 })
  const socket = await client(path)
  socket.write('patience')
  await until(() => connections.length === 1)
  const refused = await client(path)
  refused.on('error', () => undefined).resume()
  await until(() => refused.readableEnded || refused.destroyed)
  t.equal(station.transport.metrics.drops, 1)
  connections[0].resume()
  await until(() => events.length === 2)
  t.strictSame(events, ['patience', 'ETIMEDOUT'])
  socket.destroy()
}, { skip })

onEveryTransport('descriptors that are sent at once come with their bytes', async (t, open) => {
  const station = open()
  // Node has no way to receive them.
  if (station.variant === 'node') return
  const { fd: sent } = await listeningDescriptor()
  const { file } = addresses(t)
  const listener = await listen(station, file, {
    // The other side has not heard yet that it is connected.
    accepted: (connection) => { t.equal(connection.sendDescriptors?.(Buffer.from('here'), [sent]), 4) },
  })
  for (let i = 0; i < 20; i++) {
    const { promise, resolve } = deferred<readonly [string, number]>()
    const connection = station.connect({ path: file, carriesDescriptors: true }, {
      data: (connection, data) => {
        const descriptors = connection.takeDescriptors?.() ?? []
        for (const fd of descriptors) closeSync(fd)
        resolve([data.toString(), descriptors.length])
      },
    })
    t.strictSame(await promise, ['here', 1])
    connection.close()
  }
  t.throws(() => station.transport.connect({ host: '127.0.0.1', port: 1, carriesDescriptors: true }), {
    message: 'connect: carriesDescriptors must be false without a path; got true',
  })
  listener.close()
  closeSync(sent)
}, { skip })

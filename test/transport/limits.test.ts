/** Limits of listeners: who is refused, who is late, who is slowed, what is counted; on every transport. */
import { spawn } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Admission, TokenBucket } from '../../src/transport/seam/admission.js'
import { TCP_CHANNELS, type TcpDiagnostics } from '../../src/transport/seam/diagnostics.js'
import { fullLimits, type LimitChanges, type ListenerLimits } from '../../src/transport/seam/limits.js'
import { isInRange, prefixOf, prefixRange } from '../../src/transport/seam/prefix.js'
import type {
  Dropped, ListenOptions, SocketError, TransportConnection, TransportListener,
} from '../../src/transport/seam/transport.js'
import { onEveryTransport, portOf, type Handlers, type Station } from '../support/transports.js'
import { collectGarbage, deferred, pattern, randomSource, sleep, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const folder = mkdtempSync(join(tmpdir(), 'marketplace-'))
t.teardown(() => { rmSync(folder, { recursive: true }) })
let count = 0

const KINDS: Record<string, () => Partial<ListenOptions>> = {
  tcp: () => ({}),
  unix: () => ({ host: undefined, port: undefined, path: join(folder, String(++count)) }),
}

/** A client, from an address of the loopback's; and how it ended. */
interface Client {
  readonly socket: Socket
  ended: string
}

function dial(listener: TransportListener, localAddress?: string): Client {
  const { address } = listener
  const to = address?.family === 'unix'
    ? { path: address.address } : { port: address?.port ?? 0, host: '127.0.0.1', localAddress }
  const socket = connect({ ...to, allowHalfOpen: true })
  const client = { socket, ended: '' }
  socket.on('error', (error: NodeJS.ErrnoException) => { client.ended ||= error.code ?? 'error' })
  socket.on('close', () => { client.ended ||= 'closed' })
  socket.on('end', () => {
    client.ended ||= 'end'
    socket.destroy()
  })
  return client
}

const cut = ({ ended }: Client): boolean => ended !== ''

for (const [kind, where] of Object.entries(KINDS)) {
  onEveryTransport(`${kind}: connections per prefix; each way of ending makes room`, async (t, open) => {
    const station = open()
    const accepted: TransportConnection[] = []
    const drops: Dropped[] = []
    const listener = await station.listen({
      accepted: (connection) => { accepted.push(connection) },
      end: (connection) => { connection.close() },
      dropped: (dropped) => { drops.push(dropped) },
    }, { ...where(), limits: { connectionsPerPrefix: 2 } })
    const ways: ((client: Client, connection: TransportConnection) => void)[] = [
      ({ socket }) => { socket.end() },
      ({ socket }) => { socket.resetAndDestroy() },
      (_client, connection) => { connection.abort() },
      (_client, connection) => { connection.close() },
      ({ socket }, connection) => {
        connection.shutdown()
        socket.resume().end()
      },
    ]
    for (const end of kind === 'unix' ? ways.filter((_way, i) => i !== 1) : ways) {
      const before = accepted.length
      const clients = [dial(listener), dial(listener)]
      await until(() => accepted.length === before + 2)
      const third = dial(listener)
      await until(() => cut(third))
      t.equal(accepted.length, before + 2)
      t.equal(listener.counts?.connections, 2)
      clients.forEach((client, i) => { end(client, accepted[before + i]) })
      await until(() => listener.counts?.connections === 0)
      t.equal(listener.counts?.prefixes, 0, 'nothing is remembered')
      for (const { socket } of clients) socket.destroy()
    }
    const rounds = accepted.length / 2
    t.equal(station.transport.metrics.limited.connectionsPerPrefix, rounds)
    t.equal(station.transport.metrics.drops, rounds)
    if (kind === 'unix') return
    await until(() => drops.reduce((sum, { count }) => sum + count, 0) === rounds)
    const told = drops.reduce((sum, { limits }) => sum + (limits.connectionsPerPrefix ?? 0), 0)
    t.equal(told, rounds, 'by reason')
  })

  onEveryTransport(`${kind}: a first byte that doesn't come in time`, async (t, open) => {
    const station = open()
    const closed = new Map<TransportConnection, SocketError | undefined>()
    const accepted: TransportConnection[] = []
    const listener = await station.listen({
      accepted: (connection) => {
        accepted.push(connection)
        if (accepted.length === 3) connection.pause()
      },
      closed: (connection, error) => { closed.set(connection, error) },
    }, { ...where(), limits: { firstByteTimeout: 300 } })
    const next = async (): Promise<Client> => {
      const before = accepted.length
      const client = dial(listener)
      await until(() => accepted.length > before)
      return client
    }
    const start = performance.now()
    const silent = await next()
    const talks = await next()
    talks.socket.write('x')
    const paused = await next()
    await until(() => closed.has(accepted[0]))
    t.ok(performance.now() - start >= 280, 'not early')
    t.match(closed.get(accepted[0]), {
      code: 'ETIMEDOUT', syscall: 'read', errno: Number, message: /nothing came within firstByteTimeout/,
    })
    await until(() => cut(silent))
    await sleep(400)
    t.equal(closed.size, 1, 'who has spoken, or is not listened to, is not late')
    t.equal(station.transport.metrics.limited.firstByteTimeout, 1)
    t.equal(listener.counts?.limited.firstByteTimeout, 1)
    for (const { socket } of [talks, paused]) socket.destroy()
  })

  onEveryTransport(`${kind}: bytes come at their rate, all of them, and then the end`, async (t, open) => {
    const rate = 40_000
    const burst = 10_000
    for (const pauses of [false, true]) {
      const start = performance.now()
      const pieces: Buffer[] = []
      let received = 0
      let tooMany = 0
      const ended = deferred()
      const listener = await open().listen({
        data: (connection, data) => {
          pieces.push(data)
          received += data.length
          const most = burst + (performance.now() - start + 5) * rate / 1000 + 1
          if (received > most) tooMany++
          if (!pauses) return
          connection.pause()
          setTimeout(() => { connection.resume() }, 20)
        },
        end: (connection) => {
          connection.close()
          ended.resolve()
        },
      }, { ...where(), limits: { receiveRate: { perSecond: rate, burst } } })
      const data = pattern(rate)
      const { socket } = dial(listener)
      socket.end(data)
      await ended.promise
      t.ok(Buffer.concat(pieces).equals(data), 'every byte, in order')
      t.equal(tooMany, 0, 'never more than the rate')
      t.ok(performance.now() - start >= 1000 * (rate - burst) / rate - 30, 'so it took its time')
      t.ok(performance.now() - start < 20_000)
      t.ok((listener.counts?.limited.receiveRate ?? 0) > 0)
      socket.destroy()
      listener.close()
    }
  })

  onEveryTransport(`${kind}: a rate, and a peer that resets, a program that closes or aborts`, async (t, open) => {
    const station = open()
    const accepted: TransportConnection[] = []
    let closed = 0
    let received = 0
    const listener = await station.listen({
      accepted: (connection) => { accepted.push(connection) },
      data: (_connection, data) => { received += data.length },
      closed: () => { closed++ },
    }, { ...where(), limits: { receiveRate: { perSecond: 5000, burst: 500 } } })
    const ways: ((client: Client, connection: TransportConnection) => void)[] = [
      ({ socket }) => { if (kind === 'tcp') socket.resetAndDestroy(); else socket.destroy() },
      (_client, connection) => { connection.close() },
      (_client, connection) => { connection.abort() },
    ]
    for (const [i, end] of ways.entries()) {
      const client = dial(listener)
      client.socket.write(pattern(5000))
      await until(() => accepted.length > i && received >= 500 * (i + 1))
      end(client, accepted[i])
      // What came from who has gone is still read.
      if (i === 0) await until(() => closed > i || received > 3000, 20)
      else await until(() => closed > i)
      if (closed === i) accepted[i].abort()
      await until(() => closed === i + 1)
      client.socket.destroy()
    }
    await until(() => listener.counts?.connections === 0)
    t.equal(station.transport.metrics.connections, 0)
  })
}

onEveryTransport('prefixes are counted apart; who is exempt is not', async (t, open) => {
  const accepted: TransportConnection[] = []
  const listener = await open().listen({ accepted: (connection) => { accepted.push(connection) } }, {
    limits: { connectionsPerPrefix: 1, prefixLength: { ipv4: 24 }, exempt: ['127.9.0.0/16', '::1'] },
  })
  const clients: Client[] = []
  const next = async (from: string, isTaken: boolean): Promise<void> => {
    const before = accepted.length
    const client = dial(listener, from)
    clients.push(client)
    await until(() => accepted.length > before || cut(client))
    t.equal(accepted.length > before, isTaken, from)
  }
  await next('127.1.1.1', true)
  await next('127.1.1.2', false)
  await next('127.1.2.1', true)
  await next('127.1.2.254', false)
  await next('127.9.1.1', true)
  await next('127.9.1.1', true)
  t.equal(listener.counts?.prefixes, 2)
  for (const { socket } of clients) socket.destroy()
})

onEveryTransport('on an IPv6 listener IPv4 is counted as IPv4', async (t, open) => {
  const accepted: TransportConnection[] = []
  const handlers = { accepted: (connection: TransportConnection) => { accepted.push(connection) } }
  const listener = await open().listen(handlers, {
    host: '::', limits: { connectionsPerPrefix: 1, prefixLength: { ipv6: 8 } },
  }).catch(() => undefined)
  if (listener === undefined) {
    t.pass('no IPv6 here')
    return
  }
  const clients = [dial(listener, '127.1.1.1'), dial(listener, '127.1.1.2'), dial(listener, '127.1.1.2')]
  await until(() => accepted.length === 2 && clients.filter(cut).length === 1)
  t.pass('each IPv4 address for itself')
  for (const { socket } of clients) socket.destroy()
})

onEveryTransport('accepts per second: in all, and of a prefix, which uses up nothing of all', async (t, open) => {
  const station = open()
  let accepted = 0
  const listener = await station.listen({ accepted: () => { accepted++ } }, {
    limits: { acceptRate: { perSecond: 1, burst: 4 }, acceptRatePerPrefix: { perSecond: 1, burst: 2 } },
  })
  const clients: Client[] = []
  const done = (): boolean => accepted + clients.filter(cut).length === clients.length
  const start = performance.now()
  for (let i = 0; i < 10; i++) clients.push(dial(listener, '127.2.0.1'))
  await until(done)
  const ofFirst = accepted
  for (const host of [2, 3, 4]) clients.push(dial(listener, `127.2.0.${host}`))
  await until(done)
  const seconds = (performance.now() - start) / 1000
  t.ok(ofFirst >= 2 && ofFirst <= 3 + seconds, `${ofFirst} of one prefix`)
  t.ok(accepted >= 4 && accepted <= 5 + seconds, `${accepted} in all`)
  const { limited } = station.transport.metrics
  t.equal(limited.acceptRatePerPrefix, 10 - ofFirst)
  t.equal(limited.acceptRate, 13 - accepted - limited.acceptRatePerPrefix)
  // There is room again some time later.
  await until(() => {
    if (done()) clients.push(dial(listener, '127.2.0.9'))
    return accepted > 5
  }, 100)
  for (const { socket } of clients) socket.destroy()
})

onEveryTransport('limits are changed while it listens, of who comes from then on', async (t, open) => {
  const station = open()
  const accepted: TransportConnection[] = []
  const listener = await station.listen({
    accepted: (connection) => { accepted.push(connection) },
  }, { maxConnections: 1 })
  const clients: Client[] = []
  const next = async (isTaken: boolean): Promise<void> => {
    const before = accepted.length
    const client = dial(listener)
    clients.push(client)
    await until(() => accepted.length > before || cut(client))
    t.equal(accepted.length > before, isTaken)
  }
  await next(true)
  await next(false)
  listener.limit({ maxConnections: 2 })
  await next(true)
  await next(false)
  listener.limit({ maxConnections: 1 })
  t.equal(listener.counts?.connections, 2, 'those that are open stay')
  accepted[0].abort()
  await until(() => listener.counts?.connections === 1)
  await next(false)
  listener.limit({ maxConnections: Infinity, connectionsPerPrefix: 1 })
  await next(true)
  await next(false)
  listener.limit({ connectionsPerPrefix: 0, acceptRate: { perSecond: 1, burst: 1 } })
  await next(true)
  await next(false)
  listener.limit({ acceptRate: 0, firstByteTimeout: 100 })
  await next(true)
  await until(() => station.transport.metrics.limited.firstByteTimeout === 1)
  const wrong: [LimitChanges, RegExp][] = [
    [{ maxConnections: -1 }, /limit: maxConnections must be an integer from 0/],
    [{ acceptRate: {} as never }, /limit: acceptRate\.perSecond must be a number; got undefined/],
    [{ acceptRate: 1.5 }, /limit: acceptRate must be an integer from 0 to 2147483647/],
    [{ prefixLength: {} } as LimitChanges, /unknown option 'prefixLength'; it is said when a listener is opened/],
    [{ maxConections: 1 } as LimitChanges, /did you mean 'maxConnections'/],
  ]
  for (const [changes, message] of wrong) t.throws(() => { listener.limit(changes) }, message)
  for (const { socket } of clients) socket.destroy()
})

onEveryTransport('wrong limits are errors that name them', async (t, open) => {
  const station = open()
  const wrong: [unknown, RegExp][] = [
    [5, /listen: limits must be an object of limits; got 5/],
    [null, /listen: limits must be an object of limits; got null/],
    [{ connectionsPerPrefix: -1 }, /limits\.connectionsPerPrefix must be an integer from 0 to 2147483647; got -1/],
    [{ acceptRate: '5' }, /limits\.acceptRate must be an integer from 0 to 2147483647, or \{ perSecond, burst \}/],
    [{ acceptRate: { perSecond: 0 } }, /limits\.acceptRate\.perSecond must be an integer from 1/],
    [{ acceptRate: { perSecond: 1, burst: 0 } }, /limits\.acceptRate\.burst must be an integer from 1/],
    [{ receiveRate: { perSecond: 1000, burst: 49 } }, /limits\.receiveRate\.burst must be at least 50, with perSecond/],
    [{ prefixLength: { ipv4: 33 } }, /limits\.prefixLength\.ipv4 must be an integer from 0 to 32 bits/],
    [{ prefixLength: { ipv5: 33 } }, /unknown option 'ipv5'/],
    [{ prefixLength: 8 }, /limits\.prefixLength must be \{ ipv4, ipv6 \}/],
    [{ exempt: '127.0.0.1' }, /limits\.exempt must be an array of addresses/],
    [{ exempt: ['localhost'] }, /limits\.exempt\[0\] must be an address, a prefix such as 10\.0\.0\.0\/8, or unix/],
    [{ exempt: ['10.0.0.0/33'] }, /limits\.exempt\[0\]/],
    [{ exempt: [7] }, /limits\.exempt\[0\]/],
    [{ maxIdlePrefixes: 0 }, /limits\.maxIdlePrefixes must be an integer from 1/],
    [{ firstByteTimeout: NaN }, /limits\.firstByteTimeout must be an integer/],
    [{ pauseAbove: 2 ** 31 }, /limits\.pauseAbove must be an integer/],
    [{ connectionsPrefix: 1 }, /unknown option 'connectionsPrefix' of limits; did you mean 'connectionsPerPrefix'/],
  ]
  for (const [limits, message] of wrong) {
    await t.rejects(async () => station.listen({}, { limits: limits as ListenerLimits }), message)
  }
})

/** A program that connects as often as it can, from many addresses, and is refused. */
const FLOOD = `
  const { connect } = require('node:net')
  const [port, total, hosts] = process.argv.slice(1).map(Number)
  let begun = 0, over = 0
  const next = () => {
    if (begun === total) return
    const localAddress = '127.8.0.' + (1 + begun++ % hosts)
    const socket = connect({ port, host: '127.0.0.1', localAddress })
    socket.on('error', () => undefined).on('close', () => {
      if (++over === total) process.exit(0)
      next()
    })
  }
  for (let i = 0; i < 50; i++) next()
`

onEveryTransport('10,000 that are refused: no more than one turn a second, and no descriptor', async (t, open) => {
  const station = open()
  const told: TcpDiagnostics[] = []
  const hear = (message: unknown): void => { told.push(message as TcpDiagnostics) }
  subscribe(TCP_CHANNELS.refuse, hear)
  t.teardown(() => { unsubscribe(TCP_CHANNELS.refuse, hear) })
  const total = 10_000
  const hosts = 8
  let accepted = 0
  const listener = await station.listen({
    accepted: () => { accepted++ },
    end: (connection) => { connection.close() },
  }, { limits: { connectionsPerPrefix: 1 } })
  const held = Array.from({ length: hosts }, (_, i) => dial(listener, `127.8.0.${i + 1}`))
  await until(() => accepted === hosts)
  await sleep(50)
  const descriptors = readdirSync('/proc/self/fd').length
  const { batches } = station.transport.metrics
  const start = performance.now()
  const flood = spawn(process.execPath, ['-e', FLOOD, String(portOf(listener)), String(total), String(hosts)], {
    stdio: 'ignore',
  })
  await once(flood, 'exit')
  await until(() => station.transport.metrics.limited.connectionsPerPrefix === total)
  const seconds = Math.ceil((performance.now() - start) / 1000)
  const turns = station.transport.metrics.batches - batches
  t.ok(turns <= seconds + 1, `${turns} turns in ${seconds} s`)
  t.equal(accepted, hosts)
  await until(() => told.reduce((sum, { dropped }) => sum + (dropped?.count ?? 0), 0) === total)
  t.ok(told.length <= seconds + 2, `${told.length} times told`)
  t.match(told[0], { dropped: { remote: { address: /^127\.8\.0\.\d$/ }, limits: { connectionsPerPrefix: Number } } })
  t.same(told[0].local, listener.address)
  collectGarbage()
  const now = (): number => readdirSync('/proc/self/fd').length
  await until(() => now() <= descriptors)
  for (const { socket } of held) socket.destroy()
  await until(() => listener.counts?.connections === 0)
}, { timeout: patient(120_000) })

onEveryTransport('while the event loop is late, nothing is accepted', async (t, open) => {
  const station = open()
  let accepted = 0
  let whilePaused = 0
  const listener: TransportListener = await station.listen({
    accepted: () => {
      accepted++
      if (listener.counts?.overloaded === true) whilePaused++
    },
  }, { limits: { pauseAbove: 80 } })
  const clients = [dial(listener)]
  await until(() => accepted === 1)
  let busyUntil = performance.now() + 1500
  const work = (): void => {
    const begun = performance.now()
    while (performance.now() - begun < 100);
    if (performance.now() < busyUntil) setTimeout(work, 1)
    else busyUntil = 0
  }
  work()
  await until(() => listener.counts?.overloaded === true, 0)
  // The sum is told with the next turn.
  await until(() => station.transport.metrics.listenersPaused === 1, 0)
  clients.push(dial(listener))
  await until(() => busyUntil === 0, 0)
  await until(() => accepted === 2)
  // With node:net the event comes a little after the fact.
  if (station.transport.name === 'native') t.equal(whilePaused, 0, 'who comes meanwhile waits')
  await until(() => station.transport.metrics.listenersPaused === 0)
  t.ok(station.transport.metrics.limited.pauseAbove >= 1)
  t.equal(listener.counts?.overloaded, false)
  for (const { socket } of clients) socket.destroy()
})

onEveryTransport('one that is closed while it is late is no longer counted as paused', async (t, open) => {
  const station = open()
  const listener = await station.listen({}, { limits: { pauseAbove: 50 } })
  const begun = performance.now()
  while (performance.now() - begun < 150);
  await until(() => station.transport.metrics.limited.pauseAbove > 0)
  listener.close()
  await until(() => station.transport.metrics.listenersPaused === 0)
  t.equal(listener.counts, undefined)
})

onEveryTransport('two listeners count for themselves; one that listens again begins anew', async (t, open) => {
  const station: Station = open()
  let accepted = 0
  const handlers: Handlers = { accepted: () => { accepted++ } }
  const options = { limits: { connectionsPerPrefix: 1 } }
  const first = await station.listen(handlers, options)
  const second = await station.listen(handlers, options)
  const clients = [dial(first), dial(second)]
  await until(() => accepted === 2)
  first.close()
  const third = await station.listen(handlers, { ...options, port: portOf(first) })
  clients.push(dial(third))
  await until(() => accepted === 3)
  for (const { socket } of clients) socket.destroy()
  await until(() => third.counts?.connections === 1 && second.counts?.connections === 1)
  t.pass()
})

t.test('prefixes of addresses', async (t) => {
  const of = (address: string, ipv4 = 32, ipv6 = 64): string =>
    prefixOf({ address, port: 1, family: address.includes(':') ? 'IPv6' : 'IPv4' }, { ipv4, ipv6 })
  t.equal(of('192.0.2.1'), of('::ffff:192.0.2.1'))
  t.equal(of('192.0.2.1'), of('::ffff:c000:201'))
  t.not(of('192.0.2.1'), of('192.0.2.2'))
  t.equal(of('192.0.2.1', 24), of('192.0.2.200', 24))
  t.equal(of('2001:db8::1'), of('2001:db8:0:0:ffff::2'))
  t.not(of('2001:db8::1'), of('2001:db8:0:1::1'))
  t.equal(of('fe80::1%eth0'), of('fe80::2'))
  t.not(of('0.0.0.0', 0), of('::', 32, 0))
  t.equal(of('2001:db8:8000::', 32, 33), of('2001:db8:ffff::', 32, 33))
  t.not(of('2001:db8:8000::', 32, 33), of('2001:db8:7fff::', 32, 33))
  const unix = (address: string): string => prefixOf({ address, port: 0, family: 'unix' }, {})
  t.equal(unix('/a'), unix(''))
  const range = prefixRange('10.0.0.0/8')
  t.ok(range !== undefined && isInRange(range, { address: '::ffff:10.1.1.1', port: 1, family: 'IPv6' }))
  t.notOk(range !== undefined && isInRange(range, { address: '11.1.1.1', port: 1, family: 'IPv4' }))
  for (const text of ['', '/', '10.0.0.1/', '10.0.0.0/33', '::/129', 'x', 'fe80::1%eth0', '1.2.3']) {
    t.equal(prefixRange(text), undefined, text)
  }
})

t.test('the counts of prefixes in JavaScript, beside plain ones', async (t) => {
  const random = randomSource(7)
  const most = 3
  const limits = fullLimits(50, { connectionsPerPrefix: most, maxIdlePrefixes: 10, acceptRatePerPrefix: 1_000_000 })
  const admission = new Admission(limits)
  const open: { host: number, ticket: ReturnType<Admission['admit']>['ticket'] }[] = []
  for (let i = 0; i < 20_000; i++) {
    if (random(2) === 0) {
      const host = random(40)
      const { refusedFor, ticket } = admission.admit({ address: `10.0.0.${host}`, port: 1, family: 'IPv4' })
      const same = open.filter((one) => one.host === host).length
      const expected = open.length >= 50 ? 'maxConnections' : same >= most ? 'connectionsPerPrefix' : undefined
      if (refusedFor !== expected) t.equal(refusedFor, expected)
      if (refusedFor === undefined) open.push({ host, ticket })
    } else if (open.length > 0) {
      const [{ ticket }] = open.splice(random(open.length), 1)
      admission.leave(ticket)
    }
    const prefixes = new Set(open.map(({ host }) => host)).size
    if (admission.prefixes < prefixes || admission.prefixes > prefixes + 10) t.fail(`${admission.prefixes} prefixes`)
    if (admission.connections !== open.length) t.fail('connections')
  }
  for (const { ticket } of open) admission.leave(ticket)
  t.equal(admission.connections, 0)
})

t.test('the token bucket in JavaScript', async (t) => {
  const rate = { perSecond: 10, burst: 5 }
  const bucket = new TokenBucket(rate, 1000)
  t.equal(bucket.available(rate, 1000), 5)
  bucket.take(5)
  t.equal(bucket.available(rate, 1099), 0)
  t.equal(bucket.available(rate, 500), 0, 'a clock that goes back brings nothing')
  t.equal(bucket.available(rate, 1100), 1)
  t.equal(bucket.available(rate, 1e15), 5)
  t.equal(bucket.available({ perSecond: 10, burst: 2 }, 1e15), 2)
})

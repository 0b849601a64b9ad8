/** Limits of the TCP drivers' listeners: what programs are told, change, and count; behind balancers, too. */
import { host, onBoth, server, type Program } from './tcp-program.js'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import {
  _, endpoint, proxyHeader, sendFeedback, sendMessage, spawn, tcp, tcpBare, tcpChannel, tcpCredit, tcpEngine, tcpLimits,
  tcpListener, unixListener, type BufferLifetime, type FlowMode, type TcpEnd,
} from 'marketplace-native'
import { makeCertificate } from '../support/certificates.js'
import { anyTcpLimits } from '../support/unchecked.js'
import { client, pattern, readAll, sleep, until } from '../support/util.js'

const folder = mkdtempSync(join(tmpdir(), 'marketplace-'))
t.teardown(() => { rmSync(folder, { recursive: true }) })

const echo = (them: TcpEnd, us: TcpEnd) =>
  endpoint.subscriber(tcpChannel(them, us, _), {
    onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
  })

/** How a client ended, or what it got first. */
async function fate(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => { resolve(error.code ?? 'error') })
    socket.on('end', () => { resolve('end') })
    socket.on('data', (data: Buffer) => { resolve(data.toString()) })
  })
}

const visit = (port: number): Promise<string> => {
  const socket = connect({ port, host })
  socket.write('served')
  return fate(socket).finally(() => socket.destroy())
}

onBoth('who is refused is told with the limit, and counted by it', async (t, start) => {
  const engine = tcpEngine()
  const limits = { connectionsPerPrefix: 2, acceptRate: { perSecond: 1, burst: 3 } }
  const program = start(() => server(echo), { engine, limits })
  const port = await program.port()
  const held = [await client(port), await client(port)]
  await until(() => program.connections === 2)
  for (let i = 0; i < 3; i++) t.equal(await visit(port), 'ECONNRESET')
  await until(() => engine.metrics().drops === 3)
  t.match(engine.metrics().limited, { connectionsPerPrefix: 3, acceptRate: 0, maxConnections: 0 })
  const dropped = () => program.errors.map(({ error }) => Number(/: (\d+) dropped/.exec(error.message)?.[1]))
  await until(() => dropped().reduce((sum, count) => sum + count, 0) === 3)
  t.match(program.errors[0].error, {
    code: 'ECONNABORTED', syscall: 'accept', address: host, message: /dropped, as connectionsPerPrefix is 2$/,
  })
  const told = program.log.filter(({ message }) => message === 'TCP connections dropped')
  t.match(told[0], { fields: { reason: 'connectionsPerPrefix is 2' } })
  for (const socket of held) socket.destroy()
  await until(() => program.connections === 0)
})

onBoth('a program changes the limits of a listener, also of one that is not open yet', async (t, start) => {
  const path = join(folder, 'changed')
  const program = start(() => [
    server(echo),
    endpoint.subscriber(tcpChannel(_, unixListener(path), _), { interest: 'observer' }),
  ], { maxConnections: 0 })
  const change = (changes: Parameters<typeof tcpLimits>[1], listener: unknown = tcpListener(0)): void => {
    program.do(sendMessage(anyTcpLimits(listener, changes)))
  }
  change({ maxConnections: 1 })
  const port = await program.port()
  const becomes = async (expected: string): Promise<void> => {
    while (await visit(port) !== expected) await sleep(5)
  }
  await becomes('served')
  change({ maxConnections: 0 })
  await becomes('ECONNRESET')
  change({ maxConnections: Infinity })
  await becomes('served')
  const before = program.errors.length
  change({ maxConnections: -1 })
  change({ acceptRate: 'much' as never })
  change({ maxConections: 5 } as never)
  change(5 as never)
  change({}, 'nobody')
  change({}, tcpListener(1))

  await until(() => program.errors.length >= before + 5)
  const messages = program.errors.slice(before).map(({ error }) => error.message)
  for (const pattern of [
    /tcpLimits: maxConnections must be/, /tcpLimits: acceptRate must be/, /did you mean 'maxConnections'/,
    /tcpLimits: options must be an object; got 5/, /tcpLimits: listener must be a tcp-listener/,
  ]) t.ok(messages.some((message) => pattern.test(message)), String(pattern))
  t.equal(await visit(port), 'served')
})

onBoth('frameTimeout: tcpBare has none', async (t, start) => {
  t.throws(() => tcpBare({ limits: { frameTimeout: 5 } }), {
    name: 'TypeError', message: 'tcpBare: options.limits.frameTimeout must be 0, as only tcp() knows frames; got 5',
  })
  t.throws(() => tcp({ limits: { frameTimeout: -5 } }), /options\.limits\.frameTimeout must be an integer from 0/)
  const program = start(() => server(echo))
  await program.port()
  program.do(sendMessage(tcpLimits(tcpListener(0), { frameTimeout: 5 })))
  await until(() => program.errors.length === 1)
  t.match(program.errors[0].error.message, /only tcp\(\) knows frames/)
})

const MODES: readonly { mode: FlowMode, whole: string, begin: string, drip: string }[] = [
  { mode: 'lines', whole: 'line\r\n', begin: 'a', drip: 'a' },
  { mode: { frame: 'length', bytes: 1 }, whole: '\x02xy', begin: '\xf0', drip: 'a' },
  { mode: { frame: 'fixed', bytes: 200 }, whole: 'x'.repeat(200), begin: 'a', drip: 'a' },
]

for (const buffers of ['owned', 'borrowed', 'isolated'] as readonly BufferLifetime[]) {
  onBoth(`${buffers}: a frame that drips ends its connection, and no other`, async (t, start) => {
    for (const { mode, whole, begin, drip } of MODES) {
      const engine = tcpEngine()
      const session = (program: Program, credit: number) => (them: TcpEnd, us: TcpEnd) => spawn(() => [
        endpoint.subscriber(tcpChannel(them, us, _), program.notes('session')),
        sendFeedback(tcpChannel(them, us, tcpCredit(credit))),
      ])
      const program = start((p) => server(session(p, 1000)), {
        driver: 'tcp', mode, buffers, engine, limits: { frameTimeout: 300 },
      })
      const port = await program.port()
      const sockets = [await client(port), await client(port), await client(port)]
      await until(() => program.connections === 3)
      const [slow, quick, idle] = sockets
      idle.write(Buffer.from(whole, 'latin1'))
      const begun = performance.now()
      let cut = ''
      void fate(slow).then((what) => { cut = what })
      slow.write(Buffer.from(begin, 'latin1'))
      while (cut === '') {
        slow.write(drip)
        quick.write(Buffer.from(whole, 'latin1'))
        await sleep(10)
      }
      t.equal(cut, 'ECONNRESET')
      t.ok(performance.now() - begun >= 280, 'not early')
      await until(() => program.all('session', 'absence').length === 1)
      t.match(program.all('session', 'absence')[0].reason, {
        code: 'ETIMEDOUT', syscall: 'read', message: /a frame that had begun was not there within frameTimeout/,
      })
      await sleep(400)
      t.equal(program.connections, 2, 'whole frames, and none, are in time')
      t.equal(engine.metrics().limited.frameTimeout, 1)
      for (const socket of sockets) socket.destroy()
      await program.stop()
    }
  })
}

onBoth('frameTimeout: nobody waits for a frame without credit', async (t, start) => {
  const program = start((p) => server((them, us) => spawn(() => [
    endpoint.subscriber(tcpChannel(them, us, _), p.notes('session')),
    sendFeedback(tcpChannel(them, us, tcpCredit(1))),
    endpoint.subscriber(['more'], { onMessage: () => sendFeedback(tcpChannel(them, us, tcpCredit(10))) }),
  ])), { driver: 'tcp', mode: 'lines', limits: { frameTimeout: 200 } })
  const socket = (await client(await program.port())).on('error', () => undefined)
  socket.write('one\ntwo\nthr')
  await until(() => program.bytes('session').toString() === 'one')
  const begun = performance.now()
  program.do(sendMessage(['more']))
  await until(() => program.all('session', 'absence').length === 1)
  t.ok(performance.now() - begun >= 180)
  t.equal(program.bytes('session').toString(), 'onetwo')
  socket.destroy()
})

onBoth('a rate of bytes: frames and bytes come whole, at any depth', async (t, start) => {
  for (const driver of ['bare', 'tcp'] as const) {
    const program = start((p) => server((them, us) => spawn(() => [
      endpoint.subscriber(tcpChannel(them, us, _), p.notes('session')),
      sendFeedback(tcpChannel(them, us, tcpCredit(100_000))),
    ])), { driver, depth: 1, limits: { receiveRate: { perSecond: 50_000, burst: 5000 } } })
    const socket = await client(await program.port())
    const data = pattern(30_000)
    const begun = performance.now()
    socket.end(data)
    await until(() => program.bytes('session').length === data.length)
    t.ok(program.bytes('session').equals(data))
    t.ok(performance.now() - begun >= 450)
    socket.destroy()
  }
})

onBoth('a connection that says nothing is ended; others are served', async (t, start) => {
  const program = start((p) => server((them, us) => spawn(() => [
    endpoint.subscriber(tcpChannel(them, us, _), p.notes('session')), echo(them, us),
  ])), { limits: { firstByteTimeout: 200 } })
  const port = await program.port()
  const silent = connect({ port, host })
  t.equal(await fate(silent), 'ECONNRESET')
  t.match(await program.reason('session'), { code: 'ETIMEDOUT', message: /firstByteTimeout/ })
  t.equal(await visit(port), 'served')
})

onBoth('with TLS the first byte is one behind the handshake', async (t, start) => {
  const { key, cert } = makeCertificate()
  const program = start((p) => server((them, us) => spawn(() => [
    endpoint.subscriber(tcpChannel(them, us, _), p.notes('session')), echo(them, us),
  ])), { tls: { key, cert }, limits: { firstByteTimeout: 1000 } })
  const port = await program.port()
  const speaking = connectTls({ port, host, rejectUnauthorized: false })
  speaking.write('served')
  t.equal(await fate(speaking), 'served')
  const silent = connectTls({ port, host, rejectUnauthorized: false })
  t.equal(await fate(silent), 'ECONNRESET')
  t.equal(speaking.destroyed, false)
  speaking.destroy()
})

onBoth('behind a balancer each client is counted, by its own prefix', async (t, start) => {
  const engine = tcpEngine()
  const program = start(() => server(echo), {
    engine, proxy: { from: ['127.0.0.1'] }, limits: { connectionsPerPrefix: 2 },
  })
  const port = await program.port()
  const sockets: Socket[] = []
  const through = async (source: string, text = 'served'): Promise<string> => {
    const socket = connect({ port, host })
    sockets.push(socket)
    socket.write(proxyHeader({ source: { host: source, port: 5 }, destination: { host: source, port: 6 } }))
    socket.write(text)
    return fate(socket)
  }
  for (let i = 1; i <= 4; i++) t.equal(await through(`192.0.2.${i}`), 'served', 'the balancer is not counted')
  t.equal(await through('192.0.2.1'), 'served')
  t.equal(await through('192.0.2.1'), 'ECONNRESET')
  t.equal(await through('::ffff:192.0.2.1'), 'ECONNRESET')
  t.equal(await through('2001:db8::1'), 'served')
  t.equal(await through('2001:db8::2'), 'served')
  t.equal(await through('2001:db8::3'), 'ECONNRESET')
  await until(() => engine.metrics().limited.connectionsPerPrefix === 3)
  sockets[0].destroy()
  let what = ''
  await until(() => {
    if (what === '') void through('192.0.2.1').then((result) => { what = result === 'served' ? result : '' })
    return what === 'served'
  }, 50)
  program.do(sendMessage(tcpLimits(tcpListener(0), { connectionsPerPrefix: 3 })))
  await until(() => {
    if (what === 'served') void through('192.0.2.2').then(() => { what = 'asked' })
    return what === 'asked'
  }, 50)
  await until(() => program.errors.some(({ error }) => /connectionsPerPrefix is 2$/.test(error.message)))
  t.match(program.errors[0], { remote: { host: /^(::ffff:)?192\.0\.2\.1$|2001/ }, error: { code: 'ECONNABORTED' } })
  for (const socket of sockets) socket.destroy()
  await until(() => program.connections === 0)
})

onBoth('others than the balancer are counted by the transport', async (t, start) => {
  const program = start(() => server(echo), { proxy: { from: ['127.9.9.9'] }, limits: { connectionsPerPrefix: 1 } })
  const port = await program.port()
  const first = await client(port)
  await until(() => program.connections === 1)
  t.equal(await visit(port), 'ECONNRESET')
  const balancer = connect({ port, host, localAddress: '127.9.9.9' })
  balancer.write(proxyHeader({ source: { host, port: 5 }, destination: { host, port: 6 } }))
  balancer.end('through')
  t.equal((await readAll(balancer)).toString(), 'through')
  first.destroy()
})

onBoth('counts come back to zero when the driver drains and its VM ends', async (t, start) => {
  const engine = tcpEngine()
  const program = start(() => server(echo), { engine, limits: { connectionsPerPrefix: 5 } })
  const port = await program.port()
  const sockets = await Promise.all(Array.from({ length: 5 }, () => client(port)))
  await until(() => program.connections === 5)
  const closed = Promise.all(sockets.map((socket) => new Promise((resolve) => {
    socket.on('error', () => undefined).on('close', resolve).resume()
  })))
  await engine.shutdown({ drainMs: 50 })
  await closed
  t.equal(engine.metrics().connections, 0)
  t.equal(engine.metrics().listenersPaused, 0)
})

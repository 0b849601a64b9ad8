/** Volume: peers that don't read, the marks at which the driver acts, busy VMs, nested VMs. */
import { endsByItself, onBoth, server } from './tcp-program.js'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  _, deleteEndpoint, endpoint, eof, quit, sendMessage, spawn, tcpAddress, tcpChannel, tcpHandle, tcpListener,
  yieldTurn, type ActionTree, type SocketError, type TcpEnd,
} from 'marketplace-native'
import { echoServer } from '../../examples/echo.js'
import { client, collectGarbage, pattern, readAll, sleep, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const MEBIBYTE = 1024 * 1024

onBoth('more queued than maxQueuedBytes: ENOBUFS, and the peer is reset', async (t, start) => {
  const chunk = Buffer.alloc(256 * 1024)
  let sent = 0
  const flood = (them: TcpEnd, us: TcpEnd): ActionTree => {
    const more = (): ActionTree => {
      sent += chunk.length
      return [sendMessage(tcpChannel(us, them, chunk)), yieldTurn(more)]
    }
    return endpoint.subscriber(tcpChannel(them, us, _), { onAbsence: () => quit(), onMessage: more })
  }
  const program = start((p) => [
    server(flood),
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { ...p.notes('in'), interest: 'observer' }),
  ], { maxQueuedBytes: 2 * MEBIBYTE })
  const socket = await client(await program.port())
  const { localPort: port } = socket
  const failed = new Promise<SocketError>((resolve) => socket.once('error', resolve))
  socket.write('go')
  const reason = await program.reason('in') as SocketError
  t.match(reason, {
    code: 'ENOBUFS', syscall: 'write', address: '127.0.0.1', port, message: /wait to be sent/,
  })
  t.ok(sent < 40 * MEBIBYTE, `${sent} bytes were sent`)
  socket.resume()
  // What came before the reset may be read first; libuv may then see an end.
  const outcome = await Promise.race([failed, once(socket, 'close'), once(socket, 'end')])
  t.ok(!(outcome instanceof Error) || outcome.code === 'ECONNRESET')
  t.ok(socket.bytesRead < sent, 'the rest was dropped')
  t.equal(program.connections, 0)
  socket.destroy()
})

onBoth('maxQueuedBytes 0: what the kernel takes at once may be written', async (t, start) => {
  const program = start((p) => [
    echoServer(0),
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { ...p.notes('in'), interest: 'observer' }),
  ], { maxQueuedBytes: 0 })
  const socket = await client(await program.port())
  socket.on('error', () => undefined).resume().end('x')
  t.equal(await program.reason('in'), undefined)
})

onBoth('above highWaterMark nothing is read; below it goes on, without loss', async (t, start) => {
  const program = start(() => echoServer(0), { highWaterMark: 256 * 1024 })
  const socket = await client(await program.port())
  const chunk = pattern(MEBIBYTE)
  collectGarbage()
  const before = process.memoryUsage().rss
  const COUNT = 64
  // One and the same buffer, again and again: the memory that grows is the driver's.
  for (let i = 0; i < COUNT; i++) socket.write(chunk)
  socket.end()
  let taken = -1
  await until(() => {
    const last = taken
    taken = program.transports[0].metrics.bytesIn
    return taken > 0 && taken === last
  }, 100)
  t.ok(taken < 24 * MEBIBYTE, `${taken} bytes were read before it stopped`)
  const grown = process.memoryUsage().rss - before
  t.ok(grown < 24 * MEBIBYTE, `resident memory grew by ${grown} bytes`)
  const [hash, expected] = [createHash('sha1'), createHash('sha1')]
  for (let i = 0; i < COUNT; i++) expected.update(chunk)
  for await (const data of socket) hash.update(data as Buffer)
  t.equal(hash.digest('hex'), expected.digest('hex'))
})

onBoth('two processes that message each other for ever do not starve sockets', async (t, start) => {
  let rounds = 0
  const player = (own: string, other: string): ActionTree => spawn(() => [
    endpoint.subscriber([own, _], {
      onMessage: ([, n]) => {
        rounds++
        return sendMessage([other, n as number + 1])
      },
    }),
    own === 'ping' && yieldTurn(() => sendMessage(['pong', 0])),
  ])
  for (const depth of [0, 1]) {
    const program = start(() => [echoServer(0), player('ping', 'pong'), player('pong', 'ping')], { depth })
    const socket = await client(await program.port())
    const before = rounds
    const begin = performance.now()
    for (let i = 0; i < 10; i++) {
      socket.write('x')
      await once(socket, 'data')
    }
    t.ok(rounds > before + 1000, `${rounds - before} messages meanwhile`)
    const msecs = performance.now() - begin
    t.ok(msecs < patient(5000), `depth ${depth}: ten answers in ${msecs} ms`)
    socket.end()
    t.equal((await readAll(socket)).length, 0)
    await program.stop()
  }
})

onBoth('two levels deep, with relays: both sides of connections, errors, and the end', async (t, start) => {
  const bytes = pattern(2 * MEBIBYTE)
  const program = start((p) => server((them, us) => endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: ({ subpacket }) => [
      p.notes('seen').onMessage(tcpChannel(them, us, subpacket)),
      sendMessage(tcpChannel(us, them, subpacket)),
    ],
  })), { depth: 2 })
  const port = await program.port()
  const socket = await client(port)
  socket.end(bytes)
  t.ok((await readAll(socket)).equals(bytes), 'echoed through all levels')
  t.ok(program.bytes('seen').equals(bytes))

  const [us, them] = [tcpHandle('h'), tcpAddress('127.0.0.1', port)]
  program.do(endpoint.subscriber(tcpChannel(them, us, _), program.notes('back', undefined, () => [
    sendMessage(tcpChannel(us, them, 'over the wire to ourselves')), sendMessage(tcpChannel(us, them, eof)),
  ])))
  t.equal(await program.reason('back'), undefined)
  t.equal(program.bytes('back').toString(), 'over the wire to ourselves')

  program.do(endpoint.publisher(tcpChannel(us, tcpAddress('127.0.0.1', 1), _)))
  await until(() => program.errors.length === 1)
  t.match(program.errors[0].error, { code: 'ECONNREFUSED' })
  program.do(deleteEndpoint('server'))
  await until(() => program.where.size === 0)
  await t.rejects(client(port), { code: 'ECONNREFUSED' })
  t.notOk(program.ended)
  program.letGo()
  t.ok(await endsByItself(program), 'the ground VM ends after the last socket')
})

onBoth('the ground VM ends by itself with the last connection', async (t, start) => {
  const program = start(() => echoServer(0))
  const port = await program.port()
  const sockets = [await client(port), await client(port)]
  for (const socket of sockets) {
    socket.write('x')
    await once(socket, 'data')
  }
  program.letGo()
  await sleep(30)
  t.notOk(program.ended, 'it listens')
  const [first, second] = sockets
  first.end()
  await readAll(first)
  await sleep(30)
  t.notOk(program.ended, 'it listens, and has a connection')
  second.destroy()

  const once1 = start(() => endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
    name: 'l',
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => [
      spawn(() => endpoint.subscriber(tcpChannel(them, us, _), {
        onAbsence: () => quit(),
        onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
      })),
      deleteEndpoint('l'),
    ],
  }))
  const only = await client(await once1.port())
  only.write('x')
  await once(only, 'data')
  once1.letGo()
  await sleep(30)
  t.notOk(once1.ended, 'a connection keeps it')
  only.end()
  await readAll(only)
  t.ok(await endsByItself(once1), 'the last one went')
})

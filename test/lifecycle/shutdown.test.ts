/** `shutdown` of the ground VM and of an engine: what may end ends, what doesn't is aborted. */
import { EventEmitter, once } from 'node:events'
import t from 'tap'
import {
  _, endpoint, groundVm, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpEngine, tcpHandle, tcpAddress,
  tcpListener, tcpListening, type TcpEnd,
} from 'marketplace-native'
import { host, onBoth, server } from '../drivers/tcp-program.js'
import { client, pattern, readAll, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const echo = (them: TcpEnd, us: TcpEnd) => endpoint.subscriber(tcpChannel(them, us, _), {
  onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
  onAbsence: () => quit(),
})

onBoth('conversations may end; nothing new is accepted', async (t, start) => {
  const program = start(() => server(echo))
  const port = await program.port()
  const sockets = await Promise.all([1, 2, 3].map(() => client(port)))
  await until(() => program.connections === 3)
  const report = program.vm.shutdown({ drainMs: 15_000 })
  t.equal(program.where.size, 0, 'who listens is told')
  await t.rejects(client(port), { code: 'ECONNREFUSED' })
  const data = pattern(1_000_000)
  for (const socket of sockets) {
    const back = readAll(socket)
    socket.end(data)
    t.ok((await back).equals(data), 'what was begun is done to its end')
  }
  t.match(await report, { ended: 3, aborted: 0 })
  t.ok((await report).elapsed < patient(15_000))
  t.ok(program.ended)
})

onBoth('what is left is aborted', async (t, start) => {
  const program = start((program) => [
    server(echo),
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
      interest: 'observer', ...program.notes('observer'),
    }),
  ])
  const port = await program.port()
  const [ends, stays] = await Promise.all([client(port), client(port)])
  const failed = once(stays, 'error')
  await until(() => program.connections === 2)
  const report = program.vm.shutdown({ drainMs: 200 })
  ends.end()
  await readAll(ends)
  t.match(await failed, [{ code: 'ECONNRESET' }])
  t.match(await report, { ended: 1, aborted: 1 })
  t.ok((await report).elapsed >= 180)
  t.match(program.all('observer', 'absence'), [{ reason: undefined }, { reason: { code: 'ECONNABORTED' } }])
})

onBoth('twice, and sooner; then stopped', async (t, start) => {
  const program = start(() => server(echo))
  const socket = await client(await program.port())
  socket.on('error', () => undefined)
  await until(() => program.connections === 1)
  const first = program.vm.shutdown({ drainMs: 1_000_000 })
  const second = program.vm.shutdown({ drainMs: 2_000_000 })
  const third = program.vm.shutdown({ drainMs: 0 })
  t.match(await Promise.all([first, second, third]), [{ aborted: 1 }, { aborted: 1 }, { aborted: 1 }])
  t.match(await program.vm.shutdown(), { ended: 0, aborted: 1 })
  socket.destroy()
})

onBoth('stop ends a shutdown', async (t, start) => {
  const program = start(() => server(echo))
  const socket = await client(await program.port())
  await until(() => program.connections === 1)
  const report = program.vm.shutdown({ drainMs: 1_000_000 })
  await program.vm.stop()
  t.match(await report, { ended: 1, aborted: 0 }, 'it was closed in order')
  t.equal((await readAll(socket)).length, 0)
  socket.destroy()
})

onBoth('what a connection is about to say is said', async (t, start) => {
  // The answer takes its time; meanwhile the shutdown begins.
  const program = start(() => server((them, us) => endpoint.subscriber(tcpChannel(them, us, _), {
    onMessage: async () => {
      await new Promise((resolve) => { setTimeout(resolve, 50) })
      return [sendMessage(tcpChannel(us, them, pattern(3_000_000))), quit()]
    },
  })))
  const socket = await client(await program.port())
  socket.write('a request')
  await until(() => program.connections === 1)
  const report = program.vm.shutdown({ drainMs: 15_000 })
  t.ok((await readAll(socket)).equals(pattern(3_000_000)))
  socket.destroy()
  t.match(await report, { ended: 1, aborted: 0 })
})

onBoth('attempts to connect are given up', async (t, start) => {
  const program = start(() => endpoint.subscriber(tcpChannel(tcpAddress('192.0.2.1', 9), tcpHandle(1), _)))
  await until(() => program.transports.length === 1)
  t.match(await program.vm.shutdown({ drainMs: 20 }), { ended: 0, aborted: 0 })
})

onBoth('an engine is shut down, its VM goes on', async (t, start) => {
  const engine = tcpEngine()
  const program = start(() => server(echo), { engine })
  const port = await program.port()
  const socket = await client(port)
  const failed = once(socket, 'error')
  await until(() => program.connections === 1)
  t.match(await engine.shutdown({ drainMs: 50 }), { ended: 0, aborted: 1 })
  t.match(await failed, [{ code: 'ECONNRESET' }])
  t.notOk(program.ended)
  t.equal(await engine.shutdown(), await engine.shutdown(), 'idempotent')
  program.do(server(echo, 0, 'again'))
  await until(() => program.transports.length === 1)
  await t.rejects(client(port), { code: 'ECONNREFUSED' })
  await engine[Symbol.asyncDispose]()
})

void t.test('without sockets, before the first turn, after the end', { timeout: patient(20_000) }, async (t) => {
  const idle = groundVm(() => [tcpBare(), spawn(() => endpoint.subscriber('x'))])
  t.match(await idle.shutdown(), { ended: 0, aborted: 0 })
  const running = groundVm(() => [tcpBare({ host }), spawn(() => server(echo))])
  t.match(await running.shutdown(), { ended: 0, aborted: 0 })
  t.match(await running.shutdown(), { ended: 0, aborted: 0 })
  t.match(await tcpEngine().shutdown(), { ended: 0, aborted: 0, elapsed: Number })
})

void t.test('await using', { timeout: patient(20_000) }, async (t) => {
  let gone: Promise<unknown>
  {
    const engine = tcpEngine()
    const listening = new EventEmitter()
    const port = once(listening, 'port')
    await using vm = groundVm(() => [
      tcpBare({ host, engine }),
      spawn(() => server(echo)),
      endpoint.subscriber(tcpListening(_, _), {
        onPresence: ({ address }) => { listening.emit('port', address.port) },
      }),
    ])
    const [number] = await port as [number]
    const socket = await client(number)
    gone = once(socket.resume(), 'close')
    socket.on('end', () => socket.end())
    t.equal(typeof vm.stop, 'function')
  }
  // The block has ended: so has the server, and its client hears of it.
  await gone
  t.pass('it is stopped')
})

void t.test('wrong arguments', { timeout: patient(20_000) }, async (t) => {
  const vm = groundVm(() => undefined)
  t.throws(() => vm.shutdown({ drainMs: -1 }), {
    code: 'ERR_OUT_OF_RANGE',
    message: 'shutdown: options.drainMs must be an integer from 0 to 2147483647 milliseconds; got -1',
  })
  t.throws(() => vm.shutdown({ drainMS: 1 } as never), { message: /did you mean 'drainMs'/ })
  t.throws(() => vm.shutdown(5 as never), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => tcpEngine().shutdown({ drainMs: 'x' } as never), { code: 'ERR_INVALID_ARG_TYPE' })
  await vm
})

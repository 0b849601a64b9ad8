/** Options of sockets as the drivers' programs see them: limits, pauses, local addresses, failures. */
import { host, onBoth, server, type Program } from './tcp-program.js'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { platform } from 'node:os'
import {
  _, endpoint, sendFeedback, sendMessage, spawn, tcpAccepting, tcpAddress, tcpChannel, tcpCredit, tcpEngine,
  tcpHandle, tcpListener, tcpListening, type TcpAddress, type TcpEnd,
} from 'marketplace-native'
import { anyTcpAccepting } from '../support/unchecked.js'
import { client, readAll, sleep, until } from '../support/util.js'

const echo = (them: TcpEnd, us: TcpEnd) =>
  endpoint.subscriber(tcpChannel(them, us, _), {
    onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
  })

/** An observer that only counts. */
const counter = (program: Program) =>
  endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { ...program.notes('them'), interest: 'observer' })

onBoth('drops are told to the program, to the log, and counted', async (t, start) => {
  const engine = tcpEngine()
  const program = start(() => server(echo), { maxConnections: 1, engine })
  const port = await program.port()
  const first = await client(port)
  await until(() => program.connections === 1)
  const begin = performance.now()
  for (let i = 0; i < 3; i++) await once(connect(port, host), 'error')
  await until(() => engine.metrics().drops === 3)
  const drops = () => program.errors.map(({ error }) => Number(/: (\d+) dropped/.exec(error.message)?.[1]))
  await until(() => drops().reduce((sum, count) => sum + count, 0) === 3)
  const [{ local, remote, error }] = program.errors
  t.strictSame(local, tcpListener(0))
  t.match(remote, { host, port: Number })
  const { port: from } = remote as TcpAddress
  t.match(error, { code: 'ECONNABORTED', syscall: 'accept', address: host, port: from })
  t.match(error.message, /^accept ECONNABORTED 127\.0\.0\.1:\d+: \d+ dropped, as maxConnections is 1$/)
  const told = program.log.filter(({ message }) => message === 'TCP connections dropped')
  const most = 1 + (performance.now() - begin) / 1000
  t.ok(told.length >= 1 && told.length <= most, 'the log is told once a second at most')
  t.match(told[0], { level: 'warning', fields: { local, reason: 'maxConnections is 1' } })
  first.end('still served')
  t.equal((await readAll(first)).toString(), 'still served')
})

onBoth('with pauseOnAccept, tcpBare reads when a participant has come', async (t, start) => {
  const program = start((program) => counter(program), { pauseOnAccept: true })
  const socket = await client(await program.port())
  socket.end('for the first who cares')
  await until(() => program.all('them', 'presence').length === 1)
  const [{ topic: { source, destination } }] = program.all('them', 'presence')
  await sleep(50)
  t.equal(program.bytes('them').length, 0, 'not even an observer gets anything')
  t.equal(program.transports[0].metrics.bytesIn, 0)
  program.do(spawn(() => echo(source, destination)))
  t.equal((await readAll(socket)).toString(), 'for the first who cares')
})

onBoth('without it, what comes is broadcast as it comes', async (_t, start) => {
  const program = start((program) => counter(program))
  const socket = await client(await program.port())
  socket.write('for whoever')
  await until(() => program.bytes('them').toString() === 'for whoever')
  socket.destroy()
})

onBoth('with pauseOnAccept, tcp reads nothing before the first credit', async (t, start) => {
  const program = start((program) => counter(program), { driver: 'tcp', pauseOnAccept: true })
  const socket = await client(await program.port())
  socket.write('twelve bytes')
  await until(() => program.all('them', 'presence').length === 1)
  const [{ topic: { source, destination } }] = program.all('them', 'presence')
  const inbound = (amount: number) => sendFeedback(tcpChannel(source, destination, tcpCredit(amount)))
  program.do(inbound(0))
  await sleep(50)
  t.equal(program.transports[0].metrics.bytesIn, 0)
  program.do(inbound(6))
  await until(() => program.bytes('them').toString() === 'twelve')
  program.do(inbound(100))
  await until(() => program.bytes('them').toString() === 'twelve bytes')
  socket.destroy()
})

onBoth('outbound connections are read as ever', async (_t, start) => {
  const options = { pauseOnAccept: true, localAddress: host, noDelay: false }
  const program = start((program) => [
    server((them, us) => [echo(them, us), sendMessage(tcpChannel(us, them, 'welcome'))]),
    endpoint.subscriber(tcpListening(_, _), {
      onPresence: ({ address: { port } }) =>
        endpoint.subscriber(tcpChannel(tcpAddress('localhost', port), tcpHandle(1), _), program.notes('us')),
    }),
  ], options)
  await until(() => program.bytes('us').toString() === 'welcome')
})

onBoth('a program stops and goes on accepting', async (t, start) => {
  const program = start(() => server(echo))
  const port = await program.port()
  program.do(sendMessage(tcpAccepting(tcpListener(0), false)))
  // Every kind of nonsense is survived.
  for (const listener of [tcpListener(9), 5, null, _]) {
    program.do(sendMessage(anyTcpAccepting(listener, false)))
  }
  program.do(sendMessage(anyTcpAccepting(tcpListener(0), 'no')))
  const warnings = () => program.log.filter(({ level }) => level === 'warning')
  await until(() => warnings().length === 4)
  const wrong = /^tcpAccepting: it must be a tcp-listener and a boolean|could not do what it was asked/
  t.ok(warnings().every(({ message }) => wrong.test(message)))
  const socket = await client(port)
  socket.end('waits')
  await sleep(50)
  t.equal(program.connections, 0)
  program.do(sendMessage(tcpAccepting(tcpListener(0), true)))
  t.equal((await readAll(socket)).toString(), 'waits')
})

onBoth('a listen and a connect that lack an option are errors of theirs', async (t, start, transport) => {
  const program = start(() => [
    counter(program),
    endpoint.subscriber(tcpChannel(tcpAddress(host, 1), tcpHandle(1), _)),
  ], { userTimeout: 60_000 })
  await until(() => program.errors.length === (transport === 'node' ? 2 : 1))
  const codes = program.errors.map(({ error: { syscall, code } }) => `${syscall} ${code}`)
  if (transport === 'node') t.strictSame(codes.sort(), ['connect ENOTSUP', 'listen ENOTSUP'])
  else t.strictSame(codes, ['connect ECONNREFUSED'])
})

onBoth('an operator is told when the kernel, or Node, grants less', async (t, start, transport) => {
  const options = { receiveBufferSize: 0x3fffffff, sendBufferSize: 4096, unsupported: 'ignore' } as const
  const program = start((program) => counter(program), options)
  await program.port()
  const told = program.log.filter(({ message }) => message.includes('the kernel has a limit'))
  if (platform() !== 'linux') return
  const ignored = program.log.filter(({ message }) => message.includes('does without some options'))
  const fields = { options: ['sendBufferSize', 'receiveBufferSize'] }
  t.match(ignored, transport === 'node' ? [{ level: 'info', fields }] : [])
  const limit = Number(readFileSync('/proc/sys/net/core/rmem_max', 'latin1'))
  if (transport === 'node' || limit >= options.receiveBufferSize) t.strictSame(told, [])
  else t.match(told, [{ message: /^receiveBufferSize/, fields: { asked: 0x3fffffff, granted: Number } }])
})

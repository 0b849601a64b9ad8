/** Listening: who makes the driver listen, how long, what it tells, and what came too early. */
import { endsByItself, host, onBoth, Remote, server } from './tcp-program.js'
import { once } from 'node:events'
import { createServer } from 'node:net'
import {
  _, atMetaLevel, deleteEndpoint, endpoint, eof, nestedVm, quit, sendMessage, spawn, tcpAddress, tcpChannel,
  tcpError, tcpHandle, tcpListener, tcpListening,
  type Interest, type TcpEnd,
} from 'marketplace-native'
import { echoServer } from '../../examples/echo.js'
import { freePort } from '../conformance/sockets.js'
import { client, pattern, readAll, sleep, until } from '../support/util.js'
import { anyTcpListener } from '../support/unchecked.js'

const inbound = (port: number) => tcpChannel(_, anyTcpListener(port), _)
const refused = { code: 'ECONNREFUSED' }

onBoth('listening ends with the last of those who want it, and begins again at once', async (t, start) => {
  const port = await freePort()
  const wants = (name: string, interest: Interest = 'observer') =>
    endpoint.subscriber(inbound(port), { name, interest })
  const program = start(() => [wants('a'), wants('b')])
  await program.port()
  const old = await client(port)
  await until(() => program.connections === 1)
  program.do(deleteEndpoint('a'))
  const second = await client(port)
  await until(() => program.connections === 2)
  program.do(deleteEndpoint('b'))
  await until(() => program.where.size === 0)
  await t.rejects(client(port), refused)
  t.equal(program.connections, 2, 'accepted connections live on')

  const flows: Parameters<typeof server>[0] = (them, us) =>
    endpoint.subscriber(tcpChannel(them, us, _), {
      onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
    })
  program.do(server(flows, port, 'c'))
  await program.port()
  program.do(deleteEndpoint('c'), server(flows, port, 'd'), deleteEndpoint('d'), server(flows, port, 'e'))
  await sleep(20)
  t.equal(await program.port(), port)
  const third = await client(port)
  third.end('served by e')
  t.equal((await readAll(third)).toString(), 'served by e', 'closing and listening in one list of actions')
  t.strictSame(program.errors, [])
  for (const socket of [old, second]) socket.destroy()
})

onBoth('any interest listens, and a publisher the other way', async (t, start) => {
  for (const interest of ['participant', 'observer', 'everything'] as const) {
    for (const orientation of ['subscriber', 'publisher'] as const) {
      const topic = orientation === 'subscriber' ? inbound(0) : tcpChannel(tcpListener(0), _, _)
      const program = start(() => endpoint[orientation](topic, { name: 'it', interest }))
      const port = await program.port()
      const socket = await client(port)
      program.do(deleteEndpoint('it'))
      program.letGo()
      socket.end()
      t.ok(await endsByItself(program), `${orientation} ${interest}`)
      await t.rejects(client(port), refused)
      socket.destroy()
    }
  }
})

onBoth('a participant listener serves all its connections, and ends them with it', async (t, start) => {
  const remote = new Remote()
  const program = start((p) => spawn(() => [
    remote.ear,
    endpoint.subscriber(inbound(0), p.notes('all', ({ source, destination, subpacket }) =>
      sendMessage(tcpChannel(destination, source, subpacket)))),
  ]))
  const port = await program.port()
  const sockets = [await client(port), await client(port)]
  for (const [i, socket] of sockets.entries()) {
    socket.write(`client ${i}`)
    t.equal(String((await once(socket, 'data'))[0]), `client ${i}`)
  }
  t.equal(program.all('all', 'presence').length, 2)
  remote.do(quit('gone'))
  for (const socket of sockets) t.equal((await readAll(socket)).length, 0, 'closed')
  await until(() => program.connections === 0 && program.where.size === 0)
  await t.rejects(client(port), refused)
  const again = start(() => echoServer(port))
  t.equal(await again.port(), port)
  for (const socket of sockets) socket.destroy()
})

onBoth('where it listens is told while it does', async (t, start) => {
  const told: string[] = []
  const name = ({ listener, address }: { listener: TcpEnd, address: TcpEnd }) =>
    `${String(tcpListener.is(listener) && listener.port)} ${JSON.stringify(address)}`
  const program = start(() => [
    endpoint.subscriber(tcpListening(tcpListener(0), _), {
      onPresence: (topic) => { told.push(`+ ${name(topic)}`) },
      onAbsence: (topic) => { told.push(`- ${name(topic)}`) },
    }),
    endpoint.subscriber(inbound(0), { name: 'a', interest: 'observer' }),
    endpoint.subscriber(inbound(0), { name: 'b', interest: 'observer' }),
  ])
  const port = await program.port()
  const [{ port: real }] = program.where
  t.ok(real > 0 && real === port)
  program.do(deleteEndpoint('a'))
  await sleep(20)
  t.equal(told.length, 1, 'one listener, however many want it; it is there while one does')
  program.do(deleteEndpoint('b'))
  await until(() => told.length === 2)
  t.strictSame(told.map((text) => text[0]), ['+', '-'])
  t.equal(told[0].slice(1), told[1].slice(1), 'the same address goes')
})

onBoth('a port in use is told, and nothing is tried again by itself', async (t, start) => {
  const port = await freePort()
  const taken = createServer().listen(port, host)
  await once(taken, 'listening')
  let present = 0
  const program = start(() => [
    endpoint.subscriber(tcpError(tcpListener(port), _, _), {
      onPresence: () => { present++ },
      onAbsence: () => { present-- },
    }),
    endpoint.subscriber(inbound(port), { name: 'a', interest: 'observer' }),
  ])
  await until(() => program.errors.length === 1)
  t.equal(present, 1, 'the driver is present as who tells errors')
  const [{ local, remote, error }] = program.errors
  t.match(local, { port })
  t.equal(remote, undefined)
  t.match(error, { code: 'EADDRINUSE', syscall: 'listen', address: host, port })
  t.ok(error instanceof Error && error.errno < 0)
  t.ok(program.log.some(({ level, fields }) => level === 'warning' && fields['reason'] === error), 'logged')
  taken.close()
  await once(taken, 'close')
  await sleep(50)
  await t.rejects(client(port), refused, 'nothing is retried')
  program.do(deleteEndpoint('a'), server((them, us) => endpoint.subscriber(tcpChannel(them, us, _)), port))
  t.equal(await program.port(), port, 'asking again listens')
  t.equal(program.errors.length, 1)
})

onBoth('ports and hosts that cannot be had', async (t, start) => {
  const bad = [-1, 65536, 1.5, NaN, 'http' as unknown as number]
  const program = start(() => bad.map((port) => endpoint.subscriber(inbound(port), { interest: 'observer' })))
  await until(() => program.errors.length === bad.length)
  t.strictSame(program.errors.map(({ local }) => tcpListener.is(local) && local.port), bad)
  for (const { error } of program.errors) {
    t.match(error, { code: 'ERR_OUT_OF_RANGE', syscall: 'listen', errno: Number, message: /0 to 65535/ })
  }
  t.strictSame(program.transports, [], 'no socket was tried')
  const nowhere = start(() => echoServer(0), { host: 'no-such-host.invalid' })
  await until(() => nowhere.errors.length === 1)
  t.match(nowhere.errors[0].error, { code: /^(ENOTFOUND|EAI_AGAIN)$/, syscall: 'getaddrinfo' })
})

onBoth('on all interfaces unless told, each client by its plain address', async (t, start) => {
  const program = start((p) => [
    echoServer(0),
    endpoint.subscriber(inbound(0), { ...p.notes('in'), interest: 'observer' }),
  ], { host: undefined })
  const port = await program.port()
  const [{ host: where }] = program.where
  const hosts = where === '::' ? ['127.0.0.1', '::1'] : ['127.0.0.1']
  if (where !== '::') t.comment('no IPv6 on this machine')
  for (const at of hosts) {
    const socket = await client(port, at)
    socket.end('hello')
    t.equal((await readAll(socket)).toString(), 'hello')
    const them = program.all('in', 'presence').at(-1)?.topic.source
    t.match(them, { host: at, port: Number })
  }
  // Names and addresses of both families, from the other side.
  for (const at of [...hosts, 'localhost']) {
    const [us, them] = [tcpHandle(at), tcpAddress(at, port)]
    program.do(endpoint.subscriber(tcpChannel(them, us, _), program.notes(at, undefined, () => [
      sendMessage(tcpChannel(us, them, 'as asked for')), sendMessage(tcpChannel(us, them, eof)),
    ])))
    t.equal(await program.reason(at), undefined)
    t.equal(program.bytes(at).toString(), 'as asked for', at)
  }
})

onBoth('sessions in a nested VM, the driver outside: a reply to the eof is delivered', async (t, start) => {
  const program = start(() => nestedVm(() => atMetaLevel(endpoint.subscriber(inbound(0), {
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => nestedVm(() => spawn(() => atMetaLevel(atMetaLevel(
      endpoint.subscriber(tcpChannel(them, us, _), {
        onMessage: ({ subpacket }) => subpacket === eof &&
          atMetaLevel(atMetaLevel(sendMessage(tcpChannel(us, them, 'good bye')))),
      }),
    )))),
  }))))
  const socket = await client(await program.port())
  socket.end('x')
  t.equal((await readAll(socket)).toString(), 'good bye')
})

onBoth('wildcards alone open nothing; the ground VM ends', async (t, start) => {
  const program = start((p) => {
    p.letGo()
    return (['participant', 'observer', 'everything'] as const).map((interest) => [
      endpoint.subscriber(tcpChannel(_, _, _), { interest }),
      endpoint.publisher(tcpChannel(_, _, _), { interest }),
      endpoint.subscriber(tcpChannel(_, tcpListener(_), _), { interest }),
      endpoint.publisher(tcpChannel(tcpListener(_), _, _), { interest }),
      endpoint.subscriber(_, { interest }),
      endpoint.publisher(_, { interest }),
    ])
  })
  t.ok(await endsByItself(program))
  t.strictSame(program.transports, [])
  t.strictSame(program.errors, [])
})

onBoth('a session that begins with the presence loses nothing, 200 connections', async (t, start) => {
  const session = (them: TcpEnd, us: TcpEnd) => endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
  })
  // A hop between the observer and the session: it subscribes a turn later.
  const program = start(() => endpoint.subscriber(inbound(0), {
    interest: 'observer',
    onPresence: ({ source, destination }) =>
      spawn(() => spawn(() => spawn(() => session(source, destination)))),
  }))
  const port = await program.port()
  const wrong = await Promise.all(Array.from({ length: 200 }, async (_, i) => {
    const socket = await client(port)
    const bytes = pattern(1000 + i, i)
    socket.end(bytes)
    return (await readAll(socket)).equals(bytes) ? [] : [i]
  }))
  t.strictSame(wrong.flat(), [])
})

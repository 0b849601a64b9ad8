/** Outbound connections: what opens them, what becomes of attempts, and handles that are used again. */
import { endsByItself, host, onBoth, type Program } from './tcp-program.js'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'
import {
  _, deleteEndpoint, endpoint, sendMessage, tcpAddress, tcpChannel, tcpError, tcpHandle, type Action,
  type ActionTree, type TcpChannel,
} from 'marketplace-native'
import { freePort } from '../conformance/sockets.js'
import { anyTcpAddress } from '../support/unchecked.js'
import { pattern, readAll, sleep, until } from '../support/util.js'

/** A plain server; every socket that it accepted, in order. */
interface Plain {
  readonly server: Server
  readonly port: number
  readonly sockets: Socket[]
}

async function plain(t: Test, onConnection: (socket: Socket) => void = () => undefined): Promise<Plain> {
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket.on('error', () => undefined))
    onConnection(socket)
  }).listen(0, host)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { server, port: (server.address() as AddressInfo).port, sockets }
}

/** The two endpoints of an outbound connection. */
class Ends {
  readonly us: ReturnType<typeof tcpHandle>
  readonly them: ReturnType<typeof tcpAddress>
  readonly #program: Program

  constructor(program: Program, port: number, id: unknown = 'h', at: string = host) {
    this.#program = program
    this.us = tcpHandle(id)
    this.them = tcpAddress(at, port)
  }

  send(subpacket: TcpChannel['subpacket'] | string): Action {
    return sendMessage(tcpChannel(this.us, this.them, subpacket))
  }

  out(onPresence?: () => ActionTree): Action {
    return endpoint.publisher(
      tcpChannel(this.us, this.them, _), this.#program.notes('out', undefined, onPresence))
  }

  in(): Action {
    return endpoint.subscriber(tcpChannel(this.them, this.us, _), this.#program.notes('in'))
  }
}

const close = [deleteEndpoint('in'), deleteEndpoint('out')]

onBoth('either end opens the connection, both open one', async (t, start) => {
  for (const which of [['out'], ['in'], ['out', 'in'], ['in', 'out']] as const) {
    const { port, sockets } = await plain(t, (socket) => socket.write('hello'))
    const program = start((p) => {
      const ends = new Ends(p, port)
      return which.map((one) => ends[one]())
    })
    await until(() => which.every((one) => program.all(one, 'presence').length === 1))
    if (which.includes('in' as never)) await until(() => program.bytes('in').toString() === 'hello')
    await sleep(20)
    t.equal(sockets.length, 1, which.join(' and '))
    program.letGo()
    sockets[0].end()
    t.ok(await endsByItself(program), 'the ground VM ends with the connection')
    for (const one of which) t.equal(await program.reason(one), undefined)
  }
})

onBoth('ids of handles are values: equal ones name one connection', async (t, start) => {
  const { port, sockets } = await plain(t)
  const program = start((p) => [
    new Ends(p, port, ['a', 1]).out(), new Ends(p, port, ['a', 1]).in(),
    endpoint.publisher(tcpChannel(tcpHandle(['a', 2]), tcpAddress(host, port), _), p.notes('other')),
  ])
  await until(() => program.all('other', 'presence').length + program.all('in', 'presence').length === 2)
  await until(() => sockets.length >= 2)
  await sleep(20)
  t.equal(sockets.length, 2)
})

onBoth('a handle is used again while its old connection is still closing', async (t, start) => {
  const { port, sockets } = await plain(t, (socket) => socket.pause())
  const bytes = pattern(16 * 1024 * 1024)
  let ends: Ends | undefined
  const program = start((p) => {
    ends = new Ends(p, port)
    return [ends.in(), ends.out(() => ends?.send(bytes))]
  })
  await until(() => program.all('out', 'presence').length === 1)
  program.do(close, ends?.in(), ends?.out(() => ends?.send('second')))
  await until(() => sockets.length === 2)
  t.equal(program.connections, 2, 'the old one still has bytes to hand over')
  const [first, second] = sockets
  const said = once(second.resume(), 'data')
  t.ok((await readAll(first)).equals(bytes), 'all that was sent before is delivered')
  t.equal(String((await said)[0]), 'second')
  first.end()
  second.end('bye')
  await until(() => program.bytes('in').toString() === 'bye')
  await until(() => program.heard.filter(({ who }) => who === 'in').at(-1)?.what === 'absence')
  t.strictSame(program.errors, [])
  program.do(close)
})

onBoth('the peer closes, the program asks again: the handle works', async (t, start) => {
  const { port, sockets } = await plain(t, (socket) => socket.end('once'))
  let ends: Ends | undefined
  const program = start((p) => (ends = new Ends(p, port)).in())
  for (let round = 1; round <= 3; round++) {
    await until(() => program.all('in', 'absence').length === round)
    sockets.at(-1)?.end()
    program.do(close, ends?.in())
  }
  await until(() => sockets.length === 4)
  t.equal(program.bytes('in').toString().slice(0, 12), 'onceonceonce')
})

onBoth('demand that is gone before the connection is there leaves none', async (t, start) => {
  const { port, sockets } = await plain(t)
  for (const pause of [0, 1, 2]) {
    const program = start((p) => {
      const ends = new Ends(p, port, pause)
      return [ends.in(), ends.out(), pause === 0 && close]
    })
    if (pause > 0) {
      await until(() => program.transports.length > 0)
      if (pause > 1) await new Promise(setImmediate)
      program.do(close)
    }
    program.letGo()
    t.ok(await endsByItself(program), 'the ground VM ends')
    t.equal(program.connections, 0)
    t.strictSame(program.errors, [], 'what was given up is no error')
  }
  for (const socket of sockets) socket.resume().end()
  await until(() => sockets.every(({ destroyed }) => destroyed))
})

onBoth('demand that goes and comes back at once gets one connection', async (t, start) => {
  const { port, sockets } = await plain(t)
  const program = start((p) => {
    const ends = new Ends(p, port)
    return [ends.out(), deleteEndpoint('out'), ends.out(() => ends.send('x'))]
  })
  await until(() => program.all('out', 'presence').length === 1)
  await sleep(50)
  t.equal(program.all('out', 'presence').length, 1)
  t.equal(program.connections, 1)
  const alive = sockets.filter((socket) => !socket.readableEnded && !socket.destroyed)
  t.ok(alive.length >= 1 && sockets.length <= 2)
})

onBoth('what cannot be connected is told with fields as Node has them', async (t, start) => {
  const port = await freePort()
  let present = 0
  const told = endpoint.subscriber(tcpError(tcpHandle(_), tcpAddress(_, _), _), {
    onPresence: () => { present++ },
  })
  const program = start((p) => [told, new Ends(p, port).out(), new Ends(p, port).in()])
  await until(() => program.errors.length === 1)
  t.equal(present, 1, 'the driver is present as who tells errors')
  const [{ local, remote, error }] = program.errors
  t.match([local, remote], [{ id: 'h' }, { host, port }])
  t.match(error, { code: 'ECONNREFUSED', syscall: 'connect', address: host, port })
  t.ok(error instanceof Error && error.errno < 0)
  t.ok(program.log.some(({ level, fields }) => level === 'warning' && fields['reason'] === error), 'logged')
  t.strictSame(program.heard, [], 'neither presence nor absence')
  await sleep(50)
  t.equal(program.errors.length, 1, 'nothing is retried')

  const unknown = start((p) => {
    p.letGo()
    return new Ends(p, 80, 'h', 'no-such-host.invalid').out()
  })
  t.ok(await endsByItself(unknown, 10_000), 'the ground VM ends after a failure')
  t.match(unknown.errors, [{ error: { code: /^(ENOTFOUND|EAI_AGAIN)$/, syscall: 'getaddrinfo' } }])
})

onBoth('a handle works after a failure, and bad addresses are told', async (t, start) => {
  const port = await freePort()
  let ends: Ends | undefined
  const program = start((p) => (ends = new Ends(p, port)).in())
  await until(() => program.errors.length === 1)
  const server = createServer((socket) => socket.end('now')).listen(port, host)
  await once(server, 'listening')
  t.teardown(() => server.close())
  program.do(close, ends?.in())
  await until(() => program.bytes('in').toString() === 'now')

  const bad: readonly (readonly [unknown, unknown])[] = [
    [host, 0], [host, 65536], [host, 1.5], [host, '80'], [5, 80], [undefined, 80],
  ]
  const second = start(() => bad.map(([at, number]) =>
    endpoint.publisher(tcpChannel(tcpHandle('x'), anyTcpAddress(at as string, number as number), _))))
  await until(() => second.errors.length === bad.length)
  for (const { error } of second.errors) {
    t.match(error, { code: 'ERR_OUT_OF_RANGE', syscall: 'connect', errno: Number, message: /1 to 65535/ })
  }
  t.strictSame(second.transports, [])
})

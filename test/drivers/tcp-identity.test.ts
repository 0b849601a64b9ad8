/** Two connections are never mixed up, however their addresses and ports come back. */
import { collectLog } from '../vm/log-records.js'
import fc from 'fast-check'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createConnection, createServer, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  _, deleteEndpoint, endpoint, eof, groundVm, kill, sendFeedback, sendMessage, spawn, tcp, tcpAddress,
  tcpBare, tcpChannel, tcpCredit, tcpHandle, tcpListener, tcpListening, tcpMode, timerDriver, udp, unixListener,
  unixListening, type ActionTree, type TcpAddress, type TcpEnd,
} from 'marketplace-native'
import { equal, mapKey } from '../../src/topic/index.js'
import { VARIANTS } from '../support/variants.js'
import { patient } from '../support/patience.js'
import { sleep, until } from '../support/util.js'
import { IdentityClient, IdentityServer, mixedUp, type Route } from './identity-program.js'
import { Program, Remote, type ProgramOptions } from './tcp-program.js'

const ANY = '0.0.0.0'

interface Place {
  readonly server: IdentityServer
  readonly program: Program
  readonly port: number
  readonly start: (options?: ProgramOptions) => Promise<Place>
}

interface Kind {
  readonly node: boolean
  readonly transport: 'node' | 'native'
  readonly driver: 'bare' | 'tcp'
}

/** Registers a test per transport and per driver. */
function onEach(
  name: string,
  body: (t: Test, place: Pick<Place, 'start'> & Kind) => Promise<void>,
  drivers: readonly ('bare' | 'tcp')[] = ['bare', 'tcp'],
): void {
  for (const variant of VARIANTS) {
    for (const driver of drivers) {
      const how = { skip: variant.skip, timeout: patient(60_000) }
      void t.test(`${variant.name}, ${driver}: ${name}`, how, async (t) => {
        const before = process.env['MARKETPLACE_BACKEND']
        const programs: Program[] = []
        t.teardown(async () => {
          await Promise.all(programs.map((program) => program.stop()))
          if (before === undefined) delete process.env['MARKETPLACE_BACKEND']
          else process.env['MARKETPLACE_BACKEND'] = before
        })
        const node = variant.name === 'node'
        if (!node) process.env['MARKETPLACE_BACKEND'] = variant.name.replace('native ', '')
        const start = async (options: ProgramOptions = {}): Promise<Place> => {
          const server = new IdentityServer()
          const program = new Program(() => server.listen(), node ? 'node' : 'native', {
            driver, host: ANY, ...options,
          })
          programs.push(program)
          return { server, program, port: await program.port(), start }
        }
        await body(t, { start, node, driver, transport: node ? 'node' : 'native' })
      })
    }
  }
}

/** A port that clients may bind to: nothing listens on it. */
async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await until(() => probe.listening)
  const { port } = probe.address() as { port: number }
  await new Promise((resolve) => { probe.close(resolve) })
  return port
}

const isPlain = (end: TcpEnd): boolean => tcpAddress.is(end) && equal(end, tcpAddress(end.host, end.port))

onEach('a port connects again after a reset that nobody has read', async (t, { start }) => {
  const { server, program, port } = await start({ pauseOnAccept: true })
  const fromPort = await freePort()
  const route: Route = { from: '127.0.0.1', fromPort, to: '127.0.0.1' }
  server.late = true
  server.lingers = true
  const first = new IdentityClient(0, route, port)
  await until(() => server.sessions.length === 1)
  first.reset()
  await until(() => first.state === 'over')
  server.late = false
  const second = new IdentityClient(1, route, port)
  await until(() => server.sessions.length === 2)
  const [one, two] = server.sessions
  t.ok(isPlain(one.them), 'the first is called as programs write it')
  t.notOk(equal(one.them, two.them), 'the second is another one')
  t.equal((two.them as { host: string }).host, '127.0.0.1')
  t.equal((two.them as { port: number }).port, fromPort)
  program.do(one.takePart(), one.grant(), two.grant())
  await until(() => two.heard.size > 0)
  program.do(one.speak(), two.speak())
  await until(() => second.heard.size > 0)
  second.speak()
  await until(() => one.absent || !one.takesPart || program.connections === 1)
  program.do(one.speak(), one.grant(), two.speak())
  await sleep(20)
  t.same([...one.heard].filter((line) => line !== 'client 0'), [])
  t.same([...two.heard], ['client 1'])
  t.same([...second.heard], ['session 1'])
  second.socket.destroy()
})

onEach('one remote address and port, two local addresses', async (t, { start }) => {
  const { server, program, port } = await start()
  const fromPort = await freePort()
  const clients = ['127.0.0.1', '127.0.0.2'].map((to, i) =>
    new IdentityClient(i, { from: '127.0.0.1', fromPort, to }, port))
  await until(() => server.sessions.length === 2)
  program.do(server.sessions.map((session) => [session.grant(), session.speak()]))
  await until(() => server.sessions.every(({ heard }) => heard.size > 0))
  await until(() => clients.every(({ heard }) => heard.size > 0))
  for (const client of clients) client.speak()
  await sleep(20)
  t.same(mixedUp(server.sessions, clients), [])
  t.equal(server.sessions.filter(({ them }) => isPlain(them)).length, 1)
  // One goes, the other stays.
  clients[0].socket.destroy()
  await until(() => server.sessions.some(({ absent }) => absent))
  t.equal(server.sessions.filter(({ absent }) => absent).length, 1)
  await until(() => program.connections === 1)
  clients[1].socket.destroy()
})

onEach('a session that lingers has nothing to do with who comes after it', async (t, { start }) => {
  const { server, program, port } = await start()
  const route: Route = { from: '127.0.0.1', fromPort: await freePort(), to: '127.0.0.1' }
  server.lingers = true
  const first = new IdentityClient(0, route, port)
  await until(() => server.sessions.length === 1)
  program.do(server.sessions[0].grant())
  await until(() => server.sessions[0].heard.size === 1)
  first.reset()
  await until(() => server.sessions[0].absent)
  const second = new IdentityClient(1, route, port)
  await until(() => server.sessions.length === 2)
  const [one, two] = server.sessions
  program.do(one.grant(), two.grant())
  await until(() => two.heard.size === 1)
  program.do(one.speak(), one.speak(), two.speak())
  await until(() => second.heard.size > 0)
  one.remote.do(endpoint.subscriber(tcpChannel(one.them, one.us, _), { name: 'again' }))
  one.remote.letGo()
  await sleep(20)
  second.speak()
  program.do(two.speak())
  await sleep(20)
  t.same(mixedUp(server.sessions, [first, second]), [])
  t.equal(program.connections, 1)
  t.notOk(two.absent)
  second.socket.destroy()
})

onEach('an address that a program writes means the first that has it', async (t, { start }) => {
  const { program, port } = await start()
  const fromPort = await freePort()
  let heard = ''
  const them = tcpAddress('127.0.0.1', fromPort)
  const us = tcpListener(0)
  program.do(endpoint.subscriber(tcpChannel(them, us, _), {
    name: 'literal',
    onMessage: ({ subpacket }) => { heard += String(subpacket) },
    onPresence: () => sendMessage(tcpChannel(us, them, Buffer.from('session 77\n'))),
  }))
  const client = new IdentityClient(0, { from: '127.0.0.1', fromPort, to: '127.0.0.1' }, port)
  await until(() => client.heard.has('session 77'))
  client.socket.destroy()
  t.type(heard, 'string')
})

type Step =
  | readonly ['connect', route: number, late: boolean, lingers: boolean]
  | readonly ['reset' | 'end' | 'say' | 'join' | 'grant' | 'speak' | 'quit', which: number]
  | readonly ['turn']

const which = fc.nat({ max: 5 })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(fc.constant('connect' as const), fc.nat({ max: 7 }), fc.boolean(), fc.boolean()),
  },
  {
    weight: 9,
    arbitrary: fc.tuple(
      fc.constantFrom(...(['reset', 'reset', 'end', 'say', 'join', 'grant', 'speak', 'quit'] as const)),
      which,
    ),
  },
  { weight: 3, arbitrary: fc.constant(['turn'] as const) },
)

/** The last ones count from 0. */
const pick = <T>(list: readonly T[], i: number): T | undefined => list[list.length - 1 - i]

async function play(place: Place, ports: readonly number[], steps: readonly Step[]): Promise<string[]> {
  const { server, program, port } = place
  server.sessions.length = 0
  const clients: IdentityClient[] = []
  for (const one of steps) {
    if (one[0] === 'turn') {
      await sleep(1)
    } else if (one[0] === 'connect') {
      server.late = one[2]
      server.lingers = one[3]
      const from = (one[1] & 1) === 0 ? '127.0.0.1' : '127.0.0.2'
      const to = (one[1] & 2) === 0 ? '127.0.0.1' : '127.0.0.2'
      const client = new IdentityClient(clients.length, { from, to, fromPort: ports[one[1] >> 2] }, port)
      clients.push(client)
      await until(() => client.state !== 'connecting')
    } else {
      const session = pick(server.sessions, one[1])
      const client = pick(clients, one[1])
      if (one[0] === 'reset') client?.reset()
      else if (one[0] === 'end') client?.socket.end()
      else if (one[0] === 'say') client?.speak()
      else if (one[0] === 'join') session?.remote.do(session.takePart())
      else if (one[0] === 'grant') program.do(session?.grant())
      else if (one[0] === 'speak') program.do(session?.speak())
      else session?.remote.letGo()
    }
  }
  // All that are left are served: those that were late, too.
  for (const session of server.sessions) {
    session.remote.do(session.takePart(), session.grant(), session.speak())
  }
  const open = clients.filter(({ state }) => state === 'open')
  for (const client of open) client.speak()
  await sleep(10)
  for (const client of clients) client.reset()
  // From those whose sessions went before they took part nothing is read, so that their end isn't noticed.
  program.do(server.sessions.map(({ them, us }, name) => [
    endpoint.subscriber(tcpChannel(them, us, _), { name }), deleteEndpoint(name),
  ]))
  await until(() => program.connections === 0)
  for (const session of server.sessions) session.remote.letGo()
  return mixedUp(server.sessions, clients)
}

onEach('random connects, resets, reuse of ports, late and lingering sessions', async (t, { start }) => {
  const place = await start({ pauseOnAccept: true })
  const ports = [await freePort(), await freePort()]
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }), async (steps) => {
      const wrong = await play(place, ports, steps)
      if (wrong.length > 0) throw new Error(wrong.join('\n'))
    }),
    { numRuns: 25, endOnFailure: true },
  )
  t.equal(place.program.connections, 0)
})

onEach('a storm of connections that are reset at once', async (t, { start, node }) => {
  const CLIENTS = 2000
  const { server, program, port } = await start()
  // Node accepts one connection per turn of the loop: more at a time would all be over before that.
  const ports = await Promise.all(Array.from({ length: node ? 1 : 8 }, freePort))
  const clients: IdentityClient[] = []
  const reuse = async (fromPort: number, n: number): Promise<void> => {
    for (let i = 0; i < n; i++) {
      // Both addresses of the server, so that live connections have one name as well.
      const to = i % 2 === 0 ? '127.0.0.1' : '127.0.0.2'
      const client = new IdentityClient(clients.length, { from: '127.0.0.1', fromPort, to }, port)
      clients.push(client)
      await new Promise((resolve) => { client.socket.once('connect', resolve).once('close', resolve) })
      // Before it is accepted, before its session is there, and after that.
      for (let turns = i % 5; turns > 0; turns--) await setImmediate()
      client.reset()
    }
  }
  await Promise.all(ports.map((fromPort) => reuse(fromPort, CLIENTS / ports.length)))
  // The last one of all comes after them: all that were accepted before it are known when it is served.
  const route: Route = { from: '127.0.0.1', fromPort: ports[0], to: '127.0.0.1' }
  const last = new IdentityClient(clients.length, route, port)
  clients.push(last)
  await until(() => server.sessions.some(({ heard }) => heard.has(`client ${last.number}`)))
  last.reset()
  await until(() => program.connections === 0)
  await until(() => server.sessions.every(({ absent }) => absent))
  t.same(mixedUp(server.sessions, clients), [])
  // Node's net hands on a connection that was reset before without its address, and nobody is told of it.
  t.ok(server.sessions.length > CLIENTS / (node ? 10 : 2), `${server.sessions.length} sessions`)
  const served = server.sessions.filter(({ heard }) => heard.size > 0).length
  t.ok(served > CLIENTS / 20, `${served} have heard their client`)
  const names = new Set(server.sessions.map(({ them }) => mapKey(them)))
  t.equal(names.size, server.sessions.length)
}, ['bare'])

/** What one use of a handle heard between presence and absence. */
interface Use {
  readonly heard: Set<string>
  present: boolean
}

onEach('a handle again and again: one connection from presence to absence', async (t, { start }) => {
  const served: Set<string>[] = []
  const server = createServer((socket) => {
    const heard = new Set<string>()
    const number = served.push(heard) - 1
    socket.write(`client ${number}\n`)
    socket.on('data', (data) => {
      for (const line of data.toString().split('\n')) if (line !== '') heard.add(line)
      socket.write(`client ${number}\n`)
      if (number % 3 === 0) socket.resetAndDestroy()
    })
    socket.on('error', () => undefined)
  }).listen(0, '127.0.0.1')
  await until(() => server.listening)
  t.teardown(() => { server.close() })
  const there = tcpAddress('127.0.0.1', (server.address() as { port: number }).port)
  const us = tcpHandle('again and again')
  const { program } = await start()
  const uses: Use[] = []
  const add = (): ActionTree => {
    const use: Use = { heard: new Set(), present: false }
    const number = uses.push(use) - 1
    return endpoint.subscriber(tcpChannel(there, us, _), {
      name: us,
      onPresence: () => {
        use.present = true
        return [
          sendFeedback(tcpChannel(there, us, tcpCredit(1000) as never)),
          sendMessage(tcpChannel(us, there, Buffer.from(`use ${number}\n`))),
        ]
      },
      onAbsence: () => { use.present = false },
      onMessage: ({ subpacket }) => {
        if (!use.present) return
        for (const line of String(subpacket).split('\n')) if (line.startsWith('client')) use.heard.add(line)
      },
    })
  }
  program.do(add())
  for (let i = 0; i < 120; i++) {
    for (let turns = i % 7; turns > 0; turns--) await setImmediate()
    program.do(deleteEndpoint(us), add())
  }
  await until(() => uses[uses.length - 1].heard.size > 0)
  program.do(deleteEndpoint(us))
  await until(() => program.connections === 0)
  t.same(uses.filter(({ heard }) => heard.size > 1).map(({ heard }) => [...heard]), [])
  t.same(served.filter((heard) => heard.size > 1).map((heard) => [...heard]), [])
})

/** A server that greets each connection with its number. */
async function numbering(t: Test): Promise<{ there: TcpAddress, sockets: readonly Socket[] }> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    socket.write(`connection ${sockets.push(socket)}`)
    socket.on('error', () => undefined)
  }).listen(0, '127.0.0.1')
  await until(() => server.listening)
  t.teardown(() => { server.close() })
  return { there: tcpAddress('127.0.0.1', (server.address() as { port: number }).port), sockets }
}

for (const [what, late] of [['credit', tcpCredit(100)], ['a mode', tcpMode('lines')]] as const) {
  onEach(`${what} for a closed conversation changes nothing for the next one`, async (t, { start }) => {
    const { there } = await numbering(t)
    const us = tcpHandle('late credit')
    const { program } = await start()
    const heard: string[] = []
    let present = 0
    const first = endpoint.subscriber(tcpChannel(there, us, _), { name: us, onPresence: () => { present++ } })
    const second = endpoint.subscriber(tcpChannel(there, us, _), {
      name: us,
      onPresence: () => {
        heard.push('presence')
        return sendFeedback(tcpChannel(there, us, tcpCredit(100) as never))
      },
      onMessage: ({ subpacket }) => { heard.push(String(subpacket)) },
    })
    program.do(first)
    await until(() => present === 1 && program.transports[program.transports.length - 1].metrics.bytesIn > 0)
    program.do(deleteEndpoint(us), second, sendFeedback(tcpChannel(there, us, late as never)))
    await until(() => heard.includes('connection 2'))
    t.notOk(heard.includes('connection 1'))
    program.do(deleteEndpoint(us))
  }, ['tcp'])
}

onEach('who stays on a handle hears that the connection is another one', async (t, { start }) => {
  const { there, sockets } = await numbering(t)
  const us = tcpHandle('shared')
  const { program } = await start()
  const heard: string[] = []
  const stays = endpoint.subscriber(tcpChannel(there, us, _), {
    name: 'stays',
    onPresence: () => { heard.push('presence') },
    onAbsence: () => { heard.push('absence') },
    onMessage: ({ subpacket }) => { if (subpacket !== eof) heard.push(String(subpacket)) },
  })
  program.do(stays)
  await until(() => heard.length === 2)
  sockets[0].resetAndDestroy()
  await until(() => heard.length === 3)
  program.do(endpoint.subscriber(tcpChannel(there, us, _), { name: 'comes' }))
  await until(() => heard.length === 5)
  t.same(heard, ['presence', 'connection 1', 'absence', 'presence', 'connection 2'])
  program.do(deleteEndpoint('comes'))
}, ['bare'])

onEach('a driver that is started again knows who is left', async (t, { driver, transport }) => {
  const fromPort = await freePort()
  const folder = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const path = join(folder, 'socket')
  const unix = process.platform === 'linux'
  const server = new IdentityServer()
  server.lingers = true
  const remote = new Remote()
  let pid = 0
  let port = 0
  let unixListens = false
  const make = driver === 'tcp' ? tcp : tcpBare
  // Pids count up: the driver's is the one after that of a process that tells its own.
  const sockets = (): ActionTree => [
    spawn(() => undefined, { parent: (before) => { pid = before + 1 } }), make({ transport, host: ANY }),
  ]
  const vm = groundVm(() => spawn(() => [
    remote.ear, server.listen(), unix && server.listen(unixListener(path)),
    endpoint.subscriber(tcpListening(_, _), {
      onPresence: ({ address }) => { port = address.port },
      onAbsence: () => { port = 0 },
    }),
    endpoint.subscriber(unixListening(_), {
      onPresence: () => { unixListens = true },
      onAbsence: () => { unixListens = false },
    }),
    sockets(),
  ]))
  t.teardown(() => vm.stop())
  const near: Socket[] = []
  const heard: string[] = []
  for (const round of [0, 1]) {
    await until(() => port > 0 && (unixListens || !unix))
    const client = new IdentityClient(round, { from: '127.0.0.1', fromPort, to: '127.0.0.1' }, port)
    near.push(client.socket)
    if (unix) {
      const other = createConnection(path).on('error', () => undefined)
      other.on('data', (data) => { heard.push(`${round} ${String(data)}`) })
      near.push(other)
    }
    const expected = (round + 1) * (unix ? 2 : 1)
    await until(() => server.sessions.length === expected)
    for (const session of server.sessions) remote.do(session.speak())
    await until(() => client.heard.size > 0 && (!unix || heard.some((line) => line.startsWith(`${round} `))))
    if (round === 0) {
      remote.do(kill(pid))
      await until(() => server.sessions.every(({ absent }) => absent) && port === 0)
      await until(() => near.every(({ closed }) => closed))
      remote.do(sockets())
    } else {
      t.equal(client.heard.size, 1)
      t.equal(new Set(heard.join('').split('\n').filter((line) => line.startsWith('1'))).size, unix ? 1 : 0)
    }
  }
  t.equal(new Set(server.sessions.map(({ them }) => mapKey(them))).size, server.sessions.length)
  for (const socket of near) socket.destroy()
})

void t.test('a VM has one driver of a kind: the second ends with an error', async (t) => {
  for (const [one, other] of [[tcp, tcpBare], [tcpBare, tcpBare], [udp, udp], [timerDriver, timerDriver]]) {
    const { records, end } = collectLog()
    await groundVm(() => [one(), other()])
    end()
    const refused = records.filter(({ message }) => message.includes('already, and two would'))
    t.equal(refused.length, 1)
    t.match(refused[0].message, other.name)
  }
})

/** Two connections are never mixed up, however their addresses and ports come back. */
import { collectLog } from '../vm/log-records.js'
import fc from 'fast-check'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import {
  _, deleteEndpoint, endpoint, groundVm, sendMessage, tcp, tcpAddress, tcpBare, tcpChannel, tcpListener,
  timerDriver, udp, type TcpEnd,
} from 'marketplace-native'
import { equal } from '../../src/topic/index.js'
import { VARIANTS } from '../support/variants.js'
import { patient } from '../support/patience.js'
import { sleep, until } from '../support/util.js'
import { IdentityClient, IdentityServer, mixedUp, type Route } from './identity-program.js'
import { Program, type ProgramOptions } from './tcp-program.js'

const ANY = '0.0.0.0'

interface Place {
  readonly server: IdentityServer
  readonly program: Program
  readonly port: number
  readonly start: (options?: ProgramOptions) => Promise<Place>
}

/** Registers a test per transport and per driver. */
function onEach(name: string, body: (t: Test, place: Pick<Place, 'start'>) => Promise<void>): void {
  for (const variant of VARIANTS) {
    for (const driver of ['bare', 'tcp'] as const) {
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
        await body(t, { start })
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
  first.socket.resetAndDestroy()
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
  first.socket.resetAndDestroy()
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
      if (one[0] === 'reset') client?.socket.resetAndDestroy()
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
  for (const client of clients) client.socket.resetAndDestroy()
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

/** `readTimeout`: whoever says nothing while it is listened to is gone, however much it is sent. */
import { onBothWithCredit } from './credit-session.js'
import { onBoth, server, type Program } from './tcp-program.js'
import t from 'tap'
import {
  _, endpoint, every, quit, sendMessage, tcp, tcpBare, tcpChannel, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { client, sleep, until } from '../support/util.js'

const silence = {
  name: 'Error', code: 'ETIMEDOUT', syscall: 'read', message: /^read ETIMEDOUT: nothing came within readTimeout/,
}

const ticks = every(10)

/** A session of a game: it tells its player of each tick. */
const player = (program: Program, size: number) => (them: TcpEnd, us: TcpEnd): ActionTree => [
  endpoint.subscriber(tcpChannel(them, us, _), {
    ...program.notes('in'),
    onAbsence: (topic, _state, reason) => {
      program.heard.push({ who: 'in', what: 'absence', topic, reason })
      return quit()
    },
  }),
  endpoint.subscriber([ticks, _], { onMessage: () => sendMessage(tcpChannel(us, them, Buffer.alloc(size))) }),
]

onBoth('a dead player is found out in spite of a broadcast, and one who plays is not', async (t, start) => {
  const program = start((p) => server(player(p, 64)), { readTimeout: 400, idleTimeout: 60_000 })
  const port = await program.port()
  const alive = await client(port)
  const dead = await client(port)
  for (const socket of [alive, dead]) socket.on('error', () => undefined).resume()
  const deadPort = dead.localPort
  let longest = 0
  let last = performance.now()
  const moves = setInterval(() => {
    alive.write('move')
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
  }, 40)
  t.match(await program.reason('in'), silence)
  const [{ topic: { source } }] = program.all('in', 'absence')
  if (longest < 300) t.match(source, { port: deadPort }, 'which of them')
  await sleep(500)
  if (longest < 300) t.equal(program.all('in', 'absence').length, 1, 'the other one plays on')
  clearInterval(moves)
  await until(() => program.all('in', 'absence').length === 2)
  alive.destroy()
  dead.destroy()
})

onBoth('nor do writes that it does not take keep it, on which reading waits', async (t, start) => {
  const program = start((p) => server(player(p, 256 * 1024)), { readTimeout: 400, highWaterMark: 1000 })
  const dead = await client(await program.port())
  dead.on('error', () => undefined).pause()
  t.match(await program.reason('in'), silence)
  dead.destroy()
})

onBothWithCredit('without credit no time runs; with credit it does, also for the rest of a line', async (t, open) => {
  const options = { readTimeout: 200 }
  const { program, session, socket } = await open(options)
  await sleep(500)
  t.equal(program.connections, 1, 'no credit yet')
  session.mode('lines', 1)
  socket.write('one\n')
  await until(() => session.got.length === 1)
  await sleep(500)
  t.equal(program.connections, 1, 'the credit is used up')
  const since = performance.now()
  session.credit(2)
  socket.write('half a li')
  t.match(await program.reason('in'), silence)
  t.ok(performance.now() - since >= 180, 'it begins with the credit')
  t.strictSame(session.got, ['one'])
})

onBothWithCredit('pauseOnAccept: the first credit begins it', async (t, open) => {
  const { program, session, socket } = await open({ readTimeout: 200, pauseOnAccept: true })
  socket.write('early')
  await sleep(500)
  t.equal(program.connections, 1)
  session.credit(100)
  await until(() => session.got.length === 1)
  t.match(await program.reason('in'), silence)
})

onBothWithCredit('after the peer\'s eof no time runs', async (t, open) => {
  const { program, session, socket } = await open({ readTimeout: 200, allowHalfOpen: true })
  session.credit(100)
  socket.end('all of it')
  await until(() => session.got.length === 2)
  await sleep(500)
  t.equal(program.connections, 1)
})

t.test('what it may be', (t) => {
  for (const make of [tcp, tcpBare]) {
    for (const readTimeout of ['5', -1, 1.5, 2 ** 31] as number[]) {
      const expected = `${make.name}: options.readTimeout must be an integer from 0 to 2147483647 milliseconds; got `
      try {
        make({ readTimeout })
        t.fail('was taken')
      } catch (error) {
        t.ok((error as Error).message.startsWith(expected), String(error))
      }
    }
  }
  t.end()
})

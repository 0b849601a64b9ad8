/** Workers with sockets of their own, among which the kernel divides connections: `share: 'reuseport'`. */
import t, { type Test } from 'tap'
import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { serve, type Served } from '../../src/index.js'
import { patient } from '../support/patience.js'
import { socketPath } from '../net/both.js'
import { until } from '../support/util.js'
import { VARIANTS } from '../support/variants.js'
import { ask, askOnce, Load, oneDies, open } from './load.js'
import { onBackend, program, quiet, skip, started } from './start.js'

quiet(t)
t.setTimeout(patient(120_000))

const share = 'reuseport'

/** How many sockets listen at this port on 127.0.0.1. */
function listening(port: number): number {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const LISTEN = '0A'
  return readFileSync('/proc/net/tcp', 'latin1').split('\n').map((line) => line.trim().split(/\s+/))
    .filter(([, address, , state]) => address === local && state === LISTEN).length
}

/** All have ended, and nothing listens there. */
async function stopped(t: Test, served: Served, port: number): Promise<void> {
  await served.stop()
  t.equal(listening(port), 0)
  await t.rejects(open(port), { code: 'ECONNREFUSED' })
}

for (const { name, skip } of VARIANTS.filter(({ name }) => name.startsWith('native '))) {
  t.test(name, { skip }, async (t) => {
    onBackend(t, name)

    await t.test('the kernel divides connections, and all are counted', async (t) => {
      const { served, port } = await started({ share })
      t.equal(listening(port), 2, 'a socket for each')
      const sockets = await Promise.all(Array.from({ length: 100 }, async () => open(port)))
      const answers = await Promise.all(sockets.map((socket) => ask(socket, 'who')))
      const had = served.workers().map(({ index }) => answers.filter((answer) => answer.startsWith(`${index} `)).length)
      t.equal(had[0] + had[1], 100)
      t.ok(had[0] > 0 && had[1] > 0, `each has some: ${had.join(', ')}`)
      t.strictSame(served.workers().map(({ connections }) => connections), had)
      t.equal((await served.metrics()).total.accepts, 100)
      for (const socket of sockets) socket.destroy()
      await until(() => served.workers().every(({ connections }) => connections === 0))
      await stopped(t, served, port)
    })

    await t.test('restarts one by one under load lose nothing', async (t) => {
      const { served, port } = await started({ share })
      const load = new Load(port, 6)
      for (let i = 0; i < 3; i++) {
        const { answered } = load.outcome
        await served.restart()
        await until(() => load.outcome.answered > answered + 20)
      }
      const { refused, lost } = await load.stop()
      t.strictSame(refused, [])
      t.equal(lost, 0)
      t.equal(listening(port), 2)
      await stopped(t, served, port)
    })

    for (const how of ['exit', 'loop']) {
      await t.test(`a worker dies under load: ${how}`, async (t) => {
        const { served, port } = await started({ share, stuckAfterMs: patient(300) })
        await oneDies(t, served, port, how)
        await stopped(t, served, port)
      })
    }

    await t.test('while a place has no worker, those that come to its socket go to the others', async (t) => {
      const { served, port } = await started({ share, backoff: { first: patient(5000), most: patient(5000) } })
      t.equal(await askOnce(port, 'die exit'), '')
      await until(() => served.workers().length === 1)
      const answers = await Promise.all(Array.from({ length: 40 }, async () => askOnce(port, 'who')))
      t.equal(new Set(answers).size, 1)
      t.notOk(answers.includes(''))
      t.equal(served.workers().length, 1, 'it was away for all that time')
      await stopped(t, served, port)
    })

    await t.test('shutdown: who is there may end, and who waits is served', async (t) => {
      const { served, port } = await started({ share })
      const load = new Load(port, 6)
      const socket = await open(port)
      t.match(await ask(socket, 'who'), /^\d /)
      await until(() => load.outcome.answered > 50)
      const down = served.shutdown({ drainMs: patient(5000) })
      await until(() => served.addresses().length === 0)
      await t.rejects(open(port), { code: 'ECONNREFUSED' })
      t.equal(await ask(socket, 'still there?'), 'still there?')
      socket.end()
      const { lost } = await load.stop()
      t.equal(lost, 0)
      await down
      await served
    })
  })
}

t.test('a port that somebody else has, though that one would share it', { skip }, async (t) => {
  const foreign = createServer().listen({ port: 0, host: '127.0.0.1', reusePort: true })
  await once(foreign, 'listening')
  const { port } = foreign.address() as { port: number }
  await t.rejects(started({ share, data: { port } }), { code: 'EWORKERLOST', message: /EADDRINUSE/ })
  foreign.close()
})

t.test('a Unix socket has one queue, and each goes to the worker with the fewest', { skip }, async (t) => {
  const path = socketPath(t)
  const module = program(t, `
    import { currentWorker } from 'marketplace-native'
    import { createServer } from 'marketplace-native/net'
    createServer((socket) => { socket.write(currentWorker().index + ' ') }).listen(${JSON.stringify(path)})`)
  const { served } = await started({ share, module })
  const sockets = Array.from({ length: 20 }, () => connect(path))
  await Promise.all(sockets.map((socket) => once(socket, 'data')))
  t.strictSame(served.workers().map(({ connections }) => connections), [10, 10])
  for (const socket of sockets) socket.destroy()
  await served.stop()
})

t.test('it goes with no route', { skip }, (t) => {
  t.throws(() => serve({ module: import.meta.url, share, route: () => 0 }), /options\.route must be undefined/)
  t.end()
})

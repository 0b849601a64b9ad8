/** Workers that are restarted or drained on purpose: nobody is lost. MARKETPLACE_RESTARTS: how often. */
import { collectLog } from '../vm/log-records.js'
import t from 'tap'
import { existsSync, writeFileSync } from 'node:fs'
import { ask, askOnce, Load, open } from './load.js'
import { serve } from '../../src/index.js'
import { program, quiet, skip, started } from './start.js'
import { patient } from '../support/patience.js'
import { sleep, until } from '../support/util.js'

quiet(t)
const ROUNDS = Number(process.env['MARKETPLACE_RESTARTS'] ?? 3)
t.setTimeout(patient(60_000 + 3000 * ROUNDS))

t.test('restarts one by one lose nothing', { skip }, async (t) => {
  const { served, port } = await started()
  const load = new Load(port, 6)
  const nodes = new Set<string>()
  for (let i = 0; i < ROUNDS; i++) {
    const { answered } = load.outcome
    await served.restart()
    for (const { node } of served.workers()) nodes.add(node)
    await until(() => load.outcome.answered > answered + 20)
  }
  const outcome = await load.stop()
  t.strictSame(outcome.refused, [])
  t.equal(outcome.lost, 0)
  t.equal(nodes.size, 2 * ROUNDS)
  t.strictSame(served.workers().map(({ index, state }) => [index, state]), [[0, 'ready'], [1, 'ready']])
  const { total } = await served.metrics()
  t.ok(total.accepts >= outcome.answered, 'what ended workers have counted is in the sum')
  await served.stop()
})

t.test('servers of net are drained, with nothing done for it; who does not end is reset', { skip }, async (t) => {
  const path = program(t, `
    import { createServer } from 'marketplace-native/net'
    createServer((socket) => { socket.pipe(socket) }).listen(0, '127.0.0.1')`)
  const { served, port } = await started({ module: path, drainMs: 5000 })
  const socket = await open(port)
  t.equal(await ask(socket, 'one'), 'one')
  const restarted = served.restart()
  await until(() => served.workers().some(({ state }) => state === 'draining'))
  t.equal(await ask(socket, 'still there?'), 'still there?')
  const other = await open(port)
  t.equal(await ask(other, 'two'), 'two', 'others are served meanwhile')
  socket.end()
  other.end()
  await restarted
  const stays = await open(port)
  t.equal(await ask(stays, 'three'), 'three')
  const since = performance.now()
  const down = served.shutdown({ drainMs: 300 })
  await until(() => stays.closed)
  t.ok(performance.now() - since >= 290)
  await down
  await served
})

t.test('a restart whose new worker fails leaves the old ones', { skip }, async (t) => {
  const path = program(t, `
    import { currentWorker, endpoint, tcpBare, tcpChannel, tcpListener, _ } from 'marketplace-native'
    import { existsSync } from 'node:fs'
    export default ({ data }) => {
      if (existsSync(data.broken)) throw new Error('the new version is broken')
      return [tcpBare(), endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { interest: 'observer' })]
    }`)
  const broken = `${path}.broken`
  const { served } = await started({ module: path, data: { broken } })
  const before = served.workers()
  writeFileSync(broken, '')
  await t.rejects(served.restart(), { code: 'EWORKERLOST', message: /the new version is broken/ })
  t.strictSame(served.workers(), before)
  await served.stop()
})

t.test('shutdown: nothing more is accepted, and who is there may end', { skip }, async (t) => {
  const { served, port } = await started()
  const socket = await open(port)
  t.match(await ask(socket, 'who'), /^\d /)
  const down = served.shutdown({ drainMs: 5000 })
  await until(() => served.addresses().length === 0)
  await t.rejects(open(port), { code: 'ECONNREFUSED' })
  t.equal(await ask(socket, 'still there?'), 'still there?')
  socket.end()
  await down
  await served
})

t.test('shutdown: a worker that dies meanwhile is not started again, and nothing is accepted', { skip }, async (t) => {
  const { served, port } = await started()
  const [one, other] = [await open(port), await open(port)]
  await Promise.all([ask(one, 'who'), ask(other, 'who')])
  const down = served.shutdown({ drainMs: 5000 })
  await until(() => served.addresses().length === 0)
  t.equal(await ask(one, 'die exit'), '')
  await until(() => served.workers().length === 1)
  t.equal(await ask(other, 'still there?'), 'still there?')
  t.strictSame(served.addresses(), [])
  await t.rejects(open(port), { code: 'ECONNREFUSED' })
  other.end()
  await down
  await served
})

t.test('shutdown: a worker that waits to be started again is not', { skip }, async (t) => {
  const { served, port } = await started({ backoff: { first: 400, jitter: 0 } })
  const [one, other] = [await open(port), await open(port)]
  await Promise.all([ask(one, 'who'), ask(other, 'who')])
  t.equal(await ask(one, 'die exit'), '')
  await until(() => served.workers().length === 1)
  const down = served.shutdown({ drainMs: 60_000 })
  for (let i = 0; i < 10; i++) {
    await sleep(80)
    t.equal(served.workers().length, 1)
  }
  t.equal(await ask(other, 'still there?'), 'still there?')
  other.end()
  await down
  await served
})

t.test('a listener that is wanted once all are to end', { skip }, async (t) => {
  const path = program(t, `
    import { createServer } from 'marketplace-native/net'
    const server = createServer((socket) => {
      socket.on('data', () => {
        createServer().on('error', ({ code }) => { socket.write(code) }).listen(0, '127.0.0.1')
      })
    }).listen(0, '127.0.0.1')`)
  const { served, port } = await started({ module: path, workers: 1 })
  const socket = await open(port)
  await until(() => served.workers()[0]?.connections === 1)
  const down = served.shutdown({ drainMs: 60_000 })
  await until(() => served.addresses().length === 0)
  t.equal(await ask(socket, 'listen'), 'ECANCELED')
  socket.end()
  await down
  await served
})

t.test('shutdown in the middle of a restart: not all workers are new', { skip }, async (t) => {
  const { served, port } = await started()
  const sockets = await Promise.all([open(port), open(port)])
  await Promise.all(sockets.map((socket) => ask(socket, 'who')))
  const restarted = served.restart()
  await until(() => served.workers().some(({ state }) => state === 'draining'))
  const down = served.shutdown({ drainMs: 5000 })
  for (const socket of sockets) socket.end()
  await t.rejects(restarted, { code: 'EENDED' })
  await down
  await served
})

t.test('stop in the middle of a restart ends whoever drains, at once', { skip }, async (t) => {
  const { served, port } = await started({ workers: 1, drainMs: 60_000 })
  const socket = await open(port)
  await ask(socket, 'who')
  const restarted = served.restart()
  restarted.catch(() => undefined)
  await until(() => served.workers().some(({ state }) => state === 'draining'))
  await served.stop()
  t.strictSame(served.workers(), [])
  await until(() => socket.closed)
  await restarted.catch(() => undefined)
})

t.test('a new worker that is not ready in time has failed, at the start and at a restart', { skip }, async (t) => {
  const path = program(t, `
    import { existsSync } from 'node:fs'
    import { currentWorker } from 'marketplace-native'
    import { createServer } from 'node:net'
    createServer().listen(0)
    const { never } = currentWorker().data
    export const ready = existsSync(never) ? new Promise(() => undefined) : undefined`)
  const never = `${path}.never`
  const { served } = await started({ module: path, data: { never }, workers: 1, readyMs: 1000 })
  writeFileSync(never, '')
  const before = served.workers()
  const late = { code: 'EWORKERLOST', message: /not ready within 1000 ms/, cause: { code: 'ETIMEDOUT' } }
  await t.rejects(served.restart(), late)
  t.strictSame(served.workers(), before)
  await served.stop()
  await t.rejects(started({ module: path, data: { never }, workers: 1, readyMs: 300 }), {
    ...late, message: /not ready within 300 ms/,
  })
})

t.test('a restart while the first worker is not ready yet: the new one is, for all', { skip }, async (t) => {
  const path = program(t, `
    import { existsSync, writeFileSync } from 'node:fs'
    import { currentWorker } from 'marketplace-native'
    import { createServer } from 'node:net'
    createServer().listen(0)
    const { first } = currentWorker().data
    export const ready = existsSync(first) ? undefined : new Promise(() => undefined)
    writeFileSync(first, '')`)
  const first = `${path}.first`
  const served = serve({ module: path, workers: 1, data: { first }, signals: false, drainMs: 100 })
  await until(() => existsSync(first))
  const [{ node }] = served.workers()
  await served.restart()
  // Otherwise it would be ended, healthy as it is, as if it had never become ready.
  await served.ready
  t.match(served.workers(), [{ index: 0, state: 'ready' }])
  t.not(served.workers()[0]?.node, node)
  await served.stop()
})

t.test('a restart that is asked for during another one: all workers are of the last version', { skip }, async (t) => {
  const path = program(t, `
    import { readFileSync } from 'node:fs'
    import { currentWorker } from 'marketplace-native'
    import { createServer } from 'marketplace-native/net'
    const version = readFileSync(currentWorker().data.file, 'utf8')
    createServer((socket) => { socket.on('data', () => { socket.write(version) }) }).listen(0, '127.0.0.1')`)
  const file = `${path}.version`
  writeFileSync(file, '1')
  const { served, port } = await started({ module: path, data: { file }, drainMs: 300 })
  // Each of the old ones waits for it until the time is over.
  const stay = await Promise.all([open(port), open(port)])
  await Promise.all(stay.map((socket) => ask(socket, 'version')))
  writeFileSync(file, '2')
  const first = served.restart()
  await until(() => served.workers().some(({ state }) => state === 'draining'))
  writeFileSync(file, '3')
  const others = [served.restart(), served.restart()]
  t.equal(others[0], others[1], 'those that wait wait for the same')
  await Promise.all([first, ...others])
  const versions = await Promise.all(Array.from({ length: 8 }, () => askOnce(port, 'version')))
  t.strictSame(new Set(versions), new Set(['3']))
  await served.stop()
})

t.test('the log tells of a worker that dies while it drains for another one, and of no stop', { skip }, async (t) => {
  const { served, port } = await started({ workers: 1, drainMs: 60_000 })
  const { records, end } = collectLog(({ message }) => message === 'a worker has failed at its end')
  t.teardown(end)
  const socket = await open(port)
  await ask(socket, 'who')
  const restarted = served.restart()
  await until(() => served.workers().some(({ state }) => state === 'draining'))
  socket.write('die throw')
  await restarted
  t.match(records, [{ level: 'warning', fields: {
    reason: { code: 'EWORKERLOST', cause: { message: 'as it was told to' } },
  } }])
  await served.stop()
  t.equal(records.length, 1, 'to be stopped is no failure')
})

t.test('where no worker of another version listens, nobody waits for ever', { skip }, async (t) => {
  const path = program(t, `
    import { existsSync } from 'node:fs'
    import { currentWorker } from 'marketplace-native'
    import { createServer } from 'marketplace-native/net'
    createServer((socket) => { socket.pipe(socket) }).listen(0, '127.0.0.1')
    if (!existsSync(currentWorker().data.newer)) createServer().listen(0, '127.0.0.2')`)
  const newer = `${path}.newer`
  const { served, port } = await started({ module: path, data: { newer }, readyMs: 3000, drainMs: 100 })
  t.equal(served.addresses().length, 2)
  writeFileSync(newer, '')
  await served.restart()
  t.equal(served.addresses().length, 2, 'one may take as long to listen as to be ready')
  await until(() => served.addresses().length === 1)
  t.match(served.addresses(), [{ address: '127.0.0.1', port }])
  t.equal(await askOnce(port, 'still there?'), 'still there?')
  await served.stop()
})

t.test('a worker that is to end before it was ready has the time to drain', { skip }, async (t) => {
  const path = program(t, `
    import { createServer } from 'marketplace-native/net'
    createServer((socket) => { socket.pipe(socket) }).listen(0, '127.0.0.1')
    export const ready = new Promise(() => undefined)`)
  const served = serve({ module: path, workers: 1, signals: false, readyMs: 2000 })
  await until(() => served.addresses().length === 1)
  const socket = await open(served.addresses()[0]?.port ?? 0)
  t.equal(await ask(socket, 'one'), 'one')
  const down = served.shutdown({ drainMs: 60_000 })
  await sleep(2500)
  t.equal(await ask(socket, 'two'), 'two')
  socket.end()
  await down
  await served
})

t.test('ended before anybody was ready, in the middle of a restart: no failure', { skip }, async (t) => {
  const path = program(t, 'export const ready = new Promise(() => undefined)\nsetInterval(() => undefined, 1000)')
  const served = serve({ module: path, workers: 2, signals: false })
  const restarted = served.restart()
  restarted.catch(() => undefined)
  await served.shutdown({ drainMs: 100 })
  await t.rejects(served.ready, { code: 'EENDED' })
  await served
  await restarted.catch(() => undefined)
})

t.test('what a program says to its parent is its own affair', { skip }, async (t) => {
  const path = program(t, `
    import { parentPort } from 'node:worker_threads'
    import { endpoint, tcpBare, tcpChannel, tcpListener, _ } from 'marketplace-native'
    const all = ['hello', null, { kind: 'log' }, { kind: 'over' }, { kind: 'failed' }]
    for (const said of all) parentPort.postMessage(said)
    export default () => [tcpBare(), endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { interest: 'observer' })]`)
  const { served, port } = await started({ module: path })
  const before = served.workers()
  const socket = await open(port)
  t.strictSame(served.workers().map(({ node }) => node), before.map(({ node }) => node))
  socket.destroy()
  await served.stop()
})

/** Says who it is, and is busy for a second when it is told to be: as a server of `net`, and as processes of a VM. */
const BUSY = {
  net: `
    import { currentWorker } from 'marketplace-native'
    import { createServer } from 'marketplace-native/net'
    createServer((socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (data) => {
        if (String(data) === 'be busy\\n') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000)
        else socket.write(currentWorker().index + ' is here')
      })
    }).listen({ port: 0, host: '127.0.0.1', backlog: 4096 })`,
  processes: `
    import { _, currentWorker, endpoint, eof, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpListener }
      from 'marketplace-native'
    const session = (them, us) => endpoint.subscriber(tcpChannel(them, us, _), {
      onAbsence: () => quit(),
      onMessage: ({ subpacket }) => {
        if (subpacket === eof) return sendMessage(tcpChannel(us, them, eof))
        if (String(subpacket) !== 'be busy\\n') {
          return sendMessage(tcpChannel(us, them, currentWorker().index + ' is here'))
        }
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000)
      },
    })
    export default () => [
      tcpBare({ transport: 'native', host: '127.0.0.1', backlog: 4096 }),
      endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
        interest: 'observer',
        onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us)),
      }),
    ]`,
}

for (const [share, what] of [
  ['least', 'net'], ['reuseport', 'net'], ['least', 'processes'], ['reuseport', 'processes'],
] as const) {
  t.test(`shutdown: all are served who wait, however many: ${share}, ${what}`, { skip }, async (t) => {
    // More than an inlet has room for (see inlet.h), for each of two workers.
    const path = program(t, BUSY[what])
    const { served, port } = await started({ share, module: path })
    const talks = await Promise.all(Array.from({ length: 30 }, () => open(port)))
    const whose = await Promise.all(talks.map((socket) => ask(socket, 'who')))
    for (const index of [0, 1]) talks[whose.findIndex((answer) => answer.startsWith(`${index} `))].write('be busy\n')
    let waiting = 0
    const answers = Promise.all(Array.from({ length: 1500 }, async () => {
      const socket = await open(port)
      waiting++
      const answer = await ask(socket, 'who')
      socket.end()
      return answer
    }))
    await until(() => waiting === 1500)
    const down = served.shutdown({ drainMs: patient(10_000) })
    for (const socket of talks) socket.end()
    t.equal((await answers).filter((answer) => answer === '').length, 0, 'nobody is lost')
    await down
    await served
  })
}

t.test('connections of a worker that has closed its listener are counted until they end', { skip },
  async (t) => {
    const path = program(t, `
      import { currentWorker } from 'marketplace-native'
      import { createServer } from 'marketplace-native/net'
      const server = createServer((socket) => {
        socket.on('data', (data) => {
          if (String(data) === 'close\\n') server.close()
          socket.write(data)
        })
        socket.on('end', () => socket.end())
      }).listen(0, '127.0.0.1')
      // By itself a program that has closed its servers goes on.
      setInterval(() => undefined, 1000)`)
    for (const share of ['least', 'reuseport'] as const) {
      const { served, port } = await started({ share, module: path, workers: 1 })
      const connections = (): number[] => served.workers().map((worker) => worker.connections)
      const sockets = await Promise.all(Array.from({ length: 3 }, () => open(port)))
      t.equal(await ask(sockets[0], 'close'), 'close')
      await until(() => served.addresses().length === 0)
      t.equal(await ask(sockets[1], 'still there?'), 'still there?')
      t.strictSame(connections(), [3])
      sockets[0].end()
      await until(() => connections()[0] === 2)
      const down = served.shutdown({ drainMs: patient(20_000) })
      await until(() => served.workers()[0].state === 'draining')
      await sleep(100)
      t.equal(await ask(sockets[1], 'and now?'), 'and now?', 'they may end by themselves')
      sockets[1].end()
      await until(() => connections()[0] === 1)
      sockets[2].end()
      await down
    }
  })

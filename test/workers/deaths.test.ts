/** Workers that die of anything: nobody is lost but those that lived in them. MARKETPLACE_DEATHS: how many more. */
import { collectLog } from '../vm/log-records.js'
import t from 'tap'
import { readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { ask, askOnce, oneDies, open } from './load.js'
import { program, quiet, skip, started } from './start.js'
import { patient } from '../support/patience.js'
import { until } from '../support/util.js'

quiet(t)
const DEATHS = Number(process.env['MARKETPLACE_DEATHS'] ?? 8)
t.setTimeout(patient(60_000 + 2000 * DEATHS))

for (const how of ['exit', 'throw', 'loop', 'memory']) {
  t.test(`a worker dies under load: ${how}`, { skip }, async (t) => {
    const { served, port } = await started({
      stuckAfterMs: patient(300), resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 8 },
    })
    await oneDies(t, served, port, how)
    t.strictSame(served.workers().map(({ index }) => index), [0, 1])
    await served.stop()
  })
}

t.test('a stuck worker loses nobody whom it has not taken', { skip }, async (t) => {
  const stuck = new Int32Array(new SharedArrayBuffer(4))
  const { served, port } = await started({ stuckAfterMs: patient(500), data: { stuck } })
  const dying = await open(port)
  const doomed = await ask(dying, 'who')
  dying.write('die loop')
  await until(() => stuck[0] === 1)
  // Half of these are given to the stuck one, which takes none of them.
  const answers = await Promise.all(Array.from({ length: 40 }, async () => askOnce(port, 'who')))
  t.notOk(answers.includes(''), 'all are answered')
  t.notOk(answers.includes(doomed))
  await served.stop()
})

t.test('stuck in a call that can\'t be interrupted: nobody waits for that', { skip }, async (t) => {
  const path = program(t, `
    import { execFileSync } from 'node:child_process'
    import { currentWorker } from 'marketplace-native'
    import { createServer } from 'marketplace-native/net'
    const { node, data: { stuck } } = currentWorker()
    createServer((socket) => {
      socket.on('data', (data) => {
        if (String(data).trim() === 'stick') {
          Atomics.store(stuck, 0, 1)
          execFileSync('sleep', ['8'])
        }
        socket.write(node)
      })
    }).listen(0, '127.0.0.1')`)
  const stuck = new Int32Array(new SharedArrayBuffer(4))
  const warnings: Error[] = []
  const warned = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', warned)
  t.teardown(() => { process.off('warning', warned) })
  const { records, end } = collectLog(({ message }) => message.startsWith('a worker that is to end'))
  t.teardown(end)
  const { served, port } = await started({ module: path, stuckAfterMs: patient(400), data: { stuck } })
  const doomed = await open(port)
  doomed.write('stick')
  await until(() => stuck[0] === 1)
  const since = performance.now()
  const answers = await Promise.all(Array.from({ length: 40 }, async () => askOnce(port, 'who')))
  t.notOk(answers.includes(''), 'all are answered')
  t.equal(new Set(answers).size, 1)
  t.ok(performance.now() - since < 7500, 'while it is stuck')
  t.equal((await served.metrics()).workers.length, 1, 'its counters nobody waits for')
  await until(() => records.length > 0)
  t.match(records, [{ level: 'warning' }])
  t.strictSame(warnings, [])
  await served.stop()
})

t.test('a worker that is stuck before its first beat is ended as well', { skip }, async (t) => {
  const path = program(t, `
    import { existsSync, writeFileSync } from 'node:fs'
    import { currentWorker } from 'marketplace-native'
    import { createServer } from 'node:net'
    createServer().listen(0)
    const { once, soon } = currentWorker().data
    if (!existsSync(once)) setTimeout(() => { writeFileSync(once, ''); for (;;); }, soon)`)
  const stuckAfterMs = patient(1000)
  // It is ready by then; the first beat comes after an eighth of the time after which it is stuck.
  const data = { once: `${path}.once`, soon: patient(60) }
  const { served } = await started({ module: path, workers: 1, stuckAfterMs, data })
  const [{ node }] = served.workers()
  await until(() => served.workers().some((worker) => worker.state === 'ready' && worker.node !== node))
  t.pass('another one is there')
  await served.stop()
})

t.test('workers that die too often: it fails with the reason of the last one', { skip }, async (t) => {
  const { served, port } = await started({ intensity: 2 })
  const cause = { code: 'EWORKERLOST', message: /exited with the code 3/ }
  const failed = served.then(() => undefined, (error: unknown) => error)
  for (let i = 0; i < 3; i++) {
    await until(() => served.workers().some(({ state }) => state === 'ready'))
    await askOnce(port, 'die exit').catch(() => undefined)
  }
  t.match(await failed, { code: 'ERESTARTS', cause })
})

t.test('nothing is left of workers that have died', { skip }, async (t) => {
  const { served, port } = await started()
  const fdsOpen = (): number => readdirSync('/proc/self/fd').length
  const threads = (): number => readdirSync('/proc/self/task').length
  const die = async (): Promise<void> => {
    const before = served.workers().map(({ node }) => node)
    await until(() => served.workers().filter(({ state }) => state === 'ready').length === 2)
    await askOnce(port, 'die exit')
    await until(() => served.workers().some(({ node, state }) => state === 'ready' && !before.includes(node)))
    await until(() => served.workers().filter(({ state }) => state === 'ready').length === 2)
  }
  await die()
  const [fds, tasks] = [fdsOpen(), threads()]
  for (let i = 0; i < DEATHS; i++) await die()
  await until(() => fdsOpen() <= fds && threads() <= tasks)
  t.ok(fdsOpen() <= fds && threads() <= tasks)
  await served.stop()
  const again = createServer().listen(port, '127.0.0.1')
  await once(again, 'listening')
  again.close()
})

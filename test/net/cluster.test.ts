/** Servers of `marketplace-native/net` in the workers of a cluster, under both policies of its primary. */
import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import * as nodeNet from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { hasNative } from '../../src/transport/choose.js'
import { client, readAll } from '../support/util.js'
import { patient } from '../support/patience.js'

const skip = process.platform === 'linux' && hasNative() ? false : 'the engine is not here'
const timeout = patient(60_000)

function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(path, { recursive: true }) })
  return path
}

const policies = [['SCHED_NONE', cluster.SCHED_NONE], ['SCHED_RR', cluster.SCHED_RR]] as const
for (const [name, policy] of policies) {
  void t.test(`cluster, ${name}: the engine of each worker has the connections`, { skip, timeout }, async (t) => {
    for (const where of ['0', join(directory(t), 'socket')]) await serveByCluster(t, policy, where)
  })
}

async function serveByCluster(t: Test, policy: number, where: string): Promise<void> {
  cluster.schedulingPolicy = policy
  cluster.setupPrimary({ exec: fileURLToPath(new URL('cluster-worker.js', import.meta.url)), args: [where] })
  const workers: Worker[] = []
  let address: { port: number } | undefined
  for (let i = 0; i < 2; i++) {
    const worker = cluster.fork()
    workers.push(worker)
    const [listening] = await once(worker, 'listening') as [{ port: number }]
    address ??= listening
    worker.on('message', (message: { error?: string }) => { if (message.error) t.fail(message.error) })
  }
  const open = (): Promise<nodeNet.Socket> => {
    if (where === '0') return client(address?.port ?? 0)
    const socket = nodeNet.connect({ path: where, allowHalfOpen: true })
    return once(socket, 'connect').then(() => socket)
  }
  const served = new Map<string, number>()
  const conversation = async (): Promise<void> => {
    const socket = await open()
    socket.end('hello')
    const text = (await readAll(socket)).toString()
    const [, id, reader, rest] = /^(\d+) (\w+)\n(.*)$/.exec(text) ?? []
    if (reader !== 'engine' || rest !== 'hello') t.fail(`got ${JSON.stringify(text)}`)
    served.set(id, (served.get(id) ?? 0) + 1)
  }
  for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 10 }, conversation))
  t.equal([...served.values()].reduce((sum, count) => sum + count, 0), 100)
  if (policy === cluster.SCHED_RR) t.equal(served.size, 2, 'both had some')
  // One closes its server, and the other one goes on; then that is disconnected, with a connection open.
  const [first, second] = workers
  const said = once(first, 'message')
  first.send('close')
  t.equal((await said)[0], 'closed')
  await Promise.all(Array.from({ length: 10 }, conversation))
  const last = await open()
  await once(last, 'readable')
  const exits = workers.map((worker) => once(worker, 'exit'))
  second.disconnect()
  last.end('the end')
  t.match((await readAll(last)).toString(), /the end$/, 'what is open is served to its end')
  first.disconnect()
  t.strictSame((await Promise.all(exits)).map(([code]) => code as number), [0, 0])
}

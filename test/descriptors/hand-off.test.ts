/** Restarts of a server in place: not one connection is refused, reset or lost; whoever dies on the way. */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { hasNative } from '../../src/transport/choose.js'
import { quick } from '../support/quick.js'
import { Load, ServerProcess } from './restarting.js'
import { patient } from '../support/patience.js'

const skip = process.platform === 'linux' && hasNative() ? false : 'the engine is not here'
/** `npm run test:restarts` has 200. */
const MANY = process.env.MARKETPLACE_RESTARTS
const [some, few] = quick ? [2, 1] : [4, 2]
const RESTARTS = { net: Number(MANY ?? some), drivers: Number(MANY ?? some), node: Number(MANY ?? few) }
const timeout = patient(60_000 + Math.max(...Object.values(RESTARTS)) * 20_000)
t.setTimeout(0)

function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(path, { recursive: true }) })
  return path
}

for (const [kind, restarts] of Object.entries(RESTARTS)) {
  void t.test(`${kind}: ${restarts} restarts under load`, { skip, timeout }, async (t) => {
    const folder = directory(t)
    const path = join(folder, 'hand-off')
    const unix = join(folder, 'socket')
    const args = [path, kind, unix]
    let server = new ServerProcess(t, args)
    const { port = 0 } = await server.hears('ready') ?? {}
    t.equal(statSync(path).mode & 0o777, 0o600)
    const tcp = { port, host: '127.0.0.1' }
    const load = new Load(kind === 'node' ? [tcp] : [tcp, { path: unix }], 16)
    const pids: number[] = []
    for (let i = 0; i < restarts; i++) {
      const next = new ServerProcess(t, args)
      const ready = await next.hears('ready')
      if (ready?.from !== server.child.pid || ready?.port !== port) t.fail(`${i}: ${JSON.stringify(ready)}`)
      const taken = await server.hears('taken')
      if (taken?.taken !== next.child.pid) t.fail(`${i}: ${JSON.stringify(server.said)}`)
      await server.exited
      if (!server.said.some(({ drained }) => drained === true)) t.fail(`${i}: it did not end by itself`)
      pids.push(server.child.pid as number)
      // It has served at least one connection before it goes.
      const { pid = 0 } = next.child
      await load.servedBy(pid)
      server = next
      if (i % 20 === 19) t.comment(`${i + 1} restarts, ${load.conversations} conversations`)
      if (load.failures.length > 0) break
    }
    await load.stop()
    t.strictSame(load.failures.slice(0, 10), [], 'not one was refused, reset or lost')
    t.ok(pids.every((pid) => load.served.has(pid)), 'each process has served some')
    t.comment(`${load.conversations} conversations`)
    server.child.send('close')
    await server.exited
  })
}

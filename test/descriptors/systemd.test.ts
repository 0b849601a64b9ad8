/** Socket activation as systemd does it, with this test in the place of systemd. */
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemdSockets } from 'marketplace-native'
import { hasNative } from '../../src/transport/choose.js'
import { datagramDescriptor, fileDescriptor, listeningDescriptor } from '../support/descriptors.js'
import { patient } from '../support/patience.js'
import { Load, ServerProcess } from './restarting.js'

const skip = process.platform === 'linux' && hasNative() ? false : 'the engine is not here'
/** `npm run test:restarts` has 200. */
const RESTARTS = Number(process.env.MARKETPLACE_RESTARTS ?? 2)
const timeout = patient(60_000 + RESTARTS * 20_000)
t.setTimeout(0)

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(path, { recursive: true }) })
  return path
}

for (const kind of ['net', 'drivers']) {
  void t.test(`${kind}: ${RESTARTS} restarts under load, on sockets that stay with who started it`, {
    skip, timeout,
  }, async (t) => {
    const unix = join(folder(t), 'socket')
    const { fd, port } = await listeningDescriptor()
    const { fd: unixFd } = await listeningDescriptor(unix)
    const start = (): ServerProcess => new ServerProcess(t, ['unused', kind, 'unused'], [fd, unixFd], 'tcp:unix')
    const load = new Load([{ port, host: '127.0.0.1' }, { path: unix }], 16)
    const pids: number[] = []
    for (let i = 0; i <= RESTARTS; i++) {
      const server = start()
      const ready = await server.hears('ready')
      t.match(ready, { ready: server.child.pid, port })
      t.notOk(ready?.environment, 'the variables are gone')
      const { pid = 0 } = server.child
      await load.servedBy(pid)
      pids.push(pid)
      if (i === RESTARTS) await load.stop()
      server.child.kill('SIGTERM')
      await server.exited
      if (!server.said.some(({ drained }) => drained === true)) t.fail('it did not end by itself')
    }
    t.strictSame(load.failures.slice(0, 10), [], 'not one was refused, reset or lost')
    t.ok(existsSync(unix), 'the file is left to who made it')
    t.comment(`${load.conversations} conversations`)
    closeSync(fd)
    closeSync(unixFd)
  })
}

/** What a process sees that is started with these variables and descriptors. */
function seen(variables: string, fds: readonly number[]): unknown {
  const code = `import { systemdSockets } from 'marketplace-native'
    import { spawnSync } from 'node:child_process'
    let first
    try { first = systemdSockets() } catch (error) { first = error.message }
    const { stdout } = spawnSync('ls', ['-l', '/proc/self/fd'], { stdio: ['ignore', 'pipe', 'ignore'] })
    const inherited = String(stdout).split('\\n').filter((line) => / [3-5] -> socket:/.test(line)).length
    const left = Object.keys(process.env).join().includes('LISTEN_')
    console.log(JSON.stringify([first, systemdSockets(), inherited, left]))`
  const { stdout, stderr } = spawnSync(
    'sh', ['-c', `${variables} exec "$0" "$@"`, process.execPath, '--input-type=module', '-e', code],
    { stdio: ['ignore', 'pipe', 'pipe', ...fds] })
  try {
    return JSON.parse(String(stdout))
  } catch {
    return String(stderr)
  }
}

void t.test('what is told, and what is not for this process', { skip, timeout }, async (t) => {
  const { fd } = await listeningDescriptor()
  const others = [fd, await datagramDescriptor(), fileDescriptor()]
  t.strictSame(seen('LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=web:time:web', others), [[
    { name: 'web', fd: 3, kind: 'listener' }, { name: 'time', fd: 4, kind: 'other' },
    { name: 'web', fd: 5, kind: 'other' },
  ], [], 0, false], 'once; and programs that it starts have neither descriptors nor variables')
  t.match(seen('LISTEN_PID=$$ LISTEN_FDS=1', [fd]), [[{ name: 'unknown', fd: 3, kind: 'listener' }]])
  t.match(seen('LISTEN_PID=1 LISTEN_FDS=1', [fd]), [[], [], 0, false], 'another process\'s')
  t.strictSame(systemdSockets(), [])
  Object.assign(process.env, { LISTEN_PID: process.pid, LISTEN_FDS: 0, LISTEN_FDNAMES: '' })
  t.strictSame(systemdSockets(), [])
  for (const [variables, text] of [
    [{ LISTEN_FDS: 'many' }, /LISTEN_FDS must be a number/],
    [{ LISTEN_FDS: '-1' }, /LISTEN_FDS must be a number/],
    [{ LISTEN_FDS: '99999999' }, /LISTEN_FDS must be a number/],
    [{ LISTEN_FDS: '1', LISTEN_PID: 'me' }, /LISTEN_PID must be a number/],
    [{ LISTEN_FDS: '2', LISTEN_FDNAMES: 'one' }, /LISTEN_FDNAMES must be 2 names/],
    [{ LISTEN_FDS: '65536' }, /EBADF/],
  ] as const) {
    Object.assign(process.env, { LISTEN_PID: process.pid, ...variables })
    t.throws(() => systemdSockets(), { message: text }, JSON.stringify(variables))
    t.notMatch(Object.keys(process.env).join(), /LISTEN_/)
  }
  for (const one of others) closeSync(one)
})

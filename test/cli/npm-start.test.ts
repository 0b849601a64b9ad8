/** `npm start`: one Ctrl-C ends it with exit code 0, however many processes hear it. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { missing, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

async function startAndStop(t: Test, stop: (pid: number) => void): Promise<void> {
  const own = Object.entries(process.env).filter(([name]) => !/^(TAP|_TAPJS|NODE_OPTIONS$)/.test(name))
  // In a process group of its own, as a shell would start it.
  const npm = spawn('npm', ['start', '--', '--port', '0'], {
    cwd: ROOT, detached: true, env: Object.fromEntries(own), stdio: ['ignore', 'pipe', 'pipe'],
  })
  const pid = npm.pid ?? 0
  let output = ''
  let code: number | null | undefined
  npm.stdout.on('data', (chunk: Buffer) => (output += String(chunk)))
  npm.stderr.on('data', (chunk: Buffer) => (output += String(chunk)))
  npm.on('close', (status) => { code = status })
  t.teardown(() => {
    if (code === undefined) process.kill(-pid, 'SIGKILL')
  })
  await until(() => output.includes('Ctrl-C ends it') || code !== undefined)
  if (code === undefined) stop(pid)
  await until(() => code !== undefined)
  t.equal(code, 0, output)
}

const options = { timeout: patient(90_000), skip: process.platform === 'win32' ? 'no signals here' : missing('npm') }

void t.test('Ctrl-C on a terminal goes to npm and to all that it started', options, (t) =>
  startAndStop(t, (pid) => process.kill(-pid, 'SIGINT')))

void t.test('a signal to npm alone', options, (t) =>
  startAndStop(t, (pid) => process.kill(pid, 'SIGTERM')))

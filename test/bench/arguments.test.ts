/** The command lines of measurements that are run by hand: `--help`, mistakes, and no servers left behind. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { patient } from '../support/patience.js'
import { until } from '../support/util.js'

const timeout = patient(60_000)
const program = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url))
const MEASURE = program('examples/measure/main.js')

for (const path of ['model/run.js', 'edges/fairness-measure.js', 'examples/measure/main.js']) {
  void t.test(path, { timeout }, async (t) => {
    const run = (...args: string[]) => spawnSync(process.execPath, [program(path), ...args], { encoding: 'utf8' })
    const help = run('--help')
    t.same([help.status, help.stderr], [0, ''])
    t.match(help.stdout, /^usage: /)
    const wrong = run('--nonsense')
    t.equal(wrong.status, 2)
    t.match(wrong.stderr, /^error: Unknown option '--nonsense'\nusage: /)
  })
}

void t.test('values that make no sense', { timeout }, async (t) => {
  for (const [path, args, message] of [
    ['model/run.js', ['--seed', 'x'], "--seed takes an integer, not 'x'"],
    ['examples/measure/main.js', ['x'], "ROUNDS is a whole number from 1 on, not 'x'"],
  ] as const) {
    const { status, stderr } = spawnSync(process.execPath, [program(path), ...args], { encoding: 'utf8' })
    t.equal(status, 2)
    t.match(stderr, `error: ${message}\n`)
  }
})

/** The processes that this one has started. */
function childrenOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter((one) => one !== '')
}

/** Whether it has not ended; one that has ended, and that nobody has asked about yet, has. */
function isRunning(pid: string): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

const skip = process.platform === 'linux' ? false : 'needs /proc'
void t.test('a measurement that is ended ends its servers', { timeout, skip }, async (t) => {
  const child = spawn(process.execPath, [MEASURE], { stdio: 'ignore' })
  const exited = once(child, 'exit')
  let servers: string[] = []
  await until(() => (servers = childrenOf(Number(child.pid))).length > 0)
  child.kill('SIGTERM')
  await exited
  await until(() => !servers.some(isRunning))
  t.pass('none of them is left')
})

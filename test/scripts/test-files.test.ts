/** The runner of the tests: what fails is named at the end, and nothing outlives a run. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { until } from '../support/util.js'

const RUNNER = fileURLToPath(new URL('../../../scripts/test-files.mjs', import.meta.url))

/** Runs these programs as test files. */
function runFiles(t: Test, programs: Readonly<Record<string, string>>, environment: NodeJS.ProcessEnv = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'runner-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const files = Object.entries(programs).map(([name, text]) => {
    const file = join(folder, name)
    writeFileSync(file, text)
    return file
  })
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', `
    const { runTestFiles, concludeTests } = await import(${JSON.stringify(RUNNER)})
    await runTestFiles('files', ${JSON.stringify(files)}, { jobs: 2 })
    concludeTests()
  `], { encoding: 'utf8', env: { ...process.env, ...environment } })
  return { status, output: stdout, stderr }
}

t.test('names the files that failed, and how to run them again', async (t) => {
  const { status, output } = runFiles(t, {
    'good.mjs': 'console.log("ok 1 - fine\\n1..1")',
    'bad.mjs': 'console.log("not ok 1 - wrong\\n1..1")',
    'dead.mjs': 'process.exit(3)',
  })
  t.equal(status, 1)
  t.match(output, /failed:\n(.*\n)*? {2}\S+bad\.mjs\n/)
  t.match(output, /\n {2}\S+dead\.mjs\n/)
  t.match(output, /again: npm test -- /)
  t.notMatch(output.slice(output.indexOf('failed:\n')), 'good.mjs')
  t.match(output, /\n1 passed, 2 failed\n$/)
})

t.test('ends what a test left behind, and says so', { skip: process.platform !== 'linux' }, async (t) => {
  const { status, output } = runFiles(t, {
    'leaves.mjs': `
      import { spawn } from 'node:child_process'
      const child = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' })
      child.unref()
      console.log('# ' + child.pid + '\\nok 1 - fine\\n1..1')
    `,
  })
  t.equal(status, 1)
  const [, pid] = /left behind, and ended now: (\d+) sleep 1000/.exec(output) ?? []
  t.ok(pid, output)
  // Gone, or dead and not asked for by whoever is its parent now.
  await until(() => !existsSync(`/proc/${pid}`) || /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')))
  t.match(output, /\n1 passed, 1 failed\n$/)
})

t.test('tests hear how much longer they may take', async (t) => {
  const { output } = runFiles(t, {
    'asks.mjs': 'console.log(`ok 1 - ${process.env.MARKETPLACE_PATIENCE} ${process.env.TAP_TIMEOUT}\\n1..1`)',
    'asked.mjs': 'if (process.env.TAP_TIMEOUT === "360") console.log("ok 1 - told\\n1..1")',
  }, { MARKETPLACE_PATIENCE: '3' })
  t.match(output, 'tests may take 3 times as long')
  t.match(output, /\n2 passed, 0 failed\n$/)
})

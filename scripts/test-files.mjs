/**
 * Runs test programs that print TAP, several at a time, and adds up what they say: one line per file, and
 * all of a file's output if it failed.
 *
 * tap's own runner is not used: it gives every process that a test starts a module loader that notes which
 * files were loaded (for coverage), which doubles the time of a suite whose tests are real processes.
 */
import { randomUUID } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { StepFailed, run, say, seconds } from './steps.mjs'
import { TapSummary } from './tap-summary.mjs'

const total = { passed: 0, failed: 0, skipped: 0 }
/** Names of the files that failed, for the end. */
const failures = []

/** In the environment of all that a run starts, directly or not: so what it leaves behind is found. */
const MARK = 'MARKETPLACE_TEST_RUN'
const mark = randomUUID()

/**
 * How many times as long things may take as on a machine with nothing else to do: others' load, and the four files
 * at a time of a run itself. Tests get it by the environment, as test/support/patience.ts says.
 */
function patience() {
  const given = Number(process.env.MARKETPLACE_PATIENCE)
  if (given >= 1) return given
  const [minute] = loadavg()
  return Math.min(10, Math.max(1, Math.ceil((minute + 4) / availableParallelism())))
}
const stretch = patience()

function environment(more) {
  return { ...process.env, ...more, [MARK]: mark, MARKETPLACE_PATIENCE: String(stretch) }
}

/** Processes of this run that are there yet, with what they are. Only Linux tells. */
function leftovers() {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${MARK}=${mark}`)) return []
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        return [{ pid: Number(pid), command }]
      } catch {
        // It has ended, or is somebody else's.
        return []
      }
    })
}

/** Ends what tests have left behind. Returns what that was. */
function endLeftovers() {
  const left = leftovers()
  for (const { pid } of left) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  }
  return left
}
// Also when the run is ended by a signal or an error.
process.on('exit', endLeftovers)

function add(summary) {
  for (const key of Object.keys(total)) total[key] += summary[key]
}

function saySkips(output) {
  const skips = [...output.matchAll(/^ *ok .*# *SKIP (.*)$/gim)].map(([, reason]) => reason.trim())
  for (const reason of new Set(skips)) say(`  skipped: ${reason}`)
}

/** What is wrong with a file beyond its test points; undefined if nothing is. */
function problem(code, planned, seen) {
  if (planned === undefined) return `it did not come to its end (${code})`
  if (planned !== seen) return `it planned ${planned} tests, and ran ${seen} (${code})`
  return code === 0 ? undefined : `it ended with ${code}`
}

/** Runs one program, prints its line, and resolves to its sums. */
async function runFile(command, name, env, limit) {
  const start = performance.now()
  let planned
  let seen = 0
  const summary = new TapSummary(() => { seen += 1 })
  const { code, output } = await run(command[0], command.slice(1), {
    env,
    patience: limit,
    onLine: (line) => {
      const plan = /^1\.\.(\d+)/.exec(line)
      if (plan !== null) planned = Number(plan[1])
      summary.line(line)
    },
  })
  const why = problem(code, planned, seen)
  if (why !== undefined && summary.failed === 0) summary.failed = 1
  if (summary.failed > 0) say(output.trimEnd())
  if (why !== undefined) say(`not ok - ${name}: ${why}`)
  else say(`  ${name} # ${seconds(start)}`)
  if (summary.failed > 0) failures.push(name)
  saySkips(output)
  add(summary)
  return summary
}

/**
 * @param name of the whole
 * @param files compiled tests
 * @param options `jobs` at a time, and the `timeout` of a test that says nothing of its own, in seconds of a
 * machine with nothing else to do
 */
export async function runTestFiles(name, files, { jobs, timeout = 120 }) {
  const start = performance.now()
  if (stretch > 2) say(`${name}: this machine is busy; tests may take ${stretch} times as long as otherwise`)
  const env = environment({ TAP_TIMEOUT: String(timeout * stretch) })
  const waiting = [...files]
  const sum = { passed: 0, failed: 0 }
  await Promise.all(Array.from({ length: jobs }, async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const command = [process.execPath, '--enable-source-maps', file]
      const { passed, failed } = await runFile(command, file, env, 5 * timeout * stretch)
      sum.passed += passed
      sum.failed += failed
    }
  }))
  say(`${name}: ${sum.passed} passed, ${sum.failed} failed in ${seconds(start)}`)
}

/** One program that prints TAP. */
export async function runTestProgram(name, script, args = []) {
  const { passed, failed } = await runFile([process.execPath, script, ...args], name, environment())
  say(`${name}: ${passed} passed, ${failed} failed`)
}

/** `dist/test/cli/usage.test.js` as `npm test` takes it: `cli/usage`. */
const short = (name) =>
  name.replace(/^dist\/test\//, '').replace(/\.test\.js$/, '').replace(/^engine tests$/, 'native')

/** Says the sums, and fails if a test failed, none was run, or one left a process behind. */
export function concludeTests() {
  const left = endLeftovers()
  for (const { pid, command } of left) {
    say(`not ok - left behind, and ended now: ${pid} ${command.slice(0, 200).trim()}`)
  }
  total.failed += left.length
  say(`# skipped ${total.skipped}`)
  if (failures.length > 0) {
    say(`failed:\n${failures.map((name) => `  ${name}`).join('\n')}`)
    say(`again: npm test -- ${failures.map(short).join(' ')}`)
    if (loadavg()[0] > 2 * availableParallelism()) {
      say('the machine was busy: try again when it is not, or with MARKETPLACE_PATIENCE=10')
    }
  }
  say(`${total.passed} passed, ${total.failed} failed`)
  if (total.failed > 0 || total.passed === 0) throw new StepFailed('tests: failed')
}

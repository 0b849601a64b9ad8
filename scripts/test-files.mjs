/**
 * Runs test programs that print TAP, several at a time, and adds up what they say: one line per file, and
 * all of a file's output if it failed.
 *
 * tap's own runner is not used: it gives every process that a test starts a module loader that notes which
 * files were loaded (for coverage), which doubles the time of a suite whose tests are real processes.
 */
import { StepFailed, run, say, seconds } from './steps.mjs'
import { TapSummary } from './tap-summary.mjs'

const total = { passed: 0, failed: 0, skipped: 0 }

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
async function runFile(command, name, env, patience) {
  const start = performance.now()
  let planned
  let seen = 0
  const summary = new TapSummary(() => { seen += 1 })
  const { code, output } = await run(command[0], command.slice(1), {
    env,
    patience,
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
  saySkips(output)
  add(summary)
  return summary
}

/**
 * @param name of the whole
 * @param files compiled tests
 * @param options `jobs` at a time, and the `timeout` of a test that says nothing of its own, in seconds
 */
export async function runTestFiles(name, files, { jobs, timeout = 120 }) {
  const start = performance.now()
  const env = { ...process.env, TAP_TIMEOUT: String(timeout) }
  const waiting = [...files]
  const sum = { passed: 0, failed: 0 }
  await Promise.all(Array.from({ length: jobs }, async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const command = [process.execPath, '--enable-source-maps', file]
      const { passed, failed } = await runFile(command, file, env, 5 * timeout)
      sum.passed += passed
      sum.failed += failed
    }
  }))
  say(`${name}: ${sum.passed} passed, ${sum.failed} failed in ${seconds(start)}`)
}

/** One program that prints TAP. */
export async function runTestProgram(name, script) {
  const { passed, failed } = await runFile([process.execPath, script], name, process.env)
  say(`${name}: ${passed} passed, ${failed} failed`)
}

/** Says the sums, and fails if a test failed or none was run. */
export function concludeTests() {
  say(`# skipped ${total.skipped}`)
  say(`${total.passed} passed, ${total.failed} failed`)
  if (total.failed > 0 || total.passed === 0) throw new StepFailed('tests: failed')
}

/**
 * `npm test`: installs and builds what is missing, then runs the tests of the engine (C++, sanitized)
 * and those of the package. One line per test file; all of a file's output if it failed.
 * Arguments are test files or folders below test/: `npm test -- transport`.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { build } from './build.mjs'
import { install } from './install.mjs'
import { ROOT, StepFailed, filesBelow, main, run, say, seconds } from './steps.mjs'
import { TapSummary } from './tap-summary.mjs'

const TAP = 'node_modules/tap/dist/esm/run.mjs'
/** More than there are CPUs here: many tests wait most of the time. */
const JOBS = '--jobs=4'
const NATIVE_TESTS = 'test/native/run.mjs'

const total = { passed: 0, failed: 0, skipped: 0 }

/** Runs something that prints TAP, and adds up what it says. */
async function tapStep(name, args, perPoint) {
  const start = performance.now()
  const summary = new TapSummary(({ ok, name: point, text }) => {
    if (perPoint) say(ok ? `  ${point}` : text)
  })
  const { code, output } = await run(process.execPath, args, { onLine: (line) => summary.line(line) })
  if (code !== 0 && summary.failed === 0) summary.failed = 1
  // What a sanitizer says is not part of the TAP.
  if (summary.failed > 0 && (!perPoint || summary.passed === 0)) say(output.trimEnd())
  const skips = [...output.matchAll(/^ *ok .*# *SKIP (.*)$/gim)].map(([, reason]) => reason.trim())
  for (const reason of new Set(skips)) say(`  skipped: ${reason}`)
  for (const key of Object.keys(total)) total[key] += summary[key]
  say(`${name}: ${summary.passed} passed, ${summary.failed} failed in ${seconds(start)}`)
}

/** `test/cli/usage.test.ts` and `dist/test/cli/usage.test.js` are `cli/usage`. */
const bare = (path) => path.replace(/^(dist\/)?(test\/)?/, '').replace(/\.(test\.)?[tj]s$/, '')

/** The compiled test files, or those whose name contains one of the arguments. */
function testFiles(filters) {
  const files = filesBelow('dist/test').filter((file) => file.endsWith('.test.js')).sort()
  if (filters.length === 0) return files
  return files.filter((file) => filters.some((filter) => file.includes(bare(filter))))
}

await main(async () => {
  const filters = process.argv.slice(2)
  await install()
  await build()
  const native = filters.length === 0 || filters.includes('native')
  if (native && existsSync(join(ROOT, NATIVE_TESTS))) await tapStep('engine tests', [NATIVE_TESTS], false)
  const files = testFiles(filters)
  if (files.length > 0) await tapStep('package tests', [TAP, 'run', JOBS, '--reporter=tap', ...files], true)
  say(`# skipped ${total.skipped}`)
  say(`${total.passed} passed, ${total.failed} failed`)
  if (total.failed > 0 || total.passed === 0) throw new StepFailed('tests: failed')
})

/** Test runs as steps: TAP read line by line, one line said per test file, and the sums. */
import { StepFailed, run, say, seconds } from './steps.mjs'
import { TapSummary } from './tap-summary.mjs'

export const TAP = 'node_modules/tap/dist/esm/run.mjs'

const total = { passed: 0, failed: 0, skipped: 0 }

/** Runs something that prints TAP, and adds up what it says. */
export async function tapStep(name, args, perPoint) {
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

/** Says the sums, and fails if a test failed or none was run. */
export function concludeTests() {
  say(`# skipped ${total.skipped}`)
  say(`${total.passed} passed, ${total.failed} failed`)
  if (total.failed > 0 || total.passed === 0) throw new StepFailed('tests: failed')
}

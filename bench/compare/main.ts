/**
 * `npm run bench:compare -- REF`: builds another revision in a temporary work tree, measures it (`base`)
 * against this one (`head`) in turns, and prints what moved beyond the noise.
 *
 * Exit codes: 0 measured; 1 nothing could be measured, or the revision can't be built; 2 wrong usage;
 * 3 something got worse, with --strict. However it ends, the work tree is removed.
 */
import { arms } from '../lib/arms.js'
import { choosePinning, describeEnvironment } from '../lib/machine.js'
import { root } from '../lib/paths.js'
import { buildPrograms } from '../lib/programs.js'
import { Progress } from '../lib/progress.js'
import { MICRO } from '../lib/options.js'
import { scenarioSeconds, type Plan } from '../lib/rounds.js'
import { obstacle, scenarios as allScenarios, selectScenarios } from '../lib/scenarios.js'
import { compareMicro, compareScenario, MICRO_TURN_SECONDS, provideServers } from './measure.js'
import type { Comparison } from './measure.js'
import { parseOptions, type CompareOptions } from './options.js'
import { comparisonText, isWorse } from './text.js'
import { buildRevision, CompareError, resolveCommit } from './worktree.js'

const TIMES = { warmup: 0.3, duration: 0.7 }
const ARMS_EACH = 4

function planOf({ rounds }: CompareOptions): Plan {
  return { quick: true, rounds, times: TIMES, freshProcesses: true, pinning: choosePinning() }
}

/** One thing to measure, and how many seconds it should take. */
interface Step {
  readonly seconds: number
  readonly run: (tree: string, progress: Progress) => Promise<Comparison>
}

function stepsOf(options: CompareOptions, plan: Plan): Step[] {
  const scenarios = selectScenarios(allScenarios, options.only, plan.quick)
  const chosen = arms.filter((arm) => options.arms.includes(arm.name))
  const steps = scenarios.flatMap((scenario) => {
    const why = obstacle(scenario)
    if (why !== undefined) process.stderr.write(`bench:compare: ${scenario.name}: skipped: ${why}\n`)
    const able = chosen.filter((arm) => arm.servers[scenario.service] !== undefined && why === undefined)
    return able.map((arm): Step => ({
      seconds: scenarioSeconds(scenario, ARMS_EACH, plan),
      run: (tree, progress) => compareScenario(scenario, arm, tree, plan, progress),
    }))
  })
  if (!options.only.includes(MICRO)) return steps
  return [
    ...steps,
    {
      seconds: ARMS_EACH * plan.rounds * MICRO_TURN_SECONDS,
      run: (tree, progress) => compareMicro(tree, plan, progress),
    },
  ]
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2))
  const commit = resolveCommit(root, options.ref)
  const plan = planOf(options)
  const steps = stepsOf(options, plan)
  buildPrograms()
  // Now, and not when the other revision is built: the sources may have changed by then.
  const environment = describeEnvironment(plan.pinning)
  const tree = await buildRevision(root, commit, (what) => process.stderr.write(`${what}\n`))
  provideServers(tree.path)
  process.stdout.write(
    `base: ${tree.commit} (${options.ref}); head: ${environment.commit}\n` +
      `${environment.cpu}, Linux ${environment.kernel}, Node ${environment.node}; ${environment.pinning}\n` +
      `${plan.rounds} rounds of ${TIMES.duration} s, two processes of each revision, in turns\n`,
  )
  const progress = new Progress(steps.reduce((sum, { seconds }) => sum + seconds, 0))
  const comparisons: Comparison[] = []
  for (const step of steps) {
    const comparison = await step.run(tree.path, progress)
    progress.clear()
    process.stdout.write(comparisonText(comparison))
    comparisons.push(comparison)
  }
  const findings = comparisons.flatMap((comparison) => comparison.findings)
  if (findings.length === 0) return 1
  return options.strict && findings.some(isWorse) ? 3 : 0
}

process.on('SIGINT', () => process.exit(130))
process.on('SIGTERM', () => process.exit(143))
process.on('SIGHUP', () => process.exit(129))
try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof CompareError)) throw error
  process.stderr.write(`bench:compare: ${error.message}\n`)
  process.exitCode = error.exitCode
}

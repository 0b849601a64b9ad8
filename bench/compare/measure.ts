/**
 * Measures two revisions in turns, two processes each: `base` and `base2` of the other revision, `head` and
 * `head2` of this one. The load generator, and which load it makes, are this revision's for all four.
 */
import { cpSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { Arguments, Arm } from '../lib/arms.js'
import { runMicroProcess } from '../lib/micro-process.js'
import { benchServers, microMain, root } from '../lib/paths.js'
import type { Progress } from '../lib/progress.js'
import type { MetricName, RoundValue } from '../lib/result.js'
import { measureScenario, messageOf, type Plan } from '../lib/rounds.js'
import type { Scenario } from '../lib/scenarios.js'
import { rotation } from '../lib/stats.js'
import { judge, type Quartet, type Verdict } from './judge.js'

export interface Finding {
  /** What was measured, with its unit. */
  readonly title: string
  readonly better: 'lower' | 'higher'
  readonly verdict: Verdict
}

/** What was found in one scenario, or in the programs inside the VM. */
export interface Comparison {
  readonly title: string
  readonly findings: readonly Finding[]
  /** What could not be measured, and why. */
  readonly failures: readonly string[]
}

const SIDES = ['base', 'base2', 'head', 'head2'] as const

/** Judged of the many figures: the others follow from these, or are too noisy. */
const FIGURES: readonly (readonly [MetricName, string, 'lower' | 'higher'])[] = [
  ['cpu', 'server CPU us', 'lower'],
  ['rate', 'per second', 'higher'],
  ['p50', 'p50 us', 'lower'],
  ['p99', 'p99 us', 'lower'],
  ['rss', 'resident bytes', 'lower'],
  ['rssPerConnection', 'resident bytes per connection', 'lower'],
]

/** Seconds of one turn of the programs inside the VM; a guess for the progress line. */
export const MICRO_TURN_SECONDS = 15

/** The same file of the other revision's tree; what isn't below the root stays as it is. */
export function relocated(path: string, tree: string): string {
  return path.startsWith(root) ? join(tree, relative(root, path)) : path
}

/** A revision from before a server of the benchmarks gets this one's; it uses that revision's package. */
export function provideServers(tree: string): void {
  cpSync(benchServers, relocated(benchServers, tree), { recursive: true, force: false })
}

function relocatedServer(server: Arguments, tree: string): Arguments {
  const all = (args: readonly string[]): string[] => args.map((argument) => relocated(argument, tree))
  if (typeof server !== 'function') return all(server)
  return (surroundings) => {
    const launch = server(surroundings)
    return { ...launch, args: all(launch.args) }
  }
}

function armsOf(arm: Arm, tree: string): Arm[] {
  const servers = Object.fromEntries(
    Object.entries(arm.servers).map(([service, args]) => [
      service,
      relocatedServer(args, tree),
    ]),
  )
  return SIDES.map((side) => ({
    ...arm,
    name: side,
    title: side,
    ...(side.startsWith('base') ? { servers } : {}),
  }))
}

export async function compareScenario(
  scenario: Scenario,
  arm: Arm,
  tree: string,
  plan: Plan,
  progress: Progress,
): Promise<Comparison> {
  // Every round is needed, also where few do for a median.
  const { roundsMax: _roundsMax, ...whole } = scenario
  const report = await measureScenario(whole, armsOf(arm, tree), plan, progress)
  const [base, base2, head, head2] = report.arms
  const findings = FIGURES.flatMap(([metric, title, better]): Finding[] => {
    const rounds = [base, base2, head, head2].map(({ figures }) => figures[metric]?.rounds ?? [])
    const verdict = judge({ base: rounds[0], base2: rounds[1], head: rounds[2], head2: rounds[3] })
    return verdict === undefined ? [] : [{ title, better, verdict }]
  })
  const failures = report.arms.flatMap(({ title, failure, skipped }) => {
    const why = failure ?? skipped
    return why === undefined ? [] : [`${title}: ${why}`]
  })
  return { title: `${scenario.title} [${scenario.name}], ${arm.title}`, findings, failures }
}

type Samples = Record<(typeof SIDES)[number], RoundValue[]>

/** Nanoseconds of every program that both revisions have. */
export async function compareMicro(tree: string, plan: Plan, progress: Progress): Promise<Comparison> {
  const programs = new Map<string, Samples>()
  const failures = new Map<string, string>()
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const index of rotation(SIDES.length, round)) {
      const side = SIDES[index]
      progress.show('inside the VM', `${side}, round ${round + 1} of ${plan.rounds}`)
      if (!failures.has(side)) {
        const program = side.startsWith('base') ? relocated(microMain, tree) : microMain
        await runMicroProcess(plan.pinning.server, true, { program, rounds: 1 }).then(
          (report) => {
            for (const { name: suite, programs: members } of report.suites) {
              for (const { name, samples } of members) {
                const key = `${suite}: ${name}`
                const all = programs.get(key) ?? { base: [], base2: [], head: [], head2: [] }
                all[side].push(...samples.map(({ value }) => ({ round, value })))
                programs.set(key, all)
              }
            }
          },
          (error: unknown) => failures.set(side, `${side}: ${messageOf(error)}`),
        )
      }
      progress.advance(MICRO_TURN_SECONDS)
    }
  }
  const findings = [...programs].flatMap(([name, samples]: [string, Quartet]): Finding[] => {
    const verdict = judge(samples)
    return verdict === undefined ? [] : [{ title: `${name}, ns`, better: 'lower', verdict }]
  })
  return { title: 'Inside the VM [micro]', findings, failures: [...failures.values()] }
}

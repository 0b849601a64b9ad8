/**
 * The report on the terminal: one table per scenario.
 */
import type { Environment } from './machine.js'
import { noiseIn, ratioBetween, valuesOf, type MetricName } from './metrics.js'
import type { ArmResult, Plan, ScenarioResult } from './rounds.js'
import { spread } from './stats.js'
import { format, table } from './table.js'

/** The arms that the others are held against, with their columns' headings. */
const bases = [
  { name: 'c-epoll', heading: 'CPU / C epoll' },
  { name: 'node-net', heading: 'CPU / node:net' },
]

export function heading(environment: Environment, plan: Plan): string {
  const { rounds, times, freshProcesses } = plan
  return [
    `commit ${environment.commit}, ${environment.date}`,
    `${environment.cpu}, ${environment.cpus} CPUs, Linux ${environment.kernel}, ` +
      `Node ${environment.node}; ${environment.pinning}`,
    `${rounds} rounds of ${times.duration} s after ${times.warmup} s of warm-up, arms in turns, ` +
      (freshProcesses ? 'a new server process each round' : 'one server process per arm'),
    'Medians over rounds (smallest..largest). CPU: of the server, all threads, user and kernel.',
    '',
  ].join('\n')
}

function middle(arm: ArmResult, metric: MetricName, scale = 1): string {
  return format(spread(valuesOf(arm, metric)).median * scale)
}

function withRange(arm: ArmResult, metric: MetricName): string {
  const { median, low, high } = spread(valuesOf(arm, metric))
  return `${format(median)} (${format(low)}..${format(high)})`
}

function ratioCell(result: ScenarioResult, arm: ArmResult, base: string): string {
  if (arm.name === base) return '1'
  const comparison = ratioBetween(result, 'cpu', arm.name, base)
  if (comparison === undefined) return '-'
  return comparison.different ? format(comparison.ratio) : 'no difference'
}

function armRow(result: ScenarioResult, arm: ArmResult): string[] {
  return [
    arm.title,
    withRange(arm, 'rate'),
    withRange(arm, 'cpu'),
    `${Math.round(spread(valuesOf(arm, 'busy')).median * 100)} %`,
    middle(arm, 'p50'),
    middle(arm, 'p99'),
    middle(arm, 'p99_9'),
    middle(arm, 'rss', 1 / (1 << 20)),
    ...bases.map((base) => ratioCell(result, arm, base.name)),
  ]
}

export function scenarioReport(result: ScenarioResult): string {
  const headings = ['', 'msg/s', 'CPU us/msg', 'busy', 'p50 us', 'p99 us', 'p99.9 us', 'RSS MiB']
  const measured = result.arms.filter((arm) => arm.samples.length > 0)
  const rows = measured.map((arm) => armRow(result, arm))
  const noise = noiseIn(result, 'cpu')
  const noiseText = noise === undefined ? '' : `; noise of CPU/msg: ${format(noise * 100)} %`
  const failures = result.arms
    .filter((arm) => arm.failure !== undefined)
    .map((arm) => `  ${arm.title}: FAILED: ${arm.failure}\n`)
  return (
    `\n${result.title} [${result.name}]${noiseText}\n` +
    (rows.length > 0 ? table([[...headings, ...bases.map((b) => b.heading)], ...rows]) : '') +
    failures.join('')
  )
}

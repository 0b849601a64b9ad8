/**
 * The project's targets: a ratio measured in this run, held against its limit.
 */
import { ratioBetween, type MetricName } from './metrics.js'
import type { ScenarioResult } from './rounds.js'
import { format, table } from './table.js'

export interface Target {
  readonly title: string
  /** `undefined`: not a target, only shown beside the others. */
  readonly limit: number | undefined
  /** `undefined` when it was not measured. */
  readonly ratio: number | undefined
  /** Extremes over the rounds. */
  readonly low: number | undefined
  readonly high: number | undefined
}

interface EchoTarget {
  readonly title: string
  readonly scenario: string
  readonly metric: MetricName
  readonly subject: string
  readonly base: string
  readonly limit: number
}

const echoTargets: readonly EchoTarget[] = [
  {
    title: 'CPU per message, 100 connections: native / node:net',
    scenario: 'echo-100',
    metric: 'cpu',
    subject: 'native',
    base: 'node-net',
    limit: 0.6,
  },
  {
    title: 'CPU per message, 100 connections: native / C epoll',
    scenario: 'echo-100',
    metric: 'cpu',
    subject: 'native',
    base: 'c-epoll',
    limit: 1.5,
  },
]

/** The echo targets, for as far as their scenarios were run. */
export function evaluateEchoTargets(results: readonly ScenarioResult[]): Target[] {
  return echoTargets.map(({ title, limit, scenario, metric, subject, base }) => {
    const result = results.find((one) => one.name === scenario)
    const comparison = result && ratioBetween(result, metric, subject, base)
    return { title, limit, ratio: comparison?.ratio, low: comparison?.low, high: comparison?.high }
  })
}

export function verdict(target: Target): string {
  if (target.ratio === undefined) return 'not measured'
  if (target.limit === undefined) return ''
  if (target.ratio <= target.limit) return 'pass'
  return `MISS by ${Math.round((target.ratio / target.limit - 1) * 100)} %`
}

export function targetTable(targets: readonly Target[]): string {
  const rows = targets.map((target) => [
    target.title,
    target.ratio === undefined ? '-' : format(target.ratio),
    target.low === undefined || target.high === undefined
      ? ''
      : `(${format(target.low)}..${format(target.high)})`,
    target.limit === undefined ? '' : `<= ${target.limit}`,
    verdict(target),
  ])
  return table([['target', 'ratio', 'rounds', 'limit', ''], ...rows])
}

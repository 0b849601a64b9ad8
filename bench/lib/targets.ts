/**
 * The project's targets: a figure measured in this run, held against its limit.
 */
import { figureIn, ratioBetween } from './metrics.js'
import type { Figure, MetricName, RoundValue, ScenarioReport, Target } from './result.js'
import { figureOf } from './stats.js'
import { format, table } from './table.js'

type Value = Pick<Target, 'value' | 'low' | 'high'>

export interface RunTarget {
  readonly title: string
  /** Without one it is only shown beside the others. */
  readonly limit?: number
  readonly sense?: Target['sense']
  readonly unit?: Target['unit']
  /** The arm that it is about is part of the title. */
  readonly of: (report: (scenario: string) => ScenarioReport | undefined) => Value & { arm?: string }
}

const NOTHING: Value = { value: undefined, low: undefined, high: undefined }
const HIGHER_IS_BETTER: readonly MetricName[] = ['rate', 'bytesRate']

/** Our backends. */
const BACKENDS: Ours = ['epoll', 'io_uring']
type Ours = readonly [epoll: string, uring: string]

/** The better one of two of ours, by the median. */
function bestOfOurs(report: ScenarioReport, metric: MetricName, ours = BACKENDS): string {
  const [one, other] = ours.map((name) => figureIn(report, name, metric))
  if (one === undefined || other === undefined) return ours[one === undefined ? 1 : 0]
  const higher = HIGHER_IS_BETTER.includes(metric)
  return ours[other.median > one.median === higher ? 1 : 0]
}

/** Our figure over the base's; `subject` is an arm, or two of which the better one counts. */
export function versus(
  scenario: string, metric: MetricName, base: string, subject: string | Ours = BACKENDS,
): RunTarget['of'] {
  return (reportOf) => {
    const report = reportOf(scenario)
    if (report === undefined) return NOTHING
    const arm = typeof subject === 'string' ? subject : bestOfOurs(report, metric, subject)
    const comparison = ratioBetween(report, metric, arm, base)
    if (comparison === undefined) return NOTHING
    const { ratio: value, low, high } = comparison
    return { value, low, high, arm }
  }
}

function bytesPerConnection(scenario: string): RunTarget['of'] {
  return (reportOf) => {
    const report = reportOf(scenario)
    if (report === undefined) return NOTHING
    const arm = bestOfOurs(report, 'rssPerConnection')
    const figure = figureIn(report, arm, 'rssPerConnection')
    return figure === undefined
      ? NOTHING
      : { value: figure.median, low: figure.low, high: figure.high, arm }
  }
}

/** One arm's figure in one scenario over the same in another. */
function acrossScenarios(subject: string, base: string, metric: MetricName): RunTarget['of'] {
  return (reportOf) => {
    const report = reportOf(subject)
    if (report === undefined) return NOTHING
    const arm = bestOfOurs(report, metric)
    const ratio = figureRatio(figureIn(report, arm, metric), figureIn(reportOf(base), arm, metric))
    return ratio === undefined
      ? NOTHING
      : { value: ratio.median, low: ratio.low, high: ratio.high, arm }
  }
}

function figureRatio(one: Figure | undefined, base: Figure | undefined): Figure | undefined {
  if (one === undefined || base === undefined) return undefined
  const rounds: RoundValue[] = one.rounds.flatMap(({ round, value }) => {
    const other = base.rounds.find((sample) => sample.round === round)
    return other === undefined ? [] : [{ round, value: value / other.value }]
  })
  const figure = figureOf(rounds)
  return figure && { ...figure, median: one.median / base.median }
}

export const echoTargets: readonly RunTarget[] = [
  {
    title: 'CPU, 100 connections, on epoll / plain node:net',
    limit: 0.6,
    of: versus('echo-100', 'cpu', 'node-net', 'epoll'),
  },
  {
    title: 'CPU, 100 connections, on epoll / C epoll',
    limit: 1.5,
    of: versus('echo-100', 'cpu', 'c-epoll', 'epoll'),
  },
  { title: 'CPU, 100 connections / C epoll', limit: 1.1, of: versus('echo-100', 'cpu', 'c-epoll') },
  { title: '  the same / plain node:net', limit: 0.45, of: versus('echo-100', 'cpu', 'node-net') },
  { title: '  the same / Bun.listen', limit: 0.85, of: versus('echo-100', 'cpu', 'bun') },
  {
    title: 'CPU, 1,000 connections / C epoll',
    limit: 1,
    of: versus('echo-1000', 'cpu', 'c-epoll'),
  },
  {
    title: 'CPU, 100 connections, 16 in flight / C epoll',
    limit: 1.2,
    of: versus('echo-100x16', 'cpu', 'c-epoll'),
  },
  {
    title: 'CPU, 50 connections x 16 KiB / C epoll',
    limit: 1.1,
    of: versus('echo-50x16k', 'cpu', 'c-epoll'),
  },
  {
    title: '  the same with borrowed buffers',
    limit: 1.1,
    of: versus('echo-50x16k', 'cpu', 'c-epoll', 'borrowed'),
  },
  {
    title: 'p50 latency, 1 connection / C epoll',
    limit: 1.2,
    of: versus('echo-1', 'p50', 'c-epoll'),
  },
  {
    title: '  the same with busy-poll',
    limit: 1,
    of: versus('echo-1', 'p50', 'c-epoll', 'busy-poll'),
  },
  {
    title: 'p99 latency, 100 connections / plain node:net',
    limit: 0.5,
    of: versus('echo-100', 'p99', 'node-net'),
  },
  {
    title: 'throughput of one stream through the echo / C epoll',
    limit: 0.9,
    sense: 'at least',
    of: versus('stream', 'bytesRate', 'c-epoll'),
  },
  {
    title: 'accept rate, 10,000 connections, a round trip each / C epoll',
    limit: 0.85,
    sense: 'at least',
    of: versus('accept', 'rate', 'c-epoll'),
  },
  {
    title: '  the same, both just started',
    sense: 'at least',
    of: versus('accept-cold', 'rate', 'c-epoll'),
  },
  {
    title: 'UDP: CPU, 100 peers, on epoll / plain node:dgram',
    limit: 0.6,
    of: versus('udp-100', 'cpu', 'node-dgram', 'epoll'),
  },
  {
    title: 'UDP: CPU, 100 peers, on epoll / C recvmmsg, sendmmsg',
    limit: 1.15,
    of: versus('udp-100', 'cpu', 'c-mmsg', 'epoll'),
  },
  {
    title: 'UDP: CPU, 100 peers, on io_uring / plain node:dgram',
    limit: 0.6,
    of: versus('udp-100', 'cpu', 'node-dgram', 'io_uring'),
  },
  {
    title: 'UDP: CPU, 100 peers, on io_uring / C recvmmsg, sendmmsg',
    limit: 1.15,
    of: versus('udp-100', 'cpu', 'c-mmsg', 'io_uring'),
  },
  {
    title: 'CPU per frame of 100 B in odd pieces, on epoll / the same bytes unframed',
    limit: 1.1,
    of: versus('frames-100', 'cpu', 'unframed', 'epoll'),
  },
  {
    title: '  the same on io_uring',
    limit: 1.1,
    of: versus('frames-100', 'cpu', 'unframed-io_uring', 'io_uring'),
  },
  {
    title: 'CPU per frame of 100 B in odd pieces, on epoll / framed in JavaScript on node:net',
    limit: 0.5,
    of: versus('frames-100', 'cpu', 'node-net', 'epoll'),
  },
  {
    title: '  the same on io_uring',
    limit: 0.5,
    of: versus('frames-100', 'cpu', 'node-net', 'io_uring'),
  },
  {
    title: 'resident bytes per idle connection, 10,000',
    limit: 2048,
    unit: 'bytes',
    of: bytesPerConnection('idle-10k'),
  },
  {
    title: 'resident bytes per idle connection, 50,000',
    limit: 2048,
    unit: 'bytes',
    of: bytesPerConnection('idle-50k'),
  },
  {
    title: 'throughput, 10,000 connections, 1 % active / 100, all active',
    limit: 0.8,
    sense: 'at least',
    of: acrossScenarios('active', 'echo-100', 'rate'),
  },
]

/** What was not measured in this run says so. */
export function evaluateTargets(reports: readonly ScenarioReport[], targets: readonly RunTarget[]): Target[] {
  const reportOf = (name: string): ScenarioReport | undefined =>
    reports.find((report) => report.name === name)
  return targets.map(({ title, limit, sense = 'at most', unit = 'ratio', of }) => {
    const { arm, ...value } = of(reportOf)
    return { title: arm === undefined ? title : `${title} [${arm}]`, limit, sense, unit, ...value }
  })
}

export function verdict({ value, limit, sense }: Target): string {
  if (value === undefined) return 'not measured'
  if (limit === undefined) return ''
  const excess = sense === 'at most' ? value / limit : limit / value
  return excess <= 1 ? 'pass' : `MISS by ${Math.round((excess - 1) * 100)} %`
}

export function targetTable(targets: readonly Target[]): string {
  const rows = targets.map((target) => [
    target.title,
    target.value === undefined ? '-' : format(target.value),
    target.low === undefined || target.high === undefined
      ? ''
      : `(${format(target.low)}..${format(target.high)})`,
    target.limit === undefined
      ? ''
      : `${target.sense === 'at most' ? '<=' : '>='} ${format(target.limit)}`,
    verdict(target),
  ])
  return table([['target', 'reached', 'rounds', 'limit', ''], ...rows])
}

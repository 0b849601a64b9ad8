/**
 * The figures of a scenario: how each is read from a run of the load generator, and comparisons of two
 * arms by them.
 */
import type { LoadResult } from './load.js'
import { metricNames } from './result.js'
import type { ArmReport, Bucket, Figure, MetricName, RoundValue, ScenarioReport } from './result.js'
import { compare, figureOf, noiseOf, type Comparison } from './stats.js'

/** One round of one arm. */
export interface Sample {
  readonly round: number
  readonly load: LoadResult
}

const latency =
  (name: 'p50' | 'p99' | 'p99_9') =>
  ({ latency_us }: LoadResult): number | undefined =>
    latency_us.count > 0 ? latency_us[name] : undefined

const readers: Record<MetricName, (load: LoadResult) => number | undefined> = {
  rate: (load) => load.messages_per_second,
  bytesRate: (load) => load.bytes_per_second,
  cpu: (load) => load.server.cpu_us_per_message,
  busy: (load) => load.server.busy,
  clientBusy: (load) => load.client.busy,
  p50: latency('p50'),
  p99: latency('p99'),
  p99_9: latency('p99_9'),
  lost: ({ lost, sent_bytes, size }) => (lost > 0 ? lost / (sent_bytes / size) : undefined),
  rss: (load) => load.server.rss_bytes,
  rssPerConnection: ({ server, connections }) =>
    (server.rss_bytes - server.rss_bytes_before) / connections,
}

export function figuresOf(
  samples: readonly Sample[],
  perConnection: boolean,
): Partial<Record<MetricName, Figure>> {
  const figures: Partial<Record<MetricName, Figure>> = {}
  for (const name of metricNames) {
    if (name === 'rssPerConnection' && !perConnection) continue
    const rounds: RoundValue[] = []
    for (const { round, load } of samples) {
      const value = readers[name](load)
      if (value !== undefined && Number.isFinite(value)) rounds.push({ round, value })
    }
    const figure = figureOf(rounds)
    if (figure !== undefined) figures[name] = figure
  }
  return figures
}

/** All rounds' latencies together. */
export function histogramOf(samples: readonly Sample[]): Bucket[] {
  const counts = new Map<number, number>()
  for (const { load } of samples) {
    for (const [us, count] of load.histogram) counts.set(us, (counts.get(us) ?? 0) + count)
  }
  return [...counts].sort(([a], [b]) => a - b)
}

/** What the scenario's two identical arms differ by, for each figure that both have. */
export function noiseOfArms(arms: readonly ArmReport[]): Partial<Record<MetricName, number>> {
  const found: Partial<Record<MetricName, number>> = {}
  const twin = arms.find((arm) => arm.twinOf !== undefined)
  const original = arms.find((arm) => arm.name === twin?.twinOf)
  if (twin === undefined || original === undefined) return found
  for (const name of metricNames) {
    const [one, other] = [twin.figures[name], original.figures[name]]
    const noise = one && other && noiseOf(one, other)
    if (noise !== undefined && Number.isFinite(noise)) found[name] = noise
  }
  return found
}

export function figureIn(
  report: ScenarioReport | undefined,
  arm: string,
  metric: MetricName,
): Figure | undefined {
  return report?.arms.find(({ name }) => name === arm)?.figures[metric]
}

export function ratioBetween(
  report: ScenarioReport,
  metric: MetricName,
  subject: string,
  base: string,
): Comparison | undefined {
  const one = figureIn(report, subject, metric)
  const other = figureIn(report, base, metric)
  return one && other && compare(one, other, report.noise[metric])
}

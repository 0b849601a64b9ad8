/**
 * The figures of a scenario, by name, and comparisons of two arms by them.
 */
import { arms as allArms } from './arms.js'
import type { ArmResult, Sample, ScenarioResult } from './rounds.js'
import { compare, noiseOf, type Comparison, type RoundValue } from './stats.js'

export const metrics = {
  rate: (sample: Sample) => sample.messages_per_second,
  cpu: (sample: Sample) => sample.server.cpu_us_per_message,
  busy: (sample: Sample) => sample.server.busy,
  rss: (sample: Sample) => sample.server.rss_bytes,
  p50: (sample: Sample) => sample.latency_us.p50,
  p99: (sample: Sample) => sample.latency_us.p99,
  p99_9: (sample: Sample) => sample.latency_us.p99_9,
} as const

export type MetricName = keyof typeof metrics

export function valuesOf(arm: ArmResult, metric: MetricName): RoundValue[] {
  return arm.samples.map((sample) => ({ round: sample.round, value: metrics[metric](sample) }))
}

/** How much the scenario's two identical arms differ in a metric; `undefined` without them. */
export function noiseIn(result: ScenarioResult, metric: MetricName): number | undefined {
  for (const { name, twinOf } of allArms) {
    const twin = result.arms.find((arm) => arm.name === name)
    const original = result.arms.find((arm) => arm.name === twinOf)
    if (twin === undefined || original === undefined) continue
    const noise = noiseOf(valuesOf(twin, metric), valuesOf(original, metric))
    if (noise !== undefined) return noise
  }
  return undefined
}

export function ratioBetween(
  result: ScenarioResult,
  metric: MetricName,
  subject: string,
  base: string,
): Comparison | undefined {
  const one = result.arms.find((arm) => arm.name === subject)
  const other = result.arms.find((arm) => arm.name === base)
  if (one === undefined || other === undefined) return undefined
  return compare(valuesOf(one, metric), valuesOf(other, metric), noiseIn(result, metric))
}

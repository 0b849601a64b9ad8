/**
 * Medians, spreads, and what counts as a difference.
 *
 * Every figure is a median over rounds; arms are compared by the ratio of their medians. Two
 * identical arms of the same run say how far that ratio strays by chance. A ratio counts as a
 * difference only if it is further from 1 than that, by 2 % or more, and the rounds agree on its
 * side (one in five may not).
 */

import type { Figure, RoundValue } from './result.js'

export interface Comparison {
  /** Ratio of the medians. */
  readonly ratio: number
  /** Extremes of the ratios within one round. */
  readonly low: number
  readonly high: number
  /** False when the ratio is inside the noise. */
  readonly different: boolean
}

/** No difference below this is ever claimed. */
export const NOISE_FLOOR = 0.02

export function median(values: readonly number[]): number {
  if (values.length === 0) return NaN
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Undefined without values. */
export function figureOf(rounds: readonly RoundValue[]): Figure | undefined {
  if (rounds.length === 0) return undefined
  const numbers = rounds.map(({ value }) => value)
  return {
    median: median(numbers),
    low: Math.min(...numbers),
    high: Math.max(...numbers),
    rounds,
  }
}

/** The ratios of the rounds that both arms have. */
function roundRatios(subject: Figure, base: Figure): number[] {
  const byRound = new Map(base.rounds.map((sample) => [sample.round, sample.value]))
  const ratios: number[] = []
  for (const { round, value } of subject.rounds) {
    const other = byRound.get(round)
    if (other !== undefined && other > 0) ratios.push(value / other)
  }
  return ratios
}

/**
 * How much two identical arms differ: the larger of what their medians and what a typical round
 * differ by. `undefined` without twins.
 */
export function noiseOf(one: Figure, twin: Figure): number | undefined {
  const ratios = roundRatios(one, twin)
  if (ratios.length === 0) return undefined
  const typical = median(ratios.map((ratio) => Math.abs(ratio - 1)))
  return Math.max(NOISE_FLOOR, typical, Math.abs(one.median / twin.median - 1))
}

export function compare(
  subject: Figure,
  base: Figure,
  noise: number | undefined,
): Comparison | undefined {
  const ratios = roundRatios(subject, base)
  if (ratios.length === 0) return undefined
  const ratio = subject.median / base.median
  const dissenters = ratios.filter((one) => one > 1 !== ratio > 1).length
  const tolerated = ratios.length >= 5 ? 1 : 0
  const different = Math.abs(ratio - 1) > (noise ?? NOISE_FLOOR) && dissenters <= tolerated
  return { ratio, low: Math.min(...ratios), high: Math.max(...ratios), different }
}

/** The order of `count` arms in a round: rotated by one each time, reversed every other time. */
export function rotation(count: number, round: number): number[] {
  const order = Array.from({ length: count }, (_, i) => (i + round) % count)
  return round % 2 === 1 ? order.reverse() : order
}

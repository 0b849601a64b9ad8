/**
 * Medians, spreads, and what counts as a difference.
 *
 * Every figure is a median over rounds; arms are compared by the ratio of their medians. Two
 * identical arms of the same run say how far that ratio strays by chance. A ratio counts as a
 * difference only if it is further from 1 than that, by 2 % or more, and the rounds agree on its
 * side (one in five may not).
 */

/** One round's value. Rounds in which an arm failed are simply missing. */
export interface RoundValue {
  readonly round: number
  readonly value: number
}

export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
  readonly rounds: number
}

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

export function spread(values: readonly RoundValue[]): Spread {
  const numbers = values.map((sample) => sample.value)
  return {
    median: median(numbers),
    low: numbers.length === 0 ? NaN : Math.min(...numbers),
    high: numbers.length === 0 ? NaN : Math.max(...numbers),
    rounds: numbers.length,
  }
}

/** The ratios of the rounds that both arms have. */
function roundRatios(subject: readonly RoundValue[], base: readonly RoundValue[]): number[] {
  const byRound = new Map(base.map((sample) => [sample.round, sample.value]))
  const ratios: number[] = []
  for (const { round, value } of subject) {
    const other = byRound.get(round)
    if (other !== undefined && other > 0) ratios.push(value / other)
  }
  return ratios
}

function ratioOfMedians(subject: readonly RoundValue[], base: readonly RoundValue[]): number {
  return spread(subject).median / spread(base).median
}

/**
 * How much two identical arms differ: the larger of what their medians and what a typical round
 * differ by. `undefined` without twins.
 */
export function noiseOf(
  one: readonly RoundValue[],
  twin: readonly RoundValue[],
): number | undefined {
  const ratios = roundRatios(one, twin)
  if (ratios.length === 0) return undefined
  const typical = median(ratios.map((ratio) => Math.abs(ratio - 1)))
  return Math.max(NOISE_FLOOR, typical, Math.abs(ratioOfMedians(one, twin) - 1))
}

export function compare(
  subject: readonly RoundValue[],
  base: readonly RoundValue[],
  noise: number | undefined,
): Comparison | undefined {
  const ratios = roundRatios(subject, base)
  if (ratios.length === 0) return undefined
  const ratio = ratioOfMedians(subject, base)
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

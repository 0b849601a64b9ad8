/**
 * Whether a figure moved between two revisions.
 *
 * Each revision is measured by two server processes, so there is noise to hold the difference against: what
 * the two of one revision differ by is no property of the code. A figure moved if the ratio of the revisions'
 * medians is farther from 1 than the noise of either and than 2 %, and every single round agrees on the side.
 */
import type { RoundValue } from '../lib/result.js'
import { median, NOISE_FLOOR } from '../lib/stats.js'

/** One figure, measured four times in every round. */
export interface Quartet {
  readonly base: readonly RoundValue[]
  readonly base2: readonly RoundValue[]
  readonly head: readonly RoundValue[]
  readonly head2: readonly RoundValue[]
}

export interface Verdict {
  /** Medians over the rounds of the mean of a revision's two processes. */
  readonly base: number
  readonly head: number
  readonly ratio: number
  /** Extremes of the ratio over the rounds. */
  readonly low: number
  readonly high: number
  /** The larger of what the two processes of either revision differ by, as a share. */
  readonly noise: number
  readonly moved: boolean
}

/** With fewer rounds, that all agree says nothing. */
export const FEWEST_ROUNDS = 3

interface Row {
  readonly base: readonly [number, number]
  readonly head: readonly [number, number]
}

/** The rounds that all four have. */
function rowsOf({ base, base2, head, head2 }: Quartet): Row[] {
  const at = (values: readonly RoundValue[], round: number): number =>
    values.find((one) => one.round === round)?.value ?? NaN
  return base
    .map(({ round, value }): Row => {
      const [other, one, another] = [base2, head, head2].map((values) => at(values, round))
      return { base: [value, other], head: [one, another] }
    })
    .filter((row) => [...row.base, ...row.head].every((value) => value > 0))
}

const mean = ([one, other]: readonly [number, number]): number => (one + other) / 2

/** What two processes of the same code differ by: over all rounds, and in a typical one. */
function noiseOfPairs(pairs: readonly (readonly [number, number])[]): number {
  const overall = median(pairs.map(([one]) => one)) / median(pairs.map(([, other]) => other))
  const typical = median(pairs.map(([one, other]) => Math.abs(one / other - 1)))
  return Math.max(Math.abs(overall - 1), typical)
}

/** `undefined` if there are too few rounds that all four have. */
export function judge(quartet: Quartet): Verdict | undefined {
  const rows = rowsOf(quartet)
  if (rows.length < FEWEST_ROUNDS) return undefined
  const base = median(rows.map((row) => mean(row.base)))
  const head = median(rows.map((row) => mean(row.head)))
  const ratios = rows.map((row) => mean(row.head) / mean(row.base))
  const ratio = head / base
  const noise = Math.max(
    noiseOfPairs(rows.map((row) => row.base)),
    noiseOfPairs(rows.map((row) => row.head)),
  )
  const distance = Math.abs(ratio - 1)
  const agree = ratios.every((one) => (ratio > 1 ? one > 1 : one < 1))
  return {
    base,
    head,
    ratio,
    low: Math.min(...ratios),
    high: Math.max(...ratios),
    noise,
    moved: distance >= NOISE_FLOOR && distance > noise && agree,
  }
}

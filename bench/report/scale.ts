/**
 * Axes whose ends and ticks are known before anything is drawn.
 */
import type { Axis as VegaAxis } from 'vega'

export interface Axis {
  readonly kind: 'log' | 'linear'
  readonly title: string
  readonly low: number
  readonly high: number
  readonly ticks: readonly number[]
  readonly text: (tick: number) => string
}

const MOST_TICKS = 10

/** 1, 2, 5, 10, 20 …: from the last that is not above `low` to the first that is not below `high`. */
function steps(low: number, high: number): number[] {
  const from = Math.floor(Math.log10(low))
  const to = Math.ceil(Math.log10(high))
  const all = Array.from({ length: to - from + 1 }, (_, i) => from + i).flatMap((exponent) =>
    // By way of text: 5 * 10 ** -2 is not 0.05.
    [1, 2, 5].map((digit) => Number(`${digit}e${exponent}`)),
  )
  const first = all.findLastIndex((step) => step <= low)
  const last = all.findIndex((step) => step >= high)
  return all.slice(Math.max(0, first), last + 1)
}

const isPowerOfTen = (value: number): boolean => /^1(e|0*$)|^0\.0*1$/.test(String(value))

type Words = Pick<Axis, 'title' | 'text'>

/** From zero to a little above the highest value. */
export function linearAxis(values: readonly number[], words: Words): Axis {
  const most = Math.max(0, ...values)
  if (most === 0) return { kind: 'linear', ...words, low: 0, high: 1, ticks: [0, 1] }
  const step = steps(most / 6, most / 6).at(-1) as number
  const count = Math.ceil(most / step - 1e-9)
  // By way of text again, so that 3 * 0.1 is 0.3.
  const ticks = Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)))
  return { kind: 'linear', ...words, low: 0, high: ticks[count], ticks }
}

/** Of positive values. Ticks at the values themselves where `own` says so and they are few. */
export function logAxis(values: readonly number[], words: Words, own = false): Axis {
  const positive = values.filter((value) => value > 0)
  if (positive.length === 0) return { kind: 'log', ...words, low: 1, high: 10, ticks: [1, 10] }
  const different = [...new Set(positive)].sort((a, b) => a - b)
  if (own && different.length > 1 && different.length <= MOST_TICKS) {
    const [first, last] = [different[0], different[different.length - 1]]
    return { kind: 'log', ...words, low: first, high: last, ticks: different }
  }
  const all = steps(different[0], different[different.length - 1])
  if (all.length === 1) all.push(all[0] * 10)
  const [low, high] = [all[0], all[all.length - 1]]
  const ticks = all.length > MOST_TICKS ? all.filter(isPowerOfTen) : all
  return { kind: 'log', ...words, low, high, ticks }
}

/** Whether an axis has a place for a value: a logarithmic one has none for zero and less. */
export function hasPlace({ kind }: Axis, value: number): boolean {
  return kind === 'linear' || value > 0
}

/** Where on 0..1 a value is. */
export function place(axis: Axis, value: number): number {
  const { kind, low, high } = axis
  const along = kind === 'log' ? Math.log : (x: number) => x
  return (along(value) - along(low)) / (along(high) - along(low))
}

/** The axis with its grid, in an area with the scales `x` and `y`. The upright one's title is not drawn. */
export function gridAxis(scale: 'x' | 'y', axis: Axis): VegaAxis {
  const texts = Object.fromEntries(axis.ticks.map((tick) => [String(tick), axis.text(tick)]))
  const text = { signal: `${JSON.stringify(texts)}[datum.value]` }
  const isX = scale === 'x'
  return {
    orient: isX ? 'bottom' : 'left',
    scale,
    gridScale: isX ? 'y' : 'x',
    values: [...axis.ticks],
    grid: true,
    domain: false,
    ticks: false,
    labelPadding: 7,
    labelOverlap: 'greedy',
    encode: { labels: { update: { text } } },
    ...(isX && axis.title !== '' ? { title: axis.title } : {}),
  }
}

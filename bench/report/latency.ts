/**
 * The distribution of latencies as lines over the share of messages: how long the quickest so many per
 * cent took, with the axis stretched towards 100 % so that the slowest one in a thousand are seen.
 */
import type { ArmReport, Bucket, MetricName } from '../lib/result.js'
import type { Line, Point } from './lines.js'
import type { Axis } from './scale.js'

/** The middle of a bucket, of which its lowest value is known: there are 16 in an octave. */
const MIDDLE = 1 + 1 / 43
/** A line ends where fewer messages than this were slower. */
const FEWEST = 10

/** 0 at 0 %, 1 at 90 %, 2 at 99 %, 3 at 99.9 %. */
const nines = (share: number): number => -Math.log10(1 - share)

const percentiles: readonly (readonly [MetricName, number])[] = [
  ['p50', nines(0.5)],
  ['p99', nines(0.99)],
  ['p99_9', nines(0.999)],
]

export function distribution(histogram: readonly Bucket[]): (readonly [x: number, us: number])[] {
  const total = histogram.reduce((sum, [, count]) => sum + count, 0)
  const path: (readonly [number, number])[] = []
  let slower = total
  for (const [us, count] of histogram) {
    slower -= count
    if (slower < FEWEST) break
    // What took no measurable time has no place on a logarithmic axis.
    if (us > 0) path.push([nines(1 - slower / total), us * MIDDLE])
  }
  return path
}

/** A line per arm that has latencies. */
export function latencyLines(arms: readonly ArmReport[]): Line[] {
  return arms.flatMap((arm) => {
    const path = distribution(arm.histogram)
    if (path.length === 0) return []
    const points = percentiles.flatMap(([metric, x]): Point[] => {
      const figure = arm.figures[metric]
      if (figure === undefined || figure.low <= 0) return []
      return [{ x, median: figure.median, low: figure.low, high: figure.high }]
    })
    return [{ arm: arm.name, label: arm.title, bold: arm.kind === 'ours', points, path }]
  })
}

/** From the quickest message to where the longest line ends. */
export function percentileAxis(lines: readonly Line[]): Axis {
  const farthest = lines.flatMap((line) => [
    ...(line.path ?? []).map(([x]) => x),
    ...line.points.map(({ x }) => x),
  ])
  const ticks = [0, nines(0.5), 1, 2, 3, 4, 5, 6]
  const high = Math.max(1, ...farthest)
  const text = (tick: number): string => `${Number((100 * (1 - 10 ** -tick)).toFixed(6))} %`
  const title = 'share of the messages'
  return { kind: 'linear', title, low: 0, high, ticks: ticks.filter((tick) => tick <= high), text }
}

/**
 * One small operation, timed by `benchmark`.
 */
import Benchmark from 'benchmark'
import type { Program } from './harness.js'

/** Keeps results in sight, so that no compiler takes the work away. */
let kept: unknown

/** @param maxTime seconds */
export function timed(
  name: string,
  title: string,
  maxTime: number,
  operation: () => unknown,
): Program {
  const run = (): number => {
    const bench = new Benchmark({
      maxTime,
      fn: () => {
        kept = operation()
      },
    })
    bench.run()
    if (bench.error !== undefined) throw new Error(String(bench.error))
    return bench.stats.mean * 1e9
  }
  return { name, title, run }
}

/** @internal What was computed last. */
export const lastResult = (): unknown => kept

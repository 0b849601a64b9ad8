/**
 * The baseline of the in-VM benchmarks, `Map.get` and a function call; how many operations a
 * program does; and the check that it has done them. Imports nothing of the package.
 */

export interface Sizes {
  /** Operations in each batch. */
  readonly size: number
  /** Batches before the timed ones. */
  readonly warmup: number
  readonly timed: number
}

/** Messages per turn: enough to make the turn itself cheap, few enough to stay in the cache. */
export const BATCH = 500

/** Batches that visit `entries` things in turn: once for warming up, then for the time. */
export function plan(entries: number, operations: number): Sizes {
  const warmup = Math.ceil(Math.max(entries, operations / 4) / BATCH)
  const timed = Math.ceil(Math.max(entries, operations) / BATCH)
  return { size: BATCH, warmup, timed }
}

/** Throws if a program did not cause what it should have. */
export function expectCount(what: string, got: number, expected: number): void {
  if (got !== expected) throw new Error(`${what}: expected ${expected}, got ${got}`)
}

/**
 * How many more operations the baseline does than the program beside it. It is that much faster:
 * timed over fewer, it would be charged for its own compilation, and every ratio would flatter us.
 */
const BASELINE_FACTOR = 20

/**
 * The baseline: a function found by `Map.get` and called, each entry with a function and a state of
 * its own, the same entries visited in the same order. The compiler may inline what it likes.
 */
export function mapBaseline(keys: readonly unknown[], operations: number): number {
  const states = keys.map(() => ({ count: 0 }))
  const handlers = new Map(
    keys.map((key, i) => {
      const state = states[i]
      return [key, (body: unknown) => (state.count += body === undefined ? 0 : 1)] as const
    }),
  )
  const { warmup, timed, size } = plan(keys.length, operations * BASELINE_FACTOR)
  let next = 0
  const run = (batches: number): void => {
    for (let i = 0; i < batches * size; i += 1) {
      const handler = handlers.get(keys[next])
      next = next + 1 === keys.length ? 0 : next + 1
      handler?.(i)
    }
  }
  run(warmup)
  const began = performance.now()
  run(timed)
  const elapsed = performance.now() - began
  const calls = states.reduce((sum, state) => sum + state.count, 0)
  expectCount('Map.get and call', calls, (warmup + timed) * size)
  return (elapsed * 1e6) / (timed * size)
}

/**
 * The driver process of the in-VM benchmarks, and the baseline that they are held against.
 *
 * The driver performs one batch of actions per turn and asks for its next turn; it takes the time
 * between two of its turns. What the receivers' handlers return is performed in their own turns, so
 * the time covers everything that a message causes.
 */
import { groundVm, spawn, yieldTurn, type ActionTree } from 'marketplace-native'

export interface Batches {
  /** Operations in each batch. */
  readonly size: number
  readonly warmup: number
  readonly timed: number
  /** The actions of batch number `n`. */
  readonly make: (n: number) => ActionTree
}

/** Messages per turn: enough to make the turn itself cheap, few enough to stay in the cache. */
export const BATCH = 500

/** Batches that visit `entries` things in turn: once for warming up, then for the time. */
export function plan(entries: number, operations: number): Omit<Batches, 'make'> {
  const warmup = Math.ceil(Math.max(entries, operations / 4) / BATCH)
  const timed = Math.ceil(Math.max(entries, operations) / BATCH)
  return { size: BATCH, warmup, timed }
}

/** A stopwatch over batches: `step` is what the driver does in each of its turns. */
export class Driver {
  #batch = 0
  #began = 0
  #nsPerOperation = NaN

  constructor(private readonly batches: Batches) {}

  /** Operations in all, warm-up included. */
  get operations(): number {
    const { size, warmup, timed } = this.batches
    return size * (warmup + timed)
  }

  get nsPerOperation(): number {
    return this.#nsPerOperation
  }

  readonly step = (): ActionTree => {
    const { size, warmup, timed, make } = this.batches
    if (this.#batch === warmup) this.#began = performance.now()
    if (this.#batch === warmup + timed) {
      const elapsed = performance.now() - this.#began
      this.#nsPerOperation = (elapsed * 1e6) / (size * timed)
      return undefined
    }
    const actions = make(this.#batch)
    this.#batch += 1
    return [actions, yieldTurn(this.step)]
  }
}

/** Runs a ground VM with `scene` in it and the driver beside, until nothing is left to do. */
export async function drive(scene: () => ActionTree, batches: Batches): Promise<Driver> {
  const driver = new Driver(batches)
  await groundVm(() => [scene(), spawn(() => driver.step())])
  return driver
}

/** Throws if a program did not cause what it should have. */
export function expectCount(what: string, got: number, expected: number): void {
  if (got !== expected) throw new Error(`${what}: expected ${expected}, got ${got}`)
}

/**
 * The baseline: a function found by `Map.get` and called, each entry with a function and a state of
 * its own, the same entries visited in the same order and in the same batches.
 */
export function mapBaseline(keys: readonly unknown[], operations: number): number {
  const states = keys.map(() => ({ count: 0 }))
  const handlers = new Map(
    keys.map((key, i) => {
      const state = states[i]
      return [key, (body: unknown) => (state.count += body === undefined ? 0 : 1)] as const
    }),
  )
  const { warmup, timed, size } = plan(keys.length, operations)
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

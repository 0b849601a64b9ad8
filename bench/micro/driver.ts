/**
 * The driver process of the in-VM benchmarks.
 *
 * The driver performs one batch of actions per turn and asks for its next turn; it takes the time
 * between two of its turns. What the receivers' handlers return is performed in their own turns, so
 * the time covers everything that a message causes.
 */
import { groundVm, spawn, yieldTurn, type ActionTree } from 'marketplace-native'
import type { Sizes } from './baseline.js'

export interface Batches extends Sizes {
  /** The actions of batch number `n`. */
  readonly make: (n: number) => ActionTree
}

/** Turns that the driver leaves to the others first, for their endpoints to be there. */
const SETTLING_TURNS = 40

/** A stopwatch over batches. `boot` is the driver process's; it does one batch in each turn. */
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

  readonly boot = (): ActionTree => this.#settle(SETTLING_TURNS)

  #settle(turns: number): ActionTree {
    return yieldTurn(turns === 0 ? this.#step : () => this.#settle(turns - 1))
  }

  readonly #step = (): ActionTree => {
    const { size, warmup, timed, make } = this.batches
    if (this.#batch === warmup) this.#began = performance.now()
    if (this.#batch === warmup + timed) {
      const elapsed = performance.now() - this.#began
      this.#nsPerOperation = (elapsed * 1e6) / (size * timed)
      return undefined
    }
    const actions = make(this.#batch)
    this.#batch += 1
    return [actions, yieldTurn(this.#step)]
  }
}

/** Runs a ground VM with `scene` in it and the driver beside, until nothing is left to do. */
export async function drive(scene: () => ActionTree, batches: Batches): Promise<Driver> {
  const driver = new Driver(batches)
  await groundVm(() => [scene(), spawn(driver.boot)])
  return driver
}

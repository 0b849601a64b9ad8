/**
 * Whether the event loop is late: measured by how late a timer is, as nothing else can be seen from here. The native
 * engine knows it without a timer.
 *
 * Invariant: `late` begins with one delay of at least the bound, and ends when all delays of a review's time were less
 * than half of it.
 */
import { clearInterval, performance, setInterval } from '../../support/real-time.js'

/** Milliseconds between two looks at the clock. */
const TICK = 20
/** And between two reviews whether it is late no longer, as the engine has it. */
const REVIEW = 100

export class LoopWatch {
  #late = false
  #longest = 0
  #review = 0
  #last = performance.now()
  readonly #timer: NodeJS.Timeout

  /**
   * @param bound milliseconds
   * @param changed called with whether it is late now
   */
  constructor(bound: number, changed: (late: boolean) => void) {
    this.#timer = setInterval(() => {
      const now = performance.now()
      const delay = now - this.#last - TICK
      this.#last = now
      this.#longest = Math.max(this.#longest, delay)
      if (!this.#late && delay >= bound) this.#begin(now, changed)
      else if (this.#late && now >= this.#review) this.#look(now, bound, changed)
    }, TICK).unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #begin(now: number, changed: (late: boolean) => void): void {
    this.#late = true
    this.#longest = 0
    this.#review = now + REVIEW
    changed(true)
  }

  #look(now: number, bound: number, changed: (late: boolean) => void): void {
    const goesOn = this.#longest * 2 >= bound
    this.#longest = 0
    this.#review = now + REVIEW
    if (goesOn) return
    this.#late = false
    changed(false)
  }
}

/**
 * Numbers by which the nodes of a broker agree on what was later: the time of day in milliseconds, or one more than the
 * highest number that was heard of, so that what follows from something has a higher number than that.
 */

/** Nobody's clock is further ahead, in milliseconds. */
const AHEAD_MAX = 24 * 60 * 60 * 1000

export class Clock {
  #last = 0

  next(): number {
    this.#last = Math.max(this.#last + 1, Date.now())
    return this.#last
  }

  /** Another node has counted so far. */
  heard(number: number): void {
    if (number > this.#last && number < Date.now() + AHEAD_MAX) this.#last = Math.floor(number)
  }
}

/** A moment, as one of the nodes has counted it. */
export interface Moment {
  readonly since: number
  readonly node: string
}

/** Of two that have the same number, all nodes take the same one for the later. */
export function isLater(one: Moment, other: Moment): boolean {
  return one.since > other.since || (one.since === other.since && one.node > other.node)
}

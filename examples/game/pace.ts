/** How often somebody may do something: so many times a second on average, and so many at once. */

export class Pace {
  readonly #perSecond: number
  readonly #atOnce: number
  #left: number
  #looked: number

  /** @param now milliseconds */
  constructor(perSecond: number, atOnce: number, now: number) {
    this.#perSecond = perSecond
    this.#atOnce = atOnce
    this.#left = atOnce
    this.#looked = now
  }

  /** @returns whether that is not too often */
  allows(now: number): boolean {
    this.#left = Math.min(this.#atOnce, this.#left + (now - this.#looked) * this.#perSecond / 1000)
    this.#looked = now
    if (this.#left < 1) return false
    this.#left--
    return true
  }
}

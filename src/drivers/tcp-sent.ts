/**
 * What was sent in frames and the kernel has not taken yet: so that who sends is told of his own bytes, and not of
 * headers and delimiters.
 *
 * Invariant: all that was written since it was made is in it, in order, until the kernel has taken it.
 */

export class SentFrames {
  /** Lengths by turns: of what goes before a body, of the body, of what goes behind it. From `#next` on. */
  #lengths: number[] = []
  #next = 0

  /** @param before bytes that were written before, as they are, and of which nobody has been told */
  constructor(before: number) {
    if (before > 0) this.add(0, before, 0)
  }

  get isEmpty(): boolean {
    return this.#lengths.length === 0
  }

  add(before: number, body: number, after: number): void {
    this.#lengths.push(before, body, after)
  }

  /** The kernel has taken so many more bytes. How many of them are of bodies. */
  taken(bytes: number): number {
    const lengths = this.#lengths
    let bodies = 0
    let left = bytes
    while (left > 0 && this.#next < lengths.length) {
      const part = Math.min(left, lengths[this.#next])
      if (this.#next % 3 === 1) bodies += part
      left -= part
      lengths[this.#next] -= part
      if (lengths[this.#next] > 0) break
      this.#next++
    }
    while (this.#next < lengths.length && lengths[this.#next] === 0) this.#next++
    if (this.#next === lengths.length) {
      this.#lengths = []
      this.#next = 0
    } else if (this.#next >= 1024 && this.#next * 2 > lengths.length) {
      const over = this.#next - this.#next % 3
      this.#lengths = lengths.slice(over)
      this.#next -= over
    }
    return bodies
  }
}

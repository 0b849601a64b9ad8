/**
 * What is being measured and how long it will still take: one line on stderr that is rewritten on a
 * terminal, and one line per scenario elsewhere.
 */

export class Progress {
  #done = 0
  #lastPlain = ''
  readonly #began = performance.now()
  readonly #tty = process.stderr.isTTY

  /** @param planned seconds that all steps together should take */
  constructor(private readonly planned: number) {}

  /** Announces a step. `heading` alone is what a log gets, once. */
  show(heading: string, detail: string): void {
    if (this.#tty) {
      process.stderr.write(`\r\x1b[K${heading}: ${detail}; ${this.#left()} left`)
    } else if (heading !== this.#lastPlain) {
      this.#lastPlain = heading
      process.stderr.write(`${heading} (${this.#left()} left)\n`)
    }
  }

  /** A step is over that was planned to take so many seconds. */
  advance(seconds: number): void {
    this.#done += seconds
  }

  clear(): void {
    if (this.#tty) process.stderr.write('\r\x1b[K')
  }

  #left(): string {
    const elapsed = (performance.now() - this.#began) / 1000
    const pace = this.#done > 0 ? elapsed / this.#done : 1
    const seconds = Math.max(0, Math.round((this.planned - this.#done) * pace))
    return seconds < 90 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  }
}

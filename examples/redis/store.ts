/** Keys and values, some for a limited time. One command is performed at a time, so that nobody locks. */

interface Entry {
  readonly value: Buffer
  /** Milliseconds since 1970; Infinity: for ever. */
  readonly expires: number
}

/** Keys have a character for each byte. */
export class Store {
  readonly #entries = new Map<string, Entry>()

  get size(): number {
    return this.#entries.size
  }

  get(key: string): Buffer | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.expires === Infinity || entry.expires > Date.now()) return entry?.value
    this.#entries.delete(key)
    return undefined
  }

  /** Keeps a copy: what is received lies in memory together with what others sent. */
  set(key: string, value: Buffer, expires = Infinity): void {
    this.#entries.set(key, { value: Buffer.from(value), expires })
  }

  delete(key: string): boolean {
    return this.get(key) !== undefined && this.#entries.delete(key)
  }

  /** Another value until the same time. */
  replace(key: string, value: Buffer): void {
    this.set(key, value, this.#entries.get(key)?.expires)
  }

  /** Removes what has expired, from so many entries on from where the last call ended. */
  *sweeps(count: number): Generator<void, never> {
    for (;;) {
      let left = count
      for (const [key, { expires }] of this.#entries) {
        if (expires <= Date.now()) this.#entries.delete(key)
        if (--left > 0) continue
        left = count
        yield
      }
      yield
    }
  }
}

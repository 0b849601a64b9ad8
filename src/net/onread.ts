/**
 * The `onread` option of a socket: what is received is put into the program's own buffer, and a callback is
 * told. Owns what was received and does not fit yet.
 */

/** As `node:net` has it. */
export interface OnReadOptions {
  readonly buffer: Uint8Array | (() => Uint8Array)
  readonly callback: (bytes: number, buffer: Uint8Array) => boolean | void
}

/** The option, if it is one; as in Node, others are ignored. */
export function onReadOptions(value: unknown): OnReadOptions | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { buffer, callback } = value as { buffer?: unknown, callback?: unknown }
  if (typeof callback !== 'function') return undefined
  return buffer instanceof Uint8Array || typeof buffer === 'function' ? value as OnReadOptions : undefined
}

export class OnRead {
  readonly #options: OnReadOptions
  #buffer: Uint8Array
  #held: Uint8Array[] = []
  #stopped = false

  constructor(options: OnReadOptions) {
    this.#options = options
    this.#buffer = typeof options.buffer === 'function' ? options.buffer() : options.buffer
  }

  /** Whether something is kept for later. */
  get holds(): boolean {
    return this.#held.length > 0
  }

  get stopped(): boolean {
    return this.#stopped
  }

  stop(): void {
    this.#stopped = true
  }

  /** Takes what was received; false if no more is wanted. */
  take(data: Uint8Array): boolean {
    this.#held.push(data)
    return this.#drain()
  }

  /** Goes on; false if no more is wanted, again. */
  resume(): boolean {
    this.#stopped = false
    return this.#drain()
  }

  #drain(): boolean {
    while (!this.#stopped && this.#held.length > 0) {
      const data = this.#held[0]
      const length = Math.min(data.length, this.#buffer.length)
      this.#buffer.set(data.subarray(0, length))
      if (length === data.length) this.#held.shift()
      else this.#held[0] = data.subarray(length)
      const full = this.#buffer
      if (this.#options.callback(length, full) === false) this.#stopped = true
      if (typeof this.#options.buffer === 'function') this.#buffer = this.#options.buffer()
    }
    return !this.#stopped
  }
}

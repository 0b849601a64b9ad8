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
  /** The program wants no more at present. */
  stopped = false
  /** For the socket's use: whether it is to go on in a moment. */
  waits = false
  readonly #socket: object
  readonly #options: OnReadOptions
  #buffer: Uint8Array
  readonly #unread: Uint8Array[] = []

  /** @param socket what `this` is in the program's callback */
  constructor(socket: object, options: OnReadOptions) {
    this.#socket = socket
    this.#options = options
    this.#buffer = typeof options.buffer === 'function' ? options.buffer() : options.buffer
  }

  /** Whether something was received that the program has not got yet. */
  get hasUnread(): boolean {
    return this.#unread.length > 0
  }

  /** Keeps what was received until `next`. */
  keep(data: Uint8Array): void {
    this.#unread.push(data)
  }

  /** Calls the program with as much as its buffer takes. Returns how many bytes that were. */
  next(): number {
    const [data] = this.#unread
    const buffer = this.#buffer
    const length = Math.min(data.length, buffer.length)
    buffer.set(data.subarray(0, length))
    if (length === data.length) this.#unread.shift()
    else this.#unread[0] = data.subarray(length)
    if (this.#options.callback.call(this.#socket, length, buffer) === false) this.stopped = true
    if (typeof this.#options.buffer === 'function') this.#buffer = this.#options.buffer()
    return length
  }
}

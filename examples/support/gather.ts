/**
 * Bytes that come in pieces and are wanted together. Each is copied, and not kept with the piece that it
 * came in: a client that sends byte by byte would make a server keep an object, and the memory that it was
 * received in, for each. Adding costs the same however much is there.
 */
const LEAST = 256
const NOTHING = Buffer.alloc(0)

export class Gather {
  #memory: Buffer = NOTHING
  length = 0

  add(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const length = this.length + bytes.length
    if (length > this.#memory.length) {
      const memory = Buffer.allocUnsafeSlow(Math.max(LEAST, 2 * this.#memory.length, length))
      memory.set(this.#memory.subarray(0, this.length))
      this.#memory = memory
    }
    this.#memory.set(bytes, this.length)
    this.length = length
  }

  /** What is there, until the next call. */
  get bytes(): Buffer {
    return this.#memory.subarray(0, this.length)
  }

  /** Nothing is there any more; views of what was stay as they are. */
  forget(): void {
    this.#memory = NOTHING
    this.length = 0
  }

  /** What is there, for whoever asks; then nothing is. */
  take(): Buffer {
    if (this.length === 0) return NOTHING
    let { bytes } = this
    // Nobody is to see what was in the rest of the memory before.
    if (bytes.length < this.#memory.length) {
      bytes = Buffer.allocUnsafeSlow(this.length)
      bytes.set(this.bytes)
    }
    this.forget()
    return bytes
  }
}

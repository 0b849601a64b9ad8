/**
 * Numbers and byte strings in packets: written one after another, and read back with every bound checked. Owns the
 * representation of numbers: seven bits a byte, the lowest first, up to 2^53 - 1.
 */

/** A packet isn't what it should be: its sender has another version, or means harm. */
export class MalformedPacket extends Error {
  readonly code = 'EPROTO'
}

/** Up to here, to copy bytes one by one is faster than to make the views that a copy of all at once needs. */
export const FEW_BYTES = 128

/** The most bytes that a number takes. */
const NUMBER_MAX = 8
const CONTINUES = 0x80

/** How many bytes a number takes. */
export function sizeOf(number: number): number {
  let size = 1
  for (let rest = number; rest >= CONTINUES; rest = Math.floor(rest / CONTINUES)) size++
  return size
}

/** Writes a number. @returns where it ends */
export function putNumber(bytes: Uint8Array, offset: number, number: number): number {
  let at = offset
  let rest = number
  while (rest >= CONTINUES) {
    bytes[at++] = (rest % CONTINUES) | CONTINUES
    rest = Math.floor(rest / CONTINUES)
  }
  bytes[at++] = rest
  return at
}

/** Numbers, one after another. */
export function numbers(...values: readonly number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.reduce((sum, value) => sum + sizeOf(value), 0))
  let at = 0
  for (const value of values) at = putNumber(bytes, at, value)
  return bytes
}

/** Reads what was written so. @throws MalformedPacket for what was not */
export class Reader {
  #at = 0

  /** How many bytes have been read. */
  get at(): number {
    return this.#at
  }

  constructor(readonly bytes: Uint8Array) {}

  get done(): boolean {
    return this.#at >= this.bytes.length
  }

  byte(): number {
    if (this.done) throw new MalformedPacket('a packet ends too early')
    return this.bytes[this.#at++]
  }

  number(): number {
    let number = 0
    let factor = 1
    for (let i = 0; i < NUMBER_MAX; i++) {
      const byte = this.byte()
      number += (byte % CONTINUES) * factor
      if (byte < CONTINUES) {
        if (number > Number.MAX_SAFE_INTEGER) break
        return number
      }
      factor *= CONTINUES
    }
    throw new MalformedPacket('a number in a packet is too large')
  }

  /** The next bytes, where they are. */
  take(count: number): Uint8Array {
    if (count > this.bytes.length - this.#at) throw new MalformedPacket('a packet ends too early')
    return this.bytes.subarray(this.#at, this.#at += count)
  }

  /** Goes on after so many. */
  skip(count: number): void {
    if (count > this.bytes.length - this.#at) throw new MalformedPacket('a packet ends too early')
    this.#at += count
  }

  rest(): Uint8Array {
    return this.take(this.bytes.length - this.#at)
  }
}

/**
 * What came on a connection and has not been delivered: taken from it as bytes or as lines.
 *
 * A line ends with LF, CR or CRLF. The begin of one whose end has not come is copied into a buffer that
 * grows, so that it makes no difference in how many pieces it comes: each byte is looked at once and copied
 * a few times at most, and no piece is kept.
 *
 * Invariants: `waiting` is the sum of what can still be taken; an LF that belongs to a CR before it is never
 * among that; the memory for the begin of a line is at most twice `maxLineLength`, for a moment, while it
 * grows.
 */
import { isolated, isolatedFromNode } from '../transport/seam/buffers-option.js'

const LF = 10
const CR = 13
/** Least bytes for the begin of a line. */
const BEGIN_MIN = 64

const NOTHING = Buffer.alloc(0)

export class TcpInput {
  /** Bytes that came and were not taken. */
  waiting = 0

  /** Pieces as they came, from `#first` on; of the first one the bytes from `#at` on. */
  #chunks: Buffer[] = []
  #first = 0
  #at = 0
  /** Where the first chunk's next LF and CR are: its length if there is none, -1 if nobody has looked. */
  #lf = -1
  #cr = -1
  /** The last line ended with CR: an LF that follows belongs to it. */
  #skipLF = false
  /** The begin of a line, of which so many bytes are used. */
  #begin = NOTHING
  #begun = 0

  /** @param isolates whether each result is to be in an ArrayBuffer of its own */
  constructor(readonly maxLineLength: number, readonly isolates: boolean) {}

  /** Whether what comes next would be all there is, as it is: then it needn't come in here. */
  get passes(): boolean {
    return this.waiting === 0 && !this.#skipLF
  }

  add(data: Buffer): void {
    this.#chunks.push(data)
    this.waiting += data.length
    this.#dropLF()
  }

  /** Makes copies of what is still in memory that is about to be received into again. */
  keep(): void {
    for (let i = this.#first; i < this.#chunks.length; i++) {
      const at = i === this.#first ? this.#at : 0
      this.#chunks[i] = isolated(this.#chunks[i].subarray(at))
    }
    this.#atStart()
  }

  /** What is there is bytes from now on, also the begin of a line. */
  forgetLines(): void {
    if (this.#begun === 0) return
    this.#chunks = [this.#takeBegin(), ...this.#rest()]
    this.#first = 0
    this.#atStart()
  }

  /** Some of what is there, at most as much; undefined if there is nothing. */
  takeBytes(most: number): Buffer | undefined {
    if (this.waiting === 0) return undefined
    const chunk = this.#chunks[this.#first]
    const end = Math.min(chunk.length, this.#at + most)
    const piece = this.#at === 0 && end === chunk.length ? chunk : chunk.subarray(this.#at, end)
    this.#drop(piece.length)
    return this.isolates ? isolatedFromNode(piece) : piece
  }

  /**
   * The next line, without its end; undefined if it isn't there.
   *
   * @throws RangeError when it is longer than allowed, or there is no memory for it
   */
  takeLine(): Buffer | undefined {
    while (this.#first < this.#chunks.length) {
      const chunk = this.#chunks[this.#first]
      const end = this.#findEnd(chunk)
      const length = end - this.#at
      if (this.#begun + length > this.maxLineLength) {
        throw new RangeError(`a line is longer than ${this.maxLineLength} bytes`)
      }
      if (end < chunk.length) return this.#line(chunk, end)
      this.#append(chunk.subarray(this.#at))
      this.waiting += length
      this.#drop(length)
    }
    return undefined
  }

  /** What is left of a line that has no end, as the input has ended; undefined if nothing is. */
  takeLast(): Buffer | undefined {
    if (this.#begun === 0) return undefined
    this.waiting -= this.#begun
    return this.#takeBegin()
  }

  /** Where the first chunk's next line end is; its length if it has none. */
  #findEnd(chunk: Buffer): number {
    if (this.#lf < this.#at) this.#lf = this.#find(chunk, LF)
    if (this.#cr < this.#at) this.#cr = this.#find(chunk, CR)
    return Math.min(this.#lf, this.#cr)
  }

  #find(chunk: Buffer, byte: number): number {
    const found = chunk.indexOf(byte, this.#at)
    return found < 0 ? chunk.length : found
  }

  #line(chunk: Buffer, end: number): Buffer {
    let line: Buffer
    const view = chunk.subarray(this.#at, end)
    if (this.#begun > 0) {
      this.#append(view)
      this.waiting -= this.#begun - view.length
      line = this.#takeBegin()
    } else if (view.length === 0) {
      line = Buffer.alloc(0)
    } else {
      line = this.isolates ? isolatedFromNode(view) : view
    }
    this.#skipLF = chunk[end] === CR
    this.#drop(view.length + 1)
    this.#dropLF()
    return line
  }

  /** Bytes of the first chunk are no longer there. */
  #drop(length: number): void {
    this.waiting -= length
    this.#at += length
    if (this.#at < this.#chunks[this.#first].length) return
    this.#atStart()
    this.#first++
    // Those that are over are let go of together: one by one, each would move all that follow.
    if (this.#first * 2 < this.#chunks.length) {
      this.#chunks[this.#first - 1] = NOTHING
      return
    }
    if (this.#chunks.length === 1) this.#chunks.pop()
    else this.#chunks = this.#rest()
    this.#first = 0
  }

  #atStart(): void {
    this.#at = 0
    this.#lf = -1
    this.#cr = -1
  }

  #rest(): Buffer[] {
    const rest = this.#first < this.#chunks.length ? this.#chunks.slice(this.#first) : []
    if (rest.length > 0 && this.#at > 0) rest[0] = rest[0].subarray(this.#at)
    return rest
  }

  #dropLF(): void {
    if (!this.#skipLF || this.#first === this.#chunks.length) return
    this.#skipLF = false
    if (this.#chunks[this.#first][this.#at] === LF) this.#drop(1)
  }

  #append(bytes: Uint8Array): void {
    const length = this.#begun + bytes.length
    if (length > this.#begin.length) {
      const size = Math.max(BEGIN_MIN, Math.min(2 * this.#begin.length, this.maxLineLength), length)
      const begin = Buffer.allocUnsafeSlow(size)
      begin.set(this.#begin.subarray(0, this.#begun))
      this.#begin = begin
    }
    this.#begin.set(bytes, this.#begun)
    this.#begun = length
  }

  /** A copy that is exactly as long: nobody is to see what was in the rest of the memory before. */
  #takeBegin(): Buffer {
    const begin = this.#begin.subarray(0, this.#begun)
    const whole = begin.length === this.#begin.length ? begin : isolated(begin)
    this.#begin = NOTHING
    this.#begun = 0
    return whole
  }
}

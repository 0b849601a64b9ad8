/**
 * What came on a connection and has not been delivered: taken from it as bytes or as frames.
 *
 * Where a frame ends is known from the transport (`addFrames`), or found here. The begin of one whose end has not come
 * is copied into a buffer that grows, so that it makes no difference in how many pieces it comes: each byte is looked
 * at a bounded number of times and copied a few times at most, and no piece is kept.
 *
 * Invariants: `waiting` is the sum of what can still be taken; an LF that belongs to a CR before it is never
 * among that; the memory for the begin of a frame is at most twice what a frame may have, for a moment, while it
 * grows; the memory of what is handed out holds nothing but what came on this connection.
 */
import { isolated, isolatedFromNode } from '../transport/seam/buffers-option.js'
import { FrameScanner, type FrameRule } from '../transport/seam/framing.js'
import { lostInputError } from '../transport/seam/queue-limits.js'

const LF = 10
const CR = 13
/** Least bytes for the begin of a frame. */
const BEGIN_MIN = 64
/** So many ends that are over are let go of together. */
const ENDS_MIN = 1024

const NOTHING = Buffer.alloc(0)
const NO_ENDS: readonly number[] = []

export class TcpInput {
  /** Bytes that came and were not taken. */
  waiting = 0

  /** Pieces as they came, from `#first` on; of the first one the bytes from `#at` on. */
  #chunks: Buffer[] = []
  #first = 0
  #at = 0
  /** The last line ended with CR: an LF that follows belongs to it. */
  #skipLF = false
  #frames: Frames | undefined = undefined

  /** @param isolates whether each result is to be in an ArrayBuffer of its own */
  constructor(readonly isolates: boolean) {}

  /** Whether what comes next would be all there is, as it is: then it needn't come in here. */
  get passes(): boolean {
    return this.waiting === 0 && !this.#skipLF
  }

  /** Bytes of which nobody has said where their frames end. */
  add(data: Buffer): void {
    this.#frames?.unknown()
    this.#add(data)
  }

  /**
   * Bytes in which it is known where frames end. What was there before is all looked at, and is at most the begin
   * of a frame.
   *
   * @param ends offsets in these bytes; none: all of them belong to one frame that goes on
   */
  addFrames(data: Buffer, ends: ArrayLike<number>): void {
    this.#frames?.known(ends)
    this.#add(data)
  }

  /**
   * The same of bytes that are one whole frame: gives it as `takeFrame` would if nothing waits before it, or else
   * undefined, and then they are not added.
   */
  frameAlone(bytes: Uint8Array, start: number, end: number): Buffer | undefined {
    const frames = this.#frames
    if (frames === undefined || this.waiting > 0 || this.#skipLF) return undefined
    if (bytes.length === 0) throw lostInputError()
    frames.known(NO_ENDS)
    const { rule } = frames
    const from = start + rule.headOf(bytes, start)
    const to = end - rule.tailOf(bytes, start, end)
    if (rule.kind === 'lines') this.#skipLF = bytes[end - 1] === CR
    if (from === to) return Buffer.alloc(0)
    const view = Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from)
    return this.isolates ? isolatedFromNode(view) : view
  }

  #add(data: Buffer): void {
    this.#chunks.push(data)
    this.waiting += data.length
    if (this.#frames !== undefined) this.#frames.arrived += data.length
    this.#dropLF()
  }

  /** Makes copies of what is still in memory that is about to be received into again. */
  keep(): void {
    for (let i = this.#first; i < this.#chunks.length; i++) {
      const at = i === this.#first ? this.#at : 0
      this.#chunks[i] = isolated(this.#chunks[i].subarray(at))
    }
    this.#toStart()
  }

  /** What is there is cut in another way from now on, also the begin of a frame. Undefined: it is bytes. */
  cutBy(rule: FrameRule | undefined): void {
    this.#putBack()
    this.#frames = rule === undefined ? undefined : new Frames(rule, this.waiting)
  }

  /** A search that has looked at all there is, if there is one that another one can go on from. */
  get movable(): FrameScanner | undefined {
    const frames = this.#frames
    if (frames === undefined || frames.areKnown || frames.hasToLookAgain) return undefined
    if (this.#first < this.#chunks.length) return undefined
    const { scanner } = frames
    // It would be the next frame's.
    if (this.#skipLF && scanner.rule.kind !== 'lines') return undefined
    return scanner.canMove ? scanner : undefined
  }

  /** Whether the frame before ended with CR, so that an LF that comes next belongs to it. */
  get skipsLF(): boolean {
    return this.#skipLF
  }

  /** Some of what is there, at most as much; undefined if there is nothing. */
  takeBytes(most: number): Buffer | undefined {
    if (this.waiting === 0) return undefined
    const chunk = this.#chunks[this.#first]
    if (chunk.length === 0) throw lostInputError()
    const end = Math.min(chunk.length, this.#at + most)
    const piece = this.#at === 0 && end === chunk.length ? chunk : chunk.subarray(this.#at, end)
    this.#drop(piece.length)
    return this.isolates ? isolatedFromNode(piece) : piece
  }

  /**
   * Whether there is a whole frame.
   *
   * @throws SocketError when there is none and can't be, or it is longer than allowed
   */
  hasFrame(): boolean {
    const frames = this.#frames as Frames
    if (frames.end >= 0) return true
    for (;;) {
      if (frames.hasToLookAgain) {
        this.#putBack()
        frames.lookAgain()
      }
      if (this.#first === this.#chunks.length) return false
      const chunk = this.#chunks[this.#first]
      if (chunk.length === 0) throw lostInputError()
      const end = frames.endIn(chunk, this.#at)
      if (end >= 0) {
        frames.end = end
        return true
      }
      const length = chunk.length - this.#at
      frames.append(chunk.subarray(this.#at))
      this.waiting += length
      this.#drop(length)
    }
  }

  /**
   * The next frame as the program is to get it; undefined if it isn't there.
   *
   * @throws SocketError as `hasFrame`; RangeError when there is no memory for it
   */
  takeFrame(): Buffer | undefined {
    if (!this.hasFrame()) return undefined
    const frames = this.#frames as Frames
    const { rule, end, begun } = frames
    const chunk = this.#chunks[this.#first]
    const at = this.#at
    let frame: Buffer
    if (begun === 0) {
      const from = at + rule.headOf(chunk, at)
      const to = end - rule.tailOf(chunk, at, end)
      const view = from === to ? Buffer.alloc(0) : chunk.subarray(from, to)
      frame = this.isolates ? isolatedFromNode(view) : view
    } else {
      frames.append(chunk.subarray(at, end))
      const whole = frames.takeBegin()
      frame = isolated(whole.subarray(rule.headOf(whole, 0), whole.length - rule.tailOf(whole, 0, whole.length)))
      this.waiting -= begun
    }
    const endsWithCR = rule.kind === 'lines' && chunk[end - 1] === CR
    frames.taken()
    this.#drop(end - at)
    this.#skipLF = endsWithCR
    this.#dropLF()
    return frame
  }

  /** What is left of a frame that has no end, as the input has ended; undefined if nothing is. */
  takeLast(): Buffer | undefined {
    const frames = this.#frames
    if (frames === undefined || frames.begun === 0) return undefined
    this.waiting -= frames.begun
    return isolated(frames.takeBegin())
  }

  /** Bytes of the first chunk are no longer there. */
  #drop(length: number): void {
    this.waiting -= length
    if (this.#frames !== undefined) this.#frames.position += length
    this.#at += length
    if (this.#at < this.#chunks[this.#first].length) return
    this.#toStart()
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

  #toStart(): void {
    if (this.#frames !== undefined) {
      // It is an offset in the first chunk.
      if (this.#frames.end >= 0) this.#frames.end -= this.#at
      this.#frames.scanner.newPiece()
    }
    this.#at = 0
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

  /** The begin of a frame is the first chunk again. */
  #putBack(): void {
    const frames = this.#frames
    if (frames === undefined || frames.begun === 0) return
    const { begun } = frames
    this.#chunks = [isolated(frames.takeBegin()), ...this.#rest()]
    frames.position -= begun
    this.#first = 0
    this.#at = 0
    frames.scanner.newPiece()
  }
}

/** How far the search for frames has come. Positions count bytes from when it began. */
class Frames {
  readonly scanner: FrameScanner
  /** Where the next byte is that can be taken, and the end of all that came. */
  position = 0
  arrived: number
  /** Where the next frame ends, in the first chunk; -1 if that isn't known. */
  end = -1
  /** So many bytes of the begin of a frame are in `#begin`. */
  begun = 0
  #begin = NOTHING
  /** Whether what came last was told with its ends. */
  areKnown = false
  /** Nobody has looked here for the end of what has begun, as it was to be told. */
  #unseen = false
  /** Positions of ends that were told, from `#next` on. */
  #ends: number[] = []
  #next = 0

  constructor(readonly rule: FrameRule, waiting: number) {
    this.scanner = new FrameScanner(rule)
    this.arrived = waiting
  }

  known(ends: ArrayLike<number>): void {
    this.areKnown = true
    this.#unseen = true
    for (let i = 0; i < ends.length; i++) this.#ends.push(this.arrived + ends[i])
  }

  unknown(): void {
    this.areKnown = false
  }

  /** What has begun after the last end that was told has to be looked at here, from its begin on. */
  get hasToLookAgain(): boolean {
    return this.#unseen && !this.areKnown && this.#next === this.#ends.length
  }

  lookAgain(): void {
    this.#unseen = false
    this.scanner.reset()
  }

  /** Where the frame at hand ends in this chunk, or -1: it has all of it. */
  endIn(chunk: Buffer, at: number): number {
    if (this.#next < this.#ends.length) {
      const end = at + this.#ends[this.#next] - this.position
      return end <= chunk.length ? end : -1
    }
    return this.areKnown ? -1 : this.scanner.scan(chunk, at)
  }

  /** The frame at hand was taken. */
  taken(): void {
    this.end = -1
    if (this.#next === this.#ends.length) return
    this.#next++
    if (this.#next === this.#ends.length) {
      this.#ends = []
      this.#next = 0
    } else if (this.#next >= ENDS_MIN && this.#next * 2 > this.#ends.length) {
      this.#ends = this.#ends.slice(this.#next)
      this.#next = 0
    }
  }

  append(bytes: Uint8Array): void {
    const length = this.begun + bytes.length
    if (length > this.#begin.length) {
      const size = Math.max(BEGIN_MIN, Math.min(2 * this.#begin.length, this.rule.wholeMax), length)
      const begin = Buffer.allocUnsafeSlow(size)
      begin.set(this.#begin.subarray(0, this.begun))
      this.#begin = begin
    }
    this.#begin.set(bytes, this.begun)
    this.begun = length
  }

  /** To be copied from: there is more in its memory. */
  takeBegin(): Buffer {
    const begin = this.#begin.subarray(0, this.begun)
    this.#begin = NOTHING
    this.begun = 0
    return begin
  }
}

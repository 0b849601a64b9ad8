/**
 * What came on a connection faster than it may: it waits here, and is handed on at the connection's rate.
 *
 * Invariants: every byte is handed on, in order, or the connection has been closed by the program; at most the rate's
 * burst is handed on at once.
 */
import { clearInterval, performance, setInterval } from '../../support/real-time.js'
import { TokenBucket } from '../seam/admission.js'
import type { Rate } from '../seam/limits.js'

/** Milliseconds for which a connection that has had its rate is not read from, as the engine has it. */
const PAUSE = 50

/** The connection that it is of. */
interface Paced {
  /** Whether it wants input now, but for its rate. */
  readonly takesInput: boolean
  handOn(data: Buffer): void
  /** It has had its rate, or may have more. */
  slow(on: boolean): void
  /** All that came was handed on, after `end`. */
  ended(): void
}

export class Pace {
  readonly #rate: Rate
  readonly #to: Paced
  readonly #bucket: TokenBucket
  #waiting: Buffer[] = []
  #ended = false
  #timer: NodeJS.Timeout | undefined

  constructor(rate: Rate, to: Paced) {
    this.#rate = rate
    this.#to = to
    this.#bucket = new TokenBucket(rate, performance.now())
  }

  add(data: Buffer): void {
    this.#waiting.push(data)
    if (this.#timer === undefined) this.#go()
  }

  /** The peer has sent all. */
  end(): void {
    this.#ended = true
    if (this.#waiting.length === 0) this.#to.ended()
  }

  /** What waits is handed on now: the connection is gone. */
  finish(): void {
    this.stop()
    const waiting = this.#waiting
    this.#waiting = []
    for (const data of waiting) this.#to.handOn(data)
    if (this.#ended && waiting.length > 0) this.#to.ended()
  }

  /** Nobody wants it any more. */
  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #go(): void {
    while (this.#waiting.length > 0 && this.#to.takesInput) {
      const most = this.#bucket.available(this.#rate, performance.now())
      if (most === 0) break
      const [data] = this.#waiting
      const part = data.subarray(0, most)
      this.#bucket.take(part.length)
      if (part.length === data.length) this.#waiting.shift()
      else this.#waiting[0] = data.subarray(most)
      this.#to.handOn(part)
    }
    if (this.#waiting.length > 0) {
      if (this.#timer !== undefined) return
      this.#timer = setInterval(() => { this.#go() }, PAUSE).unref()
      this.#to.slow(true)
    } else if (this.#timer !== undefined) {
      this.stop()
      if (this.#ended) this.#to.ended()
      this.#to.slow(false)
    }
  }
}

/**
 * Tells of connections that are refused in JavaScript as the engine tells of its own: the first at once, those that
 * follow within a second together.
 *
 * Invariant: the sum of what was told and of what waits is what was counted.
 */
import { clearTimeout, performance, setTimeout } from '../../support/real-time.js'
import type { SocketAddress } from '../../support/socket-error.js'
import type { LimitName } from './limits.js'
import type { Dropped } from './transport.js'

/** Milliseconds between two reports, as the engine has it. */
const PAUSE = 1000

export class DropReport {
  readonly #tell: (dropped: Dropped) => void
  #count = 0
  #limits: Partial<Record<LimitName, number>> = {}
  #remote: SocketAddress | undefined
  #next = -Infinity
  #timer: NodeJS.Timeout | undefined

  constructor(tell: (dropped: Dropped) => void) {
    this.#tell = tell
  }

  add(limit: LimitName, remote: SocketAddress): void {
    this.#count++
    this.#limits[limit] = (this.#limits[limit] ?? 0) + 1
    this.#remote = remote
    if (this.#timer !== undefined) return
    const left = this.#next - performance.now()
    if (left <= 0) this.#report()
    else this.#timer = setTimeout(() => { this.#report() }, left).unref()
  }

  /** Nothing is told any more. */
  close(): void {
    clearTimeout(this.#timer)
  }

  #report(): void {
    this.#timer = undefined
    this.#next = performance.now() + PAUSE
    const dropped = { count: this.#count, limits: this.#limits, remote: this.#remote as SocketAddress }
    this.#count = 0
    this.#limits = {}
    this.#tell(dropped)
  }
}

/**
 * The time-outs of all sockets of a thread: one queue and one timer of Node's.
 *
 * Activity costs next to nothing: it is only noted when the socket was last active. When the time-out is due, and that
 * was less than its time ago, it is set again for the rest. Nothing here keeps the process alive.
 *
 * Invariants: a time-out has at most one entry that counts, `#entry`; the timer is set for the first entry, or
 * earlier.
 */
import { AsyncResource } from 'node:async_hooks'
import TinyQueue from 'tinyqueue'
import { clearTimeout, performance, setTimeout } from '../support/real-time.js'
import { netEngine } from './engine.js'

interface TimeoutEntry {
  at: number
  /** Nobody, if it does not count any more. */
  owner: IdleTimeout | undefined
}

const inOrder = (a: TimeoutEntry, b: TimeoutEntry): number => a.at - b.at
let queue = new TinyQueue<TimeoutEntry>([], inOrder)
/** Entries that do not count any more: they are taken out when there are as many as others. */
let dead = 0
let timer: NodeJS.Timeout | undefined
let timerAt = Infinity

function arm(): void {
  const first = queue.peek()
  if (first === undefined || first.at >= timerAt) return
  clearTimeout(timer)
  timerAt = first.at
  timer = setTimeout(expire, Math.max(1, Math.ceil(first.at - performance.now()))).unref()
}

function expire(): void {
  timerAt = Infinity
  const now = performance.now()
  netEngine().now = now
  try {
    for (let first = queue.peek(); first !== undefined && first.at <= now; first = queue.peek()) {
      queue.pop()
      if (first.owner === undefined) dead--
      else first.owner.comeUp(first, now)
    }
  } finally {
    arm()
  }
}

/** The time-out of one socket. */
export class IdleTimeout {
  readonly #moves: () => boolean
  readonly #expired: () => void
  /** Milliseconds. */
  #limit = 0
  /** When the socket was last active, as `performance.now`. */
  #active = 0
  #entry: TimeoutEntry | undefined = undefined
  /** The async context of 'timeout': that of `setTimeout`. */
  #resource: AsyncResource | undefined = undefined

  /**
   * @param moves whether the peer takes what was written, however slowly: that is no silence
   * @param expired called when the time is over
   */
  constructor(moves: () => boolean, expired: () => void) {
    this.#moves = moves
    this.#expired = expired
  }

  /** It counts from now on. @param limit milliseconds, more than 0 */
  start(limit: number): void {
    this.#limit = limit
    this.#active = performance.now()
    this.#resource?.emitDestroy()
    this.#resource = new AsyncResource('Timeout', { requireManualDestroy: true })
    this.#queue()
    // Also what was written before may take long.
    this.#moves()
  }

  /** The socket is active. @param now as `performance.now` */
  touch(now: number): void {
    this.#active = now
    // It has come up, and counts anew.
    if (this.#entry === undefined) this.#queue()
  }

  /** It counts no more; nothing here refers to it any more. */
  stop(): void {
    this.#forget()
    this.#resource?.emitDestroy()
    this.#resource = undefined
  }

  /** Its entry is due. */
  comeUp(entry: TimeoutEntry, now: number): void {
    this.#entry = undefined
    const at = this.#active + this.#limit
    if (at > now) {
      entry.at = at
      this.#entry = entry
      queue.push(entry)
    } else if (this.#moves()) {
      this.touch(performance.now())
    } else {
      this.#resource?.runInAsyncScope(this.#expired)
    }
  }

  #queue(): void {
    const at = this.#active + this.#limit
    // An earlier entry finds out by itself.
    if (this.#entry !== undefined && this.#entry.at <= at) return
    this.#forget()
    this.#entry = { at, owner: this }
    queue.push(this.#entry)
    arm()
  }

  #forget(): void {
    if (this.#entry === undefined) return
    this.#entry.owner = undefined
    this.#entry = undefined
    if (++dead * 2 > queue.length) sweep()
  }
}

/** Costs as much as the entries that it takes out have cost. */
function sweep(): void {
  queue = new TinyQueue(queue.data.filter((entry) => entry.owner !== undefined), inOrder)
  dead = 0
  if (queue.length > 0) return
  clearTimeout(timer)
  timer = undefined
  timerAt = Infinity
}

/** How many entries there are, with those that do not count any more. @internal */
export const timeoutEntries = (): number => queue.length

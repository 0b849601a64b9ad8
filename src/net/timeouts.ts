/**
 * The time-outs of all sockets of a thread: one queue and one timer of Node's.
 *
 * Activity costs nothing here: a socket notes when it was last active, and a time-out that comes up is put
 * off if that is less than its time ago. Nothing here keeps the process alive.
 *
 * Invariants: a socket has at most one entry that counts, `socket.entry`; the timer is set for the first
 * entry, or earlier.
 */
import TinyQueue from 'tinyqueue'
import { netEngine } from './engine.js'

/** What has a time-out. */
export interface Expiring {
  /** Milliseconds; 0 for none. */
  readonly limit: number
  /** When it was last active, as `NetEngine.now`. */
  readonly active: number
  /** For this file's use. */
  entry: TimeoutEntry | undefined
  expired(): void
}

export interface TimeoutEntry {
  at: number
  /** Nobody, if it does not count any more. */
  owner: Expiring | undefined
}

const queue = new TinyQueue<TimeoutEntry>([], (a, b) => a.at - b.at)
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
      if (first.owner !== undefined) comeUp(first, first.owner, now)
    }
  } finally {
    arm()
  }
}

function comeUp(entry: TimeoutEntry, owner: Expiring, now: number): void {
  owner.entry = undefined
  if (owner.limit === 0) return
  const at = owner.active + owner.limit
  if (at <= now) {
    owner.expired()
    return
  }
  entry.at = at
  owner.entry = entry
  queue.push(entry)
}

/** The limit of `owner` is new, and counts from now on. */
export function startTimeout(owner: Expiring): void {
  const at = owner.active + owner.limit
  // An earlier entry finds out by itself.
  if (owner.entry !== undefined && owner.entry.at <= at) return
  stopTimeout(owner)
  owner.entry = { at, owner }
  queue.push(owner.entry)
  arm()
}

/** It is gone; nothing here refers to it any more. */
export function stopTimeout(owner: Expiring): void {
  if (owner.entry === undefined) return
  owner.entry.owner = undefined
  owner.entry = undefined
}

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
import { clearTimeout, performance, setTimeout } from '../support/real-time.js'
import { netEngine } from './engine.js'

/** What has a time-out. */
export interface Expiring {
  /** Milliseconds; 0 for none. */
  readonly _nativeLimit: number
  /** When it was last active, as `NetEngine.now`. */
  readonly _nativeActive: number
  /** For this file's use. */
  _nativeEntry: TimeoutEntry | undefined
  _nativeExpired(): void
}

export interface TimeoutEntry {
  at: number
  /** Nobody, if it does not count any more. */
  owner: Expiring | undefined
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
      else comeUp(first, first.owner, now)
    }
  } finally {
    arm()
  }
}

function comeUp(entry: TimeoutEntry, owner: Expiring, now: number): void {
  owner._nativeEntry = undefined
  if (owner._nativeLimit === 0) return
  const at = owner._nativeActive + owner._nativeLimit
  if (at <= now) {
    owner._nativeExpired()
    return
  }
  entry.at = at
  owner._nativeEntry = entry
  queue.push(entry)
}

/** The limit of `owner` is new, and counts from now on. */
export function startTimeout(owner: Expiring): void {
  const at = owner._nativeActive + owner._nativeLimit
  // An earlier entry finds out by itself.
  if (owner._nativeEntry !== undefined && owner._nativeEntry.at <= at) return
  stopTimeout(owner)
  owner._nativeEntry = { at, owner }
  queue.push(owner._nativeEntry)
  arm()
}

/** It is gone; nothing here refers to it any more. */
export function stopTimeout(owner: Expiring): void {
  if (owner._nativeEntry === undefined) return
  owner._nativeEntry.owner = undefined
  owner._nativeEntry = undefined
  if (++dead * 2 > queue.length) sweep()
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

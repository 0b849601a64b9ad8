/**
 * Numbers for the timers of relays, so that no two pending ones have one label, whichever relays they are
 * of: relays may have been given one id, and a relay may have gone before its timers.
 *
 * An id's numbers start from 0 again when all of them have been told of. Numbers of ids whose timers have
 * stayed untold are kept for so many ids; all others go on from the highest number that was dropped.
 */
import { mapKey } from '../topic/index.js'

const IDS_MAX = 1024

interface Numbers {
  next: number
  pending: number
}

const byId = new Map<unknown, Numbers>()
let floor = 0

/** The number of a timer that is about to be set. */
export function takeNumber(id: unknown): number {
  const key = mapKey(id)
  let numbers = byId.get(key)
  if (numbers === undefined) {
    byId.set(key, (numbers = { next: floor, pending: 0 }))
    if (byId.size > IDS_MAX) {
      const [[oldest, { next }]] = byId
      byId.delete(oldest)
      floor = Math.max(floor, next)
    }
  }
  numbers.pending++
  return numbers.next++
}

/** A timer has expired. One that was cancelled may be on its way: its number doesn't come back. */
export function numberTold(id: unknown): void {
  const key = mapKey(id)
  const numbers = byId.get(key)
  if (numbers !== undefined && --numbers.pending === 0) byId.delete(key)
}

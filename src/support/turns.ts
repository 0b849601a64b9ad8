/**
 * Turns: what runs between two points at which Node has run all ticks and promises.
 *
 * Owns their number, for those who must not tell somebody two things in one turn: whoever waits for an event
 * with a promise is there for the next one only once promises have run.
 */

let number = 0
let isWatched = false

/** A number that stays until ticks have run, and then the promises that were ready by then. */
export function turn(): number {
  if (!isWatched) {
    isWatched = true
    process.nextTick(ticks)
  }
  return number
}

/** The promises that handlers have settled. */
function ticks(): void {
  queueMicrotask(promises)
}

/** A tick that a promise asks for runs when there are no more promises to run. */
function promises(): void {
  process.nextTick(over)
}

function over(): void {
  isWatched = false
  number = (number + 1) & 0x3fffffff
}

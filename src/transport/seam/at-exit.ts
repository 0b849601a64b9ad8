/**
 * What was written in the turn in which the program exits: it is offered to the kernel before the process, or
 * the worker, is gone. Owns the list of those that hold something back until the end of a turn.
 *
 * Invariant: a listener of 'exit' that comes after ours may write, too: from then on nothing is held back.
 */

/** Whether the program exits: nothing may wait any more for the end of a turn. */
export const exit = { begun: false }

const flushes = new Set<() => void>()

function exiting(): void {
  exit.begun = true
  for (const flush of flushes) flush()
}

/** @returns what takes it back */
export function flushAtExit(flush: () => void): () => void {
  if (flushes.size === 0) process.on('exit', exiting)
  flushes.add(flush)
  return () => {
    if (flushes.delete(flush) && flushes.size === 0) process.off('exit', exiting)
  }
}

/**
 * The words of the Float64Array that a transport counts in; the addon does, too. Owns nothing.
 *
 * Made by scripts/layout.mjs from native/layout.mjs: change that.
 */

/** Times are nanoseconds. */
export const Stat = {
  /** Taken by the kernel. */
  bytesOut: 0,
  /** Handed over by the program. */
  chunksOut: 1,
  /** Waiting to be sent at present. */
  queuedBytes: 2,
  /** In system calls and the engine's own work. */
  kernelTime: 3,
  /** In the program, called with a batch. */
  jsTime: 4,
  /** Bytes of full slabs that the program may still see. */
  slabsSpent: 5,
  /** Taken by the kernel. */
  datagramsOut: 6,
  /** Of Node's loop, in which the last turn was. */
  iteration: 7,
  /** How often the next event was waited for awake. */
  spins: 8,
} as const

export const STATS = 9

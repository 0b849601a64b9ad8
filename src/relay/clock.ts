/** Time, as the relay core needs it: of the machine, or of a test. Owns nothing. */
export interface Clock {
  /** Milliseconds, from any time on; never less than before. */
  now(): number
  /** Calls back at equal intervals. @returns what ends that */
  every(msecs: number, callback: () => void): () => void
}

export const realClock: Clock = {
  now: () => performance.now(),
  every: (msecs, callback) => {
    const timer = setInterval(callback, msecs)
    return () => { clearInterval(timer) }
  },
}

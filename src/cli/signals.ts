/**
 * Ctrl-C and its relatives: the first one asks for an orderly end, the next one ends at once.
 */

const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const

/**
 * npm passes on to its scripts the signals that the terminal has already sent to them: one Ctrl-C comes
 * twice. So, below npm, what comes within this time is one signal; people don't press twice that fast.
 */
const MERGE_MILLISECONDS = 250

function isRunByNpm(): boolean {
  const event = process.env['npm_lifecycle_event']
  return event === 'start' || event === 'npx'
}

/** Calls `stop` at the first signal and exits at a second one. Returns what ends the watch. */
export function onStopSignal(stop: (signal: string) => void): () => void {
  const mergeWithin = isRunByNpm() ? MERGE_MILLISECONDS : 0
  let first: number | undefined
  const names = Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]
  const handle = (signal: NodeJS.Signals): void => {
    const now = performance.now()
    if (first === undefined) {
      first = now
      stop(signal)
    } else if (now - first >= mergeWithin) {
      process.exit(SIGNALS[signal as keyof typeof SIGNALS])
    }
  }
  for (const name of names) process.on(name, handle)
  return () => {
    for (const name of names) process.off(name, handle)
  }
}

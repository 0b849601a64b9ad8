/**
 * The package's log: its records are taken through the diagnostics channel, so that nothing is printed.
 * Imported before the package, this also turns the log on, for the life-cycle lines of scenarios 42 and 55.
 */
import { subscribe } from 'node:diagnostics_channel'

process.env['MARKETPLACE_LOG'] = 'debug'

export interface LogLine {
  readonly level: string
  readonly message: string
}

const listeners = new Set<(record: LogLine) => void>()

subscribe('marketplace:log', (record) => {
  for (const listener of listeners) listener(record as LogLine)
})

/** Hands every log record to `listener`, until the returned function is called. */
export function onLog(listener: (record: LogLine) => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

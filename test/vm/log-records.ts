/**
 * Takes the package's log records from its diagnostics channel, so that nothing is printed.
 * Must be imported before the package: the level is read when that is loaded.
 */
import { subscribe } from 'node:diagnostics_channel'

process.env['MARKETPLACE_LOG'] = 'debug'

export interface LogLine {
  readonly level: string
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

const listeners = new Set<(record: LogLine) => void>()

subscribe('marketplace:log', (record) => {
  for (const listener of listeners) listener(record as LogLine)
})

/**
 * Collects log records until `end` is called.
 *
 * @param wanted which of them; what records are about stays in memory with them
 */
export function collectLog(
  wanted: (record: LogLine) => boolean = () => true,
): { readonly records: LogLine[]; readonly end: () => void } {
  const records: LogLine[] = []
  const listener = (record: LogLine): void => {
    if (wanted(record)) records.push(record)
  }
  listeners.add(listener)
  return { records, end: () => void listeners.delete(listener) }
}

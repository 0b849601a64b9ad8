/**
 * The log: `MARKETPLACE_LOG=debug|info|warning|error|fatal|off`, default `warning`, to standard error.
 *
 * Every record that passes the level is also published, structured, on the diagnostics channel
 * `marketplace:log`; with a subscriber there, nothing is printed: the subscriber is the logger.
 * `NODE_DEBUG=marketplace` prints everything, as Node's own parts do, whatever the level.
 * Callers on warm paths ask `logs(level)` first, so that a level that is off costs one comparison.
 */
import { channel } from 'node:diagnostics_channel'
import { debuglog } from 'node:util'
import { isNativeError } from 'node:util/types'
import { safeInspect } from './errors.js'

/** How bad it is. */
export type LogLevel = 'debug' | 'info' | 'warning' | 'error' | 'fatal'

/** What subscribers of `marketplace:log` get. */
export interface LogRecord {
  /** How bad it is. */
  readonly level: LogLevel
  /** What happened, in words. */
  readonly message: string
  /** Milliseconds since 1970. */
  readonly time: number
  /** What the message is about: pid, name, reason, address, ... */
  readonly fields: Readonly<Record<string, unknown>>
}

const ranks: Readonly<Record<LogLevel | 'off', number>> = {
  debug: 0,
  info: 1,
  warning: 2,
  error: 3,
  fatal: 4,
  off: 5,
}

/** Name of the diagnostics channel. */
export const LOG_CHANNEL = 'marketplace:log'
const records = channel(LOG_CHANNEL)

function threshold(): number {
  const wanted = process.env['MARKETPLACE_LOG']
  if (wanted === undefined || wanted === '') return ranks.warning
  const level = wanted.toLowerCase()
  if (Object.hasOwn(ranks, level)) return ranks[level as LogLevel]
  process.emitWarning(
    `MARKETPLACE_LOG must be one of ${Object.keys(ranks).join(', ')}; got '${wanted}'; using warning`,
  )
  return ranks.warning
}

const debug = debuglog('marketplace')
/** Decided once: what is off costs a comparison with a constant. */
const lowest = debug.enabled ? ranks.debug : threshold()

/** Whether a record of this level would go anywhere. */
export function logs(level: LogLevel): boolean {
  return ranks[level] >= lowest
}

/**
 * A field as it is printed. What the world did (a peer, the kernel) a warning tells in one line: where this
 * package noticed it helps nobody. An exception that ended something keeps its stack.
 */
function shown(level: LogLevel, value: unknown): string {
  const inOneLine = ranks[level] < ranks.error && isNativeError(value) && Object.hasOwn(value, 'syscall')
  // Not `value.message`, which may be a getter that throws.
  const text: unknown = inOneLine ? Object.getOwnPropertyDescriptor(value, 'message')?.value : undefined
  return safeInspect(text ?? value, { breakLength: Infinity, compact: true, depth: 3 })
}

export function log(
  level: LogLevel,
  text: string,
  fields: Readonly<Record<string, unknown>> = {},
): void {
  if (!logs(level)) return
  // What the message was taken from, such as an error of a program's own making, may have had anything there.
  const message = typeof text === 'string' ? text : safeInspect(text, {})
  if (records.hasSubscribers) {
    records.publish({ level, message, time: Date.now(), fields } satisfies LogRecord)
    return
  }
  const details = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${shown(level, value)}`)
    .join('')
  if (debug.enabled) debug('%s: %s%s', level, message, details)
  else process.stderr.write(`marketplace ${level}: ${message}${details}\n`)
}

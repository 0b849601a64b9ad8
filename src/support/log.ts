/**
 * The log: `MARKETPLACE_LOG=debug|info|warning|error|fatal|off`, default `warning`, to standard error.
 *
 * Every record that passes the level is also published, structured, on the diagnostics channel
 * `marketplace:log`; with a subscriber there, nothing is printed: the subscriber is the logger.
 * `NODE_DEBUG=marketplace` prints everything, as Node's own parts do, whatever the level.
 * Callers on warm paths ask `logs(level)` first, so that a level that is off costs one comparison.
 *
 * What is printed is for people: a record is one line, and the lines of a stack are indented, whatever peers
 * and programs have put into names, labels and messages. And a stranger may cause any number of warnings: of
 * those that differ in numbers only, ten are printed at once and one a second, with how many were left out; a
 * stack that was printed within the last minute is not printed again. Subscribers get every record, as it is.
 */
import { channel } from 'node:diagnostics_channel'
import { debuglog } from 'node:util'
import { isNativeError } from 'node:util/types'
import { safeInspect } from './errors.js'
import { indented, onOneLine } from './printable.js'

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
/** What is off costs a comparison. */
let lowest = debug.enabled ? ranks.debug : threshold()

/** Whether a value is a level, or 'off'. */
export function isLogLevel(value: unknown): value is LogLevel | 'off' {
  return typeof value === 'string' && Object.hasOwn(ranks, value)
}

/** From now on, records of this level and above go somewhere. */
export function setLogLevel(level: LogLevel | 'off'): void {
  lowest = ranks[level]
}

/** Whether a record of this level would go anywhere. */
export function logs(level: LogLevel): boolean {
  return ranks[level] >= lowest
}

/** The message of an error, if it has one of its own: not a getter, which might throw. */
function messageOf(error: unknown): unknown {
  return isNativeError(error) ? Object.getOwnPropertyDescriptor(error, 'message')?.value : undefined
}

const STACK_MEMORY = 60_000
const STACKS_MAX = 100
/** When each stack was printed last. */
const stacks = new Map<string, number>()

/** Whether a stack was printed within the last minute; from now on it was. */
function isKnownStack(text: string, now: number): boolean {
  const printed = stacks.get(text)
  if (printed !== undefined && now - printed < STACK_MEMORY) return true
  if (stacks.size >= STACKS_MAX) stacks.clear()
  stacks.set(text, now)
  return false
}

/**
 * A field as it is printed; undefined for an error that the message has told already. What the world did (a
 * peer, the kernel) a warning tells in one line: where this package noticed it helps nobody. An exception
 * that ended something keeps its stack.
 */
function shown(level: LogLevel, message: string, value: unknown, now: number): string | undefined {
  const told = messageOf(value)
  if (ranks[level] < ranks.error && told !== undefined && Object.hasOwn(value as object, 'syscall')) {
    return told === message ? undefined : safeInspect(told, {})
  }
  const text = safeInspect(value, { breakLength: Infinity, compact: true, depth: 3 })
  const stack = text.indexOf('\n    at ')
  if (!isNativeError(value) || stack < 0 || !isKnownStack(text, now)) return text
  return `${text.slice(0, stack)} (its stack was printed before)`
}

const BURST = 10
const PER_SECOND = 1
const KINDS_MAX = 500

/** Records that differ in numbers only. */
interface Kind {
  /** How many may be printed at once now, as of `since`. */
  allowed: number
  since: number
  leftOut: number
}
const kinds = new Map<string, Kind>()
let summary: NodeJS.Timeout | undefined

function kindOf(key: string, now: number): Kind {
  let kind = kinds.get(key)
  if (kind !== undefined) return kind
  if (kinds.size >= KINDS_MAX) {
    tellLeftOut()
    kinds.clear()
  }
  kind = { allowed: BURST, since: now, leftOut: 0 }
  kinds.set(key, kind)
  return kind
}

/** Whether one more of its kind is printed; if not, it is counted. */
function isAllowed(key: string, now: number): boolean {
  const kind = kindOf(key, now)
  kind.allowed = Math.min(BURST, kind.allowed + ((now - kind.since) / 1000) * PER_SECOND)
  kind.since = now
  if (kind.allowed >= 1) {
    kind.allowed -= 1
    return true
  }
  kind.leftOut++
  summary ??= setTimeout(tellLeftOut, 1000).unref()
  return false
}

function tellLeftOut(): void {
  clearTimeout(summary)
  summary = undefined
  for (const [key, kind] of kinds) {
    if (kind.leftOut > 0) print(`${key} (${kind.leftOut} more like it, not printed)`)
    kind.leftOut = 0
  }
}

function print(text: string): void {
  if (debug.enabled) debug('%s', text)
  else process.stderr.write(`${new Date().toISOString()} marketplace ${text}\n`)
}

export function log(
  level: LogLevel,
  text: string,
  fields: Readonly<Record<string, unknown>> = {},
): void {
  if (!logs(level)) return
  // What the message was taken from, such as an error of a program's own making, may have had anything there.
  const message = typeof text === 'string' ? text : safeInspect(text, {})
  const now = Date.now()
  if (records.hasSubscribers) {
    records.publish({ level, message, time: now, fields } satisfies LogRecord)
    return
  }
  const line = onOneLine(message)
  // Who asks for more than warnings wants to see everything.
  const limited = ranks[level] >= ranks.warning && !debug.enabled
  if (limited && !isAllowed(`${level}: ${line.replace(/\d+/g, 'N')}`, now)) return
  const details = Object.entries(fields).map(([name, value]) => {
    const detail = value === undefined ? undefined : shown(level, message, value, now)
    return detail === undefined ? '' : ` ${name}=${indented(detail)}`
  })
  print(`${level}: ${line}${details.join('')}`)
}

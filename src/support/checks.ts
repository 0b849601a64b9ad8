/**
 * Checks of options: tables that say for each option what it may be, and how a wrong one is told.
 * Owns nothing. Every check throws for a value that is wrong, and only for that.
 */
import { closest, distance } from 'fastest-levenshtein'
import { argumentError, asError, fromCaller, rangeError } from './errors.js'

/** Throws if `value` can't be the argument `name` of `call`. `undefined` never gets here. */
export type Check = (call: string, name: string, value: unknown) => void

/** What each option may be. */
export type Checks = Readonly<Record<string, Check>>

/**
 * Whether options can be in there. An object of a class in which there are none, such as a promise, a list or a record,
 * was not meant: all defaults would be taken, and nobody would be told.
 *
 * @param known names of options; without them, any may be one
 */
export function holdsOptions(value: unknown, known: readonly string[] = []): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return true
  // Of another realm; or a class's, with options as fields.
  if (Object.getPrototypeOf(prototype) === null) return true
  const given = value as Readonly<Record<string, unknown>>
  // A record knows the fields of all records, and has its own.
  if (known.length > 0) return known.some((name) => given[name] !== undefined)
  for (const name in value) if (name !== '') return true
  return false
}

export function oneOf(...values: readonly (string | boolean)[]): Check {
  const texts = values.map((value) => (typeof value === 'string' ? `'${value}'` : String(value)))
  const expected = `${texts.slice(0, -1).join(', ')} or ${texts.slice(-1).join()}`
  return (call, name, value) => {
    if (!values.includes(value as string)) throw argumentError(call, name, expected, value)
  }
}

export function ofType(type: 'boolean' | 'string' | 'function' | 'object'): Check {
  if (type === 'object') {
    return (call, name, value) => {
      if (!holdsOptions(value)) throw argumentError(call, name, 'an object', value)
    }
  }
  return (call, name, value) => {
    if (typeof value !== type) throw argumentError(call, name, `a ${type}`, value)
  }
}

export const hostName: Check = (call, name, value) => {
  if (typeof value === 'string' && value !== '') return
  throw argumentError(call, name, 'a name or an address', value)
}

export const notEmpty: Check = (call, name, value) => {
  if (typeof value === 'string' && value !== '') return
  throw argumentError(call, name, 'a string that is not empty', value)
}

/** @param unit what is counted, as the error says it */
export function integer(lowest: number, highest: number, unit = ''): Check {
  const expected = `an integer from ${lowest} to ${highest}${unit === '' ? '' : ` ${unit}`}`
  return (call, name, value) => {
    if (typeof value !== 'number') throw argumentError(call, name, expected, value)
    if (!Number.isInteger(value) || value < lowest || value > highest) {
      throw rangeError(call, name, expected, value)
    }
  }
}

/** Why `value` can't be the argument `name` of `call`; `undefined` if it can. For those who report it later. */
export function wrong(check: Check, call: string, name: string, value: unknown): Error | undefined {
  try {
    check(call, name, value)
    return undefined
  } catch (error) {
    return asError(error, name)
  }
}

/** So many letters wrong, or such a part of them, and a name is still taken for the other. */
const TYPOS = 2
const TYPO_PART = 0.4

/** For names of options that there aren't, but that one may well look for: where what is meant belongs. */
export type Elsewhere = Readonly<Record<string, string>>

/**
 * The error for an option that there isn't: with the place of what is meant, the probable option, or all.
 *
 * @param within which object of several it stands in: 'options.limits'; nothing for the options themselves
 */
export function unknownOption(
  call: string, name: string, known: readonly string[], elsewhere: Elsewhere = {}, within = '',
): TypeError {
  const lower = (text: string): string => text.toLowerCase()
  const found = known.findIndex((other) => lower(other) === closest(lower(name), known.map(lower)))
  const near = known[found]
  const meant = distance(lower(near), lower(name)) <= Math.max(TYPOS, near.length * TYPO_PART)
  const help = Object.hasOwn(elsewhere, name) ? elsewhere[name]
    : meant ? `did you mean '${near}'?`
    : `there are ${known.join(', ')}`
  const where = within === '' ? '' : ` of ${within}`
  return fromCaller(Object.assign(new TypeError(`${call}: unknown option '${name}'${where}; ${help}`), {
    code: 'ERR_INVALID_ARG_VALUE',
  }))
}

/**
 * Checks every option that is there; `undefined` is as good as not there.
 *
 * @param prefix what stands before an option's name in errors: 'options.' or nothing
 * @throws TypeError for one that is unknown or of the wrong type, RangeError for one out of range
 */
export function checkOptions(
  call: string, options: object, checks: Checks, prefix = '', elsewhere: Elsewhere = {},
): void {
  if (!holdsOptions(options, Object.keys(checks))) {
    throw argumentError(call, prefix === '' ? 'options' : prefix.replace(/\.$/, ''), 'an object', options)
  }
  for (const name in options) {
    if (!Object.hasOwn(checks, name)) {
      const within = prefix === 'options.' ? '' : prefix.replace(/\.$/, '')
      throw unknownOption(call, name, Object.keys(checks), elsewhere, within)
    }
    const value = (options as Readonly<Record<string, unknown>>)[name]
    if (value !== undefined) checks[name](call, prefix + name, value)
  }
}

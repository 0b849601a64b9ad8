/**
 * What a listener takes at most, and of whom: the options, their checks, and what they come to.
 *
 * Owns nothing. Invariant: limits that passed the checks mean the same to every transport.
 */
import { checkOptions, integer, type Check } from '../../support/checks.js'
import { argumentError, rangeError } from '../../support/errors.js'
import { prefixRange, type PrefixLength, type PrefixRange } from './prefix.js'

export type { PrefixLength } from './prefix.js'

/** Something that a listener limits, by the name of the option. */
export type LimitName =
  | 'maxConnections' | 'acceptRate' | 'connectionsPerPrefix' | 'acceptRatePerPrefix' | 'firstByteTimeout'
  | 'frameTimeout' | 'receiveRate' | 'pauseAbove'

/** A rate as a token bucket has it. */
export interface RateLimit {
  /** How many per second, in the long run, from 1 to 2,147,483,647. */
  readonly perSecond: number
  /** How many at once, after a rest. Default: as many as in a second. */
  readonly burst?: number | undefined
}

/** Limits that can be changed while a listener listens. In each, 0 is no limit, and the default. */
export interface ChangeableLimits {
  /** Open connections of one prefix; further ones are reset. */
  readonly connectionsPerPrefix?: number | undefined
  /** Connections accepted per second, in all; further ones are reset. */
  readonly acceptRate?: number | RateLimit | undefined
  /** The same of one prefix. */
  readonly acceptRatePerPrefix?: number | RateLimit | undefined
  /**
   * Milliseconds within which a connection's first byte has to come, or it is reset (ETIMEDOUT). The time runs while
   * the connection is read from.
   */
  readonly firstByteTimeout?: number | undefined
  /**
   * Milliseconds within which a frame that has begun has to be there, or the connection is reset (ETIMEDOUT). The time
   * runs while input is waited for. Only the driver `tcp` knows frames.
   */
  readonly frameTimeout?: number | undefined
  /** Bytes received per second on each connection. Beyond, it is not read from for a while: nothing is lost. */
  readonly receiveRate?: number | RateLimit | undefined
  /**
   * Milliseconds of delay of the event loop from which on nothing is accepted, until it is less than half of that. Who
   * connects meanwhile waits in the kernel's queue.
   */
  readonly pauseAbove?: number | undefined
}

/** What a listener takes at most, beside `maxConnections`, and of whom. */
export interface ListenerLimits extends ChangeableLimits {
  /** What a prefix is. */
  readonly prefixLength?: PrefixLength | undefined
  /**
   * Most prefixes without open connections that are remembered, for how fast they opened some. Beyond, the one that was
   * left longest ago is forgotten. From 1 to 1,048,576; default 65,536.
   */
  readonly maxIdlePrefixes?: number | undefined
  /**
   * Addresses (`10.0.0.7`), ranges of them (`10.0.0.0/8`, `fd00::/8`), and `unix` for the peers of a Unix socket, to
   * which the limits per prefix don't apply.
   */
  readonly exempt?: readonly string[] | undefined
}

/** What can be changed of a listener that listens. What is not there stays as it is. */
export interface LimitChanges extends ChangeableLimits {
  /** As the option of that name; Infinity is no limit. Connections that are open stay open. */
  readonly maxConnections?: number | undefined
}

/** A rate, 0 for none. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/** All limits of a listener, with 0 for none. */
export interface FullLimits {
  /** Infinity for none. */
  readonly maxConnections: number
  readonly connectionsPerPrefix: number
  readonly acceptRate: Rate
  readonly acceptRatePerPrefix: Rate
  readonly receiveRate: Rate
  readonly firstByteTimeout: number
  readonly frameTimeout: number
  readonly pauseAbove: number
  readonly prefixLength: { readonly ipv4: number, readonly ipv6: number }
  readonly maxIdlePrefixes: number
  readonly exempt: readonly PrefixRange[]
}

const MOST = 0x7fffffff
const IDLE_PREFIXES = 65_536
const IDLE_PREFIXES_MAX = 1_048_576
/** A connection that has had its rate is read from so often per second, and has to receive the rate all the same. */
const READS_PER_SECOND = 20

const rateChecks = { perSecond: integer(1, MOST), burst: integer(1, MOST) }

function rateCheck(leastBurst: (perSecond: number) => number): Check {
  const check: Check = (call, name, value) => {
    if (typeof value !== 'object' || value === null) {
      const expected = `an integer from 0 to ${MOST}, or { perSecond, burst }`
      if (typeof value !== 'number') throw argumentError(call, name, expected, value)
      if (!Number.isInteger(value) || value < 0 || value > MOST) throw rangeError(call, name, expected, value)
      return
    }
    checkOptions(call, value, rateChecks, `${name}.`)
    const { perSecond, burst } = value as Partial<RateLimit>
    if (perSecond === undefined) throw argumentError(call, `${name}.perSecond`, 'a number', perSecond)
    const least = leastBurst(perSecond)
    if (burst !== undefined && burst < least) {
      throw rangeError(call, `${name}.burst`, `at least ${least}, with perSecond ${perSecond}`, burst)
    }
  }
  return check
}

const checkRate = rateCheck(() => 1)

/** Of what can be changed. */
const changeableChecks = {
  connectionsPerPrefix: integer(0, MOST),
  acceptRate: checkRate,
  acceptRatePerPrefix: checkRate,
  firstByteTimeout: integer(0, MOST, 'milliseconds'),
  frameTimeout: integer(0, MOST, 'milliseconds'),
  receiveRate: rateCheck((perSecond) => Math.ceil(perSecond / READS_PER_SECOND)),
  pauseAbove: integer(0, MOST, 'milliseconds'),
} satisfies Record<keyof ChangeableLimits, Check>

const lengthChecks = { ipv4: integer(0, 32, 'bits'), ipv6: integer(0, 128, 'bits') }

const checkExempt: Check = (call, name, value) => {
  if (!Array.isArray(value)) throw argumentError(call, name, 'an array of addresses and prefixes, or unix', value)
  for (const [i, text] of (value as readonly unknown[]).entries()) {
    const expected = 'an address, a prefix such as 10.0.0.0/8, or unix'
    if (typeof text !== 'string') throw argumentError(call, `${name}[${i}]`, expected, text)
    if (text !== 'unix' && prefixRange(text) === undefined) throw rangeError(call, `${name}[${i}]`, expected, text)
  }
}

const limitsChecks = {
  ...changeableChecks,
  prefixLength: (call: string, name: string, value: unknown) => {
    if (typeof value !== 'object' || value === null) throw argumentError(call, name, '{ ipv4, ipv6 }', value)
    checkOptions(call, value, lengthChecks, `${name}.`)
  },
  maxIdlePrefixes: integer(1, IDLE_PREFIXES_MAX),
  exempt: checkExempt,
} satisfies Record<keyof ListenerLimits, Check>

/** The check of the option `limits`. */
export const checkLimits: Check = (call, name, value) => {
  if (typeof value !== 'object' || value === null) throw argumentError(call, name, 'an object of limits', value)
  checkOptions(call, value, limitsChecks, `${name}.`)
}

const checkMaxConnections: Check = (call, name, value) => {
  if (value !== Infinity) integer(0, MOST)(call, name, value)
}

const fixed = 'it is said when a listener is opened, and stays'

/** @throws TypeError or RangeError for the first change that is none */
export function checkLimitChanges(call: string, changes: LimitChanges): void {
  checkOptions(call, changes, { maxConnections: checkMaxConnections, ...changeableChecks }, '', {
    prefixLength: fixed, maxIdlePrefixes: fixed, exempt: fixed,
  })
}

const NO_RATE: Rate = { perSecond: 0, burst: 0 }

function rateOf(limit: number | RateLimit | undefined): Rate | undefined {
  if (limit === undefined) return undefined
  if (limit === 0) return NO_RATE
  if (typeof limit === 'number') return { perSecond: limit, burst: limit }
  return { perSecond: limit.perSecond, burst: limit.burst ?? limit.perSecond }
}

const NO_LIMITS: FullLimits = {
  maxConnections: Infinity,
  connectionsPerPrefix: 0,
  acceptRate: NO_RATE,
  acceptRatePerPrefix: NO_RATE,
  receiveRate: NO_RATE,
  firstByteTimeout: 0,
  frameTimeout: 0,
  pauseAbove: 0,
  prefixLength: { ipv4: 32, ipv6: 64 },
  maxIdlePrefixes: IDLE_PREFIXES,
  exempt: [],
}

/** Limits with some changes, which were checked. */
export function changedLimits(before: FullLimits, changes: LimitChanges): FullLimits {
  return {
    ...before,
    maxConnections: changes.maxConnections ?? before.maxConnections,
    connectionsPerPrefix: changes.connectionsPerPrefix ?? before.connectionsPerPrefix,
    acceptRate: rateOf(changes.acceptRate) ?? before.acceptRate,
    acceptRatePerPrefix: rateOf(changes.acceptRatePerPrefix) ?? before.acceptRatePerPrefix,
    receiveRate: rateOf(changes.receiveRate) ?? before.receiveRate,
    firstByteTimeout: changes.firstByteTimeout ?? before.firstByteTimeout,
    frameTimeout: changes.frameTimeout ?? before.frameTimeout,
    pauseAbove: changes.pauseAbove ?? before.pauseAbove,
  }
}

/** All limits that options come to. They were checked. */
export function fullLimits(
  maxConnections: number | undefined, limits: ListenerLimits = {}, isUnix = false,
): FullLimits {
  const { prefixLength = {}, maxIdlePrefixes = IDLE_PREFIXES, exempt = [] } = limits
  const { ipv4 = 32, ipv6 = 64 } = prefixLength
  const full = {
    ...changedLimits(NO_LIMITS, { ...limits, maxConnections }),
    prefixLength: { ipv4, ipv6 },
    maxIdlePrefixes,
    exempt: exempt.flatMap((text) => prefixRange(text) ?? []),
  }
  // All of its peers are.
  return isUnix && exempt.includes('unix') ? withoutPrefixes(full) : full
}

function withoutPrefixes(limits: FullLimits): FullLimits {
  return { ...limits, connectionsPerPrefix: 0, acceptRatePerPrefix: NO_RATE }
}

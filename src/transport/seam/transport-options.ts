/** What the options of a transport may be, for the transports and for the drivers that hand them on. Owns nothing. */
import { integer, oneOf, ofType, type Check } from '../../support/checks.js'
import { buffersCheck } from './buffers-option.js'
import type { TransportOptions } from './transport.js'

/**
 * Default of `closeTimeout`, in milliseconds. A socket for datagrams has so long to hand over what waits when it is
 * closed.
 */
export const CLOSE_TIMEOUT = 10_000

const SLAB_BYTES_LEAST = 1024 * 1024

/** Of the options about memory. */
export const slabChecks = {
  buffers: buffersCheck,
  poison: ofType('boolean'),
  maxSlabBytes: integer(SLAB_BYTES_LEAST, Number.MAX_SAFE_INTEGER, 'bytes'),
} satisfies Partial<Record<keyof TransportOptions, Check>>

/**
 * Microseconds to spin with 'adaptive': a little more than most peers in the same room need to answer, the time to wake
 * a process up included, as without spinning that is part of what is measured.
 */
const ADAPTIVE = 100

/** native/binding/loop.cc has the same limit. */
const busyPollTime = integer(0, 1000, "microseconds or 'adaptive'")

/** What the option busyPoll may be. */
export const busyPollCheck: Check = (call, name, value) => {
  if (value !== 'adaptive') busyPollTime(call, name, value)
}

/** What the option sleepIn may be. */
export const sleepInCheck = oneOf('engine', 'libuv')

/** How the engine is to wait. */
export interface BusyPoll {
  /** Microseconds to spin before sleeping; 0 for none. */
  readonly busyPoll: number
  /** Only while events come so soon. */
  readonly busyPollAdapts: boolean
}

export function checkedBusyPoll(call: string, option: TransportOptions['busyPoll']): BusyPoll {
  if (option !== undefined) busyPollCheck(call, 'busyPoll', option)
  const busyPollAdapts = option === 'adaptive'
  return { busyPoll: busyPollAdapts ? ADAPTIVE : option ?? 0, busyPollAdapts }
}

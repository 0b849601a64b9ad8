/** What the options of a transport may be, for the transports and for the drivers that hand them on. Owns nothing. */
import { integer, ofType, type Check } from '../../support/checks.js'
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

/** What the option busyPoll may be; native/binding/loop.cc has the same limit. */
export const busyPollCheck = integer(0, 1000, 'microseconds')

/** Microseconds to spin before sleeping; 0 for none. */
export function checkedBusyPoll(call: string, busyPoll: number | undefined): number {
  if (busyPoll !== undefined) busyPollCheck(call, 'busyPoll', busyPoll)
  return busyPoll ?? 0
}

/**
 * What makes no sense in the records that programs and drivers exchange: refused where such a record is made, where
 * the mistake is, and again by the driver, as records of the same kind can be made in other ways. A check costs a few
 * nanoseconds, and up to 60 where a field is a record or text: none of these is made for each message. `tcpChannel`,
 * `udpPacket` and `wsChannel`, of which there is one for each piece of data, are not checked: a driver tells what is
 * wrong with one of them.
 */
import { integer, type Check } from '../support/checks.js'
import { argumentError } from '../support/errors.js'
import { checkMode } from '../transport/seam/framing.js'

/** Whether it can be the number of a port from `lowest` on. */
export function isPort(port: unknown, lowest: number): port is number {
  return Number.isInteger(port) && (port as number) >= lowest && (port as number) <= 65535
}

/** The number of a port. 0 is one: a listener's is chosen by the kernel then, and a datagram may come from there. */
export const port = integer(0, 65535)

/** The number of a descriptor. */
export const descriptor = integer(0, 0x7fffffff)

/** How much credit is given. */
export const amount = integer(0, Number.MAX_SAFE_INTEGER)

/** How bytes are cut into subpackets. */
export const mode: Check = (call, name, value) => { checkMode(call, name, value) }

export const number: Check = (call, name, value) => {
  if (typeof value !== 'number') throw argumentError(call, name, 'a number', value)
}

/** What `madeBy` needs of a constructor of records. */
interface Constructor {
  readonly label: string
  is(value: unknown): boolean
}

/**
 * A record that one of these constructors makes.
 *
 * @param expected says which: 'a tcpListener'
 */
export function madeBy(expected: string, ...constructors: readonly Constructor[]): Check {
  return (call, name, value) => {
    for (const constructor of constructors) {
      if (constructor.is(value)) return
    }
    throw argumentError(call, name, expected, value)
  }
}

/** The same, or undefined. */
export function optional(check: Check): Check {
  return (call, name, value) => {
    if (value !== undefined) check(call, name, value)
  }
}

/** Why such a timer can't be set. Its record can be made all the same: the original's driver ignores such ones. */
export function wrongTimer({ msecs, kind }: { readonly msecs: unknown, readonly kind: unknown }): Error | undefined {
  if (kind !== 'relative' && kind !== 'absolute') {
    return argumentError('setTimer', 'kind', "'relative' or 'absolute'", kind)
  }
  if (typeof msecs === 'number' && msecs < Infinity) return undefined
  return argumentError('setTimer', 'msecs', 'a number below infinity', msecs)
}

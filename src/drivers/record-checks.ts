/**
 * What makes no sense in the records that programs send to drivers: refused where such a record is made, where
 * the mistake is, and again by the driver, as records of the same kind can be made in other ways.
 */
import { argumentError, asError, rangeError } from '../support/errors.js'
import { Wildcard } from '../topic/index.js'
import { checkMode } from '../transport/seam/framing.js'

/** Whether it can be the number of a port from `lowest` on. */
export function isPort(port: unknown, lowest: number): port is number {
  return Number.isInteger(port) && (port as number) >= lowest && (port as number) <= 65535
}

/** Why a listener can't have this port. */
export function wrongPort(call: string, port: unknown): Error | undefined {
  if (port instanceof Wildcard || isPort(port, 0)) return undefined
  const what = typeof port === 'number' ? rangeError : argumentError
  return what(call, 'port', 'an integer from 0 to 65535', port)
}

/** Whether it can be the number of a descriptor. */
export function isDescriptor(fd: unknown): fd is number {
  return Number.isInteger(fd) && (fd as number) >= 0 && (fd as number) <= 0x7fffffff
}

/** Why this is no descriptor. */
export function wrongDescriptor(call: string, fd: unknown): Error | undefined {
  if (fd instanceof Wildcard || isDescriptor(fd)) return undefined
  const what = typeof fd === 'number' ? rangeError : argumentError
  return what(call, 'fd', 'an integer from 0 to 2147483647', fd)
}

/** Why there is no such mode. */
export function wrongMode(mode: unknown): Error | undefined {
  if (mode instanceof Wildcard) return undefined
  try {
    checkMode('tcpMode', 'mode', mode)
    return undefined
  } catch (error) {
    return asError(error, 'a mode')
  }
}

/** Why this is no time. */
export function wrongTime(_label: unknown, msecs: unknown): Error | undefined {
  if (typeof msecs === 'number' || msecs instanceof Wildcard) return undefined
  return argumentError('setTimer', 'msecs', 'a number', msecs)
}

/** Why such a timer can't be set. Its record can be made all the same: the original's driver ignores such ones. */
export function wrongTimer({ msecs, kind }: { readonly msecs: unknown, readonly kind: unknown }): Error | undefined {
  if (kind !== 'relative' && kind !== 'absolute') {
    return argumentError('setTimer', 'kind', "'relative' or 'absolute'", kind)
  }
  if (typeof msecs === 'number' && msecs < Infinity) return undefined
  return argumentError('setTimer', 'msecs', 'a number below infinity', msecs)
}

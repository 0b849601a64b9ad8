/**
 * Socket activation as systemd does it: descriptors from 3 on, told of by variables of the environment. Owns nothing.
 */
import { fstatSync } from 'node:fs'
import { rangeError } from '../support/errors.js'
import { closeOnExec } from '../transport/descriptors.js'
import { kindOf, type InheritedSocket } from './inherited.js'

/** Those before are the standard streams. */
const FIRST = 3
/** More than any process is started with. */
const MOST = 65_536
/** The last is of newer ones. */
const VARIABLES = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID']

/** A decimal number without anything else. */
function numberIn(variable: string, text: string, most: number): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : NaN
  if (number <= most) return number
  throw rangeError('systemdSockets', variable, `a number from 0 to ${most}`, text)
}

/**
 * The sockets that systemd, or another program that does as it does, has started this process with, in their order;
 * none if there are none, or if they are another process's. The variables are removed from the environment, so that
 * programs that this one starts don't take them for their own, and neither do they get the descriptors.
 *
 * @throws RangeError for variables that make no sense; Error for a descriptor that is not open
 */
export function systemdSockets(): InheritedSocket[] {
  const [pid, count, names] = VARIABLES.map((name) => process.env[name])
  for (const name of VARIABLES) Reflect.deleteProperty(process.env, name)
  if (pid === undefined || count === undefined) return []
  if (numberIn('LISTEN_PID', pid, 0xffff_ffff) !== process.pid) return []
  const length = numberIn('LISTEN_FDS', count, MOST)
  const known = names === undefined ? undefined : names.split(':')
  if (known !== undefined && known.length !== length && length > 0) {
    throw rangeError('systemdSockets', 'LISTEN_FDNAMES', `${length} names, with colons between`, names)
  }
  return Array.from({ length }, (_, i) => {
    const fd = FIRST + i
    // Throws for one that is not open.
    fstatSync(fd)
    closeOnExec(fd)
    return { name: known?.[i] ?? 'unknown', fd, kind: kindOf(fd) }
  })
}

/**
 * Adopting what others have opened, for every transport: the error for a descriptor that can't be adopted, and whose
 * the file of a Unix socket is. Owns the list of descriptors whose file goes with them.
 */
import { constants } from 'node:os'
import { socketError } from '../../support/errors.js'
import type { SocketError } from './transport.js'

const { EACCES, EAFNOSUPPORT, EBADF, EEXIST, EINVAL, ENOTCONN, ENOTSOCK, EPROTONOSUPPORT, EPROTOTYPE } = constants.errno

const WHY = new Map([
  [EBADF, 'is not open'],
  [ENOTSOCK, 'is not a socket'],
  [EAFNOSUPPORT, 'is a socket of another family than TCP and Unix'],
  [EPROTOTYPE, 'is not a stream socket'],
  [EPROTONOSUPPORT, 'is a stream socket of another protocol than TCP'],
  [ENOTCONN, 'is not connected'],
  [EEXIST, 'is in use here already'],
  [EACCES, 'may not be used'],
])

/**
 * The error for a descriptor that can't be adopted.
 *
 * @param errno negative
 * @param call what it was wanted for: to 'listen', or to 'open' a connection
 */
export function adoptionError(errno: number, call: 'listen' | 'open', fd: number): SocketError {
  const wrongUse = call === 'listen' ? 'is not listening' : 'is listening, and connected to nobody'
  const why = errno === -EINVAL ? wrongUse : WHY.get(-errno) ?? 'cannot be adopted'
  const error = socketError(errno, call)
  error.message = `${call} ${error.code}: descriptor ${fd} ${why}`
  return error
}

/** Of this thread. */
const withFile = new Set<number>()

/** Whoever adopts this listener removes the file of its Unix socket at the end, as whoever made it would have. */
export function fileGoesWith(fd: number): void {
  withFile.add(fd)
}

/** Whether it is so; asked once. */
export function takesFile(fd: number): boolean {
  return withFile.delete(fd)
}

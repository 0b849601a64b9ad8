/** The numbers in the engine's records, and what they say. native/engine/record.h is the other side. Owns nothing. */
import { constants } from 'node:os'
import { idleError, readTimeoutError, socketError } from '../../support/errors.js'
import { overflowError, takenAwayError, type QueueLimits, type Where } from '../seam/queue-limits.js'
import type { SocketError } from '../seam/transport.js'

/** What a record tells. */
export const Record = {
  accepted: 1,
  acceptFailed: 2,
  connected: 3,
  data: 4,
  end: 5,
  written: 6,
  closed: 7,
  slabRetired: 8,
  slabsShort: 9,
  dropped: 10,
  sender: 11,
  truncated: 12,
  sendFailed: 13,
  receiveFailed: 14,
} as const


/** The system call of an error, by its number. */
export const CALLS = ['', 'listen', 'accept', 'connect', 'read', 'write', 'shutdown', 'poll', 'idle', 'silence']

/** Why the engine ended a connection that had so many bytes queued. */
export function endError(
  limits: QueueLimits, errno: number, call: string, queued: number, remote: Where | undefined,
): SocketError {
  if (call === 'write' && errno === -constants.errno.EFAULT) return takenAwayError(remote)
  if (call === 'write' && errno === -constants.errno.ENOBUFS) return overflowError(limits, queued, remote)
  if (call === 'silence') return readTimeoutError()
  return call === 'idle' ? idleError() : socketError(errno, call)
}

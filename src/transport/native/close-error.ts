/** Why the engine has closed a connection, as an error. Owns nothing. */
import { constants } from 'node:os'
import { idleError, lateError, readTimeoutError, socketError } from '../../support/errors.js'
import { overflowError, takenAwayError, type QueueLimits, type Where } from '../seam/queue-limits.js'
import type { SocketError } from '../seam/transport.js'
import { CALLS, ClosedRecord } from './layout.js'

/** Of the `closed` record at a word, whose error is not 0. */
export function closeError(
  limits: QueueLimits, records: Int32Array, at: number, remote: Where | undefined,
): SocketError {
  const errno = records[at + ClosedRecord.error]
  const call = CALLS[records[at + ClosedRecord.call]]
  if (call === 'idle') return idleError()
  if (call === 'silence') return readTimeoutError()
  if (call === 'firstByte') return lateError('firstByteTimeout')
  if (call === 'frame') return lateError('frameTimeout')
  if (call === 'write' && errno === -constants.errno.EFAULT) return takenAwayError(remote)
  if (call === 'write' && errno === -constants.errno.ENOBUFS) {
    return overflowError(limits, records[at + ClosedRecord.queued], remote)
  }
  return socketError(errno, call)
}

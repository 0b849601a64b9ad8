/** How many bytes may wait to be sent, and what happens beyond: for both transports. */
import { constants } from 'node:os'
import { argumentError, rangeError, socketError } from '../../support/errors.js'
import type { SocketError, TransportOptions } from './transport.js'

/** Default of `maxQueuedBytes`. */
export const QUEUED_BYTES_MAX = 64 * 1024 * 1024
/** Default of `maxQueuedBytesTotal`. */
export const QUEUED_BYTES_MAX_TOTAL = 256 * 1024 * 1024

export interface QueueLimits {
  readonly each: number
  readonly total: number
  readonly pauses: boolean
}

/** The limits that the options say; throws if they say nothing sensible. */
export function queueLimits(call: string, options: TransportOptions): QueueLimits {
  const { maxQueuedBytes, maxQueuedBytesTotal, overflow = 'abort' } = options
  if (overflow !== 'abort' && overflow !== 'pause') {
    throw argumentError(call, 'overflow', "'abort' or 'pause'", overflow)
  }
  return {
    each: limit(call, 'maxQueuedBytes', maxQueuedBytes ?? QUEUED_BYTES_MAX),
    total: limit(call, 'maxQueuedBytesTotal', maxQueuedBytesTotal ?? QUEUED_BYTES_MAX_TOTAL),
    pauses: overflow === 'pause',
  }
}

function limit(call: string, name: string, bytes: unknown): number {
  if (typeof bytes !== 'number') throw argumentError(call, name, 'a number', bytes)
  if (bytes === Infinity || (Number.isSafeInteger(bytes) && bytes >= 0)) return bytes
  throw rangeError(call, name, 'a non-negative integer or Infinity', bytes)
}

/** Why a connection ended that had so many bytes queued. */
export function overflowError(limits: QueueLimits, queued: number, remote?: Where): SocketError {
  const error = socketError(-constants.errno.ENOBUFS, 'write', remote?.address, remote?.port)
  error.message += `: ${queued} bytes wait to be sent`
  error.message += queued > limits.each
    ? `; maxQueuedBytes is ${limits.each}`
    : ` on this connection, the most of all; maxQueuedBytesTotal is ${limits.total}`
  return error
}

/** Why a connection ended whose output can't be had any more. */
export function takenAwayError(remote?: Where): SocketError {
  const error = socketError(-constants.errno.EFAULT, 'write', remote?.address, remote?.port)
  error.message += ': a buffer was transferred, detached or shrunk before it was sent'
  return error
}

/** Why a connection ended whose input can't be had any more: others' may be in the same ArrayBuffer. */
export function lostInputError(remote?: Where): SocketError {
  const error = socketError(-constants.errno.EFAULT, 'read', remote?.address, remote?.port)
  error.message += ': the program detached the memory before it was delivered'
  return error
}

export interface Where {
  readonly address: string
  readonly port: number
}

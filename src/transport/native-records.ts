/** The numbers in the engine's records. native/engine/record.h is the other side. Owns nothing. */

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

/** No system call: nothing came for too long. */
export const SILENCE = 'silence'

/** The system call of an error, by its number. */
export const CALLS = ['', 'listen', 'accept', 'connect', 'read', 'write', 'shutdown', 'poll', 'idle', SILENCE]

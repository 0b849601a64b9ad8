/** The records that programs and the timer driver exchange. */
import { defineRecord, type RecordFrom } from '../topic/index.js'

/**
 * Asks for a timer. `relative`: in `msecs` milliseconds, by the monotonic clock. `absolute`: when the
 * wall clock shows `msecs` milliseconds since 1970. Labels, any values, are shared by all processes.
 */
export const setTimer = defineRecord('set-timer', ['label', 'msecs', 'kind']).of<
  [label: unknown, msecs: number, kind: 'relative' | 'absolute']
>()
/** A record that `setTimer` makes. */
export type SetTimer = RecordFrom<typeof setTimer>

/** Calls off all timers with this label. */
export const cancelTimer = defineRecord('cancel-timer', ['label']).of<[label: unknown]>()
/** A record that `cancelTimer` makes. */
export type CancelTimer = RecordFrom<typeof cancelTimer>

/** A timer is due. `now`: milliseconds since 1970. */
export const timerExpired = defineRecord('timer-expired', ['label', 'now']).of<
  [label: unknown, now: number]
>()
/** A record that `timerExpired` makes. */
export type TimerExpired = RecordFrom<typeof timerExpired>

/** Sent when a timer could not be set, or timers not be called off: `error` says why. */
export const timerError = defineRecord('timer-error', ['label', 'error']).of<[label: unknown, error: Error]>()
/** A record that `timerError` makes. */
export type TimerError = RecordFrom<typeof timerError>

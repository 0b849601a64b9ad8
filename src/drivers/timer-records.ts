/** The records that programs and the timer driver exchange. */
import { defineCheckedRecord, defineRecord, type RecordFrom } from '../topic/index.js'
import { answeredByDriver } from '../vm/wiring.js'
import { number } from './record-checks.js'

/**
 * Asks for a timer. `relative`: in `msecs` milliseconds, by the monotonic clock. `absolute`: when the
 * wall clock shows `msecs` milliseconds since 1970. Labels, any values, are shared by all processes.
 *
 * @throws TypeError for `msecs` that are no number
 */
export const setTimer = defineCheckedRecord('set-timer', ['label', 'msecs', 'kind'], { msecs: number }).of<
  [label: unknown, msecs: number, kind: 'relative' | 'absolute']
>()
/** A record that `setTimer` makes. */
export type SetTimer = RecordFrom<typeof setTimer>

/** Calls off all timers with this label. */
export const cancelTimer = defineRecord('cancel-timer', ['label']).of<[label: unknown]>()
/** A record that `cancelTimer` makes. */
export type CancelTimer = RecordFrom<typeof cancelTimer>

/**
 * A timer is due. `now`: milliseconds since 1970.
 *
 * @throws TypeError for a `now` that is no number
 */
export const timerExpired = defineCheckedRecord('timer-expired', ['label', 'now'], { now: number }).of<
  [label: unknown, now: number]
>()
/** A record that `timerExpired` makes. */
export type TimerExpired = RecordFrom<typeof timerExpired>

/** Sent when a timer could not be set, or timers not be called off: `error` says why. */
export const timerError = defineRecord('timer-error', ['label', 'error']).of<[label: unknown, error: Error]>()
/** A record that `timerError` makes. */
export type TimerError = RecordFrom<typeof timerError>

const timers = { driver: 'a timer driver: timerDriver(), or timerRelay() in a nested VM', keeps: true }
answeredByDriver(setTimer, timers)
answeredByDriver(cancelTimer, timers)

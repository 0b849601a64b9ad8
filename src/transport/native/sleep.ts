/**
 * Where the thread of an engine sleeps when there is nothing to do: the option `sleepIn`, or the environment's
 * MARKETPLACE_SLEEP_IN. Owns nothing.
 */
import { argumentError } from '../../support/errors.js'
import { sleepInCheck } from '../seam/transport-options.js'
import type { SleepIn } from '../seam/transport.js'

/** Electron turns libuv's loop itself, and means it never to wait. */
const DEFAULT: SleepIn = process.versions.electron === undefined ? 'engine' : 'libuv'

/** Whether it is in the engine. */
export function sleepsInEngine(call: string, option: SleepIn | undefined): boolean {
  if (option !== undefined) {
    sleepInCheck(call, 'sleepIn', option)
    return option === 'engine'
  }
  const variable = process.env.MARKETPLACE_SLEEP_IN
  // Set to nothing is as good as not set.
  if (variable === undefined || variable === '') return DEFAULT === 'engine'
  if (variable === 'engine' || variable === 'libuv') return variable === 'engine'
  throw argumentError('MARKETPLACE_SLEEP_IN', 'the environment variable', "'engine' or 'libuv'", variable)
}

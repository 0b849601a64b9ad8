/**
 * What functions answer that the program gives as options, such as `mode` or `origins`. Mostly the answer is wanted at
 * once: a promise is none, and whoever looked at it only as at any other wrong value would leave its rejection to
 * nobody, by which the whole program ends. Owns nothing.
 */
import { isPromise } from 'node:util/types'
import { argumentError } from './errors.js'
import { log } from './log.js'

/**
 * The answer of a function that has to answer at once.
 *
 * @param name of the function's result: 'options.mode()'
 * @throws TypeError for a promise; its rejection is handled
 */
export function atOnce<T>(call: string, name: string, answer: T): T {
  if (!isPromise(answer)) return answer
  answer.catch(() => undefined)
  throw argumentError(call, name, 'given at once, by a function that is not async', answer)
}

/** Of a function whose answer nobody wants: what an async one throws is in the log. */
export function logRejection(what: string, answer: unknown): void {
  if (isPromise(answer)) answer.catch((reason: unknown) => { log('error', `${what} failed`, { reason }) })
}

/**
 * Where connections go when the program routes them: asks its function, and takes its answers.
 *
 * Owns nothing but what was said last in the log. Invariant: whatever the function does concerns the connection that it
 * was asked about, and no other.
 */
import { constants } from 'node:os'
import { types } from 'node:util'
import { argumentError, asError, rangeError, safeInspect } from '../support/errors.js'
import { log } from '../support/log.js'
import type { SocketAddress } from '../support/socket-error.js'
import { RouteAnswer, type RouteQuestion } from '../transport/shared-listeners.js'

/** A connection that is to be routed. */
export interface RoutedConnection {
  /** Where it has come to. */
  readonly listener: SocketAddress
  /** Where it comes from: the last proxy on the way. */
  readonly peer: SocketAddress
  /** A copy of what it has sent so far, `prefixBytes` at most; the worker gets it, too. Empty at first, mostly. */
  readonly prefix: Buffer
  /**
   * No more will come: `prefix` is as long as it may be, the client has ended its output, `prefixMs` are over, or
   * others need the place. 'more' is no answer then.
   */
  readonly last: boolean
}

/**
 * The worker that gets a connection, by its index; 'least': whichever has the fewest; 'more': it can't be told by so
 * little, and is to be asked again when more has come.
 */
export type Route = (connection: RoutedConnection) => number | 'least' | 'more'

/** How connections are routed. */
export interface RouteSettings {
  readonly route: Route
  readonly workers: number
  readonly prefixBytes: number
  readonly prefixMs: number
}

/** Milliseconds between two lines of the log that tell of the same. */
const SAY_AGAIN_MS = 1000

export class Router {
  readonly #settings: RouteSettings
  #saidFull = -Infinity

  constructor(settings: RouteSettings) {
    this.#settings = settings
  }

  /** @returns the number of a place, or one of `RouteAnswer` */
  answer({ peer, prefix, last }: RouteQuestion, listener: SocketAddress): number {
    try {
      return this.#number(this.#settings.route({ listener, peer, prefix, last }), last)
    } catch (error) {
      log('error', 'a connection is reset, as it could not be routed', { peer, reason: asError(error, 'route') })
      return RouteAnswer.refuse
    }
  }

  #number(answer: unknown, last: boolean): number {
    if (answer === 'least') return RouteAnswer.fewest
    if (answer === 'more' && !last) return RouteAnswer.more
    // What an async function throws is no news either: its result is refused already.
    if (types.isPromise(answer)) answer.catch(() => undefined)
    const { workers } = this.#settings
    const index = `the index of a worker, from 0 to ${workers - 1}`
    const expected = last ? `${index}, or 'least'` : `${index}, 'least' or 'more'`
    if (typeof answer !== 'number') throw argumentError('route', 'its result', expected, answer)
    if (!Number.isInteger(answer) || answer < 0 || answer >= workers) {
      throw rangeError('route', 'its result', expected, answer)
    }
    return answer
  }

  /** What became of an answer: a negative errno, or 0. */
  answered(where: number, result: number): void {
    const now = performance.now()
    if (result !== -constants.errno.ENOBUFS || now - this.#saidFull < SAY_AGAIN_MS) return
    this.#saidFull = now
    log('warning', `connections are reset, as too many wait for worker ${safeInspect(where, {})}`, { worker: where })
  }
}

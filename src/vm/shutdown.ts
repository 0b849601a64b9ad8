/**
 * Shutting down in good order: what runs may end, within a time; what is left is ended.
 *
 * Owns the time and the count of what was done. What is to end is told through `Shutdown`.
 */
import { checkOptions, integer } from '../support/checks.js'

/** Options of `shutdown`. */
export interface ShutdownOptions {
  /**
   * Milliseconds that conversations may take to end by themselves. Default 10,000; 0: they are ended at once.
   * A later call can make it shorter, not longer.
   */
  readonly drainMs?: number | undefined
  /** What processes that are left then quit with; any value. */
  readonly reason?: unknown
}

/** What a shutdown did. */
export interface ShutdownReport {
  /** Conversations that were there when it began, or came into being later, and ended by themselves. */
  readonly ended: number
  /** Conversations that were ended when the time was over. */
  readonly aborted: number
  /** Milliseconds that it took. */
  readonly elapsed: number
}

/** What an event source is told of a shutdown, and tells. */
export interface Shutdown {
  /** Aborted when the time is over: what is left is to be ended. */
  readonly signal: AbortSignal
  /** So many conversations have come to an end. */
  count(how: 'ended' | 'aborted', conversations: number): void
}

const DRAIN_MS = 10_000
const checks = { drainMs: integer(0, 0x7fffffff, 'milliseconds'), reason: () => undefined }

/** @internal @throws TypeError or RangeError when an option is wrong */
export function checkShutdownOptions(call: string, options: ShutdownOptions): void {
  checkOptions(call, options, checks, 'options.')
}

/** @internal One shutdown under way. */
export class ShuttingDown implements Shutdown {
  readonly #controller = new AbortController()
  readonly #start = performance.now()
  readonly #late: () => void
  #deadline = Infinity
  #timer: NodeJS.Timeout | undefined
  #ended = 0
  #aborted = 0
  #elapsed: number | undefined

  /** @param late called when the time is over, after all that listen to the signal */
  constructor(late: () => void) {
    this.#late = late
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  count(how: 'ended' | 'aborted', conversations: number): void {
    if (how === 'ended') this.#ended += conversations
    else this.#aborted += conversations
  }

  /** No more than so many milliseconds from now. */
  within(drainMs = DRAIN_MS): void {
    const deadline = performance.now() + drainMs
    if (deadline >= this.#deadline || this.signal.aborted) return
    this.#deadline = deadline
    clearTimeout(this.#timer)
    const over = (): void => {
      this.#controller.abort()
      this.#late()
    }
    if (drainMs === 0) over()
    else this.#timer = setTimeout(over, drainMs)
  }

  /** Nothing is left. */
  over(): ShutdownReport {
    clearTimeout(this.#timer)
    this.#elapsed ??= performance.now() - this.#start
    return { ended: this.#ended, aborted: this.#aborted, elapsed: this.#elapsed }
  }
}

/**
 * Sequential processes: events that wait while an async handler of their process is pending
 * (`spawn(..., { sequential: true })`).
 *
 * Endpoints of such a process have their handlers wrapped when they are made, so that others pay nothing. An event
 * goes to its handler at once if the line is open; otherwise it waits. The line is closed by a promise, and opened
 * by an action behind those that the promise has resolved to; what waits is handled one event at a time, each with
 * such an action behind its own actions.
 *
 * Invariant: if something waits, a promise is pending, or the action is in the process's queue.
 */
import { Inner } from './action.js'
import type { Endpoint } from './endpoint.js'
import { standsFor, type AnyHandler } from './handler.js'
import type { EventHandler, Process } from './process.js'
import { unwatched } from './tap.js'

/** Events that may wait. With one more the process fails, as the line would grow without limit. */
const WAITING_MAX = 10_000

interface Waiting {
  readonly endpoint: Endpoint
  readonly event: EventHandler
  readonly args: unknown[]
}

export class WaitingLine {
  /** Promises of the process that are pending. */
  #promises = 0
  /** Whether the action that lets the next one in is in the process's queue. */
  #opening = false
  /** Those that wait, from `#first` on. */
  #waiting: Waiting[] = []
  #first = 0
  #overflowed = false
  readonly #process: Process
  readonly #next: Inner

  constructor(process: Process) {
    this.#process = process
    this.#next = new Next(this)
  }

  /** From now on the handlers of an endpoint are called in their turn. */
  queueAt(endpoint: Endpoint): void {
    const inTurn = (event: EventHandler): AnyHandler | undefined => {
      const handler = endpoint[event] as AnyHandler | undefined
      if (handler === undefined) return undefined
      const waitOrRun: AnyHandler = (...args) => {
        // While a process ends, it is told at once that its own endpoints go: afterwards it handles nothing.
        if (this.#isOpen() || !this.#process.alive) return handler(...args)
        this.#wait({ endpoint, event, args })
        return undefined
      }
      standsFor(waitOrRun, handler)
      return waitOrRun
    }
    endpoint.onPresence = inTurn('onPresence') as Endpoint['onPresence']
    endpoint.onAbsence = inTurn('onAbsence') as Endpoint['onAbsence']
    endpoint.onMessage = inTurn('onMessage') as Endpoint['onMessage']
  }

  /** A promise of the process is pending. */
  began(): void {
    this.#promises++
  }

  /** It has settled, and what it resolved to is in the process's queue. */
  settled(): void {
    this.#promises--
    this.#open()
  }

  /** Lets the next event in, if nothing is pending again. */
  next(): void {
    this.#opening = false
    if (this.#promises > 0 || this.#first === this.#waiting.length) return
    const { endpoint, event, args } = this.#take()
    // Whoever looks has seen it when it came, and held it up then if he wanted to.
    const handler = unwatched(endpoint[event] as AnyHandler | undefined)
    if (handler !== undefined) {
      const process = this.#process
      const [subject] = args
      args[1] = process.state
      try {
        process.accept(handler(...args), endpoint, event, subject)
      } catch (error) {
        process.crash(error, endpoint, event, subject)
      }
    }
    this.#open()
  }

  #isOpen(): boolean {
    return this.#promises === 0 && !this.#opening
  }

  #open(): void {
    if (!this.#isOpen() || !this.#process.alive) return
    this.#opening = true
    this.#process.enqueue(this.#next)
  }

  #wait(waiting: Waiting): void {
    if (this.#overflowed) return
    if (this.#waiting.length - this.#first < WAITING_MAX) {
      this.#waiting.push(waiting)
      return
    }
    // The process ends in its next turn, and what waits is dropped with it.
    this.#overflowed = true
    this.#waiting = []
    this.#first = 0
    const { endpoint, event, args } = waiting
    const what = `${this.#process.describe()} is sequential, and more than ${WAITING_MAX} events wait for its handlers`
    const error = Object.assign(new RangeError(what), { code: 'ERR_OUT_OF_RANGE' })
    this.#process.crash(error, endpoint, event, args[0])
  }

  #take(): Waiting {
    const taken = this.#waiting[this.#first++]
    if (this.#first * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#first)
      this.#first = 0
    }
    return taken
  }
}

/** Behind a handler's actions: when it is performed, they have been. */
class Next extends Inner {
  constructor(readonly line: WaitingLine) {
    super()
  }

  perform(): void {
    this.line.next()
  }
}

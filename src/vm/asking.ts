/**
 * Asking: questions whose answer an async handler awaits.
 *
 * A question is a message like any other, and so is its answer: `question(id, body)`, `answer(id, value)` or
 * `answerError(id, error)`. Owns the questions of a process that have no answer yet, their time limits, and the
 * endpoints that hear of answers and of who comes to answer.
 *
 * Invariants: each pending question has one timer, and is one of the things that its process waits for; it is
 * settled once; with the end of the process none is left. An id is a pair of a symbol that only one asking has, and a
 * number.
 */
import { checkOptions, integer } from '../support/checks.js'
import { argumentError, show } from '../support/errors.js'
import { _, defineRecord, isSpecialization, type RecordFrom } from '../topic/index.js'
import { AddEndpoint, AtMetaLevel, Inner, type Action, type EndpointKind } from './action.js'
import type { Endpoint } from './endpoint.js'
import type { Process } from './process.js'
import { role } from './role.js'
import { endWith } from './ties.js'
import type { Vm } from './vm.js'

/** A question. Whoever answers sends `answer` or `answerError` with the same id, any value that is its own. */
export const question = defineRecord('ask-question', ['id', 'body']).of<[id: unknown, body: unknown]>()
/** A record that `question` makes. */
export type Question = RecordFrom<typeof question>

/** The answer to the question with this id. The first one counts. */
export const answer = defineRecord('ask-answer', ['id', 'value']).of<[id: unknown, value: unknown]>()
/** A record that `answer` makes. */
export type Answer = RecordFrom<typeof answer>

/** Why there is no answer to the question with this id: what the asker's promise is rejected with. */
export const answerError = defineRecord('ask-error', ['id', 'error']).of<[id: unknown, error: unknown]>()
/** A record that `answerError` makes. */
export type AnswerError = RecordFrom<typeof answerError>

/** Options of `asking`. */
export interface AskingOptions {
  /** Questions that may wait for an answer at the same time; with one more, `ask` fails. Default 10,000. */
  readonly maxPending?: number | undefined
}

/** Options of `ask`. */
export interface AskOptions {
  /** Milliseconds that the answer may take, from 1 to 2,147,483,647. Default 5,000. */
  readonly timeout?: number | undefined
  /** Gives the question up: the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Answers come while a handler waits for them, and only to whom they are for. */
const KIND: EndpointKind = { exact: true, immediate: true }
const PENDING_MAX = 10_000
const TIMEOUT = 5000
/** The longest that Node's timers take. */
const LONGEST = 0x7fffffff

const askingChecks = { maxPending: integer(1, Number.MAX_SAFE_INTEGER) }
const askChecks = {
  timeout: integer(1, LONGEST, 'milliseconds'),
  signal: (call: string, name: string, value: unknown) => {
    if (!(value instanceof AbortSignal)) throw argumentError(call, name, 'an AbortSignal', value)
  },
}

interface Pending {
  readonly message: Question
  readonly timeout: number
  readonly timer: NodeJS.Timeout
  readonly unlisten: () => void
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
  /** Who has heard the question, so that it is not asked again; empty: nobody yet. */
  hearers: readonly Endpoint[]
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

/** A process has ended before its question was answered. */
class AskerEnded extends Error {
  readonly code = 'ECANCELED'
}
AskerEnded.prototype.name = 'Error'

/** @internal Whether a failure is only that of a question whose asker has ended: the log needs no warning of that. */
export function isOfEndedAsker(reason: unknown): boolean {
  return reason instanceof AskerEnded
}

/** What a process asks questions with: an action, which begins it, and the method `ask`. Made by `asking`. */
export interface Asking extends Action {
  /**
   * Asks a question: of whoever has an endpoint for it, such as one of `answering`, in the same VM (or outside, for
   * `atMetaLevel(asking())`). If nobody is there, it is asked when somebody comes, within its time. The first answer
   * counts. It can be called at any time in the life of its process, also after an `await`.
   *
   * @param body the question: any message
   * @returns the answer; its type is the caller's to know. It is rejected with what the answering handler has thrown;
   * with an error with the code ETIMEDOUT when there is no answer in time; ESRCH when everybody who has heard the
   * question has ended without an answer, the last one with a reason, which is the error's `cause`; ECANCELED when the
   * process ends before; ENOBUFS when `maxPending` questions are waiting; the reason of `signal` when that is
   * aborted. A rejection that nobody handles is no unhandled one.
   * @throws TypeError or RangeError when an option is wrong
   */
  ask<A = unknown>(body: unknown, options?: AskOptions): Promise<A>
}

/** @internal */
export class AskingAction extends Inner implements Asking {
  readonly #token = Symbol('asking')
  readonly #max: number
  readonly #pending = new Map<number, Pending>()
  /** Those of the pending ones that nobody has heard. */
  readonly #unheard = new Set<number>()
  #next = 0
  #process: Process | undefined
  /** How many VMs further out it asks. */
  #levels = 0

  constructor({ maxPending = PENDING_MAX }: AskingOptions) {
    super()
    this.#max = maxPending
  }

  ask<A = unknown>(body: unknown, options: AskOptions = {}): Promise<A> {
    checkOptions('ask', options, askChecks, 'options.')
    const { timeout = TIMEOUT, signal } = options
    const promise = new Promise<A>((resolve, reject) => {
      const refused = this.#refusal(body, signal)
      if (refused !== undefined) reject(refused.reason)
      else this.#begin(body, timeout, signal, resolve as (value: unknown) => void, reject)
    })
    promise.catch(() => undefined)
    return promise
  }

  /** Begins to work for the process that performs it, in its VM or so many levels out. */
  perform(process: Process, levels = 0): void {
    if (this.#process === process && this.#levels === levels) return
    if (this.#process !== undefined) {
      throw new Error(`this asking() is that of ${this.#process.describe()} already; each process needs its own`)
    }
    this.#process = process
    this.#levels = levels
    endWith(process, () => { this.#ended() })
    const hears = (orientation: 'publisher' | 'subscriber', topic: unknown, handlers: object): void => {
      const interest = orientation === 'publisher' ? 'observer' : 'participant'
      const endpoint = new AddEndpoint(Symbol('asking'), role(orientation, topic, interest), handlers, KIND)
      process.enqueue(this.#outwards(endpoint))
    }
    const id = [this.#token, _]
    hears('subscriber', answer(id, _), {
      onMessage: ({ id, value }: Answer) => { this.#take(id)?.resolve(value) },
    })
    hears('subscriber', answerError(id, _), {
      onMessage: ({ id, error }: AnswerError) => { this.#take(id)?.reject(error) },
    })
    hears('publisher', question(id, _), {
      onPresence: (topic: unknown) => { this.#came(topic) },
      onAbsence: (_topic: unknown, _state: unknown, reason: unknown) => { this.#went(reason) },
    })
    for (const n of this.#pending.keys()) {
      process.beginPending()
      this.#send(n)
    }
  }

  /** The question goes out to these. */
  sent(n: number, hearers: readonly Endpoint[]): void {
    const pending = this.#pending.get(n)
    if (pending === undefined || pending.hearers.length > 0) return
    pending.hearers = hearers
    if (hearers.length > 0) this.#unheard.delete(n)
    else this.#unheard.add(n)
  }

  /** The question can't be sent: the promise is rejected. */
  failed(n: number, error: unknown): void {
    this.#take([this.#token, n])?.reject(error)
  }

  #refusal(body: unknown, signal: AbortSignal | undefined): { readonly reason: unknown } | undefined {
    if (signal?.aborted === true) return { reason: signal.reason }
    if (this.#process?.alive === false) return { reason: this.#endedError(body) }
    if (this.#pending.size < this.#max) return undefined
    const message = `ask: ${this.#max} questions are waiting for an answer, and maxPending is ${this.#max}`
    return { reason: failure('ENOBUFS', message) }
  }

  #begin(
    body: unknown, timeout: number, signal: AbortSignal | undefined,
    resolve: (value: unknown) => void, reject: (reason: unknown) => void,
  ): void {
    const n = this.#next++
    const giveUp = (reason: unknown): void => {
      this.#take([this.#token, n])?.reject(reason)
      // That may have been all that its VM was waiting for.
      this.#process?.vm.wake()
    }
    const message = question([this.#token, n], body)
    const timer = setTimeout(() => { giveUp(this.#late(n)) }, timeout)
    const aborted = (): void => { giveUp(signal?.reason) }
    signal?.addEventListener('abort', aborted)
    const unlisten = (): void => { signal?.removeEventListener('abort', aborted) }
    this.#pending.set(n, { message, timeout, timer, unlisten, resolve, reject, hearers: [] })
    if (this.#process === undefined) return
    this.#process.beginPending()
    this.#send(n)
  }

  #send(n: number): void {
    const process = this.#process as Process
    process.enqueue(this.#outwards(new Ask(this, n, (this.#pending.get(n) as Pending).message)))
    process.vm.wake()
  }

  #outwards(action: Action): Action {
    let outwards = action
    for (let i = 0; i < this.#levels; i++) outwards = new AtMetaLevel(outwards)
    return outwards
  }

  /** Somebody came who hears questions that meet the topic. */
  #came(topic: unknown): void {
    for (const n of this.#unheard) {
      if (!isInstance((this.#pending.get(n) as Pending).message, topic)) continue
      // It is on its way: others who come before it has been delivered are not asked as well.
      this.#unheard.delete(n)
      this.#send(n)
    }
  }

  /**
   * Somebody who hears questions has gone. If it failed, what only processes have heard that have ended gets no answer
   * any more: an answer comes before its sender's absence. One that ended in order may have left the answer to another
   * process. It isn't asked again, as nobody knows what was done about it.
   */
  #went(reason: unknown): void {
    if (reason === undefined) return
    for (const [n, { hearers, message }] of this.#pending) {
      if (hearers.length === 0 || !hearers.every(hasEnded)) continue
      const error = failure('ESRCH', `ask: who was to answer ${show(message.body)} has ended without an answer`)
      error.cause = reason
      this.#take([this.#token, n])?.reject(error)
    }
  }

  /** Takes a question out, for the caller to settle. @returns undefined if it is settled already, or was never asked */
  #take(id: unknown): Pending | undefined {
    const n = (id as readonly unknown[])[1] as number
    const pending = this.#pending.get(n)
    if (pending === undefined) return undefined
    this.#pending.delete(n)
    this.#unheard.delete(n)
    clearTimeout(pending.timer)
    pending.unlisten()
    this.#process?.endPending()
    return pending
  }

  #late(n: number): Error {
    const { message: { body }, timeout, hearers } = this.#pending.get(n) as Pending
    let why = ''
    if (this.#process === undefined) why = '; no process has returned its asking(), which sends it'
    else if (hearers.length === 0) why = '; nobody was there to hear it'
    return failure('ETIMEDOUT', `ask: no answer to ${show(body)} within ${timeout} ms${why}`)
  }

  #ended(): void {
    for (const n of [...this.#pending.keys()]) {
      const pending = this.#take([this.#token, n])
      pending?.reject(this.#endedError(pending.message.body))
    }
  }

  #endedError(body: unknown): Error {
    const who = (this.#process as Process).describe()
    return new AskerEnded(`ask: ${who} has ended, before there was an answer to ${show(body)}`)
  }
}

/**
 * Makes what a process asks questions with. To be returned by its boot, or by any handler, like an action; each
 * process needs its own.
 *
 * @throws TypeError or RangeError when an option is wrong
 */
export function asking(options: AskingOptions = {}): Asking {
  checkOptions('asking', options, askingChecks, 'options.')
  return new AskingAction(options)
}

/** @internal A question on its way into the VM where it is asked. */
export class Ask extends Inner {
  constructor(
    private readonly asking: AskingAction,
    private readonly n: number,
    private readonly message: Question,
  ) {
    super()
  }

  perform(process: Process): void {
    this.deliver(process.vm, process)
  }

  /** @param actor the process of `vm` that the asker is, or is inside of */
  deliver(vm: Vm, actor: Process): void {
    try {
      this.asking.sent(this.n, hearersOf(vm, this.message))
      vm.deliver(actor, this.message, 'publisher')
    } catch (error) {
      // A body that can't be compared with topics fails this question only, not the process.
      this.asking.failed(this.n, error)
    }
  }
}

/** The participants that receive a message; observers, such as spies, answer nothing. */
function hearersOf(vm: Vm, message: Question): Endpoint[] {
  const found: Endpoint[] = []
  vm.subscribers.receivers(message, found)
  vm.subscribers.refused = 0
  return found.filter(({ interest }) => interest === 'participant')
}

/** Whether the process of an endpoint has ended, and what it sent before has been delivered. */
function hasEnded({ installed, target }: Endpoint): boolean {
  return !installed && !target.alive
}

function isInstance(message: unknown, topic: unknown): boolean {
  try {
    return isSpecialization(message, topic)
  } catch {
    return false // it exceeds the limits of topics, which only messages may
  }
}

/**
 * A recording of a ground VM from its start on: what came into it from outside, and what its processes heard.
 *
 * Owns what is recorded, its limit, and when it ends early. From outside comes what event sources fire, what
 * promises settle, what clients of an inspector do, and all that drivers do: of them are kept the answers, call by
 * call, so that nothing of a driver but its answers is needed to have it all again (`replay.ts`).
 */
import {
  AddEndpoint, AtMetaLevel, Attempt, DeleteEndpoint, Quit, SendMessage, Yield, type Action,
} from '../vm/action.js'
import type { Endpoint } from '../vm/endpoint.js'
import { EventSource } from '../vm/event-source.js'
import { flatten, Transition } from '../vm/handler.js'
import type { EventHandler, Process } from '../vm/process.js'
import { RemoteMessage } from '../vm/remote.js'
import { Opaques, record, type Most, type Recorded } from './recorded-values.js'
import { RECORDING_VERSION, type Call, type RecordedAction, type Recording, type Step } from './recording-file.js'

/** Characters of a recording, unless told otherwise. */
const LENGTH_MAX = 64 * 1024 * 1024
/** How much of a state is kept. */
const STATE: Most = { parts: 200, length: 64 * 1024 }

type Unturned<S> = S extends unknown ? Omit<S, 'turn'> : never

/** Records until its limit is reached, or until something happens that can't be done again. */
export class Recorder {
  #opaques = new Opaques()
  turn = 0
  #steps: string[] = []
  #length = 0
  #promises = 0
  #ended: string | undefined

  constructor(private readonly lengthMax = LENGTH_MAX) {}

  get over(): boolean {
    return this.#ended !== undefined
  }

  /** Nothing more is recorded. */
  end(why: string): void {
    this.#ended ??= why
    this.#opaques = new Opaques()
  }

  /** What is to be kept. If it can't be, the recording ends, and the program goes on as if nobody had asked. */
  #kept<T>(make: () => T): T | undefined {
    if (this.over) return undefined
    try {
      return make()
    } catch (error) {
      this.end(error instanceof Error ? error.message : String(error))
      return undefined
    }
  }

  #add(step: Unturned<Step>): void {
    if (this.over) return
    const text = this.#kept(() => JSON.stringify({ turn: this.turn, ...step }))
    if (text === undefined) return
    this.#length += text.length
    if (this.#length > this.lengthMax) this.end(`it has reached its limit of ${this.lengthMax} characters`)
    else this.#steps.push(text)
  }

  born(who: string): void {
    this.#add({ step: 'born', who })
  }

  /** Has an event of the program's own heard. @param topic what the endpoint is for, as text */
  heard(
    who: string, event: EventHandler, topic: string, args: readonly unknown[], process: Process, hear: () => unknown,
  ): unknown {
    const about = this.#kept(() => aboutOf(event, args, this.#opaques))
    if (about === undefined) return hear()
    const step: Extract<Unturned<Step>, { readonly step: 'heard' }> = { step: 'heard', who, event, topic, ...about }
    const { turn } = this
    try {
      const result = hear()
      step.state = this.#kept(() => stateAfter(process, result, this.#opaques))
      return result
    } catch (error) {
      step.error = this.#kept(() => record(error, this.#opaques))
      throw error
    } finally {
      // What it does at once, such as to fire a source, is heard later: so the step is in its place.
      this.turn = turn
      this.#add(step)
    }
  }

  /** Has a driver do something. @returns what it answers, or what does the same */
  called(who: string, call: Call, args: readonly unknown[], answer: () => unknown): unknown {
    const about = this.#kept(() => aboutOf(call, saidToDriver(args), this.#opaques))
    if (about === undefined) return answer()
    let result: unknown
    try {
      result = answer()
    } catch (error) {
      const thrown = this.#kept(() => record(error, this.#opaques))
      if (thrown !== undefined) this.#add({ step: 'called', who, call, ...about, actions: [], error: thrown })
      throw error
    }
    if (result === undefined) {
      this.#add({ step: 'called', who, call, ...about, actions: [] })
      return undefined
    }
    const actions: Action[] = []
    const kept: RecordedAction[] = []
    try {
      flatten(result, actions)
      for (const [i, action] of actions.entries()) {
        kept.push(recordAction(action, this.#opaques))
        if (action instanceof Yield) {
          const goesOn = action.continuation as (state: unknown) => unknown
          actions[i] = new Yield((state) => this.called(who, 'yield', [], () => goesOn(state)) as never)
        }
      }
    } catch (error) {
      this.end(`${who} has done what can't be done again: ${error instanceof Error ? error.message : String(error)}`)
      return result
    }
    this.#add({ step: 'called', who, call, ...about, actions: kept })
    return actions
  }

  fired(source: EventSource<unknown>, value: unknown, subscribers: Iterable<Endpoint>): void {
    if (this.over) return
    // A driver's answer is kept; what it is an answer to, which may be anything, is nobody else's.
    const isHeard = [...subscribers].some(({ target }) => target.guard === undefined)
    const kept = this.#kept(() => isHeard ? { value: record(value, this.#opaques) } : {})
    if (kept !== undefined) {
      this.#add({ step: 'fired', source: this.#opaques.numberOf(source), name: source.name, ...kept })
    }
  }

  /** So that a source has the same number when it is all done again. */
  activates(source: EventSource<unknown>): void {
    if (!this.over) this.#opaques.numberOf(source)
  }

  /** @returns the number of a promise that a handler has returned */
  awaits(): number {
    return this.#promises++
  }

  settled(who: string, promise: number): void {
    this.#add({ step: 'settled', who, promise })
  }

  /** A client of an inspector does something in a VM. */
  acted(vm: string, action: Action): void {
    const kept = this.#kept(() => recordAction(action, this.#opaques))
    if (kept !== undefined) this.#add({ step: 'acted', vm, action: kept })
  }

  /** A process is given something to do by what is no process. */
  told(who: string, action: Action): void {
    const kept = this.#kept(() => recordAction(action, this.#opaques))
    if (kept !== undefined) this.#add({ step: 'told', who, action: kept })
  }

  stopped(reason: unknown): void {
    const kept = this.#kept(() => record(reason, this.#opaques))
    if (kept !== undefined) this.#add({ step: 'stopped', reason: kept })
  }

  recording(): Recording {
    return { ...this.#head(), steps: this.#steps.map((text) => JSON.parse(text) as Step), ended: this.#ended }
  }

  /** The same as JSON, without making all of it again first. */
  json(): string {
    const head = JSON.stringify({ ...this.#head(), ended: this.#ended })
    return `${head.slice(0, -1)},"steps":[${this.#steps.join(',')}]}`
  }

  #head(): Pick<Recording, 'version' | 'program'> {
    const [, file = '', ...rest] = process.argv
    return { version: RECORDING_VERSION, program: { file, arguments: rest, node: process.execArgv } }
  }
}

/**
 * What a driver was told, as it is kept: not what its source has fired, which is for nobody else, and may be anything.
 */
export function saidToDriver(args: readonly unknown[]): readonly unknown[] {
  const [body, ...rest] = args
  return Array.isArray(body) && body[0] instanceof EventSource ? [[body[0]], ...rest] : args
}

/** What a handler was told; also what is compared when it is told again. */
export function aboutOf(
  call: Call, args: readonly unknown[], opaques: Opaques,
): { readonly about: Recorded, readonly reason?: Recorded } {
  if (call === 'guard') return { about: record(args[2], opaques), reason: record(args[0], opaques) }
  if (call !== 'onAbsence') return { about: record(args[0], opaques) }
  return { about: record(args[0], opaques), reason: record(args[2], opaques) }
}

/** The state that a handler leaves behind, as far as it is kept. */
export function stateAfter(process: Process, result: unknown, opaques: Opaques): Recorded {
  return record(result instanceof Transition ? result.state : process.state, opaques, STATE)
}

/** @throws Error for what can't be done again */
function recordAction(action: Action, opaques: Opaques): RecordedAction {
  if (action instanceof SendMessage) {
    return { do: 'send', body: record(action.body, opaques), to: action.orientation }
  }
  if (action instanceof RemoteMessage) {
    return { do: 'remote', body: record(action.body, opaques), to: action.orientation }
  }
  if (action instanceof AddEndpoint) {
    const { name, role: { orientation, interest, topic }, handlers, kind } = action
    const events = (['onPresence', 'onAbsence', 'onMessage'] as const)
      .filter((event) => typeof handlers === 'function' || handlers[event] !== undefined)
    return {
      do: 'add', name: record(name, opaques), orientation, interest, topic: record(topic, opaques), handlers: events,
      kind,
    }
  }
  if (action instanceof DeleteEndpoint) {
    return { do: 'delete', name: record(action.name, opaques), reason: record(action.reason, opaques) }
  }
  if (action instanceof Quit) {
    return { do: 'quit', pid: action.pid, reason: record(action.reason, opaques), failed: action.failed }
  }
  if (action instanceof Yield) return { do: 'yield' }
  if (action instanceof Attempt) return { do: 'attempt', action: recordAction(action.action, opaques) }
  if (action instanceof AtMetaLevel) {
    return { do: 'outside', levels: action.levels, action: recordAction(action.innermost, opaques) }
  }
  throw new Error(`${action.constructor.name} is no action that is kept`)
}

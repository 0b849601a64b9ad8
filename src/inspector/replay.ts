/**
 * A recording done again: the program runs in its ground VM, and hears from outside what it heard then.
 *
 * Owns the comparison, step by step, with what was recorded. Drivers don't run: their processes answer as they did.
 * Event sources aren't activated: what they fired is delivered after as many turns as then. A handler's promise settles
 * when it does, but its process takes the result when it did then.
 */
import {
  AddEndpoint, AtMetaLevel, Attempt, DeleteEndpoint, Quit, SendMessage, Yield, type Action,
} from '../vm/action.js'
import type { Endpoint } from '../vm/endpoint.js'
import { EventSource } from '../vm/event-source.js'
import type { ActionTree } from '../vm/handler.js'
import type { EventHandler, Process } from '../vm/process.js'
import { RemoteMessage } from '../vm/remote.js'
import { role } from '../vm/role.js'
import { watchHandlers, type Tap } from '../vm/tap.js'
import type { Ground, Vm } from '../vm/vm.js'
import { actIn } from './inspection.js'
import { textOf } from './preview.js'
import { Opaques, record, recordedText, unrecord, type Recorded } from './recorded-values.js'
import { aboutOf, saidToDriver, stateAfter } from './recording.js'
import type { Call, Outcome, RecordedAction, Recording, Step } from './recording-file.js'

/** Milliseconds that a program may do nothing before it is said that it should. */
const PATIENCE_MS = 3000
/** The same while a handler's promise, which takes its own time, is what is next. */
const PROMISE_PATIENCE_MS = 60_000
/** Levels of VMs that a file may speak of. */
const LEVELS_MAX = 10_000

type Heard = Extract<Step, { readonly step: 'heard' }>
type Called = Extract<Step, { readonly step: 'called' }>

export class Replayer implements Tap {
  readonly isEnding = false
  readonly #ground: Ground
  readonly #recording: Recording
  readonly #tell: (outcome: Outcome) => void
  readonly #opaques = new Opaques(true)
  readonly #processes = new Map<string, WeakRef<Process>>()
  #turn = 0
  #at = 0
  #over = false
  #promises = 0
  /** Promises that have settled, and what lets their processes go on. */
  readonly #settled = new Map<number, () => void>()
  #waits: NodeJS.Timeout | undefined
  /** A result is being taken: nothing else may happen before. */
  #takes = false

  /** Begins. @param tell is called once, when it is over */
  constructor(ground: Ground, recording: Recording, tell: (outcome: Outcome) => void) {
    this.#ground = ground
    this.#recording = recording
    this.#tell = tell
    ground.look(this)
  }

  get #next(): Step | undefined {
    return this.#recording.steps[this.#at]
  }

  // What the VM tells

  watch(endpoint: Endpoint): void {
    const { target } = endpoint
    watchHandlers(endpoint, (_endpoint, event, handler, args) => target.guard === undefined
      ? this.#heard(endpoint, event, args, () => handler(...args))
      : this.#called(target, event, args))
  }

  turnBegins(): boolean {
    this.#turn++
    return true
  }

  performs(): void {
    // What it does shows in what others hear.
  }

  turnEnds(): void {
    // The same.
  }

  fires(): void {
    // By this.
  }

  born(process: Process): void {
    if (this.#over) return
    const who = process.describe()
    this.#processes.set(who, new WeakRef(process))
    if (this.#next?.step === 'born' && this.#next.who === who && this.#next.turn === this.#turn) this.#at++
    else this.#differs(`${who} is started`)
  }

  ended(): void {
    // Its peers' absences show it.
  }

  boots(process: Process, driver: boolean, boot: () => unknown): unknown {
    if (!driver) return boot()
    process.guard = (...args) => this.#called(process, 'guard', args) as ActionTree
    return this.#called(process, 'boot', [])
  }

  activates(source: EventSource<unknown>): boolean {
    this.#opaques.numberOf(source)
    return false
  }

  awaits(): number {
    return this.#promises++
  }

  settles(_process: Process, promise: number): Promise<void> | undefined {
    if (this.#over) return undefined
    return new Promise((resolve) => {
      this.#settled.set(promise, resolve)
      this.#ground.wake()
    })
  }

  stops(): boolean {
    return this.#over
  }

  shutsDown(): boolean {
    return this.#over
  }

  over(): void {
    clearTimeout(this.#waits)
    if (this.#next === undefined) this.#isEqual()
    else this.#differs('the program has ended')
  }

  feeds(): boolean {
    clearTimeout(this.#waits)
    for (;;) {
      if (this.#over) return true
      // The process that goes on wakes the VM when it has what it waited for.
      if (this.#takes) return true
      const step = this.#next
      if (step === undefined) {
        this.#isEqual()
        return true
      }
      if (step.turn !== this.#turn) return false
      try {
        if (!this.#feed(step)) return step.step === 'settled'
      } catch (error) {
        this.#differs(error instanceof Error ? error.message : String(error))
      }
    }
  }

  rests(): void {
    if (this.#over) return
    clearTimeout(this.#waits)
    const step = this.#next
    const isPending = step?.step === 'settled' && step.promise < this.#promises && !this.#settled.has(step.promise)
    this.#waits = setTimeout(() => {
      this.#differs(isPending ? `it has not within ${PROMISE_PATIENCE_MS / 1000} s` : 'nothing happens any more')
    }, isPending ? PROMISE_PATIENCE_MS : PATIENCE_MS)
  }

  // What comes from outside

  /** @returns whether it was such a step, and could be done */
  #feed(step: Step): boolean {
    switch (step.step) {
      case 'fired': {
        const source = this.#opaques.get(step.source)
        if (!(source instanceof EventSource)) throw new Error(`nobody has asked for an event source ${step.name}`)
        const value = step.value === undefined ? undefined : unrecord(step.value, this.#opaques)
        this.#at++
        this.#ground.fired(source, value)
        return true
      }
      case 'settled': {
        const take = this.#settled.get(step.promise)
        if (take === undefined) {
          this.rests()
          return false
        }
        this.#at++
        this.#settled.delete(step.promise)
        this.#takes = true
        take()
        // After the process has taken it, also if it has ended and wakes nobody.
        setImmediate(() => {
          this.#takes = false
          this.#ground.wake()
        })
        return true
      }
      case 'acted':
        this.#at++
        actIn(this.#vmAt(step.vm), this.#action(step.action))
        return true
      case 'told':
        this.#at++
        this.#processes.get(step.who)?.deref()?.enqueue(this.#action(step.action))
        return true
      case 'stopped':
        this.#at++
        this.#ground.stop(unrecord(step.reason, this.#opaques))
        return true
      default:
        return false
    }
  }

  #vmAt(path: string): Vm {
    let vm = this.#ground.root
    for (const pid of path === '' ? [] : path.split('.')) {
      const inner = vm.processes.get(Number(pid))?.inner
      if (inner === undefined) throw new Error(`there is no VM ${path}`)
      vm = inner
    }
    return vm
  }

  // What the program hears, and what its drivers are told

  #heard(endpoint: Endpoint, event: EventHandler, args: readonly unknown[], hear: () => unknown): unknown {
    if (this.#over) return undefined
    const { target } = endpoint
    const about = this.#made(() => aboutOf(event, args, this.#opaques))
    if (about === undefined) return undefined
    const came: Heard = {
      step: 'heard', turn: this.#turn, who: target.describe(), event, topic: textOf(endpoint.topic), ...about,
    }
    const step = this.#take(came)
    if (step === undefined) return undefined
    let result: unknown
    try {
      result = hear()
    } catch (error) {
      came.error = this.#made(() => record(error, this.#opaques))
      this.#compare(step, came)
      throw error
    }
    came.state = this.#made(() => stateAfter(target, result, this.#opaques))
    this.#compare(step, came)
    return result
  }

  /** What has come, as it would be kept. If it can't be kept, it is none of what was recorded. */
  #made<T>(make: () => T): T | undefined {
    try {
      return make()
    } catch (error) {
      this.#differs(error instanceof Error ? error.message : String(error))
      return undefined
    }
  }

  #compare(step: Heard, came: Heard): void {
    if (isSame(step.state, came.state) && isSame(step.error, came.error)) return
    this.#at--
    this.#differsIn(step, `${leftText(came)}, after: ${stepText(came)}`, leftText(step))
  }

  /** A driver is told something, and answers as it did. */
  #called(process: Process, call: Call, args: readonly unknown[]): unknown {
    if (this.#over) return undefined
    const about = this.#made(() => aboutOf(call, saidToDriver(args), this.#opaques))
    if (about === undefined) return undefined
    const came: Called = { step: 'called', turn: this.#turn, who: process.describe(), call, ...about, actions: [] }
    const step = this.#take(came)
    if (step === undefined) return undefined
    let actions: Action[]
    let error: { readonly thrown: unknown } | undefined
    try {
      if (step.error !== undefined) error = { thrown: unrecord(step.error, this.#opaques) }
      actions = step.actions.map((action) => this.#action(action, process))
    } catch (wrong) {
      this.#at--
      this.#differs(wrong instanceof Error ? wrong.message : String(wrong))
      return undefined
    }
    if (error !== undefined) throw error.thrown
    return actions
  }

  #action(given: RecordedAction, process?: Process): Action {
    const value = (recorded: Recorded): unknown => unrecord(recorded, this.#opaques)
    switch (given.do) {
      case 'send':
        return new SendMessage(value(given.body), given.to)
      case 'remote':
        return new RemoteMessage(value(given.body), given.to)
      case 'add': {
        const { name, orientation, interest, topic, handlers, kind } = given
        const standIns = Object.fromEntries(handlers.map((event) => [event, () => undefined]))
        return new AddEndpoint(value(name), role(orientation, value(topic), interest), standIns, kind)
      }
      case 'delete':
        return new DeleteEndpoint(value(given.name), value(given.reason))
      case 'quit':
        return new Quit(given.pid, value(given.reason), given.failed)
      case 'yield':
        return new Yield(() => process && this.#called(process, 'yield', []) as ActionTree)
      case 'attempt':
        return new Attempt(this.#action(given.action, process))
      case 'outside': {
        let action = this.#action(given.action, process)
        // What it says is done so often.
        if (!(given.levels <= LEVELS_MAX)) throw new Error(`the recording has an action of ${given.levels} levels`)
        for (let i = 0; i < given.levels; i++) action = new AtMetaLevel(action)
        return action
      }
    }
  }

  /** The recorded step, if it is the same. */
  #take<S extends Heard | Called>(came: S): S | undefined {
    const step = this.#next
    if (step?.step === came.step && step.turn === came.turn && stepKey(step) === stepKey(came)
      && isSame(step.about, came.about) && isSame(step.reason, came.reason)) {
      this.#at++
      return step as S
    }
    this.#differs(stepText(came))
    return undefined
  }

  #isEqual(): void {
    if (this.#over) return
    this.#over = true
    const { steps, ended } = this.#recording
    this.#tell({ is: 'equal', steps: steps.length, turns: this.#turn, ended })
  }

  #differs(came: string): void {
    const step = this.#next
    if (step === undefined) this.#isEqual() // it is about what comes after the end
    else this.#differsIn(step, came, stepText(step))
  }

  #differsIn(step: Step, came: string, expected: string): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#waits)
    const where = step.turn === this.#turn ? '' : ` (after turn ${step.turn})`
    this.#tell({ is: 'different', turn: this.#turn, step: this.#at, expected: `${expected}${where}`, came })
  }
}

function isSame(a: Recorded | undefined, b: Recorded | undefined): boolean {
  try {
    return JSON.stringify(a, withoutKind) === JSON.stringify(b, withoutKind)
  } catch {
    return false // a file's value that is deeper than any that was recorded
  }
}

/** A stand-in is of another kind than what it stands for. */
function withoutKind(_key: string, value: unknown): unknown {
  const { $: is, n } = (value ?? {}) as { readonly $?: unknown, readonly n?: unknown }
  return is === 'opaque' ? { opaque: n } : value
}

function stepKey(step: Heard | Called): string {
  return step.step === 'heard' ? `${step.who} ${step.event} ${step.topic}` : `${step.who} ${step.call}`
}

const EVENTS: Readonly<Record<EventHandler, string>> = {
  onMessage: 'message', onPresence: 'presence of', onAbsence: 'absence of',
}

/** A step in words. */
function stepText(step: Step): string {
  switch (step.step) {
    case 'born':
      return `${step.who} is started`
    case 'heard': {
      const reason = step.event === 'onAbsence' ? `, reason ${recordedText(step.reason)}` : ''
      return `${step.who} hears ${EVENTS[step.event]} ${recordedText(step.about)}${reason}`
    }
    case 'called':
      return step.call === 'boot' || step.call === 'yield' ? `the driver ${step.who} goes on`
        : `the driver ${step.who} is told ${step.call === 'guard' ? 'of a failure of' : EVENTS[step.call]} ${
          recordedText(step.about)}${step.reason === undefined ? '' : `, reason ${recordedText(step.reason)}`}`
    case 'fired':
      return `the event source ${step.name} fires`
    case 'settled':
      return `a promise of ${step.who} has settled`
    case 'acted':
      return `a client of an inspector acts in VM '${step.vm}'`
    case 'told':
      return `${step.who} goes on`
    case 'stopped':
      return 'the ground VM is stopped'
  }
}

function leftText({ state, error }: Heard): string {
  return error === undefined ? `the state ${recordedText(state)}` : `the error ${recordedText(error)}`
}

/**
 * Supervision: a process that starts others, in order, and starts them again when they end.
 *
 * Owns which children run, which of them end together, how often and after which wait they are started again, and the
 * endpoints by which others hear of all this. The rules are those of Erlang/OTP's `supervisor` behaviour (Erlang/OTP
 * documentation, "Supervisor Behaviour"), but for the waits, which OTP has not, and for a first start that fails, which
 * is tried again here.
 *
 * Invariants: a child has one process at most; a child is started when those before it are ready, or, with
 * 'one-for-one', on its own; children are stopped one after another, the last one first. Everything happens in turns of
 * the supervisor's process: what is heard in between, at the end of a child or of a time, waits for its next turn.
 */
import { checkOptions, integer, ofType, oneOf, type Check, type Checks } from '../support/checks.js'
import { argumentError, rangeError } from '../support/errors.js'
import { log } from '../support/log.js'
import { defineCheckedRecord, type RecordFrom } from '../topic/index.js'
import {
  AddEndpoint, checkBoot, DeleteEndpoint, Inner, Quit, Spawn, type Action, type AnyHandlers, type Boot,
  type SpawnOptions,
} from './action.js'
import type { Booted, Process } from './process.js'
import { checkTopic, role } from './role.js'
import { endWith } from './ties.js'

const name = ofType('string')

/**
 * Published by a supervisor from when all its children have been ready for the first time, until it ends.
 *
 * @throws TypeError for a name that is no text
 */
export const supervising = defineCheckedRecord('supervising', ['supervisor'], { supervisor: name })
  .of<[supervisor: string]>()
/** A record that `supervising` makes. */
export type Supervising = RecordFrom<typeof supervising>

/**
 * Published by a supervisor as long as a child is to run. A child with `stopMs` hears of its absence that it is to end.
 *
 * @throws TypeError for a name that is no text
 */
export const childWanted = defineCheckedRecord('child-wanted', ['supervisor', 'child'], {
  supervisor: name, child: name,
}).of<[supervisor: string, child: string]>()
/** A record that `childWanted` makes. */
export type ChildWanted = RecordFrom<typeof childWanted>

/**
 * Published by a supervisor as long as a child is ready. The absence has the reason with which the child ended.
 *
 * @throws TypeError for a name that is no text
 */
export const childReady = defineCheckedRecord('child-ready', ['supervisor', 'child'], {
  supervisor: name, child: name,
}).of<[supervisor: string, child: string]>()
/** A record that `childReady` makes. */
export type ChildReady = RecordFrom<typeof childReady>

/**
 * A message for a supervisor: it stops its children, the last one first, and then quits.
 *
 * @throws TypeError for a name that is no text
 */
export const stopSupervisor = defineCheckedRecord('stop-supervisor', ['supervisor'], { supervisor: name })
  .of<[supervisor: string]>()
/** A record that `stopSupervisor` makes. */
export type StopSupervisor = RecordFrom<typeof stopSupervisor>

/** Which children end, and are started again, together with one that has ended. */
export type SupervisionStrategy = 'one-for-one' | 'one-for-all' | 'rest-for-one'

/** A child of a supervisor. */
export interface SupervisedChild {
  /** By which it is known to the supervisor, and in logs and errors. Unique among the supervisor's children. */
  readonly name: string
  /**
   * Runs at each start; what it returns is the child's first transition. That of a supervisor, `supervisor(...)`, makes
   * the child a supervisor.
   */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the state is the child's business
  readonly boot: Boot<any>
  /**
   * When it is started again: 'permanent', however it has ended; 'transient', only when it has failed (it, or its boot,
   * has thrown, or it has quit with an `Error`); 'temporary', never. Default: 'permanent'.
   */
  readonly restart?: 'permanent' | 'transient' | 'temporary' | undefined
  /**
   * Whether the child is a VM. Its first process, which `boot` makes, is essential in there: when it fails, the VM
   * does. Default: false.
   */
  readonly nested?: boolean | undefined
  /** As that of `spawn`; not for a VM. Default: false. */
  readonly sequential?: boolean | undefined
  /**
   * Topic of a publisher, a participant, by whose presence the child is known to be ready. Default: it is ready when
   * its boot is over, also an async one, and the actions that it returned are performed.
   */
  readonly ready?: unknown
  /**
   * Milliseconds that it may take to become ready; then it is ended, and that is a failure. From 1 to 2,147,483,647.
   * Default: 10,000.
   */
  readonly readyMs?: number | undefined
  /**
   * Milliseconds that it may take to end by itself when it is to stop, which it hears as the absence of
   * `childWanted(supervisor, name)`; then it is ended. From 0, at once, to 2,147,483,647, or Infinity. Default: 0; for
   * a supervisor Infinity, as its children have times of their own.
   */
  readonly stopMs?: number | undefined
}

/** How long a supervisor waits before it starts a child again. */
export interface SupervisionBackoff {
  /** Milliseconds before the first time. Default: 100. */
  readonly first?: number | undefined
  /** Most milliseconds. Default: 10,000. */
  readonly most?: number | undefined
  /** By how much each wait is longer than the one before. From 1 to 100. Default: 2. */
  readonly factor?: number | undefined
  /** Which part of a wait is left to chance, so that not all try at the same time. From 0 to 1. Default: 0.1. */
  readonly jitter?: number | undefined
}

/** How a supervisor starts its children again. */
export interface SupervisorOptions {
  /** By which it is known in logs, errors and the records of this page. Default: 'supervisor'. */
  readonly name?: string | undefined
  /**
   * Who ends, and is started again, with a child that is to be started again: 'one-for-one', nobody else;
   * 'one-for-all', all the others; 'rest-for-one', those that come after it in the list. Default: 'one-for-one'.
   */
  readonly strategy?: SupervisionStrategy | undefined
  /**
   * How often children may be to be started again within `period`. With one time more the supervisor gives up: it stops
   * all, and fails with an error that has the code ERESTARTS and the last failure as its cause. From 0 to 1,000,000, or
   * Infinity. Default: 3.
   */
  readonly intensity?: number | undefined
  /**
   * Milliseconds. A child that has been ready for as long is well again: its next wait is the first one. From 1 to
   * 2,147,483,647. Default: 5,000.
   */
  readonly period?: number | undefined
  /** The waits between an end and the next start. */
  readonly backoff?: SupervisionBackoff | undefined
}

/** Options of `supervise`: those of the supervisor, and of its process. */
export interface SuperviseOptions<S>
  extends SupervisorOptions, Pick<SpawnOptions<S>, 'parent' | 'essential' | 'link'> {}

const INTENSITY = 3
const PERIOD = 5000
const READY_MS = 10_000
const FIRST_MS = 100
const MOST_MS = 10_000
const FACTOR = 2
const JITTER = 0.1
/** The longest that Node's timers take. */
const LONGEST = 0x7fffffff
const INTENSITY_MAX = 1_000_000

function number(lowest: number, highest: number): Check {
  return (call, name, value) => {
    if (typeof value !== 'number') throw argumentError(call, name, `a number from ${lowest} to ${highest}`, value)
    if (!(value >= lowest && value <= highest)) throw rangeError(call, name, `from ${lowest} to ${highest}`, value)
  }
}

function orInfinity(check: Check): Check {
  return (call, name, value) => {
    if (value !== Infinity) check(call, name, value)
  }
}

const text: Check = (call, name, value) => {
  if (typeof value !== 'string' || value === '') throw argumentError(call, name, 'a string that is not empty', value)
}

const milliseconds = integer(1, LONGEST, 'milliseconds')

const backoffChecks: Checks = {
  first: integer(0, LONGEST, 'milliseconds'),
  most: integer(0, LONGEST, 'milliseconds'),
  factor: number(1, 100),
  jitter: number(0, 1),
}

const supervisorChecks: Checks = {
  name: text,
  strategy: oneOf('one-for-one', 'one-for-all', 'rest-for-one'),
  intensity: orInfinity(integer(0, INTENSITY_MAX)),
  period: milliseconds,
  backoff: (call, name, value) => {
    ofType('object')(call, name, value)
    checkOptions(call, value as object, backoffChecks, `${name}.`)
  },
}

const childChecks: Checks = {
  name: text,
  boot: ofType('function'),
  restart: oneOf('permanent', 'transient', 'temporary'),
  nested: ofType('boolean'),
  sequential: ofType('boolean'),
  ready: (call, _name, value) => { checkTopic(call, value) },
  readyMs: milliseconds,
  stopMs: orInfinity(integer(0, LONGEST, 'milliseconds')),
}

function checkChildren(call: string, children: unknown): asserts children is readonly SupervisedChild[] {
  if (!Array.isArray(children)) throw argumentError(call, 'children', 'an array of children', children)
  const names = new Set<string>()
  children.forEach((child: unknown, i) => {
    const where = `children[${i}]`
    if (typeof child !== 'object' || child === null) {
      throw argumentError(call, where, 'an object with a name and a boot', child)
    }
    checkOptions(call, child, childChecks, `${where}.`)
    const { name, boot, nested, sequential } = child as SupervisedChild
    text(call, `${where}.name`, name)
    childChecks['boot'](call, `${where}.boot`, boot)
    if (nested === true && sequential === true) {
      throw argumentError(call, `${where}.sequential`, 'false, as a VM has no handlers of its own', sequential)
    }
    if (names.has(name)) throw argumentError(call, `${where}.name`, 'another name than those before', name)
    names.add(name)
  })
}

/**
 * Makes the boot of a supervisor: of a process that starts children, in this order, and starts them again. It can be
 * the `boot` of a child, so that supervisors supervise supervisors; of a nested VM's first process; or of `spawn`.
 *
 * @throws TypeError or RangeError when an argument is wrong
 */
export function supervisor(children: readonly SupervisedChild[], options: SupervisorOptions = {}): Boot<unknown> {
  checkChildren('supervisor', children)
  checkOptions('supervisor', options, supervisorChecks, 'options.')
  return bootOf(children, options)
}

/**
 * Starts a supervisor, as `spawn(supervisor(children, options))` does.
 *
 * @throws TypeError or RangeError when an argument is wrong
 */
export function supervise<S = unknown>(
  children: readonly SupervisedChild[], options: SuperviseOptions<S> = {},
): Spawn<S> {
  checkChildren('supervise', children)
  // An option of the process is told as one of all that there are.
  const ofProcess = { parent: ofType('function'), essential: ofType('boolean'), link: ofType('boolean') }
  checkOptions('supervise', options, { ...supervisorChecks, ...ofProcess }, 'options.')
  const { parent, essential, link, ...own } = options
  const { name = 'supervisor' } = own
  const boot = bootOf(children, own)
  checkBoot('supervise', boot, {}, [])
  return new Spawn(boot, { name, parent, essential, link })
}

/** What the program changes later in its objects makes no difference. */
function bootOf(children: readonly SupervisedChild[], options: SupervisorOptions): Boot<unknown> {
  const copies = children.map((child) => ({ ...child }))
  const settings = { ...options, backoff: { ...options.backoff } }
  return () => new Supervision(copies, settings)
}

/**
 * - `waits`: to be started when it is its turn.
 * - `starts`: it runs, and is not ready yet.
 * - `ready`.
 * - `stops`: it is to end, and knows.
 * - `over`: it does not run, and is not to.
 */
type Status = 'waits' | 'starts' | 'ready' | 'stops' | 'over'

/** A child and how it is doing. */
class Child {
  status: Status = 'waits'
  /** Of all its starts; what is heard of an earlier one is ignored. */
  start = 0
  process: Process | undefined = undefined
  /** It is to end, as soon as those after it have. */
  doomed = false
  /** Whether it is started only when those before it are ready. */
  inOrder = true
  /** When it may be started. */
  due = 0
  /** When it became ready. */
  readyAt = Infinity
  /** So many times in a row it has ended without having been well. */
  failures = 0
  /** Publishers of its topic `ready` that are there. */
  peers = 0
  cancel: (() => void) | undefined = undefined
  readonly wantedName = Symbol('child wanted')
  readonly readyName = Symbol('child ready')

  constructor(readonly spec: SupervisedChild) {}

  get runs(): boolean {
    return this.status === 'starts' || this.status === 'ready' || this.status === 'stops'
  }
}

/** Something that a process does in its turn. */
class Step extends Inner {
  constructor(private readonly run: () => void) {
    super()
  }

  perform(): void {
    this.run()
  }
}

/** The supervisors among the processes. */
const supervisions = new WeakMap<Process, Supervision>()

class Supervision extends Inner {
  readonly #children: readonly Child[]
  readonly #name: string
  readonly #strategy: SupervisionStrategy
  readonly #intensity: number
  readonly #period: number
  readonly #backoff: SupervisionBackoff
  /** When children were to be started again, as long as that is not longer ago than the period. */
  readonly #restarts: number[] = []
  #process: Process | undefined = undefined
  /** It is to end, with this reason. */
  #end: { readonly reason: unknown } | undefined = undefined
  #announced = false
  #wake: (() => void) | undefined = undefined

  constructor(
    children: readonly SupervisedChild[],
    { name = 'supervisor', strategy = 'one-for-one', intensity = INTENSITY, period = PERIOD, backoff = {} }:
    SupervisorOptions,
  ) {
    super()
    this.#children = children.map((spec) => new Child(spec))
    this.#name = name
    this.#strategy = strategy
    this.#intensity = intensity
    this.#period = period
    this.#backoff = backoff
  }

  /** Begins, in the process that is the supervisor. */
  perform(process: Process): void {
    if (this.#process !== undefined) throw new Error('what a supervisor boots with is for one process only')
    this.#process = process
    supervisions.set(process, this)
    endWith(process, () => { this.#ended() })
    this.#add(Symbol('stop'), 'subscriber', stopSupervisor(this.#name), { onMessage: () => { this.stop() } })
    for (const child of this.#children) if (child.spec.ready !== undefined) this.#watch(child)
    this.#later(() => { this.#advance() })
  }

  /** Stops all children, the last one first, and then quits. */
  stop(): void {
    this.#later(() => { this.#finish(undefined) })
  }

  #finish(reason: unknown): void {
    this.#end ??= { reason }
    for (const child of this.#children) {
      if (child.runs) child.doomed = true
      else child.status = 'over'
    }
    this.#advance()
  }

  /** Does the next thing that is to be done, if it needn't wait for anything. */
  #advance(): void {
    this.#wake?.()
    this.#wake = undefined
    const doomed = this.#children.findLast((child) => child.doomed)
    if (doomed !== undefined) {
      if (doomed.status !== 'stops') this.#stopChild(doomed)
    } else if (this.#end === undefined) {
      this.#startNext()
    } else {
      this.#enqueue(new Quit(undefined, this.#end.reason))
    }
  }

  #startNext(): void {
    const now = performance.now()
    let all = true
    let due = Infinity
    for (const child of this.#children) {
      if (child.status === 'waits' && (all || !child.inOrder)) {
        if (child.due <= now) {
          this.#startChild(child)
          return
        }
        due = Math.min(due, child.due)
      }
      if (child.status !== 'ready' && child.status !== 'over') all = false
    }
    if (due < Infinity) this.#wake = this.#after(due - now, () => { this.#advance() })
    if (!all || this.#announced) return
    this.#announced = true
    this.#add(Symbol('supervising'), 'publisher', supervising(this.#name), {})
  }

  #startChild(child: Child): void {
    child.status = 'starts'
    child.readyAt = Infinity
    const start = ++child.start
    this.#add(child.wantedName, 'publisher', childWanted(this.#name, child.spec.name), {})
    this.#later(() => { if (child.start === start) this.#boot(child) })
  }

  #boot(child: Child): void {
    const { name, boot, nested, sequential, ready, readyMs = READY_MS } = child.spec
    const { vm } = this.#process as Process
    const { start } = child
    /** What is heard of this start, as long as there has not been another. */
    const heard = (then: () => void): void => { this.#later(() => { if (child.start === start) then() }) }
    let settles = false
    const awaited = (booting: Process): Booted => {
      settles = true
      const settled = (): void => { if (settles) booted() }
      endWith(booting, settled)
      // When it fails, its end is heard.
      return { failed: () => { settles = false }, settled }
    }
    const booted = (): void => {
      settles = false
      // It comes after the child's own first actions; in a VM also after what has become of those inside.
      const told = new Step(() => {
        // What shows that it is ready may have been there before it.
        heard(() => { if (ready === undefined || child.peers > 0) this.#becameReady(child) })
      })
      child.process?.enqueue(nested === true ? new Step(() => { child.process?.enqueue(told) }) : told)
      vm.wake()
    }
    const born = (process: Process): void => {
      child.process = process
      endWith(process, (reason, failed) => { heard(() => { this.#childEnded(child, reason, failed) }) })
    }
    const settings = { name, nested, sequential, link: true, firstIsEssential: true, born }
    const failure = vm.spawn(new Spawn(boot, settings), this.#process, this.#process, awaited)
    if (failure !== undefined) {
      // Otherwise there is a process, and its end is heard.
      if (child.process?.alive !== true) this.#childEnded(child, failure, true)
      return
    }
    if (!settles) booted()
    if (settles || ready !== undefined) {
      child.cancel = this.#after(readyMs, () => {
        if (child.start !== start || child.status !== 'starts') return
        const message = `${this.#describe(child)} was not ready within ${readyMs} ms`
        ;(this.#process as Process).vm.quit(child.process, Object.assign(new Error(message), { code: 'ETIMEDOUT' }))
      })
    }
    this.#advance()
  }

  #watch(child: Child): void {
    this.#add(Symbol('ready'), 'subscriber', child.spec.ready, {
      onPresence: () => {
        child.peers++
        if (child.status === 'starts') this.#later(() => { this.#becameReady(child) })
        else if (child.status === 'ready' && child.peers === 1) this.#tellReady(child)
      },
      onAbsence: (_topic: unknown, _state: unknown, reason: unknown) => {
        child.peers--
        if (child.status === 'ready' && child.peers === 0) this.#enqueue(new DeleteEndpoint(child.readyName, reason))
      },
    }, 'observer')
  }

  #becameReady(child: Child): void {
    if (child.status !== 'starts') return
    child.cancel?.()
    child.cancel = undefined
    child.status = 'ready'
    child.readyAt = performance.now()
    this.#tellReady(child)
    this.#advance()
  }

  #tellReady(child: Child): void {
    this.#add(child.readyName, 'publisher', childReady(this.#name, child.spec.name), {})
  }

  #stopChild(child: Child): void {
    const { process, start } = child
    this.#enqueue(new DeleteEndpoint(child.wantedName, undefined))
    if (process?.alive !== true) {
      // Its end is heard already, or it has not come into being.
      if (process === undefined) this.#childEnded(child, undefined, false)
      return
    }
    child.cancel?.()
    child.status = 'stops'
    const own = supervisions.get(process)
    const { stopMs = own === undefined ? 0 : Infinity } = child.spec
    if (stopMs === 0) {
      this.#later(() => { process.vm.quit(process, undefined) })
      return
    }
    own?.stop()
    if (stopMs === Infinity) return
    child.cancel = this.#after(stopMs, () => {
      if (child.start !== start || !process.alive) return
      const message = `${this.#describe(child)} did not stop within ${stopMs} ms`
      const reason = Object.assign(new Error(message), { code: 'ETIMEDOUT' })
      log('warning', message)
      process.vm.quit(process, reason, false)
    })
  }

  #childEnded(child: Child, reason: unknown, failed: boolean): void {
    child.start++ // nothing more is to be heard of this one
    child.cancel?.()
    child.cancel = undefined
    child.process = undefined
    this.#enqueue(new DeleteEndpoint(child.readyName, reason))
    this.#enqueue(new DeleteEndpoint(child.wantedName, reason))
    const { restart = 'permanent' } = child.spec
    if (child.doomed) {
      child.doomed = false
      child.status = this.#end !== undefined || restart === 'temporary' ? 'over' : 'waits'
    } else if (restart === 'permanent' || (restart === 'transient' && failed)) {
      this.#restart(child, reason, failed)
    } else {
      child.status = 'over'
    }
    this.#later(() => { this.#advance() })
  }

  #restart(child: Child, reason: unknown, failed: boolean): void {
    const now = performance.now()
    child.status = 'waits'
    if (this.#isTooOften(now)) {
      this.#giveUp(child, reason)
      return
    }
    if (now - child.readyAt >= this.#period) child.failures = 0
    const wait = this.#waitOf(++child.failures)
    const how = failed ? 'has failed' : 'has ended'
    log('warning', `${this.#describe(child)} ${how}; it is started again in ${Math.round(wait)} ms`, { reason })
    const together = this.#endsWith(child)
    child.inOrder = this.#strategy !== 'one-for-one'
    child.due = now + wait
    for (const other of together) {
      other.inOrder = true
      other.due = child.due
      if (other.runs) other.doomed = true
      else if (other.spec.restart !== 'temporary') other.status = 'waits'
    }
  }

  /** The others that are started again with a child. */
  #endsWith(child: Child): readonly Child[] {
    if (this.#strategy === 'one-for-one') return []
    if (this.#strategy === 'one-for-all') return this.#children.filter((other) => other !== child)
    return this.#children.slice(this.#children.indexOf(child) + 1)
  }

  #isTooOften(now: number): boolean {
    if (this.#intensity === Infinity) return false
    while (this.#restarts.length > 0 && now - this.#restarts[0] > this.#period) this.#restarts.shift()
    return this.#restarts.push(now) > this.#intensity
  }

  #waitOf(failures: number): number {
    const { first = FIRST_MS, most = MOST_MS, factor = FACTOR, jitter = JITTER } = this.#backoff
    // After very many failures the product would be no number any more.
    const wait = Math.min(first * Math.min(factor ** (failures - 1), LONGEST), most)
    return wait * (1 - jitter * Math.random())
  }

  #giveUp(child: Child, reason: unknown): void {
    const times = `more than ${this.#intensity} times within ${this.#period} ms`
    const what = `supervisor ${this.#name} gives up: its children have ended ${times}, ${child.spec.name} last`
    this.#finish(Object.assign(new Error(what, { cause: reason }), { code: 'ERESTARTS' }))
  }

  /** The supervisor's process has ended, and its children with it. */
  #ended(): void {
    this.#wake?.()
    for (const child of this.#children) child.cancel?.()
  }

  #describe(child: Child): string {
    return `child ${child.spec.name} of supervisor ${this.#name}`
  }

  #add(
    name: symbol, orientation: 'publisher' | 'subscriber', topic: unknown, handlers: AnyHandlers,
    interest: 'participant' | 'observer' = 'participant',
  ): void {
    this.#enqueue(new AddEndpoint(name, role(orientation, topic, interest), handlers))
  }

  #enqueue(action: Action): void {
    (this.#process as Process).enqueue(action)
  }

  /** In the supervisor's next turn, if it comes to that. */
  #later(run: () => void): void {
    this.#enqueue(new Step(run))
  }

  /** As long as it waits, the VMs around have something to wait for. @returns a function that makes it not come */
  #after(ms: number, run: () => void): () => void {
    const process = this.#process as Process
    process.beginPending()
    let waits = true
    const over = (then?: () => void): void => {
      if (!waits) return
      waits = false
      clearTimeout(timer)
      if (!process.endPending()) return
      if (then !== undefined) this.#later(then)
      process.vm.wake()
    }
    const timer = setTimeout(() => { over(run) }, Math.min(Math.max(ms, 0), LONGEST))
    return () => { over() }
  }
}

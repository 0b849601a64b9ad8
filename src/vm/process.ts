/**
 * Processes: a private state, named endpoints, and a queue of actions to be performed.
 *
 * Owns what a handler's result does to its process. Who gets a turn when is the VM's business.
 */
import { isNativeError, isPromise } from 'node:util/types'
import { show } from '../support/errors.js'
import { functionPlace } from '../support/function-place.js'
import { log, logs } from '../support/log.js'
import {
  Action, Attempt, Quit, SendMessage, type Guard, type Pid, type SpawnSettings,
} from './action.js'
import type { Endpoint } from './endpoint.js'
import type { EndpointTable } from './endpoint-table.js'
import { isOfEndedAsker } from './asking.js'
import { adoptPromises, flatten, handlerBehind, strayResult, Transition } from './handler.js'
import { untie, type Ties } from './ties.js'
import { WaitingLine } from './waiting-line.js'
import type { Vm } from './vm.js'

/** The kind of handler that ran. */
export type EventHandler = 'onPresence' | 'onAbsence' | 'onMessage'

/** Endpoints of a process at an outer level, by name. */
export type MetaEndpointTable = Map<unknown, Endpoint>

/**
 * What a failure is told as. `undefined` as a reason means an orderly end, so an `undefined` that was thrown
 * becomes an error that says so.
 */
export function failureOf(error: unknown, who: Process): unknown {
  return error === undefined ? new Error(`${who.describe()} failed: what was thrown is undefined`) : error
}

/** What the log says of the endpoint whose handler has failed. */
function describeEndpoint(endpoint: Endpoint | undefined): Record<string, unknown> {
  if (endpoint === undefined) return {}
  const { name, orientation, interest, topic } = endpoint
  const given = typeof name === 'symbol' ? {} : { name }
  return { endpoint: `${interest === 'participant' ? '' : `${interest} `}${orientation}`, topic, ...given }
}

/** What is no action; the error for it says who returned it. */
class Stray extends Error {
  constructor(readonly value: unknown) {
    super()
  }
}
const strayed = (value: unknown): Error => new Stray(value)

/** The handler's place is in the stack, as if it had thrown the error itself. */
function notAResult(value: unknown, endpoint: Endpoint | undefined, event: EventHandler | undefined): Error {
  const who = event === undefined || endpoint === undefined
    ? 'a process' : `${event} of the ${endpoint.orientation} of ${show(endpoint.topic)}`
  const error = strayResult(value, who)
  const place = event === undefined ? undefined : functionPlace(handlerBehind(endpoint?.[event]))
  if (place !== undefined) error.stack = `${error.name}: ${error.message}\n    at ${event} (${place})`
  return error
}

/** Who is told of an async boot: that it has failed, and that it has settled and all that came of it is done. */
export interface Booted {
  failed(reason: unknown): void
  settled(): void
}

/** Whether a tree is one action or nothing, as most are. */
function isSimple(tree: unknown): boolean {
  return tree === undefined || tree instanceof Action
}

/** The actions of a tree, in an array of its own. @throws for what is no action */
function actionsIn(tree: unknown): Action[] {
  // Most trees of several actions are one array: its copy is no longer than it has to be.
  if (Array.isArray(tree) && isFlat(tree)) return tree.slice()
  const actions: Action[] = []
  flatten(tree, actions, strayed)
  return actions
}

/** Whether a tree is a list of actions and nothing else, holes included. */
function isFlat(tree: readonly unknown[]): tree is Action[] {
  for (let i = 0; i < tree.length; i++) if (!(tree[i] instanceof Action)) return false
  return true
}

export class Process {
  state: unknown = undefined
  /** Actions to be performed: none, one (as is nearly always the case), or several. */
  queue: Action | Action[] | undefined = undefined
  readonly vm: Vm
  /** Whether it stands in its VM's run queue. */
  scheduled = false
  alive = true

  readonly pid: Pid
  readonly name: string | undefined
  /** What becomes of failures, if they don't end it. */
  guard: Guard | undefined = undefined
  /** What it has failed with, while what an async boot has come to is taken. */
  private failures: unknown[] | undefined = undefined
  /** Whether its VM ends when it fails. */
  readonly essential: boolean

  /** Endpoints at its own level. */
  endpoints: EndpointTable = undefined
  /** Endpoints outside, by number of levels less one. */
  metaEndpoints: MetaEndpointTable[] | undefined = undefined
  /** What it, or a process inside, still waits for: promises that are to settle, meta actions that are on their way. */
  pending = 0
  /** How many of these are its own, and not those of a process inside. */
  private ownPending = 0

  /** Other processes that end with it, or that it ends with. */
  ties: Ties | undefined = undefined
  /** What waits for its handlers, if they run one after another. */
  readonly line: WaitingLine | undefined

  /** The VM that this process is, and the endpoints that processes inside of it have at this level. */
  inner: Vm | undefined = undefined
  installed: Set<Endpoint> | undefined = undefined

  constructor(vm: Vm, pid: Pid, { name, essential = false, sequential = false }: SpawnSettings) {
    this.vm = vm
    this.pid = pid
    this.name = name
    this.essential = essential
    this.line = sequential ? new WaitingLine(this) : undefined
  }

  enqueue(action: Action): void {
    if (!this.alive) return // what a dying process's handlers return is lost
    const { queue } = this
    if (queue === undefined) {
      this.queue = action
      if (!this.scheduled) this.vm.schedule(this)
    } else if (Array.isArray(queue)) {
      queue.push(action)
    } else {
      this.queue = [queue, action]
    }
  }

  /** Takes over the array. */
  private enqueueAll(actions: Action[]): void {
    if (actions.length > 0 && this.queue === undefined) {
      this.queue = actions
      if (!this.scheduled) this.vm.schedule(this)
    } else {
      for (let i = 0; i < actions.length; i++) this.enqueue(actions[i])
    }
  }

  /**
   * Takes what a handler returned. Anything but a valid result counts as a crash of the handler.
   *
   * @param endpoint whose handler it was, if it was an endpoint's
   * @param event which of its handlers
   * @param subject the message, or the topic of the meeting, that it was told of
   */
  accept(result: unknown, endpoint?: Endpoint, event?: EventHandler, subject?: unknown): void {
    if (result === undefined) return
    if (result instanceof SendMessage) this.enqueue(result)
    else if (result instanceof Transition && result.actions === undefined) this.state = result.state
    else this.acceptAny(result, endpoint, event, subject)
  }

  private acceptAny(
    result: unknown, endpoint: Endpoint | undefined, event: EventHandler | undefined, subject: unknown,
  ): void {
    if (!this.alive) {
      this.adopt(result, endpoint)
      return
    }
    if (result instanceof Action) {
      this.enqueue(result)
      return
    }
    if (result instanceof Transition && isSimple(result.actions)) {
      this.state = result.state
      if (result.actions instanceof Action) this.enqueue(result.actions)
      return
    }
    try {
      this.take(result, endpoint, event, subject)
    } catch (error) {
      this.crash(error, endpoint, event, subject)
    }
  }

  /** Takes a result, or throws if it isn't valid: then nothing has changed. */
  take(result: unknown, endpoint?: Endpoint, event?: EventHandler, subject?: unknown): void {
    if (isPromise(result)) {
      void this.awaitActions(result, endpoint, event, subject)
      return
    }
    let actions: Action[]
    try {
      actions = actionsIn(result instanceof Transition ? result.actions : result)
    } catch (error) {
      this.adopt(result, endpoint)
      throw error instanceof Stray ? notAResult(error.value, endpoint, event) : error
    }
    if (result instanceof Transition) this.state = result.state
    this.enqueueAll(actions)
  }

  /**
   * Takes the result of its boot, or throws if it isn't valid.
   *
   * @param awaited is called if the result is a promise, and says who is told what becomes of it
   */
  boot(result: unknown, awaited: ((child: Process) => Booted) | undefined): void {
    if (isPromise(result)) void this.awaitActions(result, undefined, undefined, undefined, awaited?.(this))
    else this.take(result)
  }

  /** Keeps the process, and the VMs around it, alive until the promise settles. */
  private async awaitActions(
    promise: Promise<unknown>,
    endpoint: Endpoint | undefined,
    event: EventHandler | undefined,
    subject: unknown,
    booted?: Booted,
  ): Promise<void> {
    this.beginPending()
    this.line?.began()
    const { tap } = this.vm.ground
    const number = tap?.awaits(this)
    let take: () => void
    try {
      const value = await promise
      take = () => { this.takeSettled(value, endpoint, event, subject) }
    } catch (error) {
      take = () => { this.crash(error, endpoint, event, subject) }
    }
    if (tap !== undefined && tap === this.vm.ground.tap) {
      const ready = tap.settles(this, number as number)
      if (ready !== undefined) await ready
    }
    const lives = this.endPending()
    this.failures = booted && []
    take()
    const { failures } = this
    this.failures = undefined
    if (failures !== undefined && failures.length > 0) booted?.failed(failures[0])
    this.line?.settled()
    if (lives) this.vm.wake()
    booted?.settled()
  }

  private takeSettled(
    value: unknown, endpoint: Endpoint | undefined, event: EventHandler | undefined, subject: unknown,
  ): void {
    if (!(value instanceof Transition)) {
      this.accept(value, endpoint, event, subject)
      return
    }
    this.adopt(value, endpoint)
    const error = new TypeError('an async handler must resolve to actions, not to a transition')
    this.crash(error, endpoint, event, subject)
  }

  /** The result is not used, but promises in it may still be rejected: that is logged, and ends nothing. */
  private adopt(result: unknown, endpoint: Endpoint | undefined): void {
    adoptPromises(result, (reason) => { this.lost(reason, endpoint) })
  }

  /** A failure that ends nothing, as the process has ended before or nobody can wait for the promise. */
  private lost(reason: unknown, endpoint: Endpoint | undefined): void {
    const what = this.alive
      ? 'returned a promise inside an action tree, which was rejected'
      : 'has ended; then a handler failed'
    const fields = { ...describeEndpoint(endpoint), reason: failureOf(reason, this) }
    log(isOfEndedAsker(reason) ? 'debug' : 'warning', `${this.describe()} ${what}`, fields)
  }

  /** It waits for something from now on: until `endPending`, neither it nor a VM around it is idle. */
  beginPending(): void {
    this.ownPending++
    this.changePending(1)
  }

  /** One thing that it has waited for has come, or will not come any more. @returns whether the process still lives */
  endPending(): boolean {
    if (!this.alive) return false
    this.ownPending--
    this.changePending(-1)
    return true
  }

  private changePending(by: number): void {
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- a loop over the VMs around
    let process: Process = this
    for (;;) {
      process.pending += by
      if (by < 0 && process.alive && process.isIdle()) process.vm.collectLater(process)
      const { container } = process.vm
      if (container === undefined) break
      process = container
    }
    process.vm.ground.pending += by
  }

  /**
   * Ends the process and everything inside of it: what they still wait for is not waited for any more.
   *
   * @param failed whether that is a failure
   * @returns those outside of it that are to end with it
   */
  end(reason: unknown, failed: boolean): Process[] | undefined {
    const ending: Process[] = [this]
    let linked: Process[] | undefined
    for (let process = ending.pop(); process !== undefined; process = ending.pop()) {
      process.alive = false
      process.queue = undefined
      if (process.ownPending > 0) process.changePending(-process.ownPending)
      process.ownPending = 0
      if (process.inner !== undefined) for (const inside of process.inner.abandon()) ending.push(inside)
      if (process.ties !== undefined) for (const child of untie(process, reason, failed)) (linked ??= []).push(child)
    }
    return linked
  }

  /**
   * A handler failed: its process is to quit with the error, after what is queued already; or its guard says
   * what else.
   */
  crash(error: unknown, endpoint?: Endpoint, event?: EventHandler, subject?: unknown): void {
    if (!this.alive) {
      this.lost(error, endpoint)
      return
    }
    const handler = event && { handler: event, ...describeEndpoint(endpoint), about: subject }
    this.fail(error, endpoint?.name, subject, handler)
  }

  /** The same for whatever it did, also under the name of an endpoint that it doesn't have. */
  fail(error: unknown, name: unknown, subject: unknown, details?: Readonly<Record<string, unknown>>): void {
    const reason = failureOf(error, this)
    if (this.guard !== undefined && this.alive) {
      this.survive(this.guard, reason, name, subject)
      return
    }
    this.enqueue(new Quit(undefined, reason, true))
    this.failures?.push(reason)
    this.logFailure({ ...details ?? { endpoint: name }, reason })
  }

  /**
   * Whoever started a ground VM hears of the failure that ended it: then the log needn't tell. Nor need it when a
   * process fails because its VM does, with the reason that the process was told. A socket's error that a process quits
   * with comes from outside of the program.
   */
  logFailure(fields: Readonly<Record<string, unknown>>, what = 'failed'): void {
    const { reason } = fields
    const told = (this.essential && this.vm.container === undefined) || this.vm.failsBecauseOf(reason)
    const ofSocket = isNativeError(reason) && Object.hasOwn(reason, 'syscall')
    const fromOutside = ofSocket && fields['handler'] === undefined
    const level = told || fromOutside ? 'info' : 'error'
    if (logs(level)) log(level, `${this.describe()} ${what}`, fields)
  }

  /** Goes on after a failure. What its guard asks for can't fail it again. */
  survive(guard: Guard, reason: unknown, name: unknown, subject: unknown): void {
    const actions: Action[] = []
    try {
      flatten(guard(reason, name, subject), actions)
    } catch (error) {
      log('error', `${this.describe()} failed to tell of a failure`, { endpoint: name, reason, error })
      return
    }
    this.enqueueAll(actions.map((action) => new Attempt(action)))
  }

  /** Whether nothing can happen to it any more. */
  isIdle(): boolean {
    return (
      this.queue === undefined &&
      this.pending === 0 &&
      this.endpoints === undefined &&
      (this.installed === undefined || this.installed.size === 0) &&
      (this.metaEndpoints === undefined || this.metaEndpoints.every((table) => table.size === 0)) &&
      (this.inner === undefined || this.inner.isIdle())
    )
  }

  metaTable(level: number): MetaEndpointTable {
    this.metaEndpoints ??= []
    while (this.metaEndpoints.length < level) this.metaEndpoints.push(new Map())
    return this.metaEndpoints[level - 1]
  }

  /** For logs and errors: `process 3 (chat) of VM 2`. */
  describe(): string {
    const name = this.name === undefined ? '' : ` (${this.name})`
    const where = this.vm.container === undefined ? '' : ` of VM ${this.vm.path()}`
    return `process ${this.pid}${name}${where}`
  }
}

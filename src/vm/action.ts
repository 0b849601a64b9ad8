/**
 * Actions: what a process asks its VM to do. Plain values without effect until they are performed;
 * one value may be returned many times.
 *
 * Every constructor checks its arguments here, so that a mistake is reported where it was made.
 */
import { holdsOptions, unknownOption, type Elsewhere } from '../support/checks.js'
import { argumentError, show } from '../support/errors.js'
import {
  Action, adoptPromises, flatten, SendMessage, type ActionTree, type Handler, type HandlerResult, type Handlers,
} from './handler.js'
import type { Process } from './process.js'
import { checkOrientation, Role, type Orientation } from './role.js'

export { Action, SendMessage }

/** Identifies a process in its VM. Counts from 0; not used again while the VM lives. */
export type Pid = number

/** Handlers for whatever state; the action's type parameter keeps track of it. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type AnyHandlers = Handlers<any> | Handler
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type AnyResult = HandlerResult<any>

/** What an endpoint may be that only this package makes. */
export interface EndpointKind {
  /** Messages that are more general than the topic are not for it. */
  readonly exact?: boolean
  /** It hears of events at once, also in a process that is sequential. */
  readonly immediate?: boolean
  /** What it returns for a message is done in the VM where it is, also if that is around the process's. */
  readonly replies?: boolean
  /** It stands for an endpoint of another node, and has no handlers. */
  readonly remote?: boolean
  /**
   * It watches, with interest `everything`, what is of this node: it hears nothing of what is remote, neither endpoints
   * nor messages. It is told of the endpoints themselves (`watchedEndpoint`), and nobody is told of it.
   */
  readonly watches?: boolean
}

const USUAL: EndpointKind = {}

export class AddEndpoint<in S> extends Action<S> {
  constructor(
    readonly name: unknown,
    readonly role: Role,
    readonly handlers: AnyHandlers,
    readonly kind = USUAL,
  ) {
    super()
  }
}

export class DeleteEndpoint extends Action {
  constructor(
    readonly name: unknown,
    readonly reason: unknown,
  ) {
    super()
  }
}

/** Makes the first transition of a process. */
export type Boot<S> = () => HandlerResult<S>

/** Options of `spawn`. */
export interface SpawnOptions<S> {
  /** For logs and errors. */
  readonly name?: string | undefined
  /**
   * Runs in the parent right after the child's boot, with the child's pid. `failure` is what the boot threw;
   * undefined if it booted. (That of `nestedVm` is what the boot of the first process inside threw.) An async boot
   * has not failed yet then: should it be rejected, `parent` runs once more, with the reason as `failure`.
   */
  readonly parent?: ((pid: Pid, state: S, failure: unknown) => HandlerResult<S>) | undefined
  /**
   * Whether the VM can't do without it: when it fails (a handler or its boot throws, an action of its own
   * isn't possible, or it quits with an `Error`), the whole VM ends with that as the reason. The promise of a
   * ground VM is rejected with it; a nested VM fails as a process, and is essential itself or not.
   * Default: false.
   */
  readonly essential?: boolean | undefined
  /**
   * Whether it ends when the process that starts it ends, in whatever way, with the same reason. It may end
   * before, which does nothing to that process; as long as it lives, that process isn't garbage-collected. Of several
   * children the one that was started last ends first. Default: false.
   */
  readonly link?: boolean | undefined
  /**
   * Whether its async handlers run one after another: while a promise that one of its handlers or continuations
   * has returned is pending, and until the actions that it resolves to are performed, events wait. They are then
   * handled in their order, each when the actions of the one before are performed, with the state as it is then.
   * At most 10,000 may wait: with one more the process fails. What waits at its end is dropped. Default: false.
   */
  readonly sequential?: boolean | undefined
}

/** Options of `nestedVm`: those of `spawn` without `sequential`, as a VM has no handlers of its own. */
export type NestedVmOptions<S> = Omit<SpawnOptions<S>, 'sequential'>

/** What a `Spawn` makes of the options; the rest is the package's own. */
export interface SpawnSettings {
  readonly name?: string | undefined
  readonly parent?: ((pid: Pid, state: never, failure: unknown) => AnyResult) | undefined
  readonly essential?: boolean | undefined
  readonly link?: boolean | undefined
  readonly sequential?: boolean | undefined
  /** Whether the child is a VM, whose first process boots with `boot`. */
  readonly nested?: boolean | undefined
  /** Whether that first process is essential in there. */
  readonly firstIsEssential?: boolean | undefined
  /** @internal Is given the process before it boots. It must not throw. */
  readonly born?: ((process: Process) => void) | undefined
  /** Whether `boot` is given a function that sets the guard of its process. */
  readonly driver?: boolean | undefined
}

/**
 * What a process does about a failure instead of quitting: what a handler of its own threw, or an action
 * of its own that could not be performed. What it returns is performed; what fails of that is only logged.
 *
 * @param name of the endpoint whose handler it was, or that was to be added or deleted; or undefined
 * @param subject what it was about: the message, or the topic of the meeting or of the endpoint
 */
export type Guard = (error: unknown, name: unknown, subject: unknown) => ActionTree

export class Spawn<in S> extends Action<S> {
  constructor(
    readonly boot: () => AnyResult,
    readonly settings: SpawnSettings = {},
  ) {
    super()
  }
}

export class Quit extends Action {
  constructor(
    readonly pid: Pid | undefined,
    readonly reason: unknown,
    /** Whether it is what became of a failure, which has been logged. */
    readonly failed = false,
  ) {
    super()
  }
}

export class Yield<in S> extends Action<S> {
  constructor(readonly continuation: (state: never) => AnyResult) {
    super()
  }
}

export class AtMetaLevel<in S> extends Action<S> {
  readonly action: Action<S>
  /** What is to be done in the end, and how many levels out. */
  readonly innermost: Action<S>
  readonly levels: number

  constructor(action: Action<S>) {
    super()
    this.action = action
    this.innermost = action instanceof AtMetaLevel ? action.innermost : action
    this.levels = action instanceof AtMetaLevel ? action.levels + 1 : 1
  }
}

/** @internal An action that only this package makes, and that knows how it is performed. */
export abstract class Inner extends Action {
  /** Performs it in the turn of the process, which has it in its queue. */
  abstract perform(process: Process): void
}

/** An action whose failure is logged, and ends nothing. */
export class Attempt extends Action {
  constructor(readonly action: Action) {
    super()
  }
}

/**
 * Sends a message: to subscribers, or with orientation `subscriber` to publishers.
 * The sender's own matching endpoints get it first. No endpoint is needed to send.
 */
export function sendMessage(body: unknown, orientation: Orientation = 'publisher'): SendMessage {
  if (orientation !== 'publisher') checkOrientation('sendMessage', orientation)
  return new SendMessage(body, orientation)
}

/** Sends a message against the stream, from a subscriber to publishers. */
export function sendFeedback(body: unknown): SendMessage {
  return new SendMessage(body, 'subscriber')
}

/**
 * Adds an endpoint, or replaces the handlers of the one with this name and an equal role.
 * (`endpoint.subscriber` and `endpoint.publisher` are the comfortable way.)
 *
 * @param name any value, unique in the process
 * @param handlers functions by event, or one function of `(event, state)`
 */
export function addEndpoint<S>(
  name: unknown,
  role: Role,
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- message types come with the DSL
  handlers: Handlers<any, S> | Handler<S>,
): AddEndpoint<S> {
  if (!(role instanceof Role)) throw argumentError('addEndpoint', 'role', 'a role(...)', role)
  if (typeof handlers !== 'function') {
    checkHandlers('addEndpoint', 'handlers', handlers)
    for (const key in handlers) {
      if (!EVENTS.includes(key as keyof Handlers)) throw unknownOption('addEndpoint', key, EVENTS, {}, 'handlers')
    }
  }
  return new AddEndpoint(name, role, handlers)
}

const EVENTS: readonly (keyof Handlers)[] = ['onPresence', 'onAbsence', 'onMessage']

/** @internal */
export function checkHandlers(call: string, argument: string, handlers: unknown): void {
  if (!holdsOptions(handlers, EVENTS)) {
    throw argumentError(call, argument, 'an object of handlers', handlers)
  }
  for (const event of EVENTS) {
    const handler = (handlers as Handlers)[event] as unknown
    if (handler !== undefined && typeof handler !== 'function') {
      throw argumentError(call, `${argument}.${event}`, 'a function', handler)
    }
  }
}

/** Removes an endpoint; its peers, and its own handler, hear of the absence. Unknown names are ignored. */
export function deleteEndpoint(name: unknown, reason?: unknown): DeleteEndpoint {
  return new DeleteEndpoint(name, reason)
}

/** Options of `nestedVm`; of `spawn` as well, which has one more. */
const CHILD_OPTIONS = ['name', 'parent', 'essential', 'link']
const NOT_OF_A_VM = { sequential: 'a VM has no handlers itself: it is an option of spawn, for the processes inside' }

/** @internal */
export function checkBoot(
  call: string,
  boot: unknown,
  options: unknown,
  known: readonly string[],
  elsewhere?: Elsewhere,
): void {
  if (typeof boot !== 'function') throw argumentError(call, 'boot', 'a function', boot)
  if (!holdsOptions(options, known)) {
    throw argumentError(call, 'options', 'an object', options)
  }
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw unknownOption(call, key, known, elsewhere)
  }
  const { name, parent } = options as SpawnOptions<unknown>
  if (name !== undefined && typeof name !== 'string') {
    throw argumentError(call, 'options.name', 'a string', name)
  }
  if (parent !== undefined && typeof parent !== 'function') {
    throw argumentError(call, 'options.parent', 'a function', parent)
  }
  for (const flag of ['essential', 'link', 'sequential'] as const) {
    const value: unknown = (options as SpawnOptions<unknown>)[flag]
    if (value !== undefined && typeof value !== 'boolean') {
      throw argumentError(call, `options.${flag}`, 'a boolean', value)
    }
  }
}

/**
 * Starts a process beside this one.
 *
 * @param boot runs at once; what it returns is the child's first transition
 */
export function spawn<C, S = unknown>(boot: Boot<C>, options: SpawnOptions<S> = {}): Spawn<S> {
  checkBoot('spawn', boot, options, [...CHILD_OPTIONS, 'sequential'])
  return new Spawn(boot, options)
}

/**
 * Starts a process that works for others: a failure in what it does for one of them doesn't end it, but
 * goes to its guard, which tells that one. Its endpoints hear only messages that are instances of their
 * topics: one with wildcards in it, such as `sendMessage(_)`, which meets everybody's, is for none of them.
 *
 * @param name for logs
 * @param boot is to set the guard, before its endpoints are added
 */
export function spawnDriver(name: string, boot: (setGuard: (guard: Guard) => void) => ActionTree): Action {
  return new Spawn(boot as Boot<unknown>, { name, driver: true })
}

/** The same endpoints, of another kind. */
export function ofKind<S>(kind: EndpointKind, action: Action<S>): Action<S> {
  if (!(action instanceof AddEndpoint)) return action
  return new AddEndpoint(action.name, action.role, action.handlers, { ...action.kind, ...kind })
}

/**
 * Starts a VM as a process beside this one. Its processes see only each other, but for `atMetaLevel`.
 *
 * @param boot makes the first transition of the first process inside
 */
export function nestedVm<C, S = unknown>(boot: Boot<C>, options: NestedVmOptions<S> = {}): Spawn<S> {
  checkBoot('nestedVm', boot, options, CHILD_OPTIONS, NOT_OF_A_VM)
  return new Spawn(boot, { ...options, nested: true })
}

/**
 * Ends this process. The actions behind it in the queue are dropped.
 *
 * @param reason what its peers hear; an `Error` is a failure, which is logged as one that was thrown is
 */
export function quit(reason?: unknown): Quit {
  return new Quit(undefined, reason)
}

/** Ends the process with this pid in the same VM; unknown pids are ignored. */
export function kill(pid: Pid, reason?: unknown): Quit {
  if (!Number.isInteger(pid)) throw argumentError('kill', 'pid', 'a pid', pid)
  return new Quit(pid, reason)
}

/** Runs `continuation` when the action is performed; what it returns waits for the process's next turn. */
export function yieldTurn<S>(continuation: (state: S) => HandlerResult<S>): Yield<S> {
  if (typeof continuation !== 'function') {
    throw argumentError('yieldTurn', 'continuation', 'a function', continuation)
  }
  return new Yield(continuation)
}

/** The same action in the VM that contains this VM; or the same actions, of any tree. */
export function atMetaLevel<S>(action: Action<S>): Action<S>
export function atMetaLevel<S>(...actions: readonly ActionTree<S>[]): readonly Action<S>[]
// Nearly always there is one, and an array of the arguments would cost as much as the rest.
export function atMetaLevel(first?: ActionTree): Action | readonly Action[] {
  if (first instanceof Action && arguments.length === 1) return new AtMetaLevel(first)
  // eslint-disable-next-line prefer-rest-params
  const trees = Array.from(arguments) as ActionTree[]
  const actions: Action[] = []
  try {
    flatten(trees, actions, notAnAction)
  } catch (error) {
    // The error says what is wrong already: should a promise in there be rejected as well, that is ignored.
    adoptPromises(trees, () => undefined)
    throw error
  }
  return actions.map((action) => new AtMetaLevel(action))
}

const notAnAction = (value: unknown): TypeError =>
  argumentError('atMetaLevel', 'action', 'an action, or arrays of them', value)

/** An action in a few words, for errors. @param text how values are written */
export function describeAction(action: Action, text: (value: unknown) => string = show): string {
  if (action instanceof AtMetaLevel) {
    const { levels, innermost } = action
    const inner = describeAction(innermost, text)
    if (levels > 8) return `${levels} times atMetaLevel around ${inner}`
    return 'atMetaLevel('.repeat(levels) + inner + ')'.repeat(levels)
  }
  if (action instanceof SendMessage) return `sendMessage(${text(action.body)})`
  if (action instanceof AddEndpoint || action instanceof DeleteEndpoint)
    return `${action.constructor.name}(${text(action.name)})`
  return action.constructor.name
}

/** What an action is about, as a guard is told: an endpoint's name, and a topic or a message. */
export function aboutAction(action: Action): { name: unknown; subject: unknown } {
  const what = action instanceof AtMetaLevel ? action.innermost : action
  if (what instanceof SendMessage) return { name: undefined, subject: what.body }
  if (what instanceof AddEndpoint) return { name: what.name, subject: what.role.topic }
  return { name: what instanceof DeleteEndpoint ? what.name : undefined, subject: undefined }
}

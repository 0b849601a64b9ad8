/**
 * The virtual machine: processes, the endpoints between them, and the rounds in which they act.
 *
 * Owns scheduling and the performing of actions at its own level; presence is in `presence.ts`, what
 * crosses levels in `meta.ts`. In a round each process with queued actions gets one turn; in its turn
 * the whole queue is performed, each action taking full effect before the next. Processes that have
 * nothing to do cost nothing.
 */
import { isNativeError } from 'node:util/types'
import { log, logs } from '../support/log.js'
import { RoutingIndex, type AtomTable } from '../topic/index.js'
import {
  aboutAction,
  AddEndpoint,
  AtMetaLevel,
  Attempt,
  DeleteEndpoint,
  describeAction,
  Inner,
  Quit,
  SendMessage,
  Spawn,
  Yield,
  type Action,
  type AnyHandlers,
  type Guard,
  type Pid,
} from './action.js'
import { Endpoint } from './endpoint.js'
import { endpointsIn, findEndpoint, withEndpoint, withoutEndpoint } from './endpoint-table.js'
import { DeleteMetaEndpoints, relay, Relayed, RelayedMessage } from './meta.js'
import { installEndpoint, uninstallEndpoint } from './presence.js'
import { failureOf, Process, type Booted, type EventHandler } from './process.js'
import { ProcessTable } from './process-table.js'
import { endWith, tie } from './ties.js'
import { show } from '../support/errors.js'
import type { HandlerResult } from './handler.js'
import type { EventSource } from './event-source.js'
import type { Orientation, Role } from './role.js'
import type { Tap } from './tap.js'
import type { ShutdownOptions, ShutdownReport } from './shutdown.js'
import type { Wiring } from './wiring.js'

/** What a VM needs of the ground VM around everything. */
export interface Ground {
  /** Shared by the indexes of all VMs inside. */
  readonly atoms: AtomTable
  /** Promises that are still to settle, anywhere inside. */
  pending: number
  /** Actions performed and handlers run for messages, anywhere inside. Never reset. */
  work: number
  /** There may be something to run. */
  wake(): void
  /** An endpoint was installed in, or removed from, the ground VM itself. */
  installed(endpoint: Endpoint): void
  uninstalled(endpoint: Endpoint): void
  /** What was asked for and nobody has answered, anywhere inside. */
  readonly wiring: Wiring
  /** Room for the peers of an endpoint that comes or goes; absent while it is in use. */
  peers: (Endpoint | undefined)[] | undefined
  /** Somebody who looks into it, and the VMs inside. */
  readonly tap: Tap | undefined
  /** Has somebody look, from now on or from when the one before has ended. @throws when somebody does already */
  look(tap: Tap): void
  /** He looks no more. */
  lookAway(tap: Tap): void
  /** The outermost VM. */
  readonly root: Vm
  /** Ends it in good order; see GroundVm. @returns what gives the report when the end has come */
  shutdown(options: ShutdownOptions): () => ShutdownReport
  /** The event sources that are active. */
  activeSources(): Iterable<EventSource<unknown>>
  /** Delivers what a source has fired, to those who subscribe to it: for who looks, and feeds it. */
  fired(source: EventSource<unknown>, value: unknown): void
  /** Ends all processes. */
  stop(reason: unknown): void
  /** A process of the ground VM without which it can't be has failed. */
  essentialFailed(reason: unknown): void
}

type Continuation = (pid: Pid, state: unknown, failure: unknown) => HandlerResult<unknown>

export class Vm {
  readonly ground: Ground
  /** The process that this VM is in the VM around it; undefined for the ground VM. */
  readonly container: Process | undefined
  /** How many VMs there are around this one. */
  readonly depth: number
  readonly publishers: RoutingIndex<Endpoint>
  readonly subscribers: RoutingIndex<Endpoint>
  readonly processes = new ProcessTable()
  private nextPid: Pid = 0
  private queue: (Process | undefined)[] = []
  private spare: (Process | undefined)[] = []
  private queued = 0
  private collectable: Process[] = []
  /** That of an essential process, which ends this VM. */
  private failure: { readonly reason: unknown } | undefined = undefined
  /** Whether the message being delivered comes from another node. */
  deliversRemote = false
  /** Receivers of the message being delivered. Deliveries in one VM never nest. */
  private readonly found: (Endpoint | undefined)[] = []

  constructor(ground: Ground, container?: Process) {
    this.ground = ground
    this.container = container
    this.depth = container === undefined ? 0 : container.vm.depth + 1
    this.publishers = new RoutingIndex(ground.atoms)
    this.subscribers = new RoutingIndex(ground.atoms)
  }

  /** Whether no process has anything queued. */
  isIdle(): boolean {
    return this.queued === 0
  }

  /** Whether a round would do anything. */
  needsRound(): boolean {
    return this.queued > 0 || this.collectable.length > 0
  }

  /** The first of the processes that have something queued, `most` of them. */
  queuedProcesses(most: number): Process[] {
    return this.queue.slice(0, Math.min(most, this.queued)) as Process[]
  }

  schedule(process: Process): void {
    process.scheduled = true
    this.queue[this.queued++] = process
  }

  /** Something happened inside without the VMs around having asked: they have to give this one a turn. */
  wake(): void {
    let container = this.container
    while (container !== undefined) {
      if (!container.scheduled && container.alive) container.vm.schedule(container)
      container = container.vm.container
    }
    this.ground.wake()
  }

  /** Gives one turn to each process that has something queued. */
  runRound(): void {
    const round = this.queue
    const count = this.queued
    this.queue = this.spare
    this.queued = 0
    this.spare = round
    for (let i = 0; i < count; i++) {
      const process = round[i] as Process
      round[i] = undefined
      process.scheduled = false
      if (process.alive) this.takeTurn(process)
    }
    if (this.collectable.length > 0) this.collect()
  }

  private takeTurn(process: Process): void {
    const { tap } = this.ground
    if (tap !== undefined && !tap.turnBegins(process)) return
    const { queue } = process
    process.queue = undefined
    if (process.inner?.needsRound() === true) process.inner.runRound()
    if (tap !== undefined) {
      if (Array.isArray(queue)) {
        for (let i = 0; i < queue.length && process.alive; i++) this.performTapped(process, queue[i], i, tap)
      } else if (queue !== undefined) {
        this.performTapped(process, queue, 0, tap)
      }
      tap.turnEnds(process)
    } else if (Array.isArray(queue)) {
      this.ground.work += queue.length
      for (let i = 0; i < queue.length && process.alive;) i = this.performFrom(process, queue, i)
    } else if (queue !== undefined) {
      this.ground.work++
      try {
        this.perform(process, queue)
      } catch (error) {
        this.fail(process, queue, error)
      }
    }
    if (!process.alive) return
    if (process.inner !== undefined && !process.inner.isIdle() && !process.scheduled) this.schedule(process)
    if (process.isIdle()) this.collectable.push(process)
  }

  /** @returns how far it came: to the end, to where the process has ended, or past an action that failed */
  private performFrom(process: Process, queue: readonly Action[], from: number): number {
    let i = from
    try {
      for (; i < queue.length && process.alive; i++) this.perform(process, queue[i])
      return i
    } catch (error) {
      this.fail(process, queue[i], error)
      return i + 1
    }
  }

  /** The same one by one, for somebody who looks. */
  private performTapped(process: Process, action: Action, index: number, tap: Tap): void {
    this.ground.work++
    tap.performs(process, action, index)
    try {
      this.perform(process, action)
    } catch (error) {
      this.fail(process, action, error)
    }
  }

  /**
   * Runs a handler for an event that was held up.
   *
   * @param args as the handler is given them; the state is that of now
   */
  hearLate(endpoint: Endpoint, event: EventHandler, args: readonly unknown[]): void {
    const { target, owner } = endpoint
    const handler = endpoint[event] as ((...args: unknown[]) => HandlerResult<unknown>) | undefined
    if (handler === undefined || !target.alive) return
    const [subject, , ...rest] = args
    try {
      target.accept(handler(subject, target.state, ...rest), endpoint, event, subject)
    } catch (error) {
      target.crash(error, endpoint, event, subject)
    }
    if (target !== owner) owner.vm.climb(target, owner)
  }

  /** An action can't be performed: the acting process quits at once, unless its guard says what else. */
  private fail(process: Process, action: Action, error: unknown): void {
    const reason = failureOf(error, process)
    if (process.guard !== undefined && process.alive) {
      const { name, subject } = aboutAction(action)
      process.survive(process.guard, reason, name, subject)
      return
    }
    process.logFailure({ reason, action: describeAction(action) })
    this.quit(process, reason, true)
  }

  private attempt(process: Process, action: Action): void {
    try {
      this.perform(process, action)
    } catch (error) {
      const fields = { action: describeAction(action), reason: error }
      log('error', `${process.describe()} could not tell of a failure`, fields)
    }
  }

  /** Performs one action of a process of this VM. @throws when the action is not possible */
  private perform(process: Process, action: Action): void {
    if (action instanceof SendMessage) {
      this.deliver(process, action.body, action.orientation)
    } else if (action instanceof AtMetaLevel) {
      relay(this, process, action)
    } else if (action instanceof RelayedMessage || action instanceof Relayed) {
      action.perform(this, process)
    } else if (action instanceof AddEndpoint) {
      this.addEndpoint(process, action)
    } else if (action instanceof DeleteEndpoint) {
      this.deleteEndpoint(process, action.name, action.reason)
    } else if (action instanceof Spawn) {
      this.spawn(action, process)
    } else if (action instanceof Quit) {
      this.performQuit(process, action)
    } else if (action instanceof Yield) {
      this.run(process, action.continuation as (state: unknown) => HandlerResult<unknown>)
    } else if (action instanceof Attempt) {
      this.attempt(process, action.action)
    } else if (action instanceof Inner) {
      action.perform(process)
    }
  }

  private performQuit(process: Process, { pid, reason, failed }: Quit): void {
    const target = pid === undefined ? process : this.processes.get(pid)
    if (target === process && !failed && isNativeError(reason)) process.logFailure({ reason })
    this.quit(target, reason, failed || isNativeError(reason))
  }

  /** Runs all handlers that a message is for: first the sender's own, then the others'. */
  deliver(sender: Process, body: unknown, orientation: Orientation): void {
    const index = orientation === 'publisher' ? this.subscribers : this.publishers
    const only = index.onlyReceiver(body)
    if (only === undefined) {
      this.ground.wiring.unheard(this, sender, body, orientation)
      return
    }
    if (only !== null) {
      this.hear(only, body)
      return
    }
    const found = this.found
    const count = index.receivers(body, found as Endpoint[])
    if (index.refused > 0) this.tellRefused(sender, body, index)
    else if (count === 0) this.ground.wiring.unheard(this, sender, body, orientation)
    this.ground.work += count
    let others = 0
    for (let i = 0; i < count; i++) {
      const endpoint = found[i] as Endpoint
      if (endpoint.owner === sender) this.hear(endpoint, body)
      else found[others++] = endpoint
    }
    for (let i = 0; i < others; i++) this.hear(found[i] as Endpoint, body)
    for (let i = 0; i < count; i++) found[i] = undefined
  }

  /** Logs that a message was more general than topics of drivers, which have therefore not received it. */
  private tellRefused(sender: Process, body: unknown, index: RoutingIndex<Endpoint>): void {
    const endpoints = index.refused
    index.refused = 0
    const what = `${sender.describe()} sent drivers a message with wildcards, which is for none of them`
    log('warning', what, { message: body, endpoints })
  }

  private hear(endpoint: Endpoint, body: unknown): void {
    const target = endpoint.target
    const handler = endpoint.onMessage
    if (handler === undefined) return // taken away while the message was on its way
    let result: unknown
    try {
      result = handler(body, target.state, endpoint.name)
    } catch (error) {
      target.crash(error, endpoint, 'onMessage', body)
    }
    if (result !== undefined) target.accept(result, endpoint, 'onMessage', body)
    if (target !== endpoint.owner) this.climb(target, endpoint.owner)
  }

  /** Tells an endpoint of a peer's coming. */
  hearPresence(endpoint: Endpoint, topic: unknown, peer: Role): void {
    const { onPresence: handler, target } = endpoint
    if (handler === undefined) return
    try {
      target.accept(handler(topic, target.state, peer, endpoint.name), endpoint, 'onPresence', topic)
    } catch (error) {
      target.crash(error, endpoint, 'onPresence', topic)
    }
    if (target !== endpoint.owner) this.climb(target, endpoint.owner)
  }

  /** Tells an endpoint of a peer's going. */
  hearAbsence(endpoint: Endpoint, topic: unknown, reason: unknown, peer: Role): void {
    const { onAbsence: handler, target } = endpoint
    if (handler === undefined) return
    try {
      target.accept(handler(topic, target.state, reason, peer, endpoint.name), endpoint, 'onAbsence', topic)
    } catch (error) {
      target.crash(error, endpoint, 'onAbsence', topic)
    }
    if (target !== endpoint.owner) this.climb(target, endpoint.owner)
  }

  /** Runs a function as a handler of a process, `owner` or one inside of it. */
  run(target: Process, handler: (state: unknown) => HandlerResult<unknown>, owner: Process = target): void {
    try {
      target.accept(handler(target.state))
    } catch (error) {
      target.crash(error)
    }
    if (target !== owner) this.climb(target, owner)
  }

  /** A handler of `target`, inside of the VM that is `owner`, has run: each VM between runs one round. */
  climb(target: Process, owner: Process): void {
    if (!owner.alive) return // it was killed: what its handlers return is lost
    for (let vm: Vm = target.vm; vm !== this; vm = (vm.container as Process).vm) {
      const container = vm.container as Process
      vm.runRound()
      if (!container.scheduled && (!vm.isIdle() || container.isIdle())) container.vm.schedule(container)
    }
  }

  private addEndpoint(process: Process, action: AddEndpoint<unknown>): void {
    const existing = findEndpoint(process.endpoints, action.name)
    if (existing !== undefined) {
      this.replaceHandlers(existing, action.role, action.handlers)
      return
    }
    const endpoint = new Endpoint(action, process, process)
    process.endpoints = withEndpoint(process.endpoints, endpoint)
    try {
      installEndpoint(this, endpoint)
    } catch (error) {
      process.endpoints = withoutEndpoint(process.endpoints, endpoint)
      throw error
    }
  }

  /** @throws when the role is another than the endpoint has */
  replaceHandlers(endpoint: Endpoint, role: Role, handlers: AnyHandlers): void {
    if (!endpoint.hasRole(role)) {
      throw new Error(
        `endpoint ${show(endpoint.name)} is already a ${endpoint.orientation} ${endpoint.interest} of ` +
          `${show(endpoint.topic)}; it can't be added as a ${role.orientation} ${role.interest} of ` +
          show(role.topic),
      )
    }
    endpoint.setHandlers(handlers)
    const receives = endpoint.onMessage !== undefined
    if (endpoint.installed) this.indexOf(endpoint).setReceives(endpoint, receives)
    else endpoint.receives = receives
  }

  indexOf(endpoint: Endpoint): RoutingIndex<Endpoint> {
    const { vm } = endpoint.owner
    return endpoint.orientation === 'publisher' ? vm.publishers : vm.subscribers
  }

  private deleteEndpoint(process: Process, name: unknown, reason: unknown): void {
    const endpoint = findEndpoint(process.endpoints, name)
    if (endpoint === undefined) return
    process.endpoints = withoutEndpoint(process.endpoints, endpoint)
    uninstallEndpoint(this, endpoint, reason)
  }

  /**
   * Starts a process. Its boot runs at once, then the parent's continuation.
   *
   * @param owner the process at this level that `parent` is, or is inside of
   * @param awaited see `Process.boot`
   * @returns why it did not boot; undefined if it did, or if that is not known yet
   */
  spawn(action: Spawn<unknown>, parent?: Process, owner = parent, awaited?: (child: Process) => Booted): unknown {
    const { settings } = action
    // A process outside of a nested VM is started in a later turn: if its parent has ended meanwhile, it isn't started.
    if (settings.link === true && parent?.alive === false) return undefined
    const pid = this.nextPid++
    const child = new Process(this, pid, settings)
    if (settings.nested === true) child.inner = new Vm(this.ground, child)
    settings.born?.(child)
    this.ground.tap?.born(child, parent)
    const continuation = settings.parent as Continuation | undefined
    const tellParent = (failure: unknown): void => {
      if (continuation === undefined || parent?.alive !== true) return
      this.run(parent, (state) => continuation(pid, state, failure), owner)
    }
    const failure = this.boot(child, action, continuation === undefined ? awaited : (booting) => {
      // Until it is known whether the child has booted, or is gone before, the parent is not idle.
      parent?.beginPending()
      let waits = true
      const letGo = (): void => {
        if (waits && parent?.endPending() === true) parent.vm.wake()
        waits = false
      }
      endWith(booting, letGo)
      return { failed: tellParent, settled: letGo }
    })
    if (settings.link === true && parent !== undefined && child.alive) tie(parent, child)
    tellParent(failure)
    return failure
  }

  private boot(
    child: Process, action: Spawn<unknown>, awaited: ((child: Process) => Booted) | undefined,
  ): unknown {
    if (child.inner !== undefined) {
      this.processes.add(child)
      if (logs('debug')) log('debug', `${child.describe()} starting`)
      const { name, firstIsEssential } = action.settings
      const first = new Spawn(action.boot, { name, essential: firstIsEssential })
      const failure = child.inner.spawn(first, undefined, undefined, awaited)
      this.schedule(child)
      return failure
    }
    try {
      const boot = action.boot as (setGuard?: (guard: Guard) => void) => unknown
      const driver = action.settings.driver === true
      const { tap } = this.ground
      const begin = (): unknown => driver ? boot((guard) => { child.guard = guard }) : boot()
      child.boot(tap === undefined ? begin() : tap.boots(child, driver, begin), awaited)
    } catch (error) {
      const reason = failureOf(error, child)
      child.logFailure({ reason }, 'did not boot')
      child.alive = false
      this.ground.tap?.ended(child, reason, true, false)
      if (child.essential) this.essentialFailed(reason)
      return reason
    }
    this.processes.add(child)
    if (logs('debug')) log('debug', `${child.describe()} starting`)
    if (child.isIdle()) this.collectable.push(child)
    return undefined
  }

  /** Whether a failure is only what became of one that ends this VM, or a VM around it. */
  failsBecauseOf(reason: unknown): boolean {
    if (this.failure !== undefined && isOrComesFrom(reason, this.failure.reason)) return true
    return this.container?.vm.failsBecauseOf(reason) === true
  }

  /** This VM can't go on: as a process of the VM around it, it fails. */
  private essentialFailed(reason: unknown): void {
    if (this.container === undefined) this.ground.essentialFailed(reason)
    else this.container.enqueue(new Quit(undefined, reason, true))
  }

  /**
   * Ends a process: its endpoints go one by one, what its handlers return is lost.
   *
   * @param failed whether that is a failure: then a VM which can't do without the process ends, too
   */
  quit(process: Process | undefined, reason: unknown, failed = isNativeError(reason)): void {
    if (process === undefined || !process.alive) return
    const linked = this.quitAlone(process, reason, failed)
    if (linked !== undefined) this.quitLinked(linked, reason, failed)
  }

  /** @returns those that are to end with it */
  private quitAlone(process: Process, reason: unknown, failed: boolean): Process[] | undefined {
    if (logs('info')) log('info', `${process.describe()} quits`, { reason })
    if (failed && process.essential) this.failure ??= { reason }
    this.ground.tap?.ended(process, reason, failed, true)
    const linked = process.end(reason, failed)
    this.processes.remove(process)
    const { endpoints, installed, metaEndpoints } = process
    for (const endpoint of endpointsIn(endpoints)) uninstallEndpoint(this, endpoint, reason)
    if (installed !== undefined) for (const endpoint of installed) uninstallEndpoint(this, endpoint, reason)
    metaEndpoints?.forEach((table, i) => {
      if (table.size === 0) return
      for (const endpoint of table.values()) endpoint.forget()
      this.container?.enqueue(
        new Relayed(new DeleteMetaEndpoints([...table.values()], reason), process, i + 1),
      )
    })
    if (failed && process.essential) this.essentialFailed(reason)
    return linked
  }

  /** Ends what is linked to a process of this VM that has ended, and what is linked to that. */
  private quitLinked(linked: Process[], reason: unknown, failed: boolean): void {
    for (let i = 0; i < linked.length; i++) {
      const child = linked[i]
      if (!child.alive) continue
      if (child.vm === this) {
        for (const further of this.quitAlone(child, reason, failed) ?? []) linked.push(further)
        continue
      }
      // It is in a VM further out, which ends it in a turn of its own, as all that is done there from in here.
      let actor = this.container as Process
      while (actor.vm !== child.vm) actor = actor.vm.container as Process
      actor.enqueue(new Quit(child.pid, reason, failed))
    }
  }

  /** The process that this VM was is no more. @returns those that were in it, which end too */
  abandon(): Process[] {
    const processes = this.processes.all()
    this.processes.clear()
    // The topics in here use atoms of tables that the ground VM keeps: they are given back.
    this.publishers.clear()
    this.subscribers.clear()
    return processes
  }

  /** Has a process looked at, at the end of the round, that became idle otherwise than in its turn. */
  collectLater(process: Process): void {
    this.collectable.push(process)
  }

  /** Silently drops the processes to which nothing can happen any more. At the end of a round. */
  collect(): void {
    // A process may have been kept because of another one, such as a linked child, that has ended now.
    while (this.collectable.length > 0) {
      const candidates = this.collectable
      this.collectable = []
      for (const process of candidates) {
        if (!process.alive || process.scheduled || !process.isIdle()) continue
        if (process.inner !== undefined) this.ground.wiring.conclude(process.inner)
        this.ground.tap?.ended(process, undefined, false, true)
        process.end(undefined, false)
        this.processes.remove(process)
        if (logs('debug')) log('debug', `${process.describe()} garbage-collected`)
      }
    }
  }

  /** Pids from the outside in: `2.0`. */
  path(): string {
    if (this.container === undefined) return 'ground'
    const pids: Pid[] = []
    for (let { container } = this as Vm; container !== undefined; { container } = container.vm) {
      pids.push(container.pid)
    }
    return pids.reverse().join('.')
  }
}

/** How many causes of causes are looked at. */
const CAUSES_MAX = 10

/** Whether a reason is another one, or an error that has it as its cause. */
function isOrComesFrom(reason: unknown, origin: unknown): boolean {
  let cause = reason
  for (let i = 0; i < CAUSES_MAX; i++) {
    if (cause === origin) return true
    if (!isNativeError(cause)) return false
    cause = cause.cause
  }
  return false
}

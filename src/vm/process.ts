/**
 * Processes: a private state, named endpoints, and a queue of actions to be performed.
 *
 * Owns what a handler's result does to its process. Who gets a turn when is the VM's business.
 */
import { log } from '../support/log.js'
import { Action, Quit, SendMessage, type Pid } from './action.js'
import type { Endpoint } from './endpoint.js'
import type { EndpointTable } from './endpoint-table.js'
import { flatten, Transition } from './handler.js'
import type { Vm } from './vm.js'

/** Endpoints of a process at an outer level, by name. */
export type MetaEndpointTable = Map<unknown, Endpoint>

/** Whether a tree is one action or nothing, as most are. */
function isSimple(tree: unknown): boolean {
  return tree === undefined || tree instanceof Action
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

  /** Endpoints at its own level. */
  endpoints: EndpointTable = undefined
  /** Endpoints outside, by number of levels less one. */
  metaEndpoints: MetaEndpointTable[] | undefined = undefined
  /** Things that may still come back to it, or to a process inside: promises, meta actions on their way. */
  pending = 0
  /** Those of its own. */
  private held = 0

  /** The VM that this process is, and the endpoints that processes inside of it have at this level. */
  inner: Vm | undefined = undefined
  installed: Set<Endpoint> | undefined = undefined

  constructor(vm: Vm, pid: Pid, name: string | undefined) {
    this.vm = vm
    this.pid = pid
    this.name = name
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

  /** Takes what a handler returned. Anything but a valid result counts as a crash of the handler. */
  accept(result: unknown): void {
    if (result === undefined) return
    if (result instanceof SendMessage) this.enqueue(result)
    else if (result instanceof Transition && result.actions === undefined) this.state = result.state
    else this.acceptAny(result)
  }

  private acceptAny(result: unknown): void {
    if (!this.alive) return
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
      this.take(result)
    } catch (error) {
      this.crash(error)
    }
  }

  /** Takes a result, or throws if it isn't valid: then nothing has changed. */
  take(result: unknown): void {
    if (result instanceof Promise) {
      this.awaitActions(result)
      return
    }
    const actions: Action[] = []
    flatten(result instanceof Transition ? result.actions : result, actions)
    if (result instanceof Transition) this.state = result.state
    this.enqueueAll(actions)
  }

  /** Keeps the process, and the VMs around it, alive until the promise settles. */
  private awaitActions(promise: Promise<unknown>): void {
    this.hold()
    const settle = (take: () => void): void => {
      if (!this.release()) return
      take()
      this.vm.wake()
    }
    const wait = async (): Promise<void> => {
      try {
        const value = await promise
        settle(() => {
          this.takeSettled(value)
        })
      } catch (error) {
        settle(() => {
          this.crash(error)
        })
      }
    }
    void wait()
  }

  private takeSettled(value: unknown): void {
    if (value instanceof Transition) {
      this.crash(new TypeError('an async handler must resolve to actions, not to a transition'))
    } else {
      this.accept(value)
    }
  }

  /** Something is still to come back to this process: neither it nor a VM around it is idle. */
  hold(): void {
    this.held++
    this.changePending(1)
  }

  /** Undoes one `hold`. @returns whether the process still lives */
  release(): boolean {
    if (!this.alive) return false
    this.held--
    this.changePending(-1)
    return true
  }

  private changePending(by: number): void {
    this.pending += by
    if (by < 0 && this.alive && this.isIdle()) this.vm.collectLater(this)
    if (this.vm.container === undefined) this.vm.ground.pending += by
    else this.vm.container.changePending(by)
  }

  /** The process is no more, nor is anything inside of it: nothing that is under way comes back. */
  end(): void {
    this.alive = false
    this.queue = undefined
    if (this.held > 0) this.changePending(-this.held)
    this.held = 0
    this.inner?.abandon()
  }

  /** A handler failed: its process is to quit with the error, after what is queued already. */
  crash(error: unknown): void {
    if (!this.alive) return
    this.enqueue(new Quit(undefined, error))
    log('error', `${this.describe()} failed`, { reason: error })
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

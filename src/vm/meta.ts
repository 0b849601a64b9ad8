/**
 * Levels: what processes of a nested VM do in the VM around it.
 *
 * A meta-level action becomes an action of the process that the nested VM is, with a note of who asked
 * for it; the container performs it in that process's turn. Names of meta endpoints belong to the inner
 * process, so those of two processes never clash. What the inner process takes back is forgotten
 * inside at once, and outside when its turn comes.
 */
import { mapKey } from '../topic/index.js'
import {
  Action,
  AddEndpoint,
  type AtMetaLevel,
  DeleteEndpoint,
  describeAction,
  Quit,
  SendMessage,
  Spawn,
  Yield,
} from './action.js'
import { Endpoint } from './endpoint.js'
import { installEndpoint, uninstallEndpoint } from './presence.js'
import type { HandlerResult } from './handler.js'
import type { Process } from './process.js'
import type { Vm } from './vm.js'

/** An action on behalf of a process further in. */
export class Relayed extends Action {
  constructor(
    /** An action, or an endpoint to be installed. */
    readonly action: Action | Endpoint | DeleteMetaEndpoints,
    readonly origin: Process,
    /** How many levels out, seen from the process whose queue this is in. 1: right here. */
    readonly levels: number,
  ) {
    super()
  }

  /** Performs it in `vm`, as `actor`, or passes it on outwards. */
  perform(vm: Vm, actor: Process): void {
    if (this.levels > 1) {
      this.passOn(vm.container as Process, actor)
      return
    }
    const { origin } = this
    try {
      performFor(vm, actor, origin, this.action)
    } catch (error) {
      origin.crash(error) // its fault, not that of the VM it lives in
      vm.climb(origin, actor)
    }
    origin.release()
    // The VMs inside have no round in which to collect what became idle by that.
    for (let inner = origin.vm; inner !== vm; inner = (inner.container as Process).vm) inner.collect()
  }

  /** To the next level out. To the VM here, the endpoint is one that `actor` has at the meta-level. */
  private passOn(container: Process, actor: Process): void {
    const { action, levels } = this
    const table = actor.metaTable(levels - 1)
    if (action instanceof Endpoint) table.set(action, action)
    if (action instanceof DeleteMetaEndpoints)
      for (const endpoint of action.endpoints) table.delete(endpoint)
    container.enqueue(new Relayed(action, this.origin, levels - 1))
  }
}

/** Endpoints that their process has forgotten, to be taken out of the VM outside. */
export class DeleteMetaEndpoints {
  constructor(
    readonly endpoints: readonly Endpoint[],
    readonly reason: unknown,
  ) {}
}

/**
 * Starts a meta-level action of a process on its way out.
 *
 * @throws when there is no VM that far out, or when an endpoint is added under another role
 */
export function relay(vm: Vm, process: Process, outermost: AtMetaLevel<unknown>): void {
  const { levels, innermost } = outermost
  if (levels > vm.depth) {
    throw new Error(`${describeAction(outermost)} is impossible: the ground VM has no VM around it`)
  }
  if (innermost instanceof SendMessage) {
    // Nobody waits for it: the next level out performs what is left of the action.
    ;(vm.container as Process).enqueue(outermost.action)
    return
  }
  let actor = process
  for (let i = 0; i < levels; i++) actor = actor.vm.container as Process
  const target = actor.vm
  const action: Action = innermost
  const relayed = register(target, process, action, actor, levels)
  if (relayed === undefined) return
  process.hold()
  ;(vm.container as Process).enqueue(new Relayed(relayed, process, levels))
}

/** What the inner process knows at once of its endpoints outside. */
function register(
  target: Vm,
  process: Process,
  action: Action,
  actor: Process,
  levels: number,
): Action | Endpoint | DeleteMetaEndpoints | undefined {
  if (action instanceof AddEndpoint) {
    const table = process.metaTable(levels)
    const key = mapKey(action.name)
    const existing = table.get(key)
    if (existing !== undefined) {
      target.replaceHandlers(existing, action.role, action.handlers)
      return undefined
    }
    const endpoint = new Endpoint(action.name, action.role, action.handlers, actor, process)
    table.set(key, endpoint)
    return endpoint
  }
  if (action instanceof DeleteEndpoint) {
    const table = process.metaTable(levels)
    const key = mapKey(action.name)
    const endpoint = table.get(key)
    if (endpoint === undefined) return undefined
    table.delete(key)
    endpoint.forget()
    return new DeleteMetaEndpoints([endpoint], action.reason)
  }
  return action
}

function performFor(
  vm: Vm,
  actor: Process,
  origin: Process,
  action: Action | Endpoint | DeleteMetaEndpoints,
): void {
  if (action instanceof Endpoint) {
    ;(actor.installed ??= new Set()).add(action)
    installEndpoint(vm, action)
  } else if (action instanceof DeleteMetaEndpoints) {
    for (const endpoint of action.endpoints) {
      actor.installed?.delete(endpoint)
      uninstallEndpoint(vm, endpoint, action.reason)
    }
  } else if (action instanceof Spawn) {
    vm.spawn(action, origin, actor)
  } else if (action instanceof Quit) {
    vm.quit(action.pid === undefined ? actor : vm.processes.get(action.pid), action.reason)
  } else if (action instanceof Yield && origin.alive) {
    vm.run(origin, action.continuation as (state: unknown) => HandlerResult<unknown>, actor)
  }
}

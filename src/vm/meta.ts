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
  aboutAction,
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
import { Ask, AskingAction } from './asking.js'
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
      failFor(vm, actor, origin, error, aboutRelayed(this.action))
    }
    origin.endPending()
    // The process may have become idle by that. VMs inside have no turn now, in which they would collect it.
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

/** A message on behalf of a process further in, as `Relayed`. */
export class RelayedMessage extends Action {
  constructor(
    readonly message: SendMessage,
    readonly origin: Process,
    readonly levels: number,
  ) {
    super()
  }

  perform(vm: Vm, actor: Process): void {
    const { message, origin, levels } = this
    if (levels > 1) {
      ;(vm.container as Process).enqueue(new RelayedMessage(message, origin, levels - 1))
      return
    }
    try {
      vm.deliver(actor, message.body, message.orientation)
    } catch (error) {
      failFor(vm, actor, origin, error, aboutAction(message))
    }
  }
}

/** Has the process fail that asked for what could not be done, and not the VM that it is in. */
function failFor(
  vm: Vm, actor: Process, origin: Process, error: unknown, { name, subject }: ReturnType<typeof aboutAction>,
): void {
  origin.fail(error, name, subject)
  vm.climb(origin, actor)
}

function aboutRelayed(action: Action | Endpoint | DeleteMetaEndpoints): ReturnType<typeof aboutAction> {
  if (action instanceof Endpoint) return { name: action.name, subject: action.topic }
  return action instanceof Action ? aboutAction(action) : { name: undefined, subject: undefined }
}

/** Endpoints that their process has deleted, and that are to be taken out of the VM outside. */
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
  if (innermost instanceof AskingAction) {
    innermost.perform(process, levels)
    return
  }
  if (innermost instanceof SendMessage) {
    // A message needs no answer: its process may end before it is delivered, and need not be kept alive for it.
    ;(vm.container as Process).enqueue(new RelayedMessage(innermost, process, levels))
    return
  }
  let actor = process
  for (let i = 0; i < levels; i++) actor = actor.vm.container as Process
  const target = actor.vm
  const action: Action = innermost
  const relayed = register(target, process, action, actor, levels)
  if (relayed === undefined) return
  process.beginPending()
  ;(vm.container as Process).enqueue(new Relayed(relayed, process, levels))
}

/** Brings the inner process's table of its endpoints outside up to date, before anything is done outside. */
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
    const endpoint = new Endpoint(action, actor, process)
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

/** Installs an endpoint outside; if that fails, it is taken out of the inner process's table as well. */
function installFor(vm: Vm, actor: Process, origin: Process, endpoint: Endpoint): void {
  const installed = (actor.installed ??= new Set())
  installed.add(endpoint)
  try {
    installEndpoint(vm, endpoint)
  } catch (error) {
    installed.delete(endpoint)
    const table = origin.metaTable(origin.vm.depth - vm.depth)
    const key = mapKey(endpoint.name)
    if (table.get(key) === endpoint) table.delete(key)
    for (let between = origin.vm.container as Process; between !== actor;) {
      between.metaTable(between.vm.depth - vm.depth).delete(endpoint)
      between = between.vm.container as Process
    }
    throw error
  }
}

function performFor(
  vm: Vm,
  actor: Process,
  origin: Process,
  action: Action | Endpoint | DeleteMetaEndpoints,
): void {
  if (action instanceof Endpoint) {
    installFor(vm, actor, origin, action)
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
  } else if (action instanceof Ask) {
    action.deliver(vm, actor)
  }
}

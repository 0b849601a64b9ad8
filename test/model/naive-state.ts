/**
 * What the naive VM is made of: immutable VMs, processes and endpoints, its actions, and small changes to
 * them. Everything is found by walking a list.
 */
import { sameTopic, showTerm } from './naive-topic.js'
import { type EventKind, type Interest, type Orientation, type Term } from './program.js'

export interface Role {
  readonly orientation: Orientation
  readonly topic: Term
  readonly interest: Interest
}

export interface Event {
  readonly type: EventKind
  readonly role: Role
  readonly reason?: unknown
}

/** State is any value. A result is a transition or an action tree. */
export type Handler = (event: Event, state: unknown) => unknown
export type Handlers = { readonly [K in EventKind]?: Handler | undefined }
export type Continuation = (state: unknown) => unknown

export interface Transition {
  readonly kind: 'transition'
  readonly state: unknown
  readonly actions: unknown
}

export type Action =
  | { readonly kind: 'send'; readonly body: Term; readonly orientation: Orientation }
  | { readonly kind: 'add'; readonly name: Term; readonly role: Role; readonly handlers: Handlers }
  | { readonly kind: 'delete'; readonly name: Term; readonly reason: unknown }
  | SpawnAction
  | { readonly kind: 'quit'; readonly pid: number | undefined; readonly reason: unknown }
  | { readonly kind: 'yield'; readonly run: Continuation; readonly path: Path }
  | { readonly kind: 'meta'; readonly action: Action }
  /** What a VM does for a process inside of it, which knows the endpoint by this id. */
  | { readonly kind: 'install'; readonly id: number; readonly role: Role; readonly inside: number }
  | { readonly kind: 'uninstall'; readonly id: number; readonly reason: unknown }

export interface SpawnAction {
  readonly kind: 'spawn'
  readonly boot: () => unknown
  readonly nested: boolean
  readonly parent: ((pid: number, state: unknown) => unknown) | undefined
  readonly path: Path
}

/** Pids from the acting process inwards to the one whose continuation it is; empty: the acting process. */
export type Path = readonly number[]

export interface Endpoint {
  /** Unlike that of any other endpoint anywhere; the same at every level that it passes. */
  readonly id: number
  readonly role: Role
  /** The process that has it: in a VM's list of installed endpoints, of that VM. */
  readonly owner: number
  /** For endpoints of plain processes. */
  readonly name: Term
  readonly handlers: Handlers
  /** For endpoints of a VM: the process inside that asked for it. */
  readonly inside: number | undefined
  /** How many levels out it is installed. */
  readonly levels: number
  /** Its process has taken it back, or is no more; the VM outside may not know yet. */
  readonly forgotten: boolean
  /** When it was installed. */
  readonly serial: number
}

export interface Process {
  readonly pid: number
  readonly dead: boolean
  readonly state: unknown
  readonly queue: readonly Action[]
  /** Endpoints further out. Those at its own level are in its VM's list. */
  readonly metas: readonly Endpoint[]
  /** Continuations further out that are still to come back. */
  readonly pending: number
  readonly inner: Vm | undefined
}

export interface Vm {
  /** How many VMs are around it. */
  readonly depth: number
  readonly nextPid: number
  readonly processes: readonly Process[]
  /** In order of installation. */
  readonly installed: readonly Endpoint[]
  /** Processes that are to have a turn. */
  readonly ready: readonly number[]
  /** Actions for the VM around it. */
  readonly out: readonly Action[]
}

/** What is counted and chosen during a run. */
export interface World {
  /** Where an endpoint comes among those whose order is incidental. */
  order(serial: number): number
  serials: number
  ids: number
  counts: Record<Counted, number>
}

export const COUNTED = [
  'crash', 'kill', 'quit', 'nested', 'metaEvent', 'replaced', 'mismatch', 'noLevel', 'bootFailure',
  'collected', 'deepest', 'farEvent',
] as const
export type Counted = (typeof COUNTED)[number]

/** An action that can't be performed: the acting process quits. */
export class Impossible extends Error {}

export const noVm = (depth: number): Vm => ({
  depth, nextPid: 0, processes: [], installed: [], ready: [], out: [],
})

export const newProcess = (pid: number, more: Partial<Process>): Process => ({
  pid, dead: false, state: undefined, queue: [], metas: [], pending: 0, inner: undefined, ...more,
})

export function find(vm: Vm, pid: number): Process | undefined {
  return vm.processes.find((process) => process.pid === pid)
}

export function get(vm: Vm, pid: number): Process {
  const process = find(vm, pid)
  if (process === undefined) throw new Error(`the model is wrong: no process ${pid}`)
  return process
}

export function innerOf(process: Process): Vm {
  if (process.inner === undefined) throw new Error(`the model is wrong: ${process.pid} is not a VM`)
  return process.inner
}

export function update(vm: Vm, pid: number, change: Partial<Process>): Vm {
  return { ...vm, processes: vm.processes.map((p) => (p.pid === pid ? { ...p, ...change } : p)) }
}

export function markReady(vm: Vm, pid: number): Vm {
  return vm.ready.includes(pid) ? vm : { ...vm, ready: [...vm.ready, pid] }
}

export function enqueue(vm: Vm, pid: number, actions: readonly Action[]): Vm {
  if (actions.length === 0) return vm
  return markReady(update(vm, pid, { queue: [...get(vm, pid).queue, ...actions] }), pid)
}

/** The process is no more, nor is anything inside of it. */
export function end(process: Process): Process {
  const { inner } = process
  return {
    ...process,
    dead: true,
    queue: [],
    inner: inner === undefined ? undefined : { ...inner, processes: inner.processes.map(end) },
  }
}

export function sameRole(a: Role, b: Role): boolean {
  return a.orientation === b.orientation && a.interest === b.interest && sameTopic(a.topic, b.topic)
}

export const sameName = (a: Term, b: Term): boolean => showTerm(a) === showTerm(b)

/** The action as the VM `levels` further out performs it. */
export function atLevel(levels: number, action: Action): Action {
  return levels === 0 ? action : { kind: 'meta', action: atLevel(levels - 1, action) }
}

/** A transition of what a handler returned. @throws for anything that is not an action in it */
export function read(result: unknown, state: unknown): { state: unknown; actions: readonly Action[] } {
  if (typeof result === 'object' && result !== null && 'kind' in result && result.kind === 'transition') {
    const { state: next, actions } = result as Transition
    return { state: next, actions: flatten(actions) }
  }
  return { state, actions: flatten(result) }
}

function flatten(tree: unknown): readonly Action[] {
  if (tree === undefined || tree === null || tree === false) return []
  if (Array.isArray(tree)) return tree.flatMap(flatten)
  if (typeof tree === 'object' && 'kind' in tree && tree.kind !== 'transition') return [tree as Action]
  throw new Error('a handler must return actions')
}

/**
 * Looking into a running VM: what a ground VM tells somebody who looks, and what he may hold up.
 *
 * Owns the shape of that, and the handlers that stand in for those of the program. As long as nobody looks, a turn asks
 * once whether somebody does, and handlers are as the program has written them. When somebody does, each handler of
 * each endpoint is replaced by one that tells of the event first.
 */
import type { Action } from './action.js'
import type { Endpoint } from './endpoint.js'
import type { EventSource } from './event-source.js'
import { endpointsIn } from './endpoint-table.js'
import { standsFor, type AnyHandler } from './handler.js'
import type { EventHandler, Process } from './process.js'
import type { Vm } from './vm.js'

/** Somebody who looks into a ground VM and the VMs inside. None of its methods may throw. */
export interface Tap {
  /** It is about to look no more, when what it holds up has gone on: another one may wait for that. */
  readonly isEnding: boolean
  /** An endpoint has come into being, or its handlers have been replaced. */
  watch(endpoint: Endpoint): void
  /** A process has something to do. @returns whether it may: if not, its queue waits until it is scheduled again */
  turnBegins(process: Process): boolean
  /** It is about to perform an action of its queue. */
  performs(process: Process, action: Action, index: number): void
  turnEnds(process: Process): void
  /** A process is about to boot. @param parent who starts it; undefined for the first one in a VM */
  born(process: Process, parent: Process | undefined): void
  /** @param booted whether it has lived */
  ended(process: Process, reason: unknown, failed: boolean, booted: boolean): void
  /**
   * A process boots. Mostly what `boot` returns is what this returns.
   *
   * @param driver whether it is a driver's, which by then has its guard
   */
  boots(process: Process, driver: boolean, boot: () => unknown): unknown
  /** An event source is about to deliver to its subscribers; undefined: no more. */
  fires(source: EventSource<unknown> | undefined, value?: unknown, subscribers?: Iterable<Endpoint>): void
  /** Somebody wants a source. @returns whether it is to be activated */
  activates(source: EventSource<unknown>): boolean
  /** What a process does has a promise as its result. @returns its number */
  awaits(process: Process): number
  /** That promise has settled. @returns what is to be waited for before its process takes the result */
  settles(process: Process, promise: number): Promise<void> | undefined
  /** The ground VM is to be stopped, and no process of it has asked for that. @returns whether it is */
  stops(reason: unknown): boolean
  /** The ground VM is to be shut down. @returns whether it is */
  shutsDown(): boolean
  /** A round may begin. @returns whether the ground VM is to wait instead, until it is woken */
  feeds?(): boolean
  /** The ground VM has nothing to do. */
  rests?(): void
  /** The ground VM has ended. */
  over?(): void
}

/** What the program has written, by what stands in its place. */
const originals = new WeakMap<AnyHandler, AnyHandler>()

const EVENTS: readonly EventHandler[] = ['onPresence', 'onAbsence', 'onMessage']

/**
 * Has an endpoint's handlers called by way of a function.
 *
 * @param call is given the handler and what it would have been called with, and returns what the handler returns
 */
export function watchHandlers(
  endpoint: Endpoint,
  call: (endpoint: Endpoint, event: EventHandler, handler: AnyHandler, args: unknown[]) => unknown,
): void {
  for (const event of EVENTS) {
    const handler = endpoint[event] as AnyHandler | undefined
    if (handler === undefined || originals.has(handler)) continue
    const watched: AnyHandler = (...args) => call(endpoint, event, handler, args)
    originals.set(watched, handler)
    standsFor(watched, handler)
    set(endpoint, event, watched)
  }
}

/** A handler without the one that stands in for it while somebody looks. */
export function unwatched(handler: AnyHandler | undefined): AnyHandler | undefined {
  return handler && (originals.get(handler) ?? handler)
}

/** Gives an endpoint the program's own handlers again. */
export function unwatchHandlers(endpoint: Endpoint): void {
  for (const event of EVENTS) {
    const handler = endpoint[event] as AnyHandler | undefined
    const original = handler && originals.get(handler)
    if (original !== undefined) set(endpoint, event, original)
  }
}

function set(endpoint: Endpoint, event: EventHandler, handler: AnyHandler): void {
  (endpoint as unknown as Record<EventHandler, AnyHandler>)[event] = handler
}

/** All endpoints of the processes of a VM, and of those inside, at whatever level. */
export function allEndpoints(vm: Vm): Endpoint[] {
  const found: Endpoint[] = []
  const vms = [vm]
  for (let inside = vms.pop(); inside !== undefined; inside = vms.pop()) {
    for (const process of inside.processes.all()) {
      for (const endpoint of ownEndpoints(process)) found.push(endpoint)
      if (process.inner !== undefined) vms.push(process.inner)
    }
  }
  return found
}

/** The endpoints of a process at its own level and further out. */
export function ownEndpoints(process: Process): Endpoint[] {
  const found = endpointsIn(process.endpoints)
  for (const table of process.metaEndpoints ?? []) {
    // A VM has those of its processes in there as well.
    for (const endpoint of table.values()) if (endpoint.target === process) found.push(endpoint)
  }
  return found
}

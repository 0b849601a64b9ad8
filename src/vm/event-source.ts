/**
 * Event sources: how the world outside reaches a ground VM.
 *
 * A source is an opaque value. It is active while some participant in the ground VM subscribes to
 * `[source, ...]`; what it fires is sent there as the message `[source, value]`.
 */
import { inspect } from 'node:util'
import { argumentError } from '../support/errors.js'
import type { Shutdown } from './shutdown.js'

/** Where an active source delivers. */
export interface EventSink<T> {
  /** Sends `[source, value]` in the ground VM, now or as soon as the VM is free. Ignored after release. */
  fire(value: T): void
  /**
   * Calls back once the ground VM has nothing more to do, before it waits for events again; or after
   * some slices of work, if it is never done.
   */
  whenIdle(callback: () => void): void
  /** The active source keeps the process alive: as it does unless told otherwise. */
  ref(): void
  /** It does not: the process may end although the source is active. */
  unref(): void
  /**
   * Calls back when the ground VM is shut down, or at once if it is being shut down already. The source is
   * to take on nothing new, and to have its endpoints deleted once what it has has come to its end; the
   * ground VM waits for that, for as long as `shutdown` was given.
   */
  onShutdown(callback: (shutdown: Shutdown) => void): void
  /** Whether all that was fired so far has been handled, with all that followed from it. */
  isIdle(): boolean
}

/** Releases what `activate` took. The ground VM ends only after a returned promise has settled. */
export type Release = () => void | Promise<void>

/**
 * Something that happens outside of the VM: a socket engine, a timer, a signal, lines of a file.
 * The type parameter is what it fires.
 */
export class EventSource<out T> {
  declare protected readonly fires: () => T
  /** For logs. */
  readonly name: string
  /** @internal */
  readonly activate: (sink: EventSink<never>) => Release | void

  constructor(name: string, activate: (sink: EventSink<T>) => Release | void) {
    if (typeof name !== 'string') throw argumentError('eventSource', 'name', 'a string', name)
    if (typeof activate !== 'function')
      throw argumentError('eventSource', 'activate', 'a function', activate)
    this.name = name
    this.activate = activate
  }

  [inspect.custom](): string {
    return `<event source ${this.name}>`
  }
}

/**
 * Makes an event source.
 *
 * @param name for logs
 * @param activate called when somebody subscribes; returns what is to be called when nobody does any more
 */
export function eventSource<T>(
  name: string,
  activate: (sink: EventSink<T>) => Release | void,
): EventSource<T> {
  return new EventSource(name, activate)
}

/**
 * What all transports have in common: how they are opened and closed, what they keep alive, and how what has
 * happened comes to their sink.
 *
 * Invariants: the sink is called in the async context in which the transport was opened, with events in the
 * order in which they were reported, never from within a call of the program's, and not at all once `close`
 * was called; `close` resolves when the last socket is gone.
 */
import { AsyncResource } from 'node:async_hooks'
import type { Counts } from './metrics.js'
import type { SocketError } from './transport.js'

export abstract class TransportBase<
  E extends { readonly error: SocketError | undefined }, S extends { close(): void }, M extends Counts = Counts,
> {
  abstract readonly name: 'native' | 'node'
  abstract readonly metrics: M
  /** Those that are not closed, but for what an implementation keeps in a better place. */
  readonly sockets = new Set<S>()
  /** Whether it keeps the process alive. */
  isRef = true
  protected sink: ((events: readonly E[]) => unknown) | undefined
  protected events: E[] = []
  #context: AsyncResource | undefined
  #closed: Promise<void> | undefined
  /** Resolves that; there when all sockets have been told to close, and until they are. */
  #ended: (() => void) | undefined

  open(sink: (events: readonly E[]) => unknown): void {
    if (this.sink !== undefined) throw new Error('transport: open must be called once')
    this.#assertNotClosed('open')
    this.start()
    this.sink = sink
    this.#context = new AsyncResource('MARKETPLACE', { requireManualDestroy: true })
    this.metrics.opened()
    this.setRef(this.isRef)
  }

  get closing(): boolean {
    return this.#closed !== undefined
  }

  ref(): void {
    this.isRef = true
    this.setRef(true)
  }

  unref(): void {
    this.isRef = false
    this.setRef(false)
  }

  close(): Promise<void> {
    if (this.#closed !== undefined) return this.#closed
    let ended = (): void => undefined
    this.#closed = new Promise((resolve) => { ended = resolve })
    this.publish(this.events)
    this.events = []
    if (this.sink === undefined) {
      ended()
      return this.#closed
    }
    for (const socket of this.all()) socket.close()
    this.#ended = ended
    this.endIfEmpty()
    return this.#closed
  }

  /** To be told to the program, soon. */
  report(event: E): void {
    if (event.error !== undefined) this.metrics.error(event.error)
    if (this.closing) this.publish([event])
    else if (this.events.push(event) === 1) this.schedule()
  }

  /** A socket is gone. */
  forget(socket: S): void {
    if (this.sockets.delete(socket) && this.closing) this.endIfEmpty()
  }

  protected assertOpen(call: string): void {
    if (this.sink === undefined) throw new Error(`transport: ${call} before open`)
    this.#assertNotClosed(call)
  }

  /** Calls the sink with what has happened. @param again even with nothing */
  protected deliver(again = false): unknown {
    const { events, sink } = this
    if (sink === undefined || this.closing || (events.length === 0 && !again)) return undefined
    this.events = []
    this.publish(events)
    if (events.length > 0) this.metrics.batch(events.length)
    // Not in the context of whoever it was that something happened to first.
    return this.#context?.runInAsyncScope(sink, undefined, events)
  }

  /** All that has to be closed with it. */
  protected all(): Iterable<{ close(): void }> {
    return this.sockets
  }

  protected isEmpty(): boolean {
    return this.sockets.size === 0
  }

  /** The end of `close`, if nothing is left. */
  protected endIfEmpty(): void {
    const ended = this.#ended
    if (ended === undefined || !this.isEmpty()) return
    this.#ended = undefined
    this.end(() => {
      this.metrics.closed()
      this.#context?.emitDestroy()
      ended()
    })
  }

  /** For tools that trace. */
  protected abstract publish(events: readonly E[]): void
  protected abstract start(): void
  /** The last socket is closed. Calls `ended` when the rest is, too. */
  protected abstract end(ended: () => void): void
  /** Whether what is open keeps the process alive. */
  protected abstract setRef(on: boolean): void
  /** Sees to it that `deliver` is called before this turn of the loop is over. */
  protected abstract schedule(): void

  #assertNotClosed(call: string): void {
    if (this.closing) throw new Error(`transport: ${call} after close`)
  }
}

/**
 * The one transport of a driver: open while there is any socket, reached by one event source.
 *
 * Owns how many sockets there are, and what waits for the transport to be open.
 *
 * Invariants: what waits for a transport gets the one that is opened for it, also when the driver gave up one and
 * wanted another before an event-relay had opened the first; what is wrong with one use is told to its user only.
 */
import { endpoint } from '../dsl/index.js'
import { asError } from '../support/errors.js'
import { _ } from '../topic/index.js'
import { deleteEndpoint, eventSource, type ActionTree, type EventSink, type EventSource } from '../vm/index.js'
import { SOURCE_FAILED } from './event-relay.js'

/** What the source fires: events of the sockets, or something else that is to be done. */
export type Fired<Event> = readonly Event[] | (() => ActionTree)

/** A transport that is open, and how it is closed. */
export interface Opened<T> {
  readonly transport: T
  close(): Promise<void>
}

/** Something that is to be done with a transport, and what it means if it can't be done. */
interface Use<T> {
  readonly use: (transport: T) => void
  readonly failed: (error: Error) => ActionTree
}

export class CommonTransport<T, Event> {
  readonly source: EventSource<Fired<Event>>
  readonly #handle: (events: readonly Event[]) => ActionTree
  /** Sockets that are not closed yet. */
  #sockets = 0
  #transport: T | undefined
  #sink: EventSink<Fired<Event>> | undefined
  #wanted = false
  /** How many transports have been given up, and opened: a new one may be wanted before the last is open. */
  #epoch = 0
  #opened = 0
  #waiting: (Use<T> & { readonly epoch: number })[] = []

  /**
   * @param name of the event source, for logs
   * @param open opens a transport whose events go to the sink; what it throws is told to those who wait
   * @param handle what the driver does about events
   */
  constructor(
    name: string, open: (sink: EventSink<Fired<Event>>) => Opened<T>,
    handle: (events: readonly Event[]) => ActionTree,
  ) {
    this.#handle = handle
    this.source = eventSource<Fired<Event>>(name, (sink) => this.#open(open, sink))
  }

  /** The one that is open and wanted. */
  get current(): T | undefined {
    return this.#transport
  }

  /** Where what is to be done is fired into, once a transport was opened. */
  get sink(): EventSink<Fired<Event>> | undefined {
    return this.#sink
  }

  #open(open: (sink: EventSink<Fired<Event>>) => Opened<T>, sink: EventSink<Fired<Event>>): () => Promise<void> {
    const epoch = this.#opened++
    const opened = open(sink)
    const { transport } = opened
    this.#sink = sink
    if (epoch === this.#epoch) this.#transport = transport
    for (const one of this.#takeWaiting(epoch)) {
      const error = attempt(one, transport)
      if (error !== undefined) sink.fire(() => [one.failed(error), this.letGo()])
    }
    return () => opened.close()
  }

  #takeWaiting(epoch: number): readonly Use<T>[] {
    const waiting = this.#waiting.filter((entry) => entry.epoch === epoch)
    this.#waiting = this.#waiting.filter((entry) => entry.epoch !== epoch)
    return waiting
  }

  /**
   * Does something with the transport for a socket more. It is opened first if this is the first socket.
   *
   * @param failed what is to be told if it can't be done
   */
  take(use: Use<T>['use'], failed: Use<T>['failed']): ActionTree {
    this.#sockets++
    if (this.#transport !== undefined) {
      const error = attempt({ use, failed }, this.#transport)
      return error === undefined ? undefined : [failed(error), this.letGo()]
    }
    this.#waiting.push({ epoch: this.#epoch, use, failed })
    if (this.#wanted) return undefined
    this.#wanted = true
    return endpoint.subscriber([this.source, _], {
      name: this.source,
      onMessage: ([, fired]) => (typeof fired === 'function' ? fired() : this.#handle(fired)),
      onAbsence: ([, what], _state, reason) =>
        (what as unknown) === SOURCE_FAILED ? this.failed(asError(reason, 'no transport')) : undefined,
    })
  }

  /** A socket more, of one that is there already. */
  keep(): void {
    this.#sockets++
  }

  /** There is no transport: whoever has waited for it hears so; who wants something next has it tried again. */
  failed(error: Error): ActionTree {
    return this.#takeWaiting(this.#epoch).map(({ failed }) => [failed(error), this.letGo()])
  }

  /** A socket is closed. The transport goes with the last one. */
  letGo(): ActionTree {
    if (--this.#sockets > 0) return undefined
    this.#wanted = false
    this.#transport = undefined
    this.#epoch++
    return deleteEndpoint(this.source)
  }
}

/** @returns why it could not be done */
function attempt<T>({ use }: Use<T>, transport: T): Error | undefined {
  try {
    use(transport)
    return undefined
  } catch (error) {
    return asError(error, 'a socket')
  }
}

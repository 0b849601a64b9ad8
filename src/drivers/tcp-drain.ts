/**
 * How the sockets of a TCP driver come to an end when it is shut down: nothing new is accepted, what there is
 * may end by itself, and what is left in the end is aborted.
 *
 * Owns one transport's part of that. Invariant: each of its connections is counted once, as ended or aborted.
 */
import { constants } from 'node:os'
import { socketError } from '../support/errors.js'
import type { Transport, TransportConnection } from '../transport/seam/transport.js'
import type { ActionTree, EventSink, Shutdown } from '../vm/index.js'
import { Conversation } from './tcp-conversation.js'

export class Drain {
  readonly #transport: Transport
  readonly #sink: EventSink<() => ActionTree>
  readonly #stopAccepting: () => ActionTree
  /** There may be two: one of the ground VM, one of the engine. */
  readonly #shutdowns: Shutdown[] = []
  /** Connections that had ended before. */
  #before = 0
  #aborted = 0
  #late = false

  /** @param stopAccepting closes the driver's listeners, for good */
  constructor(transport: Transport, sink: EventSink<() => ActionTree>, stopAccepting: () => ActionTree) {
    this.#transport = transport
    this.#sink = sink
    this.#stopAccepting = stopAccepting
  }

  begin(shutdown: Shutdown): void {
    const { connections, accepts, connects } = this.#transport.metrics
    if (this.#shutdowns.push(shutdown) === 1) {
      this.#before = accepts + connects - connections
      this.#sink.fire(this.#stopAccepting)
    }
    const abort = (): void => { this.#sink.fire(() => this.#abort()) }
    if (shutdown.signal.aborted) abort()
    else shutdown.signal.addEventListener('abort', abort, { once: true })
  }

  /** The transport is closed. */
  over(): void {
    const { accepts, connects } = this.#transport.metrics
    for (const shutdown of this.#shutdowns) {
      shutdown.count('aborted', this.#aborted)
      shutdown.count('ended', accepts + connects - this.#before - this.#aborted)
    }
  }

  #abort(): ActionTree {
    if (this.#late) return undefined
    this.#late = true
    this.#aborted = this.#transport.metrics.connections
    return this.#transport.connections().map((connection) => abortOne(connection))
  }
}

function abortOne(connection: TransportConnection): ActionTree {
  const { context, remote } = connection
  connection.abort()
  if (!(context instanceof Conversation)) return undefined
  const error = socketError(-constants.errno.ECONNABORTED, 'shutdown', remote?.address, remote?.port)
  return context.aborted(error)
}

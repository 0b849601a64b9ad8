/**
 * The one transport of a UDP driver: open while there is any socket, reached by one event source.
 *
 * Invariants: what waits for a transport gets the one that is opened for it, also when the driver gave
 * up one and wanted another before an event-relay had opened the first.
 */
import { endpoint } from '../dsl/index.js'
import { asError } from '../support/errors.js'
import { _ } from '../topic/index.js'
import { deleteEndpoint, eventSource, type ActionTree, type EventSink } from '../vm/index.js'
import type { UdpEvent, UdpTransport } from '../transport/seam/udp-transport.js'
import { SOURCE_FAILED } from './event-relay.js'

/** Something that is to be done with a transport, and what it means if it can't be done. */
interface Use {
  readonly use: (transport: UdpTransport) => void
  readonly failed: (error: Error) => ActionTree
}

export class UdpHold {
  private readonly make: () => UdpTransport
  private readonly handle: (events: readonly UdpEvent[]) => ActionTree
  private sockets = 0
  private transport: UdpTransport | undefined
  private wanted = false
  /** How many transports have been given up, and opened. */
  private epoch = 0
  private opened = 0
  private waiting: (Use & { readonly epoch: number })[] = []

  readonly source = eventSource<readonly UdpEvent[] | (() => ActionTree)>('udp', (sink) => this.open(sink))

  constructor(make: () => UdpTransport, handle: (events: readonly UdpEvent[]) => ActionTree) {
    this.make = make
    this.handle = handle
  }

  private open(sink: EventSink<readonly UdpEvent[] | (() => ActionTree)>): () => Promise<void> {
    const epoch = this.opened++
    const transport = this.make()
    if (epoch === this.epoch) this.transport = transport
    transport.open((events) => {
      sink.fire(events)
    })
    const waiting = this.waiting.filter((entry) => entry.epoch === epoch)
    this.waiting = this.waiting.filter((entry) => entry.epoch !== epoch)
    for (const one of waiting) {
      const error = attempt(one, transport)
      if (error !== undefined) sink.fire(() => [one.failed(error), this.letGo()])
    }
    return () => transport.close()
  }

  /**
   * Does something with the transport, which is opened first if this is the first socket.
   *
   * @param failed what is to be told if it can't be done
   */
  take(use: Use['use'], failed: Use['failed']): ActionTree {
    this.sockets++
    if (this.transport !== undefined) {
      const error = attempt({ use, failed }, this.transport)
      return error === undefined ? undefined : [failed(error), this.letGo()]
    }
    this.waiting.push({ epoch: this.epoch, use, failed })
    if (this.wanted) return undefined
    this.wanted = true
    return endpoint.subscriber([this.source, _], {
      name: this.source,
      onMessage: ([, fired]) => (typeof fired === 'function' ? fired() : this.handle(fired)),
      onAbsence: ([, what], _state, reason) =>
        (what as unknown) === SOURCE_FAILED ? this.failed(asError(reason, 'no transport')) : undefined,
    })
  }

  /** There is no transport: whoever has waited for it hears so. */
  failed(error: Error): ActionTree {
    const waiting = this.waiting.filter((entry) => entry.epoch === this.epoch)
    this.waiting = this.waiting.filter((entry) => entry.epoch !== this.epoch)
    return waiting.map(({ failed }) => [failed(error), this.letGo()])
  }

  /** A socket is closed. The transport goes with the last one. */
  letGo(): ActionTree {
    if (--this.sockets > 0) return undefined
    this.wanted = false
    this.transport = undefined
    this.epoch++
    return deleteEndpoint(this.source)
  }
}

/** Does something with a transport. @returns why it could not be done */
function attempt({ use }: Use, transport: UdpTransport): Error | undefined {
  try {
    use(transport)
    return undefined
  } catch (error) {
    return asError(error, 'a socket')
  }
}

/**
 * The one transport of a UDP driver: open while there is any socket, reached by one event source.
 *
 * Invariants: what waits for a transport gets the one that is opened for it, also when the driver gave
 * up one and wanted another before an event-relay had opened the first.
 */
import { endpoint } from '../dsl/index.js'
import { _ } from '../topic/index.js'
import { deleteEndpoint, eventSource, type ActionTree, type EventSink } from '../vm/index.js'
import type { UdpEvent, UdpTransport } from '../transport/udp-transport.js'

export class UdpHold {
  private readonly make: () => UdpTransport
  private readonly handle: (events: readonly UdpEvent[]) => ActionTree
  private sockets = 0
  private transport: UdpTransport | undefined
  private wanted = false
  /** How many transports have been given up, and opened. */
  private epoch = 0
  private opened = 0
  private waiting: { readonly epoch: number; readonly use: (transport: UdpTransport) => void }[] = []

  private readonly source = eventSource<readonly UdpEvent[]>('udp', (sink) => this.open(sink))

  constructor(make: () => UdpTransport, handle: (events: readonly UdpEvent[]) => ActionTree) {
    this.make = make
    this.handle = handle
  }

  private open(sink: EventSink<readonly UdpEvent[]>): () => Promise<void> {
    const transport = this.make()
    const epoch = this.opened++
    if (epoch === this.epoch) this.transport = transport
    transport.open((events) => {
      sink.fire(events)
    })
    const waiting = this.waiting.filter((entry) => entry.epoch === epoch)
    this.waiting = this.waiting.filter((entry) => entry.epoch !== epoch)
    for (const { use } of waiting) use(transport)
    return () => transport.close()
  }

  /** Does something with the transport, which is opened first if this is the first socket. */
  take(use: (transport: UdpTransport) => void): ActionTree {
    this.sockets++
    if (this.transport !== undefined) {
      use(this.transport)
      return undefined
    }
    this.waiting.push({ epoch: this.epoch, use })
    if (this.wanted) return undefined
    this.wanted = true
    return endpoint.subscriber([this.source, _], {
      name: this.source,
      onMessage: ([, events]) => this.handle(events),
    })
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

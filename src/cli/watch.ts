/**
 * A transport that also tells the command what becomes of its first listener or outbound connection.
 * The programs know nothing of this: they are given a transport like any other.
 */
import type {
  ConnectOptions, ListenOptions, SocketAddress, SocketError, Transport, TransportConnection, TransportEvent,
  TransportListener, TransportMetrics, TransportSink,
} from '../transport/transport.js'

export interface Watcher {
  listening?(address: SocketAddress): void
  listenFailed?(error: SocketError): void
  connected?(): void
  /** The outbound connection is gone. */
  closed?(error: SocketError | undefined): void
}

export function watchTransport(transport: Transport, watcher: Watcher): Transport {
  return new WatchedTransport(transport, watcher)
}

class WatchedTransport implements Transport {
  readonly name: 'native' | 'node'
  readonly metrics: Readonly<TransportMetrics>
  readonly #inner: Transport
  readonly #watcher: Watcher
  #settled = false

  constructor(inner: Transport, watcher: Watcher) {
    this.#inner = inner
    this.#watcher = watcher
    this.name = inner.name
    this.metrics = inner.metrics
  }

  open(sink: TransportSink): void {
    this.#inner.open((events) => {
      if (!this.#settled) for (const event of events) this.#look(event)
      sink(events)
    })
  }

  listen(options: ListenOptions): TransportListener {
    return this.#inner.listen(options)
  }

  connect(options: ConnectOptions): TransportConnection {
    return this.#inner.connect(options)
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  #look({ kind, listener, connection, error }: TransportEvent): void {
    if (kind === 'listening' && listener?.address !== undefined) {
      // A server's later events are its own business, and too many to look at.
      this.#settled = true
      this.#watcher.listening?.(listener.address)
    } else if (kind === 'listen-failed' && error !== undefined) {
      this.#settled = true
      this.#watcher.listenFailed?.(error)
    } else if (kind === 'connected') {
      this.#watcher.connected?.()
    } else if (kind === 'closed' && connection?.listener === undefined) {
      this.#settled = true
      this.#watcher.closed?.(error)
    }
  }
}

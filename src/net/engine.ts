/**
 * The one native transport that all sockets of this thread share, and the way of its events to them.
 *
 * Owns the transport, and the count of what keeps the process alive.
 *
 * Invariants: events reach their sockets in the order in which they happened, also when a handler throws;
 * each is delivered in the async context of its socket.
 */
import type { AsyncResource } from 'node:async_hooks'
import { openTransport } from '../transport/choose.js'
import { goOnWithout, loadNative } from '../transport/native-addon.js'
import type {
  ConnectOptions, ListenOptions, Transport, TransportConnection, TransportEvent, TransportListener,
} from '../transport/transport.js'

/** What a connection's or a listener's `context` is. */
export interface Receiver {
  /** The async context that its handlers run in. */
  readonly _nativeResource: AsyncResource
  /** Anything but data, and but the arrival of a connection. */
  _nativeHappened(event: TransportEvent): void
}

/** A receiver that has data. */
export interface DataReceiver extends Receiver {
  _nativeReceived(data: Buffer): void
}

/** A listener's receiver. */
export interface Acceptor extends Receiver {
  _nativeAccepted(connection: TransportConnection): void
}

function receive(receiver: DataReceiver, data: Buffer): void {
  receiver._nativeReceived(data)
}

function happen(receiver: Receiver, event: TransportEvent): void {
  receiver._nativeHappened(event)
}

function accept(acceptor: Acceptor, connection: TransportConnection): void {
  acceptor._nativeAccepted(connection)
}

function deliver(event: TransportEvent): void {
  const { connection } = event
  if (connection === undefined) {
    const receiver = event.listener?.context as Receiver | undefined
    if (receiver !== undefined) receiver._nativeResource.runInAsyncScope(happen, undefined, receiver, event)
    return
  }
  if (event.kind === 'accepted') {
    const acceptor = connection.listener?.context as Acceptor | undefined
    if (acceptor === undefined) connection.abort()
    else acceptor._nativeResource.runInAsyncScope(accept, undefined, acceptor, connection)
    return
  }
  const receiver = connection.context as DataReceiver | undefined
  if (receiver === undefined) return
  if (event.kind === 'data') {
    receiver._nativeResource.runInAsyncScope(receive, undefined, receiver, event.data)
  } else {
    receiver._nativeResource.runInAsyncScope(happen, undefined, receiver, event)
  }
}

/** The sockets' transport; see the file's comment. */
export class NetEngine {
  /** Milliseconds, as of the last batch: near enough for time-outs, and cheaper than the clock. */
  now = performance.now()

  readonly #transport: Transport
  #references = 0
  /** Batches that are not delivered yet, the first from `#next` on. */
  readonly #batches: (readonly TransportEvent[])[] = []
  #next = 0

  constructor() {
    this.#transport = openTransport('native', {
      // What `destroy` leaves unsent is dropped, as Node does.
      closeTimeout: 0,
      // The streams' own high-water marks limit what is queued, as Node's do.
      maxQueuedBytes: Infinity,
      maxQueuedBytesTotal: Infinity,
    })
    this.#transport.unref()
    this.#transport.open((events) => {
      this.now = performance.now()
      this.#batches.push(events)
      this.#deliverAll()
    })
  }

  listen(options: ListenOptions, receiver: Acceptor): TransportListener {
    const listener = this.#transport.listen(options)
    listener.context = receiver
    return listener
  }

  connect(options: ConnectOptions, receiver: Receiver): TransportConnection {
    const connection = this.#transport.connect(options)
    connection.context = receiver
    return connection
  }

  /** One more reason to keep the process alive. */
  ref(): void {
    if (this.#references++ === 0) this.#transport.ref()
  }

  /** One less. */
  unref(): void {
    if (--this.#references === 0) this.#transport.unref()
  }

  /** Offers to the kernel, now, what was written. */
  flush(): void {
    this.#transport.flush()
  }

  #deliverAll(): void {
    let over = false
    try {
      while (this.#batches.length > 0) {
        const events = this.#batches[0]
        while (this.#next < events.length) deliver(events[this.#next++])
        this.#batches.shift()
        this.#next = 0
      }
      over = true
    } finally {
      // A handler threw, which Node tells the program; the rest comes after that.
      if (!over) setImmediate(() => { this.#deliverAll() })
    }
  }
}

let engine: NetEngine | undefined

/** This thread's engine; opened when first asked for. */
export function netEngine(): NetEngine {
  engine ??= new NetEngine()
  return engine
}

/** Whether sockets can be native here; if not, and that was not asked for, it is said once. */
export function nativeNet(): boolean {
  const loaded = loadNative()
  if (!loaded.ok) goOnWithout('node:net')
  return loaded.ok
}

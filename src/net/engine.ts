/**
 * The one native transport that all sockets of this thread share, and the way of its events to them.
 *
 * Owns the transport, the order of what is delivered, and the count of what keeps the process alive.
 *
 * What happened in a turn comes at once, but is delivered in rounds, between which Node runs ticks and
 * promises: a round is data of different sockets, one piece for each, or one other event. So whoever waits
 * with a promise for an event is there for the next one, as with `node:net`; and a turn with a piece for each
 * of many sockets still is one entry into JavaScript.
 * The end of a connection, orderly or not, that comes in one turn with its last data waits for a later phase:
 * libuv reads it after that, so that immediates have run in between, by which Node's TLS, for example, hands
 * on what a program has made of the data.
 *
 * Invariants: events reach their sockets in the order in which they happened, also when a handler throws;
 * each is delivered in the async context of its socket.
 */
import { AsyncResource } from 'node:async_hooks'
import { performance, setImmediate } from '../support/real-time.js'
import { openTransport } from '../transport/choose.js'
import { defaultBuffers } from '../transport/seam/buffers-option.js'
import type {
  ConnectOptions, ListenOptions, Transport, TransportConnection, TransportEvent, TransportListener,
} from '../transport/seam/transport.js'

/** What a connection's or a listener's `context` is. */
export interface Receiver {
  /** The async context that its handlers run in. */
  readonly _nativeResource: AsyncResource
  /** Anything but data, and but the arrival of a connection. */
  _nativeHappened(event: TransportEvent): void
  /** `undefined`, or not there: of those that are closing, not referenced, or already given away. */
  readonly _nativeListed?: Listed | undefined
}

/** What Node's lists of what a process has open say of a receiver. */
export interface Listed {
  /** The socket, or the server. */
  readonly owner: object
  /** As `process.getActiveResourcesInfo` names them. */
  readonly types: readonly string[]
}

/** A receiver that has data. */
export interface DataReceiver extends Receiver {
  /** The last round in which it was given some. */
  _nativeRound: number
  /** Of one that was destroyed, when that was; see `untilChecked`. */
  readonly _nativeChecks?: number
  _nativeReceived(data: Buffer): void
}

/** A listener's receiver. */
export interface Acceptor extends Receiver {
  /** The async context of what is not about a connection. */
  readonly _nativeListenResource: AsyncResource
  /** Before that, and outside of its async context, which the connection does not inherit. */
  _nativePrepare(connection: TransportConnection): void
  _nativeAccepted(connection: TransportConnection): void
}

function receive(receiver: DataReceiver, data: Buffer): void {
  receiver._nativeReceived(data)
}

function happen(receiver: Receiver, event: TransportEvent): void {
  receiver._nativeHappened(event)
}

function introduce(acceptor: Acceptor, connection: TransportConnection): void {
  acceptor._nativeAccepted(connection)
}

/** A connection is its server's. */
export function accept(acceptor: Acceptor, connection: TransportConnection): void {
  acceptor._nativePrepare(connection)
  acceptor._nativeResource.runInAsyncScope(introduce, undefined, acceptor, connection)
}

/** Anything but data. */
function deliver(event: TransportEvent): void {
  const { connection } = event
  if (connection === undefined) {
    const acceptor = event.listener?.context as Acceptor | undefined
    acceptor?._nativeListenResource.runInAsyncScope(happen, undefined, acceptor, event)
    return
  }
  if (event.kind === 'accepted') {
    const acceptor = connection.listener?.context as Acceptor | undefined
    if (acceptor === undefined) {
      connection.abort()
      return
    }
    accept(acceptor, connection)
    return
  }
  const receiver = connection.context as Receiver | undefined
  receiver?._nativeResource.runInAsyncScope(happen, undefined, receiver, event)
}

/** As many immediates are asked for, at most, to deliver what waits. */
const ROUNDS_AT_ONCE = 64

/** Rounds are numbered by small integers. */
const ROUND_MASK = 0x3fffffff

/** The sockets' transport; see the file's comment. */
export class NetEngine {
  /** Milliseconds, as of the last batch: near enough for time-outs, and cheaper than the clock. */
  now = performance.now()

  /** What is received is copied for its socket, which then sees no other's bytes. */
  isolates = false

  readonly #transport: Transport
  readonly #acceptors = new Set<Acceptor>()
  #references = 0
  #immediates = 0
  /** Batches that are not delivered yet, the first from `#next` on. */
  readonly #batches: (readonly TransportEvent[])[] = []
  #next = 0
  /** Functions to be called before anything else is delivered, each in a round of its own. */
  readonly #continuing: { readonly resource: AsyncResource, readonly what: () => void }[] = []
  #round = 0
  #inRound = false
  /** The first round after immediates have run. */
  #phase = 0
  /** The iteration of Node's loop that the phase began in. */
  #iteration = 0
  /** How often immediates have run since somebody wanted to know, and whether somebody does. */
  #checks = 0
  #checked = true
  /** Nothing is delivered before immediates have run. */
  #waits = false
  /** Rounds that immediates are about to deliver. */
  #scheduled = 0

  constructor() {
    const buffers = defaultBuffers()
    this.isolates = buffers === 'isolated'
    this.#transport = openTransport('native', {
      // Copied, if at all, for each socket: so that it can be asked for at any time.
      buffers: 'owned',
      // What `destroy` leaves unsent is dropped, as Node does.
      closeTimeout: 0,
      // The streams' own high-water marks limit what is queued, as Node's do.
      maxQueuedBytes: Infinity,
      maxQueuedBytesTotal: Infinity,
    })
    this.#transport.unref()
    this.#transport.open((events) => this.#take(events) ? 'again' : undefined)
  }

  listen(options: ListenOptions, receiver: Acceptor): TransportListener {
    const listener = this.#transport.listen(options)
    listener.context = receiver
    this.#acceptors.add(receiver)
    return listener
  }

  /** Of a listener that is closed, or has failed. */
  forget(receiver: Acceptor): void {
    this.#acceptors.delete(receiver)
  }

  /** What is open, for Node's lists. */
  listed(): Listed[] {
    const receivers = this.#transport.connections().map(({ context }) => context as Receiver | undefined)
    return [...this.#acceptors, ...receivers].flatMap((receiver) => receiver?._nativeListed ?? [])
  }

  /** How many of the process's immediates are of `later`. */
  get immediates(): number {
    return this.#immediates
  }

  /** Calls `what` in a later phase, as libuv does when a handle is closed. Keeps the process alive until then. */
  later(what: () => void): void {
    this.#immediates++
    setImmediate(() => {
      this.#immediates--
      what()
    })
  }

  connect(options: ConnectOptions, receiver: Receiver): TransportConnection {
    const connection = this.#transport.connect(options)
    connection.context = receiver
    return connection
  }

  /** A connection that others have opened: it is there at once, and what comes is told to its `context`. */
  adopt(fd: number, noDelay: boolean): TransportConnection {
    return this.#transport.connect({ fd, noDelay })
  }

  /** Calls `what` when all that has happened until now has been delivered. */
  delivered(what: () => void): void {
    // Another user of the engine may be told first of what this turn has brought.
    this.later(() => {
      const resource = new AsyncResource('MARKETPLACE')
      const context: Partial<Acceptor> = { _nativeListenResource: resource, _nativeHappened: what }
      const listener = { context } as unknown as TransportListener
      const nothing = { connection: undefined, data: undefined, bytes: 0, error: undefined }
      if (this.#batches.push([{ kind: 'listening', listener, ...nothing }]) === 1) this.#deliverLater()
    })
  }

  /** Counts one more reason to keep the process alive. */
  ref(): void {
    if (this.#references++ === 0) this.#transport.ref()
  }

  /** Counts one less. */
  unref(): void {
    if (--this.#references === 0) this.#transport.unref()
  }

  /** Offers to the kernel, now, what was written. */
  flush(): void {
    this.#transport.flush()
  }

  /** Calls `what` in a round of its own and in this context, before anything else that waits. */
  continue(resource: AsyncResource, what: () => void): void {
    this.#continuing.push({ resource, what })
    // A round is followed by others; who is not called from one needs one.
    if (!this.#inRound) this.#deliverLater()
  }

  /** Returns whether there is to be another round, after ticks and promises. */
  #take(events: readonly TransportEvent[]): boolean {
    if (events.length > 0) {
      this.now = performance.now()
      // Between two rounds something else was reported; it may be from within a tick.
      if (this.#batches.push(events) > 1) return !this.#waits
      this.#beginPhase()
    }
    return this.#deliverRound()
  }

  #nextRound(): number {
    return (this.#round + 1) & ROUND_MASK
  }

  /** The same as before, if immediates have not run since: the loop has two turns in one iteration at times. */
  #beginPhase(): void {
    const { iteration = 0 } = this.#transport
    if (iteration === this.#iteration) return
    this.#iteration = iteration
    this.#phase = this.#nextRound()
  }

  /** A number that is another one once the immediates that wait now have run. */
  untilChecked(): number {
    if (this.#checked) {
      this.#checked = false
      this.later(() => {
        this.#checked = true
        this.#checks++
      })
    }
    return this.#checks
  }

  /** Returns whether there is to be another one. */
  #deliverRound(): boolean {
    this.#inRound = true
    try {
      const next = this.#continuing.shift()
      if (next !== undefined) next.resource.runInAsyncScope(next.what)
      else if (!this.#waits) this.#deliverNext()
    } finally {
      this.#inRound = false
    }
    return this.#hasMore()
  }

  /** Whether there is something to be delivered. */
  #hasMore(): boolean {
    return this.#continuing.length > 0 || (this.#batches.length > 0 && !this.#waits)
  }

  /** Delivers one round's events. If a handler throws, Node tells the program; the rest comes after that. */
  #deliverNext(): void {
    this.#round = this.#nextRound()
    let isFirst = true
    while (this.#batches.length > 0) {
      const events = this.#batches[0]
      const event = events[this.#next]
      if (event.kind !== 'data') {
        if (!isFirst) return
        if (this.#isTooSoon(event)) {
          this.#waits = true
          this.later(() => {
            this.#waits = false
            this.#phase = this.#nextRound()
            try {
              this.#deliverRound()
            } finally {
              if (this.#hasMore()) this.#deliverLater()
            }
          })
          return
        }
        this.#advance(events)
        deliver(event)
        return
      }
      const receiver = event.connection?.context as DataReceiver | undefined
      if (receiver?._nativeRound === this.#round) return
      this.#advance(events)
      if (receiver === undefined) continue
      isFirst = false
      receiver._nativeRound = this.#round
      receiver._nativeResource.runInAsyncScope(receive, undefined, receiver, event.data)
    }
  }

  /** Whether it is the end of a connection whose last data was delivered, or that was destroyed, in this phase. */
  #isTooSoon({ kind, connection }: TransportEvent): boolean {
    if (kind !== 'end' && kind !== 'closed') return false
    if ((connection?.context as Partial<DataReceiver> | undefined)?._nativeChecks === this.#checks) return true
    const round = (connection?.context as Partial<DataReceiver> | undefined)?._nativeRound
    if (round === undefined) return false
    return ((this.#round - round) & ROUND_MASK) <= ((this.#round - this.#phase) & ROUND_MASK)
  }

  /** The next event is about to be delivered. */
  #advance(events: readonly TransportEvent[]): void {
    if (++this.#next < events.length) return
    this.#batches.shift()
    this.#next = 0
  }

  /**
   * Has rounds delivered outside of the engine's turns: by immediates, several at once, as Node runs ticks and
   * promises after each.
   */
  #deliverLater(): void {
    if (this.#scheduled > 0) return
    const events = this.#batches.reduce((sum, { length }) => sum + length, -this.#next)
    const rounds = Math.min(this.#continuing.length + (this.#waits ? 0 : events), ROUNDS_AT_ONCE)
    for (let i = 0; i < rounds; i++) {
      this.#scheduled++
      this.later(() => {
        this.#scheduled--
        try {
          if (this.#hasMore()) this.#deliverRound()
        } finally {
          if (this.#hasMore()) this.#deliverLater()
        }
      })
    }
  }
}

let engine: NetEngine | undefined

/** This thread's engine; opened when first asked for. */
export function netEngine(): NetEngine {
  engine ??= new NetEngine()
  return engine
}

/** This thread's engine, if anybody has asked for it. */
export const openedEngine = (): NetEngine | undefined => engine

/**
 * Runs one suite on every transport, and gives tests a `Station`: a transport whose events are handed to
 * the handlers of the connection they belong to, and checked against the rules of the seam on the way.
 */
import t, { type Test } from 'tap'
import type {
  ConnectOptions, Dropped, ListenOptions, SocketError, Transport, TransportConnection, TransportEvent,
  TransportListener, TransportOptions,
} from '../../src/transport/seam/transport.js'
import { VARIANTS, type Variant } from './variants.js'

export { VARIANTS, type Variant } from './variants.js'
import { patient } from './patience.js'

export type Suite = (t: Test, open: (options?: TransportOptions) => Station) => void | Promise<void>

/** Milliseconds after which a test has hung. */
export const TIMEOUT = patient(30_000)

export interface SuiteOptions {
  readonly timeout?: number
  /** Why it can't run on this machine. */
  readonly skip?: string | false
}

/** Registers `body` as one subtest per transport; a transport that is missing is skipped with the reason. */
export function onEveryTransport(name: string, body: Suite, options: SuiteOptions = {}): void {
  const { timeout = TIMEOUT, skip = false } = options
  const run = async (t: Test, { name, make }: Variant): Promise<void> => {
    const stations: Station[] = []
    t.teardown(async () => { await Promise.all(stations.map((station) => station.transport.close())) })
    await body(t, (options) => {
      const station = new Station(make(options), name)
      stations.push(station)
      return station
    })
    for (const station of stations) t.strictSame(station.violations, [], 'the rules of the seam were kept')
  }
  for (const variant of VARIANTS) {
    void t.test(`${variant.name}: ${name}`, { skip: variant.skip || skip, timeout }, (t) => run(t, variant))
  }
}

export interface Handlers {
  accepted?(connection: TransportConnection): void
  connected?(connection: TransportConnection): void
  data?(connection: TransportConnection, data: Buffer): void
  end?(connection: TransportConnection): void
  written?(connection: TransportConnection, bytes: number): void
  closed?(connection: TransportConnection, error: SocketError | undefined): void
  dropped?(dropped: Dropped): void
}

interface ListenerContext {
  readonly handlers: Handlers
  readonly resolve: (listener: TransportListener) => void
  readonly reject: (error: Error) => void
}

interface ConnectionContext {
  readonly handlers: Handlers
  opened: boolean
  ended: boolean
  closed: boolean
}

/** What every server that echoes does. */
export const ECHO: Handlers = {
  data: (connection, data) => { connection.write(data) },
  end: (connection) => { connection.shutdown() },
}

export class Station {
  readonly transport: Transport
  /** Which of the variants it is. */
  readonly variant: string
  /** Rules that the transport broke. */
  readonly violations: string[] = []
  /** How many events came. */
  events = 0
  #calling = false

  constructor(transport: Transport, variant: string = transport.name) {
    this.transport = transport
    this.variant = variant
    transport.open((events) => {
      if (this.#calling) this.violations.push('an event was reported from inside a call')
      if (events.length === 0) this.violations.push('an empty batch was reported')
      this.events += events.length
      for (const event of events) this.#dispatch(event)
    })
  }

  /** Listens (on 127.0.0.1 and a free port unless told); rejects with the error of `listen-failed`. */
  listen(handlers: Handlers, options: Partial<ListenOptions> = {}): Promise<TransportListener> {
    return new Promise((resolve, reject) => {
      const listener = this.call(() => this.transport.listen({ host: '127.0.0.1', port: 0, ...options }))
      listener.context = { handlers, resolve, reject } satisfies ListenerContext
    })
  }

  connect(options: ConnectOptions, handlers: Handlers): TransportConnection {
    const connection = this.call(() => this.transport.connect(options))
    connection.context = { handlers, opened: false, ended: false, closed: false } satisfies ConnectionContext
    return connection
  }

  /** Connects and waits for `closed`. */
  failure(options: ConnectOptions): Promise<SocketError | undefined> {
    return new Promise((resolve) => {
      this.connect(options, {
        connected: (connection) => { connection.close() },
        closed: (_connection, error) => { resolve(error) },
      })
    })
  }

  /** Makes a call during which nothing may be reported. */
  call<Result>(body: () => Result): Result {
    this.#calling = true
    try {
      return body()
    } finally {
      this.#calling = false
    }
  }

  #dispatch(event: TransportEvent): void {
    if (event.connection !== undefined) this.#dispatchConnection(event, event.connection)
    else if (event.listener !== undefined) this.#dispatchListener(event, event.listener)
    else this.violations.push(`${event.kind} without a socket`)
  }

  #dispatchListener(event: TransportEvent, listener: TransportListener): void {
    const context = listener.context as ListenerContext
    if (event.kind === 'listening') context.resolve(listener)
    else if (event.dropped !== undefined) context.handlers.dropped?.(event.dropped)
    else if (event.error !== undefined) context.reject(event.error)
    else this.violations.push(`${event.kind} without an error`)
  }

  #dispatchConnection(event: TransportEvent, connection: TransportConnection): void {
    if (event.kind === 'accepted') this.#adopt(connection)
    const context = connection.context as ConnectionContext
    const { handlers } = context
    if (context.closed) this.violations.push(`${event.kind} after closed`)
    switch (event.kind) {
      case 'accepted':
      case 'connected':
        if (context.opened) this.violations.push(`${event.kind} twice`)
        if (connection.remote === undefined) this.violations.push(`${event.kind} without a remote address`)
        context.opened = true
        handlers[event.kind]?.(connection)
        break
      case 'data':
        this.#checkData(event, context)
        if (event.data !== undefined) handlers.data?.(connection, event.data)
        break
      case 'end':
        if (context.ended) this.violations.push('end twice')
        context.ended = true
        handlers.end?.(connection)
        break
      case 'written':
        if (!(event.bytes > 0)) this.violations.push(`written reports ${event.bytes} bytes`)
        handlers.written?.(connection, event.bytes)
        break
      case 'closed':
        context.closed = true
        handlers.closed?.(connection, event.error)
        break
      default:
        this.violations.push(`${event.kind} for a connection`)
    }
  }

  #adopt(connection: TransportConnection): void {
    const handlers = (connection.listener?.context as ListenerContext | undefined)?.handlers
    if (handlers === undefined) this.violations.push('accepted without its listener')
    connection.context = {
      handlers: handlers ?? {}, opened: false, ended: false, closed: false,
    } satisfies ConnectionContext
  }

  #checkData(event: TransportEvent, context: ConnectionContext): void {
    if (!context.opened) this.violations.push('data before the connection was reported')
    if (context.ended) this.violations.push('data after end')
    if (!Buffer.isBuffer(event.data) || event.data.length === 0) this.violations.push('data without bytes')
  }
}

/** The port of a listener that is listening. */
export function portOf(listener: TransportListener): number {
  return listener.address?.port ?? 0
}

/** Two ends in one transport that send a byte to and fro for ever: there always is something to do. */
export async function pingPong(station: Station): Promise<() => number> {
  let messages = 0
  const listener = await station.listen(ECHO)
  station.connect({ host: '127.0.0.1', port: portOf(listener) }, {
    connected: (connection) => { connection.write('x') },
    data: (connection, data) => {
      messages += 1
      connection.write(data)
    },
  })
  return () => messages
}

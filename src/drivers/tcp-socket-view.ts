/**
 * What tools for tracing see of connections on the channels that they know from Node: `net.client.socket` and
 * `net.server.socket`. With node:net below, Node itself publishes there; `marketplace-native/net` has sockets
 * of its own to publish; here are the VM's on the native transport.
 *
 * Invariant: without a subscriber there are no views, and a batch costs one test.
 */
import { channel } from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import type { SocketAddress, TransportConnection, TransportEvent } from '../transport/seam/transport.js'

const clients = channel('net.client.socket')
const servers = channel('net.server.socket')

/** Those that somebody was told of; `undefined` until there is one. */
let views: WeakMap<TransportConnection, SocketView> | undefined

/**
 * A connection, with what such tools look at in a `net.Socket`: addresses, and the events `connect`, `error`
 * (if somebody listens) and `close`. It can't be read from or written to.
 */
export class SocketView extends EventEmitter {
  connecting: boolean
  destroyed = false
  readonly #connection: TransportConnection

  constructor(connection: TransportConnection, connecting: boolean) {
    super()
    this.#connection = connection
    this.connecting = connecting
  }

  get remoteAddress(): string | undefined {
    return addressOf(this.#connection.remote)
  }

  get remotePort(): number | undefined {
    return this.#connection.remote?.port
  }

  get remoteFamily(): string | undefined {
    return this.#connection.remote?.family
  }

  get localAddress(): string | undefined {
    return addressOf(this.#connection.local)
  }

  get localPort(): number | undefined {
    return this.#connection.local?.port
  }

  get localFamily(): string | undefined {
    return this.#connection.local?.family
  }
}

function addressOf(address: SocketAddress | undefined): string | undefined {
  return address?.family === 'unix' ? undefined : address?.address
}

/** An outbound connection is begun. */
export function tellOfClient(connection: TransportConnection): void {
  if (clients.hasSubscribers) clients.publish({ socket: viewOf(connection, true) })
}

/** A connection was accepted. */
export function tellOfServer(connection: TransportConnection): void {
  if (servers.hasSubscribers) servers.publish({ socket: viewOf(connection, false) })
}

function viewOf(connection: TransportConnection, connecting: boolean): SocketView {
  const view = new SocketView(connection, connecting)
  views ??= new WeakMap()
  views.set(connection, view)
  return view
}

/** What happened to connections that somebody was told of. */
export function tellViews(events: readonly TransportEvent[]): void {
  if (views === undefined) return
  for (const { kind, connection, error } of events) {
    if (connection === undefined || (kind !== 'connected' && kind !== 'closed')) continue
    const view = views.get(connection)
    if (view === undefined) continue
    view.connecting = false
    view.destroyed = kind === 'closed'
    // As Node does it; and a listener that throws is not to end the driver.
    process.nextTick(() => {
      if (kind === 'connected') view.emit('connect')
      if (error !== undefined && view.listenerCount('error') > 0) view.emit('error', error)
      if (kind === 'closed') view.emit('close', error !== undefined)
    })
  }
}

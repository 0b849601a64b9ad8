/**
 * The fallback transport: the transport seam over `node:net`, for platforms without the addon. Owns no state
 * but what its base classes do; connection.ts translates from streams to events. Errors are Node's own, passed
 * on untouched.
 *
 * Two limits come from libuv: a reset that arrives together with data is reported as an end, and from
 * Node 24 on a reset ends a paused connection at once, with what was sent to it and not read.
 */
import { NodeAccount } from './account.js'
import { NodeConnection } from './connection.js'
import { NodeListener } from './listener.js'
import { checkConnectOptions, checkListenOptions } from '../seam/socket-options.js'
import type {
  ConnectOptions, ListenOptions, Transport, TransportConnection, TransportListener, TransportOptions,
} from '../seam/transport.js'

/** A transport on `node:net`. It passes the same tests as the native one. */
export function nodeTransport(options: TransportOptions = {}): Transport {
  return new NodeTransport(options)
}

class NodeTransport extends NodeAccount<NodeConnection | NodeListener> implements Transport {
  listen(options: ListenOptions): TransportListener {
    this.assertOpen('listen')
    checkListenOptions(options)
    const listener = new NodeListener(this, options, (socket, ticket) => {
      const connection = new NodeConnection(this, listener, ticket)
      this.sockets.add(connection)
      connection.accept(socket)
    })
    this.sockets.add(listener)
    if (!this.isRef) listener.setRef(false)
    listener.start()
    return listener
  }

  connect(options: ConnectOptions): TransportConnection {
    this.assertOpen('connect')
    checkConnectOptions(options)
    const connection = new NodeConnection(this, undefined)
    this.sockets.add(connection)
    if (options.fd === undefined) connection.connect(options)
    else connection.adopt(options, options.fd)
    return connection
  }

  flush(): void {
    // libuv does, on every write.
  }

  connections(): NodeConnection[] {
    return [...this.sockets].filter((socket) => socket instanceof NodeConnection)
  }

  reuse(): void {
    // Every buffer is the program's for as long as it keeps it.
  }

  protected queues(): NodeConnection[] {
    return this.connections()
  }
}

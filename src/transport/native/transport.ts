/** The native transport: the transport seam over the C++ engine. Owns no state but what its base classes do. */
import { argumentError, rangeError } from '../../support/errors.js'
import { publishEvents } from '../seam/diagnostics.js'
import { Counts } from '../seam/metrics.js'
import { engineSettings, loadedAddon, type EngineSocket } from './engine.js'
import { startListener } from './listen.js'
import { NativeConnection, NativeListener, SocketAccount, type NativeEvent } from './socket.js'
import { queueLimits } from '../seam/queue-limits.js'
import { checkConnectOptions, checkListenOptions } from '../seam/socket-options.js'
import { CLOSE_TIMEOUT } from '../seam/transport-options.js'
import type {
  ConnectOptions, ListenOptions, Transport, TransportConnection, TransportListener, TransportOptions,
} from '../seam/transport.js'

export { loadNative } from './addon.js'
export { lacksTls, lacksTlsFor, nativeContext } from './tls.js'

/** A transport over the native engine. Throws if it can't be loaded; `loadNative` says so before. */
export function nativeTransport(options: TransportOptions = {}): Transport {
  const { closeTimeout = CLOSE_TIMEOUT } = options
  if (typeof closeTimeout !== 'number') {
    throw argumentError('nativeTransport', 'closeTimeout', 'a number', closeTimeout)
  }
  if (!(closeTimeout >= 0 && closeTimeout <= 0x7fffffff)) {
    throw rangeError('nativeTransport', 'closeTimeout', 'from 0 to 2147483647 milliseconds', closeTimeout)
  }
  const limits = { ...queueLimits('nativeTransport', options), closeTimeout: Math.ceil(closeTimeout) }
  const settings = engineSettings('nativeTransport', options)
  loadedAddon()
  return new NativeTransport(settings, limits)
}

class NativeTransport extends SocketAccount implements Transport {
  readonly metrics = new Counts(true)

  listen(options: ListenOptions): TransportListener {
    this.assertOpen('listen')
    checkListenOptions(options)
    const listener = new NativeListener(this, options)
    startListener(this, listener, options)
    return listener
  }

  connect(options: ConnectOptions): TransportConnection {
    this.assertOpen('connect')
    checkConnectOptions(options)
    const connection = new NativeConnection(this, undefined)
    if (options.fd === undefined) connection.start(options)
    else connection.adopt(options, options.fd)
    return connection
  }

  connections(): NativeConnection[] {
    return this.all().filter((socket) => socket instanceof NativeConnection)
  }

  protected override all(): EngineSocket[] {
    const own = (socket: EngineSocket | undefined): socket is EngineSocket => socket?.account === this
    return [...this.sockets, ...this.engine.sockets.filter(own)]
  }

  protected publish(events: readonly NativeEvent[]): void {
    publishEvents(this.name, events)
  }
}

/**
 * What an operator holds of a TCP driver: its counters, and what it runs on.
 *
 * Owns the handle that outlives the transports, of which a driver opens a new one whenever it has a
 * first socket again. Invariant: what a closed transport had counted stays in the sum.
 */
import { metricsSum, type TransportMetrics } from '../transport/metrics.js'
import type { Transport, TransportInfo } from '../transport/transport.js'

/** A handle on what is below one or more TCP drivers; made by `tcpEngine`, given as option `engine`. */
export interface TcpEngine {
  /**
   * What was counted since the driver was started, over all of its sockets, as plain data; with several
   * drivers, their sum. All zero before the first socket.
   */
  metrics(): TransportMetrics
  /** What the engine runs on; `undefined` while there is no socket, and on the node transport. */
  info(): TransportInfo | undefined
}

/**
 * Makes a handle to give to `tcp` or `tcpBare`: `tcpBare({ engine })`. Costs nothing while it is not
 * asked.
 */
export function tcpEngine(): TcpEngine {
  return new Engine()
}

/** @internal */
export class Engine implements TcpEngine {
  readonly #open = new Set<Transport>()
  #closed: TransportMetrics | undefined

  metrics(): TransportMetrics {
    const before = this.#closed === undefined ? [] : [this.#closed]
    return metricsSum([...before, ...[...this.#open].map((transport) => transport.metrics)])
  }

  info(): TransportInfo | undefined {
    for (const { info } of this.#open) if (info !== undefined) return info
    return undefined
  }

  /** A driver opened a transport. */
  opened(transport: Transport): void {
    this.#open.add(transport)
  }

  /** And it is closed. */
  closed(transport: Transport): void {
    this.#open.delete(transport)
    const before = this.#closed === undefined ? [] : [this.#closed]
    this.#closed = metricsSum([...before, transport.metrics])
  }
}

/**
 * The attempts of an outbound connection of the fallback transport: plain sockets, one per address.
 *
 * Invariant: a socket is here from its beginning until it is closed, or has become the connection's.
 */
import { connect, isIP, type Socket } from 'node:net'
import { nodeSocketOptions } from './listener.js'
import type { ConnectOptions, SocketAddress, SocketError } from '../seam/transport.js'

export class NodeAttempts {
  readonly #connected: (attempt: number, socket: Socket) => void
  readonly #failed: (attempt: number, error: SocketError) => void
  readonly #allClosed: () => void
  readonly #options: ConnectOptions
  readonly #sockets = new Map<number, Socket>()
  #last = 0

  /**
   * @param connected the first one succeeded; the socket is the caller's now
   * @param allClosed the last one that was given up is closed
   */
  constructor(
    connected: (attempt: number, socket: Socket) => void, failed: (attempt: number, error: SocketError) => void,
    allClosed: () => void, options: ConnectOptions,
  ) {
    this.#connected = connected
    this.#failed = failed
    this.#allClosed = allClosed
    this.#options = options
  }

  get size(): number {
    return this.#sockets.size
  }

  begin({ address, port, family }: SocketAddress): number {
    const { localAddress, localPort = 0 } = this.#options
    const attempt = ++this.#last
    const socket = connect(family === 'unix' ? { path: address, allowHalfOpen: true } : {
      host: address,
      port,
      family: family === 'IPv6' ? 6 : 4,
      ...nodeSocketOptions(this.#options),
      ...(localAddress !== undefined && { localAddress, family: isIP(localAddress) }),
      ...(localPort !== 0 && { localPort }),
    })
    this.#sockets.set(attempt, socket)
    const failed = (error: Error): void => { this.#failed(attempt, error as SocketError) }
    const closed = (): void => {
      this.#sockets.delete(attempt)
      if (this.#sockets.size === 0) this.#allClosed()
    }
    socket.once('connect', () => {
      // One by one: taking all away makes Node resume a socket that is about to be paused.
      socket.off('error', failed).off('close', closed)
      this.#sockets.delete(attempt)
      this.#connected(attempt, socket)
    })
    socket.on('error', failed)
    socket.on('close', closed)
    return attempt
  }

  giveUp(attempt: number): void {
    this.#sockets.get(attempt)?.destroy()
  }
}

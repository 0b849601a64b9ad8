/**
 * Connections that somebody waits for before anybody is told of them: for a header, or for a handshake.
 *
 * Owns a connection until it can begin: its context, and its time limit. Invariant: one that is not there in time, or
 * that fails, ends, and no other one is concerned.
 */
import type { SocketError, TransportConnection, TransportEvent } from '../transport/seam/transport.js'
import type { ActionTree } from '../vm/index.js'

/** What becomes of a connection that has been waited for in vain. */
export interface IntroHost {
  /** It is aborted, or was: why. Undefined if there is nobody to be told of it. */
  failed(socket: TransportConnection, error: SocketError | undefined): ActionTree
  /** Its socket is closed. */
  gone(): ActionTree
}

/** The context of a connection until it begins. */
export abstract class SocketIntro<H extends IntroHost> {
  readonly #timer: NodeJS.Timeout
  #over = false

  /**
   * @param ms how long it may take
   * @param late the error when it takes longer
   * @param later has something done in a turn of the driver
   */
  constructor(
    protected readonly socket: TransportConnection,
    protected readonly host: H,
    ms: number,
    late: () => SocketError,
    later: (deed: () => ActionTree) => void,
  ) {
    this.#timer = setTimeout(() => { later(() => this.fail(late())) }, ms)
  }

  handle(event: TransportEvent): ActionTree {
    if (event.kind === 'closed') return this.#closed(event.error)
    return this.#over ? undefined : this.heard(event)
  }

  /** The program wants it no more. */
  giveUp(): void {
    if (this.#over) return
    this.finish()
    this.socket.abort()
  }

  /** Something of the connection's, before it is over. */
  protected abstract heard(event: TransportEvent): ActionTree

  /** It begins, or ends: from now on it is not waited for. */
  protected finish(): void {
    this.#over = true
    clearTimeout(this.#timer)
  }

  protected fail(error: SocketError | undefined): ActionTree {
    if (this.#over) return undefined
    this.finish()
    this.socket.abort()
    return this.host.failed(this.socket, error)
  }

  #closed(error: SocketError | undefined): ActionTree {
    if (this.#over) return this.host.gone()
    this.finish()
    return [this.host.failed(this.socket, error), this.host.gone()]
  }
}

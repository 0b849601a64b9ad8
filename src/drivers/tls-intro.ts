/**
 * Connections that begin with a TLS handshake: the wait for its end, before anybody is told of the connection.
 *
 * Owns what is done with a connection until it is secured. Invariant: a server's certificate is that of whom the
 * program wants to talk to before any byte of the program's is sent.
 */
import { asError } from '../support/errors.js'
import {
  asTlsError, handshakeTimeoutError, wrongIdentity, type TlsStart, type TlsState,
} from '../transport/seam/tls.js'
import type { TransportConnection, TransportEvent } from '../transport/seam/transport.js'
import type { ActionTree } from '../vm/index.js'
import { SocketIntro, type IntroHost } from './socket-intro.js'

/** What becomes of a connection whose handshake has been waited for. */
export interface Secured extends IntroHost {
  /** It can begin. What follows is for whoever is the connection's context then. */
  secured(socket: TransportConnection, tls: TlsState): ActionTree
}

/** A connection whose handshake is on. Its context until then. */
export class TlsIntro extends SocketIntro<Secured> {
  /** @param later has something done in a turn of the driver */
  constructor(
    socket: TransportConnection,
    private readonly start: TlsStart,
    host: Secured,
    later: (deed: () => ActionTree) => void,
  ) {
    const { handshakeTimeout } = start.credentials
    super(socket, host, handshakeTimeout, () => handshakeTimeoutError(handshakeTimeout), later)
  }

  /** @param events what was received before, and is what TLS begins with */
  begin(events: readonly TransportEvent[] = []): ActionTree {
    try {
      if (this.socket.startTls === undefined) throw new Error('this transport has no TLS')
      this.socket.startTls(this.start)
      return events.map((event) => this.handle(event))
    } catch (error) {
      return this.fail(asTlsError(asError(error, 'startTls')))
    }
  }

  protected heard(event: TransportEvent): ActionTree {
    if (event.kind === 'data') this.socket.unread?.(event.data as Buffer)
    return event.kind === 'secured' ? this.#secured() : undefined
  }

  #secured(): ActionTree {
    const tls = this.socket.tls as TlsState
    const wrong = this.#wrongServer(tls)
    if (wrong !== undefined) return this.fail(asTlsError(wrong))
    this.finish()
    return this.host.secured(this.socket, tls)
  }

  /** Not its certificate, which is valid, but whose it is. */
  #wrongServer(tls: TlsState): Error | undefined {
    const { server, credentials } = this.start
    if (server || credentials.options.rejectUnauthorized === false) return undefined
    try {
      return wrongIdentity(this.start, tls)
    } catch (error) {
      return asError(error, 'checkServerIdentity')
    }
  }
}

/**
 * The secured socket: `net`'s, whose connection has TLS in the engine, with the shape of `tls.TLSSocket`.
 *
 * Owns the way from a connection to a secured one: by itself after it has connected, for a server that has accepted
 * it, or taken from another socket of `net` (STARTTLS). Invariant: nothing of the program's is sent before the
 * handshake is over and the peer is who it is to be.
 */
import type { AsyncResource } from 'node:async_hooks'
import { X509Certificate } from 'node:crypto'
import { addAbortSignal, type Duplex } from 'node:stream'
import * as nodeTls from 'node:tls'
import { checkFunction, checkString, nodeError } from '../net/errors.js'
import { isInPlace } from '../net/in-place.js'
import { Socket, type AcceptedAs, type SocketOptions, type SocketOwner } from '../net/socket.js'
import {
  asTlsError, cutHandshakeError, detailedCertificate, legacyCertificate, NO_CODE, wrongIdentity, type Credentials,
  type TlsState, type TlsStart,
} from '../transport/seam/tls.js'
import type { TransportConnection, TransportEvent } from '../transport/seam/transport.js'
import { asError } from '../support/errors.js'
import type { SocketError } from '../support/socket-error.js'
import { credentialsFor, isOurs, sessionOf, type Given } from './setup.js'

/** What a server does with its sockets' handshakes. */
export interface HandshakeOwner {
  /** Milliseconds that one may take. */
  readonly handshakeTimeout: number
  readonly server: unknown
  secured(socket: TLSSocket): void
  failed(socket: TLSSocket, error: Error): void
}

/** How a socket gets to be secured. */
export interface Setup {
  readonly credentials: Credentials
  readonly owner?: HandshakeOwner | undefined
  /** Of a client: as `tls.connect` was told. */
  readonly target?: Given | undefined
}

/** In the options of a socket that this module makes. */
export const SETUP = Symbol('setup')

interface TlsSocketOptions extends SocketOptions {
  readonly isServer?: boolean
  readonly [SETUP]?: Setup
}

/** Its handshake has not begun, is on, is over, or has failed. */
type Phase = 'before' | 'handshake' | 'secured' | 'failed'

/** Of what only Node's own sockets can do. */
export function notSupported(what: string): Error {
  return nodeError(Error, 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM', `${what} is not available with TLS in the engine`)
}

/** The code of an error, if it is about the peer's certificate: such as CERT_HAS_EXPIRED. */
function certificateCode(code: string | undefined): string | undefined {
  return code !== undefined && /^[A-Z]+(_[A-Z]+)+$/.test(code) && !code.startsWith('ERR_') ? code : undefined
}

/** As Node's: an error of TLS names no system call, and one of the program's own is as the program has made it. */
function asNodes(error: Error): Error {
  const fields = error as { errno?: number, syscall?: string, code?: string }
  if (fields.syscall !== 'tls') return error
  try {
    delete fields.errno
    delete fields.syscall
    if (fields.code === NO_CODE) delete fields.code
  } catch {
    // It is the program's, and can't be written to.
  }
  return error
}

export class TLSSocket extends Socket {
  readonly encrypted = true
  authorized = false
  authorizationError: string | Error | null = null
  alpnProtocol: string | false | null = null
  servername: string | false | null = null
  secureConnecting = true

  readonly #isServer!: boolean
  readonly #owner: HandshakeOwner | undefined
  readonly #target!: Given
  /** By `connect`, or for a server, and not by the program. */
  readonly #isMade!: boolean
  #credentials!: Credentials
  #phase: Phase = 'before'
  #deadline: NodeJS.Timeout | undefined = undefined
  /** Of another socket, whose connection it has got: what nobody had read. */
  #unread: readonly Uint8Array[] = []
  #state: TlsState | undefined = undefined

  /**
   * @param socket whose connection it takes, with the state that it is in; none: it gets one of its own
   * @param options as those of Node's
   */
  constructor(socket?: Duplex | null, options: TlsSocketOptions = {}) {
    const given = options as unknown as Given
    const setup = options[SETUP]
    const takes = socket instanceof Socket && !(socket instanceof TLSSocket)
    if (setup === undefined && (!isOurs(given) || (socket && !takes))) {
      if (isInPlace(new.target)) throw notSupported('this option')
      // Over what is no socket of the engine's, and with what the engine can't do, it is Node's own.
      return new nodeTls.TLSSocket(socket as never, options) as unknown as TLSSocket
    }
    const { SNICallback } = options as { SNICallback?: unknown }
    if (SNICallback !== undefined && SNICallback !== null) checkFunction(SNICallback, 'options.SNICallback')
    super({ ...options, ...(takes && { allowHalfOpen: socket.allowHalfOpen }), signal: undefined })
    this.#isServer = options.isServer === true
    this.#target = setup?.target ?? given
    this.#credentials = setup?.credentials ?? credentialsFor(given, this.#isServer)
    this.#owner = setup?.owner
    this.#isMade = setup !== undefined
    // The first to hear of it, as with Node: who is told by that listens to it in vain.
    this.on('secure', () => { this.#tellSecured() })
    if (takes) this.#take(socket)
    if (options.signal) addAbortSignal(options.signal, this)
  }

  /** The connection of another socket, which is left without one, and ends with this one. */
  #take(socket: Socket): void {
    this._nativePutOn(socket)
    this._host = socket._host
    this.connecting = socket.connecting || socket._handle === null
    if (!socket._nativeReader.referenced) this.unref()
    socket.once('connect', () => {
      this.connecting = false
      this.emit('connect')
    })
    let failed = false
    socket.on('error', (error) => {
      failed = true
      this.#failedBelow(error)
    })
    socket.once('close', () => {
      const told = failed || this.#phase === 'secured' || this.#phase === 'failed'
      if (told) this.destroy()
      else this.#fail(cutHandshakeError(this.#isServer))
    })
    socket._nativeTake((connection, resource, unread) => { this.#taken(connection, resource, unread) })
  }

  /** As Node's: it is an error of this one, too, which is destroyed when the socket below has closed. */
  #failedBelow(error: Error): void {
    if (this.destroyed) return
    if (this.#phase !== 'secured' && this.#owner !== undefined) {
      this.#fail(error)
      return
    }
    this.emit('_tlsError', error)
    // One that the program has made itself has no other to tell than the socket below.
    if (this.#isMade) this.emit('error', error)
  }

  #taken(
    connection: TransportConnection | undefined, resource: AsyncResource | undefined, unread: readonly Uint8Array[],
  ): void {
    if (connection === undefined || resource === undefined) {
      // If the socket below is destroyed, its 'close' is the end of this one, too.
      if (this._nativeBelow?.destroyed !== true) this.#fail(cutHandshakeError(this.#isServer))
    } else if (this.destroyed) {
      connection.context = undefined
      connection.close()
      resource.emitDestroy()
    } else {
      this.#unread = unread
      this._nativeGiven(connection, resource)
    }
  }

  protected override get _nativeKeepsHandle(): boolean {
    return true
  }

  override connect(...args: unknown[]): this {
    this.#phase = 'before'
    this.secureConnecting = true
    this.authorizationError = null
    return super.connect(...args)
  }

  // The handshake.

  override get _nativeAwaits(): string | undefined {
    if (!(#phase in this)) return undefined
    return this.#phase === 'before' || this.#phase === 'handshake' ? 'secure' : undefined
  }

  get #start(): TlsStart {
    const { host, socket } = this.#target as { host?: string, socket?: { _host?: string | null } }
    const named = host ?? socket?._host ?? this._host ?? 'localhost'
    return { credentials: this.#credentials, server: this.#isServer, host: named, asksHost: false }
  }

  override _nativePrepares(): boolean {
    const connection = this._nativeLink as TransportConnection
    this.#phase = 'handshake'
    try {
      connection.startTls?.(this.#start)
      for (const data of this.#unread) connection.unread?.(data)
      this.#unread = []
    } catch (error) {
      process.nextTick(() => { this.#fail(asTlsError(asError(error, 'startTls'))) })
    }
    const owner = this.#owner
    if (owner !== undefined) {
      this.#deadline = setTimeout(() => {
        this.#fail(nodeError(Error, 'ERR_TLS_HANDSHAKE_TIMEOUT', 'TLS handshake timeout'))
      }, owner.handshakeTimeout)
      // The connection keeps the process alive, if anything does.
      this.#deadline.unref()
    }
    return true
  }

  /** Of a server that pauses its connections: not before they are secured. */
  override _nativeAdopted(server: SocketOwner, how: AcceptedAs): void {
    super._nativeAdopted(server, { noDelay: how.noDelay, pauseOnConnect: false })
  }

  override _nativeReceived(received: Buffer): void {
    if (this.#phase === 'handshake') this._nativeLink?.unread?.(received)
    else super._nativeReceived(received)
  }

  override _nativeHappened(event: TransportEvent): void {
    const { kind, error } = event
    if (kind === 'secured') {
      this.#handshakeDone()
    } else if (kind === 'session') {
      if (event.data !== undefined && !this.#isServer) this.emit('session', event.data)
    } else if (kind === 'closed' && this.#phase === 'handshake') {
      // Whoever is told of the failure wants to know whose it was.
      this._getpeername()
      super._nativeHappened({ ...event, kind, error: undefined })
      this.#fail(error ?? cutHandshakeError(this.#isServer))
    } else {
      super._nativeHappened(event)
    }
  }

  protected override _nativeFailure(error: SocketError): Error {
    return error.syscall === 'tls' ? asNodes(error) : super._nativeFailure(error)
  }

  #handshakeDone(): void {
    if (this.#phase !== 'handshake') return
    const state = this._nativeLink?.tls
    if (state === undefined) return
    this.#state = state
    clearTimeout(this.#deadline)
    this.alpnProtocol = state.alpnProtocol ?? false
    this.servername = state.servername ?? false
    this.authorized = state.authorized
    this.authorizationError = state.authorizationError ?? null
    if (!this.#isServer && state.authorizationError === undefined) {
      const wrong = this.#wrongServer(state)
      if (wrong !== undefined) {
        this.authorized = false
        this.authorizationError = (wrong as NodeJS.ErrnoException).code ?? wrong.message
        if (this.#credentials.options.rejectUnauthorized !== false) {
          this.#fail(wrong)
          return
        }
      }
    }
    this.#phase = 'secured'
    this.secureConnecting = false
    // What was written until now is passed on by it.
    this._nativePrepared(() => { this.emit('secure') })
  }

  #tellSecured(): void {
    if (!this.#isServer) this.emit('secureConnect')
    else this.#owner?.secured(this)
  }

  #wrongServer(state: TlsState): Error | undefined {
    try {
      return wrongIdentity(this.#start, state)
    } catch (error) {
      return asError(error, 'checkServerIdentity')
    }
  }

  #fail(failure: Error): void {
    if (this.#phase === 'failed' || this.#phase === 'secured') return
    const error = asNodes(failure)
    this.#phase = 'failed'
    clearTimeout(this.#deadline)
    if (this.destroyed) return
    if (this.#owner !== undefined) {
      this.destroy()
      this.#owner.failed(this, error)
      return
    }
    this.emit('_tlsError', error)
    // As Node's: there may be nobody who knows of this one yet.
    if (this.#isServer && this.listenerCount('error') === 0) {
      this.destroy()
      return
    }
    const { code, syscall } = error as NodeJS.ErrnoException
    // What `checkServerIdentity` said is there already.
    this.authorizationError ??= certificateCode(code) ?? null
    // As Node's: one that the kernel tells of is as it tells it.
    if (code === 'ECONNRESET' && syscall === undefined && !this.#isServer) {
      const { path, host, port, localAddress } = this.#target
      Object.assign(error, { path, host, port, localAddress })
    }
    this.destroy(error)
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearTimeout(this.#deadline)
    const before = this.#phase
    if (before !== 'secured') this.#phase = 'failed'
    super._destroy(error, callback)
    // Given up by the program, before it was.
    if (before === 'handshake' && error === null) this.#owner?.failed(this, asNodes(cutHandshakeError(true)))
  }

  // What was agreed on.

  getProtocol(): string | null {
    return this.#state?.protocol ?? null
  }

  getCipher(): nodeTls.CipherNameAndProtocol | undefined {
    return this.#state?.cipher
  }

  isSessionReused(): boolean {
    return this.#state?.resumed ?? false
  }

  getSession(): Buffer | undefined {
    return this._nativeLink?.tlsSession?.()
  }

  getTLSTicket(): Buffer | undefined {
    return undefined
  }

  getPeerCertificate(detailed = false): nodeTls.PeerCertificate | Record<string, never> | null {
    if (this.destroyed) return null
    const certificates = this.#state?.certificates ?? []
    if (certificates.length === 0) return {}
    return detailed ? detailedCertificate(certificates) : legacyCertificate(certificates[0])
  }

  getPeerX509Certificate(): X509Certificate | undefined {
    const [first] = this.#state?.certificates ?? []
    return (first as Uint8Array | undefined) && new X509Certificate(first)
  }

  getCertificate(): nodeTls.PeerCertificate | Record<string, never> | null {
    if (this.destroyed) return null
    const own = this._nativeLink?.tlsCertificate?.()
    return own === undefined ? {} : legacyCertificate(own)
  }

  getX509Certificate(): X509Certificate | undefined {
    const own = this._nativeLink?.tlsCertificate?.()
    return own && new X509Certificate(own)
  }

  /** As Node's, of a server; a client doesn't know. */
  getEphemeralKeyInfo(): object | null {
    return this.#isServer ? null : {}
  }

  /** Before it connects. @param name that the server is asked for */
  setServername(name: unknown): void {
    checkString(name, 'name')
    if (this.#isServer) {
      throw nodeError(Error, 'ERR_TLS_SNI_FROM_SERVER', 'Cannot issue SNI from a TLS server-side socket')
    }
    this.#with({ servername: name as string })
  }

  /** Before it connects. */
  setSession(session: unknown): void {
    this.#with({ session: sessionOf(session) })
  }

  #with(more: object): void {
    if (this.#phase !== 'before') return
    this.#credentials = credentialsFor({ ...this.#target, ...more }, this.#isServer)
  }

  /** A handshake is never begun anew. @returns false */
  renegotiate(_options: unknown, callback?: (error: Error) => void): boolean {
    if (callback !== undefined) process.nextTick(callback, notSupported('renegotiation'))
    return false
  }

  disableRenegotiation(): void {
    // It is never on.
  }

  /** @returns false: records are as long as they can be */
  setMaxSendFragment(): boolean {
    return false
  }

  enableTrace(): void {
    throw notSupported('enableTrace')
  }

  exportKeyingMaterial(): Buffer {
    throw notSupported('exportKeyingMaterial')
  }

  setKeyCert(): void {
    throw notSupported('setKeyCert')
  }

  getFinished(): Buffer | undefined {
    return undefined
  }

  getPeerFinished(): Buffer | undefined {
    return undefined
  }

  getSharedSigalgs(): string[] {
    return []
  }
}

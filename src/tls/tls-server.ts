/**
 * The server: `net`'s, whose connections begin with a handshake, with the shape of `tls.Server`. Owns the credentials
 * that its connections have, the contexts for names, and the sockets of others that it is given by 'connection'.
 */
import { captureRejectionSymbol } from 'node:events'
import type { Duplex } from 'node:stream'
import * as nodeTls from 'node:tls'
import { checkFunction, checkNumber, invalidType, nodeError } from '../net/errors.js'
import { Server as NetServer } from '../net/server.js'
import { Socket, type SocketOptions } from '../net/socket.js'
import { nativeTlsContext } from '../transport/choose.js'
import { contextOf, type Credentials, type TlsOptions } from '../transport/seam/tls.js'
import { createSecureContext, credentialsFor, isOurs, type Given } from './setup.js'
import { notSupported, SETUP, TLSSocket, type HandshakeOwner } from './tls-socket.js'

const HANDSHAKE_TIMEOUT = 120_000

type Listener = (socket: TLSSocket) => void

/** As programs may write it: what it returns may be a promise. */
type Asked = (name: string, done: (error: Error | null, context?: nodeTls.SecureContext) => void) => unknown

/** What Node's own contexts have, by which a server of several processes shares its sessions. */
interface TicketKeys {
  getTicketKeys(): Buffer
  setTicketKeys(keys: Uint8Array): void
}

export class Server extends NetServer {
  #given!: Given
  #credentials!: Credentials
  readonly #contexts: { readonly name: RegExp, readonly context: nodeTls.SecureContext }[] = []
  #node: nodeTls.Server | undefined = undefined
  readonly #owner: HandshakeOwner

  constructor(given?: object | Listener | null, onSecure?: Listener) {
    const options = (typeof given === 'function' ? {} : given ?? {}) as Given
    const listener = typeof given === 'function' ? given as Listener : onSecure
    const { handshakeTimeout = HANDSHAKE_TIMEOUT, SNICallback } = options as TlsOptions
    checkNumber(handshakeTimeout, 'options.handshakeTimeout')
    if (SNICallback !== undefined) checkFunction(SNICallback, 'options.SNICallback')
    super(options)
    this.#owner = {
      handshakeTimeout: handshakeTimeout || HANDSHAKE_TIMEOUT,
      server: this,
      secured: (socket) => {
        if ((this as unknown as { pauseOnConnect: boolean }).pauseOnConnect) socket.pause()
        this.emit('secureConnection', socket)
      },
      failed: (socket, error) => {
        const { code, syscall } = error as NodeJS.ErrnoException
        if (code === 'ECONNRESET' && syscall === undefined) error.message = 'socket hang up'
        this.emit('tlsClientError', error, socket)
      },
    }
    this.#given = options
    this.#credentials = this.#make(options)
    this.on('connection', (socket: Duplex) => { this.#secure(socket) })
    if (listener !== undefined) this.on('secureConnection', listener as (...args: unknown[]) => void)
  }

  #make(options: Given): Credentials {
    return credentialsFor(options, true, { SNICallback: this.#chooses })
  }

  /** Gives the context for a name. What the program's own throws, or its promise, is for who asks to see to. */
  readonly #chooses = (
    name: string, done: (error: Error | null, context?: nodeTls.SecureContext) => void,
  ): unknown => {
    const { SNICallback } = this.#given as { SNICallback?: Asked }
    if (SNICallback !== undefined) return SNICallback(name, done)
    // As Node's: the one that was added last counts.
    done(null, this.#contexts.findLast((one) => one.name.test(name))?.context)
    return undefined
  }

  override _nativeSocket(options: SocketOptions): Socket {
    const setup = { credentials: this.#credentials, owner: this.#owner }
    return new TLSSocket(undefined, { ...options, isServer: true, [SETUP]: setup })
  }

  override get _nativePausesAccepted(): boolean {
    return true
  }

  /** A connection that a program gives it; its own are secured by themselves. */
  #secure(socket: Duplex): void {
    if (socket instanceof TLSSocket && socket.server === this) return
    if (socket instanceof Socket && !(socket instanceof TLSSocket)) {
      const { allowHalfOpen } = this as unknown as { allowHalfOpen: boolean }
      const setup = { credentials: this.#credentials, owner: this.#owner }
      const secured = new TLSSocket(socket, { allowHalfOpen, isServer: true, [SETUP]: setup })
      secured.server = this
      return
    }
    // Over anything else it is Node's own.
    if (this.#node === undefined) {
      this.#node = nodeTls.createServer(this.#given as nodeTls.TlsOptions)
      this.#node.setTicketKeys(this.getTicketKeys())
      for (const event of ['secureConnection', 'tlsClientError', 'keylog'] as const) {
        this.#node.on(event, (...args: unknown[]) => { this.emit(event, ...args) })
      }
      for (const { name, context } of this.#contexts) addTo(this.#node, name, context)
    }
    this.#node.emit('connection', socket)
  }

  /** @param name for which clients are shown it; `*` stands for one label @param context or options of one */
  addContext(name: string, context: nodeTls.SecureContext | nodeTls.SecureContextOptions): void {
    if (!name) {
      throw nodeError(Error, 'ERR_TLS_REQUIRED_SERVER_NAME', '"servername" is required parameter for Server.addContext')
    }
    const pattern = name.replace(/[.^$+?\-\\[\]{}()|/]/g, String.raw`\$&`).replaceAll('*', '[^.]*')
    const made = 'context' in context ? context : createSecureContext(context)
    const entry = { name: new RegExp(`^${pattern}$`), context: made }
    this.#contexts.push(entry)
    if (this.#node !== undefined) addTo(this.#node, entry.name, made)
  }

  /** Handshakes from now on have these; connections that there are go on with what they have. */
  setSecureContext(options: nodeTls.SecureContextOptions): void {
    // As Node's: what isn't given is none, but for what sessions are shared by.
    const { ticketKeys, sessionTimeout } = this.#given as TlsOptions
    const before = contextOf(this.#given)
    const others = Object.entries(this.#given).filter(([name]) => !(name in before) && name !== 'secureContext')
    const given = { ...Object.fromEntries(others), ticketKeys, sessionTimeout, ...options }
    if (!isOurs(given)) throw notSupported('one of these options')
    this.#credentials = this.#make(given)
    this.#given = given
    this.#node?.setSecureContext(options)
  }

  /** What the primary of a cluster keeps for all who listen on the same port. */
  _getServerData(): object {
    return { ticketKeys: this.getTicketKeys().toString('hex') }
  }

  /** What it has from another. */
  _setServerData({ ticketKeys }: { ticketKeys: string }): void {
    this.setTicketKeys(Buffer.from(ticketKeys, 'hex'))
  }

  /** Of an async listener that has failed, where `captureRejections` is on: one connection's failure. */
  override [captureRejectionSymbol](error: Error, event: string | symbol, ...args: unknown[]): void {
    const [socket] = args
    if (event === 'secureConnection') (socket as TLSSocket).destroy(error)
    else super[captureRejectionSymbol]?.(error, event, ...args)
  }

  get #tickets(): TicketKeys {
    return nativeTlsContext(this.#credentials, true).context as TicketKeys
  }

  getTicketKeys(): Buffer {
    return this.#tickets.getTicketKeys()
  }

  setTicketKeys(keys: Uint8Array): void {
    if (!ArrayBuffer.isView(keys)) throw invalidType('buffer', 'an instance of Buffer, TypedArray, or DataView', keys)
    if (keys.byteLength !== 48) {
      throw nodeError(RangeError, 'ERR_OUT_OF_RANGE', 'Session ticket keys must be a 48-byte buffer')
    }
    this.#tickets.setTicketKeys(keys)
    this.#node?.setTicketKeys(Buffer.from(keys.buffer, keys.byteOffset, keys.byteLength))
  }
}

function addTo(server: nodeTls.Server, name: RegExp, context: nodeTls.SecureContext): void {
  (server as unknown as { _contexts: unknown[] })._contexts.push([name, context.context])
}

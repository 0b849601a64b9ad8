/**
 * TLS as programs ask for it: options, under the names that `node:tls` gives them, what they become, and the errors.
 *
 * Owns the options, the contexts of OpenSSL that Node makes of them, and what is known of a secured connection. How
 * bytes are encrypted is each transport's. Invariant: a context is never given to both, as Node's own sockets set
 * callbacks in theirs that know no others.
 */
import { constants } from 'node:os'
import { isIP } from 'node:net'
import type {
  DetailedPeerCertificate, PeerCertificate, SecureContext, SecureContextOptions, TlsOptions as NodeTlsOptions,
} from 'node:tls'
import { isPromise } from 'node:util/types'
import { cryptoModule, tlsModule } from '../../support/builtins.js'
import { setImmediate } from '../../support/real-time.js'
import { checkOptions, integer, oneOf, ofType, type Check } from '../../support/checks.js'
import { argumentError, asError, callError, show, socketError } from '../../support/errors.js'
import type { SocketError } from '../../support/socket-error.js'

/** What can be renewed while connections go on: certificates, whom to trust, and the rules of the handshake. */
export type TlsContextOptions = Pick<
  SecureContextOptions,
  'ca' | 'cert' | 'ciphers' | 'crl' | 'dhparam' | 'ecdhCurve' | 'honorCipherOrder' | 'key' | 'maxVersion' | 'minVersion'
  | 'passphrase' | 'pfx' | 'secureOptions' | 'sessionIdContext' | 'sessionTimeout' | 'sigalgs' | 'ticketKeys'
>

/**
 * Options of TLS, as those of `node:tls` with the same names, of listeners and of handles: each takes what concerns
 * it.
 */
export interface TlsOptions extends TlsContextOptions {
  /** Protocols that are spoken inside, the preferred one first: `['h2', 'http/1.1']`. Default: none is negotiated. */
  readonly ALPNProtocols?: readonly string[] | undefined
  /** Listeners: ask clients for a certificate. Default false. */
  readonly requestCert?: boolean | undefined
  /**
   * End connections whose peer's certificate is not valid, or is missing where one was asked for. Default true. With
   * false, `authorized` says what it is worth.
   */
  readonly rejectUnauthorized?: boolean | undefined
  /** Listeners: gives the context (`tls.createSecureContext`) for the name that a client asks for. */
  readonly SNICallback?: NodeTlsOptions['SNICallback'] | undefined
  /** Handles: the name that the server is asked for, and that its certificate must have. Default: the host. */
  readonly servername?: string | undefined
  /** Handles: whether a certificate is that of a name; as `tls.checkServerIdentity`, which is the default. */
  readonly checkServerIdentity?: ((hostname: string, cert: PeerCertificate) => Error | undefined) | undefined
  /** Handles: a session of an earlier connection, to be resumed. */
  readonly session?: Uint8Array | undefined
  /**
   * A key that both sides know, instead of certificates; see `tls.connect` and `tls.createServer`. Only on the `node`
   * transport, which `transport: 'auto'` takes then.
   */
  readonly pskCallback?: ((...args: never[]) => unknown) | undefined
  /** Listeners with `pskCallback`: a hint for clients. */
  readonly pskIdentityHint?: string | undefined
  /** Milliseconds that a handshake may take, from 1 to 2,147,483,647. Default 10,000. */
  readonly handshakeTimeout?: number | undefined
  /**
   * Take a connection's end for that of the stream also where TLS has not said so. Default false: it ends with
   * ERR_SSL_UNEXPECTED_EOF_WHILE_READING, as somebody on the way may have cut it.
   */
  readonly allowTruncation?: boolean | undefined
}

/** The cipher of a connection, by its names in OpenSSL and in the standard. */
export interface TlsCipher {
  /** As OpenSSL calls it. */
  readonly name: string
  /** As the standard calls it. */
  readonly standardName: string
  /** The lowest version of TLS that has it. */
  readonly version: string
}

/** What a handshake came to. */
export interface TlsState {
  /** `TLSv1.3` or `TLSv1.2`, mostly. */
  readonly protocol: string
  /** How it is encrypted. */
  readonly cipher: TlsCipher
  /** The protocol that both sides speak inside, of `ALPNProtocols`. */
  readonly alpnProtocol: string | undefined
  /** The name that the client has asked for. */
  readonly servername: string | undefined
  /** Whether the peer has shown a certificate that is valid, and on a handle that of the right name. */
  readonly authorized: boolean
  /** Why not: a code as `node:tls` has it, such as CERT_HAS_EXPIRED. */
  readonly authorizationError: string | undefined
  /** Whether a session was resumed. */
  readonly resumed: boolean
  /** The peer's certificate, as `getPeerCertificate()` of `node:tls` has it. */
  readonly peerCertificate: PeerCertificate | undefined
  /** What the peer has shown, in DER, its own first. Only with the native engine. */
  readonly certificates?: readonly Uint8Array[] | undefined
}

const LONGEST = 0x7fffffff
const HANDSHAKE_TIMEOUT = 10_000
/** Servers choose among the ciphers that the client has (SSL_OP_CIPHER_SERVER_PREFERENCE). */
const SERVER_PREFERENCE = 0x400000
const PROTOCOL_MAX = 255

const any: Check = () => undefined // Node says what is wrong with it

const checkProtocols: Check = (call, name, value) => {
  const right = (text: unknown): boolean => {
    const size = typeof text === 'string' ? Buffer.byteLength(text) : 0
    return size > 0 && size <= PROTOCOL_MAX
  }
  if (Array.isArray(value) && value.every(right)) return
  throw argumentError(call, name, 'an array of names of 1 to 255 bytes', value)
}

const checkSession: Check = (call, name, value) => {
  if (!(value instanceof Uint8Array)) throw argumentError(call, name, 'a Uint8Array', value)
}

const version = oneOf('TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3')

/** Those of `TlsContextOptions`; Node and OpenSSL check what certificates, keys and lists of names are. */
const contextChecks = {
  ca: any, cert: any, ciphers: any, crl: any, dhparam: any, ecdhCurve: any, honorCipherOrder: ofType('boolean'),
  key: any, maxVersion: version, minVersion: version, passphrase: any, pfx: any, secureOptions: any,
  sessionIdContext: any, sessionTimeout: any, sigalgs: any, ticketKeys: any,
} satisfies Record<keyof TlsContextOptions, Check>

const tlsChecks = {
  ...contextChecks,
  ALPNProtocols: checkProtocols,
  requestCert: ofType('boolean'),
  rejectUnauthorized: ofType('boolean'),
  SNICallback: ofType('function'),
  servername: ofType('string'),
  checkServerIdentity: ofType('function'),
  session: checkSession,
  pskCallback: ofType('function'),
  pskIdentityHint: ofType('string'),
  handshakeTimeout: integer(1, LONGEST, 'milliseconds'),
  allowTruncation: ofType('boolean'),
} satisfies Record<keyof TlsOptions, Check>

/** Those of the options that a context is made of: what a renewal replaces. */
export function contextOf(options: object): TlsContextOptions {
  return Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(contextChecks, name)))
}

/** The same for all processes of a server, as Node has it, so that each can resume the others' sessions. */
const defaultSessionId = (): string =>
  cryptoModule().createHash('sha256').update(process.argv.join(' ')).digest('hex').slice(0, 32)

/** Which use of a context: by whom, and as what. */
type Use = 'native server' | 'native client' | 'node server' | 'node client'

/** Credentials for TLS: one object for all connections that have the same, which can be renewed while they go on. */
export interface TlsCredentials {
  /** What they were made of, and renewed with. */
  readonly options: TlsOptions
  /**
   * Replaces certificates, whom to trust, and the rules of the handshake: for handshakes from now on. Connections that
   * there are go on with what they have.
   *
   * @throws what `tls.createSecureContext` does; then nothing has changed
   */
  setSecureContext(options: TlsContextOptions): void
}

export class Credentials implements TlsCredentials {
  #options: TlsOptions
  readonly #contexts = new Map<Use, unknown>()

  #made: ((server: boolean) => SecureContext) | undefined

  /** @param made makes what the options would be made to, otherwise than by `tls.createSecureContext` */
  constructor(options: TlsOptions, made?: (server: boolean) => SecureContext) {
    this.#options = options
    this.#made = made
  }

  /** @throws what `tls.createSecureContext` does */
  check(): this {
    this.nodeContext('node client')
    return this
  }

  get options(): TlsOptions {
    return this.#options
  }

  get handshakeTimeout(): number {
    return this.#options.handshakeTimeout ?? HANDSHAKE_TIMEOUT
  }

  setSecureContext(options: TlsContextOptions): void {
    checkOptions('setSecureContext', options, contextChecks)
    const others = Object.entries(this.#options).filter(([name]) => !Object.hasOwn(contextChecks, name))
    const before = this.#options
    const made = this.#made
    const contexts = [...this.#contexts]
    this.#made = undefined
    this.#options = { ...Object.fromEntries(others), ...contextOf(options) }
    this.#contexts.clear()
    try {
      this.nodeContext('node client')
    } catch (error) {
      this.#options = before
      this.#made = made
      for (const [use, context] of contexts) this.#contexts.set(use, context)
      throw callError('setSecureContext', error)
    }
  }

  /** The context for one kind of use, made when it is needed first. */
  context<T>(use: Use, make: (context: SecureContext) => T): T {
    let context = this.#contexts.get(use) as T | undefined
    if (context === undefined) {
      context = make(this.#newContext(use.endsWith('server')))
      this.#contexts.set(use, context)
    }
    return context
  }

  /** One for Node's own sockets. */
  nodeContext(use: 'node server' | 'node client'): SecureContext {
    return this.context(use, (context) => context)
  }

  #newContext(server: boolean): SecureContext {
    if (this.#made !== undefined) return this.#made(server)
    return contextFor(this.#options, server)
  }
}

/** A context of OpenSSL's, as Node makes one for a client or a server with these options. */
export function contextFor(given: TlsContextOptions, server: boolean): SecureContext {
  const { honorCipherOrder = true, ...options } = contextOf(given)
  const { createSecureContext } = tlsModule()
  if (!server) return createSecureContext(options)
  const { secureOptions = 0, sessionIdContext = defaultSessionId() } = options
  return createSecureContext({
    ...options,
    secureOptions: honorCipherOrder ? secureOptions | SERVER_PREFERENCE : secureOptions,
    sessionIdContext,
  })
}

/**
 * Makes credentials of options, so that they can be renewed.
 *
 * @throws TypeError or RangeError for an option that is unknown or wrong, and what `tls.createSecureContext` throws
 */
export function tlsCredentials(options: TlsOptions = {}): TlsCredentials {
  return credentialsOf('tlsCredentials', '', options)
}

/** The check of an option that takes either. */
export function credentialsOf(call: string, name: string, value: unknown): Credentials {
  if (value instanceof Credentials) return value
  if (typeof value !== 'object' || value === null) {
    throw argumentError(call, name === '' ? 'options' : name, 'an object of options, or made by tlsCredentials', value)
  }
  checkOptions(call, value, tlsChecks, name === '' ? '' : `${name}.`)
  try {
    return new Credentials(value).check()
  } catch (error) {
    throw callError(name === '' ? call : `${call}: ${name}`, error)
  }
}

/** As it goes over the wire: each behind a byte with its length. */
export function protocolList(names: readonly string[] = []): Uint8Array {
  return Buffer.concat(names.flatMap((name) => [Buffer.from([Buffer.byteLength(name)]), Buffer.from(name)]))
}

/** How a connection is made secure. */
export interface TlsStart {
  readonly credentials: Credentials
  /** Whether this is the server's side. */
  readonly server: boolean
  /** On a client: whom it is connected to, unless the options have a `servername`. */
  readonly host?: string | undefined
  /** On a client: whether the host is asked for by its name, where the options have no `servername`. Default true. */
  readonly asksHost?: boolean | undefined
}

/** The name that a server is asked for; addresses are no names. */
export function serverName({ credentials, host = '', asksHost = true }: TlsStart): string | undefined {
  const name = credentials.options.servername ?? (asksHost ? host : '')
  return name === '' || isIP(name) !== 0 ? undefined : name
}

/**
 * Judges a server's certificate that is valid: whether it is that of the right server.
 *
 * @returns what is wrong
 */
export function wrongIdentity(
  { credentials, host = '' }: TlsStart, { certificates = [], peerCertificate }: TlsState,
): Error | undefined {
  const { servername, checkServerIdentity = tlsModule().checkServerIdentity } = credentials.options
  const name = servername ?? host
  // A Unix socket has no name.
  if (name === '' || peerCertificate === undefined) return undefined
  // With those that it was signed with, as programs look at them, too.
  const certificate = certificates.length > 0 ? detailedCertificate(certificates) : peerCertificate
  const wrong: unknown = checkServerIdentity(name, certificate)
  // As Node's: whatever is falsy is fine.
  return wrong ? asError(wrong, 'checkServerIdentity') : undefined
}

/** A certificate with those that it was signed with behind it, as `getPeerCertificate(true)` of `node:tls` has them. */
export function detailedCertificate(certificates: readonly Uint8Array[]): DetailedPeerCertificate {
  const [first, ...rest] = certificates.map((der) => legacyCertificate(der) as DetailedPeerCertificate)
  let last = first
  for (const next of rest) last = last.issuerCertificate = next
  if (JSON.stringify(last.issuer) === JSON.stringify(last.subject)) last.issuerCertificate = last
  return first
}

/** A certificate, and behind it those that were sent with it, as Node's `getPeerCertificate` has it. */
export function legacyCertificate(der: Uint8Array): PeerCertificate {
  const { X509Certificate } = cryptoModule()
  return new X509Certificate(der).toLegacyObject()
}

/** Codes of what can be wrong with a certificate, by OpenSSL's number, as Node has them. */
const VERIFY_CODES: readonly (string | undefined)[] = [
  undefined, 'UNSPECIFIED', 'UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_CRL', 'UNABLE_TO_DECRYPT_CERT_SIGNATURE',
  'UNABLE_TO_DECRYPT_CRL_SIGNATURE', 'UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY', 'CERT_SIGNATURE_FAILURE',
  'CRL_SIGNATURE_FAILURE', 'CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED', 'CRL_NOT_YET_VALID', 'CRL_HAS_EXPIRED',
  'ERROR_IN_CERT_NOT_BEFORE_FIELD', 'ERROR_IN_CERT_NOT_AFTER_FIELD', 'ERROR_IN_CRL_LAST_UPDATE_FIELD',
  'ERROR_IN_CRL_NEXT_UPDATE_FIELD', 'OUT_OF_MEM', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'CERT_CHAIN_TOO_LONG', 'CERT_REVOKED',
  'INVALID_CA', 'PATH_LENGTH_EXCEEDED', 'INVALID_PURPOSE', 'CERT_UNTRUSTED', 'CERT_REJECTED',
]
const HOSTNAME_MISMATCH = 62

/** @param verify OpenSSL's number of what is wrong with a certificate */
export function verifyCode(verify: number): string {
  return verify === HOSTNAME_MISMATCH ? 'HOSTNAME_MISMATCH' : VERIFY_CODES[verify] ?? 'UNSPECIFIED'
}

const PROTO = -constants.errno.EPROTO
/** The code of an error that has none, as a program's own may. */
export const NO_CODE = 'ERR_TLS_CALLBACK'

/** An error of TLS has a code and a text of its own, and beside it what errors of sockets have. */
function tlsFailure(code: string, message: string, fields: object = {}): SocketError {
  return Object.assign(new Error(message), { errno: PROTO, syscall: 'tls', code, ...fields })
}

/**
 * The error of a certificate that was not accepted.
 *
 * @param text OpenSSL's, of what is wrong
 */
export function certificateError(verify: number, text: string): SocketError {
  return tlsFailure(verifyCode(verify), text)
}

/** An error of OpenSSL, as Node has it: `no shared cipher` has the code ERR_SSL_NO_SHARED_CIPHER. */
export function opensslError(reason: string | undefined, library: string | undefined): SocketError {
  const what = reason ?? 'protocol error'
  const code = `ERR_SSL_${what.toUpperCase().replaceAll(' ', '_')}`
  return tlsFailure(code, `${library ?? 'SSL routines'}::${what}`, { library: library ?? 'SSL routines', reason: what })
}

/** The stream was ended by who is no part of the conversation, perhaps. */
export function truncationError(): SocketError {
  return opensslError('unexpected eof while reading', undefined)
}

/** The peer went before the handshake was over. */
export function cutHandshakeError(server: boolean): SocketError {
  const error = socketError(-constants.errno.ECONNRESET, 'tls')
  error.message = server
    ? 'the client disconnected before the TLS handshake was over'
    : 'Client network socket disconnected before secure TLS connection was established'
  return error
}

export function handshakeTimeoutError(timeout: number): SocketError {
  return Object.assign(new Error(`TLS handshake timeout: it was not over after ${timeout} ms`), {
    errno: -constants.errno.ETIMEDOUT, syscall: 'tls', code: 'ERR_TLS_HANDSHAKE_TIMEOUT',
  })
}

/** Whatever else a handshake failed of, such as what a callback of the program's has thrown: any value. */
export function asTlsError(reason: unknown): SocketError {
  const error = asError(reason, 'TLS')
  try {
    const fields: Partial<SocketError> = error
    fields.syscall ??= 'tls'
    fields.code ??= NO_CODE
    fields.errno ??= PROTO
    return error as SocketError
  } catch {
    // It is the program's, and can't be written to.
    return asTlsError(new Error(`TLS: ${show(error)}`, { cause: error }))
  }
}

/**
 * Asks a program which context is for a name; never within its caller. The first answer counts: of the function that
 * the callback is given, what it throws, or what a promise that it returns is rejected with.
 */
export function askForContext(
  callback: NonNullable<Credentials['options']['SNICallback']>, name: string,
  answer: (error: Error | undefined, context: SecureContext | undefined) => void,
): void {
  let answered = false
  const once = (error: Error | undefined, context?: SecureContext): void => {
    if (answered) return
    answered = true
    answer(error, context)
  }
  const failed = (reason: unknown): void => { once(asError(reason, 'SNICallback')) }
  setImmediate(() => {
    try {
      const done = (error: unknown, context?: SecureContext): void => {
        if (error === null || error === undefined) once(undefined, context)
        else failed(error)
      }
      const returned = (callback as (...args: unknown[]) => unknown)(name, done)
      // An async function, whose promise nobody else awaits.
      if (isPromise(returned)) returned.then(undefined, failed)
    } catch (error) {
      failed(error)
    }
  })
}


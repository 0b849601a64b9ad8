/**
 * TLS in the native engine, as JavaScript sees it: whether there is any, contexts for it, what a handshake came to, and
 * why one failed. Owns nothing; what is encrypted where is in native/engine/engine_tls.cc.
 */
import type { SecureContext } from 'node:tls'
import { inspect, types } from 'node:util'
import { tlsModule } from '../../support/builtins.js'
import {
  certificateError, legacyCertificate, opensslError, protocolList, verifyCode, type Credentials, type TlsCipher,
  type TlsState,
} from '../seam/tls.js'
import type { SocketError } from '../seam/transport.js'
import { addonOrReason } from './addon.js'
import type { Addon, TlsInfo } from './link.js'

/** A context of the engine's, and Node's that it is made of, which has to live as long. */
export interface NativeTlsContext {
  readonly native: object
  readonly node: SecureContext
}

const addon = (): Addon => {
  const loaded = addonOrReason()
  if (!loaded.ok) throw new Error(`the native transport can't be loaded: ${loaded.reason}`)
  return loaded.addon
}

/**
 * Where OpenSSL's context is in one of Node's: undefined if this Node doesn't tell. It gives out an External of V8's,
 * which Node-API can't read, as it takes those for its own; but `inspect` says what is in it.
 */
function addressOf(context: object | undefined): bigint | undefined {
  if (context === undefined || Object.getPrototypeOf(context) !== ofNode()) return undefined
  const external = (context as { readonly _external?: unknown })._external
  if (!types.isExternal(external)) return undefined
  const [, address] = /^\[External: ([0-9a-f]+)\]$/.exec(inspect(external)) ?? []
  return (address as string | undefined) === undefined ? undefined : BigInt(`0x${address}`)
}

let prototype: unknown

/** What all of Node's contexts come from: anything else is none, whatever it looks like. */
function ofNode(): unknown {
  return prototype ??= Object.getPrototypeOf(tlsModule().createSecureContext({}).context)
}

/** The same of what a program gives as a context: `tls.createSecureContext()`, or its `context`. */
export function contextAddress(given: unknown): bigint | undefined {
  if (typeof given !== 'object' || given === null) return undefined
  return addressOf(given) ?? addressOf((given as { readonly context?: object }).context)
}

let known: string | undefined

function findTls(found: Addon): string {
  const missing = found.findTls()
  if (missing !== '') return `this process has no ${missing}, which TLS in the engine needs`
  if (contextAddress(tlsModule().createSecureContext({})) !== undefined) return ''
  return "this Node does not tell where OpenSSL's contexts are, which TLS in the engine needs"
}

/** Why the engine has no TLS; undefined if it has. */
export function lacksTls(): string | undefined {
  const loaded = addonOrReason()
  if (!loaded.ok) return loaded.reason
  if (typeof loaded.addon.findTls !== 'function') return 'the addon is no build of this version'
  known ??= findTls(loaded.addon)
  return known === '' ? undefined : known
}

/** Why these options can't be had there; undefined if they can. */
export function lacksTlsFor({ options }: Credentials): string | undefined {
  if (options.pskCallback !== undefined) return 'the engine has no pskCallback'
  return lacksTls()
}

/** The context of credentials for connections of the engine. */
export function nativeContext(credentials: Credentials, server: boolean): NativeTlsContext {
  return credentials.context(server ? 'native server' : 'native client', (node) => {
    const { requestCert = false, rejectUnauthorized = true, SNICallback, ALPNProtocols } = credentials.options
    const native = addon().tlsContext(
      contextAddress(node), server, requestCert, rejectUnauthorized, SNICallback !== undefined,
      protocolList(ALPNProtocols),
    )
    if (native === undefined) throw new Error("this Node's contexts of TLS can't be used by the engine")
    return { native, node }
  })
}

export class NativeTlsState implements TlsState {
  readonly protocol: string
  readonly cipher: TlsCipher
  readonly alpnProtocol: string | undefined
  readonly servername: string | undefined
  readonly authorized: boolean
  readonly authorizationError: string | undefined
  readonly resumed: boolean
  /** DER, the peer's own first. */
  readonly certificates: readonly Uint8Array[]
  #peerCertificate: TlsState['peerCertificate']

  /** @param judged whether the peer was asked for a certificate */
  constructor(info: TlsInfo, certificates: readonly Uint8Array[], judged: boolean) {
    this.protocol = info.protocol
    this.cipher = {
      name: info.cipher ?? '', standardName: info.cipherStandardName ?? '', version: info.cipherVersion ?? '',
    }
    this.alpnProtocol = info.alpnProtocol
    this.servername = info.servername
    this.resumed = info.reused
    this.certificates = certificates
    const missing = judged && certificates.length === 0
    const wrong = missing ? 'UNABLE_TO_GET_ISSUER_CERT' : info.verify === 0 ? undefined : verifyCode(info.verify)
    this.authorizationError = judged ? wrong : undefined
    this.authorized = judged && wrong === undefined
  }

  get peerCertificate(): TlsState['peerCertificate'] {
    if (this.certificates.length === 0) return undefined
    return this.#peerCertificate ??= legacyCertificate(this.certificates[0])
  }
}

/** Why a connection's TLS failed. @param reason OpenSSL's number @param verify the same of the certificate */
export function nativeTlsError(reason: number, verify: number): SocketError {
  const text = addon().tlsError(reason >>> 0, verify >>> 0)
  // The other errors that have a number of the certificate's are about something else.
  const ofCertificate = verify !== 0 && text.reason === 'certificate verify failed'
  return ofCertificate ? certificateError(verify, text.verify ?? '') : opensslError(text.reason, text.library)
}

/**
 * Options of `node:tls` as the engine takes them, and which of them it has not. Owns what `createSecureContext` was
 * given, as a context is made anew for the engine. Invariant: what the engine can't do is Node's own to do, and never
 * left out.
 */
import * as nodeTls from 'node:tls'
import { nativeTlsContext } from '../transport/choose.js'
import { contextFor, contextOf, Credentials, type TlsOptions } from '../transport/seam/tls.js'

/** All that programs may give. */
export type Given = Readonly<Record<string, unknown>>

/** Of a connection or a server: what only Node's own sockets can do, and what contexts can't be told but by Node. */
const ONLY_NODE = [
  'pskCallback', 'pskIdentityHint', 'ALPNCallback', 'requestOCSP', 'enableTrace', 'secureProtocol', 'clientCertEngine',
  'privateKeyEngine', 'privateKeyIdentifier', 'allowPartialTrustChain',
] as const

/** The options that contexts were made with. */
const madeWith = new WeakMap<object, TlsOptions>()
/** Contexts for the engine's clients, by those that programs have. */
const forClients = new WeakMap<object, nodeTls.SecureContext>()

/** As `tls.createSecureContext`; sockets and servers of this module can have it, too. */
export function createSecureContext(options?: nodeTls.SecureContextOptions): nodeTls.SecureContext {
  const context = nodeTls.createSecureContext(options)
  const given = (options ?? {}) as Given
  if (isOurs(given)) madeWith.set(context, contextOf(given))
  return context
}

/** Whether the engine can do what these options ask for. */
export function isOurs(given: Given): boolean {
  const { secureContext } = given
  if (secureContext !== undefined && secureContext !== null && !madeWith.has(secureContext)) return false
  // OpenSSL takes no shorter keys by itself.
  if (Number(given['minDHSize'] ?? 0) > 1024) return false
  return ONLY_NODE.every((name) => !given[name])
}

/** Names of protocols, also of bytes in which each comes behind its length. */
function protocolsOf(given: unknown): readonly string[] | undefined {
  if (given === undefined || given === null) return undefined
  const { ALPNProtocols: bytes } = ((): { ALPNProtocols?: Buffer } => {
    const out = {}
    nodeTls.convertALPNProtocols(given as string[], out as { ALPNProtocols: Buffer })
    return out
  })()
  const names: string[] = []
  for (let at = 0; bytes !== undefined && at < bytes.length; at += 1 + bytes[at]) {
    names.push(bytes.toString('utf8', at + 1, at + 1 + bytes[at]))
  }
  return names
}

declare module 'node:tls' {
  /** Node's, which its types lack. */
  function convertALPNProtocols(protocols: readonly string[], out: { ALPNProtocols: Buffer }): void
}

function clientContext(context: object, options: TlsOptions): nodeTls.SecureContext {
  let ours = forClients.get(context)
  if (ours === undefined) forClients.set(context, ours = contextFor(options, false))
  return ours
}

/**
 * The credentials of a connection, or of a server and its connections, whose options the engine can do.
 *
 * @throws what `tls.createSecureContext` does
 */
export function credentialsFor(given: Given, server: boolean, more: TlsOptions = {}): Credentials {
  const context = given['secureContext'] as object | undefined
  const made = context && madeWith.get(context)
  const { servername, checkServerIdentity, session, SNICallback } = given as TlsOptions
  const credentials = new Credentials({
    ...(made ?? contextOf(given)),
    ALPNProtocols: protocolsOf(given['ALPNProtocols']),
    requestCert: server && given['requestCert'] === true,
    rejectUnauthorized: given['rejectUnauthorized'] !== false,
    ...(server ? { SNICallback } : { servername, checkServerIdentity, session: sessionOf(session) }),
    // As Node has it: a FIN is the end.
    allowTruncation: true,
    ...more,
  }, context && made && !server ? () => clientContext(context, made) : undefined)
  nativeTlsContext(credentials, server)
  return credentials
}

/** @param session also as text of one character for each byte, as Node takes it */
export function sessionOf(session: unknown): Uint8Array | undefined {
  return typeof session === 'string' ? Buffer.from(session, 'latin1') : session as Uint8Array | undefined
}

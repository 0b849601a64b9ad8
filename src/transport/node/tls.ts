/**
 * TLS of the fallback transport: `node:tls` around a socket of `node:net`. Owns the way to the handshake's result,
 * which for a server Node keeps to its own `tls.Server`: the certificate that a client has shown is judged here.
 */
import type { Socket } from 'node:net'
import type { ConnectionOptions, TLSSocket, TLSSocketOptions } from 'node:tls'
import { tlsModule } from '../../support/builtins.js'
import {
  askForContext, asTlsError, certificateError, cutHandshakeError, serverName, type TlsStart, type TlsState,
} from '../seam/tls.js'
import type { SocketError } from '../seam/transport.js'

/** What Node has below a TLS socket, and gives to libraries under this name. */
interface NodeTls {
  verifyError(): (Error & { code?: string }) | null | undefined
  receive(data: Uint8Array): void
}

function ssl(socket: TLSSocket): NodeTls | undefined {
  return (socket as unknown as { readonly ssl: NodeTls | null }).ssl ?? undefined
}

/** Whom a handshake tells of its end. */
export interface Handshake {
  secured(state: TlsState): void
  /** It has failed; or a record after it was wrong. */
  failed(error: SocketError): void
  /** There is a session that can be resumed. */
  session(session: Buffer): void
}

/** Bytes that were read from the socket before, and belong to the handshake. */
export function unreadFromNode(socket: TLSSocket, data: Uint8Array): void {
  ssl(socket)?.receive(data)
}

function stateOf(socket: TLSSocket, judged: boolean, error: string | undefined): TlsState {
  const { name, standardName, version } = socket.getCipher()
  const certificate = socket.getPeerCertificate()
  const has = Object.keys(certificate).length > 0
  const { alpnProtocol } = socket
  const { servername } = socket as { servername?: string | false | null }
  return {
    protocol: socket.getProtocol() ?? '',
    cipher: { name, standardName, version },
    alpnProtocol: typeof alpnProtocol === 'string' ? alpnProtocol : undefined,
    servername: typeof servername === 'string' ? servername : undefined,
    authorized: judged && error === undefined,
    authorizationError: judged ? error : undefined,
    resumed: socket.isSessionReused(),
    peerCertificate: judged && has ? certificate : undefined,
  }
}

/** Whether it has shown a certificate that is to be believed. */
function judge(socket: TLSSocket, start: TlsStart, judged: boolean): SocketError | undefined {
  const { rejectUnauthorized = true } = start.credentials.options
  const wrong = judged ? ssl(socket)?.verifyError() ?? undefined : undefined
  if (wrong === undefined || !rejectUnauthorized) return undefined
  return Object.assign(certificateError(0, wrong.message), { code: wrong.code })
}

/** Begins TLS on a socket, whose data nobody listens to any more. */
export function secureNodeSocket(socket: Socket, start: TlsStart, handshake: Handshake): TLSSocket {
  const secure = start.server ? serve(socket, start) : dial(socket, start)
  const { requestCert = false } = start.credentials.options
  const judged = !start.server || requestCert
  let over = false
  const failed = (error: Error): void => {
    if (over) return
    over = true
    handshake.failed(asTlsError(error))
  }
  secure.once('secure', () => {
    if (over) return
    const wrong = judge(secure, start, judged)
    if (wrong !== undefined) {
      failed(wrong)
      return
    }
    over = true
    const code = judged ? ssl(secure)?.verifyError()?.code : undefined
    handshake.secured(stateOf(secure, judged, code))
  })
  // What is wrong with a record comes as this only, before the handshake is over and after it.
  secure.on('_tlsError', (error: Error) => {
    if (over) handshake.failed(asTlsError(error))
    else failed(error)
  })
  secure.on('error', failed)
  // It is half-open, so that its end alone ends nothing.
  secure.once('end', () => { failed(cutHandshakeError(start.server)) })
  secure.on('session', (session: Buffer) => { handshake.session(session) })
  return secure
}

type SniCallback = NonNullable<TlsStart['credentials']['options']['SNICallback']>

function serve(socket: Socket, { credentials }: TlsStart): TLSSocket {
  const { options } = credentials
  return new (tlsModule().TLSSocket)(socket, {
    isServer: true,
    secureContext: credentials.nodeContext('node server'),
    requestCert: options.requestCert ?? false,
    rejectUnauthorized: options.rejectUnauthorized ?? true,
    allowHalfOpen: true,
    ...(options.SNICallback !== undefined && { SNICallback: asking(options.SNICallback) }),
    ...(options.ALPNProtocols !== undefined && { ALPNProtocols: [...options.ALPNProtocols] }),
    ...(options.pskCallback !== undefined && { pskCallback: options.pskCallback }),
    ...(options.pskIdentityHint !== undefined && { pskIdentityHint: options.pskIdentityHint }),
  } as unknown as TLSSocketOptions)
}

/** Node would end its whole process of what a callback throws that is no error. */
function asking(callback: SniCallback): SniCallback {
  return (name, done) => {
    askForContext(callback, name, (error, context) => { done(error ?? null, context) })
  }
}

/** Here `tls.connect` would judge by itself; but it would do so after the end of the handshake was told. */
function dial(socket: Socket, start: TlsStart): TLSSocket {
  const { credentials } = start
  const { options } = credentials
  return tlsModule().connect({
    socket,
    secureContext: credentials.nodeContext('node client'),
    allowHalfOpen: true,
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ...(serverName(start) !== undefined && { servername: serverName(start) }),
    ...(options.session !== undefined && { session: Buffer.from(options.session) }),
    ...(options.ALPNProtocols !== undefined && { ALPNProtocols: [...options.ALPNProtocols] }),
    ...(options.pskCallback !== undefined && { pskCallback: options.pskCallback }),
  } as unknown as ConnectionOptions)
}

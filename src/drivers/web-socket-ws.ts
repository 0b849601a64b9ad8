/**
 * The carrier `ws`: Node's parser of HTTP and the library `ws`, on the sockets of `marketplace-native/net`. It carries
 * listeners, and all connections that go out.
 *
 * A server's frames without compression are put together here and written to the socket: once for all receivers of
 * one text, and in one piece, where the library writes two. All else, what comes included, is the library's.
 */
import { httpModule, httpsModule, tlsModule } from '../support/builtins.js'
import type { IncomingMessage, Server as HttpServer } from 'node:http'
import { constants } from 'node:os'
import type { Duplex } from 'node:stream'
import type * as Net from 'node:net'
import type * as Ws from 'ws'
import { socketError } from '../support/errors.js'
import { isLent, isolatedFromNode } from '../transport/seam/buffers-option.js'
import {
  CarrierSocket, Liveness, type Outlets, type Admission, type Carrier, type CarrierServer, type CarrierSettings,
  type CarrierShared, type Dial, type Sendable, type ServerHooks,
} from './web-socket-carrier.js'
import type { WsRequest } from './web-socket-records.js'

/** The modules, which are loaded when they are first needed. */
export interface WsModules {
  readonly ws: typeof Ws
  readonly net: typeof Net
}

export async function loadWs(): Promise<WsModules> {
  const [ws, net] = await Promise.all([import('ws'), import('../net/index.js')])
  return { ws, net: net as unknown as typeof Net }
}

/** An IPv4 peer of a listener on all interfaces is called as IPv4 has it. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** Codes of RFC 6455 for what the library finds wrong. */
const CODES: Readonly<Record<string, number>> = {
  WS_ERR_INVALID_UTF8: 1007,
  WS_ERR_UNSUPPORTED_MESSAGE_LENGTH: 1009,
  WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH: 1009,
  WS_ERR_TOO_MANY_BUFFERED_PARTS: 1008,
}

/** How a connection ended that came to its end by this error. */
function codeOf(error: Error): number {
  const { code } = error as NodeJS.ErrnoException
  if (code === undefined) return 1006
  return CODES[code] ?? (code.startsWith('WS_ERR_') || code.startsWith('Z_') ? 1002 : 1006)
}

/** The error of a connection that was silent for too long. */
export function silentError(address?: string, port?: number): Error {
  const error = socketError(-constants.errno.ETIMEDOUT, 'read', address, port)
  error.message += ': nothing came within idleTimeout'
  return error
}

/**
 * So many bytes are reported in one turn; then it is read no more from a connection until the program has seen them.
 */
const TURN_MAX = 64 * 1024

const TEXT = 0x81
const BINARY = 0x82
/** Payloads of up to so many bytes are copied behind their header. */
const COPIED_MAX = 16 * 1024

function headerOf(first: number, length: number, room: number): Buffer {
  const size = length < 126 ? 2 : length < 0x10000 ? 4 : 10
  const frame = Buffer.allocUnsafe(size + room)
  frame[0] = first
  if (size === 2) {
    frame[1] = length
  } else if (size === 4) {
    frame[1] = 126
    frame.writeUInt16BE(length, 2)
  } else {
    frame[1] = 127
    frame.writeUInt32BE(Math.floor(length / 0x100000000), 2)
    frame.writeUInt32BE(length >>> 0, 6)
  }
  return frame
}

/** A server's frames. The last text's is kept: whoever is sent the same gets the same bytes. */
class Frames {
  #text: string | undefined
  #frame: Buffer | undefined

  text(text: string): Buffer {
    if (text === this.#text) return this.#frame as Buffer
    const length = Buffer.byteLength(text)
    const frame = headerOf(TEXT, length, length)
    frame.write(text, frame.length - length)
    // A long one is not worth its memory.
    if (length <= COPIED_MAX) {
      this.#text = text
      this.#frame = frame
    }
    return frame
  }

  write(socket: Duplex, data: Sendable): void {
    if (typeof data === 'string') {
      socket.write(this.text(data))
      return
    }
    const { length } = data
    if (length <= COPIED_MAX) {
      const frame = headerOf(BINARY, length, length)
      frame.set(data, frame.length - length)
      socket.write(frame)
      return
    }
    socket.write(headerOf(BINARY, length, 0))
    // Borrowed memory is over before the kernel has taken it.
    socket.write(isLent(data) ? Buffer.from(data) : data)
  }
}

/** What all sockets of this carrier share. */
export interface WsShared extends CarrierShared {
  readonly frames: Frames
}

export function sharedOf(outlets: Outlets, settings: CarrierSettings): WsShared {
  const { report } = outlets
  const liveness = new Liveness(settings.pingInterval, settings.idleTimeout, (socket) => {
    ;(socket as WsSocket).silent()
  })
  return { outlets, report, settings, liveness, frames: new Frames() }
}

/** Node's socket, or ours, or one of TLS: what is looked at in it. */
type Below = Duplex & Partial<Pick<Net.Socket, 'bytesRead' | 'resetAndDestroy' | 'remoteAddress' | 'remotePort'>>

export class WsSocket extends CarrierSocket<WsShared> {
  /** Where frames are written; undefined: the library has to. */
  #raw: Duplex | undefined = undefined
  #below: Below | undefined = undefined
  /** What will be told as the reason, when the library says that it is over. */
  #error: Error | undefined = undefined
  #ending: { code: number, reason: string } | undefined = undefined
  /** By the driver; and because the program has not seen yet what came. */
  #paused = false
  #full = false
  #unseen = 0
  #turn = 0
  /** Whether there is nothing between this and the socket of TCP. */
  #resettable = false
  /** Of all bytes that came, so many had come when somebody looked last. */
  #bytesLookedAt: number | undefined = undefined

  constructor(shared: WsShared, readonly ws: Ws.WebSocket) {
    super(shared)
    ws.on('error', (error) => { this.#error ??= error })
    ws.on('close', (code, reason) => { this.#closed(code, reason.toString()) })
  }

  /** It is open, on this socket. */
  open(below: Below, isServer: boolean, secure: boolean): void {
    const { ws, shared } = this
    this.#resettable = !secure
    this.#below = below
    if (isServer && ws.extensions === '') this.#raw = below
    const { isolates } = shared.settings
    ws.on('message', (data, isBinary) => {
      this.heard = true
      const bytes = data as Buffer
      const received = isBinary ? (isolates ? isolatedFromNode(bytes) : bytes) : bytes.toString()
      const { turn } = shared.outlets
      if (this.#turn !== turn) {
        this.#turn = turn
        this.#unseen = 0
      }
      this.#unseen += bytes.length
      if (this.#unseen > TURN_MAX) this.#wait()
      shared.report({ kind: 'message', socket: this, data: received })
    })
    ws.on('pong', () => { this.heard = true })
    // Answered here, so that there is a reason if somebody wants answers without end.
    ws.on('ping', (data) => {
      this.heard = true
      if (this.backlog > shared.settings.maxQueuedBytes) this.abort(this.#tooMuch())
      else if (ws.readyState === ws.OPEN) ws.pong(data)
    })
    below.on('drain', () => { this.look() })
    // The library keeps it to itself.
    below.on('error', (error: Error) => { this.#error ??= error })
    shared.liveness.add(this)
  }

  #tooMuch(): Error {
    const error = socketError(-constants.errno.ENOBUFS, 'write', this.#below?.remoteAddress, this.#below?.remotePort)
    error.message += ': answers to pings wait to be sent'
    return error
  }

  override moved(): boolean {
    const bytes = this.#below?.bytesRead
    if (bytes === this.#bytesLookedAt) return false
    this.#bytesLookedAt = bytes
    return true
  }

  protected get backlog(): number {
    return this.ws.bufferedAmount
  }

  protected put(messages: readonly Sendable[]): void {
    const { ws, shared } = this
    if (ws.readyState !== ws.OPEN) return
    const raw = this.#raw
    const many = messages.length > 1
    if (raw !== undefined) {
      if (many) raw.cork()
      for (const data of messages) shared.frames.write(raw, data)
      if (many) raw.uncork()
      return
    }
    const threshold = shared.settings.compression?.threshold ?? Infinity
    for (const data of messages) {
      const own = typeof data !== 'string' && isLent(data) ? Buffer.from(data) : data
      ws.send(own, { binary: typeof data !== 'string', compress: data.length >= threshold })
    }
  }

  protected end(code: number, reason: string): void {
    this.#ending = { code, reason }
    // A peer that is not read from could not be heard saying that it closes, too.
    if (this.#paused) this.resume()
    this.ws.close(code, reason)
  }

  abort(error?: Error): void {
    this.#error ??= error
    const below = this.#below
    if (this.#resettable && below?.destroyed === false) below.resetAndDestroy?.()
    this.ws.terminate()
  }

  silent(): void {
    this.abort(silentError(this.#below?.remoteAddress, this.#below?.remotePort))
  }

  ping(): void {
    if (this.ws.readyState === this.ws.OPEN) this.ws.ping()
  }

  pause(): void {
    if (this.#paused) return
    this.#paused = true
    if (!this.#full) this.ws.pause()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    if (!this.#full) this.ws.resume()
  }

  #wait(): void {
    if (this.#full) return
    this.#full = true
    if (!this.#paused) this.ws.pause()
    this.shared.outlets.full(this)
  }

  override seen(): void {
    this.#full = false
    if (!this.#paused) this.ws.resume()
  }

  #closed(code: number, reason: string): void {
    this.shared.liveness.delete(this)
    const error = this.#error
    if (error !== undefined) {
      this.ended({ code: codeOf(error), reason: '', error })
    } else if (code === 1006) {
      const below = this.#below
      const lost = socketError(-constants.errno.ECONNRESET, 'read', below?.remoteAddress, below?.remotePort)
      lost.message += ': the connection ended without a close frame'
      // The program has closed it, and the peer has gone without an answer.
      if (this.#ending !== undefined) this.ended({ ...this.#ending, error: undefined })
      else this.ended({ code: 1006, reason: '', error: lost })
    } else {
      this.ended({ code, reason, error: undefined })
    }
  }
}

/** Answers in words, and goes. */
function refuse(socket: Duplex, status: number, text: string, headers = ''): void {
  const body = `${text}\n`
  socket.once('finish', () => { socket.destroy() })
  socket.end(
    `HTTP/1.1 ${status} ${PHRASES[status] ?? 'Refused'}\r\nconnection: close\r\ncontent-type: text/plain\r\n`
    + `content-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`,
  )
}

/** Of the statuses that requests for WebSockets are answered with. */
export const PHRASES: Readonly<Record<number, string>> = {
  400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 408: 'Request Timeout',
  426: 'Upgrade Required', 429: 'Too Many Requests', 500: 'Internal Server Error', 503: 'Service Unavailable',
}

/** Why this is no request for a WebSocket that can be met; undefined if it is. */
export function wrongUpgrade(
  upgrade: string | undefined, version: string | undefined, key: string | undefined,
): { status: number, text: string } | undefined {
  if (!isForWebSocket(upgrade)) return { status: 400, text: 'only websocket can be upgraded to' }
  if (version !== '13') return { status: 426, text: 'the version of WebSocket here is 13' }
  // 16 bytes in base64.
  return key !== undefined && /^[+/0-9A-Za-z]{22}==$/.test(key)
    ? undefined : { status: 400, text: 'Sec-WebSocket-Key must be 16 bytes in base64' }
}

export const VERSION_HEADER = 'sec-websocket-version: 13\r\n'

/** The subprotocols in a header. */
export function offeredIn(header: string | undefined): readonly string[] {
  return header?.split(',').map((name) => name.trim()).filter((name) => name !== '') ?? []
}

/** The parts of a request's target: the path, and what follows the `?`. */
export function splitTarget(target: string): [path: string, query: string] {
  const at = target.indexOf('?')
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
}

export class WsCarrier implements Carrier {
  readonly name = 'ws'
  #compressed = 0

  constructor(readonly shared: WsShared, readonly modules: WsModules) {}

  listen(port: number, hooks: ServerHooks, server: CarrierServer): CarrierServer {
    return new WsServer(this, port, hooks, server)
  }

  /** Whether one more may have compression. The connection is to give it back. */
  takeCompression(): boolean {
    if (this.#compressed >= (this.shared.settings.compression?.maxConnections ?? 0)) return false
    this.#compressed++
    return true
  }

  giveCompression(): void {
    this.#compressed--
  }
}

class WsServer implements CarrierServer {
  context: unknown = undefined
  readonly #carrier: WsCarrier
  readonly #hooks: ServerHooks
  readonly #http: HttpServer
  readonly #net: Net.Server
  readonly #plain: Ws.WebSocketServer
  readonly #deflating: Ws.WebSocketServer | undefined
  /** Connections that are no WebSockets, or not yet. */
  readonly #sockets = new Set<Net.Socket>()
  #closed = false

  constructor(carrier: WsCarrier, port: number, hooks: ServerHooks, server: CarrierServer) {
    this.#carrier = carrier
    this.#hooks = hooks
    const { shared: { settings, report }, modules: { ws, net } } = carrier
    this.#http = this.#createHttp()
    const common = {
      noServer: true, maxPayload: settings.maxPayload, closeTimeout: settings.closeTimeout,
      skipUTF8Validation: false, clientTracking: false, handleProtocols: chosen, allowSynchronousEvents: true,
      autoPong: false,
    }
    this.#plain = new ws.WebSocketServer({ ...common, perMessageDeflate: false })
    this.#deflating = settings.compression && new ws.WebSocketServer({
      ...common,
      perMessageDeflate: {
        threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true, concurrencyLimit: 4,
      },
    })
    this.#net = net.createServer({ noDelay: true, keepAlive: true }, (socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => { this.#sockets.delete(socket) })
      this.#http.emit('connection', socket)
    })
    if (settings.maxConnections !== undefined) this.#net.maxConnections = settings.maxConnections + HTTP_MORE
    this.#net.on('error', (error) => {
      if (this.#closed) return
      this.#closed = true
      this.#http.close()
      report({ kind: 'failed', server, error })
    })
    this.#net.listen({ port, host: settings.host }, () => {
      const address = this.#net.address() as Net.AddressInfo
      if (this.#closed) return
      report({ kind: 'listening', server, host: address.address, port: address.port })
    })
  }

  #createHttp(): HttpServer {
    const { settings } = this.#carrier.shared
    const options = {
      maxHeaderSize: settings.maxHeaderSize, headersTimeout: settings.handshakeTimeout,
      requestTimeout: settings.handshakeTimeout, keepAliveTimeout: 5_000,
      connectionsCheckingInterval: Math.min(1_000, Math.ceil(settings.handshakeTimeout / 2)),
      handshakeTimeout: settings.handshakeTimeout, IncomingMessage: incomingClass(),
    }
    const { tls } = settings
    const http = tls === undefined
      ? httpModule().createServer(options)
      : httpsModule().createServer({
        ...options, key: tls.key, cert: tls.cert, ...tls.passphrase === undefined ? {} : { passphrase: tls.passphrase },
      })
    http.timeout = settings.idleTimeout
    http.on('request', (request, response) => {
      const { socket } = request
      // An answer may be long in coming, but not in being taken. Where none is under way, Node ends the connection.
      response.on('timeout', () => { if (socket.writableLength > 0) socket.destroy() })
      this.#hooks.request(request, response, {
        address: plainAddress(socket.remoteAddress ?? ''), port: socket.remotePort, secure: tls !== undefined,
      })
    })
    http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      void this.#upgrade(request, socket, head)
    })
    http.on('tlsClientError', (_error: Error, socket: Net.Socket) => { socket.destroy() })
    // Told that it listens, it looks after its time-outs.
    http.emit('listening')
    return http
  }

  async #upgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { settings } = this.#carrier.shared
    const failed = (): void => { socket.destroy() }
    socket.on('error', failed)
    const { headers } = incoming
    const wrong = wrongUpgrade(headers.upgrade, headers['sec-websocket-version'], headers['sec-websocket-key'])
    if (wrong !== undefined || incoming.method !== 'GET') {
      const { status, text } = wrong ?? { status: 400, text: 'it has to be GET' }
      refuse(socket, status, text, status === 426 ? VERSION_HEADER : '')
      return
    }
    const late = setTimeout(() => { refuse(socket, 408, 'the answer took too long') }, settings.handshakeTimeout)
    let admission: Admission
    try {
      admission = await this.#hooks.admit(requestOf(incoming, settings.tls !== undefined))
    } finally {
      clearTimeout(late)
    }
    if (socket.destroyed || socket.writableEnded) return
    if (!admission.accepted) {
      refuse(socket, admission.status, admission.text)
      return
    }
    const objection = this.#hooks.objection(admission)
    if (objection === undefined) {
      socket.off('error', failed)
      this.#accept(incoming, socket, head, admission)
    } else {
      refuse(socket, objection.status, objection.text)
    }
  }

  #accept(
    incoming: IncomingMessage, socket: Duplex, head: Buffer, { request, owner }: Admission & { accepted: true },
  ): void {
    const { shared } = this.#carrier
    const offered = /permessage-deflate/i.test(incoming.headers['sec-websocket-extensions'] ?? '')
    const deflating = this.#deflating !== undefined && offered && this.#carrier.takeCompression()
    if (deflating) socket.once('close', () => { this.#carrier.giveCompression() })
    choice.protocol = request.protocol
    const server = (deflating ? this.#deflating : undefined) ?? this.#plain
    server.handleUpgrade(incoming, socket, head, (ws) => {
      const made = new WsSocket(shared, ws)
      made.open(socket, true, shared.settings.tls !== undefined)
      this.#sockets.delete(socket as Net.Socket)
      shared.report({ kind: 'accepted', socket: made, owner, request })
    })
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#net.close()
    // Only that of its time-outs; it never listened.
    this.#http.close(() => undefined)
    this.#http.closeIdleConnections()
  }

  abort(): void {
    this.close()
    this.#http.closeAllConnections()
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** So many connections of HTTP beside the WebSockets: pages are asked for on the same port. */
const HTTP_MORE = 1024

const isForWebSocket = (upgrade: string | undefined): boolean => upgrade?.toLowerCase() === 'websocket'

/**
 * Requests of which only those for a WebSocket are for an upgrade. As RFC 9110 (7.8) has it, another protocol is not
 * taken up, and the request is answered as any other: clients that would rather speak HTTP/2 ask for that each time.
 */
function incomingClass(): typeof IncomingMessage {
  class Incoming extends httpModule().IncomingMessage {}
  const asking = new WeakSet<object>()
  Object.defineProperty(Incoming.prototype, 'upgrade', {
    get(this: IncomingMessage) {
      return asking.has(this) && (this.method === 'CONNECT' || isForWebSocket(this.headers.upgrade))
    },
    set(this: IncomingMessage, asks: unknown) {
      if (asks === true) asking.add(this)
      else asking.delete(this)
    },
  })
  return Incoming
}

/** `handleUpgrade` asks in the same call, by a function that all connections have in common. */
const choice: { protocol: string | undefined } = { protocol: undefined }
const chosen = (): string | false => choice.protocol ?? false

function requestOf(incoming: IncomingMessage, secure: boolean): WsRequest {
  const { socket, headers } = incoming
  const [path, query] = splitTarget(incoming.url ?? '')
  return {
    address: plainAddress(socket.remoteAddress ?? ''),
    port: socket.remotePort,
    path,
    query,
    origin: headers.origin,
    host: headers.host ?? '',
    secure,
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) =>
      [name, Array.isArray(value) ? value.join(', ') : value ?? ''])),
    offered: offeredIn(headers['sec-websocket-protocol']),
    protocol: undefined,
    verified: undefined,
  }
}

/** Connects. Reports `connected`, and in any case `closed`. @throws SyntaxError for no URL of a WebSocket */
export function dial(shared: WsShared, { ws, net }: WsModules, url: string, options: Dial): WsSocket {
  const { settings } = shared
  const { hostname, port, protocol } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  const { ca, rejectUnauthorized } = options
  const secure = protocol === 'wss:'
  let below: Below | undefined
  const createConnection = (): Net.Socket => {
    const plain = net.connect({ host, port: Number(port || (secure ? 443 : 80)), noDelay: true })
    const servername = /^[\d.]+$|:/.test(host) ? {} : { servername: host }
    const socket = secure
      ? tlsModule().connect({
        socket: plain, host, rejectUnauthorized, ...servername, ...(ca === undefined ? {} : { ca }),
      })
      : plain
    below = socket
    return socket
  }
  const asked: Ws.ClientOptions & { readonly closeTimeout: number } = {
    createConnection, headers: { ...options.headers }, maxPayload: settings.maxPayload, followRedirects: false,
    autoPong: false,
    handshakeTimeout: settings.handshakeTimeout, closeTimeout: settings.closeTimeout,
    ...options.origin === undefined ? {} : { origin: options.origin },
    perMessageDeflate: settings.compression !== undefined && {
      threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true,
    },
  }
  const client = new ws.WebSocket(url, [...options.protocols], asked)
  const socket = new WsSocket(shared, client)
  client.on('open', () => {
    const answer = {
      protocol: client.protocol === '' ? undefined : client.protocol,
      compressed: client.extensions !== '',
    }
    socket.open(below as Below, false, secure)
    shared.report({ kind: 'connected', socket, answer })
  })
  return socket
}


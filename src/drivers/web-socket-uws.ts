/**
 * The carrier uWebSockets.js, which brings sockets, HTTP and WebSockets of its own.
 *
 * What is handed to its callbacks is copied at once, as its memory is gone when they return; nothing is sent from
 * within them; and each catches what it throws, as an exception there ends the process.
 *
 * Invariants: nothing is asked of a socket that has closed, or of a response that was aborted; what `send` says is
 * looked at: 0 and 1 are accepted, 2 is a fault, as the library's own limit is switched off.
 */
import { httpModule } from '../support/builtins.js'
import { EventEmitter } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { isMainThread } from 'node:worker_threads'
import { asError, socketError } from '../support/errors.js'
import { log } from '../support/log.js'
import { socketsChanged } from '../transport/heap.js'
import {
  CarrierSocket, Liveness, type Outlets, type Admission, type Carrier, type CarrierServer, type CarrierSettings,
  type CarrierShared, type Refusal, type Sendable, type ServerHooks,
} from './web-socket-carrier.js'
import type { WsRequest } from './web-socket-records.js'
import { offeredIn, PHRASES, silentError, wrongUpgrade } from './web-socket-ws.js'

/* What is used of the library, in its own words: it isn't there for everybody who compiles this. */
interface UwsSocket {
  send(message: string | Uint8Array, isBinary: boolean, compress: boolean): 0 | 1 | 2
  getBufferedAmount(): number
  end(code: number, reason: string): void
  close(): void
  ping(): number
  cork(callback: () => void): void
  getUserData(): {
    socket: UwsCarrierSocket | undefined
    /** Until it is open. */
    admission: Admission & { accepted: true } | undefined
  }
}
interface UwsRequest {
  getUrl(): string
  getQuery(): string | undefined
  getHeader(name: string): string
  getCaseSensitiveMethod(): string
  forEach(callback: (name: string, value: string) => void): void
}
interface UwsResponse {
  writeStatus(status: string): UwsResponse
  writeHeader(name: string, value: string): UwsResponse
  write(chunk: Uint8Array): boolean
  tryEnd(chunk: Uint8Array, total: number): [ok: boolean, done: boolean]
  end(body?: string | Uint8Array, close?: boolean): void
  endWithoutBody(length?: number, close?: boolean): void
  close(): void
  pause(): void
  resume(): void
  getWriteOffset(): number
  getRemoteAddress(): ArrayBuffer
  onWritable(handler: (offset: number) => boolean): void
  onAborted(handler: () => void): void
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): void
  cork(callback: () => void): void
  upgrade(data: object, key: string, protocol: string, extensions: string, context: unknown): void
}
interface UwsApp {
  ws(pattern: string, behavior: object): UwsApp
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): UwsApp
  listen(host: string, port: number, options: number, callback: (socket: unknown) => void): UwsApp
  listen(port: number, options: number, callback: (socket: unknown) => void): UwsApp
  close?(): void
}
export interface UwsModule {
  App(): UwsApp
  SSLApp(options: object): UwsApp
  us_listen_socket_close(socket: unknown): void
  us_socket_local_port(socket: unknown): number
  DISABLED: number
  SHARED_COMPRESSOR: number
  SHARED_DECOMPRESSOR: number
}

/**
 * Not the library's exclusive one: such a port could not be had again while connections of an earlier listener are
 * left. Other processes could share this one, so that it is looked first whether a port of the program's choice is
 * free.
 */
const SHARED_PORT = 0

/**
 * The library, or why it can't be used. Not in threads: where one ends while the library listens in it (by `terminate`,
 * an error, or the program's own end), Node finds the library's handle in that thread's loop, and aborts the process.
 */
export async function loadUws(): Promise<UwsModule | Error> {
  if (!isMainThread) {
    return new Error("uWebSockets.js can't be used: this is a thread, and when one ends in which the library listens, "
      + 'the whole process does')
  }
  let found: { default?: UwsModule }
  const name = 'uWebSockets.js'
  try {
    found = await import(name) as { default?: UwsModule }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const missing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND'
    const why = missing ? 'it is not installed' : asError(error, 'loading it failed').message.split('\n')[0]
    return new Error(`uWebSockets.js can't be used: ${why}`, { cause: error })
  }
  const uws = found.default
  // A repackaging has a slow imitation in JavaScript for Nodes that it has no binary for.
  const text = (f: unknown): string => typeof f === 'function' ? Function.prototype.toString.call(f) : ''
  if (uws !== undefined && text((uws as { App: unknown }).App).includes('[native code]')) return uws
  return new Error(`uWebSockets.js can't be used: it has no binary for Node ${process.versions.node} on this machine`)
}

/** Milliseconds as whole steps of four seconds, as the library counts. */
function idleSeconds(msecs: number): number {
  return msecs === 0 ? 0 : Math.min(960, Math.max(8, Math.ceil(msecs / 4000) * 4))
}

/** What the library says of a connection that it cut off, and the code of RFC 6455 for it. */
const CUT: readonly (readonly [RegExp, number, string])[] = [
  [/too big/i, 1009, 'EMSGSIZE'],
  [/utf-?8|invalid text/i, 1007, 'EPROTO'],
  [/close payload/i, 1002, 'EPROTO'],
  [/invalid|protocol|opcode|rsv|mask|fragment/i, 1002, 'EPROTO'],
  [/inactivity|timed out/i, 1006, 'ETIMEDOUT'],
]

function addressOf(bytes: ArrayBuffer): string {
  const all = new Uint8Array(bytes)
  if (all.length === 4) return all.join('.')
  if (all.length !== 16) return ''
  const groups = Array.from({ length: 8 }, (_value, i) => (all[2 * i] * 256 + all[2 * i + 1]).toString(16))
  if (groups.slice(0, 5).every((group) => group === '0') && groups[5] === 'ffff') return all.slice(12).join('.')
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1)
}

/** A mark of the byte order at the start of a text is a part of it. */
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })

/** The last text that was sent, in bytes, if it was sent before that, too. */
class Texts {
  #text: string | undefined
  #bytes: Buffer | undefined

  of(text: string): string | Buffer {
    if (text !== this.#text) {
      this.#text = text.length > TEXT_KEPT_MAX ? undefined : text
      this.#bytes = undefined
      return text
    }
    return this.#bytes ??= Buffer.from(text)
  }
}

/** A longer text is not worth the memory. */
const TEXT_KEPT_MAX = 16 * 1024

interface Shared extends CarrierShared {
  readonly texts: Texts
}

/** One WebSocket of the library's. (Private methods that begin with # would be a field of each.) */
class UwsCarrierSocket extends CarrierSocket<Shared> {
  readonly #ws: UwsSocket
  readonly #address: string
  /** The program ends it: what the library says of it is no news. */
  #ending: { readonly code: number, readonly reason: string } | undefined = undefined
  #error: Error | undefined = undefined

  constructor(shared: Shared, ws: UwsSocket, address: string) {
    super(shared)
    this.#ws = ws
    this.#address = address
  }

  protected get backlog(): number {
    return this.#ws.getBufferedAmount()
  }

  protected put(messages: readonly Sendable[]): void {
    if (messages.length === 1) this.sendOne(messages[0])
    else this.#ws.cork(() => { for (const data of messages) this.sendOne(data) })
  }

  private sendOne(data: Sendable): void {
    if (this.closed) return
    const isText = typeof data === 'string'
    const { compression } = this.shared.settings
    const compress = compression !== undefined && data.length >= compression.threshold
    const accepted = this.#ws.send(isText ? this.shared.texts.of(data) : data, !isText, compress)
    if (accepted !== 2) return
    const error = socketError(-constants.errno.ENOBUFS, 'write', this.#address)
    error.message += ': uWebSockets.js has dropped a message'
    this.abort(error)
  }

  protected end(code: number, reason: string): void {
    this.#ending = { code, reason }
    this.#ws.end(code, reason)
  }

  abort(error?: Error): void {
    if (this.closed) return
    this.#error ??= error
    this.#ws.close()
  }

  ping(): void {
    if (!this.closed) this.#ws.ping()
  }

  /** A ping came, and the library has queued an answer. */
  pinged(): void {
    this.heard = true
    const queued = this.#ws.getBufferedAmount()
    if (queued <= this.shared.settings.maxQueuedBytes) return
    const error = socketError(-constants.errno.ENOBUFS, 'write', this.#address)
    error.message += ': answers to pings wait to be sent'
    setImmediate(() => { this.abort(error) })
  }

  pause(): void {
    // It can't: what comes is kept in the inbox.
  }

  resume(): void {
    // See `pause`.
  }

  over(code: number, text: string): void {
    this.shared.liveness.delete(this)
    socketsChanged()
    if (this.#error !== undefined) this.ended({ code: 1006, reason: '', error: this.#error })
    else if (this.#ending !== undefined) this.ended({ ...this.#ending, error: undefined })
    else this.ended(code === 1006 ? cutOff(this.#address, text) : { code, reason: text, error: undefined })
  }
}

/** It was lost, or the library has found something wrong with it. */
function cutOff(address: string, text: string): { code: number, reason: string, error: Error } {
  const [, code, name] = CUT.find(([pattern]) => pattern.test(text)) ?? [undefined, 1006, 'ECONNRESET']
  if (name === 'ETIMEDOUT') return { code, reason: '', error: silentError(address) }
  const error = socketError(-constants.errno[name as 'EPROTO'], 'read', address)
  error.message += `: ${text === '' ? 'the connection ended without a close frame' : text}`
  return { code, reason: '', error }
}

export class UwsCarrier implements Carrier {
  readonly name = 'uws'
  readonly shared: Shared

  constructor(readonly uws: UwsModule, outlets: Outlets, settings: CarrierSettings) {
    // Silence for too long is the library's own business: it sees parts of messages, too.
    const liveness = new Liveness(settings.pingInterval, 0, () => undefined)
    this.shared = { outlets, report: outlets.report, settings, liveness, texts: new Texts() }
  }

  listen(port: number, hooks: ServerHooks, server: CarrierServer): CarrierServer {
    return new UwsServer(this.uws, this.shared, port, hooks, server)
  }
}

/** A request that is being answered, or for a WebSocket that is being judged. */
interface Pending {
  abort(): void
}

class UwsServer implements CarrierServer {
  context: unknown = undefined
  readonly #uws: UwsModule
  readonly #shared: Shared
  readonly #hooks: ServerHooks
  #listening: unknown = undefined
  #closed = false
  readonly #pending = new Set<Pending>()

  constructor(uws: UwsModule, shared: Shared, port: number, hooks: ServerHooks, server: CarrierServer) {
    this.#uws = uws
    this.#shared = shared
    this.#hooks = hooks
    const { settings, report } = shared
    const app = this.#createApp()
    this.#route(app)
    const failed = (error: Error): void => {
      this.#closed = true
      report({ kind: 'failed', server, error })
    }
    const listening = (socket: unknown): void => {
      if (!socket) {
        void whyNot(port, settings.host).then((error) => {
          failed(error ?? socketError(-constants.errno.EADDRINUSE, 'listen', settings.host, port))
        })
        return
      }
      this.#listening = socket
      report({ kind: 'listening', server, host: settings.host ?? '::', port: uws.us_socket_local_port(socket) })
    }
    void (port === 0 ? Promise.resolve(undefined) : whyNot(port, settings.host)).then((error) => {
      if (this.#closed) return
      if (error !== undefined) failed(error)
      else if (settings.host === undefined) app.listen(port, SHARED_PORT, listening)
      else app.listen(settings.host, port, SHARED_PORT, listening)
    })
  }

  #createApp(): UwsApp {
    const { tls } = this.#shared.settings
    if (tls === undefined) return this.#uws.App()
    // The library reads files only. These are readable for this user, and gone when they were read.
    const folder = mkdtempSync(join(tmpdir(), 'marketplace-tls-'))
    try {
      const [key, cert] = [join(folder, 'key'), join(folder, 'cert')]
      writeFileSync(key, tls.key, { mode: 0o600 })
      writeFileSync(cert, tls.cert, { mode: 0o600 })
      return this.#uws.SSLApp({
        key_file_name: key, cert_file_name: cert, ...tls.passphrase === undefined ? {} : { passphrase: tls.passphrase },
      })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  #route(app: UwsApp): void {
    const { settings, report, liveness } = this.#shared
    const { isolates } = settings
    const socketOf = (ws: UwsSocket): UwsCarrierSocket | undefined => ws.getUserData().socket
    app.ws('/*', {
      maxPayloadLength: settings.maxPayload,
      maxBackpressure: 0,
      closeOnBackpressureLimit: false,
      idleTimeout: idleSeconds(settings.idleTimeout),
      maxLifetime: 0,
      sendPingsAutomatically: false,
      compression: settings.compression === undefined
        ? this.#uws.DISABLED : this.#uws.SHARED_COMPRESSOR | this.#uws.SHARED_DECOMPRESSOR,
      upgrade: safely((response: UwsResponse, request: UwsRequest, context: unknown) => {
        try {
          this.#upgrade(response, request, context)
        } catch (error) {
          log('error', 'a request for a WebSocket failed', { reason: error })
          // The library ends the process over a request that has no answer, and for which nobody waits.
          response.close()
        }
      }),
      open: safely((ws: UwsSocket) => {
        const data = ws.getUserData()
        if (data.admission === undefined) return
        const { request, owner } = data.admission
        const socket = new UwsCarrierSocket(this.#shared, ws, request.address)
        data.socket = socket
        data.admission = undefined
        liveness.add(socket)
        socketsChanged()
        report({ kind: 'accepted', socket, owner, request })
      }),
      message: safely((ws: UwsSocket, message: ArrayBuffer, isBinary: boolean) => {
        const socket = socketOf(ws)
        if (socket === undefined) return
        socket.heard = true
        report({ kind: 'message', socket, data: isBinary ? copyOf(message, isolates) : utf8.decode(message) })
      }),
      drain: safely((ws: UwsSocket) => { socketOf(ws)?.look() }),
      ping: safely((ws: UwsSocket) => { socketOf(ws)?.pinged() }),
      pong: safely((ws: UwsSocket) => {
        const socket = socketOf(ws)
        if (socket !== undefined) socket.heard = true
      }),
      close: safely((ws: UwsSocket, code: number, message: ArrayBuffer) => {
        socketOf(ws)?.over(code, utf8.decode(message))
      }),
    })
    app.any('/*', (response, request) => { this.#request(response, request) })
  }

  #upgrade(response: UwsResponse, request: UwsRequest, context: unknown): void {
    // All of the request is gone when this returns.
    const key = request.getHeader('sec-websocket-key')
    const protocols = request.getHeader('sec-websocket-protocol')
    const extensions = request.getHeader('sec-websocket-extensions')
    const wrong = wrongUpgrade(request.getHeader('upgrade'), request.getHeader('sec-websocket-version'), key)
    const headers = headersOf(request)
    const asked: WsRequest = {
      address: addressOf(response.getRemoteAddress()),
      port: undefined,
      path: request.getUrl(),
      query: request.getQuery() ?? '',
      origin: headers['origin'],
      host: headers['host'] ?? '',
      secure: this.#shared.settings.tls !== undefined,
      headers,
      offered: offeredIn(protocols),
      protocol: undefined,
      verified: undefined,
    }
    const answer = (admission: Admission): void => {
      const no = admission.accepted ? this.#hooks.objection(admission) : admission
      if (no !== undefined) {
        refuse(response, no)
        return
      }
      const { protocol = '' } = (admission as Admission & { accepted: true }).request
      response.upgrade({ socket: undefined, admission }, key, protocol, extensions, context)
    }
    const admission = wrong === undefined ? this.#hooks.admit(asked) : { ...wrong, accepted: false as const }
    if (admission instanceof Promise) this.#await(response, admission, answer)
    else answer(admission)
  }

  /** Answers when it is known what, if the peer is still there. */
  #await(response: UwsResponse, admission: Promise<Admission>, answer: (admission: Admission) => void): void {
    let over = false
    const pending = { abort: () => { if (!over) response.close() } }
    const end = (): boolean => {
      if (over) return false
      over = true
      clearTimeout(late)
      this.#pending.delete(pending)
      return true
    }
    response.onAborted(() => { end() })
    this.#pending.add(pending)
    const settle = safely((known: Admission) => {
      if (end()) response.cork(safely(() => { answer(known) }))
    })
    const late = setTimeout(() => {
      settle({ accepted: false, status: 408, text: 'the answer took too long' })
    }, this.#shared.settings.handshakeTimeout)
    void admission.then(settle)
  }

  #request(response: UwsResponse, request: UwsRequest): void {
    const exchange = new Exchange(response, () => { this.#pending.delete(exchange) })
    this.#pending.add(exchange)
    const query = request.getQuery()
    const url = request.getUrl() + (query === undefined || query === '' ? '' : `?${query}`)
    const asked = new UwsIncoming(request.getCaseSensitiveMethod(), url, headersOf(request), response, exchange)
    const answer = new UwsOutgoing(asked.method, response, exchange)
    exchange.onAbort = () => {
      asked.destroy()
      answer.destroy()
    }
    const peer = {
      address: addressOf(response.getRemoteAddress()), port: undefined, secure: this.#shared.settings.tls !== undefined,
    }
    try {
      // They have all that is looked at of Node's own.
      this.#hooks.request(asked as unknown as IncomingMessage, answer as unknown as ServerResponse, peer)
    } catch (error) {
      log('error', 'a request of HTTP failed', { reason: error })
      exchange.abort()
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#stop()
  }

  #stop(): void {
    const listening = this.#listening
    this.#listening = undefined
    if (listening) this.#uws.us_listen_socket_close(listening)
  }

  abort(): void {
    this.close()
    for (const pending of this.#pending) pending.abort()
  }
}

function copyOf(message: ArrayBuffer, isolates: boolean): Buffer {
  const { byteLength } = message
  const copy = isolates ? Buffer.allocUnsafeSlow(byteLength) : Buffer.allocUnsafe(byteLength)
  copy.set(new Uint8Array(message))
  return copy
}

/** Answers a request for a WebSocket in words, and goes. */
function refuse(response: UwsResponse, { status, text }: Refusal): void {
  response.writeStatus(`${status} ${PHRASES[status] ?? httpModule().STATUS_CODES[status] ?? 'Refused'}`)
  response.writeHeader('content-type', 'text/plain')
  if (status === 426) response.writeHeader('sec-websocket-version', '13')
  response.end(`${text}\n`, true)
}

/** Each header once: values of one that came more than once are joined, as Node does it. */
function headersOf(request: UwsRequest): Record<string, string> {
  const headers: Record<string, string> = {}
  request.forEach((name, value) => {
    headers[name] = Object.hasOwn(headers, name) ? `${headers[name]}${name === 'cookie' ? '; ' : ', '}${value}` : value
  })
  return headers
}

/** A callback that throws nothing at the library, which would end the process. */
function safely<A extends readonly unknown[]>(callback: (...args: A) => void): (...args: A) => void {
  return (...args) => {
    try {
      callback(...args)
    } catch (error) {
      log('error', 'a callback of uWebSockets.js failed', { reason: error })
    }
  }
}

/** Why nothing can listen there, as Node says it; the library only says that it can't. */
function whyNot(port: number, host: string | undefined): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', resolve)
    probe.listen({ port, host }, () => {
      probe.close(() => { resolve(undefined) })
    })
  })
}

/** A request of HTTP and its answer: whether the library may still be asked about it. */
class Exchange implements Pending {
  over = false
  onAbort: () => void = () => undefined

  constructor(readonly response: UwsResponse, readonly onOver: () => void) {
    response.onAborted(() => {
      this.finish()
      this.onAbort()
    })
  }

  /** It was answered, or is gone. */
  finish(): void {
    if (this.over) return
    this.over = true
    this.onOver()
  }

  abort(): void {
    if (!this.over) this.response.close()
  }
}

/** A request, as Node's `IncomingMessage`. */
class UwsIncoming extends Readable {
  readonly httpVersion = '1.1'
  readonly complete = true
  readonly socket = { destroyed: false }

  constructor(
    readonly method: string, readonly url: string, readonly headers: Readonly<Record<string, string>>,
    response: UwsResponse, exchange: Exchange,
  ) {
    let paused = false
    super({ read: () => {
      if (paused && !exchange.over) response.resume()
      paused = false
    } })
    response.onData(safely((chunk: ArrayBuffer, isLast: boolean) => {
      if (this.destroyed) return
      const goesOn = chunk.byteLength === 0 || this.push(Buffer.from(chunk.slice(0)))
      if (isLast) this.push(null)
      else if (!goesOn && !exchange.over && !paused) {
        paused = true
        response.pause()
      }
    }))
    this.on('error', () => undefined)
  }
}

/** Calls it until it says that all has gone, and no more: the library would go on. */
function once(handler: (offset: number) => boolean): (offset: number) => boolean {
  let over = false
  return (offset) => over ||= handler(offset)
}

/** Headers that say how long a body is, which the library writes itself. */
const FRAMING = new Set(['content-length', 'transfer-encoding', 'connection', 'date', 'keep-alive'])

/** An answer, as Node's `ServerResponse`: as much of it as is used here, and by `send`. */
class UwsOutgoing extends Writable {
  statusCode = 200
  statusMessage = ''
  headersSent = false
  readonly #headers = new Map<string, string>()
  readonly #response: UwsResponse
  readonly #exchange: Exchange
  readonly #method: string
  /** What it is looked at for: `on-finished` wants to know whether the connection is there. */
  readonly socket = Object.assign(new EventEmitter(), { writable: true, destroyed: false })

  constructor(method: string, response: UwsResponse, exchange: Exchange) {
    super({ highWaterMark: 64 * 1024 })
    this.#method = method
    this.#response = response
    this.#exchange = exchange
    this.on('error', () => undefined)
  }

  get finished(): boolean {
    return this.writableEnded
  }

  setHeader(name: string, value: string | number | readonly string[]): this {
    this.#headers.set(name.toLowerCase(), Array.isArray(value) ? value.join(', ') : String(value))
    return this
  }

  getHeader(name: string): string | undefined {
    return this.#headers.get(name.toLowerCase())
  }

  hasHeader(name: string): boolean {
    return this.#headers.has(name.toLowerCase())
  }

  getHeaderNames(): string[] {
    return [...this.#headers.keys()]
  }

  removeHeader(name: string): void {
    this.#headers.delete(name.toLowerCase())
  }

  writeHead(status: number, headers: Readonly<Record<string, string | number>> = {}): this {
    this.statusCode = status
    for (const name of Object.keys(headers)) this.setHeader(name, headers[name])
    return this
  }

  /** The length of the body, where it was said. */
  get #length(): number | undefined {
    const said = this.getHeader('content-length')
    return said === undefined ? undefined : Number(said)
  }

  #head(): void {
    if (this.headersSent) return
    this.headersSent = true
    const { statusCode } = this
    this.#response.writeStatus(`${statusCode} ${httpModule().STATUS_CODES[statusCode] ?? 'Unknown'}`)
    for (const [name, value] of this.#headers) if (!FRAMING.has(name)) this.#response.writeHeader(name, value)
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, done: (error?: Error) => void): void {
    if (this.#exchange.over) {
      done(socketError(-constants.errno.EPIPE, 'write'))
      return
    }
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
    const length = this.#length
    // Nothing of a body follows the headers then.
    if (this.#method === 'HEAD') {
      done()
      return
    }
    this.#response.cork(() => {
      this.#head()
      if (length === undefined) this.#chunk(bytes, done)
      else this.#part(bytes, length, done)
    })
  }

  /** Of a body whose length isn't known. */
  #chunk(bytes: Buffer, done: () => void): void {
    if (this.#response.write(bytes)) {
      done()
      return
    }
    this.#response.onWritable(once(() => {
      process.nextTick(done)
      return true
    }))
  }

  /** Of a body whose length is known: what the library doesn't take is offered again. */
  #part(bytes: Buffer, length: number, done: () => void): void {
    const start = this.#response.getWriteOffset()
    const [ok, over] = this.#response.tryEnd(bytes, length)
    if (over) this.#exchange.finish()
    if (ok || over) {
      done()
      return
    }
    this.#response.onWritable(once((offset) => {
      const [taken, ended] = this.#response.tryEnd(bytes.subarray(offset - start), length)
      if (ended) this.#exchange.finish()
      // Not from within: what follows asks for a callback of its own.
      if (taken || ended) process.nextTick(done)
      return taken || ended
    }))
  }

  override _final(done: () => void): void {
    const { over } = this.#exchange
    if (!over) {
      const length = this.#length
      this.#response.cork(() => {
        const begun = this.headersSent
        this.#head()
        this.#exchange.finish()
        if (this.#method === 'HEAD' || this.statusCode === 304) this.#response.endWithoutBody(length)
        else if (begun && length !== undefined) this.#response.close() // shorter than was said
        else this.#response.end('', this.getHeader('connection') === 'close')
      })
    }
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#exchange.over && !this.writableFinished) this.#response.close()
    // By this `send` knows that the file is to be closed.
    Object.assign(this.socket, { writable: false, destroyed: true }).emit('close')
    done(error)
  }
}

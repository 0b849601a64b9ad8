/**
 * The inspector's door: an HTTP server on loopback that gives a page to browsers, and a WebSocket to whoever knows the
 * token.
 *
 * Owns who is let in. A request needs the token; one that comes from a page needs that page to be this server's own
 * (Origin), and one that was led here by another name than the server's is refused (Host; "DNS rebinding"). The server
 * keeps no program running.
 */
import { timingSafeEqual } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { isIP, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { RawData, WebSocket, WebSocketServer } from 'ws'
import { log } from '../support/log.js'
import { PACKAGE_ROOT } from '../support/package-root.js'
import type { Inspection } from './inspection.js'
import { portInto } from './network.js'
import { REQUEST_MAX, Session, type PortGreeting } from './session.js'

/** Clients at the same time. */
const CLIENTS_MAX = 50
/** Milliseconds between two signs of life, in which an answer must come. */
const PING_MS = 15_000
/** Bytes that may wait for a client that is led to a worker, or for the worker. */
const LED_MAX = 16 * 1024 * 1024
/** Milliseconds that a request may take to come. */
const REQUEST_MS = 10_000
/** Milliseconds that a client which is refused has to read why. */
const REFUSED_MS = 5_000

interface WebSocketLibrary {
  readonly WebSocketServer: typeof WebSocketServer
}

/** Where and for whom. */
export interface ServerOptions {
  readonly port: number
  readonly host: string
  readonly token: string
  readonly readOnly: boolean
}

/** A host as it stands in an address. */
function inAddress(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host
}

/**
 * What a request asks for; undefined of what is no address. Anybody can ask for anything, without a token: what was
 * thrown here would be nobody's, and the end of the program.
 */
function addressOf({ url = '' }: IncomingMessage): URL | undefined {
  try {
    return new URL(url, 'http://inspector')
  } catch {
    return undefined
  }
}

export class InspectorServer {
  readonly #inspection: Inspection
  readonly #options: ServerOptions
  readonly #server: Server
  readonly #webSockets: WebSocketServer
  readonly #clients = new Set<WebSocket>()
  readonly #sockets = new Set<Duplex>()
  readonly #pings: NodeJS.Timeout
  #ended = false

  /** @param ws the library; it is loaded only where there is an inspector */
  constructor(inspection: Inspection, options: ServerOptions, ws: WebSocketLibrary) {
    this.#inspection = inspection
    this.#options = options
    this.#webSockets = new ws.WebSocketServer({ noServer: true, maxPayload: REQUEST_MAX, perMessageDeflate: false })
    this.#server = createServer({ requestTimeout: REQUEST_MS }, (request, response) => {
      void this.#answer(request, response)
    })
    this.#server.on('upgrade', (request, socket, head) => { this.#upgrade(request, socket, head) })
    this.#server.on('connection', (socket: Socket) => {
      socket.unref()
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    this.#pings = setInterval(() => { this.#ping() }, PING_MS).unref()
  }

  /** @returns the address with its token. @throws SocketError when it can't listen there */
  async listen(): Promise<string> {
    const { port, host, token } = this.#options
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
    this.#server.on('error', (error) => { log('error', 'the inspector\'s server failed', { reason: error }) })
    this.#server.unref()
    const address = this.#server.address() as AddressInfo
    return `http://${inAddress(address.address)}:${address.port}/?token=${token}`
  }

  /** Closes everything at once. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    clearInterval(this.#pings)
    for (const client of this.#clients) client.close(1001, 'the program ends')
    this.#server.close()
    for (const socket of this.#sockets) socket.end(() => socket.destroy())
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refused = this.#refusal(request)
    const end = (status: number, type: string, body: string | Buffer): void => {
      response.writeHead(status, {
        'content-type': type, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer', 'x-frame-options': 'DENY',
        'content-security-policy': "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
          + "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'",
      })
      response.end(request.method === 'HEAD' ? '' : body)
    }
    if (refused !== undefined) {
      end(refused.status, 'text/plain', `${refused.why}\n`)
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      end(405, 'text/plain', 'only GET\n')
    } else if (addressOf(request)?.pathname !== '/') {
      end(404, 'text/plain', 'there is one page, at /\n')
    } else {
      try {
        end(200, 'text/html; charset=utf-8', await readFile(join(PACKAGE_ROOT ?? '', 'dist/lib/inspector.html')))
      } catch {
        end(200, 'text/plain', 'This is a marketplace-native inspector; its protocol is in docs/inspector.md.\n')
      }
    }
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    const refused = this.#clients.size >= CLIENTS_MAX
      ? { status: 503, why: `there are ${CLIENTS_MAX} clients already` } : this.#refusal(request)
    if (refused !== undefined) {
      log('warning', `the inspector refused a client: ${refused.why}`, { from: request.socket.remoteAddress })
      const head = `HTTP/1.1 ${refused.status} Refused\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n`
      // Whoever is refused would otherwise keep the descriptor by not closing its own side.
      socket.end(`${head}${refused.why}\n`, () => socket.destroy())
      setTimeout(() => { socket.destroy() }, REFUSED_MS).unref()
      return
    }
    const worker = addressOf(request)?.searchParams.get('worker') ?? null
    this.#webSockets.handleUpgrade(request, socket, head, (client) => {
      this.#clients.add(client)
      answering.add(client)
      client.on('pong', () => { answering.add(client) })
      client.on('error', () => undefined) // it is closed then
      client.on('close', () => { this.#clients.delete(client) })
      if (worker === null || worker === '') this.#serve(client)
      else this.#leadTo(worker, client)
    })
  }

  /** What the client says goes to a worker, and what that says to the client. */
  #leadTo(worker: string, client: WebSocket): void {
    if (this.#inspection.redact !== undefined) {
      // It is a function of this thread: in a worker there would be nothing to keep values back.
      client.close(1008, 'with redact, workers are not looked into')
      return
    }
    const port = portInto(this.#inspection, worker)
    if (port === undefined) {
      // The reason may have 123 bytes, and a name is as long as a client pleases.
      client.close(1011, `there is no worker ${worker.slice(0, 30)}`)
      return
    }
    port.postMessage({ readOnly: this.#options.readOnly } satisfies PortGreeting)
    // Since the worker said something last: one that is busy for long would have all of it kept for it.
    let unheard = 0
    port.on('message', (text: string) => {
      unheard = 0
      if (client.bufferedAmount <= LED_MAX) client.send(text)
      else client.terminate()
    })
    port.on('close', () => { client.close(1001, 'the worker has ended') })
    port.unref()
    client.on('message', (data: RawData, isBinary: boolean) => {
      unheard += (data as Buffer).length
      if (isBinary) client.close(1003, 'requests are text')
      else if (unheard > LED_MAX) client.close(1013, 'the worker does not answer')
      else port.postMessage((data as Buffer).toString())
    })
    client.on('close', () => { port.close() })
  }

  #serve(client: WebSocket): void {
    const session = new Session(this.#inspection, {
      send: (text) => { if (client.readyState === client.OPEN) client.send(text) },
      get waiting() { return client.bufferedAmount },
      close: (code, reason) => {
        client.close(code, reason)
        // Its close frame would wait behind all that it doesn't read.
        client.terminate()
      },
    }, this.#options.readOnly)
    client.on('message', (data: RawData, isBinary: boolean) => {
      if (isBinary) client.close(1003, 'requests are text')
      else session.receive((data as Buffer).toString())
    })
    client.on('close', () => { session.end() })
  }

  /** A client that has gone without a word would keep what it has paused. */
  #ping(): void {
    for (const client of this.#clients) {
      if (!answering.delete(client)) {
        client.terminate()
        continue
      }
      client.ping()
    }
  }

  #refusal(request: IncomingMessage): { readonly status: number, readonly why: string } | undefined {
    const { host, origin } = request.headers
    if (host === undefined || !this.#isOwn(host)) {
      return { status: 403, why: 'the Host header names another server than this one' }
    }
    if (origin !== undefined && origin !== `http://${host}`) {
      return { status: 403, why: 'the request comes from a page of another server' }
    }
    const token = addressOf(request)?.searchParams.get('token') ?? ''
    if (!isEqual(token, this.#options.token)) return { status: 403, why: 'the token is missing, or wrong' }
    return undefined
  }

  /** Whether a Host header is one that leads here without the help of a name that somebody else decides about. */
  #isOwn(header: string): boolean {
    let name: string
    let port: string
    try {
      ({ hostname: name, port } = new URL(`http://${header}`))
    } catch {
      return false
    }
    const address = this.#server.address() as AddressInfo | null
    if (Number(port === '' ? 80 : port) !== address?.port) return false
    const bare = name.replace(/^\[|\]$/g, '')
    return isIP(bare) !== 0 || bare === 'localhost' || bare === this.#options.host.toLowerCase()
  }
}

/** Clients that have given a sign of life since the last ping. */
const answering = new WeakSet<WebSocket>()

/** Compared without telling by the time how much is right. */
function isEqual(given: string, wanted: string): boolean {
  const a = Buffer.from(given)
  const b = Buffer.from(wanted)
  return a.length === b.length && timingSafeEqual(a, b)
}

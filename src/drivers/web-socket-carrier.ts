/**
 * What the WebSocket driver needs of a library that speaks the protocol: a carrier. There are two for listeners,
 * `web-socket-ws.ts` and `web-socket-uws.ts`; connections that go out are always carried by `ws`.
 *
 * Owns what both have in common: what is sent in one run of the VM waits in its socket's outbox, and goes out when the
 * VM is idle, so that a socket is written to once a turn, and never from within a callback of the carrier's. And the
 * set of sockets of which a part has not gone, which is looked at now and then: not all of them tell when it has.
 *
 * Invariants: nothing that was sent is left out silently; after `closed` was reported, nothing is asked of a socket.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Label } from '../vm/label.js'
import type { WsAnswer, WsRequest } from './web-socket-records.js'

/** How a connection came to its end: what `wsClosed` is made of. */
export interface Ending {
  readonly code: number
  readonly reason: string
  readonly error: Error | undefined
}

/** A message that was received. */
export type Received = string | Buffer
/** One that is to be sent. */
export type Sendable = string | Uint8Array

export type CarrierEvent =
  | { readonly kind: 'message', readonly socket: CarrierSocket, readonly data: Received }
  | { readonly kind: 'written', readonly socket: CarrierSocket }
  | { readonly kind: 'connected', readonly socket: CarrierSocket, readonly answer: WsAnswer }
  | { readonly kind: 'closed', readonly socket: CarrierSocket, readonly ending: Ending }
  | { readonly kind: 'accepted', readonly socket: CarrierSocket, readonly owner: unknown, readonly request: WsRequest }
  | { readonly kind: 'listening', readonly server: CarrierServer, readonly host: string, readonly port: number }
  | { readonly kind: 'failed', readonly server: CarrierServer, readonly error: Error }

/** Where carriers report. */
export type Report = (event: CarrierEvent) => void

/** What a request for a WebSocket gets instead of it. */
export interface Refusal {
  readonly accepted: false
  readonly status: number
  readonly text: string
}

/** What is answered to a request for a WebSocket. */
export type Admission = Refusal | { readonly accepted: true, readonly request: WsRequest, readonly owner: unknown }

/** What a server asks the driver. */
export interface ServerHooks {
  /** Whether a peer may have a WebSocket. Never throws, nor rejects. */
  admit(request: WsRequest): Admission | Promise<Admission>
  /** Why it is no longer so, when it comes to it: the listener may have gone, or others came first. */
  objection(admission: Admission & { readonly accepted: true }): Refusal | undefined
  /** A request of HTTP that is none for a WebSocket. Never throws. */
  request(request: IncomingMessage, response: ServerResponse, peer: Peer): void
}

/** Who sends a request of HTTP. */
export interface Peer {
  readonly address: string
  readonly port: number | undefined
  readonly secure: boolean
}

/** A port that is listened on. */
export interface CarrierServer {
  context: unknown
  /** Accepts no more, and closes connections that have no request under way. WebSockets live on. */
  close(): void
  /** Ends what is left. */
  abort(): void
}

/** Options of a connection that goes out. */
export interface Dial {
  readonly protocols: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  readonly origin: string | undefined
  /** Of TLS: certificates to trust beside those that Node knows, and whether a wrong one is refused. */
  readonly ca: string | Buffer | undefined
  readonly rejectUnauthorized: boolean
}

/** What carriers are told, with all defaults put in. */
export interface CarrierSettings {
  readonly host: string | undefined
  readonly tls: TlsSettings | undefined
  readonly maxPayload: number
  readonly maxConnections: number | undefined
  readonly maxHeaderSize: number
  readonly handshakeTimeout: number
  readonly pingInterval: number
  readonly idleTimeout: number
  readonly closeTimeout: number
  /** Beyond so many queued bytes answers to pings are no longer queued: the connection ends. */
  readonly maxQueuedBytes: number
  readonly compression: CompressionSettings | undefined
  /** Whether each received buffer has an ArrayBuffer of its own. */
  readonly isolates: boolean
}

export interface TlsSettings {
  readonly key: string | Buffer
  readonly cert: string | Buffer
  readonly passphrase: string | undefined
}

export interface CompressionSettings {
  /** Shorter messages are not compressed. */
  readonly threshold: number
  /** So many connections at most have compression: each needs memory for it. */
  readonly maxConnections: number
}

/** A carrier of listeners. */
export interface Carrier {
  readonly name: 'uws' | 'ws'
  listen(port: number, hooks: ServerHooks, server: CarrierServer): CarrierServer
}

/** So many bytes may wait for the end of a turn. */
const OUTBOX_MAX = 4 * 1024 * 1024
/** Milliseconds after which sockets are looked at of which a part has not gone. */
const LOOK = 20
/** What a message takes beside its bytes, as it is counted. */
export const MESSAGE_OVERHEAD = 64

/** Bytes that a message takes, at most, while it waits; nothing is encoded for that. */
export function sizeOf(data: Sendable): number {
  return data.length + MESSAGE_OVERHEAD
}

/** Sockets that have something to send, or of which a part has not gone. */
export class Outlets {
  #dirty: CarrierSocket[] = []
  #slow = new Set<CarrierSocket>()
  #timer: NodeJS.Timeout | undefined
  #wanted = false
  #full: CarrierSocket[] = []
  /** Counts how often the program has seen what was reported. */
  turn = 0
  /** `written` is wanted each time that something has gone, not only where a part has waited. */
  reportWrites = false

  /**
   * @param report where it is told that something has gone
   * @param whenIdle calls back when the VM has nothing more to do
   */
  constructor(readonly report: Report, readonly whenIdle: (callback: () => void) => void) {}

  /** A socket has something in its outbox. */
  add(socket: CarrierSocket): void {
    this.#dirty.push(socket)
    if (this.#wanted) return
    this.#wanted = true
    this.whenIdle(this.#flush)
  }

  readonly #flush = (): void => {
    this.#wanted = false
    const dirty = this.#dirty
    this.#dirty = []
    for (const socket of dirty) socket.flush()
  }

  /** A socket has reported so much in this turn that it takes no more before the program has seen that. */
  full(socket: CarrierSocket): void {
    this.#full.push(socket)
  }

  /** The program has seen what was reported. */
  seen(): void {
    this.turn++
    if (this.#full.length === 0) return
    const full = this.#full
    this.#full = []
    for (const socket of full) socket.seen()
  }

  /** A part of what was sent has not gone. */
  slow(socket: CarrierSocket): void {
    this.#slow.add(socket)
    this.#timer ??= setInterval(this.#look, LOOK)
  }

  readonly #look = (): void => {
    for (const socket of this.#slow) socket.look()
    this.#stopIfNone()
  }

  quick(socket: CarrierSocket): void {
    if (this.#slow.delete(socket)) this.#stopIfNone()
  }

  /** Those that have most to send, first. */
  slowest(): CarrierSocket[] {
    return [...this.#slow].sort((a, b) => b.queuedBytes - a.queuedBytes)
  }

  #stopIfNone(): void {
    if (this.#slow.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Nothing is sent any more. */
  end(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#dirty = []
    this.#slow.clear()
  }
}

/** What all sockets of a carrier have in common. */
export interface CarrierShared {
  readonly outlets: Outlets
  readonly report: Report
  readonly settings: CarrierSettings
  readonly liveness: Liveness
}

/**
 * One WebSocket. There are many, most of them idle: what is the same for all of a carrier is `shared`, or in the class,
 * and numbers are whole ones, which V8 has no object for.
 *
 * It is the name of the driver's endpoint for what is to go out.
 */
export abstract class CarrierSocket<S extends CarrierShared = CarrierShared> extends Label {
  /** Whose it is: the driver's business. */
  context: unknown = undefined
  /** Of a connection that came in, the address that it is counted for. */
  countedFor: string | undefined = undefined
  /** Nothing may be asked of the carrier any more. */
  closed = false
  /** Something came since this was set to false. */
  heard = true
  /** When something came last, as far as anybody has looked; when it is looked at next, and its neighbours in that. */
  heardAt = 0
  due = 0
  dueBefore: CarrierSocket | undefined = undefined
  dueAfter: CarrierSocket | undefined = undefined
  #outbox: Sendable[] | undefined = undefined
  #outboxBytes = 0
  /** The close frame that follows what is in the outbox. */
  #closing: { readonly code: number, readonly reason: string } | undefined
  #told = 0

  constructor(readonly shared: S) {
    super()
  }

  /** Bytes that the kernel has not taken. */
  protected abstract readonly backlog: number
  /** Hands messages to the carrier. */
  protected abstract put(messages: readonly Sendable[]): void
  /** Begins to close, with a close frame. */
  protected abstract end(code: number, reason: string): void
  /** Ends the connection at once, without a word. `closed` is reported for it. */
  abstract abort(error?: Error): void
  abstract ping(): void
  abstract pause(): void
  abstract resume(): void
  /** The program has seen what was reported, of a socket that was full. */
  seen(): void {
    // Only where the peer can be made to wait.
  }

  /** Whether bytes came since it was asked last, where that is known: a long message on its way is a sign of life. */
  moved(): boolean {
    return false
  }

  /** Bytes that wait to be sent. */
  get queuedBytes(): number {
    return this.#outboxBytes + (this.closed ? 0 : this.backlog)
  }

  /** Sends a message, in this turn. */
  send(data: Sendable): void {
    if (this.closed || this.#closing !== undefined) return
    if (this.#outbox === undefined) {
      this.#outbox = [data]
      this.shared.outlets.add(this)
    } else {
      this.#outbox.push(data)
    }
    this.#outboxBytes += sizeOf(data)
    if (this.#outboxBytes > OUTBOX_MAX) this.flush()
  }

  /** Closes in order: what was sent goes first. */
  close(code: number, reason: string): void {
    if (this.closed || this.#closing !== undefined) return
    this.#closing = { code, reason }
    if (this.#outbox === undefined) {
      this.#outbox = []
      this.shared.outlets.add(this)
    }
  }

  /** Hands over what is in the outbox. */
  flush(): void {
    const outbox = this.#outbox
    if (outbox === undefined) return
    this.#outbox = undefined
    this.#outboxBytes = 0
    if (this.closed) return
    if (outbox.length > 0) this.put(outbox)
    if (this.closed) return
    if (this.#closing !== undefined) {
      this.end(this.#closing.code, this.#closing.reason)
      return
    }
    const { backlog } = this
    if (backlog > 0) {
      this.#told = backlog
      this.shared.outlets.slow(this)
    }
    if (this.shared.outlets.reportWrites || backlog > 0) this.shared.outlets.report({ kind: 'written', socket: this })
  }

  /** Tells if some of what has waited has gone. */
  look(): void {
    if (this.closed) {
      this.shared.outlets.quick(this)
      return
    }
    const { backlog } = this
    if (backlog === 0) this.shared.outlets.quick(this)
    if (backlog === this.#told) return
    this.#told = backlog
    this.shared.outlets.report({ kind: 'written', socket: this })
  }

  /** The carrier says that it is over. */
  protected ended(ending: Ending): void {
    if (this.closed) return
    this.closed = true
    this.#outbox = undefined
    this.#outboxBytes = 0
    this.shared.outlets.quick(this)
    this.shared.outlets.report({ kind: 'closed', socket: this, ending })
  }
}

/** Milliseconds between looks at the sockets that are due: those of one moment are looked at together. */
const TOGETHER = 50

/**
 * Finds sockets from which nothing has come for some time: they get a ping, and after `idleTimeout` they are over.
 *
 * Each is looked at in equal intervals, so that they are due in the order in which they were looked at last, and
 * nothing is done for a message that comes but to note that one came.
 */
export class Liveness {
  /** Those that are due, in this order. */
  #first: CarrierSocket | undefined = undefined
  #last: CarrierSocket | undefined = undefined
  #timer: NodeJS.Timeout | undefined
  readonly #interval: number

  /**
   * @param pingInterval milliseconds; 0: none are sent
   * @param idleTimeout milliseconds; 0: for ever
   * @param silent what is done about a socket from which nothing has come for `idleTimeout`
   */
  constructor(
    readonly pingInterval: number, readonly idleTimeout: number, readonly silent: (socket: CarrierSocket) => void,
  ) {
    this.#interval = Math.ceil(Math.min(pingInterval || Infinity, idleTimeout / 2 || Infinity))
  }

  add(socket: CarrierSocket): void {
    if (this.#interval === Infinity) return
    const now = wholeNow()
    socket.heardAt = now
    socket.heard = false
    this.#append(socket, now + this.#interval)
    this.#arm(this.#interval)
  }

  delete(socket: CarrierSocket): void {
    if (socket.due === 0) return
    this.#remove(socket)
    if (this.#first !== undefined) return
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #append(socket: CarrierSocket, due: number): void {
    socket.due = due
    socket.dueBefore = this.#last
    if (this.#last === undefined) this.#first = socket
    else this.#last.dueAfter = socket
    this.#last = socket
  }

  #remove(socket: CarrierSocket): void {
    const { dueBefore, dueAfter } = socket
    if (dueBefore === undefined) this.#first = dueAfter
    else dueBefore.dueAfter = dueAfter
    if (dueAfter === undefined) this.#last = dueBefore
    else dueAfter.dueBefore = dueBefore
    socket.due = 0
    socket.dueBefore = undefined
    socket.dueAfter = undefined
  }

  #arm(msecs: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#look()
    }, Math.max(TOGETHER, msecs))
  }

  #look(): void {
    const now = wholeNow()
    for (let socket = this.#first; socket !== undefined; socket = this.#first) {
      if (socket.due > now) {
        this.#arm(socket.due - now)
        return
      }
      this.#remove(socket)
      if (socket.closed) continue
      this.#append(socket, now + this.#interval)
      this.#lookAt(socket, now)
    }
  }

  #lookAt(socket: CarrierSocket, now: number): void {
    if (socket.moved() || socket.heard) {
      socket.heard = false
      socket.heardAt = now
      return
    }
    const silence = now - socket.heardAt
    if (this.idleTimeout > 0 && silence >= this.idleTimeout) this.silent(socket)
    else if (this.pingInterval > 0) socket.ping()
  }
}

/** Milliseconds. */
function wholeNow(): number {
  return Math.round(performance.now())
}

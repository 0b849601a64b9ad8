/**
 * The carrier over NATS: packets between nodes as messages of a server that they all are connected to.
 *
 * Owns the connection and the subjects. With a prefix P, a node N
 *
 * - sends to all others on `P.all.N`, and to one of them on `P.to.OTHER.N`: so who sent a packet is in its subject,
 *   and the server's permissions see to it that nobody sends as another one;
 * - listens to `P.all.*` and `P.to.N.*`;
 * - hears on `P.gone.N.OTHER`, from the server itself, that nobody listens to `P.to.OTHER.N`: the node is gone.
 *
 * The client library keeps or drops what is published while there is no connection; here it is refused, so that the
 * core knows that it has not gone. How much waits for the server is known by its answers to pings: what was sent
 * before one has arrived there.
 *
 * Invariants: nothing is published but while the link is up; the listener is told of up and down by turns, and of
 * nothing after `stop` or `onFailed`.
 */
import type * as Nats from '@nats-io/transport-node'
import type { Authenticator, ConnectionOptions, Msg, NatsConnection, Status } from '@nats-io/transport-node'
import { asError, isError } from '../support/errors.js'
import { log } from '../support/log.js'
import { clearTimeout, setTimeout } from '../support/real-time.js'
import type { Carrier, CarrierListener } from './carrier.js'

/**
 * What a node or a prefix may be called: what stands as one part of a subject, with no dot, wildcard or space, and is
 * short enough to stand in several.
 */
export const NATS_NAME = /^[A-Za-z0-9_-]{1,64}$/

/** Who the node is to the server: one of these. */
export interface NatsAuth {
  /** A user's name. */
  readonly user?: string | undefined
  /** That user's password. */
  readonly pass?: string | undefined
  /** A token. */
  readonly token?: string | undefined
  /** The seed of an nkey: `SU...`. */
  readonly nkey?: string | undefined
  /** The content of a .creds file. */
  readonly creds?: string | Uint8Array | undefined
}

/** TLS to the server, which has to be asked for unless the server demands it. */
export interface NatsTls {
  /** PEM: who may have signed the server's certificate. Default: whom Node trusts. */
  readonly ca?: string | undefined
  /** PEM: this node's own certificate. */
  readonly cert?: string | undefined
  /** PEM: the key of that. */
  readonly key?: string | undefined
  /** TLS before the server's first word, as `handshake_first` in its configuration wants it. Default false. */
  readonly handshakeFirst?: boolean | undefined
}

/** What the carrier is to do; checked already. */
export interface NatsSettings {
  readonly servers: readonly string[]
  readonly prefix: string
  readonly node: string
  readonly auth: NatsAuth
  readonly tls: NatsTls | undefined
  /** Nodes that are not heard. */
  readonly except?: ((node: string) => boolean) | undefined
}

/** What is used of the library. */
type NatsModule = Pick<
  typeof Nats,
  'connect' | 'credsAuthenticator' | 'nkeyAuthenticator' | 'tokenAuthenticator' | 'usernamePasswordAuthenticator'
>

/** Milliseconds. A connection of which nothing is heard for three of them is given up. */
const PING_INTERVAL = 5000
const PINGS_OUT = 2
/** Milliseconds until an attempt to connect is given up. */
const CONNECT_TIMEOUT = 5000
/** Milliseconds between attempts at one server, and how much of that is left to chance besides. */
const RECONNECT_WAIT = 250
const RECONNECT_JITTER = 500
/** Milliseconds that what was sent has to go before the connection is closed. */
const DRAIN_TIMEOUT = 2000
/** The longest packet: more helps nobody, and holds up what comes after it. What servers allow by default. */
const PACKET_MAX = 1024 * 1024
const PACKET_MIN = 1024
/** Bytes after which the server is asked whether it has them, and milliseconds until it is asked for fewer. */
const ASK_AFTER = 64 * 1024
const ASK_LATER = 50

/** So often in a row a server may refuse who was let in before: one that has just started may not know all yet. */
const REFUSALS_MAX = 2

/** What the server says when nobody listens. */
const NO_RESPONDERS = 503
/** Milliseconds after a connection has come back in which the others may be on their way back, too. */
const OTHERS_RETURN = 2000

/** Errors of the first connection that no waiting mends. */
const FATAL = new Set([
  'AuthorizationError', 'UserAuthenticationExpiredError', 'PermissionViolationError', 'InvalidArgumentError',
])
const FATAL_TLS = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA)/

/** The library. @throws Error that says how to get it */
async function loadNats(): Promise<NatsModule> {
  // A name that compilers and bundlers don't follow: the package is only there for those who use it.
  const name = '@nats-io/transport-node'
  try {
    const found = await import(name) as NatsModule & { default?: NatsModule }
    return typeof found.connect === 'function' ? found : found.default as NatsModule
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const missing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND'
    const why = missing ? 'it is not installed (npm install @nats-io/transport-node)'
      : asError(error, 'loading it failed').message.split('\n')[0]
    throw new Error(`natsRelay needs the package ${name}: ${why}`, { cause: error })
  }
}

/** An error of the library's with a code, and what it is about. */
function natsError(error: unknown, what: string): Error & { code: string } {
  const cause = asError(error, 'NATS')
  const inner = isError(cause.cause) ? cause.cause : undefined
  const code = (cause as NodeJS.ErrnoException).code ?? (inner as NodeJS.ErrnoException | undefined)?.code
    ?? { AuthorizationError: 'EACCES', PermissionViolationError: 'EACCES', TimeoutError: 'ETIMEDOUT' }[cause.name]
    ?? 'ENATS'
  return Object.assign(new Error(`${what}: ${cause.message}`, { cause }), { code })
}

/**
 * What the server says when it has waited too long to hear who this node is: as the machine is busy, the process was
 * stopped, or the way is slow. For the library that is an error of authorization.
 */
const TOO_LATE = /authentication timeout/i

function isFatal(error: unknown): boolean {
  for (let here: unknown = error, n = 0; isError(here) && n < 5; here = here.cause, n++) {
    if (TOO_LATE.test(here.message)) return false
    if (FATAL.has(here.name) || FATAL_TLS.test(String((here as NodeJS.ErrnoException).code))) return true
  }
  return false
}

/** Numbers of a carrier. */
export interface NatsMetrics {
  /** Whether there is a connection. */
  readonly up: boolean
  /** How often the connection was had again after it was lost. */
  readonly reconnects: number
  /** Bytes that the server has not confirmed. */
  readonly queued: number
  /** Packets that were given to the client library. */
  readonly packetsSent: number
  /** Bytes in them. */
  readonly bytesSent: number
  /** Packets of other nodes that came. */
  readonly packetsReceived: number
  /** Bytes in them. */
  readonly bytesReceived: number
  /** Packets that were refused, as there was no connection or they were too long for this server. */
  readonly refused: number
  /** How often the server has given this node up as it took too little of what came. */
  readonly slowConsumer: number
}

export class NatsCarrier implements Carrier {
  readonly #settings: NatsSettings
  readonly #toAll: string
  readonly #toOne: string
  readonly #gone: string
  #othersReturnUntil = 0
  /** How often in a row the server has refused this node since it was let in. */
  #refusals = 0
  #listener: CarrierListener | undefined
  #connection: NatsConnection | undefined
  #up = false
  #retry: NodeJS.Timeout | undefined
  /** Bytes to each node, or to all, since the server was asked last. */
  #sent = new Map<string | undefined, number>()
  #sentBytes = 0
  /** Those of which it was asked; undefined when there is no question. */
  #asked: Map<string | undefined, number> | undefined
  #askLater: NodeJS.Timeout | undefined
  readonly #counts = {
    reconnects: 0, packetsSent: 0, bytesSent: 0, packetsReceived: 0, bytesReceived: 0, refused: 0, slowConsumer: 0,
  }

  constructor(settings: NatsSettings) {
    const { prefix, node } = settings
    this.#settings = settings
    this.#toAll = `${prefix}.all.`
    this.#toOne = `${prefix}.to.`
    this.#gone = `${prefix}.gone.${node}.`
  }

  get maxPacket(): number {
    return Math.min(PACKET_MAX, this.#connection?.info?.max_payload ?? PACKET_MAX)
  }

  get metrics(): NatsMetrics {
    let queued = this.#sentBytes
    for (const bytes of this.#asked?.values() ?? []) queued += bytes
    return { up: this.#up, queued, ...this.#counts }
  }

  start(listener: CarrierListener): void {
    this.#listener = listener
    void this.#open()
  }

  send(to: string | undefined, packet: Uint8Array<ArrayBuffer>): void {
    const connection = this.#connection
    if (!this.#up || connection === undefined || packet.length > this.maxPacket) {
      this.#refuse(packet.length)
      return
    }
    const { node } = this.#settings
    try {
      if (to === undefined) connection.publish(this.#toAll + node, packet)
      else connection.publish(`${this.#toOne}${to}.${node}`, packet, { reply: this.#gone + to })
    } catch (error) {
      // It is closing, which is told next.
      log('debug', `relay ${node}: NATS took no packet`, { error })
      this.#counts.refused++
      return
    }
    this.#counts.packetsSent++
    this.#counts.bytesSent += packet.length
    this.#sent.set(to, (this.#sent.get(to) ?? 0) + packet.length)
    this.#sentBytes += packet.length
    if (this.#asked !== undefined) return
    if (this.#sentBytes >= ASK_AFTER) this.#ask(connection)
    else this.#askLater ??= setTimeout(() => { this.#ask(connection) }, ASK_LATER).unref()
  }

  queued(to: string | undefined): number {
    return (this.#sent.get(to) ?? 0) + (this.#asked?.get(to) ?? 0)
  }

  stop(): void {
    const wasUp = this.#up
    this.#listener = undefined
    this.#up = false
    clearTimeout(this.#retry)
    clearTimeout(this.#askLater)
    const connection = this.#connection
    this.#connection = undefined
    if (connection !== undefined) void close(connection, wasUp ? DRAIN_TIMEOUT : 0)
  }

  #refuse(length: number): void {
    this.#counts.refused++
    if (!this.#up) return
    log('warning', `relay ${this.#settings.node}: the NATS server takes no packets of this length`, {
      length, maxPayload: this.maxPacket,
    })
  }

  /** Asks whether the server has what was sent until now. */
  #ask(connection: NatsConnection): void {
    clearTimeout(this.#askLater)
    this.#askLater = undefined
    if (this.#asked !== undefined || this.#sentBytes === 0 || !this.#up) return
    this.#asked = this.#sent
    this.#sent = new Map()
    this.#sentBytes = 0
    const { reconnects } = this.#counts
    connection.flush().then(
      () => { if (this.#up && this.#counts.reconnects === reconnects) this.#answered(connection) },
      () => undefined, // the connection is lost, and all that waited with it
    )
  }

  #answered(connection: NatsConnection): void {
    this.#asked = undefined
    if (this.#sentBytes >= ASK_AFTER) this.#ask(connection)
    else if (this.#sentBytes > 0) this.#askLater ??= setTimeout(() => { this.#ask(connection) }, ASK_LATER).unref()
  }

  /** Connects; tries again until it can, or until it is known that it never will. */
  async #open(): Promise<void> {
    const { servers, node } = this.#settings
    const where = `natsRelay ${node}: ${servers.join(', ')}`
    try {
      const nats = await loadNats()
      if (this.#listener === undefined) return
      const connection = await nats.connect(this.#options(nats))
      if (this.#listener === undefined) {
        void close(connection, 0)
        return
      }
      this.#connection = connection
      void this.#watch(connection)
      void connection.closed().then((error) => {
        if (this.#connection !== connection) return
        this.#fail(natsError(error ?? new Error('the connection was closed'), where))
      })
      this.#subscribe(connection)
      // What the server has against a subscription it says before it answers this.
      await connection.flush()
      if (this.#connection === connection) this.#cameUp(connection)
    } catch (error) {
      if (this.#listener === undefined) return
      if (this.#connection === undefined && isFatal(error)) {
        this.#fail(natsError(error, where))
        return
      }
      // A connection that was had comes back by itself.
      if (this.#connection !== undefined) return
      if (isMissing(error)) {
        this.#fail(error as Error)
        return
      }
      log('warning', `relay ${node} can't reach NATS, and tries again`, { reason: natsError(error, where).message })
      this.#retry = setTimeout(() => void this.#open(), RECONNECT_WAIT + Math.random() * RECONNECT_JITTER)
    }
  }

  #options(nats: NatsModule): ConnectionOptions {
    const { servers, node, auth, tls } = this.#settings
    const authenticator = authenticatorOf(nats, auth)
    return {
      servers: [...servers],
      name: `marketplace ${node}`,
      noEcho: true,
      pingInterval: PING_INTERVAL,
      maxPingOut: PINGS_OUT,
      maxReconnectAttempts: -1,
      // The library would end the connection at the second such error, a time-out too, and however long ago the first
      // one was. What ends it is decided here.
      ignoreAuthErrorAbort: true,
      reconnectTimeWait: RECONNECT_WAIT,
      reconnectJitter: RECONNECT_JITTER,
      reconnectJitterTLS: RECONNECT_JITTER,
      timeout: CONNECT_TIMEOUT,
      ...(authenticator === undefined ? {} : { authenticator }),
      ...(tls === undefined ? {} : { tls: definedIn(tls) }),
    }
  }

  #subscribe(connection: NatsConnection): void {
    const { node, except } = this.#settings
    const hear = (subject: string, take: (from: string, message: Msg) => void): void => {
      const at = subject.length - 1
      connection.subscribe(subject, {
        callback: (error, message) => {
          if (error !== null) {
            this.#fail(natsError(error, `natsRelay ${node}: may not listen to ${subject}`))
            return
          }
          // The library has no place for an exception: it would read no more.
          try {
            const from = message.subject.slice(at)
            // Anybody may publish under a name that no node can have. The subjects of an answer could be longer than
            // the server takes: it would close this node's connection for it, each time.
            if (!NATS_NAME.test(from)) return
            // Another one with this node's name has to be found out in any case.
            if (from === node || except?.(from) !== true) take(from, message)
          } catch (error) {
            log('error', `relay ${node} failed on a packet`, { error })
          }
        },
      })
    }
    const packet = (from: string, { data }: Msg): void => {
      this.#counts.packetsReceived++
      this.#counts.bytesReceived += data.length
      this.#listener?.onMessage(from, data)
    }
    hear(`${this.#toAll}*`, packet)
    hear(`${this.#toOne}${node}.*`, packet)
    hear(`${this.#gone}*`, (other, { headers, data }) => {
      // Before it is up it has sent nothing that nobody could have listened to; when a server comes back, not all are
      // there again at once.
      const knows = this.#up && performance.now() >= this.#othersReturnUntil
      if (knows && data.length === 0 && headers?.code === NO_RESPONDERS) this.#listener?.onGone(other)
    })
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (this.#connection !== connection) return
      this.#status(connection, status)
    }
  }

  #status(connection: NatsConnection, status: Status): void {
    const { node } = this.#settings
    switch (status.type) {
      case 'disconnect':
        this.#wentDown(natsError(new Error('the connection is lost'), `natsRelay ${node}: ${status.server}`))
        return
      case 'reconnect':
        this.#refusals = 0
        this.#counts.reconnects++
        void this.#reconnected(connection, this.#counts.reconnects)
        return
      case 'error': {
        const { error } = status
        if (/slow consumer/i.test(error.message)) this.#counts.slowConsumer++
        if (error.name === 'PermissionViolationError') {
          // Told for each packet that it concerns; without the right to send a node is none.
          this.#fail(natsError(error, `natsRelay ${node}: the server forbids it`))
          return
        }
        if (isFatal(error) && ++this.#refusals >= REFUSALS_MAX) {
          this.#fail(natsError(error, `natsRelay ${node}: ${connection.getServer()}`))
          return
        }
        log('warning', `relay ${node}: the NATS server says`, { error: error.message })
        return
      }
      case 'staleConnection':
        log('warning', `relay ${node}: nothing is heard of the NATS server`)
        return
      case 'ldm':
        log('info', `relay ${node}: the NATS server is about to go`, { server: status.server })
        return
      default:
        log('debug', `relay ${node}: NATS: ${status.type}`)
    }
  }

  /** The library has subscribed again; the server has done so when it answers. */
  async #reconnected(connection: NatsConnection, reconnects: number): Promise<void> {
    try {
      await connection.flush()
    } catch {
      return // lost again
    }
    if (this.#connection !== connection || this.#counts.reconnects !== reconnects) return
    this.#othersReturnUntil = performance.now() + OTHERS_RETURN
    this.#cameUp(connection)
  }

  #cameUp(connection: NatsConnection): void {
    if (this.#up || this.#listener === undefined) return
    if (this.maxPacket < PACKET_MIN) {
      const { node } = this.#settings
      this.#fail(natsError(
        new Error(`its max_payload must be ${PACKET_MIN} or more; it is ${this.maxPacket}`),
        `natsRelay ${node}: ${connection.getServer()}`,
      ))
      return
    }
    this.#up = true
    this.#listener.onUp()
  }

  #wentDown(error: Error): void {
    this.#sent.clear()
    this.#sentBytes = 0
    this.#asked = undefined
    clearTimeout(this.#askLater)
    this.#askLater = undefined
    if (!this.#up) return
    this.#up = false
    log('warning', `relay ${this.#settings.node} has lost NATS, and tries to have it again`)
    this.#listener?.onDown(error)
  }

  #fail(error: Error): void {
    const listener = this.#listener
    this.stop()
    listener?.onFailed(error)
  }
}

function isMissing(error: unknown): boolean {
  return isError(error) && error.message.startsWith('natsRelay needs the package')
}

/** Lets what was sent go first, if it can within so many milliseconds. */
async function close(connection: NatsConnection, within: number): Promise<void> {
  if (connection.isClosed()) return
  if (within === 0) {
    await connection.close().catch(() => undefined)
    return
  }
  const late = setTimeout(() => { connection.close().catch(() => undefined) }, within)
  try {
    await connection.drain()
  } catch {
    await connection.close().catch(() => undefined)
  } finally {
    clearTimeout(late)
  }
}

function authenticatorOf(nats: NatsModule, auth: NatsAuth): Authenticator | undefined {
  const bytes = (text: string | Uint8Array): Uint8Array => typeof text === 'string' ? Buffer.from(text) : text
  if (auth.creds !== undefined) return nats.credsAuthenticator(bytes(auth.creds))
  if (auth.nkey !== undefined) return nats.nkeyAuthenticator(bytes(auth.nkey))
  if (auth.token !== undefined) return nats.tokenAuthenticator(auth.token)
  if (auth.user !== undefined) return nats.usernamePasswordAuthenticator(auth.user, auth.pass)
  return undefined
}

/** The options that are given. */
function definedIn(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

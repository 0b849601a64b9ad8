/**
 * The process of the WebSocket driver: turns demand in the VM into ports and connections, and WebSockets into presence.
 *
 * It works as the TCP driver does: it watches, with interest `everything`, who wants to listen and who wants to
 * connect; keeps one set of carriers while there is any socket; and hands each event of a socket to its conversation.
 * What the carriers report in one turn of the event loop is handled together.
 *
 * Owns ports, paths, outbound connections and all sockets. Invariants: a port is open while somebody wants one of its
 * paths; each socket is counted once, from when it is reported to when its end is.
 */
import { constants } from 'node:os'
import { endpoint } from '../dsl/index.js'
import { atOnce } from '../support/answers.js'
import { wrong } from '../support/checks.js'
import { argumentError, asError, socketError } from '../support/errors.js'
import { log } from '../support/log.js'
import { _, isGround, mapKey } from '../topic/index.js'
import {
  deleteEndpoint, sendMessage, type ActionTree, type EventSink, type Shutdown,
} from '../vm/index.js'
import { CommonTransport, type Fired, type Opened } from './common-transport.js'
import { heardWsAddress, heardWsError } from './heard-records.js'
import { port as checkPort } from './record-checks.js'
import { Admissions } from './web-socket-admission.js'
import {
  CarrierSocket, Outlets, type Carrier, type CarrierEvent, type CarrierServer, type Refusal, type ServerHooks,
} from './web-socket-carrier.js'
import { WsConversation, type WsConversationHost } from './web-socket-conversation.js'
import { HttpRequests } from './web-socket-http.js'
import { checkConnect, type WebSocketSettings } from './web-socket-options.js'
import {
  wsAddress, wsChannel, wsConnected, wsError, wsHandle, wsListener, wsListening, wsPath, wsPeer, wsUrl,
  type WsAddress, type WsAnswer, type WsChannel, type WsHandle, type WsListener,
} from './web-socket-records.js'
import { loadUws, UwsCarrier } from './web-socket-uws.js'
import { dial, loadWs, sharedOf, WsCarrier, type WsModules, type WsShared, type WsSocket } from './web-socket-ws.js'

/** Of all connections of this thread: no two are ever called the same. */
let peers = 0

/** What somebody listens on: a path of a port. */
interface Listener {
  readonly local: WsListener
  readonly server: Server
  demand: number
  /** Its presence was told. */
  told: boolean
}

/** A port. */
interface Server {
  readonly port: number
  readonly paths: Map<string, Listener>
  /** The length of the longest path that was ever here and is for all below it. */
  deepest: number
  carried: CarrierServer | undefined
  /** It is wanted, and not closed. */
  active: boolean
  /** Where it listens, once it does. */
  where: { readonly host: string, readonly port: number } | undefined
}

/** An outbound connection that somebody wants. */
class Handle {
  demand = 0
  /** Whether there is, or soon will be, a connection. */
  active = false
  socket: CarrierSocket | undefined = undefined
  /** Of the endpoint that tells what the server has answered. */
  readonly told = Symbol('connected')

  constructor(readonly key: unknown, readonly local: WsHandle, readonly remote: WsAddress) {}
}

function ends({ source, destination }: WsChannel): [local: unknown, remote: unknown] {
  return wsListener.is(destination) || wsHandle.is(destination) ? [destination, source] : [source, destination]
}

/** Where a topic asks to listen: it names a listener, and leaves the remote end open. */
function wantedListener(topic: WsChannel): WsListener | undefined {
  const [local, remote] = ends(topic)
  return wsListener.is(local) && isGround(local) && !isGround(remote) ? local : undefined
}

/** The connection that a topic asks for: it names both a handle and an address. */
function wantedConnection(topic: WsChannel): [WsHandle, WsAddress] | undefined {
  const [local, remote] = ends(topic)
  return wsHandle.is(local) && wsAddress.is(remote) && isGround(local) && isGround(remote) ? [local, remote] : undefined
}

function tellFailed(local: WsListener | WsHandle, remote: WsAddress | undefined, error: Error): ActionTree {
  log('warning', error.message, { local, remote, reason: error })
  return sendMessage(heardWsError(local, remote, error))
}

function hostInUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

/** Milliseconds that peers have to say that they close, too, when the driver is stopped. */
const STOPPING = 1_000

/** The carriers, while there is any socket, and all sockets. */
class Sockets {
  readonly all = new Set<CarrierSocket>()
  readonly outlets: Outlets
  readonly ws: WsShared
  modules: Promise<WsModules> | undefined
  #carrier: Promise<Carrier> | undefined
  #batch: CarrierEvent[] = []
  #scheduled = false
  #over: (() => void) | undefined

  constructor(
    readonly settings: WebSocketSettings, readonly sink: EventSink<Fired<CarrierEvent>>,
    readonly admissions: Admissions,
  ) {
    this.outlets = new Outlets((event) => { this.#report(event) }, (callback) => { sink.whenIdle(callback) })
    this.outlets.reportWrites = settings.credit
    this.ws = sharedOf(this.outlets, settings)
  }

  /** Of those that have one. */
  get conversations(): WsConversation[] {
    return [...this.all].map(({ context }) => context).filter((context) => context instanceof WsConversation)
  }

  /** The library `ws`, for connections that go out. */
  load(): Promise<WsModules> {
    return this.modules ??= loadWs()
  }

  /** The carrier of listeners. */
  carrier(): Promise<Carrier> {
    return this.#carrier ??= this.#choose()
  }

  async #choose(): Promise<Carrier> {
    const { carrier } = this.settings
    if (carrier !== 'ws') {
      const uws = await loadUws()
      if (!(uws instanceof Error)) return new UwsCarrier(uws, this.outlets, this.settings)
      if (carrier === 'uws') throw uws
      log('info', 'WebSockets are carried by ws', { reason: uws.message })
    }
    return new WsCarrier(this.ws, await this.load())
  }

  readonly report = (event: CarrierEvent): void => { this.#report(event) }

  #report(event: CarrierEvent): void {
    if (event.kind === 'accepted') {
      this.all.add(event.socket)
      event.socket.countedFor = this.admissions.entered(event.request.address)
    } else if (event.kind === 'closed') {
      this.all.delete(event.socket)
      if (event.socket.countedFor !== undefined) this.admissions.left(event.socket.countedFor)
      if (this.all.size === 0) this.#over?.()
    }
    this.#batch.push(event)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#deliver)
  }

  readonly #deliver = (): void => {
    this.#scheduled = false
    const batch = this.#batch
    this.#batch = []
    this.sink.fire(batch)
    this.outlets.seen()
  }

  /** Ends all. Who is connected is told that the server goes away. */
  async close(): Promise<void> {
    for (const socket of this.all) {
      socket.close(1001, '')
      socket.flush()
    }
    if (this.all.size > 0) {
      const late = setTimeout(() => { this.abort() }, Math.min(STOPPING, this.settings.closeTimeout))
      await new Promise<void>((resolve) => { this.#over = resolve })
      clearTimeout(late)
    }
    this.outlets.end()
  }

  abort(): void {
    for (const socket of this.all) socket.abort()
  }
}

export class WebSocketDriver implements WsConversationHost {
  readonly settings: WebSocketSettings
  floods = false
  private sum = 0
  private readonly servers = new Map<number, Server>()
  private readonly handles = new Map<unknown, Handle>()
  private readonly admissions: Admissions
  private readonly http: HttpRequests
  private fresh: WsConversation[] = []
  private idleWanted = false
  /** No new listener is opened any more. */
  private closing = false
  private readonly common = new CommonTransport<Sockets, CarrierEvent>(
    'web-socket', (sink) => this.openSockets(sink), (events) => this.handle(events),
  )

  constructor(settings: WebSocketSettings) {
    this.settings = settings
    this.admissions = new Admissions(settings)
    this.http = new HttpRequests(settings, (deed) => { this.common.sink?.fire(deed) })
  }

  boot(): ActionTree {
    const everything = { interest: 'everything' as const }
    const listening = {
      ...everything,
      onPresence: (topic: WsChannel) => this.listenerWanted(topic),
      onAbsence: (topic: WsChannel) => this.listenerUnwanted(topic),
    }
    const connecting = {
      ...everything,
      onPresence: (topic: WsChannel) => this.handleWanted(topic),
      onAbsence: (topic: WsChannel) => this.handleUnwanted(topic),
    }
    return [
      endpoint.publisher(wsError(_, _, _)),
      this.http.boot(),
      endpoint.publisher(wsChannel(_, wsListener(_, _), _), listening),
      endpoint.subscriber(wsChannel(wsListener(_, _), _, _), listening),
      endpoint.publisher(wsChannel(wsAddress(_), wsHandle(_), _), connecting),
      endpoint.subscriber(wsChannel(wsHandle(_), wsAddress(_), _), connecting),
    ]
  }

  // Listeners

  private listenerWanted(topic: WsChannel): ActionTree {
    const local = wantedListener(topic)
    if (local === undefined) return undefined
    const { port, path } = local
    const why = wrong(checkPort, 'wsListener', 'port', port) ?? wrong(wsPath, 'wsListener', 'path', path)
    if (why !== undefined) return tellFailed(local, undefined, why)
    if (this.settings.origins === undefined) {
      const expected = "said before anything is listened on: '*', a list of origins, or a function"
      return tellFailed(local, undefined, argumentError('webSocket', 'options.origins', expected, undefined))
    }
    let server = this.servers.get(port)
    if (server === undefined) {
      server = { port, paths: new Map(), deepest: 0, carried: undefined, active: false, where: undefined }
      this.servers.set(port, server)
    }
    let listener = server.paths.get(path)
    if (listener === undefined) {
      listener = { local, server, demand: 0, told: false }
      server.paths.set(path, listener)
      if (path.endsWith('/*')) server.deepest = Math.max(server.deepest, path.length)
    }
    listener.demand++
    if (this.closing) return undefined
    return server.active ? this.tellListening(listener) : this.listen(server)
  }

  private listen(server: Server): ActionTree {
    server.active = true
    const failed = (error: Error): ActionTree => this.listenFailed(server, error)
    return this.common.take((sockets) => {
      if (!server.active) return
      const placeholder: CarrierServer = { context: server, close: () => undefined, abort: () => undefined }
      server.carried = placeholder
      const isWanted = (): boolean => server.active && server.carried === placeholder
      sockets.carrier().then((carrier) => {
        if (!isWanted()) return
        const carried = carrier.listen(server.port, this.hooksOf(server, isWanted), placeholder)
        placeholder.close = () => { carried.close() }
        placeholder.abort = () => { carried.abort() }
      }).catch((error: unknown) => {
        const reason = asError(error, 'a WebSocket can not be listened for')
        sockets.report({ kind: 'failed', server: placeholder, error: reason })
      })
    }, failed)
  }

  private hooksOf(server: Server, isWanted: () => boolean): ServerHooks {
    const listenerFor = (path: string): Listener | undefined => {
      const exact = server.paths.get(path)
      if (exact !== undefined || path.endsWith('*')) return path.endsWith('*') ? undefined : exact
      // No deeper than there can be any: a path of nothing but slashes costs a stranger little, and would cost us much.
      for (let at = path.lastIndexOf('/', server.deepest - 2); at >= 0; at = path.lastIndexOf('/', at - 1)) {
        const below = server.paths.get(`${path.slice(0, at + 1)}*`)
        if (below !== undefined) return below
        if (at === 0) break
      }
      return undefined
    }
    const gone: Refusal = { accepted: false, status: 503, text: 'nobody listens any more' }
    return {
      admit: (request) => isWanted() ? this.admissions.admit(request, listenerFor(request.path)) : gone,
      objection: ({ owner, request }) => {
        const isThere = isWanted() && server.paths.get((owner as Listener).local.path) === owner
        return isThere ? this.admissions.full(request.address) : gone
      },
      request: (request, response) => { this.http.take(request, response) },
    }
  }

  private listenFailed(server: Server, error: Error): ActionTree {
    server.active = false
    server.carried = undefined
    return [...server.paths.values()].map(({ local }) => tellFailed(local, undefined, error))
  }

  private listening(server: Server, host: string, port: number): ActionTree {
    log('info', 'listening', { address: host, port })
    server.where = { host, port }
    return [...server.paths.values()].map((listener) => this.tellListening(listener))
  }

  private tellListening(listener: Listener): ActionTree {
    const { where } = listener.server
    if (where === undefined || listener.told) return undefined
    listener.told = true
    const { path } = listener.local
    const scheme = this.settings.tls === undefined ? 'ws' : 'wss'
    const url = `${scheme}://${hostInUrl(where.host)}:${where.port}${path.endsWith('/*') ? path.slice(0, -1) : path}`
    return endpoint.publisher(wsListening(listener.local, heardWsAddress(url)), { name: listener })
  }

  private listenerUnwanted(topic: WsChannel): ActionTree {
    const local = wantedListener(topic)
    const server = local === undefined ? undefined : this.servers.get(local.port)
    const listener = local === undefined ? undefined : server?.paths.get(local.path)
    if (server === undefined || listener === undefined || --listener.demand > 0) return undefined
    server.paths.delete(listener.local.path)
    const untold = listener.told && deleteEndpoint(listener)
    if (server.paths.size > 0) return untold
    this.servers.delete(server.port)
    return [untold, this.closeServer(server)]
  }

  private closeServer(server: Server): ActionTree {
    if (!server.active) return undefined
    server.active = false
    server.where = undefined
    server.carried?.close()
    server.carried = undefined
    return this.common.letGo()
  }

  // Connections that go out

  private handleWanted(topic: WsChannel): ActionTree {
    const wanted = wantedConnection(topic)
    if (wanted === undefined) return undefined
    const key = mapKey(wanted)
    let handle = this.handles.get(key)
    if (handle === undefined) {
      handle = new Handle(key, ...wanted)
      this.handles.set(key, handle)
    }
    handle.demand++
    return handle.active ? undefined : this.connect(handle)
  }

  private connect(handle: Handle): ActionTree {
    const { local, remote } = handle
    const why = wrong(wsUrl, 'wsAddress', 'url', remote.url)
    if (why !== undefined) return tellFailed(local, remote, why)
    handle.active = true
    handle.socket = undefined
    return this.common.take((sockets) => {
      sockets.load().then((modules) => {
        if (!handle.active) {
          sockets.sink.fire(() => this.common.letGo())
          return
        }
        const { connect } = this.settings
        const asked = typeof connect === 'function'
          ? atOnce('webSocket', 'options.connect()', connect(local, remote)) : connect ?? {}
        checkConnect('webSocket', 'options.connect', asked)
        const { protocols = [], headers = {}, origin, ca, rejectUnauthorized = true } = asked
        const socket: WsSocket = dial(
          sockets.ws, modules, remote.url, { protocols, headers, origin, ca, rejectUnauthorized },
        )
        handle.socket = socket
        socket.context = handle
        sockets.all.add(socket)
      }).catch((error: unknown) => {
        sockets.sink.fire(() => this.connectFailed(handle, asError(error, 'a WebSocket can not be connected')))
      })
    }, (error) => {
      handle.active = false
      return tellFailed(local, remote, error)
    })
  }

  private handleUnwanted(topic: WsChannel): ActionTree {
    const wanted = wantedConnection(topic)
    const handle = wanted === undefined ? undefined : this.handles.get(mapKey(wanted))
    if (handle === undefined || --handle.demand > 0) return undefined
    this.handles.delete(handle.key)
    const { socket } = handle
    handle.active &&= socket !== undefined
    // A conversation closes by itself, as its peers go; an attempt to connect is given up here.
    if (socket?.context === handle) socket.abort()
    return undefined
  }

  private connected(socket: CarrierSocket, answer: WsAnswer): ActionTree {
    const handle = socket.context as Handle
    if (handle.demand <= 0) {
      // Given up when this was on its way.
      socket.abort()
      return undefined
    }
    const conversation = this.converse(socket, new WsConversation(socket, handle.remote, handle.local, this))
    return [
      endpoint.publisher(wsConnected(handle.local, handle.remote, answer), { name: handle.told }),
      conversation.open(),
    ]
  }

  private connectFailed(handle: Handle, error: Error | undefined): ActionTree {
    handle.active = false
    handle.socket = undefined
    const isNews = error !== undefined && handle.demand > 0
    return [isNews && tellFailed(handle.local, handle.remote, error), this.common.letGo()]
  }

  // Sockets

  private openSockets(sink: EventSink<Fired<CarrierEvent>>): Opened<Sockets> {
    const sockets = new Sockets(this.settings, sink, this.admissions)
    this.idleWanted = false
    let drain: (() => void) | undefined
    sink.onShutdown((shutdown) => { drain = this.shutDown(sockets, shutdown) })
    return {
      transport: sockets,
      close: async () => {
        for (const server of this.servers.values()) server.carried?.abort()
        this.http.end()
        await sockets.close()
        drain?.()
      },
    }
  }

  /** Nothing new is taken on, and who is connected is told that the server goes away. @returns what counts the ended */
  private shutDown(sockets: Sockets, shutdown: Shutdown): () => void {
    let aborted = 0
    const before = sockets.all.size
    sockets.sink.fire(() => {
      this.closing = true
      const servers = [...this.servers.values()]
      const untold = servers.flatMap(({ paths }) =>
        [...paths.values()].map((listener) => listener.told && deleteEndpoint(listener)))
      const closed = servers.map((server) => this.closeServer(server))
      const ended = sockets.conversations.map((conversation) =>
        conversation.close({ code: 1001, reason: '', error: undefined }))
      return [untold, ended, closed]
    })
    const abort = (): void => {
      sockets.sink.fire(() => {
        aborted = sockets.all.size
        return [...sockets.all].map((socket) => {
          const { context } = socket
          const error = socketError(-constants.errno.ECONNABORTED, 'shutdown', socket.countedFor)
          if (context instanceof WsConversation) return context.aborted(error)
          socket.abort(error)
          return undefined
        })
      })
    }
    if (shutdown.signal.aborted) abort()
    else shutdown.signal.addEventListener('abort', abort, { once: true })
    return () => {
      shutdown.count('aborted', aborted)
      shutdown.count('ended', Math.max(0, before - aborted))
    }
  }

  private handle(events: readonly CarrierEvent[]): ActionTree {
    const actions: ActionTree[] = []
    for (const event of events) {
      const action = this.handleOne(event)
      if (action !== undefined) actions.push(action)
    }
    return actions
  }

  /** Each for itself: what is wrong with one of them is no reason to lose the others. */
  private handleOne(event: CarrierEvent): ActionTree {
    if (event.kind === 'listening' || event.kind === 'failed') return this.handleServer(event)
    const { socket } = event
    const { context } = socket
    try {
      if (context instanceof WsConversation) return context.handle(event)
      if (event.kind === 'accepted') return this.accepted(socket, event)
      if (event.kind === 'connected') return this.connected(socket, event.answer)
      if (event.kind !== 'closed') return undefined
      return context instanceof Handle ? this.connectFailed(context, event.ending.error) : this.common.letGo()
    } catch (error) {
      return this.broken(asError(error, 'an event of a WebSocket'), context, undefined)
    }
  }

  private handleServer(event: CarrierEvent & { readonly kind: 'listening' | 'failed' }): ActionTree {
    const server = event.server.context as Server
    if (!server.active || server.carried !== event.server) return undefined
    if (event.kind === 'listening') return this.listening(server, event.host, event.port)
    return [this.listenFailed(server, event.error), this.common.letGo()]
  }

  private accepted(socket: CarrierSocket, event: CarrierEvent & { readonly kind: 'accepted' }): ActionTree {
    const listener = event.owner as Listener
    this.common.keep()
    if (listener.demand === 0 || this.closing) {
      socket.close(1001, '')
      return undefined
    }
    const remote = wsPeer(++peers, event.request)
    return this.converse(socket, new WsConversation(socket, remote, listener.local, this)).open()
  }

  private converse(socket: CarrierSocket, conversation: WsConversation): WsConversation {
    socket.context = conversation
    this.fresh.push(conversation)
    if (!this.idleWanted) {
      this.idleWanted = true
      const { sink } = this.common
      sink?.whenIdle(() => { sink.fire(this.idle) })
    }
    return conversation
  }

  private readonly idle = (): ActionTree => {
    this.idleWanted = false
    const { fresh } = this
    this.fresh = []
    return fresh.map((conversation) => {
      try {
        return conversation.release()
      } catch (error) {
        return conversation.broken(asError(error, 'a conversation'))
      }
    })
  }

  left(conversation: WsConversation): ActionTree {
    const { local, remote } = conversation
    if (!wsHandle.is(local)) return undefined
    const handle = this.handles.get(mapKey([local, remote]))
    if (handle === undefined || handle.socket !== conversation.socket) return undefined
    handle.active = false
    handle.socket = undefined
    return deleteEndpoint(handle.told)
  }

  gone(): ActionTree {
    return this.common.letGo()
  }

  /** What waits to be sent, of all together, has changed. */
  queued(change: number): ActionTree {
    const { maxQueuedBytesTotal: most, pauses } = this.settings
    this.sum += change
    if (pauses) {
      const floods = this.floods ? this.sum > most / 2 : this.sum > most
      if (floods === this.floods) return undefined
      this.floods = floods
      return this.common.current?.conversations.map((conversation) => conversation.proceed())
    }
    if (this.sum <= most) return undefined
    // One after the other, those that take least of what they are sent.
    let left = this.sum
    const out: ActionTree[] = []
    for (const { context, queuedBytes } of this.common.current?.outlets.slowest() ?? []) {
      if (left <= most) break
      if (!(context instanceof WsConversation)) continue
      left -= queuedBytes
      out.push(context.overflow(`the most of all; maxQueuedBytesTotal is ${most}`))
    }
    return out
  }

  /** Something failed that should not have: whoever it was for hears of it, and nobody else. */
  broken(error: Error, name: unknown, subject: unknown): ActionTree {
    if (name === this.common.source) return this.common.failed(error)
    if (this.http.broken(error, name)) return undefined
    const conversation = name instanceof CarrierSocket ? name.context : name
    if (conversation instanceof WsConversation) return conversation.broken(error)
    if (wsChannel.is(subject)) {
      const connection = wantedConnection(subject)
      if (connection !== undefined) return tellFailed(...connection, error)
      const listener = wantedListener(subject)
      if (listener !== undefined) return tellFailed(listener, undefined, error)
    }
    log('warning', 'the WebSocket driver could not do what it was asked for', { reason: error, what: subject })
    return undefined
  }
}

/**
 * The process behind both TCP drivers: turns demand in the VM into sockets, and sockets into presence.
 *
 * It watches, with interest `everything`, who wants to listen and who wants to connect; keeps one
 * transport while there is any socket; and hands each event of a socket to its conversation. One
 * process does it all, so that what it sends keeps the order in which it happened.
 */
import { atOnce, logRejection } from '../support/answers.js'
import type { Checks } from '../support/checks.js'
import { asError } from '../support/errors.js'
import { log } from '../support/log.js'
import { _, isGround, mapKey } from '../topic/index.js'
import {
  addEndpoint,
  deleteEndpoint,
  Role,
  yieldTurn,
  type Action,
  type ActionTree,
  type EventSink,
} from '../vm/index.js'
import { endpoint } from '../dsl/index.js'
import { spawnDriver } from '../vm/action.js'
import { Label } from '../vm/label.js'
import { openTransport, transportForTls } from '../transport/choose.js'
import type { Decision } from '../transport/seam/admission.js'
import { missingInNode } from '../transport/seam/socket-options.js'
import { asTlsError, credentialsOf, type Credentials, type TlsStart, type TlsState } from '../transport/seam/tls.js'
import type {
  SocketAddress,
  SocketError,
  Transport,
  TransportConnection,
  TransportEvent,
} from '../transport/seam/transport.js'
import { CommonTransport, type Fired, type Opened } from './common-transport.js'
import { onePerVm } from './one-per-vm.js'
import { showSockets, type DriverSockets, type OpenListener, type OpenSocket } from './open-sockets.js'
import type { ProxyHeader } from './proxy-header.js'
import { ProxyIntro, ProxyRules, type Introduced } from './proxy-intro.js'
import {
  Conversation, Outbound, type ConversationHost, type ConversationOwner, type ConversationSettings,
} from './tcp-conversation.js'
import { defaultBuffers } from '../transport/seam/buffers-option.js'
import { delivery } from './tcp-delivery.js'
import { Drain } from './tcp-drain.js'
import { setRef, type Engine } from './tcp-engine.js'
import {
  localEnd, plainHost, remoteEnd, tellFailed, wantedConnection, wantedListener, whereTo, wrongRemote, type ListenerEnd,
  type RemoteEnd,
} from './tcp-demand.js'
import { TcpListeners, type Listener } from './tcp-listeners.js'
import { TcpNames } from './tcp-names.js'
import { heardTcpAddress } from './heard-records.js'
import { tellOfClient, tellOfServer, tellViews } from './tcp-socket-view.js'
import { checkTcpOptions, connectOptions, type LocalEnd, type TcpOptions } from './tcp-options.js'
import {
  fdAddress,
  fdListener,
  tcpAccepting,
  tcpAddress,
  tcpChannel,
  tcpError,
  tcpHandle,
  tcpLimits,
  tcpListener,
  tcpProxied,
  tcpSecured,
  unixAddress,
  unixListener,
  unixPeer,
  type TcpChannel,
  type TcpEnd,
  type TcpHandle,
  type UnixPeer,
} from './tcp-records.js'
import { SocketIntro } from './socket-intro.js'
import { TlsIntro, type Secured } from './tls-intro.js'
import { definite } from './wish.js'

/** Makes the conversation of one connection. */
export type MakeConversation = (...ends: ConstructorParameters<typeof Conversation>) => Conversation

/** @internal */
export function tcpDriver(
  call: string,
  options: TcpOptions,
  own: Checks,
  conversations: (settings: ConversationSettings) => MakeConversation,
): Action {
  checkTcpOptions(call, options, own)
  return spawnDriver(call, (setGuard) => {
    const driver = new TcpDriver(call, options, conversations)
    setGuard((error, name, subject) => driver.broken(asError(error, 'the TCP driver failed'), name, subject))
    return [onePerVm('TCP driver', call), driver.boot()]
  })
}

/** An outbound connection that somebody wants. */
class Handle implements ConversationOwner {
  demand = 0
  /** Whether there is, or soon will be, a connection. */
  active = false
  socket: TransportConnection | undefined = undefined

  constructor(
    readonly key: unknown,
    readonly local: TcpHandle,
    readonly remote: RemoteEnd,
  ) {}

  left(): void {
    this.active = false
  }
}

/**
 * The owner of the name of a conversation of which something is said, by a balancer or by its TLS: what is said goes
 * with it.
 */
class Told extends Label implements ConversationOwner {
  constructor(private readonly names: ConversationOwner | undefined) {
    super()
  }

  left(remote: TcpEnd, local: TcpEnd): ActionTree {
    return [this.names?.left(remote, local), deleteEndpoint(this)]
  }
}

class TcpDriver implements ConversationHost, Introduced, DriverSockets {
  private readonly options: TcpOptions
  private readonly makeConversation: MakeConversation
  private readonly listeners: TcpListeners
  private readonly handles = new Map<unknown, Handle>()
  private readonly names = new TcpNames()
  private readonly proxy: ProxyRules | undefined
  /** Of all connections, if it is the same for all. */
  private readonly always: Credentials | undefined
  /** Whose connections are encrypted, and how. */
  private readonly tls: (local: LocalEnd) => Credentials | undefined
  /** Of connections that a balancer has introduced: what counts them by prefix. */
  private readonly tickets = new Map<TransportConnection, [Listener, Decision['ticket']]>()
  /** Conversations that wait for the VM to be idle: new ones, and those whose peer has finished. */
  private fresh: Conversation[] = []
  private finished: Conversation[] = []
  private idleWanted = false

  private readonly common = new CommonTransport<Transport, TransportEvent>(
    'tcp', (sink) => this.openTransport(sink), (events) => this.handle(events),
  )

  constructor(
    call: string, options: TcpOptions, conversations: (settings: ConversationSettings) => MakeConversation,
  ) {
    this.options = options
    this.listeners = new TcpListeners(this.common, options, call)
    showSockets(this.common.source, this)
    const { allowHalfOpen = false, halfCloseTimeout, pauseOnAccept = false, readTimeout = 0 } = options
    const { buffers = defaultBuffers() } = options
    const timesInput = readTimeout > 0
    this.proxy = options.proxy && new ProxyRules(options.proxy)
    this.always = options.tls === undefined || typeof options.tls === 'function'
      ? undefined : credentialsOf('tcp', 'options.tls', options.tls)
    this.tls = tlsRule(this.always ?? options.tls)
    this.makeConversation = conversations({
      allowHalfOpen, halfCloseTimeout, pauseOnAccept, timesInput, buffers,
    })
  }

  boot(): ActionTree {
    const everything = { interest: 'everything' as const }
    const listening = {
      ...everything,
      onPresence: (topic: TcpChannel) => this.listenerWanted(topic),
      onAbsence: (topic: TcpChannel) => this.listenerUnwanted(topic),
    }
    const connecting = {
      ...everything,
      onPresence: (topic: TcpChannel) => this.handleWanted(topic),
      onAbsence: (topic: TcpChannel) => this.handleUnwanted(topic),
    }
    return [
      endpoint.publisher(tcpError(_, _, _)),
      endpoint.subscriber(tcpAccepting(_, _), {
        onMessage: definite((wish) => this.listeners.accepting(wish)),
      }),
      endpoint.subscriber(tcpLimits(_, _), {
        onMessage: definite((wish) => this.listeners.limit(wish)),
      }),
      endpoint.publisher(tcpChannel(_, tcpListener(_), _), listening),
      endpoint.subscriber(tcpChannel(tcpListener(_), _, _), listening),
      endpoint.publisher(tcpChannel(_, unixListener(_), _), listening),
      endpoint.subscriber(tcpChannel(unixListener(_), _, _), listening),
      endpoint.publisher(tcpChannel(_, fdListener(_), _), listening),
      endpoint.subscriber(tcpChannel(fdListener(_), _, _), listening),
      endpoint.publisher(tcpChannel(tcpAddress(_, _), tcpHandle(_), _), connecting),
      endpoint.subscriber(tcpChannel(tcpHandle(_), tcpAddress(_, _), _), connecting),
      endpoint.publisher(tcpChannel(unixAddress(_), tcpHandle(_), _), connecting),
      endpoint.subscriber(tcpChannel(tcpHandle(_), unixAddress(_), _), connecting),
      endpoint.publisher(tcpChannel(fdAddress(_), tcpHandle(_), _), connecting),
      endpoint.subscriber(tcpChannel(tcpHandle(_), fdAddress(_), _), connecting),
      // What was there before is known by now.
      yieldTurn(() => { this.names.begin() }),
    ]
  }

  // Demand

  private listenerWanted(topic: TcpChannel): ActionTree {
    const local = wantedListener(topic)
    if (local !== undefined) return this.listeners.wanted(local)
    this.names.entered(remoteEnd(topic), localEnd(topic))
    return undefined
  }

  private listenerUnwanted(topic: TcpChannel): ActionTree {
    const local = wantedListener(topic)
    if (local !== undefined) return this.listeners.unwanted(local)
    this.names.exited(remoteEnd(topic), localEnd(topic))
    return undefined
  }

  private handleWanted(topic: TcpChannel): ActionTree {
    const ends = wantedConnection(topic)
    if (ends === undefined) return undefined
    const key = mapKey(ends)
    let handle = this.handles.get(key)
    if (handle === undefined) {
      const [local, remote] = ends
      handle = new Handle(key, local, remote)
      this.handles.set(key, handle)
    }
    handle.demand++
    return handle.active ? undefined : this.connect(handle)
  }

  private connect(handle: Handle): ActionTree {
    const { local, remote } = handle
    const wrong = wrongRemote(remote)
    if (wrong !== undefined) return tellFailed(local, remote, wrong)
    handle.active = true
    handle.socket = undefined
    return this.common.take((transport) => {
      if (!handle.active) return
      handle.socket = transport.connect(connectOptions(this.options, whereTo(remote)))
      handle.socket.context = handle
      if (transport.name === 'native') tellOfClient(handle.socket)
    }, (error) => {
      handle.active = false
      return tellFailed(local, remote, error as SocketError)
    })
  }

  private handleUnwanted(topic: TcpChannel): ActionTree {
    const ends = wantedConnection(topic)
    const handle = ends === undefined ? undefined : this.handles.get(mapKey(ends))
    if (handle === undefined || --handle.demand > 0) return undefined
    this.handles.delete(handle.key)
    if (!handle.active) return undefined
    const { socket } = handle
    if (socket === undefined) {
      handle.active = false
      return this.common.letGo()
    }
    // A conversation closes by itself, as its peers go; an attempt to connect is given up here.
    if (socket.context === handle) socket.abort()
    else if (socket.context instanceof TlsIntro) socket.context.giveUp()
    return undefined
  }

  // The transport

  private openTransport(sink: EventSink<Fired<TransportEvent>>): Opened<Transport> {
    const { transport: name = 'auto', closeTimeout, ref = true, engine, ...options } = this.options
    const { busyPoll, sleepIn, maxQueuedBytes, maxQueuedBytesTotal, overflow, buffers, poison, maxSlabBytes } = options
    const memory = { buffers, poison, maxSlabBytes }
    const transport = openTransport(transportForTls(name, this.always), {
      closeTimeout, busyPoll, sleepIn, maxQueuedBytes, maxQueuedBytesTotal, overflow, ...memory,
    })
    if (!ref) setRef(false, transport, sink)
    const ignored = transport.name === 'node' ? missingInNode(this.options).ignored : []
    if (ignored.length > 0) log('info', 'node:net does without some options', { options: ignored })
    this.idleWanted = false
    try {
      transport.open(delivery(transport, sink, this.options.buffers === 'borrowed'))
      const told: unknown = this.options.onTransport?.(transport)
      logRejection('onTransport', told)
    } catch (error) {
      transport.close().catch(() => undefined) // the error below says why it was closed
      throw error
    }
    const drain = new Drain(transport, sink, () => this.stopAccepting(sink))
    sink.onShutdown((shutdown) => { drain.begin(shutdown) })
    ;(engine as Engine | undefined)?.opened(transport, sink, drain, this.listeners)
    return {
      transport,
      close: async () => {
        await transport.close()
        drain.over()
        ;(engine as Engine | undefined)?.closed(transport)
      },
    }
  }

  private stopAccepting(sink: EventSink<Fired<TransportEvent>>): ActionTree {
    // What was accepted, and is told of in this turn yet, is served.
    this.common.keep()
    setImmediate(() => { sink.fire(() => this.common.letGo()) })
    return this.listeners.closeAll()
  }

  // For who looks

  get transport(): string | undefined {
    return this.common.current?.name
  }

  openSockets(): readonly OpenSocket[] {
    return (this.common.current?.connections() ?? []).map((connection) => {
      const { context } = connection
      return {
        connection, names: context instanceof Conversation ? [context.remote, context.local] as const : undefined,
        accepted: connection.listener !== undefined, info: () => connection.info?.(),
      }
    })
  }

  openListeners(): readonly OpenListener[] {
    return this.listeners.openSockets().map(({ local, address }) => ({ name: local, address }))
  }

  closeSocket(connection: OpenSocket['connection'], reason: unknown): void {
    const { context } = connection as TransportConnection
    if (context instanceof Conversation) this.common.sink?.fire(() => context.close(reason))
    else (connection as TransportConnection).abort()
  }

  /** Something failed that should not have: whoever it was for hears of it, and nobody else. */
  broken(error: Error, name: unknown, subject: unknown): ActionTree {
    if (name === this.common.source) return this.common.failed(error)
    const conversation = name instanceof Outbound ? name.conversation : name
    if (conversation instanceof Conversation) return conversation.broken(error)
    if (tcpChannel.is(subject)) {
      const ends = wantedConnection(subject)
      if (ends !== undefined) return tellFailed(...ends, error as SocketError)
      const listener = wantedListener(subject)
      if (listener !== undefined) return tellFailed(listener, undefined, error as SocketError)
    } else if ((tcpAccepting.is(subject) || tcpLimits.is(subject)) && isGround(subject)) {
      return tellFailed(subject.listener, undefined, error as SocketError)
    }
    log('warning', 'the TCP driver could not do what it was asked for', { reason: error, what: subject })
    return undefined
  }

  private handle(events: readonly TransportEvent[]): ActionTree {
    tellViews(events)
    const actions: ActionTree[] = []
    for (let i = 0; i < events.length; i++) {
      const event = events[i]
      const action = this.handleOne(event)
      if (action !== undefined) actions.push(action)
    }
    return actions
  }

  /** Each for itself: what is wrong with one of them is no reason to lose the others. */
  private handleOne(event: TransportEvent): ActionTree {
    const { connection } = event
    const context = connection?.context
    if (event.kind === 'closed' && connection !== undefined && this.tickets.size > 0) this.giveBack(connection)
    try {
      if (context instanceof Conversation) return context.handle(event)
      return context instanceof SocketIntro ? context.handle(event) : this.handleOther(event)
    } catch (error) {
      return this.broken(asError(error, 'an event of a socket'), context, undefined)
    }
  }

  private handleOther(event: TransportEvent): ActionTree {
    switch (event.kind) {
      case 'accepted':
        return this.accepted(event.connection as TransportConnection)
      case 'connected':
        return this.connected(event.connection as TransportConnection)
      case 'closed':
        return this.connectFailed(event)
      default:
        return this.listeners.handle(event)
    }
  }

  private accepted(socket: TransportConnection): ActionTree {
    const listener = socket.listener?.context as Listener | undefined
    const address = socket.remote
    this.common.keep()
    if (listener === undefined || listener.demand === 0) {
      // The last interest in the listener went in this very turn.
      socket.context = undefined
      socket.close()
      return undefined
    }
    if (this.common.current?.name === 'native') tellOfServer(socket)
    const introduction = this.proxy?.expects(address) ?? 'none'
    if (introduction === 'none') return this.admitOrSecure(socket, listener, undefined, [])
    if (introduction === 'header') return this.introduce(socket, this.proxy as ProxyRules)
    socket.context = undefined
    socket.abort()
    log('info', 'a connection is refused, as it comes from nobody whose PROXY header would be believed', { ...address })
    return undefined
  }

  /** An accepted connection of which a balancer has said what it wanted, if it had to. */
  private admitOrSecure(
    socket: TransportConnection, listener: Listener, header: ProxyHeader | undefined, events: readonly TransportEvent[],
  ): ActionTree {
    const credentials = this.credentialsFor(listener.local)
    if (credentials === undefined) return this.admit(socket, listener, { header }, events)
    if (!(credentials instanceof Error)) return this.secureAccepted(socket, credentials, header, events)
    socket.context = undefined
    socket.abort()
    return tellFailed(listener.local, undefined, asTlsError(credentials))
  }

  /** An Error: what the program's function has thrown, or given, in their place. */
  private credentialsFor(local: LocalEnd): Credentials | Error | undefined {
    try {
      return this.tls(local)
    } catch (error) {
      return asError(error, 'options.tls')
    }
  }

  /** A connection begins, from this address. */
  private named(
    socket: TransportConnection, local: ListenerEnd, address: SocketAddress | undefined,
  ): Conversation {
    if (address?.family === 'unix') return this.converse(socket, unixPeer(this.names.takeNumber()), local)
    const remote = this.names.take(plainHost(address?.address ?? ''), address?.port ?? 0, local)
    return this.converse(socket, remote, local, this.names)
  }

  /** It begins, and so does what is said of it. */
  private admit(
    socket: TransportConnection, { local }: Listener, { header, tls }: Introduction, events: readonly TransportEvent[],
  ): ActionTree {
    const source = header?.family === 'IPv4' || header?.family === 'IPv6' ? header.source : undefined
    const real = socket.remote
    const address: SocketAddress | undefined =
      source && { address: source.host, port: source.port, family: header?.family as 'IPv4' | 'IPv6' }
    const conversation = this.named(socket, local, address ?? real)
    const via = header && (real?.family === 'unix' || real === undefined
      ? unixPeer(this.names.takeNumber()) : heardTcpAddress(plainHost(real.address), real.port))
    const told = [
      header && via && this.tell(conversation, tcpProxied(conversation.remote, local, { ...header, via })),
      tls && this.tell(conversation, tcpSecured(conversation.remote, local, tls)),
    ]
    // Both go with it, so they are known before it is.
    const opened = conversation.open()
    const received = events.map((event) => conversation.handle(event))
    return header === undefined && tls === undefined ? [opened, received] : [told, opened, received]
  }

  /** Says something of a conversation for as long as it lasts. */
  private tell(conversation: Conversation, fact: unknown): ActionTree {
    const told = new Told(conversation.owner)
    conversation.owner = told
    return addEndpoint(told, new Role('publisher', fact), {})
  }

  // Connections that are encrypted

  private secureAccepted(
    socket: TransportConnection, credentials: Credentials, header: ProxyHeader | undefined,
    events: readonly TransportEvent[],
  ): ActionTree {
    if (this.options.pauseOnAccept === true) socket.resume()
    return this.beginTls(socket, { credentials, server: true }, {
      secured: (_socket, tls) => {
        const listener = this.listenerOf(socket)
        if (listener === undefined) return undefined
        if (this.options.pauseOnAccept === true) socket.pause()
        return this.admit(socket, listener, { header, tls }, [])
      },
      failed: (_socket, error) => this.failed(socket, error),
      gone: () => this.gone(),
    }, events)
  }

  private beginTls(
    socket: TransportConnection, start: TlsStart, host: Secured, events: readonly TransportEvent[] = [],
  ): ActionTree {
    const intro = new TlsIntro(socket, start, host, (deed) => { this.common.sink?.fire(deed) })
    socket.context = intro
    return intro.begin(events)
  }

  /** The listener that has accepted it; without one that anybody wants, it is closed. */
  private listenerOf(socket: TransportConnection): Listener | undefined {
    const listener = socket.listener?.context as Listener | undefined
    if (listener !== undefined && listener.demand > 0) return listener
    socket.context = undefined
    socket.close()
    return undefined
  }

  // Connections that a balancer introduces

  private introduce(socket: TransportConnection, rules: ProxyRules): ActionTree {
    if (this.options.pauseOnAccept === true) socket.resume()
    socket.context = new ProxyIntro(socket, rules, this, (deed) => { this.common.sink?.fire(deed) })
    return undefined
  }

  begin(
    socket: TransportConnection, header: ProxyHeader | undefined, events: readonly TransportEvent[],
  ): ActionTree {
    const listener = this.listenerOf(socket)
    if (listener === undefined) return undefined
    const source = header?.family === 'IPv4' || header?.family === 'IPv6' ? header.source : undefined
    if (source !== undefined) {
      const address = { address: source.host, port: source.port, family: header?.family as 'IPv4' | 'IPv6' }
      const { refusedFor, ticket } = this.listeners.admit(listener, address)
      if (refusedFor !== undefined) {
        socket.context = undefined
        socket.abort()
        return undefined
      }
      this.tickets.set(socket, [listener, ticket])
    }
    if (this.options.pauseOnAccept === true) socket.pause()
    return this.admitOrSecure(socket, listener, header, events)
  }

  failed(socket: TransportConnection, error: SocketError | undefined): ActionTree {
    if (error === undefined) return undefined
    const local = (socket.listener?.context as Listener | undefined)?.local
    const { remote } = socket
    const via = remote === undefined || remote.family === 'unix'
      ? undefined : heardTcpAddress(plainHost(remote.address), remote.port)
    if (local !== undefined) return tellFailed(local, via, error)
    log('warning', error.message, { via, reason: error })
    return undefined
  }

  private connected(socket: TransportConnection): ActionTree {
    const handle = socket.context as Handle
    if (handle.demand > 0) return this.connectedFor(handle, socket)
    // Given up when this was on its way. The handle may be another one's by now.
    socket.context = undefined
    socket.abort()
    return undefined
  }

  private connectedFor(handle: Handle, socket: TransportConnection): ActionTree {
    const { local, remote } = handle
    const credentials = this.credentialsFor(local)
    if (credentials === undefined) return this.converse(socket, remote, local, handle).open()
    if (credentials instanceof Error) {
      socket.abort()
      return tellFailed(local, remote, asTlsError(credentials))
    }
    const host = tcpAddress.is(remote) ? remote.host : undefined
    return this.beginTls(socket, { credentials, server: false, host }, {
      secured: (_socket, tls) => {
        const conversation = this.converse(socket, remote, local, handle)
        const told = this.tell(conversation, tcpSecured(remote, local, tls))
        return [told, conversation.open()]
      },
      failed: (_socket, error) => error && tellFailed(local, remote, error),
      gone: () => {
        handle.active = false
        handle.socket = undefined
        return this.common.letGo()
      },
    })
  }

  private converse(
    socket: TransportConnection,
    remote: RemoteEnd | UnixPeer,
    local: ListenerEnd | TcpHandle,
    owner?: ConversationOwner,
  ): Conversation {
    const conversation = this.makeConversation(socket, remote, local, this)
    conversation.owner = owner
    socket.context = conversation
    this.fresh.push(conversation)
    this.wantIdle()
    return conversation
  }

  private connectFailed(event: TransportEvent): ActionTree {
    const handle = event.connection?.context as Handle | undefined
    if (handle === undefined) return this.common.letGo()
    handle.active = false
    handle.socket = undefined
    const failed =
      event.error === undefined ? undefined : tellFailed(handle.local, handle.remote, event.error)
    return [failed, this.common.letGo()]
  }

  // What waits for the VM to be idle

  settleLater(conversation: Conversation): void {
    this.finished.push(conversation)
    this.wantIdle()
  }

  gone(): ActionTree {
    return this.common.letGo()
  }

  private giveBack(socket: TransportConnection): void {
    const entry = this.tickets.get(socket)
    if (entry === undefined) return
    const [listener, ticket] = entry
    listener.introduced.leave(ticket)
    this.tickets.delete(socket)
  }

  private wantIdle(): void {
    if (this.idleWanted) return
    this.idleWanted = true
    const { sink } = this.common
    sink?.whenIdle(() => {
      sink.fire(this.idle)
    })
  }

  private readonly idle = (): ActionTree => {
    this.idleWanted = false
    const { fresh, finished } = this
    this.fresh = []
    this.finished = []
    return [
      fresh.map((conversation) => whole(conversation, () => conversation.release())),
      finished.map((conversation) => whole(conversation, () => conversation.settle())),
    ]
  }
}

/** What was learnt of an accepted connection before its conversation began. */
interface Introduction {
  readonly header: ProxyHeader | undefined
  readonly tls?: TlsState
}

/** The option `tls` as a function. @throws what its check does, for what a program's function gives */
function tlsRule(option: TcpOptions['tls']): (local: LocalEnd) => Credentials | undefined {
  if (typeof option !== 'function') {
    const credentials = option && credentialsOf('tcp', 'options.tls', option)
    return () => credentials
  }
  // Contexts are expensive: options that it gives more than once have one.
  const known = new WeakMap<object, Credentials>()
  return (local) => {
    const given = atOnce('tcp', 'options.tls()', option(local))
    if (given === undefined) return undefined
    const credentials = known.get(given) ?? credentialsOf('tcp', 'options.tls()', given)
    known.set(given, credentials)
    return credentials
  }
}

/** What is wrong with one conversation is no reason to lose the others. */
function whole(conversation: Conversation, deed: () => ActionTree): ActionTree {
  try {
    return deed()
  } catch (error) {
    return conversation.broken(asError(error, 'a conversation'))
  }
}

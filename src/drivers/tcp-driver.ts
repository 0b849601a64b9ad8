/**
 * The process behind both TCP drivers: turns demand in the VM into sockets, and sockets into presence.
 *
 * It watches, with interest `everything`, who wants to listen and who wants to connect; keeps one
 * transport while there is any socket; and hands each event of a socket to its conversation. One
 * process does it all, so that what it sends keeps the order in which it happened.
 */
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
import { openTransport } from '../transport/choose.js'
import { missingInNode } from '../transport/seam/socket-options.js'
import type {
  SocketAddress,
  SocketError,
  Transport,
  TransportConnection,
  TransportEvent,
} from '../transport/seam/transport.js'
import { CommonTransport, type Fired, type Opened } from './common-transport.js'
import { onePerVm } from './one-per-vm.js'
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
import { tellOfClient, tellOfServer, tellViews } from './tcp-socket-view.js'
import { checkTcpOptions, connectOptions, type TcpOptions } from './tcp-options.js'
import {
  tcpAccepting,
  tcpAddress,
  tcpChannel,
  tcpError,
  tcpHandle,
  tcpListener,
  tcpProxied,
  unixAddress,
  unixListener,
  unixPeer,
  type TcpChannel,
  type TcpEnd,
  type TcpHandle,
  type UnixPeer,
} from './tcp-records.js'
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
    const driver = new TcpDriver(options, conversations)
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

/** The owner of the name of a conversation that a balancer has introduced: what was said of it goes with it. */
class Proxied extends Label implements ConversationOwner {
  constructor(private readonly names: ConversationOwner | undefined) {
    super()
  }

  left(remote: TcpEnd, local: TcpEnd): ActionTree {
    return [this.names?.left(remote, local), deleteEndpoint(this)]
  }
}

class TcpDriver implements ConversationHost, Introduced {
  private readonly options: TcpOptions
  private readonly makeConversation: MakeConversation
  private readonly listeners: TcpListeners
  private readonly handles = new Map<unknown, Handle>()
  private readonly names = new TcpNames()
  private readonly proxy: ProxyRules | undefined
  /** Conversations that wait for the VM to be idle: new ones, and those whose peer has finished. */
  private fresh: Conversation[] = []
  private finished: Conversation[] = []
  private idleWanted = false

  private readonly common = new CommonTransport<Transport, TransportEvent>(
    'tcp', (sink) => this.openTransport(sink), (events) => this.handle(events),
  )

  constructor(options: TcpOptions, conversations: (settings: ConversationSettings) => MakeConversation) {
    this.options = options
    this.listeners = new TcpListeners(this.common, options)
    const { allowHalfOpen = false, halfCloseTimeout, pauseOnAccept = false, readTimeout = 0 } = options
    const { buffers = defaultBuffers() } = options
    const timesInput = readTimeout > 0
    this.proxy = options.proxy && new ProxyRules(options.proxy)
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
      endpoint.publisher(tcpChannel(_, tcpListener(_), _), listening),
      endpoint.subscriber(tcpChannel(tcpListener(_), _, _), listening),
      endpoint.publisher(tcpChannel(_, unixListener(_), _), listening),
      endpoint.subscriber(tcpChannel(unixListener(_), _, _), listening),
      endpoint.publisher(tcpChannel(tcpAddress(_, _), tcpHandle(_), _), connecting),
      endpoint.subscriber(tcpChannel(tcpHandle(_), tcpAddress(_, _), _), connecting),
      endpoint.publisher(tcpChannel(unixAddress(_), tcpHandle(_), _), connecting),
      endpoint.subscriber(tcpChannel(tcpHandle(_), unixAddress(_), _), connecting),
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
    return undefined
  }

  // The transport

  private openTransport(sink: EventSink<Fired<TransportEvent>>): Opened<Transport> {
    const { transport: name = 'auto', closeTimeout, ref = true, engine, ...options } = this.options
    const { busyPoll, sleepIn, maxQueuedBytes, maxQueuedBytesTotal, overflow, buffers, poison, maxSlabBytes } = options
    const memory = { buffers, poison, maxSlabBytes }
    const transport = openTransport(name, {
      closeTimeout, busyPoll, sleepIn, maxQueuedBytes, maxQueuedBytesTotal, overflow, ...memory,
    })
    if (!ref) setRef(false, transport, sink)
    const ignored = transport.name === 'node' ? missingInNode(this.options).ignored : []
    if (ignored.length > 0) log('info', 'node:net does without some options', { options: ignored })
    this.idleWanted = false
    try {
      transport.open(delivery(transport, sink, this.options.buffers === 'borrowed'))
      this.options.onTransport?.(transport)
    } catch (error) {
      transport.close().catch(() => undefined) // the error below says why it was closed
      throw error
    }
    const drain = new Drain(transport, sink, () => this.stopAccepting(sink))
    sink.onShutdown((shutdown) => { drain.begin(shutdown) })
    ;(engine as Engine | undefined)?.opened(transport, sink, drain)
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
    } else if (tcpAccepting.is(subject) && isGround(subject)) {
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
    const context = event.connection?.context
    try {
      if (context instanceof Conversation) return context.handle(event)
      return context instanceof ProxyIntro ? context.handle(event) : this.handleOther(event)
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
    if (introduction === 'none') return this.admit(socket, listener.local, address).open()
    if (introduction === 'header') return this.introduce(socket, this.proxy as ProxyRules)
    socket.context = undefined
    socket.abort()
    log('info', 'a connection is refused, as it comes from nobody whose PROXY header would be believed', { ...address })
    return undefined
  }

  /** A connection begins, from this address. */
  private admit(
    socket: TransportConnection, local: ListenerEnd, address: SocketAddress | undefined,
  ): Conversation {
    if (address?.family === 'unix') return this.converse(socket, unixPeer(this.names.takeNumber()), local)
    const remote = this.names.take(plainHost(address?.address ?? ''), address?.port ?? 0, local)
    return this.converse(socket, remote, local, this.names)
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
    const listener = socket.listener?.context as Listener | undefined
    if (listener === undefined || listener.demand === 0) {
      socket.context = undefined
      socket.close()
      return undefined
    }
    if (this.options.pauseOnAccept === true) socket.pause()
    const { local } = listener
    const source = header?.family === 'IPv4' || header?.family === 'IPv6' ? header.source : undefined
    const real = socket.remote
    const address: SocketAddress | undefined =
      source && { address: source.host, port: source.port, family: header?.family as 'IPv4' | 'IPv6' }
    const conversation = this.admit(socket, local, address ?? real)
    const opened = conversation.open()
    const received = events.map((event) => conversation.handle(event))
    if (header === undefined) return [opened, received]
    const proxied = new Proxied(conversation.owner)
    conversation.owner = proxied
    const via = real?.family === 'unix' || real === undefined
      ? unixPeer(this.names.takeNumber()) : tcpAddress(plainHost(real.address), real.port)
    const told = tcpProxied(conversation.remote, local, { ...header, via })
    return [addEndpoint(proxied, new Role('publisher', told), {}), opened, received]
  }

  failed(socket: TransportConnection, error: SocketError | undefined): ActionTree {
    if (error === undefined) return undefined
    const local = (socket.listener?.context as Listener | undefined)?.local
    const { remote } = socket
    const via = remote === undefined || remote.family === 'unix'
      ? undefined : tcpAddress(plainHost(remote.address), remote.port)
    if (local !== undefined) return tellFailed(local, via, error)
    log('warning', error.message, { via, reason: error })
    return undefined
  }

  private connected(socket: TransportConnection): ActionTree {
    const handle = socket.context as Handle
    if (handle.demand > 0) return this.converse(socket, handle.remote, handle.local, handle).open()
    // Given up when this was on its way. The handle may be another one's by now.
    socket.context = undefined
    socket.abort()
    return undefined
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

/** What is wrong with one conversation is no reason to lose the others. */
function whole(conversation: Conversation, deed: () => ActionTree): ActionTree {
  try {
    return deed()
  } catch (error) {
    return conversation.broken(asError(error, 'a conversation'))
  }
}

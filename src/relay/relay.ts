/**
 * The driver `relay`: endpoints of other nodes are peers in this VM, and those of this VM are peers there.
 *
 * It watches who comes and goes and what is sent, of the topics that are allowed, and tells the core (`core.ts`); what
 * the core has heard it does: it has an endpoint for each of another node's, which takes no messages itself, and sends
 * what others have sent. Neither is seen by what watches, so nothing goes back, or on to a third node.
 */
import { argumentError } from '../support/errors.js'
import { checkOptions, integer, type Check } from '../support/checks.js'
import { endpoint } from '../dsl/index.js'
import { _ } from '../topic/index.js'
import { ofKind, spawnDriver, type Guard } from '../vm/action.js'
import { watchedEndpoint, type Endpoint } from '../vm/endpoint.js'
import {
  addEndpoint, deleteEndpoint, eventSource, quit, role, type Action, type ActionTree, type EventSink, type Orientation,
} from '../vm/index.js'
import { RemoteMessage } from '../vm/remote.js'
import { log } from '../support/log.js'
import { Allowed } from './allowed.js'
import type { Carrier } from './carrier.js'
import { realClock, type Clock } from './clock.js'
import { showRelay } from './inspected.js'
import { Core, type VmSide } from './core.js'
import type { RelayPeerMetrics } from './metrics.js'
import { RemoteLabel } from './peer.js'
import { relayNode } from './records.js'

/** Options of `relay`. */
export interface RelayOptions {
  /** The name of this node, unlike those of all others: a string of 1 to 255 characters. */
  readonly node: string
  /** What carries packets to the other nodes, or a function that makes it, each time that the relay is started. */
  readonly carrier: Carrier | (() => Carrier)
  /**
   * What crosses: endpoints whose topics meet one of these, as far as they do, and messages that are instances of one.
   * No two of them may meet. Nothing else comes in, either.
   */
  readonly topics: readonly unknown[]
  /** Milliseconds between two beats, 1 to 3,600,000. Default 1000. */
  readonly heartbeatMs?: number | undefined
  /**
   * Milliseconds without a sign of life, after which a node is lost: its endpoints are absent after that and one
   * `heartbeatMs` at most. At least twice `heartbeatMs`, up to 86,400,000. Default 5 * heartbeatMs.
   */
  readonly lostAfterMs?: number | undefined
  /**
   * Bytes that may wait for one node, here and on the way to it, besides the snapshot of endpoints. With more the
   * session with that node is lost, with 'ENOBUFS' as the reason's `code`. 262,144 or more. Default 16,777,216.
   */
  readonly maxQueuedBytes?: number | undefined
  /** Endpoints that one other node may have here. With more it loses its session. Default 100,000. */
  readonly maxEndpoints?: number | undefined
  /** Other nodes that are heard. Who comes beyond that is not, until one is lost or leaves. Default 1024. */
  readonly maxNodes?: number | undefined
  /** Where to see what is known of the other nodes. */
  readonly monitor?: RelayMonitor | undefined
}

/** Shows what a relay knows of the other nodes: to be given to it as an option. */
export class RelayMonitor {
  /** @internal */
  core: Core | undefined = undefined

  /** One for each node that was heard and isn't lost. */
  get peers(): readonly RelayPeerMetrics[] {
    return this.core?.metrics() ?? []
  }
}

const CALL = 'relay'

const isCarrier: Check = (call, name, value) => {
  if (typeof value === 'function') return
  const carrier = value as Partial<Record<string, unknown>> | null
  const isWhole = ['start', 'send', 'queued', 'stop'].every((method) => typeof carrier?.[method] === 'function')
  if (typeof value === 'object' && isWhole) return
  throw argumentError(call, name, 'a carrier (start, send, queued, stop), or a function that makes one', value)
}

const isName: Check = (call, name, value) => {
  if (typeof value === 'string' && value.length > 0 && value.length <= 255) return
  throw argumentError(call, name, 'a string of 1 to 255 characters', value)
}

const isMonitor: Check = (call, name, value) => {
  if (!(value instanceof RelayMonitor)) throw argumentError(call, name, 'a RelayMonitor', value)
}

const anything: Check = () => undefined

const checks = {
  node: isName, carrier: isCarrier, topics: anything, heartbeatMs: integer(1, 3_600_000, 'milliseconds'),
  lostAfterMs: integer(2, 86_400_000, 'milliseconds'), maxQueuedBytes: integer(262_144, 2 ** 40, 'bytes'),
  maxEndpoints: integer(0, 2 ** 31), maxNodes: integer(1, 2 ** 20), monitor: isMonitor,
}

/** The shortest longest packet. */
const PACKET_MIN = 1024

/**
 * Starts a relay, which makes one network of this VM and those of other nodes: threads or machines, as the carrier
 * goes. It runs in a ground VM, or in a nested one with an event relay (`eventRelay()`) in it and in each one around.
 *
 * An absence has as its reason, beside those that the other side gave: an error with a `code` and a `node`. The codes
 * are 'ENODELOST' (or what the carrier has for it, 'EWORKERLOST' for threads), 'ENETSPLIT' (the link to all is down),
 * 'EGAP' (something was lost on the way, and the peer is present again at once), 'ENOBUFS' (too much waits for it),
 * 'EPROTO' (it has sent what can't be read). A relay whose name is another node's already fails with 'ENODEINUSE'.
 *
 * @throws TypeError or RangeError when an option is missing or wrong
 */
export function relay(options: RelayOptions): Action {
  return relayBy(options, realClock)
}

/** @internal The same by any clock. */
export function relayBy(options: RelayOptions, clock: Clock): Action {
  checkOptions(CALL, options, checks)
  for (const name of ['node', 'carrier', 'topics'] as const) {
    if (options[name] === undefined) throw argumentError(CALL, name, 'given', undefined)
  }
  const { heartbeatMs = 1000, monitor } = options
  const settings = {
    node: options.node, heartbeatMs, lostAfterMs: options.lostAfterMs ?? 5 * heartbeatMs,
    maxQueuedBytes: options.maxQueuedBytes ?? 16 * 1024 * 1024, maxEndpoints: options.maxEndpoints ?? 100_000,
    maxNodes: options.maxNodes ?? 1024,
  }
  if (settings.lostAfterMs < 2 * heartbeatMs) {
    throw argumentError(CALL, 'lostAfterMs', `at least twice heartbeatMs (${heartbeatMs})`, settings.lostAfterMs)
  }
  const allowed = new Allowed(CALL, options.topics)
  return spawnDriver(`relay ${settings.node}`, (setGuard) => {
    const carrier = typeof options.carrier === 'function' ? options.carrier() : options.carrier
    if (!(carrier.maxPacket >= PACKET_MIN)) {
      throw argumentError(CALL, 'carrier.maxPacket', `${PACKET_MIN} or more`, carrier.maxPacket)
    }
    const vm = new RelaySide(settings.node)
    const core = new Core(carrier, settings, allowed, vm, () => clock.now())
    if (monitor !== undefined) monitor.core = core
    const source = eventSource<undefined>(`relay ${settings.node}`, (sink) => {
      vm.begin(sink, core)
      const then = (told: () => void): void => {
        vm.guarded(told)
        // A VM that has nothing to do isn't asked whether it is idle.
        if (vm.wake()) return
        vm.guarded(() => { core.flush() })
        vm.wake()
      }
      carrier.start({
        onMessage: (from, packet) => { then(() => { core.onMessage(from, packet) }) },
        onUp: () => { then(() => { core.onUp() }) },
        onDown: (error) => { then(() => { core.onDown(error) }) },
        onGone: (node, error) => { then(() => { core.onGone(node, error) }) },
        onFailed: (error) => { then(() => { vm.refused(error) }) },
      })
      const stop = clock.every(settings.heartbeatMs, () => { then(() => { core.tick() }) })
      return () => {
        stop()
        vm.guarded(() => { core.leave() })
        vm.guarded(() => { carrier.stop() })
        if (monitor?.core === core) monitor.core = undefined
      }
    })
    setGuard(vm.guard(core, source))
    showRelay(source, { node: settings.node, peers: () => core.metrics() })
    return [
      allowed.topics.flatMap((topic, i) =>
        (['subscriber', 'publisher'] as const).map((orientation) => vm.watch(core, topic, i, orientation))),
      endpoint.subscriber([source, _], { name: source, onMessage: () => vm.take(core) }),
    ]
  })
}

/** What is to be done in the VM, and the endpoints by which it is watched. */
class RelaySide implements VmSide {
  #actions: Action[] = []
  #sink: EventSink<undefined> | undefined
  #core: Core | undefined
  #flushes = false
  /** Whether something in `#actions` was announced. */
  #woken = false
  readonly #watched: { add: (listens: boolean) => Action; readonly orientation: Orientation; listens: boolean }[] = []

  constructor(readonly node: string) {}

  begin(sink: EventSink<undefined>, core: Core): void {
    this.#sink = sink
    this.#core = core
    if (this.#flushes) this.#flush()
    this.wake()
  }

  /** What has come is to be done. @returns whether there is anything */
  wake(): boolean {
    if (this.#actions.length === 0 || this.#sink === undefined) return false
    if (this.#woken) return true
    this.#woken = true
    this.#sink.fire(undefined)
    return true
  }

  /** What is to be done, in its order. */
  take(core: Core): ActionTree {
    this.#woken = false
    for (const watch of this.#watched) {
      const listens = core.hasHearers(watch.orientation === 'subscriber' ? 'publisher' : 'subscriber')
      if (listens === watch.listens) continue
      watch.listens = listens
      this.#actions.push(watch.add(listens))
    }
    const actions = this.#actions
    if (actions.length === 0) return undefined
    this.#actions = []
    return actions
  }

  /** @param source that of the relay: without it there is none */
  guard(core: Core, source: unknown): Guard {
    return (error, name) => {
      if (name === source) this.refused(error)
      else if (name instanceof RemoteLabel) core.impossible(name, error)
      else log('warning', `relay ${this.node} could not do what it was asked for`, { reason: error })
      return this.take(core)
    }
  }

  /** Watches what is of this node, on one side of an allowed topic. */
  watch(core: Core, topic: unknown, i: number, orientation: Orientation): Action {
    const ids = new Map<Endpoint, number>()
    const sent: Orientation = orientation === 'subscriber' ? 'publisher' : 'subscriber'
    const presence = {
      onPresence: (meeting: unknown, _state: unknown, peer: Parameters<typeof watchedEndpoint>[0]): ActionTree => {
        const id = core.localAppeared(peer.orientation, peer.interest, meeting)
        if (id !== undefined) ids.set(watchedEndpoint(peer), id)
        return this.take(core)
      },
      onAbsence: (
        _meeting: unknown, _state: unknown, reason: unknown, peer: Parameters<typeof watchedEndpoint>[0],
      ): ActionTree => {
        const id = ids.get(watchedEndpoint(peer))
        if (id === undefined) return undefined
        ids.delete(watchedEndpoint(peer))
        core.localDisappeared(id, reason)
        return this.take(core)
      },
    }
    const whole = {
      ...presence,
      onMessage: (body: unknown): ActionTree => {
        core.localMessage(body, sent)
        return this.take(core)
      },
    }
    const add = (listens: boolean): Action =>
      ofKind({ watches: true }, addEndpoint(`${orientation} ${i}`, role(orientation, topic, 'everything'),
        listens ? whole : presence))
    this.#watched.push({ add, orientation, listens: false })
    return add(false)
  }

  nodeUp(node: string): void {
    this.#actions.push(ofKind({ remote: true }, endpoint.publisher(relayNode(node), { name: relayNode(node) })))
  }

  nodeDown(node: string, reason: unknown): void {
    this.#actions.push(deleteEndpoint(relayNode(node), reason))
  }

  appeared(label: RemoteLabel, orientation: Orientation, topic: unknown, interest: 'participant'): void {
    this.#actions.push(ofKind({ remote: true }, addEndpoint(label, role(orientation, topic, interest), {})))
  }

  disappeared(label: RemoteLabel, reason: unknown): void {
    this.#actions.push(deleteEndpoint(label, reason))
  }

  message(body: unknown, orientation: Orientation): void {
    this.#actions.push(new RemoteMessage(body, orientation))
  }

  /** A carrier that throws, though it mustn't, ends its relay, and not the program. */
  guarded(does: () => void): void {
    try {
      does()
    } catch (error) {
      this.refused(error)
    }
  }

  refused(error: unknown): void {
    this.#actions.push(quit(error))
  }

  flushWhenIdle(): void {
    if (this.#sink === undefined) this.#flushes = true
    else this.#flush()
  }

  #flush(): void {
    this.#flushes = false
    this.#sink?.whenIdle(() => {
      this.guarded(() => { this.#core?.flush() })
      this.wake()
    })
  }
}

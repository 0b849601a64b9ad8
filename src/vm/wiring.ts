/**
 * Finds what a program asks for and nobody answers: mostly a driver was forgotten, or runs in another VM.
 *
 * Owns the warnings about that, which come a second later, or when the ground VM ends before; the messages that came
 * before the driver that they are for, which are kept for it; and the warning of feedback that a driver ignores.
 *
 * It is called only for what met nobody, so it costs nothing where the drivers are running.
 */
import { show } from '../support/errors.js'
import { log, logs } from '../support/log.js'
import { RecordBase, type RecordType } from '../topic/index.js'
import type { Endpoint } from './endpoint.js'
import { EventSource } from './event-source.js'
import { peersOf } from './presence.js'
import type { Process } from './process.js'
import type { Orientation } from './role.js'
import type { Vm } from './vm.js'

/** What is answered by a driver. */
export interface Need {
  /** What is missing without it: `a TCP driver: tcpBare() or tcp()`. */
  readonly driver: string
  /** Whether an endpoint with this topic asks for something, and does not merely listen. Default: none does. */
  readonly wanted?: (topic: never) => boolean
  /** Whether messages ask for something: those that came before the driver are kept for it. Default: false. */
  readonly keeps?: boolean
  /**
   * What is said, once, of feedback that met nobody although the driver has an endpoint for it: which driver ignores
   * it, and what to do. Undefined of other feedback.
   */
  readonly ignored?: (body: never) => string | undefined
}

/** Milliseconds that a driver has to come. */
const PATIENCE = 1000
/** Requests that are looked at again, of all VMs together. More of them would only be warned of in the same words. */
const REQUESTS_MAX = 1000
/** Messages that a VM keeps for a driver that isn't there. */
const KEPT_MAX = 1024

const needs = new Map<RecordBase['$kind'], Need>()

/** Says that records of a type are requests, and who answers them. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- of whatever label and fields
export function answeredByDriver(type: RecordType<any, any, any, any>, need: Need): void {
  needs.set((type as { kind: RecordBase['$kind'] }).kind, need)
}

const relayed: Need = { driver: 'an event relay: eventRelay()', wanted: () => true }

function needOf(topic: unknown): Need | undefined {
  if (topic instanceof RecordBase) return needs.get(topic.$kind)
  return Array.isArray(topic) && topic[0] instanceof EventSource ? relayed : undefined
}

/** Whether a message is of a kind that drivers answer. */
export function isRequest(body: unknown): boolean {
  return needOf(body) !== undefined
}

/** A message that its driver has yet to come for. */
interface Kept {
  readonly sender: Process
  readonly body: unknown
  readonly orientation: Orientation
}

/** Something that was asked for, and when: by an endpoint, or by a message. */
interface Request {
  readonly what: Endpoint | Kept
  readonly vm: Vm
  readonly need: Need
  readonly since: number
}

/** The requests inside of one ground VM that nobody has answered yet. */
export class Wiring {
  private requests: Request[] = []
  private readonly kept = new WeakMap<Vm, Kept[]>()
  private readonly told = new Set<Need>()
  private timer: NodeJS.Timeout | undefined

  /** An endpoint was installed and has no peers. */
  unmet(vm: Vm, endpoint: Endpoint): void {
    const need = needOf(endpoint.topic)
    if (need?.wanted?.(endpoint.topic as never) !== true) return
    // A driver's own endpoints, at its own level, are how it answers. Only sources it may miss itself.
    const { owner, target } = endpoint
    if (need !== relayed && owner === target && owner.guard !== undefined) return
    // In the ground VM sources need no relay.
    if (need !== relayed || vm.container !== undefined) this.ask(vm, endpoint, need)
  }

  /** A message met nobody. */
  unheard(vm: Vm, sender: Process, body: unknown, orientation: Orientation): void {
    if (logs('debug')) {
      const what = orientation === 'publisher' ? 'a message' : 'feedback'
      log('debug', `${sender.describe()} sent ${what} that met nobody`, { message: body })
    }
    const need = needOf(body)
    if (need === undefined) return
    if (orientation === 'subscriber') this.tellIgnored(vm, sender, body, need)
    if (need.keeps !== true) return
    let kept = this.kept.get(vm)
    if (kept === undefined) this.kept.set(vm, kept = [])
    if (kept.length === KEPT_MAX) {
      const what = `dropped: ${KEPT_MAX} messages wait for a driver already`
      log('warning', `${sender.describe()} sent ${show(body)}, which was ${what}`, { missing: need.driver })
      return
    }
    const message = { sender, body, orientation }
    kept.push(message)
    this.ask(vm, message, need)
  }

  /** Feedback that a driver does not take: its endpoint is there, and hears no messages. */
  private tellIgnored(vm: Vm, sender: Process, body: unknown, need: Need): void {
    // A driver's own feedback, such as that bytes have gone, is for whoever wants to know.
    if (sender.guard !== undefined || this.told.has(need)) return
    const why = need.ignored?.(body as never)
    if (why === undefined) return
    const peers: Endpoint[] = []
    try {
      vm.publishers.peers(body, peers)
    } catch {
      return // it exceeds the limits of topics, and so it was for nobody
    }
    if (!peers.some(({ target, interest }) => target.guard !== undefined && interest === 'participant')) return
    this.told.add(need)
    log('warning', `${sender.describe()} sent the feedback ${show(body)}, ${why}`)
  }

  /** An endpoint that receives has come: it may be what messages are kept for. */
  installed(vm: Vm, endpoint: Endpoint): void {
    const kept = this.kept.get(vm)
    if (kept === undefined || !endpoint.exact) return
    const kind = endpoint.topic instanceof RecordBase ? endpoint.topic.$kind : undefined
    const isFor = ({ body }: Kept): boolean => (body as RecordBase).$kind === kind
    const found = kept.filter(isFor)
    if (found.length === 0) return
    this.kept.set(vm, kept.filter((message) => !isFor(message)))
    // What still meets nobody is kept again by `unheard`.
    for (const { sender, body, orientation } of found) vm.deliver(sender, body, orientation)
  }

  private ask(vm: Vm, what: Endpoint | Kept, need: Need): void {
    if (this.requests.length === REQUESTS_MAX) return
    this.requests.push({ vm, what, need, since: performance.now() })
    this.timer ??= setTimeout(() => { this.look(PATIENCE) }, PATIENCE).unref()
  }

  /** Looks at all requests that are as old. */
  private look(age: number): void {
    this.timer = undefined
    const due = performance.now() - age
    const { requests } = this
    this.requests = requests.filter(({ since }) => since > due)
    for (const request of requests) if (request.since <= due) this.warn(request)
    if (this.requests.length === 0) return
    this.timer = setTimeout(() => { this.look(PATIENCE) }, this.requests[0].since - due).unref()
  }

  /** Nothing can happen any more in a VM, which is about to go: what was asked for in there won't be answered. */
  conclude(vm: Vm): void {
    const isInside = (request: Request): boolean => {
      for (let at: Vm | undefined = request.vm; at !== undefined; at = at.container?.vm) if (at === vm) return true
      return false
    }
    const over = this.requests.filter(isInside)
    if (over.length === 0) return
    this.requests = this.requests.filter((request) => !isInside(request))
    for (const request of over) this.warn(request)
  }

  /** The ground VM ends, and with it what might have answered. */
  concludeAll(): void {
    clearTimeout(this.timer)
    this.look(0)
    clearTimeout(this.timer)
  }

  private warn({ vm, what, need }: Request): void {
    const isMessage = !('installed' in what)
    if (isMessage ? this.kept.get(vm)?.includes(what) !== true : !isUnmet(vm, what)) return
    const who = isMessage ? what.sender : what.owner
    const asked = isMessage ? `sent ${show(what.body)}` : `asks for ${show(what.topic)}`
    const where = vm.container === undefined ? 'this VM' : `VM ${vm.path()}`
    log('warning', `${who.describe()} ${asked}, and nothing in ${where} answers; missing is ${need.driver}`)
  }
}

function isUnmet(vm: Vm, endpoint: Endpoint): boolean {
  return endpoint.owner.alive && endpoint.installed && peersOf(vm, endpoint, []) === 0
}

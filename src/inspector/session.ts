/**
 * The inspector's protocol: what a client may ask, and what it is told. See docs/inspector.md.
 *
 * Owns one client's conversation: its requests, what it follows, and the limits of both. It knows nothing of how texts
 * travel. Each request is a JSON object with an `id` and the name of what is to be done under `do`; each is answered by
 * one with the same `id`, and `ok` or `error`. What comes unasked has an `event`.
 */
import { isPromise } from 'node:util/types'
import { meet, NO_MEETING } from '../topic/index.js'
import { isLogLevel, setLogLevel } from '../support/log.js'
import { kill, sendMessage } from '../vm/action.js'
import type { Process } from '../vm/process.js'
import type { Orientation } from '../vm/role.js'
import type { Vm } from '../vm/vm.js'
import { currentWorker } from '../workers/index.js'
import type { SeenEvent } from './event-ring.js'
import { pathOf, type Breakpoint, type Crash, type Inspection, type InspectionListener } from './inspection.js'
import { networkView } from './network.js'
import type { PauseReason } from './pauses.js'
import { mermaid, type ProcessRow } from './shown.js'
import { closeSocket, socketsView } from './sockets.js'
import { parseTopic } from './topic-text.js'
import { PROTOCOL, traceOf } from './trace.js'
import {
  breakpointView, chain, crashView, eventsOfChain, eventView, moment, peersOfTopic, processAt, processPage, rowOf, tree,
  vmAt, whoGets,
} from './views.js'

/** Characters of a request. */
export const REQUEST_MAX = 256 * 1024
/** Events a second that a trace tells, by default and at most, and how often in milliseconds it does. */
const RATE = 1000
const RATE_MAX = 10_000
const TRACE_MS = 100
/** Milliseconds between two tables of processes, least and default. */
const WATCH_MIN = 200
const WATCH_MS = 1000
/** Events of one answer. */
const EVENTS_MAX = 1000
const BREAKPOINTS_MAX = 100
/** Bytes that may wait to be sent before tables are left out; with four times as many the client loses its session. */
const WAITING_MAX = 4 * 1024 * 1024

/** Where a session's texts go. */
export interface SessionLink {
  send(text: string): void
  /** Bytes that wait to be sent. */
  readonly waiting: number
  close(code: number, reason: string): void
}

/** What comes first on a port into a worker, before the client's texts. */
export interface PortGreeting {
  readonly readOnly: boolean
}

/** Parameters of a request; whoever uses one looks whether it is what it is to be. */
type Request = Readonly<Record<string, unknown>>

/** Which events a trace tells. */
interface Trace {
  readonly topic: unknown
  readonly path: string | undefined
  readonly kind: string | undefined
  readonly rate: number
}

/** What only looks. */
const LOOKING = new Set([
  'hello', 'tree', 'process', 'meets', 'who', 'events', 'chain', 'diagram', 'trace', 'untrace', 'watch', 'unwatch',
  'moment', 'crashes', 'breaks', 'export', 'sockets', 'network',
])

export class Session implements InspectionListener {
  readonly #inspection: Inspection
  readonly #link: SessionLink
  readonly #readOnly: boolean
  #trace: Trace | undefined
  #traced: SeenEvent[] = []
  #dropped = 0
  /** Events that may still be told in this second. */
  #left = 0
  #traceTimer: NodeJS.Timeout | undefined
  #watchTimer: NodeJS.Timeout | undefined
  /** Whether who watches wants the time of handlers measured. */
  #measures = false
  #rows = new Map<string, string>()
  /** Set by this client, and gone with it. */
  readonly #breakpoints = new Set<number>()
  /** Processes that this client has paused; with the client gone they go on. */
  readonly #paused = new Set<string>()

  constructor(inspection: Inspection, link: SessionLink, readOnly: boolean) {
    this.#inspection = inspection
    this.#link = link
    this.#readOnly = readOnly
    inspection.listeners.add(this)
    this.#push({ event: 'hello', ...this.#hello() })
  }

  /** The client is gone: what it has paused goes on. */
  end(): void {
    const inspection = this.#inspection
    inspection.listeners.delete(this)
    this.#untrace()
    this.#unwatch()
    for (const id of this.#breakpoints) inspection.breakpoints.delete(id)
    if (this.#pausedGround) inspection.pauses.resumeGround()
    for (const path of this.#paused) {
      try {
        inspection.pauses.resume(processAt(inspection, path))
      } catch {
        // It has ended.
      }
    }
  }

  #pausedGround = false

  /** A text of the client's has come. */
  receive(text: string): void {
    let request: Request
    try {
      const parsed: unknown = JSON.parse(text)
      if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new Error('no object')
      request = parsed as Request
    } catch {
      this.#push({ error: { message: 'a request is a JSON object with an id and what to do' } })
      return
    }
    const id = request['id']
    const refuse = (error: unknown): void => {
      this.#push({ id, error: { message: error instanceof Error ? error.message : String(error) } })
    }
    try {
      const ok = this.#perform(request)
      if (isPromise(ok)) ok.then((later) => { this.#push({ id, ok: later }) }, refuse)
      else this.#push({ id, ok: ok ?? {} })
    } catch (error) {
      refuse(error)
    }
  }

  #perform(request: Request): object | Promise<object> | undefined {
    const what = request['do']
    if (this.#readOnly && typeof what === 'string' && !LOOKING.has(what)) {
      throw new Error(`this inspector only looks: ${what} is not allowed`)
    }
    const inspection = this.#inspection
    switch (what) {
      case 'hello':
        return this.#hello()
      case 'tree':
        return tree(inspection)
      case 'process':
        return processPage(inspection, processAt(inspection, request['path']))
      case 'meets':
        return peersOfTopic(inspection, this.#vmOf(request), topicOf(request, 'topic'), orientationOf(request))
      case 'who':
        return whoGets(inspection, this.#vmOf(request), topicOf(request, 'message'), orientationOf(request))
      case 'events':
        return this.#events(request)
      case 'chain':
        return chain(inspection, integerOf(request, 'event', 1))
      case 'moment':
        return moment(inspection, integerOf(request, 'event', 1))
      case 'diagram':
        return { mermaid: mermaid(this.#diagrammed(request).map((event) => eventView(inspection, event))) }
      case 'trace':
        return this.#startTrace(request)
      case 'untrace':
        this.#untrace()
        return undefined
      case 'watch':
        return this.#watch(request)
      case 'unwatch':
        this.#unwatch()
        return undefined
      case 'crashes':
        return { crashes: inspection.crashes.map((crash) => crashView(inspection, crash)) }
      case 'breaks':
        return { breakpoints: [...inspection.breakpoints.values()].map((one) => breakpointView(inspection, one)) }
      case 'sockets':
        return socketsView(inspection)
      case 'network':
        return networkView(inspection)
      case 'export':
        return traceOf(inspection)
      default:
        return this.#act(what, request)
    }
  }

  #act(what: unknown, request: Request): object | undefined {
    const inspection = this.#inspection
    const { pauses } = inspection
    switch (what) {
      case 'pause':
        return this.#pause(request)
      case 'resume':
        if (request['path'] === undefined) pauses.resumeAll()
        else pauses.resume(processAt(inspection, request['path']))
        return undefined
      case 'step':
        pauses.step(processAt(inspection, request['path']))
        return undefined
      case 'break':
        return this.#break(request)
      case 'unbreak': {
        const id = integerOf(request, 'breakpoint', 1)
        this.#breakpoints.delete(id)
        return { gone: inspection.breakpoints.delete(id) }
      }
      case 'dismiss':
        return { gone: inspection.dismiss(integerOf(request, 'crash', 1)) }
      case 'send':
        inspection.act(this.#vmOf(request), sendMessage(topicOf(request, 'message'), orientationOf(request)))
        return undefined
      case 'close':
        closeSocket(inspection, integerOf(request, 'socket', 1), request['reason'])
        return undefined
      case 'kill': {
        const process = processAt(inspection, request['path'])
        inspection.act(process.vm, kill(process.pid, request['reason']))
        return undefined
      }
      case 'log': {
        const { level } = request
        if (!isLogLevel(level)) throw new Error('level: expected one of debug, info, warning, error, fatal, off')
        setLogLevel(level)
        return undefined
      }
      default:
        throw new Error(`there is no request ${JSON.stringify(what)}; see docs/inspector.md`)
    }
  }

  #hello(): object {
    const { pid, version } = process
    const worker = currentWorker()?.node
    return {
      protocol: PROTOCOL, readOnly: this.#readOnly, pid, node: version, now: performance.now(), ...worker && { worker },
    }
  }

  #vmOf(request: Request): Vm {
    return vmAt(this.#inspection, request['vm'])
  }

  #events(request: Request): object {
    const { ring } = this.#inspection
    const from = request['from'] === undefined ? ring.first : integerOf(request, 'from', 0)
    const limit = request['limit'] === undefined ? EVENTS_MAX : integerOf(request, 'limit', 1, EVENTS_MAX)
    const fits = filterOf(request)
    const events: object[] = []
    let next = Math.max(from, ring.first)
    for (const event of ring.from(from)) {
      if (events.length === limit) break
      next = event.id + 1
      if (fits(event)) events.push(eventView(this.#inspection, event))
    }
    return { events, first: ring.first, next, last: ring.next - 1 }
  }

  #diagrammed(request: Request): SeenEvent[] {
    const { ring } = this.#inspection
    const ids = request['events']
    if (request['event'] !== undefined) {
      return eventsOfChain(this.#inspection, integerOf(request, 'event', 1)).events
    }
    if (!Array.isArray(ids) || ids.length > EVENTS_MAX) {
      throw new Error(`events: expected at most ${EVENTS_MAX} numbers`)
    }
    return ids.map((id) => ring.get(Number(id))).filter((event) => event !== undefined)
  }

  #startTrace(request: Request): object {
    const rate = request['rate'] === undefined ? RATE : integerOf(request, 'rate', 1, RATE_MAX)
    filterOf(request) // whether it makes sense
    if (this.#trace === undefined) {
      this.#inspection.recorders++
      this.#traceTimer = setInterval(() => { this.#tellTraced() }, TRACE_MS).unref()
    }
    const { path, kind } = request as { path?: string, kind?: string }
    const topic = request['topic'] === undefined ? undefined : topicOf(request, 'topic')
    this.#trace = { topic, path, kind, rate }
    this.#left = rate
    return { rate }
  }

  #untrace(): void {
    if (this.#trace === undefined) return
    this.#trace = undefined
    this.#traced = []
    clearInterval(this.#traceTimer)
    this.#inspection.recorders--
  }

  event(event: SeenEvent, subject: unknown): void {
    const trace = this.#trace
    if (trace === undefined || !fits(trace, event, subject)) return
    if (this.#left <= 0) {
      this.#dropped++
      return
    }
    this.#left--
    this.#traced.push(event)
  }

  #tellTraced(): void {
    const { rate = RATE } = this.#trace ?? {}
    this.#left = Math.min(this.#left + Math.ceil(rate * TRACE_MS / 1000), rate)
    if (this.#traced.length === 0 && this.#dropped === 0) return
    const events = this.#traced.map((event) => eventView(this.#inspection, event))
    const dropped = this.#dropped
    this.#traced = []
    this.#dropped = 0
    this.#push({ event: 'trace', events, dropped })
  }

  #watch(request: Request): object {
    const ms = request['every'] === undefined ? WATCH_MS : integerOf(request, 'every', WATCH_MIN, 60_000)
    this.#unwatch()
    this.#rows = new Map()
    this.#watchTimer = setInterval(() => { this.#tellRows() }, ms).unref()
    this.#measures = request['measure'] === true
    if (this.#measures) this.#inspection.measurers++
    this.#tellRows()
    return { every: ms }
  }

  #unwatch(): void {
    clearInterval(this.#watchTimer)
    if (this.#measures) this.#inspection.measurers--
    this.#measures = false
  }

  /** The rows that have changed, and which are gone. */
  #tellRows(): void {
    // Who doesn't read is told again when he does.
    if (this.#link.waiting > WAITING_MAX) return
    const { processes, left } = tree(this.#inspection)
    const changed: ProcessRow[] = []
    const rows = new Map<string, string>()
    for (const row of processes) {
      const text = JSON.stringify({ ...row, age: 0 })
      rows.set(row.path, text)
      if (this.#rows.get(row.path) !== text) changed.push(row)
    }
    const gone = [...this.#rows.keys()].filter((path) => !rows.has(path))
    this.#rows = rows
    this.#push({
      event: 'processes', changed, gone, left, paused: this.#inspection.pauses.groundPaused, now: performance.now(),
    })
  }

  #pause(request: Request): object | undefined {
    const { pauses } = this.#inspection
    if (request['path'] === undefined || request['path'] === '') {
      pauses.pauseGround()
      this.#pausedGround = true
      return undefined
    }
    const process = processAt(this.#inspection, request['path'])
    pauses.pause(process)
    this.#paused.add(pathOf(process))
    return undefined
  }

  #break(request: Request): object {
    const { breakpoints } = this.#inspection
    if (breakpoints.size >= BREAKPOINTS_MAX) throw new Error(`there are ${BREAKPOINTS_MAX} breakpoints already`)
    const { on = 'event' } = request
    const kinds: readonly unknown[] = ['event', 'message', 'presence', 'absence', 'reason', 'exception']
    if (!kinds.includes(on)) throw new Error(`on: expected one of ${kinds.join(', ')}`)
    const id = this.#inspection.newId()
    const breakpoint: Breakpoint = {
      id, on: on as Breakpoint['on'],
      topic: request['topic'] === undefined ? undefined : topicOf(request, 'topic'),
      process: request['path'] === undefined ? undefined : processAt(this.#inspection, request['path']),
    }
    breakpoints.set(id, breakpoint)
    this.#breakpoints.add(id)
    return { breakpoint: id }
  }

  paused(process: Process, reason: PauseReason): void {
    if (reason.by === 'breakpoint' && this.#breakpoints.has(reason.breakpoint)) this.#paused.add(pathOf(process))
    this.#push({ event: 'paused', ...reason, process: rowOf(this.#inspection, process) })
  }

  resumed(process: Process, overflowed: boolean): void {
    this.#paused.delete(pathOf(process))
    this.#push({ event: 'resumed', path: pathOf(process), overflowed })
  }

  crashed(crash: Crash): void {
    this.#push({ event: 'crashed', crash: crashView(this.#inspection, crash) })
  }

  /** A client that doesn't read loses its session, and not the program its memory. */
  #push(what: object): void {
    if (this.#link.waiting > 4 * WAITING_MAX) {
      this.#link.close(1013, 'you read too slowly')
      return
    }
    this.#link.send(JSON.stringify(what))
  }
}

function topicOf(request: Request, name: string): unknown {
  const text = request[name]
  if (typeof text !== 'string') throw new Error(`${name}: expected a topic as text, such as ['tick', _]`)
  try {
    return parseTopic(text)
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`, { cause: error })
  }
}

function orientationOf(request: Request): Orientation {
  const { orientation = 'publisher' } = request
  if (orientation !== 'publisher' && orientation !== 'subscriber') {
    throw new Error("orientation: expected 'publisher' or 'subscriber'")
  }
  return orientation
}

function integerOf(request: Request, name: string, lowest: number, highest = Number.MAX_SAFE_INTEGER): number {
  const value = request[name]
  if (!Number.isInteger(value) || (value as number) < lowest || (value as number) > highest) {
    throw new Error(`${name}: expected an integer from ${lowest} to ${highest}`)
  }
  return value as number
}

function filterOf(request: Request): (event: SeenEvent) => boolean {
  const { path, kind } = request
  if (path !== undefined && typeof path !== 'string') throw new Error('path: expected the path of a process')
  if (kind !== undefined && kind !== 'message' && kind !== 'presence' && kind !== 'absence') {
    throw new Error('kind: expected message, presence or absence')
  }
  const topic = request['topic'] === undefined ? undefined : topicOf(request, 'topic')
  return (event) => fits({ topic, path, kind, rate: 0 }, event, event.endpoint.topic)
}

/**
 * Whether an event is of those that are wanted.
 *
 * @param subject what is compared with the topic: of an event that has gone by it is the topic of who heard it
 */
function fits({ topic, path, kind }: Trace, { event, endpoint }: SeenEvent, subject: unknown): boolean {
  const kinds = { onMessage: 'message', onPresence: 'presence', onAbsence: 'absence' }
  if (kind !== undefined && kinds[event] !== kind) return false
  if (path !== undefined) {
    const own = endpoint.hearer.path
    if (own !== path && !own.startsWith(`${path}.`)) return false
  }
  if (topic === undefined) return true
  try {
    return meet(topic, subject) !== NO_MEETING
  } catch {
    return false
  }
}

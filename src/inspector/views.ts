/**
 * What others see of an inspection, as JSON: processes, endpoints, who meets whom, events, causes, failures.
 *
 * Owns the form of these views and their limits: each is bounded, whatever the program has, and says what it left out.
 */
import { isCompound, meet, NO_MEETING, part, RecordBase, size, Wildcard } from '../topic/index.js'
import { show } from '../support/errors.js'
import { AddEndpoint, describeAction, type Action } from '../vm/action.js'
import type { Endpoint } from '../vm/endpoint.js'
import { peersOf } from '../vm/presence.js'
import type { EventHandler, Process } from '../vm/process.js'
import type { Orientation } from '../vm/role.js'
import { ownEndpoints } from '../vm/tap.js'
import type { Vm } from '../vm/vm.js'
import type { SeenEvent } from './event-ring.js'
import { pathOf, type Breakpoint, type Crash, type Inspection } from './inspection.js'
import { textOf } from './preview.js'
import type { EndpointOf, EndpointView, EventView, ProcessRow } from './shown.js'

/** Endpoints of one process, actions of one queue, peers and misses that are shown. */
const LIST_MAX = 200
/** Peers that are shown with an endpoint. */
const PEERS_SHOWN = 20
/** Processes that are shown. */
const PROCESSES_MAX = 20_000
/** Events of a chain of causes, in either direction. */
const CHAIN_MAX = 500

function* processesIn(vm: Vm): Generator<Process> {
  for (const process of vm.processes.all()) {
    yield process
    if (process.inner !== undefined) yield* processesIn(process.inner)
  }
}

/** All processes, a VM before those inside; at most 20,000, and how many there are beyond. */
export function tree(inspection: Inspection): { readonly processes: ProcessRow[], readonly left: number } {
  const processes: ProcessRow[] = []
  let left = 0
  for (const process of processesIn(inspection.ground.root)) {
    if (processes.length < PROCESSES_MAX) processes.push(rowOf(inspection, process))
    else left++
  }
  return { processes, left }
}

export function rowOf(inspection: Inspection, process: Process): ProcessRow {
  const note = inspection.noteOf(process)
  const { queue, container } = { queue: process.queue, container: process.vm.container }
  return {
    path: pathOf(process),
    name: process.name ?? '',
    kind: process.guard !== undefined ? 'driver' : process.inner !== undefined ? 'vm' : 'process',
    vm: container === undefined ? '' : pathOf(container),
    parent: note.parent ?? '',
    endpoints: ownEndpoints(process).length,
    queue: queue === undefined ? 0 : Array.isArray(queue) ? queue.length : 1,
    pending: process.pending,
    turns: note.turns, messages: note.messages, presences: note.presences, absences: note.absences, sent: note.sent,
    failures: note.failures, handlerMs: rounded(note.handlerMs), age: rounded(performance.now() - note.bornAt),
    held: inspection.pauses.heldBy(process) ?? -1,
  }
}

/** To microseconds. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000
}

/** @throws Error when there is no such process */
export function processAt(inspection: Inspection, path: unknown): Process {
  if (typeof path !== 'string' || !/^\d+(\.\d+)*$/.test(path)) {
    throw new Error(`a process is named by its path, such as '2.0'; got ${show(path)}`)
  }
  let vm: Vm | undefined = inspection.ground.root
  let process: Process | undefined
  for (const pid of path.split('.')) {
    process = vm?.processes.get(Number(pid))
    vm = process?.inner
  }
  if (process === undefined) throw new Error(`there is no process ${path}`)
  return process
}

/** The VM of that path; '' is the ground VM. @throws Error when there is none */
export function vmAt(inspection: Inspection, path: unknown): Vm {
  if (path === undefined || path === '') return inspection.ground.root
  const { inner } = processAt(inspection, path)
  if (inner === undefined) throw new Error(`process ${show(path)} is no VM`)
  return inner
}

/** Everything about one process. */
export function processPage(inspection: Inspection, process: Process): object {
  const endpoints = ownEndpoints(process)
  const actions = process.queue === undefined ? [] : Array.isArray(process.queue) ? process.queue : [process.queue]
  const last: object[] = []
  const note = inspection.noteOf(process)
  for (let id = inspection.ring.next - 1; id >= inspection.ring.first && last.length < LIST_MAX; id--) {
    const event = inspection.ring.get(id)
    if (event?.endpoint.hearer === note) last.unshift(eventView(inspection, event))
  }
  return {
    ...rowOf(inspection, process),
    state: inspection.preview(process.state),
    essential: process.essential,
    children: [...process.ties?.children ?? []].slice(0, LIST_MAX).map(pathOf),
    endpointList: endpoints.slice(0, LIST_MAX).map((endpoint) => endpointView(inspection, endpoint)),
    endpointsLeft: Math.max(0, endpoints.length - LIST_MAX),
    actions: actions.slice(0, LIST_MAX).map((action) => actionText(inspection, action)),
    actionsLeft: Math.max(0, actions.length - LIST_MAX),
    events: last,
  }
}

function actionText({ redact }: Inspection, action: Action): string {
  // Not as errors have it: what it is about may have to be redacted, and no code of the program is to be run.
  if (!(action instanceof AddEndpoint)) return describeAction(action, (value) => textOf(value, redact))
  const { orientation, interest, topic } = action.role
  return `addEndpoint(${orientation} ${interest} of ${textOf(topic, redact)})`
}

function endpointView(inspection: Inspection, endpoint: Endpoint): EndpointView {
  const handlers = (['onPresence', 'onAbsence', 'onMessage'] as const).filter((event) => endpoint[event] !== undefined)
  const found: (Endpoint | undefined)[] = []
  const peers = endpoint.installed ? peersOf(endpoint.owner.vm, endpoint, found) : 0
  return {
    name: inspection.preview(endpoint.name), level: endpoint.target.vm.depth - endpoint.owner.vm.depth,
    orientation: endpoint.orientation, interest: endpoint.interest, topic: inspection.preview(endpoint.topic),
    text: textOf(endpoint.topic, inspection.redact), handlers, peers,
    peerList: found.slice(0, Math.min(peers, PEERS_SHOWN))
      .flatMap((peer) => peer === undefined ? [] : whose(inspection, peer)),
  }
}

/** An endpoint among others: whose it is, and what it is. */
function whose(inspection: Inspection, endpoint: Endpoint): EndpointOf {
  const { target, orientation, interest, topic } = endpoint
  return {
    path: pathOf(target), who: target.describe(), orientation, interest, topic: inspection.preview(topic),
    text: textOf(topic, inspection.redact), hears: endpoint.onMessage !== undefined,
  }
}

/** Who would be peers of an endpoint with this topic in a VM now. */
export function peersOfTopic(
  inspection: Inspection, vm: Vm, topic: unknown, orientation: Orientation,
): { readonly peers: EndpointOf[], readonly left: number } {
  const index = orientation === 'publisher' ? vm.subscribers : vm.publishers
  const candidates: Endpoint[] = []
  index.peers(topic, candidates)
  const found = candidates.filter((endpoint) => meet(endpoint.topic, topic) !== NO_MEETING)
  return {
    peers: found.slice(0, LIST_MAX).map((endpoint) => whose(inspection, endpoint)),
    left: Math.max(0, found.length - LIST_MAX),
  }
}

/**
 * Who would get a message that is sent in a VM now, and why others would not: those first whose topics are nearest.
 * Endpoints that would in other VMs are told as well, as nothing crosses a level by itself.
 */
export function whoGets(inspection: Inspection, vm: Vm, message: unknown, orientation: Orientation): object {
  const gets: object[] = []
  const misses: (Miss & { readonly endpoint: Endpoint })[] = []
  const elsewhere: object[] = []
  const wanted: Orientation = orientation === 'publisher' ? 'subscriber' : 'publisher'
  for (const process of [...processesIn(inspection.ground.root)]) {
    for (const endpoint of ownEndpoints(process)) {
      if (!endpoint.installed) continue
      const here = endpoint.owner.vm === vm
      const why = whyNot(inspection, endpoint, message, wanted)
      if (!here) {
        if (why === undefined && elsewhere.length < LIST_MAX) {
          elsewhere.push({ ...whose(inspection, endpoint), vm: pathOfVm(endpoint.owner.vm) })
        }
      } else if (why === undefined) {
        gets.push(whose(inspection, endpoint))
      } else {
        misses.push({ ...why, endpoint })
      }
    }
  }
  misses.sort((a, b) => b.near - a.near)
  return {
    gets: gets.slice(0, LIST_MAX), getsLeft: Math.max(0, gets.length - LIST_MAX),
    misses: misses.slice(0, LIST_MAX).map(({ why, endpoint }) => ({ ...whose(inspection, endpoint), why })),
    missesLeft: Math.max(0, misses.length - LIST_MAX),
    elsewhere,
  }
}

function pathOfVm({ container }: Vm): string {
  return container === undefined ? '' : pathOf(container)
}

/** Why an endpoint does not get a message; and how near it is to getting it, from 0 to 1. Undefined: it gets it. */
function whyNot(
  inspection: Inspection, endpoint: Endpoint, message: unknown, wanted: Orientation,
): Miss | undefined {
  const { topic } = endpoint
  let meets: boolean
  try {
    meets = meet(topic, message) !== NO_MEETING
  } catch (error) {
    return { why: error instanceof Error ? error.message : String(error), near: 0 }
  }
  if (!meets) {
    return firstDifference(inspection, topic, message, '')
  }
  if (endpoint.orientation !== wanted) {
    const sent = wanted === 'subscriber' ? 'a message goes to subscribers' : 'feedback goes to publishers'
    return { why: `${sent}, and this is a ${endpoint.orientation}`, near: 0.9 }
  }
  if (endpoint.onMessage === undefined) return { why: 'it has no onMessage', near: 1 }
  if (endpoint.exact && !isInstance(message, topic)) {
    return { why: 'it is a driver\'s, which takes no message with wildcards in it', near: 1 }
  }
  return undefined
}

function isInstance(message: unknown, topic: unknown): boolean {
  if (message instanceof Wildcard) return topic instanceof Wildcard
  if (!isCompound(message) || !isCompound(topic)) return true
  for (let i = 0; i < size(message) && i < size(topic); i++) {
    if (!isInstance(part(message, i), part(topic, i))) return false
  }
  return true
}

/** Why an endpoint misses a message, and how near it was. */
interface Miss {
  readonly why: string
  readonly near: number
}

/** Where a message is first unlike a topic, and how far they were alike before. */
function firstDifference(inspection: Inspection, topic: unknown, message: unknown, where: string): Miss {
  const at = where === '' ? '' : `${where}: `
  if (!isCompound(topic) || !isCompound(message)) {
    // Without what leads to it a part might show what is to be redacted in the whole.
    const text = (value: unknown): string => inspection.redact === undefined ? textOf(value) : 'another value'
    return { why: `${at}the topic has ${text(topic)}, and the message ${text(message)}`, near: 0.3 }
  }
  const label = (value: unknown): string => (value instanceof RecordBase ? value.$kind.label : 'an array')
  if (label(topic) !== label(message)) {
    const why = `${at}the topic is ${label(topic)}, and the message ${label(message)}`
    return { why, near: where === '' ? 0 : 0.3 }
  }
  if (size(topic) !== size(message)) {
    return { why: `${at}the topic has ${size(topic)} parts, and the message ${size(message)}`, near: 0.2 }
  }
  const n = size(topic)
  for (let i = 0; i < n; i++) {
    const inTopic = part(topic, i)
    const inMessage = part(message, i)
    if (meet(inTopic, inMessage) !== NO_MEETING) continue
    const field = topic instanceof RecordBase ? topic.$kind.fields[i] ?? 'instance' : String(i)
    const { why, near } = firstDifference(inspection, inTopic, inMessage, where === '' ? field : `${where}.${field}`)
    return { why, near: (i + near) / n * 0.8 + 0.1 }
  }
  return { why: `${at}one wildcard stands in several places, which have different values`, near: 0.8 }
}

/** An event as others see it. */
export function eventView({ redact }: Inspection, event: SeenEvent): EventView {
  const { id, turn, cause, source, endpoint, details } = event
  const kinds: Readonly<Record<EventHandler, EventView['kind']>> = {
    onMessage: 'message', onPresence: 'presence', onAbsence: 'absence',
  }
  return {
    id, turn, cause, kind: kinds[event.event], path: endpoint.hearer.path, who: endpoint.hearer.who,
    text: textOf(endpoint.topic, redact),
    ...source === undefined ? {} : { source: source.name },
    ...details === undefined ? {} : details,
  }
}

/** An event, what it was caused by, back to the first that is known, and what it has caused. */
export function chain(inspection: Inspection, id: number): { readonly events: EventView[], readonly left: boolean } {
  const { events, left } = eventsOfChain(inspection, id)
  return { events: events.map((event) => eventView(inspection, event)), left }
}

/** The same events as they are kept; and whether there would be more. */
export function eventsOfChain(
  inspection: Inspection, id: number,
): { readonly events: SeenEvent[], readonly left: boolean } {
  const { ring } = inspection
  const causes: SeenEvent[] = []
  for (let event = ring.get(id); event !== undefined && causes.length < CHAIN_MAX; event = ring.get(event.cause)) {
    causes.unshift(event)
  }
  const known = new Set([id])
  const effects: SeenEvent[] = []
  let left = false
  if (causes.length > 0) {
    for (const event of ring.from(id + 1)) {
      if (!known.has(event.cause)) continue
      if (effects.length === CHAIN_MAX) {
        left = true
        break
      }
      known.add(event.id)
      effects.push(event)
    }
  }
  return { events: [...causes, ...effects], left }
}

/** A failure as others see it. */
export function crashView(inspection: Inspection, { event, last, ...crash }: Crash): object {
  return {
    ...crash, event: event === undefined ? undefined : eventView(inspection, event),
    last: last.map((one) => eventView(inspection, one)),
  }
}

/** A breakpoint as others see it. */
export function breakpointView({ redact }: Inspection, { id, on, topic, process }: Breakpoint): object {
  return {
    id, on,
    ...topic === undefined ? {} : { topic: textOf(topic, redact) },
    ...process === undefined ? {} : { path: pathOf(process), who: process.describe() },
  }
}

/**
 * What a process was like after an event of its own, as far as it was recorded: its state, and that after the event
 * before, to compare.
 */
export function moment(inspection: Inspection, id: number): object {
  const event = inspection.ring.get(id)
  if (event === undefined) throw new Error(`event ${id} is not there any more, or not yet`)
  const { hearer } = event.endpoint
  let before: SeenEvent | undefined
  let after: SeenEvent | undefined
  for (let at = id - 1; at >= inspection.ring.first && before === undefined; at--) {
    const other = inspection.ring.get(at)
    if (other?.endpoint.hearer === hearer) before = other
  }
  for (const other of inspection.ring.from(id + 1)) {
    if (other.endpoint.hearer !== hearer) continue
    after = other
    break
  }
  return {
    event: eventView(inspection, event), state: event.details?.state, stateBefore: before?.details?.state,
    before: before?.id ?? 0, after: after?.id ?? 0,
  }
}

/**
 * An inspection: somebody looks into a ground VM and all that is inside.
 *
 * Owns what is counted for each process, the last events with their causes, failures, breakpoints and pauses. It is
 * told by the VM through `Tap`, and tells whoever listens. What others see of it as JSON is in `views.ts`.
 *
 * Causes: each event has a number, and each action of a process's queue is known to be of the event whose handler
 * returned it, by its place in the queue; what an action causes has that event as its cause. What comes from outside
 * has none, but the name of its source.
 */
import { isPromise } from 'node:util/types'
import { setTimer, timerExpired } from '../drivers/timer-records.js'
import { log } from '../support/log.js'
import { mapKey, meet, NO_MEETING } from '../topic/index.js'
import { AtMetaLevel, quit, SendMessage, Spawn, spawn, Yield, type Action } from '../vm/action.js'
import type { Endpoint } from '../vm/endpoint.js'
import type { EventSource } from '../vm/event-source.js'
import { Transition, type ActionTree, type AnyHandler } from '../vm/handler.js'
import type { EventHandler, Process } from '../vm/process.js'
import { watchHandlers, type Tap } from '../vm/tap.js'
import type { Ground, Vm } from '../vm/vm.js'
import { EventRing, type EventDetails, type Hearer, type SeenEndpoint, type SeenEvent } from './event-ring.js'
import { Pauses, type PauseReason } from './pauses.js'
import { preview, textOf, type PreviewBudget, type Redact } from './preview.js'
import type { Recorder } from './recording.js'
import type { Preview } from './shown.js'

/** Most events and bytes of values that are kept. */
const EVENTS_MAX = 10_000
const EVENT_BYTES_MAX = 16 * 1024 * 1024
/** Failures that are kept until somebody dismisses them. */
const CRASHES_MAX = 100
/** Timers whose setting is known. */
const TIMERS_MAX = 10_000
/** Events of a process that a failure is kept with. */
const LAST_EVENTS = 20
/** What is shown of the values of one event while they are recorded. */
const RECORDED: PreviewBudget = { depth: 4, parts: 50, bytes: 512 }
const NO_DETAILS: EventDetails = {
  at: 0, subject: undefined, reason: undefined, state: undefined, error: undefined,
}

/** What is known of a process, beside what it knows itself. */
export class ProcessNote implements Hearer {
  readonly bornAt = performance.now()
  turns = 0
  messages = 0
  presences = 0
  absences = 0
  sent = 0
  failures = 0
  /** Milliseconds in handlers; counted while somebody records, or measures. */
  handlerMs = 0
  /** Where in its queue the actions of an event begin, and the event; so many of them. */
  #starts: number[] = []
  #causes: number[] = []
  #marks = 0
  /** The same of the queue that is performed now, and how far that is. */
  #takenStarts: number[] = []
  #takenCauses: number[] = []
  #takenMarks = 0
  #at = -1
  /** Undefined when it has ended: then what it was called is known. */
  #process: Process | undefined
  #ended: { readonly path: string, readonly who: string } | undefined

  /** @param parent the path of the process that has started it */
  constructor(process: Process, readonly parent: string | undefined, readonly bornOf: number) {
    this.#process = process
  }

  get process(): Process | undefined {
    return this.#process
  }

  get path(): string {
    return this.#ended?.path ?? pathOf(this.#process as Process)
  }

  get who(): string {
    return this.#ended?.who ?? (this.#process as Process).describe()
  }

  /** Events speak of it for long; its state is not kept for them. */
  ends(): void {
    this.#ended = { path: this.path, who: this.who }
    this.#process = undefined
  }

  /** What is put into the queue from now on is of an event. */
  marks(cause: number): void {
    const length = this.#process === undefined ? 0 : queueLength(this.#process)
    let at = this.#marks
    if (at === 0 || this.#starts[at - 1] !== length) this.#marks++
    else at--
    this.#starts[at] = length
    this.#causes[at] = cause
  }

  /** The queue is about to be performed; another one begins. */
  takesQueue(): void {
    const starts = this.#takenStarts
    const causes = this.#takenCauses
    this.#takenStarts = this.#starts
    this.#takenCauses = this.#causes
    this.#takenMarks = this.#marks
    this.#starts = starts
    this.#causes = causes
    this.#marks = 0
    this.#at = -1
  }

  /** The event that an action of the queue that was taken is of; indices ascend. */
  causeOf(index: number): number {
    while (this.#at + 1 < this.#takenMarks && this.#takenStarts[this.#at + 1] <= index) this.#at++
    return this.#at < 0 ? this.bornOf : this.#takenCauses[this.#at]
  }
}

function queueLength({ queue }: Process): number {
  return queue === undefined ? 0 : Array.isArray(queue) ? queue.length : 1
}

/** Where events are to be held up. */
export interface Breakpoint {
  /** Its number. */
  readonly id: number
  /** Message that meets it, or presence or absence whose topic does; undefined: any. */
  readonly topic?: unknown
  /** Only such events. */
  readonly on: 'event' | 'message' | 'presence' | 'absence' | 'reason' | 'exception'
  /** Only events of this process. */
  readonly process?: Process | undefined
}

/** A process that has failed. */
export interface Crash {
  readonly id: number
  readonly at: number
  /** What it was. */
  readonly who: string
  readonly path: string
  readonly reason: Preview
  readonly state: Preview
  readonly event: SeenEvent | undefined
  readonly last: readonly SeenEvent[]
}

/** What listeners are told. */
export interface InspectionListener {
  /** Only while somebody records. @param subject the message, or the topic of the meeting */
  event?(event: SeenEvent, subject: unknown): void
  born?(process: Process): void
  ended?(process: Process, reason: unknown, failed: boolean): void
  paused?(process: Process, reason: PauseReason): void
  resumed?(process: Process, overflowed: boolean): void
  crashed?(crash: Crash): void
}

export interface InspectionOptions {
  readonly redact?: Redact | undefined
  /** What has everything that happens from now on recorded, so that it can be replayed. */
  readonly recorder?: Recorder | undefined
}

export class Inspection implements Tap {
  readonly ground: Ground
  readonly ring = new EventRing(EVENTS_MAX, EVENT_BYTES_MAX)
  readonly pauses: Pauses
  readonly crashes: Crash[] = []
  readonly breakpoints = new Map<number, Breakpoint>()
  readonly listeners = new Set<InspectionListener>()
  redact: Redact | undefined
  readonly recorder: Recorder | undefined
  /** So many want values, times and states of events to be recorded. */
  recorders = 0
  /** So many want the time that handlers take to be measured. */
  measurers = 0
  readonly #notes = new Map<Process, ProcessNote>()
  #nextId = 1
  #turn = 0
  #turnNote: ProcessNote | undefined
  /** The event that what happens now is because of. */
  #cause = 0
  #source: EventSource<unknown> | undefined
  /** The event by which each timer was set last, by its label. */
  readonly #timers = new Map<unknown, number>()
  /** An event whose handler has thrown is known until its process quits. */
  readonly #thrown = new WeakMap<Process, SeenEvent>()

  /** Begins to look. @throws Error when somebody does already */
  constructor(ground: Ground, { redact, recorder }: InspectionOptions = {}) {
    this.ground = ground
    this.redact = redact
    this.recorder = recorder
    if (recorder !== undefined) this.recorders++
    this.pauses = new Pauses(ground.root, {
      paused: (process, reason) => {
        recorder?.end(`${process.describe()} was paused`)
        this.#tell((listener) => listener.paused?.(process, reason))
      },
      resumed: (process, overflowed) => {
        if (overflowed) log('warning', `${process.describe()} goes on: too much waits for it`)
        this.#tell((listener) => listener.resumed?.(process, overflowed))
      },
    }, (endpoint, event, args) => this.#breakpointAt(endpoint, event, args))
    ground.look(this)
  }

  /** Looks no more: whatever was paused goes on. */
  end(): void {
    this.breakpoints.clear()
    this.pauses.resumeAll()
    // What waits is handled in the turns that have been asked for now, and by the handlers as they are.
    this.isEnding = true
    if (this.pauses.none) this.ground.lookAway(this)
  }

  isEnding = false

  noteOf(process: Process): ProcessNote {
    let note = this.#notes.get(process)
    if (note === undefined) this.#notes.set(process, note = new ProcessNote(process, undefined, 0))
    return note
  }

  newId(): number {
    return this.#nextId++
  }

  dismiss(id: number): boolean {
    const at = this.crashes.findIndex((crash) => crash.id === id)
    if (at >= 0) this.crashes.splice(at, 1)
    return at >= 0
  }

  preview(value: unknown, budget?: PreviewBudget): Preview {
    return preview(value, budget, this.redact)
  }

  watch(endpoint: Endpoint): void {
    const note = this.noteOf(endpoint.target)
    const seen: SeenEndpoint = { topic: endpoint.topic, hearer: note }
    watchHandlers(endpoint, (_endpoint, event, handler, args) =>
      this.#called(note, endpoint, seen, event, handler, args))
  }

  turnBegins(process: Process): boolean {
    if (!this.pauses.none) {
      const goes = this.pauses.turnBegins(process)
      if (this.isEnding && this.pauses.none) this.ground.lookAway(this)
      if (!goes) return false
    }
    const note = this.noteOf(process)
    note.turns++
    note.takesQueue()
    this.#turnNote = note
    this.#turn++
    if (this.recorder !== undefined) this.recorder.turn = this.#turn
    this.#source = undefined
    return true
  }

  performs(process: Process, action: Action, index: number): void {
    // Turns of processes inside a VM come in the VM's own turn.
    const note = this.#turnNote?.process === process ? this.#turnNote : (this.#turnNote = this.noteOf(process))
    const cause = note.causeOf(index)
    this.#cause = cause
    if (action instanceof SendMessage) this.#sends(note, action.body)
    else if (action instanceof Yield || action instanceof Spawn) note.marks(cause)
    else if (action instanceof AtMetaLevel && process.vm.container !== undefined) {
      this.noteOf(process.vm.container).marks(cause)
    }
  }

  /** What a timer causes is because of whoever has set it. */
  #sends(note: ProcessNote, body: unknown): void {
    note.sent++
    if (note.process?.guard === undefined || !timerExpired.is(body)) return
    const set = this.#timers.get(mapKey(body.label))
    if (set !== undefined) this.#cause = set
  }

  #setsTimer(id: number, label: unknown): void {
    // The oldest is forgotten: then what its timer causes comes from outside.
    const key = mapKey(label)
    this.#timers.delete(key)
    if (this.#timers.size === TIMERS_MAX) this.#timers.delete(this.#timers.keys().next().value)
    this.#timers.set(key, id)
  }

  turnEnds(): void {
    this.#turnNote = undefined
    this.#cause = 0
  }

  fires(source: EventSource<unknown> | undefined, value?: unknown, subscribers?: Iterable<Endpoint>): void {
    this.#source = source
    this.#cause = 0
    if (source !== undefined) this.recorder?.fired(source, value, subscribers ?? [])
  }

  activates(source: EventSource<unknown>): boolean {
    this.recorder?.activates(source)
    return true
  }

  awaits(): number {
    return this.recorder?.awaits() ?? 0
  }

  settles(process: Process, promise: number): undefined {
    this.recorder?.settled(process.describe(), promise)
  }

  stops(reason: unknown): boolean {
    this.recorder?.stopped(reason)
    return true
  }

  shutsDown(): boolean {
    return true
  }

  boots(process: Process, driver: boolean, boot: () => unknown): unknown {
    const { recorder } = this
    if (recorder === undefined || !driver) return boot()
    const who = process.describe()
    return recorder.called(who, 'boot', [], () => {
      const result = boot()
      const { guard } = process
      if (guard !== undefined) {
        process.guard = (...args) => recorder.called(who, 'guard', args, () => guard(...args)) as ActionTree
      }
      return result
    })
  }

  /** Does something in a VM for a client, by a process of its own there, which ends with it. */
  act(vm: Vm, action: Action): void {
    this.recorder?.acted(vm.container === undefined ? '' : pathOf(vm.container), action)
    actIn(vm, action)
  }

  /** Gives a process something to do. */
  tell(process: Process, action: Action): void {
    this.recorder?.told(process.describe(), action)
    process.enqueue(action)
    process.vm.wake()
  }

  born(process: Process, parent: Process | undefined): void {
    this.recorder?.born(process.describe())
    this.#notes.set(process, new ProcessNote(process, parent && pathOf(parent), this.#cause))
    this.#tell((listener) => listener.born?.(process))
  }

  ended(process: Process, reason: unknown, failed: boolean, booted: boolean): void {
    if (failed || !booted) this.#crashed(process, reason)
    for (const gone of [process, ...allInside(process)]) {
      this.#notes.get(gone)?.ends()
      this.#notes.delete(gone)
      this.pauses.ended(gone)
    }
    if (this.isEnding && this.pauses.none) this.ground.lookAway(this)
    this.#tell((listener) => listener.ended?.(process, reason, failed))
  }

  /** A handler is to be called. */
  #called(
    note: ProcessNote, endpoint: Endpoint, seen: SeenEndpoint, event: EventHandler, original: AnyHandler,
    args: unknown[],
  ): unknown {
    if (this.#mayHold && this.pauses.holds(endpoint, event, args)) return undefined
    const handler = this.recorder === undefined ? original : recordedBy(this.recorder, endpoint, event, original)
    if (event === 'onMessage') note.messages++
    else if (event === 'onPresence') note.presences++
    else note.absences++
    const turn = this.#turnNote === undefined ? 0 : this.#turn
    const id = this.ring.add(turn, this.#cause, this.#source, event, seen)
    // What the handler returns is put into the queue at once.
    note.marks(id)
    if (event === 'onMessage' && setTimer.is(args[0])) this.#setsTimer(id, args[0].label)
    if (this.recorders > 0) return this.#record(note, id, event, handler, args)
    if (this.measurers === 0) return this.#call(note, id, handler, args)
    const start = performance.now()
    try {
      return this.#call(note, id, handler, args)
    } finally {
      note.handlerMs += performance.now() - start
    }
  }

  get #mayHold(): boolean {
    return this.breakpoints.size > 0 || !this.pauses.none
  }

  #call(note: ProcessNote, id: number, handler: AnyHandler, args: unknown[]): unknown {
    try {
      const result: unknown = handler(...args)
      if (typeof result === 'object' && isPromise(result)) this.#awaits(note, id, result)
      return result
    } catch (error) {
      const shown = this.preview(error, RECORDED)
      const known = this.ring.get(id)?.details ?? NO_DETAILS
      this.ring.addDetails(id, { ...known, error: shown })
      this.#failed(note, id)
      throw error
    }
  }

  /** Before the VM takes what it resolves to. */
  #awaits(note: ProcessNote, id: number, result: Promise<unknown>): void {
    const settled = (): void => {
      if (note.process?.alive === true) note.marks(id)
    }
    result.then(settled, settled)
  }

  /** The same, with what the event is about, how long it takes and the state afterwards. */
  #record(note: ProcessNote, id: number, event: EventHandler, handler: AnyHandler, args: unknown[]): unknown {
    const details: EventDetails = {
      at: performance.now(), subject: this.preview(args[0], RECORDED),
      reason: event === 'onAbsence' ? this.preview(args[2], RECORDED) : undefined,
      state: undefined, error: undefined,
    }
    this.ring.addDetails(id, details)
    const start = performance.now()
    try {
      const result = this.#call(note, id, handler, args)
      note.handlerMs += performance.now() - start
      const state: unknown = result instanceof Transition ? result.state : note.process?.state
      if (state !== undefined) this.ring.addDetails(id, { ...details, state: this.preview(state, RECORDED) })
      return result
    } finally {
      const seen = this.ring.get(id)
      if (seen !== undefined) this.#tell((listener) => listener.event?.(seen, args[0]))
    }
  }

  #failed(note: ProcessNote, id: number): void {
    note.failures++
    const seen = this.ring.get(id)
    const { process } = note
    if (process === undefined) return
    if (seen !== undefined) this.#thrown.set(process, seen)
    this.#stopAtException(process)
  }

  #breakpointAt(endpoint: Endpoint, event: EventHandler, args: readonly unknown[]): number | undefined {
    for (const { id, on, topic, process } of this.breakpoints.values()) {
      if (process !== undefined && process !== endpoint.target) continue
      const fits = on === 'event' || (on === 'message' && event === 'onMessage') ||
        (on === 'presence' && event === 'onPresence') || (on === 'absence' && event === 'onAbsence') ||
        (on === 'reason' && event === 'onAbsence' && args[2] !== undefined)
      if (fits && (topic === undefined || meets(topic, args[0]))) return id
    }
    return undefined
  }

  /** Its end is queued, and waits there with it. */
  #stopAtException(process: Process): void {
    if (process.guard !== undefined) return
    for (const { id, on, process: only } of this.breakpoints.values()) {
      if (on !== 'exception' || (only !== undefined && only !== process)) continue
      this.pauses.pause(process, { by: 'breakpoint', breakpoint: id })
      return
    }
  }

  #crashed(process: Process, reason: unknown): void {
    const note = this.noteOf(process)
    const last: SeenEvent[] = []
    for (let id = this.ring.next - 1; id >= this.ring.first && last.length < LAST_EVENTS; id--) {
      const event = this.ring.get(id)
      if (event?.endpoint.hearer === note) last.unshift(event)
    }
    const crash: Crash = {
      id: this.newId(), at: Date.now(), who: process.describe(), path: pathOf(process),
      reason: this.preview(reason), state: this.preview(process.state), event: this.#thrown.get(process), last,
    }
    if (this.crashes.length === CRASHES_MAX) this.crashes.shift()
    this.crashes.push(crash)
    this.#tell((listener) => listener.crashed?.(crash))
  }

  /** A listener that fails is none of the program's business. */
  #tell(tell: (listener: InspectionListener) => void): void {
    for (const listener of this.listeners) {
      try {
        tell(listener)
      } catch (error) {
        log('error', 'an inspector failed to tell of an event', { reason: error })
        this.listeners.delete(listener)
      }
    }
  }
}

/** The same handler, of which is recorded what it does. */
function recordedBy(recorder: Recorder, endpoint: Endpoint, event: EventHandler, handler: AnyHandler): AnyHandler {
  const { target, topic } = endpoint
  if (target.guard !== undefined) {
    return (...args) => recorder.called(target.describe(), event, args, () => handler(...args))
  }
  return (...args) => recorder.heard(target.describe(), event, textOf(topic), args, target, () => handler(...args))
}

/** By a process of its own, which ends with it. */
export function actIn(vm: Vm, action: Action): void {
  vm.spawn(spawn(() => [action, quit()], { name: 'inspector' }))
  vm.wake()
}

function meets(topic: unknown, other: unknown): boolean {
  try {
    return meet(topic, other) !== NO_MEETING
  } catch {
    return false // it exceeds the limits of topics
  }
}

/** All processes inside of one that is a VM. */
export function allInside(process: Process): Process[] {
  const found: Process[] = []
  const vms = process.inner === undefined ? [] : [process.inner]
  for (let vm = vms.pop(); vm !== undefined; vm = vms.pop()) {
    for (const inside of vm.processes.all()) {
      found.push(inside)
      if (inside.inner !== undefined) vms.push(inside.inner)
    }
  }
  return found
}

/** Pids from the outside in: `2.0.5`. Identifies a process within its ground VM for ever. */
export function pathOf(process: Process): string {
  const { container } = process.vm
  return container === undefined ? String(process.pid) : `${pathOf(container)}.${process.pid}`
}

/**
 * What the page knows of the program: processes with their rates, failures, pauses, the trace.
 *
 * Owns that, and who is told when it changes: at most once for each frame, however much has changed. Only what is on
 * the screen is asked for: a page in the background watches nothing.
 */
import { useEffect, useReducer } from 'preact/hooks'
import type { EventView, Preview, ProcessRow } from '../src/inspector/shown.js'
import { Connection, type Push } from './connection.js'

/** A process, with what it did in the second before. */
export interface Row extends ProcessRow {
  /** Messages that it handled and sent, for each second. */
  readonly rate: number
  /** Which part of the time it spent in handlers, from 0 to 1. */
  readonly busy: number
  /** When it was started, in milliseconds of the program's clock. */
  readonly born: number
}

export interface Crash {
  readonly id: number
  readonly at: number
  readonly who: string
  readonly path: string
  readonly reason: Preview
  readonly state: Preview
  readonly event?: EventView
  readonly last: readonly EventView[]
}

export interface Hello {
  readonly protocol: number
  readonly readOnly: boolean
  readonly pid: number
  readonly node: string
}

/** Which events the trace shows. */
export interface Filter {
  readonly topic: string
  readonly path: string
  readonly kind: string
  readonly rate: number
}

/** A trace that was read from a file. */
export interface TraceFile {
  readonly name: string
  readonly events: readonly EventView[]
}

export interface Notice {
  readonly id: number
  readonly text: string
  readonly to?: string
}

/** Events of the trace that the page keeps. */
const TRACE_MAX = 20_000
/** The protocol that this page speaks. */
const PROTOCOL = 1
const NOTICE_MS = 8000
/** Numbers of the charts. */
const HISTORY = 60

class Model {
  hello: Hello | undefined
  rows = new Map<string, Row>()
  /** Changes whenever a row does. */
  version = 0
  /** Changes when processes have come or gone. */
  population = 0
  /** Processes that are paused. */
  pausedCount = 0
  /** Processes that are not told, as there are too many. */
  left = 0
  groundPaused = false
  /** The program's clock. */
  now = 0
  crashes: Crash[] = []
  notices: Notice[] = []
  trace: EventView[] = []
  /** Events that have come, dropped ones not counted, and those that the program has dropped. */
  traced = 0
  dropped = 0
  recording = false
  filter: Filter = { topic: '', path: '', kind: '', rate: 2000 }
  file: TraceFile | undefined
  /** Messages a second of all processes, the newest last. */
  history: number[] = []
  readonly connection: Connection
  readonly #listeners = new Set<() => void>()
  #drawsSoon = false
  #active = new Set<string>()
  #isFirst = true
  #lastNotice = 0

  constructor() {
    this.connection = new Connection((push) => { this.#told(push) }, () => { this.#statusChanged() })
    this.connection.start()
    document.addEventListener('visibilitychange', () => { this.#seen() })
  }

  get canAct(): boolean {
    return this.connection.open && this.hello?.readOnly === false
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Everything on the screen is drawn anew with the next frame. */
  changed(): void {
    if (this.#drawsSoon) return
    this.#drawsSoon = true
    requestAnimationFrame(() => {
      this.#drawsSoon = false
      for (const listener of this.#listeners) listener()
    })
  }

  notice(text: string, to?: string): void {
    const id = ++this.#lastNotice
    this.notices = [...this.notices.slice(-3), { id, text, ...to === undefined ? {} : { to } }]
    setTimeout(() => { this.forget(id) }, NOTICE_MS)
    this.changed()
  }

  forget(id: number): void {
    this.notices = this.notices.filter((notice) => notice.id !== id)
    this.changed()
  }

  /** Does something by request; a refusal is told. @returns whether it was done */
  async act(what: string, request: object = {}): Promise<boolean> {
    try {
      await this.connection.ask(what, request)
      return true
    } catch (error) {
      this.notice(messageOf(error))
      return false
    }
  }

  /** @throws what the program says about the filter */
  async record(filter: Filter): Promise<void> {
    const { topic, path, kind, rate } = filter
    await this.connection.ask('trace', {
      rate, ...topic === '' ? {} : { topic }, ...path === '' ? {} : { path }, ...kind === '' ? {} : { kind },
    })
    this.filter = filter
    this.recording = true
    this.changed()
  }

  async stopRecording(): Promise<void> {
    this.recording = false
    this.changed()
    if (this.connection.open) await this.act('untrace')
  }

  clearTrace(): void {
    this.trace = []
    this.traced = 0
    this.dropped = 0
    this.changed()
  }

  async dismiss(id: number): Promise<void> {
    if (this.connection.open && this.hello?.readOnly === false && !await this.act('dismiss', { crash: id })) return
    this.crashes = this.crashes.filter((crash) => crash.id !== id)
    this.changed()
  }

  nameOf(path: string): string {
    const row = this.rows.get(path)
    return row === undefined ? path : titleOf(row)
  }

  #statusChanged(): void {
    if (this.connection.open) {
      this.#isFirst = true
      this.#seen()
      void this.#askCrashes()
      if (this.recording) {
        this.record(this.filter).catch((error: unknown) => {
          this.recording = false
          this.notice(messageOf(error))
        })
      }
    }
    this.changed()
  }

  async #askCrashes(): Promise<void> {
    try {
      const { crashes } = await this.connection.ask<{ readonly crashes: Crash[] }>('crashes')
      this.crashes = crashes
      this.changed()
    } catch {
      // Asked again with the next connection.
    }
  }

  #seen(): void {
    if (!this.connection.open) return
    const request = document.visibilityState === 'visible'
      ? this.connection.ask('watch', { every: 1000, measure: true }) : this.connection.ask('unwatch')
    request.catch(() => undefined)
  }

  #told(push: Push): void {
    switch (push.event) {
      case 'hello':
        this.#greeted(push as unknown as Hello)
        break
      case 'processes':
        this.#processes(push as unknown as Processes)
        break
      case 'trace':
        this.#events(push['events'] as EventView[], push['dropped'] as number)
        break
      case 'paused': {
        const row = push['process'] as ProcessRow
        const name = titleOf(row)
        if (push['by'] === 'breakpoint') {
          this.notice(`${name} is paused by breakpoint ${String(push['breakpoint'])}`, `#/process/${row.path}`)
        }
        this.#pausedAt(row.path, row.held)
        break
      }
      case 'resumed': {
        const path = push['path'] as string
        if (push['overflowed'] === true) this.notice(`${this.nameOf(path)} goes on: too much waited for it`)
        this.#pausedAt(path, -1)
        break
      }
      case 'crashed': {
        const crash = push['crash'] as Crash
        this.crashes = [...this.crashes.slice(-99), crash]
        this.notice(`${crash.who} has failed`, '#/failures')
        break
      }
    }
    this.changed()
  }

  #greeted(hello: Hello): void {
    if (this.hello !== undefined && this.hello.pid !== hello.pid) {
      this.notice(`This is another program now: process ${hello.pid}`)
      this.clearTrace()
    }
    this.hello = hello
    if (hello.protocol !== PROTOCOL) this.notice(`The program speaks protocol ${hello.protocol}, this page ${PROTOCOL}`)
    document.title = `${hello.pid} - marketplace inspector`
  }

  #pausedAt(path: string, held: number): void {
    const row = this.rows.get(path)
    if (row === undefined) return
    this.pausedCount += Number(held >= 0) - Number(row.held >= 0)
    this.rows.set(path, { ...row, held })
    this.version++
  }

  #processes({ changed, gone, left, paused, now }: Processes): void {
    const isFirst = this.#isFirst
    if (isFirst) {
      this.rows = new Map()
      this.#active = new Set()
    }
    this.#isFirst = false
    const seconds = (now - this.now) / 1000
    const active = new Set<string>()
    for (const path of gone) this.rows.delete(path)
    const before = this.rows.size
    let all = 0
    for (const row of changed) {
      const old = this.rows.get(row.path)
      const messages = row.messages + row.sent - (old === undefined ? 0 : old.messages + old.sent)
      const ms = row.handlerMs - (old?.handlerMs ?? 0)
      // The first table tells what was done since the begin, and not in the last second.
      const rate = isFirst || seconds <= 0 ? 0 : messages / seconds
      const busy = isFirst || seconds <= 0 ? 0 : ms / 1000 / seconds
      this.rows.set(row.path, { ...row, rate, busy, born: now - row.age })
      if (rate > 0 || busy > 0) active.add(row.path)
      all += rate
    }
    for (const path of this.#active) {
      const row = this.rows.get(path)
      if (!active.has(path) && row !== undefined) this.rows.set(path, { ...row, rate: 0, busy: 0 })
    }
    this.#active = active
    if (isFirst || gone.length > 0 || this.rows.size !== before) this.population++
    this.pausedCount = 0
    for (const { held } of this.rows.values()) if (held >= 0) this.pausedCount++
    if (!isFirst) this.history = [...this.history.slice(-HISTORY + 1), all]
    this.left = left
    this.groundPaused = paused
    this.now = now
    this.version++
  }

  #events(events: EventView[], dropped: number): void {
    this.traced += events.length
    this.dropped += dropped
    for (const event of events) this.trace.push(event)
    // Not one by one: moving all the others takes its time.
    if (this.trace.length > TRACE_MAX * 1.25) this.trace = this.trace.slice(-TRACE_MAX)
  }
}

interface Processes {
  readonly changed: readonly ProcessRow[]
  readonly gone: readonly string[]
  readonly left: number
  readonly paused: boolean
  readonly now: number
}

/** What a process is called: its name, or its place. */
export function titleOf({ name, path, kind }: ProcessRow): string {
  if (name !== '') return name
  return `${kind === 'vm' ? 'VM' : kind} ${path}`
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export const model = new Model()

/** Draws a component again whenever the model has changed. */
export function useModel(): Model {
  const [, draw] = useReducer((count: number, _action: undefined) => count + 1, 0)
  useEffect(() => model.subscribe(() => { draw(undefined) }), [])
  return model
}

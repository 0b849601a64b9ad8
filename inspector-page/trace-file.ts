/**
 * What can be told of events: why they happened, and what a process was like. Of those of a running program, which is
 * asked; or of those of a file.
 *
 * Owns the form of trace files: `{ version, events }`, as the request `export` answers.
 */
import type { EventView, Preview } from '../src/inspector/shown.js'
import { model, type TraceFile } from './model.js'

export interface Chain {
  readonly events: readonly EventView[]
  readonly left: boolean
}

export interface Moment {
  readonly event: EventView
  readonly state?: Preview
  readonly stateBefore?: Preview
  /** The events of the same process before and after it; 0 if none is known. */
  readonly before: number
  readonly after: number
}

/** Events of a chain, in either direction. */
const CHAIN_MAX = 500

export async function chainOf(id: number): Promise<Chain> {
  return model.file === undefined ? model.connection.ask<Chain>('chain', { event: id }) : chainIn(model.file, id)
}

export async function momentOf(id: number): Promise<Moment> {
  return model.file === undefined ? model.connection.ask<Moment>('moment', { event: id }) : momentIn(model.file, id)
}

function chainIn({ events }: TraceFile, id: number): Chain {
  const byId = new Map(events.map((event) => [event.id, event]))
  const causes: EventView[] = []
  for (let event = byId.get(id); event !== undefined && causes.length < CHAIN_MAX; event = byId.get(event.cause)) {
    causes.unshift(event)
  }
  const known = new Set([id])
  const effects = events.filter((event) => {
    const follows = event.id > id && known.has(event.cause)
    if (follows) known.add(event.id)
    return follows
  })
  return { events: [...causes, ...effects.slice(0, CHAIN_MAX)], left: effects.length > CHAIN_MAX }
}

function momentIn({ events }: TraceFile, id: number): Moment {
  const event = events.find((one) => one.id === id)
  if (event === undefined) throw new Error(`event ${id} is not in the file`)
  const own = events.filter(({ path }) => path === event.path)
  const at = own.indexOf(event)
  const before = own[at - 1] as EventView | undefined
  const after = own[at + 1] as EventView | undefined
  return {
    event, ...event.state === undefined ? {} : { state: event.state },
    ...before?.state === undefined ? {} : { stateBefore: before.state }, before: before?.id ?? 0, after: after?.id ?? 0,
  }
}

/** The events of a file. @throws Error that says what is wrong with it */
export async function readTraceFile(file: File): Promise<TraceFile> {
  let content: unknown
  try {
    content = JSON.parse(await file.text())
  } catch {
    throw new Error(`${file.name} is not JSON`)
  }
  const { version, events } = (content ?? {}) as { version?: unknown, events?: unknown }
  if (!Array.isArray(events)) throw new Error(`${file.name} is no trace: it has no list of events`)
  if (version !== 1) throw new Error(`${file.name} has version ${String(version)}; this page reads version 1`)
  const wrong = events.findIndex((event) => !isEvent(event))
  if (wrong >= 0) throw new Error(`${file.name}: entry ${wrong} is no event`)
  return { name: file.name, events: events as EventView[] }
}

function isEvent(value: unknown): value is EventView {
  if (typeof value !== 'object' || value === null) return false
  const { id, cause, kind, path, who, text } = value as Partial<Record<keyof EventView, unknown>>
  return typeof id === 'number' && typeof cause === 'number' && typeof path === 'string' && typeof who === 'string' &&
    typeof text === 'string' && (kind === 'message' || kind === 'presence' || kind === 'absence')
}

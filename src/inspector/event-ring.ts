/**
 * The last events of a ground VM: which handler was called, in whose turn, and because of what.
 *
 * Owns the memory for them: bounded by count and, with what is shown of their values, by bytes. Events have numbers
 * that count from 1 and are not used again; the ring has those from `first` on.
 */
import type { EventSource } from '../vm/event-source.js'
import type { EventHandler } from '../vm/process.js'
import type { Preview } from './shown.js'

/** What is known of an event beside who caused it and who heard it. */
export interface EventDetails {
  /** When, in milliseconds of `performance.now()`. */
  readonly at: number
  /** What the handler was called for: the message, or the topic of a meeting. */
  readonly subject: Preview | undefined
  /** Of an absence. */
  readonly reason: Preview | undefined
  /** The process's state afterwards. */
  readonly state: Preview | undefined
  /** What the handler has thrown. */
  readonly error: Preview | undefined
}

/**
 * The endpoint that heard an event, as far as it is kept: not itself, which leads to its process and all that this had,
 * long after both have ended.
 */
export interface SeenEndpoint {
  readonly topic: unknown
  readonly hearer: Hearer
}

/** The process of an endpoint. */
export interface Hearer {
  readonly path: string
  /** What it is. */
  readonly who: string
}

/** A handler that was called. */
export interface SeenEvent {
  /** Its number. */
  readonly id: number
  /** The turn in which it was called: that of the process which has caused it, or 0 for what came from outside. */
  readonly turn: number
  /** The event whose handler returned the action that caused this one; 0 if it came from outside, or is not known. */
  readonly cause: number
  /** The event source that it came from, if it came from outside. */
  readonly source: EventSource<unknown> | undefined
  readonly event: EventHandler
  readonly endpoint: SeenEndpoint
  /** Undefined if nobody recorded them. */
  readonly details: EventDetails | undefined
}

const KINDS: readonly EventHandler[] = ['onPresence', 'onAbsence', 'onMessage']

export class EventRing {
  readonly #turns: Float64Array
  readonly #causes: Float64Array
  readonly #kinds: Uint8Array
  readonly #endpoints: (SeenEndpoint | undefined)[]
  readonly #sources: (EventSource<unknown> | undefined)[]
  /** With the bytes that they count. */
  readonly #details = new Map<number, { readonly details: EventDetails, readonly bytes: number }>()
  #next = 1
  #first = 1
  /** The place of the next one. */
  #place = 0
  #bytes = 0

  /**
   * @param countMax most events
   * @param bytesMax most bytes of their values
   */
  constructor(readonly countMax: number, readonly bytesMax: number) {
    this.#turns = new Float64Array(countMax)
    this.#causes = new Float64Array(countMax)
    this.#kinds = new Uint8Array(countMax)
    this.#endpoints = new Array<SeenEndpoint | undefined>(countMax).fill(undefined)
    this.#sources = new Array<EventSource<unknown> | undefined>(countMax).fill(undefined)
  }

  /** Number of the next event. */
  get next(): number {
    return this.#next
  }

  /** Number of the first event that is still there. */
  get first(): number {
    return this.#first
  }

  get bytes(): number {
    return this.#bytes
  }

  /** @returns its number */
  add(
    turn: number, cause: number, source: EventSource<unknown> | undefined, event: EventHandler, endpoint: SeenEndpoint,
  ): number {
    const id = this.#next++
    const place = this.#place
    this.#place = place + 1 === this.countMax ? 0 : place + 1
    if (id - this.#first === this.countMax) this.#drop()
    this.#turns[place] = turn
    this.#causes[place] = cause
    this.#kinds[place] = event === 'onMessage' ? 2 : event === 'onAbsence' ? 1 : 0
    this.#endpoints[place] = endpoint
    this.#sources[place] = source
    return id
  }

  /** What is known of an event now; it may be more than before. */
  addDetails(id: number, details: EventDetails): void {
    if (id < this.#first) return
    const bytes = sizeOf(details)
    this.#bytes += bytes - (this.#details.get(id)?.bytes ?? 0)
    this.#details.set(id, { details, bytes })
    while (this.#bytes > this.bytesMax && this.#first < this.#next - 1) this.#drop()
  }

  get(id: number): SeenEvent | undefined {
    if (id < this.#first || id >= this.#next) return undefined
    const place = (id - 1) % this.countMax
    return {
      id, turn: this.#turns[place], cause: this.#causes[place], source: this.#sources[place],
      event: KINDS[this.#kinds[place]], endpoint: this.#endpoints[place] as SeenEndpoint,
      details: this.#details.get(id)?.details,
    }
  }

  /** From the oldest on, or from a number on. */
  *from(id = this.#first): Generator<SeenEvent> {
    for (let at = Math.max(id, this.#first); at < this.#next; at++) yield this.get(at) as SeenEvent
  }

  #drop(): void {
    const id = this.#first++
    const place = (id - 1) % this.countMax
    this.#endpoints[place] = undefined
    this.#sources[place] = undefined
    if (this.#details.size === 0) return
    this.#bytes -= this.#details.get(id)?.bytes ?? 0
    this.#details.delete(id)
  }
}

function sizeOf({ subject, reason, state, error }: EventDetails): number {
  return JSON.stringify([subject, reason, state, error]).length
}

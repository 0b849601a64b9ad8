/**
 * Has V8 give memory back once many sockets have come or gone.
 *
 * A crowd of connections makes V8's young generation grow to its full size, and leaves garbage in the old one. V8
 * looks after both only when a program allocates: one that then waits, as servers do, keeps what the crowd has
 * taken, some 60 MB for ten thousand connections. So after a crowd V8 is asked once to collect: incrementally, in steps
 * of a millisecond or two between which the loop turns.
 *
 * Owns when that is: never for fewer sockets than are worth it, nor for fewer than stand for a share of the heap, so
 * that no peer can have a large heap collected for little; nor while the crowd still grows; and with a pause in
 * between.
 */
import { getHeapStatistics } from 'node:v8'
import { performance, setTimeout } from '../../support/real-time.js'
import { addonOrReason } from './addon.js'

/** A crowd are so many sockets that came or went. */
const CROWD_MIN = 2048
/** It is over when in one look's time only such a share of them came or went. */
const REST = 1 / 8
/** What a socket has had in the heap, about, in bytes; and how much of the heap that is to be for all of them. */
const SOCKET_BYTES = 2048
const HEAP_SHARE = 1 / 8

/** Milliseconds. */
export interface Trimming {
  /** Between one look and the next, while there is a crowd. */
  readonly look: number
  /** At least, between one collection and the next. */
  readonly pause: number
}

const DEFAULT: Trimming = { look: 3000, pause: 30_000 }

export class HeapTrimmer {
  /** Sockets that came or went since the last collection, and how many these were at the last look. */
  #changes = 0
  #looked = 0
  #last = -Infinity
  #timer: NodeJS.Timeout | undefined
  readonly #trim: () => void
  readonly #timing: Trimming

  /** @param trim begins a collection */
  constructor(trim: () => void, timing = DEFAULT) {
    this.#trim = trim
    this.#timing = timing
  }

  /** A socket came or went. */
  changed(): void {
    if (++this.#changes >= CROWD_MIN && this.#timer === undefined) this.#wait()
  }

  #wait(): void {
    this.#looked = this.#changes
    this.#timer = setTimeout(() => { this.#look() }, this.#timing.look)
    this.#timer.unref()
  }

  #look(): void {
    const changes = this.#changes
    const isOver = changes - this.#looked <= this.#looked * REST
    if (!isOver || performance.now() - this.#last < this.#timing.pause) {
      this.#wait()
      return
    }
    this.#timer = undefined
    this.#changes = 0
    if (changes * SOCKET_BYTES < getHeapStatistics().used_heap_size * HEAP_SHARE) return
    this.#last = performance.now()
    this.#trim()
  }
}

/** Of the thread: what a crowd has left in the heap stays when its engine goes. Without the addon nothing is done. */
const ofThread = new HeapTrimmer(() => {
  const found = addonOrReason()
  if (found.ok) found.addon.shrinkHeap()
})

/** A socket of this thread came or went, whoever carries it. */
export function socketsChanged(): void {
  ofThread.changed()
}

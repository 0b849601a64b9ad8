/**
 * Pausing: processes that are held up, what they would have heard in the meantime, and steps.
 *
 * A process that is paused takes no turns, and its handlers are not called: each event waits, in order, and is handled
 * with the state of then. A VM is paused as the process that it is; the ground VM as all of its processes but drivers.
 *
 * Invariants: nothing that waits is lost but by the end of its process; what waits is bounded, and when that is reached
 * the process goes on; as long as a process is paused, its VM has something to wait for.
 */
import { isCompound, mapParts, part, size } from '../topic/index.js'
import type { Endpoint } from '../vm/endpoint.js'
import type { EventHandler, Process } from '../vm/process.js'
import type { Vm } from '../vm/vm.js'

/** Events that may wait for one process, and the memory that what is in them takes, about. */
export const HELD_MAX = 10_000
export const HELD_BYTES_MAX = 16 * 1024 * 1024
/** Of a part of a record or an array, at least. */
const PART_BYTES = 8

/** The longest interval that Node has, in milliseconds. */
const INTERVAL_MAX = 0x7fffffff

/** Why a process was paused. */
export type PauseReason =
  | { readonly by: 'request' }
  | { readonly by: 'breakpoint', readonly breakpoint: number }

/** What became of a pause. */
export interface PauseListener {
  paused(process: Process, reason: PauseReason): void
  /** @param overflowed whether it goes on because too much waited */
  resumed(process: Process, overflowed: boolean): void
}

interface Held {
  readonly endpoint: Endpoint
  readonly event: EventHandler
  readonly args: readonly unknown[]
  readonly bytes: number
  /** A breakpoint has stopped here: it is not to do so again. */
  readonly isHit: boolean
}

interface Pause {
  readonly process: Process
  held: Held[]
  /** Of these, the first that still waits. */
  first: number
  bytes: number
  /** So many things it may do. */
  steps: number
  goesOn: boolean
}

export class Pauses {
  readonly #byProcess = new Map<Process, Pause>()
  readonly #root: Vm
  readonly #listener: PauseListener
  #groundPaused = false
  /** A timer: what is paused would otherwise be the end of a program that waits for nothing else. */
  #keepAlive: NodeJS.Timeout | undefined
  /** Whose event is let in now: it is not held up again, not even at a breakpoint. */
  #lettingIn: { readonly endpoint: Endpoint, readonly of: Pause } | undefined
  readonly #isHit: (endpoint: Endpoint, event: EventHandler, args: readonly unknown[]) => number | undefined

  /** @param isHit the breakpoint at which an event is to stop, if there is one */
  constructor(
    root: Vm, listener: PauseListener,
    isHit: (endpoint: Endpoint, event: EventHandler, args: readonly unknown[]) => number | undefined,
  ) {
    this.#root = root
    this.#listener = listener
    this.#isHit = isHit
  }

  /** Whether there are none: then nobody needs to ask for a single one. */
  get none(): boolean {
    return this.#byProcess.size === 0 && !this.#groundPaused
  }

  get groundPaused(): boolean {
    return this.#groundPaused
  }

  /** How many events wait for a paused process; undefined of one that isn't paused. */
  heldBy(process: Process): number | undefined {
    const pause = this.#byProcess.get(process)
    return pause === undefined ? undefined : pause.held.length - pause.first
  }

  /** @throws Error if it is one that can't be paused */
  pause(process: Process, reason: PauseReason = { by: 'request' }): void {
    if (process.guard !== undefined) throw new Error(`${process.describe()} is a driver, which others wait for`)
    const known = this.#byProcess.get(process)
    if (known !== undefined) {
      const went = known.goesOn
      known.goesOn = false
      known.steps = 0
      if (went || reason.by === 'breakpoint') this.#listener.paused(process, reason)
      return
    }
    this.#byProcess.set(process, { process, held: [], first: 0, bytes: 0, steps: 0, goesOn: false })
    process.beginPending()
    this.#updateKeepAlive()
    this.#listener.paused(process, reason)
  }

  /** Every process of the ground VM, but for drivers, as soon as it would do or hear something. */
  pauseGround(): void {
    this.#groundPaused = true
  }

  resumeGround(): void {
    this.#groundPaused = false
    for (const { process } of [...this.#byProcess.values()]) if (process.vm === this.#root) this.resume(process)
  }

  /** It goes on with what has waited. */
  resume(process: Process): void {
    const pause = this.#byProcess.get(process)
    if (pause === undefined) return
    pause.goesOn = true
    wake(process)
  }

  /** It does one thing: what it has queued, or else hears the first event that waits. */
  step(process: Process): void {
    const pause = this.#byProcess.get(process)
    if (pause === undefined) throw new Error(`${process.describe()} is not paused`)
    pause.steps++
    wake(process)
  }

  resumeAll(): void {
    this.#groundPaused = false
    for (const process of [...this.#byProcess.keys()]) this.resume(process)
  }

  /** It has ended: what waits is dropped with it. */
  ended(process: Process): void {
    if (this.#byProcess.delete(process)) this.#updateKeepAlive()
  }

  #updateKeepAlive(): void {
    const wanted = this.#byProcess.size > 0
    if (wanted === (this.#keepAlive !== undefined)) return
    clearInterval(this.#keepAlive)
    this.#keepAlive = wanted ? setInterval(() => undefined, INTERVAL_MAX) : undefined
  }

  /** Whether an event is held up instead of being handled now. */
  holds(endpoint: Endpoint, event: EventHandler, args: readonly unknown[]): boolean {
    if (!endpoint.target.alive) return false
    let pause = this.#pauseAround(endpoint.target)
    if (this.#lettingIn?.endpoint === endpoint) {
      // One that a VM has held may be for a process inside that is paused itself.
      if (pause === undefined || pause === this.#lettingIn.of) {
        this.#lettingIn = undefined
        return false
      }
    }
    let isHit = false
    if (pause === undefined) {
      const breakpoint = this.#isHit(endpoint, event, args)
      const { target } = endpoint
      if (breakpoint === undefined || target.guard !== undefined) return false
      this.pause(target, { by: 'breakpoint', breakpoint })
      pause = this.#byProcess.get(target)
      if (pause === undefined) return false
      isHit = true
    }
    this.#hold(pause, endpoint, event, args, isHit)
    return true
  }

  /** Whether a process may have its turn; if it goes on, it first hears what has waited. */
  turnBegins(process: Process): boolean {
    const pause = this.#byProcess.get(process)
    if (pause === undefined) {
      if (!this.#groundPaused || process.vm !== this.#root || process.guard !== undefined) return true
      this.pause(process)
      return false
    }
    if (pause.goesOn) return this.#goOn(pause)
    if (pause.steps === 0) return false
    pause.steps--
    // Another step comes in a turn of its own.
    const acts = process.queue !== undefined || process.inner?.needsRound() === true
    if (!acts && pause.first < pause.held.length) this.#letIn(pause)
    if (pause.steps > 0 && process.alive) wake(process)
    return acts
  }

  /** The pause of a process, or of a VM that it is inside of. */
  #pauseAround(target: Process): Pause | undefined {
    let outermost = target
    for (let process: Process | undefined = target; process !== undefined; process = process.vm.container) {
      const pause = this.#byProcess.get(process)
      if (pause !== undefined) return pause
      outermost = process
    }
    if (!this.#groundPaused || outermost.guard !== undefined) return undefined
    this.pause(outermost)
    return this.#byProcess.get(outermost)
  }

  #hold(pause: Pause, endpoint: Endpoint, event: EventHandler, args: readonly unknown[], isHit: boolean): void {
    const { bytes, isLent } = weightOf(args[0])
    const kept = isLent ? [copyOf(args[0], bytes > HELD_BYTES_MAX), ...args.slice(1)] : args
    pause.held.push({ endpoint, event, args: kept, bytes, isHit })
    pause.bytes += bytes
    if (pause.held.length - pause.first <= HELD_MAX && pause.bytes <= HELD_BYTES_MAX) return
    if (pause.goesOn) return
    this.#listener.resumed(pause.process, true)
    this.resume(pause.process)
  }

  #letIn(pause: Pause): void {
    const { endpoint, event, args, bytes } = pause.held[pause.first++]
    pause.bytes -= bytes
    if (pause.first * 2 > pause.held.length) {
      pause.held = pause.held.slice(pause.first)
      pause.first = 0
    }
    this.#lettingIn = { endpoint, of: pause }
    try {
      endpoint.owner.vm.hearLate(endpoint, event, args)
    } finally {
      this.#lettingIn = undefined
    }
  }

  /** Asked anew: what is let in may change it. */
  #goesOn(pause: Pause): boolean {
    return pause.goesOn
  }

  /** @returns whether it has heard all, and may have its turn */
  #goOn(pause: Pause): boolean {
    const { process } = pause
    while (pause.first < pause.held.length && process.alive) {
      const { endpoint, event, args, isHit } = pause.held[pause.first]
      const breakpoint = isHit ? undefined : this.#isHit(endpoint, event, args)
      if (breakpoint !== undefined) {
        pause.goesOn = false
        pause.held[pause.first] = { ...pause.held[pause.first], isHit: true }
        this.#listener.paused(process, { by: 'breakpoint', breakpoint })
        return false
      }
      this.#letIn(pause)
      // What it was let in for has stopped it again, such as an exception.
      if (!this.#goesOn(pause)) return false
    }
    if (!process.alive) return false
    this.#byProcess.delete(process)
    this.#updateKeepAlive()
    process.endPending()
    this.#listener.resumed(process, false)
    return true
  }
}

/** Has a process get a turn, also if it has nothing queued. */
function wake(process: Process): void {
  if (!process.alive) return
  if (!process.scheduled) process.vm.schedule(process)
  process.vm.wake()
}

/**
 * What a value takes, about, at any depth: what stands in several places counts as often. No more is looked at once it
 * is too much.
 *
 * @returns `isLent`: whether byte arrays are in it, which may lie in memory that is received into again
 */
function weightOf(value: unknown): { bytes: number, isLent: boolean } {
  let bytes = 0
  let isLent = false
  const left = [value]
  while (left.length > 0 && bytes <= HELD_BYTES_MAX) {
    const here = left.pop()
    if (typeof here === 'string') {
      bytes += here.length
    } else if (here instanceof Uint8Array) {
      bytes += here.byteLength
      isLent = true
    } else if (isCompound(here)) {
      const parts = size(here)
      bytes += parts * PART_BYTES
      if (bytes > HELD_BYTES_MAX) break
      for (let i = 0; i < parts; i++) left.push(part(here, i))
    }
  }
  return { bytes, isLent: isLent || bytes > HELD_BYTES_MAX }
}

/**
 * The same value with byte arrays of its own.
 *
 * @param isTooMuch it goes on its way at once: only what drivers have received is copied, which lies at the top
 */
function copyOf(value: unknown, isTooMuch: boolean): unknown {
  return isCompound(value) ? mapParts(value, ownBytes, () => isTooMuch) : ownBytes(value)
}

function ownBytes(leaf: unknown): unknown {
  if (!(leaf instanceof Uint8Array)) return leaf
  return Buffer.isBuffer(leaf) ? Buffer.from(leaf) : leaf.slice()
}

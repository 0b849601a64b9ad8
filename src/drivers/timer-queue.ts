/**
 * Pending timers: a binary heap for each clock, and one Node timer for whatever comes first.
 *
 * Cancelled timers stay in their heap until they come up, or until they are more than half of it.
 *
 * Relative timers that are asked for in one turn of the event loop expire in the order of their delays, however
 * long the turn takes: nobody who asks for 60 and 40 milliseconds in one go expects the 60 first because the
 * machine was busy in between.
 */
import TinyQueue from 'tinyqueue'
import { mapKey } from '../topic/index.js'

/** The longest delay that Node's timers take: 2^31 - 1 ms. */
const ARM_MAX = 0x7fffffff
/** How long an absolute timer may go without a look at the wall clock, which may be set. */
const WALL_CLOCK_MAX = 30_000

interface Timer {
  readonly label: unknown
  /** What it is found by. */
  readonly key: unknown
  readonly msecs: number
  /** On its heap's clock, in milliseconds. */
  deadline: number
  readonly sequence: number
  readonly heap: Heap
  /** It is in its heap: relative timers are, from the end of the turn in which they were asked for. */
  queued: boolean
  cancelled: boolean
}

const byDelay = (a: Timer, b: Timer): number => a.msecs - b.msecs || a.sequence - b.sequence
const byDeadline = (a: Timer, b: Timer): number => a.deadline - b.deadline || byDelay(a, b)

class Heap {
  private queue = new TinyQueue<Timer>([], byDeadline)
  cancelled = 0

  push(timer: Timer): void {
    timer.queued = true
    this.queue.push(timer)
  }

  /** The first timer that still counts. */
  first(): Timer | undefined {
    for (let timer = this.queue.peek(); timer !== undefined; timer = this.queue.peek()) {
      if (!timer.cancelled) return timer
      this.queue.pop()
      this.cancelled--
    }
    return undefined
  }

  pop(): void {
    this.queue.pop()
  }

  sweep(): void {
    if (this.cancelled * 2 <= this.queue.length) return
    this.queue = new TinyQueue(
      this.queue.data.filter((timer) => !timer.cancelled),
      byDeadline,
    )
    this.cancelled = 0
  }
}

export class TimerQueue {
  private readonly relative = new Heap()
  private readonly absolute = new Heap()
  /** Relative timers of the present turn of the event loop. */
  private asked: Timer[] = []
  private readonly byLabel = new Map<unknown, Set<Timer>>()
  private armed: NodeJS.Timeout | undefined
  private armedFor = Infinity
  /** Between `arm` and `disarm`. */
  private inUse = false
  private count = 0
  private sequence = 0
  /** Called when a timer may be due. */
  onDue: () => void = () => undefined

  get size(): number {
    return this.count
  }

  add(label: unknown, msecs: number, kind: 'relative' | 'absolute'): void {
    const heap = kind === 'relative' ? this.relative : this.absolute
    const deadline = kind === 'relative' ? performance.now() + msecs : msecs
    // First, as a label that can't be compared is a timer that can't be set.
    const key = mapKey(label)
    const sequence = this.sequence++
    const timer: Timer = { label, key, msecs, deadline, sequence, heap, queued: false, cancelled: false }
    if (kind === 'absolute') heap.push(timer)
    else if (this.asked.push(timer) === 1) queueMicrotask(() => this.queueAsked())
    const same = this.byLabel.get(key)
    if (same === undefined) this.byLabel.set(key, new Set([timer]))
    else same.add(timer)
    this.count++
  }

  /** @returns how many timers were called off */
  cancel(label: unknown): number {
    const same = this.byLabel.get(mapKey(label))
    if (same === undefined) return 0
    this.byLabel.delete(mapKey(label))
    for (const timer of same) {
      timer.cancelled = true
      if (timer.queued) timer.heap.cancelled++
    }
    this.count -= same.size
    this.relative.sweep()
    this.absolute.sweep()
    return same.size
  }

  /** Queues the relative timers of a turn: none expires before one with a shorter delay. */
  private queueAsked(): void {
    const { asked } = this
    if (asked.length === 0) return
    this.asked = []
    let earliest = -Infinity
    for (const timer of asked.sort(byDelay)) {
      if (timer.cancelled) continue
      earliest = Math.max(earliest, timer.deadline)
      timer.deadline = earliest
      timer.heap.push(timer)
    }
    if (this.inUse) this.arm()
  }

  /** Takes out the labels of all timers that are due, in the order of their deadlines. */
  takeDue(): unknown[] {
    this.queueAsked()
    const due: { readonly timer: Timer; readonly wall: number }[] = []
    const offset = Date.now() - performance.now()
    this.takeFrom(this.relative, performance.now(), offset, due)
    this.takeFrom(this.absolute, Date.now(), 0, due)
    due.sort((a, b) => a.wall - b.wall || byDelay(a.timer, b.timer))
    return due.map(({ timer }) => timer.label)
  }

  private takeFrom(heap: Heap, now: number, offset: number, due: { timer: Timer; wall: number }[]): void {
    for (let timer = heap.first(); timer !== undefined && timer.deadline <= now; timer = heap.first()) {
      heap.pop()
      due.push({ timer, wall: timer.deadline + offset })
      this.count--
      const same = this.byLabel.get(timer.key)
      same?.delete(timer)
      if (same?.size === 0) this.byLabel.delete(timer.key)
    }
  }

  /** Sees to it that `onDue` is called in time, until `disarm`. To be called after changes. */
  arm(): void {
    this.inUse = true
    const now = performance.now()
    const relative = (this.relative.first()?.deadline ?? Infinity) - now
    const wall = (this.absolute.first()?.deadline ?? Infinity) - Date.now()
    const delay = Math.min(relative, Math.min(wall, wall === Infinity ? Infinity : WALL_CLOCK_MAX))
    const due = now + delay
    if (this.armed !== undefined && Math.abs(due - this.armedFor) < 0.5) return
    clearTimeout(this.armed)
    this.armed = undefined
    if (delay === Infinity) return
    this.armedFor = due
    this.armed = setTimeout(
      () => {
        this.armed = undefined
        this.onDue()
      },
      Math.min(ARM_MAX, Math.max(0, Math.ceil(delay))),
    )
  }

  disarm(): void {
    this.inUse = false
    clearTimeout(this.armed)
    this.armed = undefined
  }
}

/**
 * Pending timers: a binary heap for each clock, and one Node timer for whatever comes first.
 *
 * Cancelled timers stay in their heap until they come up, or until they are more than half of it.
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
  /** On its heap's clock, in milliseconds. */
  readonly deadline: number
  readonly sequence: number
  readonly heap: Heap
  cancelled: boolean
}

const byDeadline = (a: Timer, b: Timer): number => a.deadline - b.deadline || a.sequence - b.sequence

class Heap {
  private queue = new TinyQueue<Timer>([], byDeadline)
  cancelled = 0

  push(timer: Timer): void {
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
  private readonly byLabel = new Map<unknown, Set<Timer>>()
  private armed: NodeJS.Timeout | undefined
  private armedFor = Infinity
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
    const timer: Timer = { label, key, deadline, sequence: this.sequence++, heap, cancelled: false }
    heap.push(timer)
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
      timer.heap.cancelled++
    }
    this.count -= same.size
    this.relative.sweep()
    this.absolute.sweep()
    return same.size
  }

  /** Takes out the labels of all timers that are due, in the order of their deadlines. */
  takeDue(): unknown[] {
    const due: { readonly timer: Timer; readonly wall: number }[] = []
    const offset = Date.now() - performance.now()
    this.takeFrom(this.relative, performance.now(), offset, due)
    this.takeFrom(this.absolute, Date.now(), 0, due)
    due.sort((a, b) => a.wall - b.wall || a.timer.sequence - b.timer.sequence)
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

  /** Sees to it that `onDue` is called in time. To be called after changes. */
  arm(): void {
    const now = performance.now()
    const relative = (this.relative.first()?.deadline ?? Infinity) - now
    const wall = (this.absolute.first()?.deadline ?? Infinity) - Date.now()
    const delay = Math.min(relative, Math.min(wall, wall === Infinity ? Infinity : WALL_CLOCK_MAX))
    const due = now + delay
    if (this.armed !== undefined && Math.abs(due - this.armedFor) < 0.5) return
    this.disarm()
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
    clearTimeout(this.armed)
    this.armed = undefined
  }
}

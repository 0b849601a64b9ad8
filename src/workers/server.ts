/**
 * All workers of a `serve`: their places, who of them is there, restarts one by one, and the end.
 *
 * Owns the places and the listeners. Each place is a child of a supervisor in a ground VM, which starts it again; see
 * serve.ts. Invariant: a place has one worker, and for the time of a restart a second one, which takes over when it is
 * ready.
 */
import type { MessagePort } from 'node:worker_threads'
import { socketError } from '../support/errors.js'
import { log } from '../support/log.js'
import { clearInterval, clearTimeout, setInterval, setTimeout } from '../support/real-time.js'
import { metricsSum, type TransportMetrics } from '../transport/seam/metrics.js'
import type { SocketAddress } from '../support/socket-error.js'
import { SharedListeners } from './listeners.js'
import type { ServeSettings } from './options.js'
import { pause, WorkerThread, type ThreadSettings } from './thread.js'

/** Milliseconds that it may take at least until workers have room for all who wait at the end. */
const GIVE_MS = 1000

/** A worker, as `workers()` has it. */
export interface WorkerStatus {
  /** Its place. */
  readonly index: number
  /** Its name. */
  readonly node: string
  /** 'starting', until it is ready; 'draining', once it is to end. */
  readonly state: 'starting' | 'ready' | 'draining' | 'ended'
  /** Connections that it has from shared listeners. */
  readonly connections: number
}

/** Counters of a worker. */
export interface WorkerMetrics {
  /** Its place. */
  readonly worker: number
  /** What all its connections have counted, since it was started. */
  readonly metrics: TransportMetrics
}

/** Counters of all workers. */
export interface ServedMetrics {
  /** Of those that there are. */
  readonly workers: readonly WorkerMetrics[]
  /** Their sum, with those that have ended in good order. */
  readonly total: TransportMetrics
}

/** What happens at a place. */
export interface PlaceWatcher {
  ready(): void
  /** Without an error: it has drained. */
  ended(error: Error | undefined): void
}

export class Server {
  readonly listeners: SharedListeners
  readonly settings: ThreadSettings
  readonly drainMs: number
  readonly #threads = new Set<WorkerThread>()
  readonly #places = new Map<number, Place>()
  readonly #watch: NodeJS.Timeout
  /** Of workers that have ended in good order. */
  #ended: TransportMetrics | undefined
  #lookedAt = performance.now()
  /** Whether any worker was ever ready. */
  everReady = false
  /** Called when a worker fails before any was ever ready. */
  failedFirst: ((error: Error) => void) | undefined
  /** It is to end: who ends is not missed. */
  ending = false
  #restart: Promise<void> | undefined
  /** The one after that. */
  #nextRestart: Promise<void> | undefined
  readonly #workers: number
  #lookForUnwanted: NodeJS.Timeout | undefined
  /** At the last look. */
  #isShort = false

  constructor(
    settings: Omit<ThreadSettings, 'listeners'> & Pick<ServeSettings, 'workers' | 'sharing'>, drainMs: number,
  ) {
    this.listeners = new SharedListeners(settings.sharing)
    this.settings = { ...settings, listeners: this.listeners }
    this.#workers = settings.workers
    this.drainMs = drainMs
    const pause = Math.max(10, Math.min(1000, settings.stuckAfterMs / 4))
    this.#watch = setInterval(() => { this.#look(pause) }, pause)
    this.#watch.unref()
  }

  get addresses(): SocketAddress[] {
    return this.listeners.addresses
  }

  get name(): string {
    return this.settings.name
  }

  /** A port into the worker that has this name; undefined if there is none. */
  inspect(node: string): MessagePort | undefined {
    for (const thread of this.#threads) if (thread.node === node) return thread.inspect()
    return undefined
  }

  workers(): WorkerStatus[] {
    return [...this.#threads].map(({ index, node, state, connections }) => ({ index, node, state, connections }))
      .sort((a, b) => a.index - b.index)
  }

  async metrics(): Promise<ServedMetrics> {
    const asked = await Promise.all([...this.#threads].map(async (thread) =>
      ({ worker: thread.index, metrics: await thread.metrics() })))
    const workers = asked.filter((one): one is WorkerMetrics => one.metrics !== undefined)
    const before = this.#ended === undefined ? [] : [this.#ended]
    return { workers, total: metricsSum([...before, ...workers.map(({ metrics }) => metrics)]) }
  }

  /** A worker at this place, until `leave`. */
  take(index: number, watcher: PlaceWatcher): Place {
    const place = new Place(this, index, watcher)
    this.#places.set(index, place)
    return place
  }

  /** One has failed by itself: before any was ever ready, that is the failure of all. */
  failed(error: Error): void {
    if (!this.everReady) this.failedFirst?.(error)
  }

  left(place: Place): void {
    if (this.#places.get(place.index) === place) this.#places.delete(place.index)
  }

  /** A new thread, which knows all others. */
  start(index: number, watcher: PlaceWatcher): WorkerThread {
    const thread: WorkerThread = new WorkerThread(index, this.settings, {
      ready: () => {
        this.everReady = true
        watcher.ready()
        this.#changed()
      },
      ended: (error, drained) => {
        this.#threads.delete(thread)
        this.#changed()
        const { lastMetrics } = thread
        if (lastMetrics !== undefined) {
          // What was open then is not.
          const counted = { ...lastMetrics, connections: 0, queuedBytes: 0, listenersPaused: 0 }
          this.#ended = metricsSum(this.#ended === undefined ? [counted] : [this.#ended, counted])
        }
        // Nobody else tells of it: another one has taken its place, or nobody is to.
        if (error !== undefined && (this.ending || drained)) {
          log('warning', 'a worker has failed at its end', { reason: error })
        }
        // At the end nobody is started again.
        watcher.ended(this.ending ? undefined : error)
      },
    })
    for (const other of this.#threads) if (other.state !== 'ended') thread.meet(other)
    this.#threads.add(thread)
    return thread
  }

  /**
   * Restarts all workers one by one. One that is under way has new workers of before: who asks then gets another one
   * after it.
   *
   * @throws Error if a new one does not become ready: the others stay. Or if all are to end before that
   */
  restart(): Promise<void> {
    if (this.#restart === undefined) {
      this.#restart = this.#restartAll().finally(() => { this.#restart = undefined })
      return this.#restart
    }
    this.#nextRestart ??= this.#restart.catch(() => undefined).then(() => {
      this.#nextRestart = undefined
      return this.restart()
    })
    return this.#nextRestart
  }

  async #restartAll(): Promise<void> {
    for (const index of [...this.#places.keys()].sort((a, b) => a - b)) {
      if (this.ending) throw Object.assign(new Error('serve ends, before all workers were new'), { code: 'EENDED' })
      await this.#places.get(index)?.restart()
    }
  }

  /** Nothing is accepted any more, and all workers drain. Resolves when they have ended. */
  async drain(drainMs: number): Promise<void> {
    this.ending = true
    // If it is the program's `route` that says so, it has its say of the connection first that it was asked about.
    await Promise.resolve()
    // Who waits already goes to them first, and more than they have room for at once.
    const began = performance.now()
    this.listeners.closeListeners()
    const most = Math.max(drainMs, GIVE_MS)
    while (this.listeners.unplaced > 0 && performance.now() - began < most) await pause(5)
    const left = Math.max(0, Math.ceil(drainMs - (performance.now() - began)))
    await Promise.all([...this.#threads].map((thread) => thread.drain(left)))
  }

  /** All is over. Resolves when no thread is left. */
  async close(): Promise<void> {
    this.ending = true
    clearInterval(this.#watch)
    clearTimeout(this.#lookForUnwanted)
    this.listeners.close()
    await Promise.all([...this.#threads].map((thread) => thread.stop()))
  }

  /**
   * A worker has become ready, or has ended. Another version may listen elsewhere: when all have been ready for as long
   * as one may take to be so, and none listens where there is a listener, none will, and nobody is to wait there.
   */
  #changed(): void {
    clearTimeout(this.#lookForUnwanted)
    if (this.ending) return
    this.#lookForUnwanted = setTimeout(() => {
      const ready = [...this.#threads].filter(({ state }) => state === 'ready').map(({ index }) => index)
      if (new Set(ready).size < this.#workers) return
      for (const address of this.listeners.closeUnwanted()) log('info', 'no worker listens there any more', { address })
    }, this.settings.readyMs)
    this.#lookForUnwanted.unref()
  }

  /** Once for each shortage, not for each try. */
  #lookForShortage(): void {
    const errno = this.listeners.takeFailure()
    if (errno < 0 && !this.#isShort) {
      log('warning', 'connections can not be accepted', { reason: socketError(errno, 'accept') })
    }
    this.#isShort = errno < 0
  }

  #look(pause: number): void {
    this.#lookForShortage()
    const now = performance.now()
    const late = now - this.#lookedAt - pause
    this.#lookedAt = now
    for (const thread of this.#threads) {
      if (late > pause) thread.forgive(late)
      thread.look(now)
    }
  }
}

/** One of the workers' places. */
export class Place {
  readonly #server: Server
  readonly #watcher: PlaceWatcher
  readonly index: number
  #thread: WorkerThread
  #next: WorkerThread | undefined
  #ready = false
  #over = false

  constructor(server: Server, index: number, watcher: PlaceWatcher) {
    this.#server = server
    this.#watcher = watcher
    this.index = index
    this.#thread = this.#begin()
  }

  #begin(): WorkerThread {
    const thread: WorkerThread = this.#server.start(this.index, {
      ready: () => { if (thread === this.#thread) this.#becameReady() },
      ended: (error) => {
        if (thread !== this.#thread || this.#over) return
        if (error !== undefined) this.#server.failed(error)
        this.#watcher.ended(error)
      },
    })
    return thread
  }

  /** Once, whichever of its workers is the first one to be ready. */
  #becameReady(): void {
    if (this.#ready || this.#over) return
    this.#ready = true
    this.#watcher.ready()
  }

  /** A new worker; once it is ready, the one that there is drains. @throws Error if the new one fails */
  async restart(): Promise<void> {
    if (this.#over) return
    await new Promise<void>((resolve, reject) => {
      const next: WorkerThread = this.#server.start(this.index, {
        ready: () => {
          const before = this.#thread
          this.#next = undefined
          this.#thread = next
          // The one before it may never have come so far.
          this.#becameReady()
          before.drain(this.#server.drainMs).then(resolve, reject)
        },
        ended: (error) => {
          if (next === this.#thread) {
            if (!this.#over) this.#watcher.ended(error)
            return
          }
          this.#next = undefined
          reject(error ?? Object.assign(new Error(`worker ${this.index} has ended`), { code: 'EWORKERLOST' }))
        },
      })
      this.#next = next
    })
  }

  /** The place is given up: its worker is ended, unless it has drained. */
  async leave(): Promise<void> {
    this.#over = true
    this.#server.left(this)
    const threads = this.#next === undefined ? [this.#thread] : [this.#thread, this.#next]
    await Promise.all(threads.map((thread) => thread.stop()))
  }
}

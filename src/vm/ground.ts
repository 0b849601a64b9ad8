/**
 * The ground VM: the outermost VM, and its place in Node's event loop. Its event sources are in
 * `activations.ts`.
 *
 * Owns the running of rounds until nothing is queued, and the end. It works in slices: after a bounded amount
 * of work the event loop gets its turn, so that processes that message each other for ever starve neither
 * sockets nor timers.
 */
import { log } from '../support/log.js'
import { AtomTable } from '../topic/index.js'
import { Activations } from './activations.js'
import { checkBoot, Spawn, type Boot, type SpawnSettings } from './action.js'
import type { Endpoint } from './endpoint.js'
import type { EventSource } from './event-source.js'
import {
  checkShutdownOptions, ShuttingDown, type ShutdownOptions, type ShutdownReport,
} from './shutdown.js'
import { OwnEcho } from './own-echo.js'
import { allEndpoints, unwatchHandlers, type Tap } from './tap.js'
import { Vm, type Ground } from './vm.js'
import { Wiring } from './wiring.js'

/** Actions and messages after which the event loop gets a turn: a few milliseconds' worth. */
const SLICE = 20_000

/** Slices after which `whenIdle` calls back although the VM never was idle. */
const BUSY_SLICES_MAX = 4

/** Options of `groundVm`. */
export interface GroundVmOptions {
  /** Name of the first process, for logs. Default `main`. */
  readonly name?: string | undefined
  /** Whether the first process is essential, as that option of `spawn` says. Default: true. */
  readonly essential?: boolean | undefined
}

/** A running ground VM: a promise of its end, and what can be done to it from outside. */
export interface GroundVm extends Promise<void> {
  /**
   * Ends all processes with a reason; sources are released. The promise resolves once they are closed,
   * sockets after their queued bytes were handed to the kernel. Idempotent.
   */
  stop(reason?: unknown): GroundVm
  /**
   * Ends in good order: listeners are closed at once; conversations may end by themselves; those that are
   * left after `drainMs` are aborted, their peers get a reset. Then all processes end, as by `stop`.
   * Idempotent: a later call, or `stop`, can bring the end nearer.
   *
   * @returns what was done, once the ground VM has ended
   * @throws TypeError or RangeError when an option is wrong
   */
  shutdown(options?: ShutdownOptions): Promise<ShutdownReport>
  /** `stop()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Runs a Marketplace program.
 *
 * @param boot makes the first transition of the first process
 * @returns a promise that resolves when nothing is queued and no event source is active; it is rejected with
 * the reason when a process that is essential fails: the first one, and those that are spawned as such
 * @throws TypeError when an argument is of the wrong type
 */
export function groundVm<S>(boot: Boot<S>, options: GroundVmOptions = {}): GroundVm {
  checkBoot('groundVm', boot, options, ['name', 'essential'])
  const ground = new GroundLoop()
  const end = new Promise<void>((resolve, reject) => {
    const { name = 'main', essential = true } = options
    ground.start(boot, { name, essential }, resolve, reject)
  }) as GroundVm
  grounds.set(end, ground)
  end.stop = (reason) => {
    ground.stopIfAllowed(reason)
    return end
  }
  end.shutdown = (options = {}) => {
    checkShutdownOptions('shutdown', options)
    return end.then(ground.shutdown(options))
  }
  end[Symbol.asyncDispose] = () => end.stop()
  return end
}

/** Who wants to know of each ground VM, and gives back what is to be called at its end. */
const starters: ((ground: Ground) => () => void)[] = []

/** @internal From now on, calls back when a ground VM is started. */
export function whenGroundStarts(started: (ground: Ground) => () => void): void {
  starters.push(started)
}

const grounds = new WeakMap<PromiseLike<void>, Ground>()

/** @internal The ground VM behind a promise that `groundVm` has made. */
export function groundBehind(vm: unknown): Ground | undefined {
  return typeof vm === 'object' && vm !== null ? grounds.get(vm as GroundVm) : undefined
}

class GroundLoop implements Ground {
  readonly atoms = new AtomTable()
  readonly wiring = new Wiring()
  pending = 0
  work = 0
  tap: Tap | undefined = undefined
  /** Who looks when that one has ended. */
  private nextTap: Tap | undefined = undefined
  peers: Ground['peers'] = undefined
  readonly root: Vm = new Vm(this)
  private readonly sources = new Activations(
    () => { this.wake() },
    (callback) => { this.idleCallbacks.push(callback) },
    // What waits for the VM to be idle may be what an event has brought.
    () => !this.running && this.root.isIdle() && this.idleCallbacks.length === 0,
    (source) => this.tap?.activates(source) !== false,
  )
  private idleCallbacks: (() => void)[] = []
  private shuttingDown: ShuttingDown | undefined
  /** Stops what is left, once all that has to come to its end has. */
  private drained: (() => void) | undefined
  /** Somebody wants the end, which comes with the next turn of the loop. */
  private stopping: { readonly reason: unknown } | undefined
  /** All processes have been ended, or are about to be: what ends with them is no failure of its own. */
  private ending = false
  /** A failure of an essential process, or of the ground VM itself, which ends everything. */
  private failure: { readonly error: unknown } | undefined
  /** It has failed itself: nothing is routed any more, and its event sources are released. */
  private broken = false
  private running = false
  private resuming = false
  private busySlices = 0
  private readonly ownEcho = new OwnEcho()
  private ended = false
  private resolve: () => void = () => undefined
  private reject: (error: unknown) => void = () => undefined

  start(
    // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the state is the process's business
    boot: Boot<any>, settings: SpawnSettings, resolve: () => void, reject: (error: unknown) => void,
  ): void {
    const enders = starters.map((started) => started(this))
    const over = (): void => {
      this.tap?.over?.()
      for (const end of enders) end()
    }
    this.resolve = () => { over(); resolve() }
    this.reject = (error) => { over(); reject(error) }
    this.running = true // the first round comes after the caller has the promise
    this.root.spawn(new Spawn(boot, settings))
    queueMicrotask(() => {
      this.running = false
      this.run()
    })
  }

  stop(reason: unknown): void {
    this.stopping ??= { reason }
    this.wake()
  }

  /** The same by request of somebody. Who looks wants to know of one who is no handler. */
  stopIfAllowed(reason: unknown): void {
    if (this.running || this.tap?.stops(reason) !== false) this.stop(reason)
  }

  activeSources(): Iterable<EventSource<unknown>> {
    return this.sources.active()
  }

  fired(source: EventSource<unknown>, value: unknown): void {
    this.sources.deliverOne(this.root, source, value)
  }

  /** @returns what gives the report when the end has come */
  shutdown({ drainMs, reason }: ShutdownOptions): () => ShutdownReport {
    const stop = (): void => {
      if (this.tap?.stops(reason) !== false) this.stop(reason)
    }
    const shutdown = (this.shuttingDown ??= new ShuttingDown(stop))
    if (!this.ended && this.tap?.shutsDown() !== false) {
      if (this.drained === undefined) {
        this.drained = stop
        this.sources.shutDown(shutdown)
      }
      shutdown.within(drainMs)
      this.stopIfDrained()
    }
    return () => shutdown.over()
  }

  /** Whether it is being shut down, and nothing is left that has to come to its end. */
  private stopIfDrained(): void {
    if (this.drained === undefined || this.ended || this.sources.drains) return
    const { drained } = this
    this.drained = () => undefined
    // Processes that have heard of the end may send something yet: it is stopped when they have.
    this.idleCallbacks.push(drained)
    this.wake()
  }

  wake(): void {
    if (!this.running && !this.ended) this.run()
  }

  look(tap: Tap): void {
    if (this.tap?.isEnding === true && this.nextTap === undefined) {
      this.nextTap = tap
      return
    }
    if (this.tap !== undefined) throw new Error('somebody looks into this ground VM already')
    this.tap = tap
    for (const endpoint of allEndpoints(this.root)) tap.watch(endpoint)
  }

  lookAway(tap: Tap): void {
    if (this.nextTap === tap) this.nextTap = undefined
    if (this.tap !== tap) return
    this.tap = undefined
    for (const endpoint of allEndpoints(this.root)) unwatchHandlers(endpoint)
    const { nextTap } = this
    this.nextTap = undefined
    if (nextTap !== undefined) this.look(nextTap)
  }

  installed(endpoint: Endpoint): void {
    this.sources.installed(endpoint)
  }

  uninstalled(endpoint: Endpoint): void {
    if (this.sources.uninstalled(endpoint)) this.stopIfDrained()
  }

  /** Runs rounds until nothing is queued, or for one slice. */
  private run(): void {
    if (this.broken) {
      this.endIfDone()
      return
    }
    const limit = this.work + SLICE
    this.running = true
    try {
      for (;;) {
        if (this.stopping !== undefined) this.quitAll(this.stopping.reason)
        if (this.sources.haveFired) this.sources.deliver(this.root)
        if (this.tap?.feeds?.() === true) break
        if (!this.root.isIdle()) {
          this.root.runRound()
        } else if (this.stopping === undefined && !this.sources.haveFired) {
          if (this.idleCallbacks.length === 0) {
            this.ownEcho.rested()
            this.tap?.rests?.()
            break
          }
          this.callIdle()
        }
        if (this.work > limit) {
          if (++this.busySlices >= BUSY_SLICES_MAX) this.callIdle()
          this.ownEcho.goesOn(this.root)
          this.resume()
          break
        }
      }
    } catch (error) {
      this.fail(error)
    } finally {
      this.running = false
    }
    this.endIfDone()
  }

  essentialFailed(error: unknown): void {
    if (this.ending) return
    this.failure ??= { error }
    this.stopping ??= { reason: error }
  }

  /** The VM itself has failed: everything is ended and released, and the promise of its end is rejected. */
  private fail(error: unknown): void {
    log('fatal', 'the ground VM failed', { reason: error })
    this.failure ??= { error }
    this.quitAll(error)
    this.broken = true
    // All of them, also those whose endpoints could not be taken out.
    this.sources.releaseAll()
  }

  private quitAll(reason: unknown): void {
    this.stopping = undefined
    this.ending = true
    for (const process of this.root.processes.all()) {
      try {
        this.root.quit(process, reason)
      } catch (error) {
        log('fatal', 'a process failed when it was ended', { reason: error })
        this.failure ??= { error }
      }
    }
  }

  private callIdle(): void {
    this.busySlices = 0
    const callbacks = this.idleCallbacks
    this.idleCallbacks = []
    for (const callback of callbacks) {
      this.work++ // one that asks again and again must not starve the event loop
      try {
        callback()
      } catch (error) {
        log('error', 'a whenIdle callback of an event source failed', { reason: error })
      }
    }
  }

  /** Goes on after the event loop had its turn. */
  private resume(): void {
    if (this.resuming) return
    this.resuming = true
    setImmediate(() => {
      this.resuming = false
      this.wake()
    })
  }

  private endIfDone(): void {
    if (this.ended || this.running || this.sources.awaitsReleases) return
    // When the VM itself has failed, nothing that is queued or awaited is handled any more.
    if (!this.broken && !this.isOver()) return
    this.ended = true
    this.wiring.concludeAll()
    if (this.failure === undefined) this.resolve()
    else this.reject(this.failure.error)
  }

  private isOver(): boolean {
    if (!this.root.isIdle() || this.sources.areActive || this.pending > 0) return false
    // All processes are to be ended first: that comes with the next slice, if this one was over before.
    return this.stopping === undefined && this.idleCallbacks.length === 0
  }
}

/**
 * One worker thread: from its start to its end, and what is known of it in between.
 *
 * Owns the thread. Invariants: it ends with one reason, which is the first that was known; its connections that it has
 * not taken go back when the thread has really ended, and not before.
 */
import {
  MessageChannel, receiveMessageOnPort, Worker, type MessagePort, type ResourceLimits,
} from 'node:worker_threads'
import { join } from 'node:path'
import { asError } from '../support/errors.js'
import { log } from '../support/log.js'
import { PACKAGE_ROOT } from '../support/package-root.js'
import { clearTimeout, setTimeout } from '../support/real-time.js'
import type { TransportMetrics } from '../transport/seam/metrics.js'
import type { SharedListeners } from './listeners.js'
import { errorOf, START, Word, WORDS, type FromWorker, type ToldError, type ToWorker } from './protocol.js'

/** Of all threads that this process has ever started. */
let threads = 0

/** Milliseconds beyond the time to drain that a worker may take to end. */
const END_MS = 2000
/** Milliseconds that a worker may take to take what it was given, until others get it. */
const TAKE_MS = 1000

/** What all threads of a `serve` have in common. */
export interface ThreadSettings {
  readonly name: string
  readonly module: string
  readonly data: unknown
  readonly resourceLimits: ResourceLimits | undefined
  readonly stuckAfterMs: number
  /** Milliseconds that it may take until it is ready. */
  readonly readyMs: number
  readonly listeners: SharedListeners
}

/** What becomes of it. */
export interface ThreadWatcher {
  ready(): void
  /**
   * It has ended: without an error, as it was told to.
   *
   * @param drained whether it was told to
   */
  ended(error: Error | undefined, drained: boolean): void
}

type ThreadState = 'starting' | 'ready' | 'draining' | 'ended'

export class WorkerThread {
  readonly id = ++threads
  readonly node: string
  readonly index: number
  readonly words = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT))
  readonly loans: MessagePort
  state: ThreadState = 'starting'
  /** What it had counted in the end. */
  lastMetrics: TransportMetrics | undefined
  readonly #settings: ThreadSettings
  readonly #watcher: ThreadWatcher
  readonly #worker: Worker
  readonly #control: MessagePort
  readonly #unready: NodeJS.Timeout
  #reason: Error | undefined
  /** It was ended as nobody wants it any more. */
  #stopped = false
  #terminating = false
  #beat = 0
  #beatAt = performance.now()
  #asked = 0
  readonly #asking = new Map<number, (metrics: TransportMetrics | undefined) => void>()
  #late: NodeJS.Timeout | undefined
  readonly #over: Promise<void>

  /** @throws Error if there is no package on disk, or no thread can be had */
  constructor(index: number, settings: ThreadSettings, watcher: ThreadWatcher) {
    this.index = index
    this.#settings = settings
    this.#watcher = watcher
    this.node = `${settings.name}-${this.id}`
    const { port1, port2 } = new MessageChannel()
    this.loans = port1
    const { port1: control, port2: ofWorker } = new MessageChannel()
    this.#control = control
    const start = {
      module: settings.module, index, node: this.node, data: settings.data, words: this.words,
      beatMs: Math.max(10, Math.min(1000, settings.stuckAfterMs / 8)), loans: port2, control: ofWorker,
    }
    if (PACKAGE_ROOT === undefined) throw new Error('serve needs marketplace-native as a package, not inside a bundle')
    this.#worker = new Worker(join(PACKAGE_ROOT, 'dist', 'lib', 'worker.js'), {
      name: `${settings.name} ${index}`, workerData: { [START]: start }, transferList: [port2, ofWorker],
      ...settings.resourceLimits && { resourceLimits: settings.resourceLimits },
    })
    settings.listeners.serve(this)
    control.on('message', (message: FromWorker) => { this.#said(message) })
    // It is the thread that keeps the process alive.
    control.unref()
    this.#unready = setTimeout(() => {
      void this.kill(coded('ETIMEDOUT', `it was not ready within ${settings.readyMs} ms`))
    }, settings.readyMs)
    this.#unready.unref()
    this.#worker.on('error', (error: unknown) => { this.#reason ??= asError(error, 'a worker') })
    this.#over = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#exited(code)
        resolve()
      })
    })
  }

  /** Not while it is to end. */
  get choosesFreely(): boolean {
    return this.state === 'starting' || this.state === 'ready'
  }

  get connections(): number {
    return this.#settings.listeners.acceptor.connections(this.id).live
  }

  /** Links it with another one. */
  meet(other: WorkerThread): void {
    const { port1, port2 } = new MessageChannel()
    this.#tell({ kind: 'peer', node: other.node, port: port1 }, [port1])
    other.#tell({ kind: 'peer', node: this.node, port: port2 }, [port2])
  }

  /** A port at whose other end the worker serves a client of its inspector. It is closed when the worker ends. */
  inspect(): MessagePort {
    const { port1, port2 } = new MessageChannel()
    this.#tell({ kind: 'inspect', port: port2 }, [port2])
    return port1
  }

  /** What it has counted; undefined if it ends before it says so. */
  metrics(): Promise<TransportMetrics | undefined> {
    if (this.state === 'ended' || this.#terminating) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      const asked = ++this.#asked
      this.#asking.set(asked, resolve)
      this.#tell({ kind: 'metrics', asked })
    })
  }

  /** It gets no more connections, and ends when those that it has have ended, or the time is over. */
  async drain(drainMs: number): Promise<void> {
    if (this.state === 'ended') return
    if (this.state === 'draining') return this.#over
    this.state = 'draining'
    // One that was not ready yet needn't become so any more.
    clearTimeout(this.#unready)
    this.#settings.listeners.acceptor.retire(this.id)
    const began = performance.now()
    // What it was given already is its own, if it gets around to it. Otherwise others get it; and if there are none, it
    // is waited for, as it would be lost with the listener.
    await this.#hasTaken(began + TAKE_MS)
    if (!this.#isOver) this.#settings.listeners.recall(this)
    await this.#hasTaken(began + drainMs)
    const left = Math.max(0, Math.ceil(drainMs - (performance.now() - began)))
    this.#tell({ kind: 'shutdown', drainMs: left })
    this.#late = setTimeout(() => {
      void this.kill(coded('ETIMEDOUT', `did not end within ${drainMs + END_MS} ms`))
    }, Math.min(left + END_MS, 0x7fffffff))
    return this.#over
  }

  /** Resolves when it has taken all that it was given, or by then. */
  async #hasTaken(until: number): Promise<void> {
    const { acceptor } = this.#settings.listeners
    while (!this.#isOver && acceptor.connections(this.id).waiting > 0 && performance.now() < until) await pause(5)
  }

  /** Ends it at once, as it is wanted no more: that is no failure. */
  stop(): Promise<void> {
    if (this.state === 'ended') return this.#over
    this.#stopped = true
    return this.#terminate()
  }

  /** Ends it at once, for this reason. */
  kill(reason: Error): Promise<void> {
    if (this.state === 'ended') return this.#over
    this.#reason ??= reason
    return this.#terminate()
  }

  /** The thread may be in a call that can't be interrupted, `execSync` say: nobody waits for it meanwhile. */
  #terminate(): Promise<void> {
    if (this.#terminating) return this.#over
    this.#terminating = true
    this.#settings.listeners.recall(this)
    this.#forgetAsked()
    void this.#worker.terminate()
    const late = setTimeout(() => {
      log('warning', 'a worker that is to end is busy with what can not be interrupted', { worker: this.index })
    }, END_MS)
    late.unref()
    void this.#over.then(() => { clearTimeout(late) })
    return this.#over
  }

  #forgetAsked(): void {
    for (const answer of this.#asking.values()) answer(undefined)
    this.#asking.clear()
  }

  /** Looks whether its event loop has turned since the last look; from one that has not for too long it is ended. */
  look(now: number): void {
    const beat = Atomics.load(this.words, Word.beat)
    // Before its first beat it may be loading; how long it may do that `readyMs` says.
    if (beat !== this.#beat || (beat === 0 && this.state === 'starting')) {
      this.#beat = beat
      this.#beatAt = now
    } else if (now - this.#beatAt > this.#settings.stuckAfterMs) {
      const ms = Math.round(now - this.#beatAt)
      void this.kill(coded('ESTUCK', `its event loop was stuck for ${ms} ms`))
    }
  }

  /** This thread was late itself: nobody else is to blame for that time. */
  forgive(ms: number): void {
    this.#beatAt += ms
  }

  get #isOver(): boolean {
    return this.state === 'ended'
  }

  #said(message: FromWorker): void {
    if (message.kind === 'ready') {
      if (this.state !== 'starting') return
      this.state = 'ready'
      clearTimeout(this.#unready)
      this.#watcher.ready()
    } else if (message.kind === 'failed') {
      this.#reason ??= errorOf(message.error)
    } else if (message.kind === 'over') {
      this.lastMetrics = message.metrics
    } else if (message.kind === 'metrics') {
      this.#asking.get(message.asked)?.(message.metrics)
      this.#asking.delete(message.asked)
    } else {
      const fields = message.fields.map(([name, value]) => [name, untold(value)] as const)
      log(message.level, message.message, { ...Object.fromEntries(fields), worker: this.index })
    }
  }

  #exited(code: number): void {
    // What it has said last.
    for (;;) {
      const last: { readonly message: FromWorker } | undefined = receiveMessageOnPort(this.#control)
      if (last === undefined) break
      this.#said(last.message)
    }
    this.#control.close()
    clearTimeout(this.#unready)
    const asTold = this.#stopped || (this.state === 'draining' && code === 0)
    const orderly = asTold && this.#reason === undefined
    const drained = this.state === 'draining'
    this.state = 'ended'
    clearTimeout(this.#late)
    this.#settings.listeners.gone(this)
    this.loans.close()
    this.#forgetAsked()
    if (orderly) {
      this.#watcher.ended(undefined, drained)
      return
    }
    const cause = this.#reason ?? new Error(`it has exited with the code ${code}`)
    const lost = coded('EWORKERLOST', `worker ${this.index} has ended: ${cause.message}`)
    this.#watcher.ended(Object.assign(lost, { cause, worker: this.index }), drained)
  }

  #tell(message: ToWorker, transfer: readonly MessagePort[] = []): void {
    this.#control.postMessage(message, transfer)
  }
}

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

function untold(value: unknown): unknown {
  const { told } = (typeof value === 'object' && value !== null ? value : {}) as { told?: ToldError }
  return told === undefined ? value : errorOf(told)
}

/** Resolves after so long. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => { setTimeout(resolve, ms) })
}

/**
 * `serve`: the same program on several threads, which share their listeners, under a supervisor.
 *
 * Owns the handle and the signals. The threads are server.ts's; each place is a process here, a child of a supervisor,
 * so that the rules of restarting are those of `supervise`.
 */
import { availableParallelism } from 'node:os'
import { log } from '../support/log.js'
import { checkOptions, integer } from '../support/checks.js'
import { endpoint } from '../dsl/index.js'
import { _ } from '../topic/index.js'
import { prometheusText } from '../transport/seam/telemetry.js'
import type { SocketAddress } from '../support/socket-error.js'
import {
  deleteEndpoint, eventSource, groundVm, quit, spawn, supervise, supervising, type ActionTree, type Boot,
  type SupervisedChild,
} from '../vm/index.js'
import { showWorkers } from './inspected.js'
import { mergedPrometheus } from './merged.js'
import { serveSettings, type ServeOptions, type ServeSettings } from './options.js'
import { workerReady } from './records.js'
import { Server, type ServedMetrics, type WorkerStatus } from './server.js'

/** Workers that serve. A promise of their end, which is rejected with the reason if they can't go on. */
export interface Served extends Promise<void> {
  /** Resolves when all workers are ready for the first time; rejected with the reason if that can't be. */
  readonly ready: Promise<void>
  /** Where the workers listen together. */
  addresses(): readonly SocketAddress[]
  /** The workers that there are, those that take each other's place for a moment both. */
  workers(): readonly WorkerStatus[]
  /** What all of them have counted, each and together; with those that have ended in good order. */
  metrics(): Promise<ServedMetrics>
  /** The same in Prometheus' text format: each sample has the label `worker`. */
  prometheusText(): Promise<string>
  /**
   * Restarts the workers one by one: a new one is started; when it is ready, the old one gets no more connections, and
   * ends when those that it has have ended, or `drainMs` have passed. Rejected if a new one fails: then the old ones
   * stay; and if all are to end before it is done.
   */
  restart(): Promise<void>
  /**
   * Ends in good order: nothing is accepted any more, connections may end by themselves; those that are left after
   * `drainMs` get a reset.
   *
   * @throws TypeError or RangeError when an option is wrong
   */
  shutdown(options?: { readonly drainMs?: number | undefined }): Promise<void>
  /** Ends at once. */
  stop(): Promise<void>
  /** `stop()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

/** Milliseconds in which a thread that was not ready in time has ended. */
const READY_SPARE_MS = 10_000
/** Of a timer. */
const LONGEST_MS = 0x7fffffff

/** What is fired about a place. */
type Happened = { readonly kind: 'ready' } | { readonly kind: 'ended', readonly error: Error | undefined }

/** The process of one place. */
function placeOf(server: Server, name: string, index: number): Boot<unknown> {
  return () => {
    const source = eventSource<Happened>(`worker ${index}`, (sink) => {
      // One that waited to be started again when all were told to end.
      if (server.ending) {
        sink.fire({ kind: 'ended', error: undefined })
        return undefined
      }
      const place = server.take(index, {
        ready: () => { sink.fire({ kind: 'ready' }) },
        ended: (error) => { sink.fire({ kind: 'ended', error }) },
      })
      return () => place.leave()
    })
    showWorkers(source, server)
    return endpoint.subscriber([source, _], {
      onMessage: ([, happened]): ActionTree => {
        if (happened.kind === 'ready') return endpoint.publisher(workerReady(name, index), { name: 'ready' })
        return [deleteEndpoint('ready', happened.error), quit(happened.error)]
      },
    })
  }
}

/** All processes. The first failure, before any worker was ready, ends them all. */
function program(server: Server, settings: ServeSettings): ActionTree {
  const { name, workers, intensity, period, backoff, readyMs } = settings
  const children = Array.from({ length: workers }, (_none, index): SupervisedChild => ({
    name: `worker ${index}`, boot: placeOf(server, name, index), restart: 'transient',
    // A thread that takes too long is ended by itself, with that as its reason.
    ready: workerReady(name, index), readyMs: Math.min(readyMs + READY_SPARE_MS, LONGEST_MS),
  }))
  const failures = eventSource<Error>('first failure', (sink) => {
    server.failedFirst = (error) => { sink.fire(error) }
    return () => { void server.close() }
  })
  const watcher = spawn(() => endpoint.subscriber([failures, _], {
    onMessage: ([, error]) => { throw error },
  }), { name: `${name}: watcher`, essential: true })
  return [watcher, supervise(children, { name, intensity, period, backoff, essential: true })]
}

/**
 * Runs the same program on several threads, which share their listeners: wherever the program listens, all workers do,
 * and each connection goes to the worker that has the fewest. The listening sockets are this thread's: no connection is
 * refused, and none that waits is lost, when a worker ends, whatever it dies of.
 *
 * A worker that fails is started again, as `supervise` does; so is one whose event loop is stuck.
 *
 * @throws TypeError or RangeError when an option is wrong; Error if there is no such module, or no native transport
 */
export function serve(options: ServeOptions): Served {
  const settings = serveSettings('serve', options)
  const { name, workers, drainMs } = settings
  if (workers > 2 * availableParallelism()) {
    log('warning', 'serve: more workers than makes sense', { workers, processors: availableParallelism() })
  }
  const server = new Server(settings, drainMs)
  let announce: () => void = () => undefined
  let fail: (error: unknown) => void = () => undefined
  const ready = new Promise<void>((resolve, reject) => {
    announce = resolve
    fail = reject
  })
  // Who waits for the end only hears of it there.
  ready.catch(() => undefined)
  const vm = groundVm(() => [
    program(server, settings),
    spawn(() => endpoint.subscriber(supervising(name), {
      interest: 'observer',
      onPresence: () => {
        // Where all are to end none is awaited, either.
        if (!server.ending) announce()
      },
    }), { name: `${name}: ready` }),
  ], { name })
  let unwatch: () => void = () => undefined
  const over = vm.finally(async () => {
    unwatch()
    await server.close()
  })
  over.catch(fail)
  void over.then(() => { fail(Object.assign(new Error('serve has ended'), { code: 'EENDED' })) }, () => undefined)
  const stop = async (): Promise<void> => {
    server.ending = true
    await vm.stop()
    await server.close()
  }
  const served: Served = Object.assign(over, {
    ready,
    addresses: () => server.addresses,
    workers: () => server.workers(),
    metrics: () => server.metrics(),
    prometheusText: async () => {
      const { workers: each } = await server.metrics()
      return mergedPrometheus(each.map(({ worker, metrics }) =>
        prometheusText(metrics, { labels: { worker: String(worker) } })))
    },
    restart: () => server.restart(),
    shutdown: async (shutdown: { readonly drainMs?: number | undefined } = {}) => {
      checkOptions('shutdown', shutdown, { drainMs: integer(0, 0x7fffffff, 'milliseconds') }, 'options.')
      await server.drain(shutdown.drainMs ?? drainMs)
      await vm.stop()
    },
    stop,
    [Symbol.asyncDispose]: stop,
  })
  if (settings.signals) unwatch = watchSignals(served)
  return served
}

/** SIGTERM drains, SIGINT ends; a second one of either exits at once. SIGUSR2 restarts. @returns what ends that */
function watchSignals(served: Served): () => void {
  let asked = false
  const end = (signal: NodeJS.Signals): void => {
    if (asked) process.exit(signal === 'SIGINT' ? 130 : 143)
    asked = true
    const ended = signal === 'SIGTERM' ? served.shutdown() : served.stop()
    // The promise of the end tells of it.
    ended.catch(() => undefined)
  }
  const restart = (): void => {
    served.restart().catch((error: unknown) => {
      if (!asked) log('error', 'the restart has failed', { reason: error })
    })
  }
  process.on('SIGTERM', end).on('SIGINT', end).on('SIGUSR2', restart)
  return () => { process.off('SIGTERM', end).off('SIGINT', end).off('SIGUSR2', restart) }
}

/**
 * The same as processes of a ground VM: a supervisor whose children are the workers. They are there as
 * `workerReady(name, worker)`, and end with the VM.
 *
 * @throws as `serve`
 */
export function serving(options: Omit<ServeOptions, 'signals'>): ActionTree {
  const settings = serveSettings('serving', options)
  return program(new Server(settings, settings.drainMs), settings)
}

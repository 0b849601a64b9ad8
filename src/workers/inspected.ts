/**
 * What an inspector finds of `serve`: the workers behind an event source, and a way into the VM of each.
 *
 * Owns both ends of that way: a MessagePort that carries the texts of the inspector's protocol. The inspector's code is
 * above this folder: it says here what a worker is to do with its end.
 */
import { workerData, type MessagePort } from 'node:worker_threads'
import type { TransportMetrics } from '../transport/seam/metrics.js'
import type { EventSource } from '../vm/index.js'
import type { Ground } from '../vm/vm.js'
import { START } from './protocol.js'
import type { WorkerStatus } from './server.js'

/** The workers of one `serve`. */
export interface InspectedWorkers {
  readonly name: string
  workers(): readonly WorkerStatus[]
  metrics(): Promise<{ readonly workers: readonly { readonly worker: number, readonly metrics: TransportMetrics }[] }>
  /** A port into the worker that has this name; undefined if there is none. */
  inspect(node: string): MessagePort | undefined
}

const servers = new WeakMap<EventSource<unknown>, InspectedWorkers>()

/** Workers are behind this source. */
export function showWorkers(source: EventSource<unknown>, server: InspectedWorkers): void {
  servers.set(source, server)
}

/** The workers behind a source, if it is one of theirs. */
export function workersFrom(source: EventSource<unknown>): InspectedWorkers | undefined {
  return servers.get(source)
}

/** Whether this thread was started by `serve`. */
export function isWorkerOfServe(): boolean {
  return (workerData as Readonly<Record<string, unknown>> | null)?.[START] !== undefined
}

/** Serves a client at the other end of a port, as long as that is open. */
type ServePort = (ground: Ground, port: MessagePort) => void

let servePort: ServePort | undefined

/** What is done in a worker with a client's port. */
export function servesPortsWith(serve: ServePort): void {
  servePort = serve
}

/** Somebody wants to look into this worker. */
export function lookedIntoBy(grounds: Iterable<Ground>, port: MessagePort): void {
  const [ground] = grounds
  if (ground === undefined || servePort === undefined) port.close()
  else servePort(ground, port)
}

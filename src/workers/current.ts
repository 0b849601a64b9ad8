/** What a worker of `serve` knows of itself. Owns the one that this thread is, and its links to the others. */
import type { MessagePort } from 'node:worker_threads'

/** A link to another worker of the same `serve`. */
export interface WorkerPeer {
  /** The other worker's name. */
  readonly node: string
  /** It is closed when the other worker ends. Whoever uses it starts it. */
  readonly port: MessagePort
}

/** A worker of `serve`, as its program sees it. */
export interface CurrentWorker {
  /** From 0 to one less than there are workers. A worker that takes the place of another one has the same. */
  readonly index: number
  /** Its name, which no other worker of this process ever has. */
  readonly node: string
  /** The option `data` of `serve`, as a copy. */
  readonly data: unknown
  /**
   * Calls back with each other worker, those that are there and those to come. Of several that are given, each has the
   * same ports.
   */
  onPeer(callback: (peer: WorkerPeer) => void): void
}

/** @internal */
export class Current implements CurrentWorker {
  readonly #peers = new Set<WorkerPeer>()
  readonly #callbacks: ((peer: WorkerPeer) => void)[] = []

  constructor(readonly index: number, readonly node: string, readonly data: unknown) {}

  onPeer(callback: (peer: WorkerPeer) => void): void {
    this.#callbacks.push(callback)
    for (const peer of this.#peers) callback(peer)
  }

  met(peer: WorkerPeer): void {
    this.#peers.add(peer)
    // Otherwise it is not noticed when the other one ends.
    peer.port.on('close', () => { this.#peers.delete(peer) })
    peer.port.unref()
    for (const callback of this.#callbacks) callback(peer)
  }
}

let current: Current | undefined

/** @internal */
export function setCurrentWorker(worker: Current): void {
  current = worker
}

/** The worker of `serve` that this thread is; undefined: it is none. */
export function currentWorker(): CurrentWorker | undefined {
  return current
}

/**
 * Listeners that this thread has from another one, which opens them and accepts for it. Owns who lends them (set once,
 * before anything listens), and what is to be done with those who listen on loan when the thread is to end.
 */
import type { SocketAddress } from '../seam/transport.js'

/** What is to be listened on. */
export interface LoanRequest {
  /** An address or, with the port of Unix sockets, a path; undefined: all interfaces. */
  readonly host: string | undefined
  readonly port: number
  readonly ipv6Only: boolean
  /** Of `listenWords`. */
  readonly words: Int32Array
}

/** A seat at a listener of another thread's. */
export interface Loan {
  /** Its memory, a pipe that wakes it, the acceptor's eventfd, and a listening socket or -1: the other thread's. */
  readonly descriptors: Int32Array
  /** Where it listens. */
  readonly address: SocketAddress
  /** This thread listens there no more. */
  giveBack(): void
}

/** Who lends listeners to this thread. */
export interface Lender {
  /** @returns a negative errno if it can't be had */
  borrow(request: LoanRequest): Loan | number
}

let lender: Lender | undefined
let suspended = false

/** From now on listeners come from there. */
export function setLender(from: Lender): void {
  lender = from
}

/** Who lends this thread its listeners; undefined: it has its own. */
export function currentLender(): Lender | undefined {
  return suspended ? undefined : lender
}

const endings = new Set<() => Promise<void>>()

/**
 * Whoever listens on loan, and is no VM that is ended by itself, says how it ends in good order.
 *
 * @param end called at most once: nothing more is accepted, and who is there may end
 * @returns takes it back; undefined where nobody asks
 */
export function onThreadEnd(end: () => Promise<void>): (() => void) | undefined {
  if (currentLender() === undefined) return undefined
  endings.add(end)
  return () => { endings.delete(end) }
}

/** All of them end. */
export async function endThread(): Promise<void> {
  const all = [...endings]
  endings.clear()
  await Promise.all(all.map((end) => end()))
}

/** What `listen` opens is this thread's own, whoever lends it others. */
export function ownListener<T>(listen: () => T): T {
  const before = suspended
  suspended = true
  try {
    return listen()
  } finally {
    suspended = before
  }
}

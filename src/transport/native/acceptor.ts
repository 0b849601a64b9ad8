/**
 * Accepting for several threads: native/engine/acceptor.h as an object. Owns the acceptor, its thread and the listening
 * sockets, until `close`.
 */
import { constants } from 'node:os'
import { socketError } from '../../support/errors.js'
import type { SocketAddress } from '../seam/transport.js'
import { socketAddress, unixAddress } from './address.js'
import { loadedAddon } from './engine.js'
import { UNIX_PORT } from './layout.js'
import type { LoanRequest } from './loan.js'
import { lacksIPv6 } from './listen.js'

/** A listener of the acceptor's. */
export interface AcceptorListener {
  readonly id: number
  readonly address: SocketAddress
}

/** A place of a worker's at a listener. */
export interface Seat {
  readonly id: number
  /** For `Loan`. */
  readonly descriptors: Int32Array
}

/** What a worker was given. */
export interface WorkerConnections {
  /** Connections that it has, those that it has not taken yet among them. */
  readonly live: number
  readonly waiting: number
  readonly given: number
}

/** A connection that is to be routed. */
export interface RouteQuestion {
  readonly id: number
  /** Of the listener. */
  readonly listener: number
  readonly peer: SocketAddress
  /** A copy of what has come so far. */
  readonly prefix: Buffer
  /** Nothing more will come, or be awaited. */
  readonly last: boolean
}

/** Asks where connections go. */
export interface AcceptorRouting {
  /** Bytes of a connection that are looked at. */
  readonly prefixMax: number
  /** Milliseconds that more of them are awaited. */
  readonly waitMs: number
  /** There are questions. It is called again only after `nextQuestion` had none. */
  readonly ask: () => void
}

export class Acceptor {
  readonly #addon = loadedAddon()
  readonly #acceptor: object
  readonly #counts = new Float64Array(5)
  readonly #prefix: Buffer
  readonly #question = new Float64Array(8)

  /**
   * @param routing without it each connection goes to the worker that has the fewest
   * @throws SocketError if there are no descriptors for it
   */
  constructor(routing?: AcceptorRouting) {
    const { prefixMax = 0, waitMs = 0, ask } = routing ?? {}
    // Of one without a length there would be no address.
    this.#prefix = Buffer.alloc(Math.max(1, prefixMax))
    const acceptor = this.#addon.createAcceptor(prefixMax, waitMs, ask)
    if (typeof acceptor === 'number') throw socketError(acceptor, 'epoll_create')
    this.#acceptor = acceptor
  }

  /**
   * Listens there.
   *
   * @param places so many have a socket each, of which their workers accept by themselves; 0: all have one,
   *   of which the acceptor accepts, as it does for Unix sockets
   * @returns a negative errno if that can't be had
   */
  listen({ host, port, ipv6Only, words }: LoanRequest, places = 0): AcceptorListener | number {
    let id = this.#addon.acceptorListen(this.#acceptor, host ?? '::', port, words, places)
    if (host === undefined && !ipv6Only && lacksIPv6(id)) {
      id = this.#addon.acceptorListen(this.#acceptor, '0.0.0.0', port, words, places)
    }
    if (id < 0) return id
    if (port === UNIX_PORT) return { id, address: unixAddress(host ?? '') }
    const w = new Int32Array(5)
    const result = this.#addon.acceptorAddress(this.#acceptor, id, w)
    return result < 0 ? result : { id, address: socketAddress(w[0], w[1], w[2], w[3], w[4]) }
  }

  /** The next connection that is to be routed; undefined if there is none. */
  nextQuestion(): RouteQuestion | undefined {
    const q = this.#question
    const length = this.#addon.acceptorNextQuestion(this.#acceptor, this.#prefix, q)
    if (length < 0) return undefined
    return {
      id: q[0], listener: q[1], last: q[2] !== 0, prefix: Buffer.from(this.#prefix.subarray(0, length)),
      peer: socketAddress(q[3], q[4], q[5], q[6], q[7]),
    }
  }

  /**
   * @param where the number of a place, or one of `RouteAnswer`
   * @returns a negative errno; ENOBUFS: too many wait for that place, and the connection is reset
   */
  answer({ id }: RouteQuestion, where: number): number {
    return this.#addon.acceptorAnswer(this.#acceptor, id, where)
  }

  /** Who waits to be accepted is, and all that is to be routed there is asked about for the last time. */
  hurry(listener: number): void {
    this.#addon.acceptorHurry(this.#acceptor, listener)
  }

  /**
   * Who waits to be accepted is given to workers, as far as there are any, as soon as they have room for it: until then
   * it is `unplaced`. What is not routed is reset: see `hurry`.
   */
  closeListener(listener: number): void {
    this.#addon.acceptorCloseListener(this.#acceptor, listener)
  }

  /**
   * @param place what connections are routed by; a place may have two workers for a while
   * @returns a negative errno if it can't be had
   */
  sit(listener: number, worker: number, place: number): Seat | number {
    const words = new Int32Array(5)
    const result = this.#addon.acceptorSit(this.#acceptor, listener, worker, place, words)
    return result < 0 ? result : { id: words[0], descriptors: words.slice(1) }
  }

  leaveSeat(seat: number): void {
    this.#addon.acceptorLeaveSeat(this.#acceptor, seat)
  }

  /** It is given nothing from now on; what it was given it may still take. */
  retire(worker: number): void {
    this.#addon.acceptorRetire(this.#acceptor, worker)
  }

  /** The same, and what it has not taken goes to the others: it may be busy for long. */
  recall(worker: number): void {
    this.#addon.acceptorRecall(this.#acceptor, worker)
  }

  /** It has ended: what it has not taken goes to the others. */
  leave(worker: number): void {
    this.#addon.acceptorLeave(this.#acceptor, worker)
  }

  connections(worker: number): WorkerConnections {
    const counts = this.#counts
    this.#addon.acceptorCounts(this.#acceptor, worker, counts)
    this.failure = counts[4] === 0 ? this.failure : counts[4]
    return { live: counts[0], waiting: counts[1], given: counts[2] }
  }

  /** Connections that nobody could be given so far. */
  get unplaced(): number {
    this.connections(0)
    return this.#counts[3]
  }

  /** Why connections could not be accepted, since this was asked last: a negative errno, or 0. */
  takeFailure(): number {
    this.connections(0)
    const { failure } = this
    this.failure = 0
    return failure
  }

  private failure = 0

  close(): void {
    this.#addon.acceptorClose(this.#acceptor)
  }
}

export { RouteAnswer } from './layout.js'

/** The errno for a lender who doesn't answer. */
export const NO_ANSWER = -constants.errno.ETIMEDOUT

/**
 * The listeners of a `serve`: opened when the first worker wants one, shared by all, and closed when no worker wants it
 * any more, or at the end.
 *
 * Owns the acceptor. Invariant: a listener that a worker has lost by ending stays open, as the next worker wants it; it
 * is closed if it turns out that none does.
 */
import { constants } from 'node:os'
import type { MessagePort } from 'node:worker_threads'
import { Acceptor, RouteAnswer, type AcceptorListener, type LoanRequest } from '../transport/shared-listeners.js'
import { clearImmediate, setImmediate } from '../support/real-time.js'
import type { SocketAddress } from '../support/socket-error.js'
import { Word, type LoanAnswer, type LoanQuestion } from './protocol.js'
import { Router, type RouteSettings } from './router.js'

const { EADDRINUSE, ECANCELED } = constants.errno

/** Connections that are routed until others have their turn. */
const ROUTED_AT_ONCE = 256
/** How often who waits in a listener's queue is accepted when it is closed: the queue is never as long. */
const CLOSING_ROUNDS = 64

/** Who is lent listeners. */
export interface Borrower {
  /** The acceptor's number for it. */
  readonly id: number
  /** Its place, by which connections are routed to it. */
  readonly index: number
  readonly words: Int32Array
  readonly loans: MessagePort
  /** What it gives back it wants no more; otherwise it only ends. */
  readonly choosesFreely: boolean
}

/** How connections come to workers: with none of these, each goes to the one that has the fewest. */
export interface Sharing {
  /** Where the program says. */
  readonly routes?: RouteSettings
  /** So many places have a socket of their own at each listener, among which the kernel divides connections. */
  readonly ownSockets?: number
}

/** A listener, and who sits at it. */
interface Shared extends AcceptorListener {
  readonly key: string
  /** The worker of each seat. */
  readonly seats: Map<number, number>
}

export class SharedListeners {
  readonly acceptor: Acceptor
  readonly #router: Router | undefined
  #routing: NodeJS.Immediate | undefined
  readonly #shared = new Map<string, Shared>()
  #closed = false
  /** Not once nothing is to be accepted any more. */
  #lends = true

  readonly #ownSockets: number

  constructor({ routes, ownSockets = 0 }: Sharing = {}) {
    this.#ownSockets = ownSockets
    this.#router = routes === undefined ? undefined : new Router(routes)
    this.acceptor = new Acceptor(routes === undefined ? undefined : {
      prefixMax: routes.prefixBytes, waitMs: routes.prefixMs, ask: () => { this.#routeSome() },
    })
  }

  /** Where it listens. */
  get addresses(): SocketAddress[] {
    return [...this.#shared.values()].map(({ address }) => address)
  }

  /** Connections that are accepted, and that nobody could be given so far. */
  get unplaced(): number {
    return this.#closed ? 0 : this.acceptor.unplaced
  }

  /** Why connections could not be accepted, since this was asked last: a negative errno, or 0. */
  takeFailure(): number {
    return this.#closed ? 0 : this.acceptor.takeFailure()
  }

  /** Answers a worker's questions, from now on. */
  serve(borrower: Borrower): void {
    borrower.loans.on('message', (question: LoanQuestion) => {
      if (question.kind === 'give-back') this.#returned(borrower, question.seat)
      else this.#answer(borrower, question)
    })
    borrower.loans.unref()
  }

  #answer(borrower: Borrower, { question, nth, request }: LoanQuestion & { kind: 'borrow' }): void {
    const loan = this.#lend(borrower, nth, request)
    const answer: LoanAnswer = typeof loan === 'number'
      ? { question, errno: loan, seat: 0, descriptors: new Int32Array(0), address: undefined }
      : { question, errno: 0, ...loan }
    borrower.loans.postMessage(answer)
    Atomics.store(borrower.words, Word.answered, 1)
    Atomics.notify(borrower.words, Word.answered)
  }

  #lend(
    { id, index }: Borrower, nth: number, request: LoanRequest,
  ): number | Pick<LoanAnswer, 'seat' | 'descriptors' | 'address'> {
    if (!this.#lends) return -ECANCELED
    const { host, port, ipv6Only } = request
    const key = JSON.stringify([host, port, ipv6Only, nth])
    let shared = this.#shared.get(key)
    if (shared === undefined) {
      const listener = this.acceptor.listen(request, this.#ownSockets)
      if (typeof listener === 'number') return listener
      shared = { ...listener, key, seats: new Map() }
      this.#shared.set(key, shared)
    } else if ([...shared.seats.values()].includes(id)) {
      // As it would be with a socket of its own.
      return -EADDRINUSE
    }
    const seat = this.acceptor.sit(shared.id, id, index)
    if (typeof seat === 'number') {
      this.#closeIfUnwanted(shared)
      return seat
    }
    shared.seats.set(seat.id, id)
    return { seat: seat.id, descriptors: seat.descriptors, address: shared.address }
  }

  #returned({ choosesFreely }: Borrower, seat: number): void {
    const shared = [...this.#shared.values()].find(({ seats }) => seats.has(seat))
    if (shared === undefined) return
    this.acceptor.leaveSeat(seat)
    shared.seats.delete(seat)
    if (choosesFreely) this.#closeIfUnwanted(shared)
  }

  #closeIfUnwanted(shared: Shared): void {
    if (shared.seats.size > 0) return
    this.#close(shared)
    this.#shared.delete(shared.key)
  }

  /** Who waits there, in the kernel's queue or to be routed, is routed first, unless all is over. */
  #close({ id }: Shared): void {
    let rounds = this.#router === undefined || this.#closed ? 0 : CLOSING_ROUNDS
    while (rounds-- > 0) {
      this.acceptor.hurry(id)
      if (this.#route(Infinity) === 0) break
    }
    this.acceptor.closeListener(id)
  }

  #addressOf(listener: number): SocketAddress | undefined {
    for (const { id, address } of this.#shared.values()) if (id === listener) return address
    return undefined
  }

  /** Routes those that wait, a few at a time. */
  #routeSome(): void {
    this.#routing = undefined
    if (this.#closed || this.#route(ROUTED_AT_ONCE) < ROUTED_AT_ONCE) return
    this.#routing = setImmediate(() => { this.#routeSome() })
  }

  /** @returns how many connections it has asked about, so many at most */
  #route(most: number): number {
    for (let n = 0; n < most; n++) {
      const question = this.acceptor.nextQuestion()
      if (question === undefined || this.#router === undefined) return n
      const address = this.#addressOf(question.listener)
      const where = address === undefined ? RouteAnswer.refuse : this.#router.answer(question, address)
      this.#router.answered(where, this.acceptor.answer(question, where))
    }
    return most
  }

  /** Closes those at which nobody sits. @returns where they were */
  closeUnwanted(): SocketAddress[] {
    const unwanted = [...this.#shared.values()].filter(({ seats }) => seats.size === 0)
    for (const shared of unwanted) this.#closeIfUnwanted(shared)
    return unwanted.map(({ address }) => address)
  }

  /** A worker is to end, and may take long: it gets no more, and others get what it has not taken. */
  recall({ id }: Pick<Borrower, 'id'>): void {
    if (!this.#closed) this.acceptor.recall(id)
  }

  /** A worker has ended. */
  gone({ id }: Pick<Borrower, 'id'>): void {
    if (this.#closed) return
    for (const { seats } of this.#shared.values()) {
      for (const [seat, worker] of seats) if (worker === id) seats.delete(seat)
    }
    this.acceptor.leave(id)
  }

  /** Nothing is accepted any more; who waits already is given to the workers. Not to be called by a `route`. */
  closeListeners(): void {
    this.#lends = false
    for (const shared of this.#shared.values()) this.#close(shared)
    this.#shared.clear()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.closeListeners()
    clearImmediate(this.#routing)
    this.acceptor.close()
  }
}

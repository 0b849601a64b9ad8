/**
 * Who may come in, in JavaScript: the limits of a listener where no engine has them. native/engine/admission.h does
 * the same, and says why it is as it is.
 *
 * Invariants: tokens are taken, and prefixes remembered, only of what is admitted; what is remembered is bounded by the
 * open connections and `maxIdlePrefixes`; `connections` is the number of those that were admitted and have not left.
 */
import { performance } from '../../support/real-time.js'
import type { SocketAddress } from '../../support/socket-error.js'
import type { FullLimits, LimitName, Rate } from './limits.js'
import { isInRange, prefixOf } from './prefix.js'

/** So many of the idle are looked at when another prefix comes. */
const LOOKS = 2

/** A token bucket; the rate is given anew each time, as it may change. Times are milliseconds. */
export class TokenBucket {
  #level: number
  #last: number

  constructor({ burst }: Rate, now: number) {
    this.#level = burst
    this.#last = now
  }

  available(rate: Rate, now: number): number {
    const passed = Math.max(0, now - this.#last)
    this.#last = Math.max(this.#last, now)
    this.#level = Math.min(rate.burst, this.#level + passed * rate.perSecond / 1000)
    return Math.floor(this.#level)
  }

  take(tokens: number): void {
    this.#level -= tokens
  }

  isFull(rate: Rate, now: number): boolean {
    this.available(rate, now)
    return this.#level >= rate.burst
  }
}

interface Known {
  readonly prefix: string
  readonly bucket: TokenBucket
  connections: number
}

/** What was decided of a connection. */
export interface Decision {
  /** Why it is refused; undefined if it is not. */
  readonly refusedFor: LimitName | undefined
  /** To be given back when it leaves. */
  readonly ticket: Known | undefined
}

const ADMITTED: Decision = { refusedFor: undefined, ticket: undefined }

const refused = (refusedFor: LimitName): Decision => ({ refusedFor, ticket: undefined })

export class Admission {
  connections = 0
  #limits: FullLimits
  #all: TokenBucket
  readonly #known = new Map<string, Known>()
  /** Those without connections, from the one that has been it for longest. */
  readonly #idle = new Set<Known>()

  constructor(limits: FullLimits) {
    this.#limits = limits
    this.#all = new TokenBucket(limits.acceptRate, performance.now())
  }

  /** Prefixes that are remembered. */
  get prefixes(): number {
    return this.#known.size
  }

  change(limits: FullLimits): void {
    if (this.#limits.acceptRate.perSecond === 0) this.#all = new TokenBucket(limits.acceptRate, performance.now())
    this.#limits = limits
  }

  admit(peer: SocketAddress): Decision {
    const { maxConnections, acceptRate, acceptRatePerPrefix, connectionsPerPrefix, prefixLength } = this.#limits
    if (this.connections >= maxConnections) return refused('maxConnections')
    const byPrefix = (connectionsPerPrefix > 0 || acceptRatePerPrefix.perSecond > 0) && !this.#isExempt(peer)
    const now = performance.now()
    const prefix = byPrefix ? prefixOf(peer, prefixLength) : ''
    const known = byPrefix ? this.#known.get(prefix) : undefined
    if (known !== undefined) {
      if (connectionsPerPrefix > 0 && known.connections >= connectionsPerPrefix) return refused('connectionsPerPrefix')
      if (acceptRatePerPrefix.perSecond > 0 && known.bucket.available(acceptRatePerPrefix, now) < 1) {
        return refused('acceptRatePerPrefix')
      }
    }
    if (acceptRate.perSecond > 0) {
      if (this.#all.available(acceptRate, now) < 1) return refused('acceptRate')
      this.#all.take(1)
    }
    this.connections++
    return byPrefix ? { refusedFor: undefined, ticket: this.#open(prefix, now) } : ADMITTED
  }

  /** Of one that was admitted. */
  leave(ticket: Known | undefined): void {
    this.connections--
    if (ticket === undefined || --ticket.connections > 0) return
    const { acceptRatePerPrefix, maxIdlePrefixes } = this.#limits
    if (acceptRatePerPrefix.perSecond === 0 || ticket.bucket.isFull(acceptRatePerPrefix, performance.now())) {
      this.#known.delete(ticket.prefix)
      return
    }
    this.#idle.add(ticket)
    if (this.#idle.size > maxIdlePrefixes) this.#forgetOldest()
  }

  #isExempt(peer: SocketAddress): boolean {
    return this.#limits.exempt.some((range) => isInRange(range, peer))
  }

  #open(prefix: string, now: number): Known {
    const { acceptRatePerPrefix } = this.#limits
    this.#forgetIdle(now)
    let known = this.#known.get(prefix)
    if (known === undefined) {
      // Without a rate: of one that may come later it has all.
      const since = acceptRatePerPrefix.perSecond > 0 ? now : -Infinity
      known = { prefix, bucket: new TokenBucket(acceptRatePerPrefix, since), connections: 0 }
      this.#known.set(prefix, known)
    }
    known.connections++
    if (acceptRatePerPrefix.perSecond > 0) known.bucket.take(1)
    this.#idle.delete(known)
    return known
  }

  #forgetIdle(now: number): void {
    const { acceptRatePerPrefix } = this.#limits
    for (let i = 0; i < LOOKS; i++) {
      const [oldest] = this.#idle
      if ((oldest as Known | undefined) === undefined) return
      if (acceptRatePerPrefix.perSecond > 0 && !oldest.bucket.isFull(acceptRatePerPrefix, now)) return
      this.#forgetOldest()
    }
  }

  #forgetOldest(): void {
    const [oldest] = this.#idle
    this.#idle.delete(oldest)
    this.#known.delete(oldest.prefix)
  }
}

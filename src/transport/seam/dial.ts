/**
 * The way of an outbound connection until it is established, for every transport: the name is looked
 * up without blocking, its addresses are tried as RFC 8305 (Happy Eyeballs) has it, and what the
 * program does meanwhile is remembered.
 *
 * The next attempt begins when the last one has failed, or has taken `attemptDelay`; earlier ones go on. The
 * first that succeeds wins, the others are given up.
 *
 * Invariants: it ends with `succeeded` from outside, with one call of `failed`, or with `cancel`;
 * nothing is called synchronously from `start`, or after the end; every attempt that has
 * begun and that has not ended is given up at the end, but for the winner.
 */
import { lookup as systemLookup } from 'node:dns'
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { isPromise } from 'node:util/types'
import { asError, connectError, dialError, show, socketError } from '../../support/errors.js'
import { clearTimeout, setTimeout } from '../../support/real-time.js'
import { AddressPlan } from './address-plan.js'
import type { ConnectOptions, Lookup, SocketAddress, SocketError } from './transport.js'

const ETIMEDOUT = -constants.errno.ETIMEDOUT
/** libuv's number of it, which Node gives with the code ENOTFOUND. */
const EAI_NONAME = -3008

/** As RFC 8305 recommends. */
export const ATTEMPT_DELAY = 250

export class Dial {
  /** What was written, copied, as the program may reuse its memory. */
  readonly backlog: Uint8Array[] = []
  backlogBytes = 0
  shutdown = false
  closing = false
  paused = false
  expectsInput = true

  readonly #attempt: (address: SocketAddress) => number | SocketError
  readonly #giveUp: (attempt: number) => void
  readonly #failed: (error: SocketError) => void
  readonly #options: ConnectOptions
  /** When the addresses are known. */
  #plan: AddressPlan<SocketAddress> | undefined
  /** The attempts that are on, in the order in which they began. */
  readonly #attempts = new Map<number, SocketAddress>()
  /** Of the attempts that have failed, in the order in which they did. */
  readonly #errors: SocketError[] = []
  #over = false
  #timeout: NodeJS.Timeout | undefined
  #deadline: NodeJS.Timeout | undefined

  /**
   * @param attempt begins one: its number, which is greater than 0, or why it can't begin; how it went is told
   * later
   * @param giveUp ends an attempt that is on
   * @param failed called at the end, but for that of `succeeded` and `cancel`
   */
  constructor(
    attempt: (address: SocketAddress) => number | SocketError, giveUp: (attempt: number) => void,
    failed: (error: SocketError) => void, options: ConnectOptions,
  ) {
    this.#attempt = attempt
    this.#giveUp = giveUp
    this.#failed = failed
    this.#options = options
  }

  /** @param refused why there is nothing to try */
  start(refused?: SocketError): void {
    const { connectTimeout = 0 } = this.#options
    if (connectTimeout > 0) this.#timeout = setTimeout(() => { this.#expired() }, connectTimeout)
    // Not now: an attempt can fail at once.
    process.nextTick(() => {
      if (refused === undefined) this.#resolve()
      else this.#fail(refused)
    })
  }

  /** The attempt that began last, if it is on. */
  get attempt(): number | undefined {
    return [...this.#attempts.keys()].at(-1)
  }

  /** Of the connection; 0 for none. */
  get idleTimeout(): number {
    return this.#options.idleTimeout ?? 0
  }

  get readTimeout(): number {
    return this.#options.readTimeout ?? 0
  }

  keep(data: Uint8Array | string): void {
    const copy = Buffer.from(data as Uint8Array)
    if (copy.length === 0) return
    this.backlog.push(copy)
    this.backlogBytes += copy.length
  }

  /** Closes when what was written has gone out, or fails when the time is up. */
  closeLater(timeout: number): void {
    this.closing = true
    this.#deadline = setTimeout(() => { this.#expired() }, timeout)
  }

  /** An attempt ended without a connection, with an error or a negative errno. */
  attemptFailed(attempt: number, failure: SocketError | number): void {
    const address = this.#attempts.get(attempt)
    if (this.#over || address === undefined) return
    this.#attempts.delete(attempt)
    this.#errors.push(typeof failure === 'number' ? connectError(failure, address) : failure)
    if (this.#plan !== undefined) this.#tryNext(this.#plan)
  }

  /** An attempt has its connection: the others are given up. Returns the peer's address. */
  succeeded(attempt: number): SocketAddress {
    const address = this.#attempts.get(attempt) as SocketAddress
    this.#attempts.delete(attempt)
    this.cancel()
    return address
  }

  /** Nothing is called any more but to end the attempts that are on. */
  cancel(): void {
    this.#over = true
    this.#plan?.stop()
    clearTimeout(this.#timeout)
    clearTimeout(this.#deadline)
    for (const attempt of this.#attempts.keys()) this.#giveUp(attempt)
    this.#attempts.clear()
  }

  #resolve(): void {
    if (this.#over) return
    const { host = '', port = 0, path, localAddress = '', lookup = systemLookup } = this.#options
    const family = isIP(localAddress) as 0 | 4 | 6
    if (path !== undefined) {
      this.#begin([{ address: path, family: 'unix', port: 0 }])
      return
    }
    const version = isIP(host)
    if (version !== 0) {
      this.#begin([{ address: host, family: version === 6 ? 'IPv6' : 'IPv4', port }])
      return
    }
    let answered = false
    const answer = (error: unknown, addresses: readonly SocketAddress[]): void => {
      if (answered || this.#over) return
      answered = true
      if (error === null) this.#begin(addresses)
      else this.#fail(lookupError(asError(error, 'the lookup failed'), host))
    }
    // The program's function may do anything; what is wrong with it fails this attempt, and nothing else.
    const failed = (reason: unknown): void => { answer(reason, []) }
    try {
      const find: (...given: Parameters<Lookup>) => unknown = lookup
      const returned = find(host, { all: true, family }, (error, result) => {
        if (error !== null && error !== undefined) answer(error, [])
        else answer(...addressesOf(result, family, host, port))
      })
      // An async function, whose promise nobody else awaits.
      if (isPromise(returned)) returned.then(undefined, failed)
    } catch (error) {
      failed(error)
    }
  }

  #begin(addresses: readonly SocketAddress[]): void {
    const { attemptDelay = ATTEMPT_DELAY } = this.#options
    const plan = this.#plan = new AddressPlan(addresses, attemptDelay, () => { this.#tryNext(plan) })
    this.#tryNext(plan)
  }

  /** The next attempt, if there is one; the end, if there is none and none is on. */
  #tryNext(plan: AddressPlan<SocketAddress>): void {
    for (let address = plan.next(); address !== undefined; address = plan.next()) {
      const result = this.#attempt(address)
      if (typeof result === 'number') {
        this.#attempts.set(result, address)
        plan.begun()
        return
      }
      this.#errors.push(result)
    }
    if (this.#attempts.size === 0) this.#fail(dialError(this.#errors))
  }

  /** The time is up for all attempts together. */
  #expired(): void {
    for (const address of this.#attempts.values()) this.#errors.push(connectError(ETIMEDOUT, address))
    const { host, port, path } = this.#options
    // Nothing was tried yet: the name's addresses are not known.
    if (this.#errors.length === 0) this.#errors.push(socketError(ETIMEDOUT, 'connect', path ?? host, port))
    this.#fail(dialError(this.#errors))
  }

  #fail(error: SocketError): void {
    if (this.#over) return
    this.cancel()
    this.#failed(error)
  }
}

/** Every error of a dial has the fields of a socket's error, also those of the program's own lookup. */
function lookupError(error: Error, host: string): SocketError {
  const fields: Partial<SocketError> & { hostname?: string } = error
  fields.code ??= 'ENOTFOUND'
  fields.errno ??= EAI_NONAME
  fields.syscall ??= 'getaddrinfo'
  fields.hostname ??= host
  return error as SocketError
}

/**
 * The result of a lookup, in either of the forms that Node's `lookup` has.
 *
 * @param family the one that is wanted, or 0 for both
 */
function addressesOf(
  result: Parameters<Parameters<Lookup>[2]>[1], family: 0 | 4 | 6, host: string, port: number,
): [error: Error | null, addresses: readonly SocketAddress[]] {
  const given: unknown = typeof result === 'string' ? [{ address: result }] : result ?? []
  const addresses: SocketAddress[] = []
  for (const one of Array.isArray(given) ? given as unknown[] : [given]) {
    const address = (one as Partial<{ address: unknown }> | null | undefined)?.address
    const version = typeof address === 'string' ? isIP(address) : 0
    if (version === 0) {
      const text = `connect: the lookup of ${show(host)} must give IP addresses; got ${show(address ?? one)}`
      return [Object.assign(new TypeError(text), { code: 'ERR_INVALID_IP_ADDRESS' }), []]
    }
    if (family !== 0 && version !== family) continue
    addresses.push({ address: address as string, family: version === 6 ? 'IPv6' : 'IPv4', port })
  }
  if (addresses.length > 0) return [null, addresses]
  return [new Error(`getaddrinfo ENOTFOUND ${host}`), []]
}

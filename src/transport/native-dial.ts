/**
 * The way of an outbound connection until it is established: the name is looked up without
 * blocking, its addresses are tried in turn, and what the program does meanwhile is remembered.
 *
 * Invariants: it ends with `succeeded` from outside, with one call of `failed`, or with `cancel`;
 * nothing is called synchronously from `start`, or after the end.
 */
import { lookup } from 'node:dns'
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { socketError } from '../support/errors.js'
import { BIND_FAILED } from './native-link.js'
import type { ConnectOptions, SocketAddress, SocketError } from './transport.js'

/** What a dial needs. How an attempt went is told by `succeeded` or `attemptFailed`. */
export interface DialHost {
  /** Begins an attempt: an id, or a negative errno. */
  attempt(address: string): number
  /** Ends the attempt that is on. */
  giveUp(): void
  failed(error: SocketError): void
}

export class Dial {
  /** What was written, copied, as the program may reuse its memory. */
  readonly backlog: Uint8Array[] = []
  backlogBytes = 0
  shutdown = false
  closing = false
  paused = false

  readonly #host: DialHost
  readonly #options: ConnectOptions
  readonly #addresses: SocketAddress[] = []
  #next = 0
  #error: SocketError | undefined
  #attempting = false
  #over = false
  #deadline: NodeJS.Timeout | undefined

  constructor(host: DialHost, options: ConnectOptions) {
    this.#host = host
    this.#options = options
  }

  start(): void {
    const { host, port } = this.#options
    const version = isIP(host)
    if (version !== 0) {
      this.#addresses.push({ address: host, family: version === 6 ? 'IPv6' : 'IPv4', port })
      // Not now: an attempt can fail at once.
      process.nextTick(() => { this.#tryNext() })
      return
    }
    const family = isIP(this.#options.localAddress ?? '')
    lookup(host, { all: true, family }, (error, addresses) => {
      if (error !== null) {
        this.#fail(error as SocketError)
        return
      }
      for (const { address, family } of addresses) {
        this.#addresses.push({ address, family: family === 6 ? 'IPv6' : 'IPv4', port })
      }
      this.#tryNext()
    })
  }

  /** The address that is tried, or was tried last. */
  get address(): SocketAddress {
    return this.#addresses[this.#next - 1]
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
    this.#deadline = setTimeout(() => {
      this.#fail(socketError(-constants.errno.ETIMEDOUT, 'connect', this.#options.host, this.#options.port))
    }, timeout)
  }

  attemptFailed(errno: number): void {
    this.#attempting = false
    this.#error = this.#errorOf(errno)
    this.#tryNext()
  }

  succeeded(): void {
    this.#attempting = false
    this.#finish()
  }

  /** Nothing is called any more; the attempt that is on ends. */
  cancel(): void {
    if (this.#attempting) this.#host.giveUp()
    this.#finish()
  }

  #tryNext(): void {
    while (!this.#over && this.#next < this.#addresses.length) {
      const { address } = this.#addresses[this.#next++]
      const result = this.#host.attempt(address)
      if (result > 0) {
        this.#attempting = true
        return
      }
      this.#error = this.#errorOf(result)
    }
    if (this.#over) return
    // A name without addresses is a failed lookup, so that there always is an error here.
    this.#fail(this.#error ?? socketError(-constants.errno.ENOENT, 'getaddrinfo', this.#options.host))
  }

  /** Of the present address, or of ours. */
  #errorOf(errno: number): SocketError {
    const { localAddress, localPort } = this.#options
    if (errno < -BIND_FAILED) return socketError(errno + BIND_FAILED, 'bind', localAddress, localPort)
    const { address, port } = this.address
    return socketError(errno, 'connect', address, port)
  }

  #fail(error: SocketError): void {
    if (this.#over) return
    this.#finish()
    this.#host.failed(error)
  }

  #finish(): void {
    this.#over = true
    clearTimeout(this.#deadline)
  }
}

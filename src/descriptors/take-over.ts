/**
 * The process that takes another one's listeners over, which offers them with `handOff`. Owns the connection to it, and
 * the descriptors until all of them have come: then they are the program's.
 */
import { closeSync } from 'node:fs'
import { constants } from 'node:os'
import { checkOptions, integer, type Checks } from '../support/checks.js'
import { openTransport } from '../transport/choose.js'
import { takeFile } from '../transport/descriptors.js'
import { pathError } from '../transport/seam/socket-options.js'
import type { SocketAddress, SocketError, Transport, TransportEvent } from '../transport/seam/transport.js'
import {
  Exchange, exchangeError, LINE_MAX, LIST_MAX, LISTENERS_MAX, PROTOCOL, VERSION, type Line, type ListedSocket,
} from './exchange.js'
import { kindOf, type InheritedSocket } from './inherited.js'

/** Options of `takeOver`. */
export interface TakeOverOptions {
  /** Milliseconds that the other process may take for each of its answers. Default 5,000. */
  readonly deadline?: number | undefined
}

/** What was taken over. */
export interface TakenOver {
  /** The process that had it. */
  readonly pid: number
  /** The listeners. They are the caller's, until they are adopted: by `fdListener`, or `listen({ fd })`. */
  readonly sockets: readonly InheritedSocket[]
  /**
   * This process accepts on all of them now: the other one is to stop. Resolves when it has stopped, or is gone.
   *
   * @throws Error if it has given up waiting: it goes on accepting, beside this process
   */
  ready(): Promise<void>
  /**
   * This process does not take over after all: the other one goes on. The descriptors stay the caller's, to be closed.
   */
  abandon(): void
}

const checks: Checks = { deadline: integer(1, 0x7fffffff, 'milliseconds') }

/**
 * Takes over what another process offers with `handOff` on the same path. It goes on accepting until `ready` is called,
 * so that no connection is refused in between.
 *
 * @returns undefined: nobody offers anything there
 * @throws TypeError or RangeError when an argument is wrong; Error if the other process is another user's, speaks
 * another version, is busy with another one, or doesn't answer
 */
export function takeOver(path: string, options: TakeOverOptions = {}): Promise<TakenOver | undefined> {
  return new Promise((resolve, reject) => {
    const wrong = pathError('takeOver', path)
    if (wrong !== undefined) throw wrong
    checkOptions('takeOver', options, checks)
    new Taker(path, options.deadline ?? 5000, resolve, reject).start()
  })
}

class Taker implements TakenOver {
  pid = 0
  sockets: readonly InheritedSocket[] = []
  readonly #path: string
  readonly #deadline: number
  readonly #resolve: (taken: TakenOver | undefined) => void
  readonly #reject: (error: Error) => void
  readonly #transport: Transport = openTransport('native', { closeTimeout: 1000 })
  #exchange: Exchange | undefined
  #fds: number[] = []
  #listed: readonly ListedSocket[] | undefined
  #complete = false
  /** How it ended: with an error, or in order. */
  #ended: { readonly error: SocketError | undefined } | undefined
  #waiting: (() => void) | undefined

  constructor(
    path: string, deadline: number,
    resolve: (taken: TakenOver | undefined) => void, reject: (error: Error) => void,
  ) {
    this.#path = path
    this.#deadline = deadline
    this.#resolve = resolve
    this.#reject = reject
  }

  start(): void {
    this.#transport.open((events) => { for (const event of events) this.#happened(event) })
    const connection = this.#transport.connect({
      path: this.#path, connectTimeout: this.#deadline, carriesDescriptors: true,
    })
    this.#exchange = new Exchange(
      connection, LIST_MAX, (line) => { this.#said(line) },
      () => { this.#end(this.#error('EPROTO', 'what came is no line of the protocol')) },
      () => { this.#end(this.#error('ETIMEDOUT', 'the other process did not answer')) },
    )
  }

  async ready(): Promise<void> {
    const exchange = this.#exchange as Exchange
    if (this.#ended === undefined) {
      this.#transport.ref()
      exchange.say({ ready: true })
      exchange.limit(this.#deadline)
      await new Promise<void>((resolve) => { this.#waiting = resolve })
    }
    const error = this.#ended?.error
    if (error !== undefined) throw error
    for (const { fd, address } of this.sockets) if (address?.family === 'unix') takeFile(fd)
  }

  abandon(): void {
    this.#end(this.#error('ECANCELED', 'it was abandoned'))
  }

  #happened({ kind, connection, data, error }: TransportEvent): void {
    const exchange = this.#exchange as Exchange
    if (connection === undefined) return
    if (kind === 'connected') this.#connected(exchange)
    else if (kind === 'data') this.#received(exchange, data as Buffer)
    else if (kind === 'end' || kind === 'closed') this.#gone(error)
  }

  #connected(exchange: Exchange): void {
    const { connection } = exchange
    const same = connection.sameUser?.() ?? -constants.errno.ENOTSUP
    if (same !== 1) {
      this.#end(this.#error('EACCES', 'the process there is of another user'))
    } else {
      exchange.say({ protocol: PROTOCOL, version: VERSION, pid: process.pid })
      exchange.limit(this.#deadline)
    }
  }

  #received(exchange: Exchange, data: Buffer): void {
    this.#fds.push(...exchange.connection.takeDescriptors?.() ?? [])
    exchange.received(data)
    this.#complete ||= this.#isComplete()
  }

  #said(line: Line): void {
    const { error, why, over, sockets, more } = line
    if (typeof error === 'string') {
      const code = Object.hasOwn(constants.errno, error) ? error as keyof typeof constants.errno : 'EPROTO'
      this.#end(this.#error(code, typeof why === 'string' ? why.slice(0, LINE_MAX) : 'the other process refuses'))
    } else if (over === true && this.#waiting !== undefined) {
      this.#end(undefined)
    } else if (Array.isArray(sockets) && this.#listed === undefined && line.version === VERSION) {
      this.pid = typeof line.pid === 'number' ? line.pid : 0
      this.#listed = sockets.length <= LISTENERS_MAX ? sockets.map((one) => listedIn(one)) : undefined
      if (this.#listed === undefined) this.#end(this.#error('EPROTO', 'too many listeners'))
    } else if (more === undefined) {
      this.#end(this.#error('EPROTO', 'what it says makes no sense'))
    }
  }

  /** Whether all have come; then the program has them. */
  #isComplete(): boolean {
    const listed = this.#listed
    if (listed === undefined || this.#fds.length < listed.length || this.#ended !== undefined) return false
    const sockets = listed.map(({ name, address }, i) => {
      const fd = this.#fds[i]
      return { name, address, fd, kind: kindOf(fd) }
    })
    if (this.#fds.length > listed.length || sockets.some(({ kind }) => kind !== 'listener')) {
      this.#end(this.#error('EPROTO', 'what came is not what was said, or does not listen'))
      return false
    }
    this.#fds = []
    this.sockets = sockets
    this.#exchange?.limit(Infinity)
    // Whoever wants to live on has something else to do.
    this.#transport.unref()
    this.#resolve(this)
    return true
  }

  #gone(error: SocketError | undefined): void {
    if (this.#ended !== undefined) return
    const nobody = error?.code === 'ENOENT' || error?.code === 'ECONNREFUSED'
    if (nobody && error?.syscall === 'connect') {
      this.#end(undefined)
      this.#resolve(undefined)
    } else if (this.#complete) {
      // It is gone without having given up: what it had is ours.
      this.#end(undefined)
    } else {
      this.#end(error ?? this.#error('ECONNRESET', 'the other process is gone'))
    }
  }

  #end(error: SocketError | undefined): void {
    if (this.#ended !== undefined) return
    this.#ended = { error }
    this.#exchange?.end()
    this.#fds.push(...this.#exchange?.connection.takeDescriptors?.() ?? [])
    for (const fd of this.#fds.splice(0)) closeSync(fd)
    if (error !== undefined && !this.#complete) this.#reject(error)
    this.#waiting?.()
    void this.#transport.close()
  }

  #error(code: keyof typeof constants.errno, why: string): SocketError {
    return exchangeError(code, 'takeOver', this.#path, why)
  }
}

function listedIn(one: unknown): ListedSocket {
  const { name, address } = (one ?? {}) as { name?: unknown, address?: Partial<SocketAddress> | null }
  const known = typeof address?.address === 'string' && typeof address.port === 'number'
    && ['IPv4', 'IPv6', 'unix'].includes(address.family as string)
  return { name: String(name), address: known ? address as SocketAddress : undefined }
}

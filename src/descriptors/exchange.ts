/**
 * What a process that hands its listeners over and the one that takes them say to each other over a Unix socket: lines
 * of JSON, the descriptors with them. Owns the words, their limits, and one end of such a connection.
 *
 * The taker says hello; it is sent the listeners, and adopts them; it says that it is ready; the other stops accepting,
 * and says that this is over. Whoever can't go on says an error.
 */
import { constants } from 'node:os'
import { socketError } from '../support/errors.js'
import { clearTimeout, setTimeout } from '../support/real-time.js'
import type { SocketAddress, SocketError, TransportConnection } from '../transport/seam/transport.js'

export const PROTOCOL = 'marketplace hand-off'
export const VERSION = 1

/** Listeners that are handed over together, at most. */
export const LISTENERS_MAX = 1024
/** Of one message of the kernel's. */
export const PER_MESSAGE = 253
/** Bytes of a line; of one that lists listeners. */
export const LINE_MAX = 4096
export const LIST_MAX = 1024 * 1024

/** A listener as it is told of. */
export interface ListedSocket {
  readonly name: string
  readonly address?: SocketAddress | undefined
}

/** What is said; who says it says one of these. */
export interface Line {
  readonly protocol?: unknown
  readonly version?: unknown
  readonly pid?: unknown
  readonly sockets?: unknown
  readonly ready?: unknown
  readonly over?: unknown
  readonly more?: unknown
  readonly error?: unknown
  /** Of an error, in words. */
  readonly why?: unknown
}

export function encode(line: Line): Buffer {
  return Buffer.from(`${JSON.stringify(line)}\n`)
}

/** An error of this exchange, with a code as those of sockets have. */
export function exchangeError(
  code: keyof typeof constants.errno, call: string, path: string, why: string,
): SocketError {
  const error = socketError(-constants.errno[code], call, path)
  error.message += `: ${why}`
  return error
}

/** One end of such a connection: lines that come, and a time limit for the next one. */
export class Exchange {
  readonly connection: TransportConnection
  readonly #said: (line: Line) => void
  readonly #late: () => void
  readonly #wrong: () => void
  readonly #most: number
  #unread = Buffer.alloc(0)
  #deadline: NodeJS.Timeout | undefined
  #over = false

  /**
   * @param said called with each line
   * @param wrong called once: what came is no such line, or too long
   * @param late called once the time is up
   */
  constructor(
    connection: TransportConnection, most: number,
    said: (line: Line) => void, wrong: () => void, late: () => void,
  ) {
    this.connection = connection
    this.#most = most
    this.#said = said
    this.#wrong = wrong
    this.#late = late
  }

  get isOver(): boolean {
    return this.#over
  }

  /** Milliseconds from now on until `late`; Infinity: for ever. */
  limit(time: number): void {
    clearTimeout(this.#deadline)
    this.#deadline = time === Infinity ? undefined : setTimeout(this.#late, time).unref()
  }

  received(data: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, data])
    while (!this.#over) {
      const end = this.#unread.indexOf(0x0a)
      if ((end < 0 ? this.#unread.length : end) > this.#most) {
        this.#wrong()
        return
      }
      if (end < 0) return
      const text = this.#unread.toString('utf8', 0, end)
      this.#unread = this.#unread.subarray(end + 1)
      const line = parsed(text)
      if (line === undefined) {
        this.#wrong()
        return
      }
      this.#said(line)
    }
  }

  say(line: Line): void {
    if (!this.#over) this.connection.write(encode(line))
  }

  /** Nothing is listened to any more; what was said is still sent. */
  end(): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#deadline)
    this.connection.close()
  }
}

function parsed(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as unknown
    return typeof line === 'object' && line !== null && !Array.isArray(line) ? line : undefined
  } catch {
    return undefined
  }
}

/**
 * The process that has the listeners: it waits on a Unix socket for another one that takes them over, and goes on
 * accepting until that one says that it does.
 *
 * Owns the Unix socket and the one exchange that is on. Invariants: until the taker is ready nothing changes for the
 * listeners, whatever becomes of it; a peer of another user, of another version, or that says something else is sent
 * away; nothing that a peer does or leaves undone is waited for without a limit.
 */
import { chmodSync, lstatSync, unlinkSync, type Stats } from 'node:fs'
import { constants } from 'node:os'
import { checkOptions, integer, type Checks } from '../support/checks.js'
import { argumentError, asError, socketError } from '../support/errors.js'
import { log } from '../support/log.js'
import { setTimeout } from '../support/real-time.js'
import { openTransport } from '../transport/choose.js'
import { ownListener } from '../transport/shared-listeners.js'
import { pathError } from '../transport/seam/socket-options.js'
import type {
  SocketError, Transport, TransportConnection, TransportEvent, TransportListener,
} from '../transport/seam/transport.js'
import {
  encode, Exchange, LINE_MAX, LISTENERS_MAX, PER_MESSAGE, PROTOCOL, VERSION, type Line,
} from './exchange.js'
import { checkHandable, retire, socketsOf, type Handable, type HandedSocket } from './handable.js'

/** Options of `handOff`. */
export interface HandOffOptions {
  /** Milliseconds that another process may take to say hello, and to be sent the descriptors. Default 5,000. */
  readonly deadline?: number | undefined
  /** Milliseconds that it may then take until it is ready. Default 60,000. */
  readonly readyWithin?: number | undefined
  /** Milliseconds that connections of drivers may take to end afterwards, as of `shutdown`. Default 10,000. */
  readonly drainMs?: number | undefined
}

/** What has become of it. */
export interface HandedOver {
  /** The process that accepts now. */
  readonly pid: number
  /** Resolves when the connections of what was handed over have ended. */
  readonly drained: Promise<void>
}

/** An offer to take the listeners over. */
export interface HandOff {
  /**
   * Resolves when another process accepts, and this one has stopped; with undefined if the offer is withdrawn before.
   */
  readonly taken: Promise<HandedOver | undefined>
  /** Withdraws the offer, unless it was taken. Resolves when the Unix socket is closed, and its file gone. */
  close(): Promise<void>
}

const LONGEST = 0x7fffffff
const checks: Checks = {
  deadline: integer(1, LONGEST, 'milliseconds'),
  readyWithin: integer(1, LONGEST, 'milliseconds'),
  drainMs: integer(0, LONGEST, 'milliseconds'),
}
/** Before descriptors for which the kernel had no room are sent again. */
const RETRY = 5
/** Connections to the Unix socket at a time: more is nobody who takes over. */
const PEERS_MAX = 8

/**
 * Offers this process's listeners to another one, which calls `takeOver` with the same path: a new version of the
 * program, as a rule. When that accepts, this process stops, and its connections may end by themselves. Until then
 * nothing changes; whoever dies on the way, the listener lives on.
 *
 * Only processes of the same user can take over. The file of the Unix socket is only this user's (mode 0600); one that
 * is left from a process that is gone is removed. The offer doesn't keep the process alive.
 *
 * @param path of a Unix socket for that
 * @param sockets what is handed over, under names of the program's choice
 * @throws TypeError or RangeError when an argument is wrong
 */
export async function handOff(
  path: string, sockets: Readonly<Record<string, Handable | readonly Handable[]>>, options: HandOffOptions = {},
): Promise<HandOff> {
  const wrong = pathError('handOff', path)
  if (wrong !== undefined) throw wrong
  if (typeof sockets !== 'object' || sockets === null) {
    throw argumentError('handOff', 'sockets', 'an object of what is handed over, by name', sockets)
  }
  const handed = Object.entries(sockets).flatMap(([name, of]) =>
    (Array.isArray(of) ? of as readonly Handable[] : [of as Handable]).map((one) => ({ name, of: one })))
  for (const { name, of } of handed) checkHandable(`sockets.${name}`, of)
  checkOptions('handOff', options, checks)
  const offer = new Offer(path, handed, options)
  await offer.listen()
  return offer
}

interface Named {
  readonly name: string
  readonly of: Handable
}

/** Who of its connections is on its way. */
type Stage = 'hello' | 'sending' | 'ready'

class Offer implements HandOff {
  readonly taken: Promise<HandedOver | undefined>
  readonly #path: string
  readonly #handed: readonly Named[]
  readonly #options: HandOffOptions
  readonly #transport: Transport = openTransport('native', { closeTimeout: 1000 })
  #resolve: (taken: HandedOver | undefined) => void = () => undefined
  #listener: TransportListener | undefined
  #listened: ((error?: SocketError) => void) | undefined
  #probed: ((error?: SocketError) => void) | undefined
  #session: Exchange | undefined
  #stage: Stage = 'hello'
  #pid = 0
  #sent: readonly HandedSocket[] = []

  constructor(path: string, handed: readonly Named[], options: HandOffOptions) {
    this.#path = path
    this.#handed = handed
    this.#options = options
    this.taken = new Promise((resolve) => { this.#resolve = resolve })
    this.#transport.unref()
    this.#transport.open((events) => { for (const event of events) this.#happened(event) })
  }

  async listen(): Promise<void> {
    try {
      const error = await this.#bind()
      if (error === undefined) return
      if (error.code !== 'EADDRINUSE') throw error
      await this.#removeStale(error)
      const again = await this.#bind()
      if (again !== undefined) throw again
    } catch (error) {
      await this.#transport.close()
      throw error
    }
  }

  async close(): Promise<void> {
    this.#session?.end()
    this.#listener?.close()
    this.#resolve(undefined)
    await this.#transport.close()
  }

  #bind(): Promise<SocketError | undefined> {
    return new Promise((resolve) => {
      this.#listened = resolve
      const listener = ownListener(() => this.#transport.listen({
        path: this.#path, pauseOnAccept: true, backlog: PEERS_MAX, maxConnections: PEERS_MAX,
      }))
      this.#listener = listener
      // An abstract name has no file.
      if (listener.address === undefined || this.#path.startsWith('\0')) return
      try {
        chmodSync(this.#path, 0o600)
      } catch (error) {
        listener.close()
        resolve(error as SocketError)
      }
    })
  }

  /** The file of a process that is gone. @throws the error that it is in the way, if it is anything else */
  async #removeStale(inUse: SocketError): Promise<void> {
    const found = fileAt(this.#path)
    const error = await new Promise<SocketError | undefined>((resolve) => {
      this.#probed = resolve
      this.#transport.connect({ path: this.#path })
    })
    if (error?.code === 'ENOENT') return
    const now = fileAt(this.#path)
    const same = found !== undefined && now?.isSocket() === true && found.ino === now.ino && found.dev === now.dev
    if (error?.code !== 'ECONNREFUSED' || !same) throw inUse
    unlinkSync(this.#path)
  }

  #happened({ kind, connection, listener, data, error }: TransportEvent): void {
    if (listener !== undefined) {
      if (listener !== this.#listener) return
      if (kind === 'listening' || kind === 'listen-failed') this.#listened?.(error)
      return
    }
    if (connection === undefined) return
    if (connection.listener === undefined) {
      if (kind === 'closed') this.#probed?.(error)
      else if (kind === 'connected') connection.close()
      return
    }
    const session = connection.context as Exchange | undefined
    if (kind === 'accepted') this.#accepted(connection)
    else if (kind === 'data') session?.received(data as Buffer)
    else if (kind === 'end' || kind === 'closed') this.#gone(session)
  }

  #accepted(connection: TransportConnection): void {
    const same = connection.sameUser?.() ?? -constants.errno.ENOTSUP
    if (same !== 1) {
      connection.abort()
      log('warning', 'hand-off: a process of another user was sent away', { path: this.#path })
      return
    }
    const { deadline = 5000 } = this.#options
    const session: Exchange = new Exchange(
      connection, LINE_MAX, (line) => { this.#said(session, line) },
      () => { this.#refuse(session, 'EPROTO', 'this is no line of the protocol') },
      () => { this.#refuse(session, 'ETIMEDOUT', 'it took too long') },
    )
    connection.context = session
    connection.resume()
    if (this.#session !== undefined) {
      this.#refuse(session, 'EBUSY', 'another process is taking over')
      return
    }
    this.#session = session
    this.#stage = 'hello'
    session.limit(deadline)
  }

  #said(session: Exchange, line: Line): void {
    if (session !== this.#session) return
    if (this.#stage === 'hello') this.#greeted(session, line)
    else if (this.#stage === 'ready' && line.ready === true) void this.#stop(session)
    else this.#refuse(session, 'EPROTO', 'this was not expected')
  }

  #greeted(session: Exchange, { protocol, version, pid }: Line): void {
    if (protocol !== PROTOCOL) {
      this.#refuse(session, 'EPROTO', 'it speaks another protocol')
    } else if (version !== VERSION) {
      this.#refuse(session, 'EPROTONOSUPPORT', `version ${VERSION} is spoken here`)
    } else {
      this.#pid = typeof pid === 'number' ? pid : 0
      this.#stage = 'sending'
      try {
        this.#sent = this.#handed.flatMap(({ name, of }) => socketsOf(name, of))
        if (this.#sent.length > LISTENERS_MAX) throw new Error(`more than ${LISTENERS_MAX} listeners`)
        this.#send(session)
      } catch (error) {
        this.#refuse(session, 'EBADF', asError(error, 'the listeners').message)
      }
    }
  }

  /** Some at a time, as one message carries so many. */
  #send(session: Exchange, from = 0): void {
    const { readyWithin = 60_000 } = this.#options
    const fds = this.#sent.slice(from, from + PER_MESSAGE).map(({ fd }) => fd)
    const listed = this.#sent.map(({ name, address }) => ({ name, address }))
    const line = encode(from === 0
      ? { protocol: PROTOCOL, version: VERSION, pid: process.pid, sockets: listed }
      : { more: fds.length })
    const { connection } = session
    const result = connection.sendDescriptors?.(line, fds) ?? -constants.errno.ENOTSUP
    if (result === -constants.errno.EAGAIN) {
      // The deadline ends this.
      setTimeout(() => { if (!session.isOver) this.#send(session, from) }, RETRY).unref()
    } else if (result < 0) {
      this.#refuse(session, 'EIO', socketError(result, 'sendmsg').message)
    } else {
      if (result < line.length) connection.write(line.subarray(result))
      if (from + fds.length < this.#sent.length) {
        this.#send(session, from + fds.length)
      } else {
        this.#stage = 'ready'
        session.limit(readyWithin)
      }
    }
  }

  /** The other one accepts. */
  async #stop(session: Exchange): Promise<void> {
    session.limit(Infinity)
    for (const socket of this.#sent) socket.handedOver()
    const retired = this.#handed.map(({ of }) => retire(of, this.#options.drainMs))
    await Promise.all(retired.map(({ stopped }) => stopped))
    this.#listener?.close()
    session.say({ over: true })
    session.end()
    const drained = Promise.all(retired.map((one) => one.drained)).then(() => undefined)
    this.#resolve({ pid: this.#pid, drained })
    await this.#transport.close()
  }

  /** This process goes on as before. */
  #refuse(session: Exchange, code: keyof typeof constants.errno, why: string): void {
    if (session.isOver) return
    session.say({ error: code, why })
    session.end()
    log('warning', 'hand-off: nothing was handed over', { path: this.#path, reason: `${code}: ${why}` })
    if (session === this.#session) this.#session = undefined
  }

  #gone(session: Exchange | undefined): void {
    if (session === undefined) return
    session.end()
    // Once it is ready the listeners are its own, whatever becomes of it.
    if (session === this.#session) this.#session = undefined
  }
}

function fileAt(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false })
}

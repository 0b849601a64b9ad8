/**
 * The way of an outbound socket until it is connected, as `node:net` has it: the lookup, the attempts one
 * after the other, their events and errors. (The transport's own dial tries addresses in parallel, and
 * tells nobody of it.)
 *
 * Owns the dials of a socket, one for each call of `connect`: a program may call it again before the first has
 * its connection, and even after that. At most one of them gets a connection.
 *
 * Invariants: a dial ends with the socket connected or failed, or is cancelled. The socket is neither connected nor
 * failed before `connect` has returned. After the end no attempt is under way.
 */
import { lookup as systemLookup, ADDRCONFIG } from 'node:dns'
import { AsyncResource } from 'node:async_hooks'
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { connectError, socketError } from '../support/errors.js'
import { AddressPlan } from '../transport/seam/address-plan.js'
import type {
  ConnectOptions, SocketAddress, SocketError, TransportConnection, TransportEvent,
} from '../transport/seam/transport.js'
import { pathError } from '../transport/seam/socket-options.js'
import type { Destination } from './connect-args.js'
import { netEngine, type Listed, type Receiver } from './engine.js'
import {
  allFailed, bindFailed, blockedIp, connectFailed, connectRefused, invalidFamily, invalidIp,
} from './errors.js'
import type { NetSocket } from './net-socket.js'

const EALREADY = -constants.errno.EALREADY
const EISCONN = -constants.errno.EISCONN
const ETIMEDOUT = -constants.errno.ETIMEDOUT

const EINVAL = -constants.errno.EINVAL

/** What an attempt meets at a socket that may have a connection, or another attempt. */
interface Meeting {
  /** Nothing: it may begin; 0: it succeeds, with what is there; or, negative, how it fails. */
  readonly errno: number | undefined
  readonly local: SocketAddress | undefined
}

const NOBODY: Meeting = { errno: undefined, local: undefined }
const WRONG_FAMILY: Meeting = { errno: EINVAL, local: undefined }

interface Target {
  readonly address: string
  readonly family: 4 | 6
}

type LookupDone = (error: Error | null, ...found: unknown[]) => void
type Lookup = (host: string, options: object, callback: LookupDone) => void

/** Whether a lookup has found what it may find. */
const isAddress = (found: unknown): found is string => typeof found === 'string' && isIP(found) !== 0

const isIterable = (found: unknown): found is Iterable<unknown> => (
  found !== null && found !== undefined && Symbol.iterator in Object(found)
)

export class Dialer {
  readonly socket: NetSocket
  readonly #dials = new Set<Dial>()
  /** Whether the kernel would take a further `connect` for the end of the first. */
  #rejoins = false

  constructor(socket: NetSocket) {
    this.socket = socket
  }

  /**
   * Begins a dial, to the path of a Unix socket or to a destination.
   *
   * @throws what the lookup throws, which checks its own options
   */
  dial(to: Destination | string): void {
    const dial = new Dial(this)
    this.#dials.add(dial)
    try {
      if (typeof to === 'string') dial.startPath(to)
      else dial.start(to)
    } catch (error) {
      this.#dials.delete(dial)
      throw error
    }
  }

  /** Ends all dials, but for one. */
  cancel(except?: Dial): void {
    for (const dial of this.#dials) {
      if (dial === except) continue
      dial.cancel()
      this.#dials.delete(dial)
    }
  }

  /** The socket may connect again: what it was connected to before doesn't count. */
  renew(): void {
    this.#rejoins = false
  }

  /** Where the attempt that is on comes from. */
  get local(): SocketAddress | undefined {
    for (const { attempt } of this.#dials) if (attempt !== undefined) return attempt.local
    return undefined
  }

  /** What an attempt meets that begins now: a socket has one connection. */
  meets(): Meeting {
    const { socket } = this
    for (const dial of this.#dials) {
      if (dial.rejoining) return { errno: EALREADY, local: socket._nativeLink?.local }
      if (dial.attempt !== undefined) return { errno: EALREADY, local: dial.attempt.local }
    }
    if (socket._nativeLink === undefined) return NOBODY
    // The kernel lets the first connect after an outbound connection's own succeed, wherever it leads; not
    // when it was told of the end before.
    if (this.#rejoins && !socket._nativeEndTaken) {
      this.#rejoins = false
      return { errno: 0, local: undefined }
    }
    return { errno: EISCONN, local: socket._nativeLink.local }
  }

  /** A dial opens a connection of its own: others are given up. */
  abandon(dial: Dial): void {
    this.cancel(dial)
    this.socket._nativeAbandon()
  }

  /** A dial has its connection. */
  connected(connection: TransportConnection, noDelay: boolean): void {
    this.cancel()
    this.#rejoins = connection.remote?.family !== 'unix'
    this.socket._nativeConnected(connection, noDelay)
  }

  /** A dial has met a connection, and succeeds with it. */
  rejoined(): void {
    this.cancel()
    this.socket._nativeRejoined()
  }
}

/** What one call of `connect` has begun. */
class Dial implements Receiver {
  readonly #dialer: Dialer
  readonly #socket: NetSocket
  #to: Destination | undefined
  #plan: AddressPlan<Target> | undefined
  readonly #errors: Error[] = []
  #connection: TransportConnection | undefined
  /** Of the attempt that is on. */
  #resource: AsyncResource | undefined
  /** The attempt was begun so. */
  #noDelay = false
  #over = false
  #isPath = false
  /** It has met a connection, and reports success in a moment. */
  rejoining = false

  constructor(dialer: Dialer) {
    this.#dialer = dialer
    this.#socket = dialer.socket
  }

  get _nativeResource(): AsyncResource {
    return this.#resource as AsyncResource
  }

  get _nativeListed(): Listed | undefined {
    if (this.#over || !this.#socket._nativeReader.referenced) return undefined
    const types = this.#isPath ? ['ConnectWrap', 'PipeWrap'] : ['ConnectWrap', 'TCPSocketWrap']
    return { owner: this.#socket, types }
  }

  /** The attempt that is on. */
  get attempt(): TransportConnection | undefined {
    return this.#connection
  }

  /** To a Unix socket. */
  startPath(path: string): void {
    this.#isPath = true
    if (this.#dialer.meets().errno !== undefined) {
      this.#fail(socketError(EISCONN, 'connect', path))
      return
    }
    if (pathError('connect', path) !== undefined) {
      this.#failLater(socketError(EINVAL, 'connect', path))
      return
    }
    this.#begin('PIPECONNECTWRAP', { path })
  }

  start(to: Destination): void {
    this.#to = to
    const family = isIP(to.host) as 0 | 4 | 6
    if (family !== 0) {
      process.nextTick(() => { this.#try([{ address: to.host, family }], to) })
      return
    }
    this.#socket._host = to.host
    this.#lookup(to)
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#plan?.stop()
    this.#dropAttempt()
  }

  _nativeHappened({ kind, connection, error }: TransportEvent): void {
    // Of an attempt that was given up.
    if (connection !== this.#connection || this.#over) return
    if (kind === 'connected') {
      this.#over = true
      this.#connection = undefined
      this.#endAttempt()
      this.#dialer.connected(connection as TransportConnection, this.#noDelay)
    } else if (kind === 'closed') {
      this.#connection = undefined
      this.#endAttempt()
      this.#attemptFailed(error as SocketError)
    }
  }

  #lookup(to: Destination): void {
    const family = to.family === 'IPv4' ? 4 : to.family === 'IPv6' ? 6 : to.family
    const anyFamily = family !== 4 && family !== 6
    const hints = anyFamily && to.hints === 0 && process.platform !== 'win32' ? ADDRCONFIG : to.hints
    const all = anyFamily && to.several && to.localAddress === undefined
    const options = all ? { family, hints, all } : { family, hints }
    const done: LookupDone = (error, found, foundFamily) => {
      if (all) this.#foundAll(error, found, to)
      else this.#foundOne(error, found, foundFamily, to)
    }
    // For async_hooks it is the socket that causes Node's own. One of the program runs as what called `connect`.
    if (to.lookup !== undefined) (to.lookup as Lookup)(to.host, options, done)
    else this.#socket._nativeResource.runInAsyncScope(systemLookup as Lookup, undefined, to.host, options, done)
  }

  #foundOne(error: Error | null, address: unknown, family: unknown, to: Destination): void {
    this.#socket.emit('lookup', error, address, family, to.host)
    if (this.#over) return
    if (error) this.#failLater(error)
    else if (!isAddress(address)) this.#failLater(invalidIp(address))
    else if (family !== 4 && family !== 6) this.#failLater(invalidFamily(family, to.host, to.port))
    else this.#try([{ address, family }], to)
  }

  #foundAll(error: Error | null, found: unknown, to: Destination): void {
    if (this.#over) return
    if (error) {
      this.#socket.emit('lookup', error, undefined, undefined, to.host)
      this.#failLater(error)
      return
    }
    const targets: Target[] = []
    // What is no list of addresses, or an empty one, fails this socket; Node throws it at the lookup.
    const list = isIterable(found) ? Array.from(found, (one) => (one ?? {}) as Partial<Target>) : []
    for (const { address, family } of list) {
      this.#socket.emit('lookup', error, address, family, to.host)
      if (this.#over) return
      if (!isAddress(address) || (family !== 4 && family !== 6)) continue
      targets.push({ address, family })
    }
    if (targets.length === 0) {
      const [one] = list
      if (!isAddress(one?.address)) this.#failLater(invalidIp(one?.address))
      else this.#failLater(invalidFamily(one?.family, to.host, to.port))
      return
    }
    this.#try(targets, to)
  }

  /** Also once more: a lookup may answer again. */
  #try(targets: readonly Target[], { attemptTimeout }: Destination): void {
    if (this.#over) return
    this.#plan?.stop()
    this.#plan = new AddressPlan(targets, attemptTimeout, () => { this.#attemptTimedOut() })
    if (this.#several) this.#socket.autoSelectFamilyAttemptedAddresses = []
    this.#attempt()
  }

  /** Whether there are several addresses. */
  get #several(): boolean {
    return this.#current.addresses.length > 1
  }

  /** When the addresses are known. */
  get #current(): AddressPlan<Target> {
    return this.#plan as AddressPlan<Target>
  }

  /** The one whose turn it is, or was last. */
  get #target(): Target {
    const { addresses, taken } = this.#current
    return addresses[taken - 1]
  }

  #attempt(): void {
    const to = this.#to as Destination
    const { address, family } = this.#current.next() as Target
    const socket = this.#socket
    if (to.blockList?.check(address, `ipv${family}`) === true) {
      this.#attemptRefused(blockedIp(address))
      return
    }
    const { localAddress, localPort, port } = to
    if (this.#current.taken > 1) this.#dialer.abandon(this)
    const { errno, local } = isIP(address) === family ? this.#dialer.meets() : WRONG_FAMILY
    if (errno !== undefined && (localAddress !== undefined || localPort > 0)) {
      // It is bound.
      this.#attemptRefused(bindFailed(EINVAL, localAddress, localPort))
      return
    }
    socket.autoSelectFamilyAttemptedAddresses?.push(`${address}:${port}`)
    socket.emit('connectionAttempt', address, port, family)
    // A listener may have destroyed the socket.
    if (this.#over) return
    if (errno === 0) {
      this.rejoining = true
      netEngine().later(() => { this.#rejoin() })
      return
    }
    if (errno !== undefined) {
      const error = connectRefused(errno, address, port, local)
      if (this.#several) socket.emit('connectionAttemptFailed', address, port, family, error)
      if (!this.#over) this.#attemptRefused(error)
      return
    }
    try {
      this.#begin('TCPCONNECTWRAP', { host: address, port, localAddress, localPort })
    } catch (error) {
      this.#failLater(error as Error)
      return
    }
    this.#current.begun()
  }

  #begin(type: 'TCPCONNECTWRAP' | 'PIPECONNECTWRAP', options: ConnectOptions): void {
    const triggerAsyncId = this.#socket._nativeResource.asyncId()
    const noDelay = this.#noDelay = this.#socket._nativeNoDelay
    this.#connection = netEngine().connect({ ...options, noDelay }, this)
    // Nothing is read before the listeners of 'connect' have run: they may hand the descriptor to somebody else.
    this.#connection.pause()
    this.#resource = new AsyncResource(type, { triggerAsyncId, requireManualDestroy: true })
  }

  /** What belongs to the attempt that was on. */
  #endAttempt(): void {
    this.#plan?.stop()
    this.#resource?.emitDestroy()
  }

  #rejoin(): void {
    if (this.#over) return
    this.#over = true
    this.#socket._nativeResource.runInAsyncScope(() => { this.#dialer.rejoined() })
  }

  /** It could not begin, or has failed. */
  #attemptRefused(error: Error): void {
    if (this.#several) this.#failedAttempt(error)
    else this.#fail(error)
  }

  #attemptTimedOut(): void {
    const { address, family } = this.#target
    const { port } = this.#to as Destination
    this.#dropAttempt()
    const text = family === 6 ? 'IPv6' : 'IPv4'
    this.#errors.push(connectError(ETIMEDOUT, { address, family: text, port }))
    this.#socket.emit('connectionAttemptTimeout', address, port, family)
    if (!this.#over) this.#attempt()
  }

  #attemptFailed(error: SocketError): void {
    const to = this.#to
    if (to === undefined) {
      this.#fail(error)
      return
    }
    const failure = connectFailed(error, to.localAddress, to.localPort)
    const { address, family } = this.#target
    this.#socket.emit('connectionAttemptFailed', address, to.port, family, failure)
    if (this.#over) return
    this.#attemptRefused(failure)
  }

  /** The next one of several, if there is one. */
  #failedAttempt(error: Error): void {
    this.#errors.push(error)
    const { taken, addresses } = this.#current
    if (taken < addresses.length) this.#attempt()
    else this.#fail(allFailed(this.#errors))
  }

  #dropAttempt(): void {
    const connection = this.#connection
    this.#connection = undefined
    if (connection === undefined) return
    this.#endAttempt()
    connection.context = undefined
    connection.close()
  }

  #failLater(error: Error): void {
    process.nextTick(() => { this.#fail(error) })
  }

  #fail(error: Error): void {
    if (this.#over) return
    this.cancel()
    this.#socket.destroy(error)
  }
}


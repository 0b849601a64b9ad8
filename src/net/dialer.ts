/**
 * The way of an outbound socket until it is connected, as `node:net` has it: the lookup, the attempts one
 * after the other, their events and errors. (The transport's own dial tries addresses in parallel, and
 * tells nobody of it.)
 *
 * Invariants: it ends with one call of `connected` or `failed`, or with `cancel`; neither is called before
 * `start` has returned; after the end no attempt is on.
 */
import { lookup as systemLookup, ADDRCONFIG } from 'node:dns'
import { AsyncResource } from 'node:async_hooks'
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { connectError, socketError } from '../support/errors.js'
import { clearTimeout, setTimeout } from '../support/real-time.js'
import type {
  ConnectOptions, SocketAddress, SocketError, TransportConnection, TransportEvent,
} from '../transport/transport.js'
import { pathError } from '../transport/socket-options.js'
import type { Destination } from './connect-args.js'
import { netEngine, type Listed, type Receiver } from './engine.js'
import {
  allFailed, bindFailed, blockedIp, connectFailed, connectRefused, invalidFamily, invalidIp,
} from './errors.js'

const EISCONN = -constants.errno.EISCONN
const ETIMEDOUT = -constants.errno.ETIMEDOUT

const EINVAL = -constants.errno.EINVAL

/** What an attempt meets at a socket that may have a connection, or an attempt, as it is. */
export interface Meeting {
  /** Nothing: it may begin; 0: it succeeds, with what is there; or, negative, how it fails. */
  readonly errno: number | undefined
  readonly local: SocketAddress | undefined
}

const WRONG_FAMILY: Meeting = { errno: EINVAL, local: undefined }

/** What a dial is for. */
export interface DialOwner {
  /** Of an attempt that begins now: a socket has one connection. */
  _nativeMeets(): Meeting
  /** Gives up the connection and what else dials: this one opens its own. */
  _nativeAbandon(except: Dialer): void
  /** An attempt has met a connection, and succeeds with it. */
  _nativeRejoined(): void
  readonly _nativeResource: AsyncResource
  readonly _nativeReferenced: boolean
  /** Options of every attempt. */
  readonly _nativeConnectOptions: ConnectOptions
  autoSelectFamilyAttemptedAddresses?: string[]
  _host: string | null
  emit(event: string, ...args: unknown[]): boolean
  _nativeConnected(connection: TransportConnection): void
  _nativeFailed(error: Error): void
}

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

export class Dialer implements Receiver {
  readonly #owner: DialOwner
  #to: Destination | undefined
  #targets: readonly Target[] = []
  #next = 0
  readonly #errors: Error[] = []
  #connection: TransportConnection | undefined
  /** Of the attempt that is on. */
  #resource: AsyncResource | undefined
  #timer: NodeJS.Timeout | undefined
  #over = false
  #isPath = false
  /** It has met a connection, and is about to say so. */
  rejoining = false

  constructor(owner: DialOwner) {
    this.#owner = owner
  }

  get _nativeResource(): AsyncResource {
    return this.#resource as AsyncResource
  }

  get _nativeListed(): Listed | undefined {
    if (this.#over || !this.#owner._nativeReferenced) return undefined
    const types = this.#isPath ? ['ConnectWrap', 'PipeWrap'] : ['ConnectWrap', 'TCPSocketWrap']
    return { owner: this.#owner, types }
  }

  /** The attempt that is on. */
  get attempt(): TransportConnection | undefined {
    return this.#connection
  }

  /** To a Unix socket. */
  startPath(path: string): void {
    this.#isPath = true
    if (this.#owner._nativeMeets().errno !== undefined) {
      this.#fail(socketError(EISCONN, 'connect', path))
      return
    }
    if (pathError('connect', path) !== undefined) {
      this.#failLater(socketError(EINVAL, 'connect', path))
      return
    }
    this.#begin('PIPECONNECTWRAP', { ...this.#owner._nativeConnectOptions, path })
  }

  start(to: Destination): void {
    this.#to = to
    const family = isIP(to.host) as 0 | 4 | 6
    if (family !== 0) {
      process.nextTick(() => { this.#try([{ address: to.host, family }], false) })
      return
    }
    this.#owner._host = to.host
    this.#lookup(to)
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#dropAttempt()
  }

  _nativeHappened({ kind, connection, error }: TransportEvent): void {
    // Of an attempt that was given up.
    if (connection !== this.#connection || this.#over) return
    if (kind === 'connected') {
      this.#over = true
      this.#connection = undefined
      this.#endAttempt()
      this.#owner._nativeConnected(connection as TransportConnection)
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
    else this.#owner._nativeResource.runInAsyncScope(systemLookup as Lookup, undefined, to.host, options, done)
  }

  #foundOne(error: Error | null, address: unknown, family: unknown, to: Destination): void {
    this.#owner.emit('lookup', error, address, family, to.host)
    if (this.#over) return
    if (error) this.#failLater(error)
    else if (!isAddress(address)) this.#failLater(invalidIp(address))
    else if (family !== 4 && family !== 6) this.#failLater(invalidFamily(family, to.host, to.port))
    else this.#try([{ address, family }], false)
  }

  #foundAll(error: Error | null, found: unknown, to: Destination): void {
    if (this.#over) return
    if (error) {
      this.#owner.emit('lookup', error, undefined, undefined, to.host)
      this.#failLater(error)
      return
    }
    const lists: Target[][] = [[], []]
    let first: unknown
    // What is no list of addresses, or an empty one, fails this socket; Node throws it at the lookup.
    const list = isIterable(found) ? Array.from(found, (one) => (one ?? {}) as Partial<Target>) : []
    for (const { address, family } of list) {
      this.#owner.emit('lookup', error, address, family, to.host)
      if (this.#over) return
      if (!isAddress(address) || (family !== 4 && family !== 6)) continue
      first ??= family
      const targets = lists[family === first ? 0 : 1]
      if (!targets.some((target) => target.address === address)) targets.push({ address, family })
    }
    if (lists[0].length === 0) {
      const [one] = list
      if (!isAddress(one?.address)) this.#failLater(invalidIp(one?.address))
      else this.#failLater(invalidFamily(one?.family, to.host, to.port))
      return
    }
    const turns = Array.from({ length: Math.max(lists[0].length, lists[1].length) }, (_, i) => i)
    const targets = turns.flatMap((i) => [...lists[0].slice(i, i + 1), ...lists[1].slice(i, i + 1)])
    this.#try(targets, targets.length > 1)
  }

  /** Also once more: a lookup may answer again. */
  #try(targets: readonly Target[], several: boolean): void {
    if (this.#over) return
    this.#targets = targets
    this.#next = 0
    if (several) this.#owner.autoSelectFamilyAttemptedAddresses = []
    this.#attempt()
  }

  #attempt(): void {
    const to = this.#to as Destination
    const { address, family } = this.#targets[this.#next++]
    const owner = this.#owner
    if (to.blockList?.check(address, `ipv${family}`) === true) {
      const error = blockedIp(address)
      if (this.#targets.length === 1) this.#fail(error)
      else this.#failedAttempt(error)
      return
    }
    const { localAddress, localPort, port } = to
    if (this.#next > 1) owner._nativeAbandon(this)
    const { errno, local } = isIP(address) === family ? owner._nativeMeets() : WRONG_FAMILY
    if (errno !== undefined && (localAddress !== undefined || localPort > 0)) {
      // It is bound.
      this.#attemptRefused(bindFailed(EINVAL, localAddress, localPort))
      return
    }
    owner.autoSelectFamilyAttemptedAddresses?.push(`${address}:${port}`)
    owner.emit('connectionAttempt', address, port, family)
    // A listener may have destroyed the socket.
    if (this.#over) return
    if (errno === 0) {
      this.rejoining = true
      netEngine().later(() => { this.#rejoin() })
      return
    }
    if (errno !== undefined) {
      const error = connectRefused(errno, address, port, local)
      if (this.#targets.length > 1) owner.emit('connectionAttemptFailed', address, port, family, error)
      if (!this.#over) this.#attemptRefused(error)
      return
    }
    const options = { ...owner._nativeConnectOptions, host: address, port, localAddress, localPort }
    try {
      this.#begin('TCPCONNECTWRAP', options)
    } catch (error) {
      this.#failLater(error as Error)
      return
    }
    if (this.#next === this.#targets.length) return
    this.#timer = setTimeout(() => { this.#attemptTimedOut() }, to.attemptTimeout)
  }

  #begin(type: 'TCPCONNECTWRAP' | 'PIPECONNECTWRAP', options: ConnectOptions): void {
    const triggerAsyncId = this.#owner._nativeResource.asyncId()
    this.#connection = netEngine().connect(options, this)
    // Nothing is read before the listeners of 'connect' have run: they may hand the descriptor to somebody else.
    this.#connection.pause()
    this.#resource = new AsyncResource(type, { triggerAsyncId, requireManualDestroy: true })
  }

  /** What belongs to the attempt that was on. */
  #endAttempt(): void {
    clearTimeout(this.#timer)
    this.#resource?.emitDestroy()
  }

  #rejoin(): void {
    if (this.#over) return
    this.#over = true
    this.#owner._nativeResource.runInAsyncScope(() => { this.#owner._nativeRejoined() })
  }

  /** It could not begin. */
  #attemptRefused(error: Error): void {
    if (this.#targets.length === 1) this.#fail(error)
    else this.#failedAttempt(error)
  }

  #attemptTimedOut(): void {
    const { address, family } = this.#targets[this.#next - 1]
    const { port } = this.#to as Destination
    this.#dropAttempt()
    const text = family === 6 ? 'IPv6' : 'IPv4'
    this.#errors.push(connectError(ETIMEDOUT, { address, family: text, port }))
    this.#owner.emit('connectionAttemptTimeout', address, port, family)
    if (!this.#over) this.#attempt()
  }

  #attemptFailed(error: SocketError): void {
    const to = this.#to
    if (to === undefined) {
      this.#fail(error)
      return
    }
    const failure = connectFailed(error, to.localAddress, to.localPort)
    const { address, family } = this.#targets[this.#next - 1]
    this.#owner.emit('connectionAttemptFailed', address, to.port, family, failure)
    if (this.#over) return
    if (this.#targets.length === 1) this.#fail(failure)
    else this.#failedAttempt(failure)
  }

  /** The next one of several, if there is one. */
  #failedAttempt(error: Error): void {
    this.#errors.push(error)
    if (this.#next < this.#targets.length) this.#attempt()
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
    this.#owner._nativeFailed(error)
  }
}


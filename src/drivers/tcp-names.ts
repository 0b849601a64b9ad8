/**
 * Names of accepted connections: no two conversations that somebody could still mix up share one.
 *
 * A connection is called by its peer's address and its listener, and both come back: a peer resets a
 * connection and connects again from the same port before the reset is noticed; one remote address and
 * port may be connected to two addresses of a listener on all interfaces; a session may linger after its
 * connection, or start late. So an address is plain, as programs write it, only while nobody can mean
 * another conversation by it; else it gets an instance, a number that no other connection of this thread
 * ever has.
 *
 * Invariants: at most one live conversation has a plain name, and while an endpoint of a session is left
 * from it, no other one has; nor has one of those that follow it closely. Kept are the names of live
 * conversations and of endpoints, and as many past ones as PAST_MAX says.
 */
import { cryptoModule } from '../support/builtins.js'
import { instanceOf, KeyTable, withInstance } from '../topic/index.js'
import { heardTcpAddress } from './heard-records.js'
import type { ListenerEnd } from './tcp-demand.js'
import { fdListener, tcpAddress, tcpListener, unixPeer, type TcpAddress, type TcpEnd } from './tcp-records.js'

/** A plain name's state is a number: these bits, and SESSION times how many endpoints of sessions it has. */
const LIVE = 1
/** A conversation of this name has ended, and endpoints are left that may be from it. */
const PAST = 2
const SESSION = 4

/** Between so many and twice as many names of the past are remembered. */
const PAST_MAX = 8192

/** Those that ended lately, of all drivers of the thread: a session may outlive the driver, too. */
let past = new Set<Name>()
let longPast = new Set<Name>()
let instances = 0

/**
 * A peer's address and a listener, as a positive number of 31 bits. Two may share one: once in some hundred
 * thousand connections one gets an instance without need, and nothing else follows from it.
 */
type Name = number
/** Nobody outside can choose an address that has the name of another. */
let seed: number | undefined
/** No connection is from a longer one: 45 characters of an IPv6 address, and a zone. */
const HOST_MAX = 128

function remember(name: Name): void {
  if (past.size >= PAST_MAX) {
    longPast = past
    past = new Set()
  }
  past.add(name)
}

/** FNV-1a (Fowler, Noll, Vo) over 16 bits at a time, begun with the seed; mixed at the end as MurmurHash3 does. */
function nameOf(host: string, port: number, listener: number): Name {
  let h = Math.imul(Math.imul((seed ??= cryptoModule().randomInt(2 ** 32)) ^ listener, 0x01000193) ^ port, 0x01000193)
  for (let i = 0; i < host.length; i++) h = Math.imul(h ^ host.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return ((h ^ (h >>> 16)) >>> 1) || 1
}

/** The plain names of one driver. */
export class TcpNames {
  private readonly states = new KeyTable<number>(1)
  private begun = false
  /** The last number of a peer on a Unix socket: not below those of an earlier driver's sessions. */
  private unixPeers = 0

  /** The driver has been told of all endpoints that were there before it. */
  begin(): void {
    this.begun = true
  }

  /** What a peer is called that has connected to a Unix socket. */
  takeNumber(): number {
    return ++this.unixPeers
  }

  /** What a connection that was just accepted is called from now on. */
  take(host: string, port: number, local: ListenerEnd): TcpAddress {
    const address = heardTcpAddress(host, port)
    // On a Unix socket peers are numbered, but for those that a balancer has told the address of.
    const listener = listenerNumber(local)
    if (listener === undefined) return withInstance(address, ++instances)
    const name = nameOf(host, port, listener)
    const state = this.states.get1(name) ?? 0
    if ((state & (LIVE | PAST)) !== 0 || past.has(name) || longPast.has(name)) {
      return withInstance(address, ++instances)
    }
    this.states.set1(name, state | LIVE)
    // Not only when it ends: a driver that is killed is not told of that.
    remember(name)
    return address
  }

  /** A conversation has ended; what it said last may still be on its way. */
  left(remote: TcpEnd, local: TcpEnd): void {
    const name = plainName(remote, local)
    const state = name === undefined ? 0 : this.states.get1(name) ?? 0
    if ((state & LIVE) !== 0) this.keep(name as Name, (state & ~LIVE) | PAST)
  }

  /** An endpoint of a session came. */
  entered(remote: TcpEnd, local: TcpEnd): void {
    if (!this.begun && unixPeer.is(remote) && Number.isSafeInteger(remote.id)) {
      this.unixPeers = Math.max(this.unixPeers, remote.id)
    }
    const name = plainName(remote, local)
    if (name !== undefined) this.states.set1(name, (this.states.get1(name) ?? 0) + SESSION)
  }

  /** And is gone. */
  exited(remote: TcpEnd, local: TcpEnd): void {
    const name = plainName(remote, local)
    if (name !== undefined) this.keep(name, (this.states.get1(name) ?? 0) - SESSION)
  }

  private keep(name: Name, state: number): void {
    if (state >= SESSION || (state & LIVE) !== 0) {
      this.states.set1(name, state)
      return
    }
    this.states.delete1(name)
    if ((state & PAST) !== 0) remember(name)
  }
}

/** What stands for a listener in names: its port, or its descriptor; undefined for what is no listener of TCP's. */
function listenerNumber(local: TcpEnd): number | undefined {
  if (tcpListener.is(local)) return local.port
  return fdListener.is(local) ? -1 - local.fd : undefined
}

/** @returns undefined for an address with an instance, which no other will have; and for no address at all */
function plainName(remote: TcpEnd, local: TcpEnd): Name | undefined {
  if (!tcpAddress.is(remote) || instanceOf(remote) !== undefined) return undefined
  const { host, port } = remote as { host: unknown, port: unknown }
  const listener = listenerNumber(local)
  if (typeof host !== 'string' || typeof port !== 'number' || typeof listener !== 'number') return undefined
  if (host.length > HOST_MAX) return undefined
  return nameOf(host, port, listener)
}

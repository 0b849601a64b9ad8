/**
 * What the sockets of both UDP transports share: their life, names and literals of hosts.
 *
 * Invariants: an implementation is called with literal addresses only, and never after `shut`; a
 * datagram that waits for its host's name is sent, or reported as failed before `closed`.
 */
import { lookup, type LookupOneOptions } from 'node:dns'
import { isIP } from 'node:net'
import { constants, networkInterfaces } from 'node:os'
import { socketError } from '../../support/errors.js'
import { defaultBuffers } from './buffers-option.js'
import type { UdpCounts } from './metrics.js'
import type { TransportBase } from './transport-base.js'
import type { SocketAddress, SocketError } from './transport.js'
import {
  UDP_PAYLOAD_MAX, type UdpEvent, type UdpEventKind, type UdpSocket, type UdpSocketOptions,
} from './udp-transport.js'

const { EADDRNOTAVAIL, EAFNOSUPPORT, ECANCELED, EINVAL, EMSGSIZE, ENODEV } = constants.errno

const QUEUED_BYTES_MAX = 1024 * 1024
/** What a datagram that waits costs besides its bytes, so that empty ones are bounded, too. */
const OVERHEAD = 64
/** Hosts whose literals are remembered, per socket. */
const HOSTS_MAX = 1024

/** All events have the same shape, so that their readers stay monomorphic. */
export function udpEvent(
  kind: UdpEventKind, socket: UdpSocket, data?: Buffer, remote?: SocketAddress, error?: SocketError,
): UdpEvent {
  return { kind, socket, data, length: data === undefined ? 0 : data.length, remote, error }
}

/** The address of an IPv4 peer as an IPv6 socket sees it. */
export const MAPPED = '::ffff:'

/** Whether a failure to bind to `::` says that there is no IPv6 on this machine. */
export function lacksIPv6(error: SocketError): boolean {
  return [-EAFNOSUPPORT, -EADDRNOTAVAIL, -EINVAL].includes(error.errno)
}

type InterfaceAddresses = readonly { readonly address: string, readonly family: string }[]

/** The interface that has this address, or this name. */
function interfaceNamed(text: string): [name: string, addresses: InterfaceAddresses] | undefined {
  for (const [name, addresses = []] of Object.entries(networkInterfaces())) {
    if (name === text || addresses.some(({ address }) => address === text)) return [name, addresses]
  }
  return undefined
}

/**
 * A network interface as the calls of the kernel want it: for IPv4 an address that it has, for IPv6
 * `::%name`. Undefined when there is no such interface, or it does not have that family.
 */
export function interfaceFor(family: 4 | 6, text: string): string | undefined {
  if (isIP(text) === family && (family === 4 || text.includes('%'))) return text
  const found = interfaceNamed(text)
  if (found === undefined) return undefined
  const [name, addresses] = found
  const address = addresses.find((entry) => entry.family === `IPv${family}`)?.address
  return family === 4 || address === undefined ? address : `::%${name}`
}

/** A datagram that waits for the address of its host. */
interface Waiting {
  readonly host: string
  readonly port: number
}

/** Whose sockets they are. */
type Owner = Pick<TransportBase<UdpEvent, UdpSocketBase<unknown>, UdpCounts>, 'report' | 'forget' | 'metrics'>

/** A socket without its system calls. `D` is what an implementation makes of the literal of a host. */
export abstract class UdpSocketBase<D> implements UdpSocket {
  context: unknown = undefined
  address: SocketAddress | undefined = undefined
  protected readonly options: UdpSocketOptions
  protected readonly maxDatagramSize: number
  protected readonly maxQueuedBytes: number
  protected readonly isolates: boolean
  /** Bytes that wait for the address of their host. */
  #waitingBytes = 0
  protected state: 'binding' | 'bound' | 'closing' | 'closed' = 'binding'
  readonly #owner: Owner
  readonly #hosts = new Map<string, D>()
  readonly #waiting = new Set<Waiting>()

  constructor(owner: Owner, options: UdpSocketOptions) {
    this.#owner = owner
    this.options = options
    this.maxDatagramSize = options.maxDatagramSize ?? UDP_PAYLOAD_MAX
    this.maxQueuedBytes = options.maxQueuedBytes ?? QUEUED_BYTES_MAX
    this.isolates = (options.buffers ?? defaultBuffers()) === 'isolated'
  }

  /**
   * Binds to a literal. Ends, now or later, with `bound` or `bindFailed`.
   *
   * @param fallback if there is no IPv6, bind to IPv4 instead
   */
  protected abstract bindTo(address: string, fallback: boolean): void
  /** What the literal of a host is turned into; or the error that says why it can't be sent to. */
  protected abstract destination(host: string, family: 4 | 6): D | SocketError
  protected abstract transmit(
    data: Uint8Array | string, length: number, to: D, host: string, port: number,
  ): void
  protected abstract member(group: string, networkInterface: string | undefined, join: boolean): void
  /** Closes the descriptor. Ends, now or later, with `closed`. */
  protected abstract shut(): void

  /** Whether the socket is an IPv6 one. Known from `bindTo` on. */
  abstract get isIPv6(): boolean

  start(): void {
    const { host, type } = this.options
    if (host === undefined) {
      this.bindTo(type === 'udp4' ? '0.0.0.0' : '::', type === undefined && this.options.ipv6Only !== true)
    } else if (isIP(host) !== 0) {
      this.#bindToLiteral(host)
    } else {
      lookup(host, this.#lookupOptions, (error, address) => {
        if (this.state !== 'binding') this.closed()
        else if (error === null) this.#bindToLiteral(address)
        else this.bindFailed(error as SocketError)
      })
    }
  }

  #bindToLiteral(address: string): void {
    const { port, type } = this.options
    const family = isIP(address)
    if (type === undefined || type === `udp${family}`) this.bindTo(address, false)
    else this.bindFailed(socketError(-EAFNOSUPPORT, 'bind', address, port))
  }

  /**
   * IPv4 first where both will do: nothing says whether a datagram got there, so there is no trying of
   * one address after the other, and most servers without a preference are found there.
   */
  get #lookupOptions(): LookupOneOptions {
    const { type, ipv6Only = false } = this.options
    if (type === 'udp4') return { family: 4 }
    return type === 'udp6' || ipv6Only ? { family: 6 } : { family: 0, verbatim: false }
  }

  send(data: Uint8Array | string, host: string, port: number): void {
    if (this.state !== 'bound') throw new Error('transport: send before bound, or after close')
    const length = typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength
    if (length > this.maxDatagramSize) {
      this.sendFailed(host, port, socketError(-EMSGSIZE, 'send', host, port))
      return
    }
    const to = this.#hosts.get(host)
    if (to === undefined) this.#sendToStranger(data, length, host, port)
    else this.transmit(data, length, to, host, port)
  }

  join(group: string, networkInterface?: string): void {
    this.#changeMembership('addMembership', group, networkInterface, true)
  }

  leave(group: string, networkInterface?: string): void {
    this.#changeMembership('dropMembership', group, networkInterface, false)
  }

  close(): void {
    if (this.state !== 'binding' && this.state !== 'bound') return
    const looking = this.state === 'binding' && !this.binds
    this.state = 'closing'
    for (const { host, port } of this.#waiting) {
      this.sendFailed(host, port, socketError(-ECANCELED, 'send', host, port))
    }
    this.#waiting.clear()
    // The name of its own host is being looked up: there is no descriptor yet.
    if (!looking) this.shut()
  }

  /** Whether there is, or may be, a descriptor. */
  protected abstract get binds(): boolean

  // For implementations

  protected bound(address: SocketAddress): void {
    this.state = 'bound'
    this.address = address
    this.report('bound')
  }

  protected bindFailed(error: SocketError): void {
    if (this.state !== 'binding') {
      this.closed()
      return
    }
    this.state = 'closed'
    this.report('bind-failed', undefined, undefined, error)
    this.#gone()
  }

  protected sendFailed(host: string, port: number, error: SocketError): void {
    const family = isIP(host) === 6 ? 'IPv6' : 'IPv4'
    this.report('send-failed', undefined, { address: host, family, port }, error)
  }

  protected tooLong(remote: SocketAddress): void {
    const error = socketError(-EMSGSIZE, 'recvmsg', remote.address, remote.port)
    this.report('truncated', undefined, remote, error)
  }

  protected closed(): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.report('closed')
    this.#gone()
  }

  #gone(): void {
    this.#owner.metrics.sockets -= 1
    this.#owner.forget(this)
  }

  protected report(kind: UdpEventKind, data?: Buffer, remote?: SocketAddress, error?: SocketError): void {
    this.#owner.report(udpEvent(kind, this, data, remote, error))
  }

  /** For each family that the socket has, the interface of the options. @throws if there is none */
  protected multicastInterfaces(): string[] {
    const text = this.options.multicastInterface
    if (text === undefined) return []
    const families: (4 | 6)[] = !this.isIPv6 ? [4] : this.options.ipv6Only === true ? [6] : [6, 4]
    const found = families.map((family) => interfaceFor(family, text)).filter((entry) => entry !== undefined)
    if (found.length === 0) throw socketError(-ENODEV, 'setMulticastInterface', text)
    return found
  }

  // Membership and names

  #changeMembership(call: string, group: string, networkInterface: string | undefined, join: boolean): void {
    if (this.state !== 'bound') throw new Error(`transport: ${call} before bound, or after close`)
    const family = isIP(group)
    if (family === 0) throw socketError(-EINVAL, call, group)
    let by: string | undefined
    if (networkInterface !== undefined) {
      by = interfaceFor(family === 6 ? 6 : 4, networkInterface)
      if (by === undefined) throw socketError(-ENODEV, call, group)
    }
    this.member(group, by, join)
  }

  #sendToStranger(data: Uint8Array | string, length: number, host: string, port: number): void {
    if (isIP(host) !== 0) this.#sendTo(data, length, host, port, host)
    else this.#sendToName(data, length, host, port)
  }

  #sendTo(data: Uint8Array | string, length: number, host: string, port: number, literal: string): void {
    const to = this.destination(literal, isIP(literal) === 6 ? 6 : 4)
    if (to instanceof Error) {
      this.sendFailed(host, port, to)
      return
    }
    if (literal === host) {
      if (this.#hosts.size >= HOSTS_MAX) this.#hosts.clear()
      this.#hosts.set(host, to)
    }
    this.transmit(data, length, to, literal, port)
  }

  #sendToName(data: Uint8Array | string, length: number, host: string, port: number): void {
    if (this.#waitingBytes > 0 && this.#waitingBytes + length > this.maxQueuedBytes) {
      this.sendFailed(host, port, socketError(-constants.errno.ENOBUFS, 'send', host, port))
      return
    }
    const waiting: Waiting = { host, port }
    this.#waiting.add(waiting)
    this.#waitingBytes += length + OVERHEAD
    lookup(host, this.isIPv6 ? this.#lookupOptions : { family: 4 }, (error, address) => {
      this.#waitingBytes -= length + OVERHEAD
      if (!this.#waiting.delete(waiting)) return
      if (error === null) this.#sendTo(data, length, host, port, address)
      else this.sendFailed(host, port, error as SocketError)
    })
  }
}

/** What a transport for datagrams has, besides what all have. */
export function bindSocket<S extends UdpSocketBase<unknown>>(
  transport: { readonly sockets: Set<S>, readonly metrics: UdpCounts }, socket: S,
): S {
  transport.sockets.add(socket)
  transport.metrics.sockets += 1
  socket.start()
  return socket
}

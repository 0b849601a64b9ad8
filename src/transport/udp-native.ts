/**
 * The seam for datagrams over the C++ engine: `recvmmsg` and `sendmmsg` on epoll.
 *
 * Owns the table from the engine's ids to sockets, and the translation of records into events.
 * JavaScript is entered once per loop turn with all that came; what is sent in reply goes out together
 * when it returns. The addon is loaded by `native.ts`.
 *
 * Invariants: the program runs only after every record of the batch has been read; an id is looked up,
 * never trusted, as its socket may have been closed in the same turn.
 */
import { constants } from 'node:os'
import { socketError } from '../support/errors.js'
import { socketAddress, withZone } from './native-address.js'
import { loadNative, nativeAddon } from './native.js'
import { isolated } from './buffers-option.js'
import type { SocketAddress, SocketError } from './transport.js'
import { ADDRESS_WORDS, UDP_RECORD_WORDS, UdpLink, type UdpEngineConstructor } from './udp-native-link.js'
import { lacksIPv6, UdpSocketBase, UdpTransportBase, type UdpStation } from './udp-socket.js'
import type { UdpMetrics, UdpSocketOptions, UdpTransport } from './udp-transport.js'

/** As in native/engine/udp.h. */
const Record = {
  datagram: 1,
  truncated: 2,
  sendFailed: 3,
  receiveFailed: 4,
  closed: 5,
  slabRetired: 6,
  slabsShort: 7,
} as const

/** Senders whose addresses are remembered. */
const SENDERS_MAX = 4096

function engineConstructor(): UdpEngineConstructor | undefined {
  return (nativeAddon() as { Udp?: UdpEngineConstructor } | undefined)?.Udp
}

/** Loads the addon, once. Never throws; the reason is one line. */
export function loadNativeUdp(): { ok: true } | { ok: false, reason: string } {
  const loaded = loadNative()
  if (!loaded.ok || engineConstructor() !== undefined) return loaded
  return { ok: false, reason: 'the addon was built before it could do UDP: build it again' }
}

/** A transport over the native engine. Throws if it can't be loaded; `loadNativeUdp` says so before. */
export function nativeUdpTransport(): UdpTransport {
  const loaded = loadNativeUdp()
  const Engine = engineConstructor()
  if (!loaded.ok || Engine === undefined) {
    throw new Error(`the native transport can't be loaded: ${loaded.ok ? 'no engine' : loaded.reason}`)
  }
  return new NativeUdpTransport(Engine)
}

class NativeUdpTransport extends UdpTransportBase<NativeUdpSocket> {
  readonly name = 'native'
  readonly metrics: UdpMetrics
  readonly #Engine: UdpEngineConstructor
  readonly #byId = new Map<number, NativeUdpSocket>()
  readonly #senders = new Map<number | string, SocketAddress>()
  #link: UdpLink | undefined
  #inBatch = false
  #ended: () => void = () => undefined
  readonly #deliver = (): void => { this.deliver() }

  constructor(Engine: UdpEngineConstructor) {
    super()
    this.#Engine = Engine
    const taken = (index: number): number => this.#link?.stats[index] ?? 0
    this.metrics = {
      sockets: 0, datagramsIn: 0, bytesIn: 0, batches: 0,
      get datagramsOut() { return taken(0) },
      get bytesOut() { return taken(1) },
    }
  }

  get link(): UdpLink {
    return this.#link as UdpLink
  }

  /** Associates a socket with its id in the engine. */
  enter(socket: NativeUdpSocket, id: number): void {
    this.#byId.set(id, socket)
  }

  protected start(): void {
    this.#link = new UdpLink(this.#Engine, (count) => { this.#batch(count) }, () => { this.#ended() })
  }

  protected makeSocket(options: UdpSocketOptions): NativeUdpSocket {
    return new NativeUdpSocket(this, options)
  }

  protected schedule(): void {
    if (!this.#inBatch) process.nextTick(this.#deliver)
  }

  protected end(ended: () => void): void {
    this.#ended = ended
    this.link.close()
  }

  #batch(count: number): void {
    const { records } = this.link
    this.#inBatch = true
    for (let i = 0, at = 0; i < count; i++, at += UDP_RECORD_WORDS) this.#record(records, at)
    this.#inBatch = false
    this.deliver()
  }

  #record(records: Int32Array, at: number): void {
    const id = records[at + 1]
    switch (records[at]) {
      case Record.datagram: {
        const length = records[at + 4]
        this.metrics.datagramsIn += 1
        this.metrics.bytesIn += length
        const socket = this.#byId.get(id)
        if (socket === undefined || this.closing !== undefined) return
        const data = this.link.view(records[at + 2], records[at + 3], length)
        socket.received(data, this.#sender(records, at + 5))
        return
      }
      case Record.slabRetired:
        this.link.slabRetired(id)
        return
      case Record.slabsShort:
        this.link.slabsShort()
        return
      case Record.closed:
        this.#byId.get(id)?.ended()
        this.#byId.delete(id)
        return
    }
    this.#byId.get(id)?.failed(records[at], records[at + 2], this.#sender(records, at + 5))
  }

  /** The address in these words. One object for one sender, as most send more than once. */
  #sender(records: Int32Array, at: number): SocketAddress {
    const [portAndFamily, a, b, c, d, zone] = [
      records[at], records[at + 1], records[at + 2], records[at + 3], records[at + 4], records[at + 5],
    ]
    const isIPv6 = portAndFamily >>> 16 === 6
    const key = isIPv6
      ? `${portAndFamily},${a},${b},${c},${d},${zone}`
      : (a >>> 0) * 65536 + (portAndFamily & 0xffff)
    let address = this.#senders.get(key)
    if (address === undefined) {
      address = withZone(socketAddress(portAndFamily, a, b, c, d), zone)
      if (this.#senders.size >= SENDERS_MAX) this.#senders.clear()
      this.#senders.set(key, address)
    }
    return address
  }
}

class NativeUdpSocket extends UdpSocketBase<Int32Array> {
  readonly #transport: NativeUdpTransport
  #id = 0
  #isIPv6 = false

  constructor(transport: NativeUdpTransport & UdpStation, options: UdpSocketOptions) {
    super(transport, options)
    this.#transport = transport
  }

  get isIPv6(): boolean {
    return this.#isIPv6
  }

  protected get binds(): boolean {
    return this.#id !== 0
  }

  protected bindTo(address: string, fallback: boolean): void {
    const { link } = this.#transport
    const { port } = this.options
    this.#isIPv6 = address.includes(':')
    const id = link.engine.bind(address, port, this.#words())
    if (id < 0) {
      this.#bindFailed(socketError(id, 'bind', address, port), fallback)
      return
    }
    this.#id = id
    this.#transport.enter(this, id)
    try {
      for (const entry of this.multicastInterfaces()) {
        const result = link.engine.multicastInterface(id, entry)
        if (result < 0) throw socketError(result, 'setMulticastInterface', entry)
      }
    } catch (error) {
      this.#id = 0
      link.closeSocket(id)
      this.bindFailed(error as SocketError)
      return
    }
    const words = new Int32Array(ADDRESS_WORDS)
    link.engine.address(id, words)
    const [portAndFamily, a, b, c, d, zone] = words
    this.bound(withZone(socketAddress(portAndFamily, a, b, c, d), zone))
  }

  protected destination(host: string, family: 4 | 6): Int32Array | SocketError {
    if (family === 6 && !this.#isIPv6) return socketError(-constants.errno.EAFNOSUPPORT, 'send', host)
    const words = new Int32Array(ADDRESS_WORDS)
    const result = this.#transport.link.engine.parse(host, words)
    return result < 0 ? socketError(result, 'send', host) : words
  }

  protected transmit(
    data: Uint8Array | string, length: number, to: Int32Array, _host: string, port: number,
  ): void {
    this.#transport.link.send(this.#id, data, length, to, port)
  }

  protected member(group: string, networkInterface: string | undefined, join: boolean): void {
    const result = this.#transport.link.engine.membership(this.#id, group, networkInterface ?? '', join)
    if (result < 0) throw socketError(result, join ? 'addMembership' : 'dropMembership', group)
  }

  protected shut(): void {
    this.#transport.link.closeSocket(this.#id)
  }

  received(data: Buffer, remote: SocketAddress): void {
    if (this.state !== 'bound') return
    this.report('datagram', this.isolates ? isolated(data) : data, remote)
  }

  failed(kind: number, errno: number, remote: SocketAddress): void {
    if (kind === Record.truncated) {
      if (this.state === 'bound') this.tooLong(remote)
    } else if (kind === Record.sendFailed) {
      this.sendFailed(remote.address, remote.port, socketError(errno, 'send', remote.address, remote.port))
    } else if (this.state === 'bound') {
      this.report('receive-failed', undefined, undefined, socketError(errno, 'recvmsg'))
    }
  }

  /** The engine has closed the descriptor. */
  ended(): void {
    this.closed()
  }

  #bindFailed(error: SocketError, fallback: boolean): void {
    if (fallback && lacksIPv6(error)) this.bindTo('0.0.0.0', false)
    else this.bindFailed(error)
  }

  /** The options in the order of native/binding/udp.cc. */
  #words(): Int32Array {
    const options = this.options
    const flag = (value: boolean | undefined): number => (value === undefined ? -1 : value ? 1 : 0)
    return Int32Array.of(
      flag(options.ipv6Only), flag(options.reuseAddress), flag(options.broadcast), options.ttl ?? -1,
      options.multicastTTL ?? -1, flag(options.multicastLoopback), options.receiveBufferSize ?? -1,
      options.sendBufferSize ?? -1, this.maxDatagramSize, this.maxQueuedBytes,
    )
  }
}

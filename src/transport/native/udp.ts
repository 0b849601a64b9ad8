/**
 * The seam for datagrams over the C++ engine, which is the same as for connections; see link.ts.
 *
 * Owns the table from the engine's ids to sockets, and the translation of records into events.
 * JavaScript is entered once per loop turn with all that came; what is sent in reply goes out together
 * when it returns.
 *
 * Invariants: the program runs only after every record of the batch has been read; an id is looked up,
 * never trusted, as its socket may have been closed in the same turn.
 */
import { constants } from 'node:os'
import { socketError } from '../../support/errors.js'
import { isolated } from '../seam/buffers-option.js'
import { UdpCounts } from '../seam/metrics.js'
import { addonOrReason } from './addon.js'
import { socketAddress } from './address.js'
import { backendNumber, transportInfo } from './backend.js'
import {
  ADDRESS_WORDS, Command, DataRecord, Family, ReceiveFailedRecord, Record, RECORD_WORDS, SendFailedRecord,
  SenderRecord, TruncatedRecord,
} from './layout.js'
import { type Addon, type EngineSettings, Link } from './link.js'
import { udpWords } from './options.js'
import { slabOptions } from './slabs.js'
import { queueLimits } from '../seam/queue-limits.js'
import { checkedBusyPoll } from '../seam/transport-options.js'
import type { SocketAddress, SocketError, TransportInfo } from '../seam/transport.js'
import { lacksIPv6, UdpSocketBase, UdpTransportBase, type UdpStation } from '../seam/udp-socket.js'
import type { UdpSocketOptions, UdpTransport, UdpTransportOptions } from '../seam/udp-transport.js'

/** As `Address::pack` makes them. */
/** Senders whose addresses are remembered. */
const SENDERS_MAX = 4096

/** A transport over the native engine. Throws if it can't be loaded; `loadNative` says so before. */
export function nativeUdpTransport(options: UdpTransportOptions = {}): UdpTransport {
  const { backend, busyPoll, maxSlabBytes } = options
  const call = 'nativeUdpTransport'
  const settings = {
    backend: backendNumber(backend),
    busyPoll: checkedBusyPoll(call, busyPoll),
    closeTimeout: 0,
    // Of datagrams each socket has a limit of its own.
    ...queueLimits(call, { maxQueuedBytesTotal: Infinity }),
    // Who wants copies says so for each socket.
    ...slabOptions(call, { maxSlabBytes, buffers: 'owned' }),
  }
  const loaded = addonOrReason()
  if (!loaded.ok) throw new Error(`the native transport can't be loaded: ${loaded.reason}`)
  return new NativeUdpTransport(loaded.addon, settings)
}

class NativeUdpTransport extends UdpTransportBase<NativeUdpSocket> {
  readonly name = 'native'
  readonly metrics = new UdpCounts(true)
  readonly #addon: Addon
  readonly #settings: EngineSettings
  readonly #byId = new Map<number, NativeUdpSocket>()
  readonly #senders = new Map<number | string, SocketAddress>()
  #link: Link | undefined
  #inBatch = false
  #ended: () => void = () => undefined
  readonly #deliver = (): void => { this.deliver() }

  constructor(addon: Addon, settings: EngineSettings) {
    super()
    this.#addon = addon
    this.#settings = settings
  }

  get link(): Link {
    return this.#link as Link
  }

  override get info(): TransportInfo | undefined {
    const info = this.#link?.info()
    return info === undefined ? undefined : transportInfo(info)
  }

  /** Associates a socket with its id in the engine. */
  enter(socket: NativeUdpSocket, id: number): void {
    this.#byId.set(id, socket)
  }

  protected start(): void {
    this.#link = new Link(
      this.#addon, this.#settings, this.metrics.stats, (count) => { this.#batch(count) },
      () => { this.#ended() },
    )
    this.metrics.slabs = this.#link.slabs
  }

  protected setRef(on: boolean): void {
    this.#link?.setRef(on)
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
    const { records, slabs } = this.link
    const { metrics } = this
    let sender: SocketAddress | undefined
    this.#inBatch = true
    for (let i = 0, at = 0; i < count; i++, at += RECORD_WORDS) {
      const id = records[at + 1]
      switch (records[at]) {
        case Record.sender:
          sender = this.#address(records, at + SenderRecord.peer)
          break
        case Record.data: {
          const length = records[at + DataRecord.length]
          metrics.datagramsIn += 1
          metrics.bytesIn += length
          const socket = this.#byId.get(id)
          if (socket === undefined || this.closing !== undefined) break
          const data = slabs.view(records[at + DataRecord.slab], records[at + DataRecord.offset], length)
          socket.received(data, sender as SocketAddress)
          break
        }
        case Record.slabRetired:
          slabs.retired(id)
          break
        case Record.slabsShort:
          slabs.short(id)
          break
        case Record.closed:
          this.#byId.get(id)?.ended()
          this.#byId.delete(id)
          break
        case Record.receiveFailed:
          this.#byId.get(id)?.receiveFailed(records[at + ReceiveFailedRecord.error])
          break
        case Record.truncated:
          this.#byId.get(id)?.truncated(this.#address(records, at + TruncatedRecord.peer))
          break
        case Record.sendFailed:
          this.#byId.get(id)?.notSent(
            records[at + SendFailedRecord.error], this.#address(records, at + SendFailedRecord.peer),
          )
          break
      }
    }
    this.#inBatch = false
    this.deliver()
  }

  /** The address in five words. One object for one peer, as most send more than once. */
  #address(records: Int32Array, at: number): SocketAddress {
    const portAndFamily = records[at]
    const [a, b, c, d] = [records[at + 1], records[at + 2], records[at + 3], records[at + 4]]
    const isIPv4 = portAndFamily >>> 16 === Family.ipv4
    const key = isIPv4
      ? (a >>> 0) * 65536 + (portAndFamily & 0xffff)
      : `${portAndFamily},${a},${b},${c},${d}`
    let address = this.#senders.get(key)
    if (address === undefined) {
      address = socketAddress(portAndFamily, a, b, c, d)
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
    const id = link.bind(address, port, udpWords(this.options, this.maxDatagramSize, this.maxQueuedBytes))
    if (id < 0) {
      this.#bindFailed(socketError(id, 'bind', address, port), fallback)
      return
    }
    this.#id = id
    this.#transport.enter(this, id)
    try {
      for (const entry of this.multicastInterfaces()) {
        const result = link.multicast(id, entry)
        if (result < 0) throw socketError(result, 'setMulticastInterface', entry)
      }
    } catch (error) {
      this.shut()
      this.#id = 0
      this.bindFailed(error as SocketError)
      return
    }
    const words = new Int32Array(ADDRESS_WORDS)
    link.localAddress(id, words)
    const [portAndFamily, a, b, c, d] = words
    this.bound(socketAddress(portAndFamily, a, b, c, d))
  }

  protected destination(host: string, family: 4 | 6): Int32Array | SocketError {
    if (family === 6 && !this.#isIPv6) return socketError(-constants.errno.EAFNOSUPPORT, 'send', host)
    const to = this.#transport.link.receiver(host)
    return typeof to === 'number' ? socketError(to, 'send', host) : to
  }

  protected transmit(
    data: Uint8Array | string, length: number, to: Int32Array, _host: string, port: number,
  ): void {
    this.#transport.link.send(this.#id, data, length, to, port)
  }

  protected member(group: string, networkInterface: string | undefined, join: boolean): void {
    const result = this.#transport.link.multicast(this.#id, networkInterface ?? '', group, join)
    if (result < 0) throw socketError(result, join ? 'addMembership' : 'dropMembership', group)
  }

  protected shut(): void {
    const { link } = this.#transport
    link.command(Command.close, this.#id)
    // Now, so that the port is free for who comes next.
    link.flush()
  }

  received(data: Buffer, remote: SocketAddress): void {
    if (this.state !== 'bound') return
    this.report('datagram', this.isolates ? isolated(data) : data, remote)
  }

  truncated(remote: SocketAddress): void {
    if (this.state === 'bound') this.tooLong(remote)
  }

  notSent(errno: number, { address, port }: SocketAddress): void {
    this.sendFailed(address, port, socketError(errno, 'send', address, port))
  }

  receiveFailed(errno: number): void {
    if (this.state === 'bound') this.report('receive-failed', undefined, undefined, socketError(errno, 'recvmsg'))
  }

  /** The engine has closed the descriptor. */
  ended(): void {
    this.closed()
  }

  #bindFailed(error: SocketError, fallback: boolean): void {
    if (fallback && lacksIPv6(error)) this.bindTo('0.0.0.0', false)
    else this.bindFailed(error)
  }
}

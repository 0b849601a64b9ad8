/**
 * The fallback: the seam for datagrams over `node:dgram`.
 *
 * Two limits come from libuv: on a socket that takes IPv6 and IPv4, `multicastTTL` and
 * `multicastLoopback` count for IPv6 only (give `type: 'udp4'`); and datagrams are received one by one.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { socketError } from '../../support/errors.js'
import { NodeBase } from './account.js'
import { isolatedFromNode } from '../seam/buffers-option.js'
import { publishUdpEvents } from '../seam/diagnostics.js'
import { UdpCounts } from '../seam/metrics.js'
import { Stat } from '../seam/stats.js'
import type { SocketAddress, SocketError } from '../seam/transport.js'
import { bindSocket, lacksIPv6, MAPPED, UdpSocketBase } from '../seam/udp-socket.js'
import type { UdpEvent, UdpSocketOptions, UdpTransport } from '../seam/udp-transport.js'

/** Looks up nothing, at once: `dgram` would lose what is sent in the turn in which a socket is closed. */
function literal(
  address: string, family: unknown, callback: (error: null, address: string, family: number) => void,
): void {
  callback(null, address, typeof family === 'number' ? family : isIP(address))
}

/** A transport on `node:dgram`. It passes the same tests as the native one. */
export function nodeUdpTransport(): UdpTransport {
  return new NodeUdpTransport()
}

class NodeUdpTransport extends NodeBase<UdpEvent, NodeUdpSocket, UdpCounts> implements UdpTransport {
  readonly metrics = new UdpCounts(false)

  bind(options: UdpSocketOptions): NodeUdpSocket {
    this.assertOpen('bind')
    return bindSocket(this, new NodeUdpSocket(this, options))
  }

  protected publish(events: readonly UdpEvent[]): void {
    publishUdpEvents(this.name, events)
  }
}

class NodeUdpSocket extends UdpSocketBase<string> {
  #socket: Socket | undefined
  #isIPv6 = false
  readonly #metrics: UdpCounts
  #isRef: boolean
  /** Datagrams whose fate is not known yet. */
  #unsettled = 0
  #isClosed = false

  constructor(transport: NodeUdpTransport, options: UdpSocketOptions) {
    super(transport, options)
    this.#metrics = transport.metrics
    this.#isRef = transport.isRef
  }

  setRef(on: boolean): void {
    this.#isRef = on
    if (on) this.#socket?.ref()
    else this.#socket?.unref()
  }

  get isIPv6(): boolean {
    return this.#isIPv6
  }

  protected get binds(): boolean {
    return this.#socket !== undefined
  }

  protected bindTo(address: string, fallback: boolean): void {
    const { port, ipv6Only = false, reuseAddress = false } = this.options
    this.#isIPv6 = isIP(address) === 6
    const socket = createSocket({
      type: this.#isIPv6 ? 'udp6' : 'udp4',
      ipv6Only: this.#isIPv6 && ipv6Only,
      reuseAddr: reuseAddress,
      lookup: literal,
    })
    this.#socket = socket
    this.setRef(this.#isRef)
    socket.on('message', (data: Buffer, from: RemoteInfo) => { this.#received(data, from) })
    socket.on('listening', () => { this.#listening(socket) })
    socket.on('error', (error) => {
      if (this.state === 'bound') this.report('receive-failed', undefined, undefined, error as SocketError)
      else this.#failed(socket, error as SocketError, fallback)
    })
    socket.bind({ address, port, exclusive: true })
  }

  protected destination(host: string, family: 4 | 6): string | SocketError {
    if (family === 6) return this.#isIPv6 ? host : socketError(-constants.errno.EAFNOSUPPORT, 'send', host)
    return this.#isIPv6 ? MAPPED + host : host
  }

  protected transmit(
    data: Uint8Array | string, length: number, to: string, host: string, port: number,
  ): void {
    const socket = this.#socket as Socket
    const queued = socket.getSendQueueSize()
    if (queued > 0 && queued + length > this.maxQueuedBytes) {
      this.sendFailed(host, port, socketError(-constants.errno.ENOBUFS, 'send', host, port))
      return
    }
    this.#unsettled += 1
    socket.send(data, port, to, (error) => {
      this.#unsettled -= 1
      if (error === null) {
        this.#metrics.stats[Stat.datagramsOut] += 1
        this.#metrics.stats[Stat.bytesOut] += length
      } else {
        this.sendFailed(host, port, socketError((error as SocketError).errno, 'send', host, port))
      }
      this.#closeIfSettled()
    })
  }

  protected member(group: string, networkInterface: string | undefined, join: boolean): void {
    const socket = this.#socket as Socket
    try {
      if (join) socket.addMembership(group, networkInterface)
      else socket.dropMembership(group, networkInterface)
    } catch (error) {
      const { errno, syscall } = error as SocketError
      throw socketError(errno, syscall, group)
    }
  }

  protected shut(): void {
    const socket = this.#socket as Socket
    socket.once('close', () => {
      this.#isClosed = true
      this.#closeIfSettled()
    })
    socket.close()
  }

  #listening(socket: Socket): void {
    try {
      this.#configure(socket)
    } catch (error) {
      this.#failed(socket, error as SocketError, false)
      return
    }
    const { address, family, port } = socket.address()
    this.bound({ address, family: family === 'IPv6' ? 'IPv6' : 'IPv4', port })
  }

  #configure(socket: Socket): void {
    const { broadcast, ttl, multicastTTL, multicastLoopback } = this.options
    const { receiveBufferSize, sendBufferSize } = this.options
    if (broadcast !== undefined) socket.setBroadcast(broadcast)
    if (ttl !== undefined) socket.setTTL(ttl)
    if (multicastTTL !== undefined) socket.setMulticastTTL(multicastTTL)
    if (multicastLoopback !== undefined) socket.setMulticastLoopback(multicastLoopback)
    if (receiveBufferSize !== undefined) socket.setRecvBufferSize(receiveBufferSize)
    if (sendBufferSize !== undefined) socket.setSendBufferSize(sendBufferSize)
    for (const entry of this.multicastInterfaces()) socket.setMulticastInterface(entry)
  }

  #failed(socket: Socket, error: SocketError, fallback: boolean): void {
    this.#socket = undefined
    socket.removeAllListeners()
    socket.on('error', () => undefined)
    socket.close()
    if (fallback && lacksIPv6(error)) this.bindTo('0.0.0.0', false)
    else this.bindFailed(error)
  }

  #received(data: Buffer, from: RemoteInfo): void {
    if (this.state !== 'bound') return
    this.#metrics.datagramsIn += 1
    this.#metrics.bytesIn += data.length
    const remote = addressOf(from)
    if (data.length > this.maxDatagramSize) this.tooLong(remote)
    else this.report('datagram', this.isolates ? isolatedFromNode(data) : data, remote)
  }

  #closeIfSettled(): void {
    if (this.#isClosed && this.#unsettled === 0) this.closed()
  }
}

function addressOf({ address, family, port }: RemoteInfo): SocketAddress {
  if (family === 'IPv4') return { address, family, port }
  if (!address.startsWith(MAPPED) || !address.includes('.')) return { address, family: 'IPv6', port }
  return { address: address.slice(MAPPED.length), family: 'IPv4', port }
}

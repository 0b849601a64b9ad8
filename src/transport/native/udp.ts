/** The seam for datagrams over the C++ engine, which is the same as for connections; see engine.ts. Owns nothing. */
import { constants } from 'node:os'
import { socketError } from '../../support/errors.js'
import { isolated } from '../seam/buffers-option.js'
import { publishUdpEvents } from '../seam/diagnostics.js'
import { UdpCounts } from '../seam/metrics.js'
import { engineSettings, loadedAddon, NativeAccount, type EngineSocket } from './engine.js'
import { Command, ReceiveFailedRecord, Record, SendFailedRecord, TruncatedRecord } from './layout.js'
import { udpWords } from './options.js'
import { askAddress } from './socket.js'
import { queueLimits } from '../seam/queue-limits.js'
import { CLOSE_TIMEOUT } from '../seam/transport-options.js'
import type { SocketAddress, SocketError } from '../seam/transport.js'
import { bindSocket, lacksIPv6, UdpSocketBase } from '../seam/udp-socket.js'
import type { UdpEvent, UdpSocketOptions, UdpTransport, UdpTransportOptions } from '../seam/udp-transport.js'

/** A transport over the native engine. Throws if it can't be loaded; `loadNative` says so before. */
export function nativeUdpTransport(options: UdpTransportOptions = {}): UdpTransport {
  const settings = engineSettings('nativeUdpTransport', options)
  loadedAddon()
  return new NativeUdpTransport(settings, {
    // Each socket has a limit of its own.
    ...queueLimits('nativeUdpTransport', { maxQueuedBytesTotal: Infinity }),
    closeTimeout: CLOSE_TIMEOUT,
  })
}

class NativeUdpTransport extends NativeAccount<UdpEvent, NativeUdpSocket, UdpCounts> implements UdpTransport {
  readonly metrics = new UdpCounts(true)

  bind(options: UdpSocketOptions): NativeUdpSocket {
    this.assertOpen('bind')
    return bindSocket(this, new NativeUdpSocket(this, options))
  }

  protected publish(events: readonly UdpEvent[]): void {
    publishUdpEvents(this.name, events)
  }
}

class NativeUdpSocket extends UdpSocketBase<Int32Array> implements EngineSocket {
  readonly account: NativeUdpTransport
  /** The engine's; 0 while it has none. */
  id = 0
  #isIPv6 = false

  constructor(account: NativeUdpTransport, options: UdpSocketOptions) {
    super(account, options)
    this.account = account
  }

  get isIPv6(): boolean {
    return this.#isIPv6
  }

  protected get binds(): boolean {
    return this.id !== 0
  }

  protected bindTo(address: string, fallback: boolean): void {
    const { link, number } = this.account
    const { port } = this.options
    this.#isIPv6 = address.includes(':')
    const id = link.bind(number, address, port, udpWords(this.options, this.maxDatagramSize, this.maxQueuedBytes))
    if (id < 0) {
      this.#bindFailed(socketError(id, 'bind', address, port), fallback)
      return
    }
    this.id = id
    this.account.entered(this)
    try {
      for (const entry of this.multicastInterfaces()) {
        const result = link.multicast(id, entry)
        if (result < 0) throw socketError(result, 'setMulticastInterface', entry)
      }
    } catch (error) {
      this.shut()
      this.bindFailed(error as SocketError)
      return
    }
    this.bound(askAddress((words) => link.localAddress(id, words)) as SocketAddress)
  }

  protected destination(host: string, family: 4 | 6): Int32Array | SocketError {
    if (family === 6 && !this.#isIPv6) return socketError(-constants.errno.EAFNOSUPPORT, 'send', host)
    const to = this.account.link.receiver(host)
    return typeof to === 'number' ? socketError(to, 'send', host) : to
  }

  protected transmit(
    data: Uint8Array | string, length: number, to: Int32Array, _host: string, port: number,
  ): void {
    this.account.link.send(this.id, data, length, to, port)
  }

  protected member(group: string, networkInterface: string | undefined, join: boolean): void {
    const result = this.account.link.multicast(this.id, networkInterface ?? '', group, join)
    if (result < 0) throw socketError(result, join ? 'addMembership' : 'dropMembership', group)
  }

  protected shut(): void {
    const { link } = this.account
    link.command(Command.close, this.id)
    // Now, so that the port is free for who comes next.
    link.flush()
  }

  received(data: Buffer, remote: SocketAddress): void {
    const { metrics, engine } = this.account
    metrics.datagramsIn += 1
    metrics.bytesIn += data.length
    if (this.state !== 'bound') return
    this.report('datagram', this.isolates && !engine.isolates ? isolated(data) : data, remote)
  }

  happened(records: Int32Array, at: number): void {
    switch (records[at]) {
      case Record.truncated:
        if (this.state === 'bound') this.tooLong(this.account.engine.peer(records, at + TruncatedRecord.peer))
        break
      case Record.sendFailed: {
        const { address, port } = this.account.engine.peer(records, at + SendFailedRecord.peer)
        const errno = records[at + SendFailedRecord.error]
        this.sendFailed(address, port, socketError(errno, 'send', address, port))
        break
      }
      case Record.receiveFailed: {
        const errno = records[at + ReceiveFailedRecord.error]
        if (this.state === 'bound') this.report('receive-failed', undefined, undefined, socketError(errno, 'recvmsg'))
        break
      }
      case Record.closed:
        // The engine has closed the descriptor.
        this.account.left(this.id)
        this.closed()
    }
  }

  #bindFailed(error: SocketError, fallback: boolean): void {
    if (fallback && lacksIPv6(error)) this.bindTo('0.0.0.0', false)
    else this.bindFailed(error)
  }
}

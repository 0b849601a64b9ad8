/** The records that programs and the TCP drivers exchange. */
import {
  defineCheckedRecord, defineInstancedRecord, defineRecord, shareSymbol, type RecordFrom,
} from '../topic/index.js'
import type { LimitChanges } from '../transport/seam/limits.js'
import type { FlowMode } from '../transport/seam/framing.js'
import type { TlsState } from '../transport/seam/tls.js'
import type { SocketError } from '../transport/seam/transport.js'
import type { ProxyHeader } from './proxy-header.js'
import { hostName, ofType } from '../support/checks.js'
import { unixPath } from '../transport/seam/socket-options.js'
import { amount, descriptor, madeBy, mode, optional, port } from './record-checks.js'

/** The subpacket that says that no more bytes will come in its direction. */
export const eof: unique symbol = Symbol('eof')
/** The type of `eof`. */
export type Eof = typeof eof

/**
 * A subpacket that is sent, not received: from now on this conversation's outbound flow stays open after the
 * peer's eof, as with the option `allowHalfOpen`.
 */
export const halfOpen: unique symbol = Symbol('half-open')
/** The type of `halfOpen`. */
export type HalfOpen = typeof halfOpen

/**
 * A subpacket that is sent, not received: the connection ends at once, by a reset. What the kernel has not
 * taken is thrown away, and the peer can't mistake what it got for all there was.
 */
export const abort: unique symbol = Symbol('abort')
/** The type of `abort`. */
export type Abort = typeof abort

shareSymbol('eof', eof)
shareSymbol('halfOpen', halfOpen)
shareSymbol('abort', abort)

/**
 * A remote address: `host` as text, a name or an IP address, and `port` as a number.
 *
 * @throws TypeError or RangeError for what is no host, or no port
 */
export const tcpAddress = defineInstancedRecord('tcp-address', ['host', 'port'], { host: hostName, port })
  .of<[host: string, port: number]>()
/** A record that `tcpAddress` makes. */
export type TcpAddress = RecordFrom<typeof tcpAddress>

/** A local address with a port that the kernel assigns. `id`, any value, names one connection. */
export const tcpHandle = defineRecord('tcp-handle', ['id']).of<[id: unknown]>()
/** A record that `tcpHandle` makes. */
export type TcpHandle = RecordFrom<typeof tcpHandle>

/**
 * A local address with a port of the program's choice; 0 lets the kernel choose (see `tcpListening`).
 *
 * @throws TypeError or RangeError for what is no port
 */
export const tcpListener = defineCheckedRecord('tcp-listener', ['port'], { port }).of<[port: number]>()
/** A record that `tcpListener` makes. */
export type TcpListener = RecordFrom<typeof tcpListener>

/**
 * A remote address that is a Unix socket: the path of its file, or a zero byte and an abstract name.
 *
 * @throws TypeError for what is neither
 */
export const unixAddress = defineCheckedRecord('unix-address', ['path'], { path: unixPath }).of<[path: string]>()
/** A record that `unixAddress` makes. */
export type UnixAddress = RecordFrom<typeof unixAddress>

/**
 * A local address that is a Unix socket, with a path as that of `unixAddress`.
 *
 * @throws TypeError for what is no path
 */
export const unixListener = defineCheckedRecord('unix-listener', ['path'], { path: unixPath }).of<[path: string]>()
/** A record that `unixListener` makes. */
export type UnixListener = RecordFrom<typeof unixListener>

/**
 * Who has connected to a Unix socket, and has no address: the driver numbers them.
 *
 * @throws TypeError or RangeError for what is no such number
 */
export const unixPeer = defineCheckedRecord('unix-peer', ['id'], { id: amount }).of<[id: number]>()
/** A record that `unixPeer` makes. */
export type UnixPeer = RecordFrom<typeof unixPeer>

/**
 * A local address that is a listening socket, TCP or Unix, which others have opened, by its descriptor: one that this
 * process was started with, or has received. Once it is listened on, the driver owns the descriptor, and closes it.
 *
 * @throws TypeError or RangeError for what is no descriptor
 */
export const fdListener = defineCheckedRecord('fd-listener', ['fd'], { fd: descriptor }).of<[fd: number]>()
/** A record that `fdListener` makes. */
export type FdListener = RecordFrom<typeof fdListener>

/**
 * A remote address that is whoever a socket, TCP or Unix, is connected to, which others have opened, by its descriptor.
 * Once there is a conversation, the driver owns the descriptor, and closes it.
 *
 * @throws TypeError or RangeError for what is no descriptor
 */
export const fdAddress = defineCheckedRecord('fd-address', ['fd'], { fd: descriptor }).of<[fd: number]>()
/** A record that `fdAddress` makes. */
export type FdAddress = RecordFrom<typeof fdAddress>

/**
 * An end that is no socket's, which the TCP drivers leave alone: `channelFor` speaks with them for streams.
 * `id` is any value.
 */
export const streamEnd = defineRecord('stream-end', ['id']).of<[id: unknown]>()
/** A record that `streamEnd` makes. */
export type StreamEnd = RecordFrom<typeof streamEnd>

/** Either end of a connection. */
export type TcpEnd =
  TcpAddress | TcpHandle | TcpListener | UnixAddress | UnixListener | UnixPeer | FdListener | FdAddress | StreamEnd

const end = madeBy(
  'an end of a connection, such as a tcpAddress, a tcpHandle or a tcpListener',
  tcpAddress, tcpHandle, tcpListener, unixAddress, unixListener, unixPeer, fdListener, fdAddress, streamEnd,
)
const listener = madeBy('a tcpListener, a unixListener or an fdListener', tcpListener, unixListener, fdListener)

/**
 * Feedback of flow control: so many more bytes, or frames, such as lines, are welcome.
 *
 * @throws TypeError or RangeError for what is no whole number from 0 on
 */
export const tcpCredit = defineCheckedRecord('tcp-credit', ['amount'], { amount }).of<[amount: number]>()
/** A record that `tcpCredit` makes. */
export type TcpCredit = RecordFrom<typeof tcpCredit>

/**
 * Feedback of flow control: how incoming bytes are cut into subpackets from now on, those included that came and were
 * not delivered; and what is put around what is sent. Resets credit to 0. As a message on the outbound flow: only what
 * is put around what is sent after it.
 *
 * @throws TypeError or RangeError for what is no mode
 */
export const tcpMode = defineCheckedRecord('tcp-mode', ['mode'], { mode }).of<[mode: FlowMode]>()
/** A record that `tcpMode` makes. */
export type TcpMode = RecordFrom<typeof tcpMode>

/**
 * What travels over a connection, one flow each way. Received subpackets are a `Buffer` or `eof`; to
 * be sent, any `Uint8Array` will do, with `tcpBare` a string too (as UTF-8).
 *
 * Nothing is checked where it is made, as there is one for each piece of data: what can't be sent ends the
 * conversation, with that as the reason.
 */
export const tcpChannel = defineRecord('tcp-channel', ['source', 'destination', 'subpacket']).of<
  [source: TcpEnd, destination: TcpEnd, subpacket: Buffer | Eof],
  [
    source: TcpEnd, destination: TcpEnd,
    subpacket: Uint8Array | string | Eof | HalfOpen | Abort | TcpCredit | TcpMode,
  ]
>()
/** A record that `tcpChannel` makes. */
export type TcpChannel = RecordFrom<typeof tcpChannel>

/**
 * Published while a listener is bound: where it really listens.
 *
 * @throws TypeError for another listener or address
 */
export const tcpListening = defineCheckedRecord('tcp-listening', ['listener', 'address'], {
  listener: madeBy('a tcpListener', tcpListener), address: madeBy('a tcpAddress', tcpAddress),
}).of<
  [listener: TcpListener, address: TcpAddress]
>()
/** A record that `tcpListening` makes. */
export type TcpListening = RecordFrom<typeof tcpListening>

/** What a header of the PROXY protocol has said, and whose address it has taken the place of. */
export interface ProxyTold extends ProxyHeader {
  /** The balancer. */
  readonly via: TcpAddress | UnixPeer
}

/**
 * Published, before the connection's own flows and as long as they, for a connection that has begun with a header of
 * the PROXY protocol.
 *
 * @throws TypeError for what is no end of a connection
 */
export const tcpProxied = defineCheckedRecord('tcp-proxied', ['source', 'destination', 'header'], {
  source: end, destination: end,
}).of<
  [source: TcpEnd, destination: TcpEnd, header: ProxyTold]
>()
/** A record that `tcpProxied` makes. */
export type TcpProxied = RecordFrom<typeof tcpProxied>

/**
 * Published, before the connection's own flows and as long as they, for a connection with TLS: what its handshake has
 * come to.
 *
 * @throws TypeError for what is no end of a connection
 */
export const tcpSecured = defineCheckedRecord('tcp-secured', ['source', 'destination', 'tls'], {
  source: end, destination: end,
}).of<
  [source: TcpEnd, destination: TcpEnd, tls: TlsState]
>()
/** A record that `tcpSecured` makes. */
export type TcpSecured = RecordFrom<typeof tcpSecured>

/**
 * Sent to the driver: stop (`false`) or go on (`true`) accepting on this listener. Meanwhile
 * connections wait in the kernel's queue. Means nothing while nobody wants the listener.
 *
 * @throws TypeError for what is no listener, or neither `true` nor `false`
 */
export const tcpAccepting = defineCheckedRecord('tcp-accepting', ['listener', 'accepting'], {
  listener, accepting: ofType('boolean'),
}).of<
  [listener: TcpListener | UnixListener | FdListener, accepting: boolean]
>()
/** A record that `tcpAccepting` makes. */
export type TcpAccepting = RecordFrom<typeof tcpAccepting>

/**
 * Sent to the driver: changes the limits of this listener, of what it accepts from now on; what is not said stays.
 * Means nothing while nobody wants the listener; the next one begins with the driver's options again. What can't be
 * changed so is a `tcpError`.
 *
 * @throws TypeError for what is no listener, or no object
 */
export const tcpLimits = defineCheckedRecord('tcp-limits', ['listener', 'changes'], {
  listener, changes: ofType('object'),
}).of<
  [listener: TcpListener | UnixListener, changes: LimitChanges]
>()
/** A record that `tcpLimits` makes. */
export type TcpLimits = RecordFrom<typeof tcpLimits>

/**
 * Published while a Unix socket is listened on.
 *
 * @throws TypeError for another listener
 */
export const unixListening = defineCheckedRecord('unix-listening', ['listener'], {
  listener: madeBy('a unixListener', unixListener),
}).of<[listener: UnixListener]>()
/** A record that `unixListening` makes. */
export type UnixListening = RecordFrom<typeof unixListening>

/**
 * Published while an adopted socket is listened on: where that is.
 *
 * @throws TypeError for another listener or address
 */
export const fdListening = defineCheckedRecord('fd-listening', ['listener', 'address'], {
  listener: madeBy('an fdListener', fdListener),
  address: madeBy('a tcpAddress or a unixAddress', tcpAddress, unixAddress),
}).of<
  [listener: FdListener, address: TcpAddress | UnixAddress]
>()
/** A record that `fdListening` makes. */
export type FdListening = RecordFrom<typeof fdListening>

/**
 * Published when a listen, an accept or a connect failed. `remote` is undefined for listeners, but
 * for connections that were refused because of the listener's limits (`ECONNABORTED`). Nothing is retried.
 *
 * @throws TypeError for what is no end of a connection
 */
export const tcpError = defineCheckedRecord('tcp-error', ['local', 'remote', 'error'], {
  local: end, remote: optional(end),
}).of<
  [
    local: TcpListener | UnixListener | FdListener | TcpHandle,
    remote: TcpAddress | UnixAddress | FdAddress | undefined,
    error: SocketError,
  ]
>()
/** A record that `tcpError` makes. */
export type TcpError = RecordFrom<typeof tcpError>

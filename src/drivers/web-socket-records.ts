/** The records that programs and the WebSocket driver exchange. */
import { ofType, type Check } from '../support/checks.js'
import { argumentError, rangeError } from '../support/errors.js'
import { defineCheckedRecord, defineRecord, isGround, type RecordFrom } from '../topic/index.js'
import { answeredByDriver } from '../vm/wiring.js'
import { amount, madeBy, number, optional, port } from './record-checks.js'
import type { Abort } from './tcp-records.js'

/** What a peer has asked for when it wanted a WebSocket. Compared by identity, as each connection has its own. */
export interface WsRequest {
  /** The peer's IP address as text; an IPv4 address as IPv4 has it. */
  readonly address: string
  /** The peer's port; undefined on uWebSockets.js, which doesn't tell. */
  readonly port: number | undefined
  /** The path of the URL, as it came: `/room/7`. */
  readonly path: string
  /** What follows the `?` of the URL, as it came; '' if nothing does. */
  readonly query: string
  /** Of the header Origin, which browsers send and others needn't. */
  readonly origin: string | undefined
  /** The header Host. */
  readonly host: string
  /** Whether it came over TLS. */
  readonly secure: boolean
  /**
   * Headers by lower-case name: those that the option `headers` names; in `origins`, `verify` and `protocols`, which
   * are called before the connection is there, all of them.
   */
  readonly headers: Readonly<Record<string, string>>
  /** The subprotocols that it offered, in its order. */
  readonly offered: readonly string[]
  /** The one that was chosen; undefined if none was. */
  readonly protocol: string | undefined
  /** The object that `verify` has answered with, if it did. */
  readonly verified: unknown
}

/** What the server has answered to a client's connection. */
export interface WsAnswer {
  /** The subprotocol that it has chosen; undefined if none. */
  readonly protocol: string | undefined
  /** Whether messages may be compressed. */
  readonly compressed: boolean
}

/** Of a server of WebSockets. */
export const wsUrl: Check = (call, name, value) => {
  const expected = 'the URL of a WebSocket, ws://host/path or wss://host/path, without a fragment'
  if (typeof value !== 'string') throw argumentError(call, name, expected, value)
  let parsed: URL | undefined
  try {
    parsed = new URL(value)
  } catch {
    parsed = undefined
  }
  if ((parsed?.protocol === 'ws:' || parsed?.protocol === 'wss:') && parsed.hash === '') return
  throw argumentError(call, name, expected, value)
}

/** Of the URLs that a listener is for. */
export const wsPath: Check = (call, name, value) => {
  const expected = 'a path of URLs: "/", printable ASCII without spaces, "?" and "#"; "*" only as the last part'
  if (typeof value !== 'string') throw argumentError(call, name, expected, value)
  if (/^\/(?:[!"$-)+->@-~%]*\*?)$/.test(value) && (!value.endsWith('*') || value.endsWith('/*'))) return
  throw rangeError(call, name, expected, value)
}

/** Of a close frame that programs may send. */
export const closeCode: Check = (call, name, value) => {
  const expected = '1000 to 1003, 1007 to 1014, or 3000 to 4999'
  if (typeof value !== 'number') throw argumentError(call, name, expected, value)
  const known = (value >= 1000 && value <= 1003) || (value >= 1007 && value <= 1014)
    || (value >= 3000 && value <= 4999)
  if (!known || !Number.isInteger(value)) throw rangeError(call, name, expected, value)
}

/** Bytes of a close frame that are left for the reason. */
const CLOSE_REASON_MAX = 123

/** Of a close frame. */
export const closeReason: Check = (call, name, value) => {
  const expected = `a string of at most ${CLOSE_REASON_MAX} bytes`
  if (typeof value !== 'string') throw argumentError(call, name, expected, value)
  if (Buffer.byteLength(value) > CLOSE_REASON_MAX) throw rangeError(call, name, expected, value)
}

/**
 * A server to connect to: `ws://host:port/path` or `wss://...`.
 *
 * @throws TypeError for what is no such URL
 */
export const wsAddress = defineCheckedRecord('ws-address', ['url'], { url: wsUrl }).of<[url: string]>()
/** A record that `wsAddress` makes. */
export type WsAddress = RecordFrom<typeof wsAddress>

/** This end of a connection that goes out. `id`, any value, names it. */
export const wsHandle = defineRecord('ws-handle', ['id']).of<[id: unknown]>()
/** A record that `wsHandle` makes. */
export type WsHandle = RecordFrom<typeof wsHandle>

/**
 * This end of connections that come in: a port, where 0 lets the kernel choose (see `wsListening`), and the path of the
 * URLs that it is for. A path that ends with `/*` is for all below it, if no longer one fits.
 *
 * @throws TypeError or RangeError for what is no port or no path
 */
export const wsListener = defineCheckedRecord('ws-listener', ['port', 'path'], { port, path: wsPath })
  .of<[port: number, path: string]>()
/** A record that `wsListener` makes. */
export type WsListener = RecordFrom<typeof wsListener>

/**
 * Who has connected: a number that no other connection of this thread ever has, and what it asked for.
 *
 * @throws TypeError or RangeError for what is no such number
 */
export const wsPeer = defineCheckedRecord('ws-peer', ['id', 'request'], { id: amount })
  .of<[id: number, request: WsRequest]>()
/** A record that `wsPeer` makes. */
export type WsPeer = RecordFrom<typeof wsPeer>

/** Either end of a connection. */
export type WsEnd = WsAddress | WsHandle | WsListener | WsPeer

const listener = madeBy('a wsListener', wsListener)
const handle = madeBy('a wsHandle', wsHandle)
const address = madeBy('a wsAddress', wsAddress)

/**
 * A message that is sent, not received: close the connection with this code and reason. What was sent before goes
 * first.
 *
 * @param code 1000 to 1003, 1007 to 1014, or 3000 to 4999
 * @param reason at most 123 bytes in UTF-8
 * @throws TypeError or RangeError for other ones
 */
export const wsClose = defineCheckedRecord('ws-close', ['code', 'reason'], {
  code: closeCode, reason: closeReason,
}).of<[code: number, reason: string]>()
/** A record that `wsClose` makes. */
export type WsClose = RecordFrom<typeof wsClose>

/**
 * The reason of a connection's absence. With a close frame of the peer's or of the program's, its code and reason, and
 * `error` is undefined; 1005 stands for a frame without a code. Otherwise `error` says what was wrong, and the code is
 * the one of RFC 6455 that fits: 1006 for a connection that was lost or timed out, 1002 and 1007 for a peer that
 * doesn't keep to the protocol, 1009 for a message that is too long, 1008 or 1013 for one that doesn't read or sends
 * too much.
 *
 * @throws TypeError for a code that is no number, or a reason that is no text
 */
export const wsClosed = defineCheckedRecord('ws-closed', ['code', 'reason', 'error'], {
  code: number, reason: ofType('string'),
}).of<
  [code: number, reason: string, error: Error | undefined]
>()
/** A record that `wsClosed` makes. */
export type WsClosed = RecordFrom<typeof wsClosed>

/**
 * Feedback with `flow: 'credit'`: so many more messages are welcome; or, the other way, so many were taken.
 *
 * @throws TypeError or RangeError for what is no whole number from 0 on
 */
export const wsCredit = defineCheckedRecord('ws-credit', ['amount'], { amount }).of<[amount: number]>()
/** A record that `wsCredit` makes. */
export type WsCredit = RecordFrom<typeof wsCredit>

/**
 * What travels over a connection, one flow each way. Received messages are a string (of a text frame) or a `Buffer`
 * (of a binary one). To be sent, a string or any `Uint8Array`; or `wsClose(code, reason)`, or `abort`.
 *
 * Nothing is checked where it is made: what can't be sent ends the connection, with that as the reason.
 */
export const wsChannel = defineRecord('ws-channel', ['source', 'destination', 'message']).of<
  [source: WsEnd, destination: WsEnd, message: string | Buffer],
  [source: WsEnd, destination: WsEnd, message: string | Uint8Array | WsClose | WsCredit | Abort]
>()
/** A record that `wsChannel` makes. */
export type WsChannel = RecordFrom<typeof wsChannel>

/**
 * Published while a listener is bound: the URL that leads to it.
 *
 * @throws TypeError for another listener or address
 */
export const wsListening = defineCheckedRecord('ws-listening', ['listener', 'address'], { listener, address }).of<
  [listener: WsListener, address: WsAddress]
>()
/** A record that `wsListening` makes. */
export type WsListening = RecordFrom<typeof wsListening>

/**
 * Published while a connection that goes out is there: what the server has answered.
 *
 * @throws TypeError for another end
 */
export const wsConnected = defineCheckedRecord('ws-connected', ['local', 'remote', 'answer'], {
  local: handle, remote: address,
}).of<
  [local: WsHandle, remote: WsAddress, answer: WsAnswer]
>()
/** A record that `wsConnected` makes. */
export type WsConnected = RecordFrom<typeof wsConnected>

/**
 * Published when a listen or a connect failed. `remote` is undefined for listeners. Nothing is retried.
 *
 * @throws TypeError for another end
 */
export const wsError = defineCheckedRecord('ws-error', ['local', 'remote', 'error'], {
  local: madeBy('a wsListener or a wsHandle', wsListener, wsHandle), remote: optional(address),
}).of<
  [local: WsListener | WsHandle, remote: WsAddress | undefined, error: Error]
>()
/** A record that `wsError` makes. */
export type WsError = RecordFrom<typeof wsError>

answeredByDriver(wsChannel, {
  driver: 'the WebSocket driver: webSocket()',
  wanted: ({ source, destination }: WsChannel) => {
    const [local, remote] = wsListener.is(destination) || wsHandle.is(destination)
      ? [destination, source] : [source, destination]
    if (wsListener.is(local)) return isGround(local) && !isGround(remote)
    return wsHandle.is(local) && isGround(local) && isGround(remote)
  },
  ignored: ({ message }: { readonly message: unknown }) =>
    wsCredit.is(message) ? "which webSocket() ignores without the option flow: 'credit'" : undefined,
})

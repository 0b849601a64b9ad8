/** Options of the WebSocket driver, their defaults and their checks. */
import {
  checkOptions, hostName, integer, notEmpty, ofType, oneOf, type Check, type Elsewhere,
} from '../support/checks.js'
import { argumentError } from '../support/errors.js'
import { defaultBuffers, keptBuffersCheck, type KeptBuffers } from '../transport/seam/buffers-option.js'
import { QUEUED_BYTES_MAX, QUEUED_BYTES_MAX_TOTAL } from '../transport/seam/queue-limits.js'
import type { CarrierSettings, CompressionSettings } from './web-socket-carrier.js'
import type { WsAddress, WsHandle, WsRequest } from './web-socket-records.js'

/**
 * What `verify` answers: whether the peer may have its WebSocket; or the status of HTTP that it gets instead, from 400
 * to 599; or an object, which means yes and stands in the request as `verified`.
 */
export type WsVerdict = boolean | number | object

/** How connections that go out are asked for. */
export interface WsConnectOptions {
  /** Subprotocols to offer, the best first. */
  readonly protocols?: readonly string[] | undefined
  /** More headers of the request, such as `authorization`. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** The header Origin, which servers may ask for. */
  readonly origin?: string | undefined
  /** Certificates (PEM) to trust beside those that Node trusts. */
  readonly ca?: string | Buffer | undefined
  /** Whether a server with a wrong certificate is refused. Default true. */
  readonly rejectUnauthorized?: boolean | undefined
}

/** How messages are compressed, and how much memory that may take. */
export interface WsCompression {
  /** Messages of fewer bytes are sent as they are. Default 1,024. */
  readonly threshold?: number | undefined
  /**
   * So many connections at most have compression; those that come later have none, and work all the same. With `ws`
   * each takes some 300 kB once it has been used in both directions; uWebSockets.js shares one compressor. Default
   * 1,000.
   */
  readonly maxConnections?: number | undefined
}

/** Options of `webSocket`. */
export interface WebSocketOptions {
  /**
   * What carries listeners: 'uws', uWebSockets.js, which you install, and not in threads; 'ws', on the engine;
   * 'auto', uws where it can be had. Connections that go out are carried by `ws` in any case. Default 'auto'.
   */
  readonly carrier?: 'auto' | 'uws' | 'ws' | undefined
  /** Name or address that listeners bind to. Default: all interfaces. */
  readonly host?: string | undefined
  /**
   * Pages of which origins may connect: `'*'` for all, a list of origins (`'https://example.org'`) in which `'self'` is
   * the one that the request is sent to, or a function. Who sends no Origin is no browser, and is not judged by it.
   * Listening needs an answer to this.
   */
  readonly origins?: '*' | readonly string[] | ((origin: string, request: WsRequest) => boolean) | undefined
  /** Asked, after the origin was found to be right, whether the peer may have its WebSocket. May be async. */
  readonly verify?: ((request: WsRequest) => WsVerdict | Promise<WsVerdict>) | undefined
  /**
   * Subprotocols that are spoken here, the best first; or a function that chooses of those that were offered. Default:
   * none is chosen.
   */
  readonly protocols?: readonly string[] | ((request: WsRequest) => string | undefined) | undefined
  /** Names of headers, in lower case, that a connection's request keeps. Default: none. */
  readonly headers?: readonly string[] | undefined
  /** The private key (PEM) of a server for `wss:` and `https:`. Together with `cert`. */
  readonly key?: string | Buffer | undefined
  /** Its certificate (PEM), with those between it and the root. */
  readonly cert?: string | Buffer | undefined
  /** Of the private key. */
  readonly passphrase?: string | undefined
  /** Most bytes of a message that comes; a longer one ends the connection with 1009. Default 1,048,576. */
  readonly maxPayload?: number | undefined
  /** So many WebSockets at most at the same time; others get 503. Default: no limit. */
  readonly maxConnections?: number | undefined
  /** So many of one address, or of one /64 of IPv6; others get 429. Default: no limit. */
  readonly maxConnectionsPerAddress?: number | undefined
  /** Milliseconds for a request to come whole, from the connection on, and for `verify`. Default 10,000. */
  readonly handshakeTimeout?: number | undefined
  /** Milliseconds of silence after which a peer gets a ping; 0: none. Default 30,000. */
  readonly pingInterval?: number | undefined
  /**
   * Milliseconds of silence, in spite of pings, after which a connection is over; 0: never. Default 120,000. With
   * uWebSockets.js in steps of 4 s, from 8 s to 960 s.
   */
  readonly idleTimeout?: number | undefined
  /** Milliseconds that a closing connection may take. Default 10,000. */
  readonly closeTimeout?: number | undefined
  /** Whether messages may be compressed (permessage-deflate), and how. Default false. */
  readonly compression?: boolean | WsCompression | undefined
  /**
   * 'bare': messages are delivered as they come. 'credit': so many as the program has said with `wsCredit`, and it is
   * told how many of its own were taken. Default 'bare'.
   */
  readonly flow?: 'bare' | 'credit' | undefined
  /**
   * Bytes of messages that may wait here for credit, or for output to go: a connection with more ends with 1013.
   * Default 4,194,304, or `maxPayload` if that is more.
   */
  readonly maxInboxBytes?: number | undefined
  /** While more bytes than this wait to be sent on a connection, nothing of it is delivered. Default 1,048,576. */
  readonly highWaterMark?: number | undefined
  /** Bytes that may wait to be sent on a connection. Default 67,108,864. */
  readonly maxQueuedBytes?: number | undefined
  /** The same, of all connections of this driver together. Default 268,435,456. */
  readonly maxQueuedBytesTotal?: number | undefined
  /**
   * What happens beyond these limits. 'abort' (default): the connection ends with ENOBUFS; beyond the total, those with
   * the most bytes queued do. 'pause': nothing is delivered of the connection, or, beyond the total, of any, until at
   * most half of the limit is queued; what is sent all the same is kept.
   */
  readonly overflow?: 'abort' | 'pause' | undefined
  /** How connections that go out are asked for, or a function that says it for each. */
  readonly connect?: WsConnectOptions | ((local: WsHandle, remote: WsAddress) => WsConnectOptions) | undefined
  /**
   * The folder of the files that are served on the same port. Needs the package `send`. Default: none are.
   */
  readonly files?: string | undefined
  /** Most bytes of the body of a request of HTTP; one with more gets 413. Default 1,048,576. */
  readonly maxBody?: number | undefined
  /** Milliseconds for a handler of HTTP to answer; then the client gets 503. Default 30,000. */
  readonly answerTimeout?: number | undefined
  /**
   * Whose memory received bytes are in. 'owned': the ArrayBuffer of a `Buffer` may hold other connections' bytes, too;
   * 'isolated': nothing else, at the price of a copy. Default: the environment's MARKETPLACE_BUFFERS, or else 'owned'.
   */
  readonly buffers?: KeptBuffers | undefined
}

/** What the driver works with: all that has a default has its value. */
export interface WebSocketSettings extends CarrierSettings {
  readonly carrier: 'auto' | 'uws' | 'ws'
  readonly origins: WebSocketOptions['origins']
  readonly verify: WebSocketOptions['verify']
  readonly protocols: WebSocketOptions['protocols']
  readonly keptHeaders: readonly string[]
  readonly maxConnectionsPerAddress: number
  readonly credit: boolean
  readonly maxInboxBytes: number
  readonly highWaterMark: number
  readonly maxQueuedBytesTotal: number
  readonly pauses: boolean
  readonly connect: WebSocketOptions['connect']
  readonly files: string | undefined
  readonly maxBody: number
  readonly answerTimeout: number
}

const MOST = Number.MAX_SAFE_INTEGER
/** The longest that a timer of Node's takes. */
const LONGEST = 0x7fffffff
/** The longest message: a string has fewer characters than that on every Node. */
const PAYLOAD_MAX = 0x1fffffe8
/** Bytes of a request's first line and headers, as Node's own servers have it. */
const HEADER_MAX = 16 * 1024

const pem: Check = (call, name, value) => {
  const right = (typeof value === 'string' && value !== '') || Buffer.isBuffer(value)
  // What it is instead may be a secret.
  if (!right) throw argumentError(call, name, 'PEM, as a string or a Buffer', typeof value)
}

const strings = (expected: string, test: (text: string) => boolean): Check => (call, name, value) => {
  const right = Array.isArray(value) && value.every((one) => typeof one === 'string' && test(one))
  if (!right) throw argumentError(call, name, expected, value)
}

/** A token of HTTP. */
const isToken = (text: string): boolean => /^[!#$%&'*+.^_`|~0-9a-z-]+$/i.test(text)
const tokens = strings('a list of names of subprotocols', isToken)
const headerNames = strings('a list of names of headers in lower case', (name) =>
  isToken(name) && name === name.toLowerCase())
const originList = strings(
  "'*', or a list of origins such as 'https://example.org', or 'self', or a function",
  (text) => text === 'self' || isOrigin(text),
)

function isOrigin(text: string): boolean {
  try {
    return new URL(text).origin === text
  } catch {
    return false
  }
}

const connectChecks: Readonly<Record<keyof WsConnectOptions, Check>> = {
  protocols: tokens,
  headers: ofType('object'),
  origin: ofType('string'),
  ca: pem,
  rejectUnauthorized: ofType('boolean'),
}

/** @internal @throws TypeError for the first option that is wrong */
export function checkConnect(call: string, name: string, options: WsConnectOptions): void {
  const right = typeof options === 'object' && options !== null
  if (!right) throw argumentError(call, name, 'an object or a function', options)
  checkOptions(call, options, connectChecks, `${name}.`)
}

const compressionChecks: Readonly<Record<keyof WsCompression, Check>> = {
  threshold: integer(0, MOST, 'bytes'),
  maxConnections: integer(0, MOST),
}

const checks: Readonly<Record<keyof WebSocketOptions, Check>> = {
  carrier: oneOf('auto', 'uws', 'ws'),
  host: hostName,
  origins: (call, name, value) => {
    if (value !== '*' && typeof value !== 'function') originList(call, name, value)
  },
  verify: ofType('function'),
  protocols: (call, name, value) => {
    if (typeof value !== 'function') tokens(call, name, value)
  },
  headers: headerNames,
  key: pem,
  cert: pem,
  passphrase: ofType('string'),
  maxPayload: integer(1, PAYLOAD_MAX, 'bytes'),
  maxConnections: integer(0, MOST),
  maxConnectionsPerAddress: integer(1, MOST),
  handshakeTimeout: integer(1, LONGEST, 'milliseconds'),
  pingInterval: integer(0, LONGEST, 'milliseconds'),
  idleTimeout: integer(0, LONGEST, 'milliseconds'),
  closeTimeout: integer(0, LONGEST, 'milliseconds'),
  compression: (call, name, value) => {
    if (typeof value === 'boolean') return
    if (typeof value !== 'object' || value === null) throw argumentError(call, name, 'a boolean or an object', value)
    checkOptions(call, value, compressionChecks, `${name}.`)
  },
  flow: oneOf('bare', 'credit'),
  maxInboxBytes: integer(1, MOST, 'bytes'),
  highWaterMark: integer(0, MOST, 'bytes'),
  maxQueuedBytes: integer(0, MOST, 'bytes'),
  maxQueuedBytesTotal: integer(0, MOST, 'bytes'),
  overflow: oneOf('abort', 'pause'),
  connect: (call, name, value) => {
    if (typeof value !== 'function') checkConnect(call, name, value as WsConnectOptions)
  },
  files: notEmpty,
  maxBody: integer(0, MOST, 'bytes'),
  answerTimeout: integer(1, LONGEST, 'milliseconds'),
  buffers: keptBuffersCheck,
}

const ports = 'ports and paths are no options: they are in the topics of endpoints, wsListener(port, path) to ' +
  'listen, and wsAddress(url) to connect'
const elsewhere: Elsewhere = {
  port: ports,
  ports,
  path: ports,
  paths: ports,
  url: ports,
  origin: "which pages may connect is said by 'origins'",
  credit: "flow control is asked for by flow: 'credit'",
  server: 'the driver has a server of its own; files and requests of HTTP are served on its port, too',
}

/** @throws TypeError or RangeError for the first option that is unknown or wrong */
export function settingsOf(call: string, options: WebSocketOptions): WebSocketSettings {
  checkOptions(call, options, checks, 'options.', elsewhere)
  const { key, cert, passphrase, compression = false, maxPayload = 1024 * 1024, pingInterval = 30_000 } = options
  const { idleTimeout = 120_000, buffers = defaultBuffers() } = options
  if ((key === undefined) !== (cert === undefined)) {
    throw argumentError(call, 'options', 'given both of key and cert, or none', key === undefined ? 'cert' : 'key')
  }
  if (idleTimeout > 0 && pingInterval >= idleTimeout) {
    throw argumentError(call, 'options.pingInterval', `less than idleTimeout, which is ${idleTimeout}`, pingInterval)
  }
  return {
    carrier: options.carrier ?? 'auto',
    host: options.host,
    origins: options.origins,
    verify: options.verify,
    protocols: options.protocols,
    keptHeaders: options.headers ?? [],
    tls: key === undefined || cert === undefined ? undefined : { key, cert, passphrase },
    maxPayload,
    maxConnections: options.maxConnections,
    maxConnectionsPerAddress: options.maxConnectionsPerAddress ?? Infinity,
    maxHeaderSize: HEADER_MAX,
    handshakeTimeout: options.handshakeTimeout ?? 10_000,
    pingInterval,
    idleTimeout,
    closeTimeout: options.closeTimeout ?? 10_000,
    compression: compressionOf(compression),
    credit: options.flow === 'credit',
    maxInboxBytes: options.maxInboxBytes ?? Math.max(4 * 1024 * 1024, maxPayload),
    highWaterMark: options.highWaterMark ?? 1024 * 1024,
    maxQueuedBytes: options.maxQueuedBytes ?? QUEUED_BYTES_MAX,
    maxQueuedBytesTotal: options.maxQueuedBytesTotal ?? QUEUED_BYTES_MAX_TOTAL,
    pauses: options.overflow === 'pause',
    connect: options.connect,
    files: options.files,
    maxBody: options.maxBody ?? 1024 * 1024,
    answerTimeout: options.answerTimeout ?? 30_000,
    isolates: buffers === 'isolated',
  }
}

function compressionOf(wanted: boolean | WsCompression): CompressionSettings | undefined {
  if (wanted === false) return undefined
  const { threshold = 1024, maxConnections = 1000 } = wanted === true ? {} : wanted
  return { threshold, maxConnections }
}

/**
 * What `node:tls` needs of a socket that it is put on, and doesn't get from a mere stream: the addresses,
 * `ref` and `unref`, the kernel's options, the error that ended the connection, and all input from then on.
 *
 * Over a socket that is not Node's own, a TLSSocket has one more of Node's sockets in between, which moves
 * the bytes by way of 'data' and `write`. Node asks that one's handle for all the rest, and it has nothing
 * but bytes. This file gives it what is missing, for our sockets only.
 *
 * Owns the change to `TLSSocket.prototype._init`, where Node's three sockets meet. It is made when the first
 * of our sockets is about to get TLS: programs without TLS don't load it.
 */
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import type * as nodeNet from 'node:net'
import type * as nodeTls from 'node:tls'
import type { NetSocket } from './net-socket.js'
import type { Layer } from './reader.js'

/** Node's socket in between, and the handle that it gives to TLS. */
interface Between {
  readonly _handle: BetweenHandle | null
  readStart(): number
  readStop(): number
}

interface BetweenHandle {
  readBuffer(data: Uint8Array): void
  emitEOF(): void
}

interface Upper {
  _parent: unknown
  connecting: boolean
  emit(event: 'connect'): boolean
  destroy(error?: Error): unknown
}

type Init = (this: Upper, socket?: unknown, between?: Between) => void

const { ENOTCONN } = constants.errno

function isOurs(socket: unknown): socket is NetSocket {
  return typeof socket === 'object' && socket !== null && '_nativeReader' in socket
}

function isBetween(value: Between | undefined): value is Between {
  const handle = value?._handle as Partial<BetweenHandle> | null | undefined
  return typeof handle?.readBuffer === 'function' && typeof handle.emitEOF === 'function'
}

/** As libuv's: fills `out`. Returns 0, or a negative errno. */
function tell(out: object, address: Partial<nodeNet.AddressInfo>): number {
  if (address.address === undefined) return -ENOTCONN
  Object.assign(out, address)
  return 0
}

/** What Node calls at a connection's handle. Times are seconds. */
function handleOf(socket: NetSocket): object {
  return {
    getpeername: (out: object) => tell(out, socket._getpeername()),
    getsockname: (out: object) => tell(out, socket._getsockname()),
    ref: () => { socket.ref() },
    unref: () => { socket.unref() },
    setNoDelay: (on: unknown) => {
      socket.setNoDelay(on)
      return 0
    },
    setKeepAlive: (on: unknown, delay: unknown, interval?: unknown, count?: unknown) => {
      const milliseconds = interval === undefined ? undefined : Number(interval) * 1000
      socket.setKeepAlive(on, Number(delay) * 1000, milliseconds, count)
      return 0
    },
  }
}

/** The input of a socket under TLS: what comes while TLS doesn't read waits here. */
class InputLayer implements Layer {
  readonly #socket: NetSocket
  readonly #upper: Upper
  readonly #between: Between
  #reading = true
  #unread: Buffer[] = []
  #ended = false
  #told = false

  constructor(socket: NetSocket, upper: Upper, between: Between) {
    this.#socket = socket
    this.#upper = upper
    this.#between = between
  }

  received(data: Buffer): void {
    if (this.#reading && this.#unread.length === 0) this.#between._handle?.readBuffer(data)
    else this.#unread.push(data)
  }

  ended(): void {
    this.#ended = true
    this.#goOn()
  }

  failed(error: Error): void {
    this.#upper.destroy(error)
  }

  readStart(): void {
    if (this.#reading) return
    this.#reading = true
    this.#socket._nativeReader.layerReads(true)
    // TLS has not returned yet from asking for it.
    if (this.#unread.length > 0 || this.#ended) process.nextTick(() => { this.#goOn() })
  }

  readStop(): void {
    if (!this.#reading) return
    this.#reading = false
    this.#socket._nativeReader.layerReads(false)
  }

  #goOn(): void {
    while (this.#reading) {
      const data = this.#unread.shift()
      if (data === undefined) break
      this.#between._handle?.readBuffer(data)
    }
    if (!this.#ended || this.#told || this.#unread.length > 0) return
    this.#told = true
    this.#between._handle?.emitEOF()
  }
}

function layOver(socket: NetSocket, upper: Upper, between: Between): void {
  const layer = new InputLayer(socket, upper, between)
  Object.assign(between._handle as object, handleOf(socket))
  // Node looks them up at each call.
  between.readStart = () => {
    layer.readStart()
    return 0
  }
  between.readStop = () => {
    layer.readStop()
    return 0
  }
  socket._nativeReader.layOver(layer)
  // As over a socket of Node's own, which it knows by its class.
  upper._parent = socket
  upper.connecting = socket.connecting || socket._handle === null
  socket.once('connect', () => {
    upper.connecting = false
    upper.emit('connect')
  })
  // Before the program's own listeners hear of it.
  socket.once('close', () => { upper.destroy() })
}

let prepared = false

function prepare(): void {
  prepared = true
  const { TLSSocket } = createRequire(import.meta.url)('node:tls') as typeof nodeTls
  const prototype = TLSSocket.prototype as unknown as { _init: Init }
  const init = prototype._init
  prototype._init = function (socket, between): void {
    init.call(this, socket, between)
    if (isOurs(socket) && isBetween(between)) layOver(socket, this, between)
  }
}

/**
 * Of every listener of a socket's 'data'. Node's socket in between, which comes before its TLSSocket, has one
 * that is known by this name and what it calls.
 */
export function noticeDataListener(listener: unknown): void {
  if (prepared || typeof listener !== 'function' || listener.name !== 'ondata') return
  if (String(listener).includes('.readBuffer(')) prepare()
}

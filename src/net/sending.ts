/**
 * Sockets and servers of this module that a program sends to another process: `send` of its child processes,
 * and of `process`, gets Node's own in their place, over a further descriptor of the kernel's socket.
 *
 * Owns these stand-ins, until they are sent. Who receives them has Node's own sockets, as always.
 */
import { ChildProcess } from 'node:child_process'
import * as nodeNet from 'node:net'
import { socketError } from '../support/errors.js'
import { SocketHandle } from './handle.js'
import { ListenHandle, Server } from './server.js'
import { Socket } from './socket.js'

interface SendOptions {
  readonly keepOpen?: boolean
  readonly swallowErrors?: boolean
}

type Done = (error: Error | null) => void
type Send = (message: unknown, handle?: unknown, options?: unknown, callback?: unknown) => boolean

/** A child process, or `process` in one. */
interface Target {
  readonly connected: boolean
  emit(event: 'error', error: Error): unknown
}

/** Node's own in the place of one of ours. */
interface StandIn {
  readonly object: unknown
  close(): void
  /** Another process has it. */
  sent?(): void
}

/** libuv's. */
interface Handle {
  close(): void
}

interface Internals {
  readonly _createServerHandle: (address: null, port: number, kind: number, fd: number) => Handle | number
}

function checked(descriptor: number): number {
  if (descriptor < 0) throw socketError(descriptor, 'dup')
  return descriptor
}

function listenerOf({ listener }: ListenHandle): Handle | undefined {
  const descriptor = listener.duplicate?.()
  if (descriptor === undefined) return undefined
  const { _createServerHandle } = nodeNet as unknown as Internals
  const handle = _createServerHandle(null, 0, -1, checked(descriptor))
  return typeof handle === 'number' ? undefined : handle
}

/** Of a socket; it reads nothing. */
function twinOf(socket: Socket): nodeNet.Socket | undefined {
  const descriptor = socket._nativeDuplicate()
  if (descriptor === undefined) return undefined
  const options = { fd: checked(descriptor), pauseOnCreate: true }
  const twin = new nodeNet.Socket(options)
  // Node counts what a server has in other processes.
  Object.assign(twin, { server: socket.server })
  return twin
}

/** Undefined: there is nothing to be sent any more. */
function standInOf(ours: Socket | Server | SocketHandle | ListenHandle): StandIn | undefined {
  if (ours instanceof Socket) {
    const twin = twinOf(ours)
    if (twin === undefined) return undefined
    return { object: twin, close: () => { twin.destroy() }, sent: () => { ours._nativeGiveAway() } }
  }
  if (ours instanceof SocketHandle) {
    const twin = twinOf(ours.owner as unknown as Socket)
    if (twin === undefined) return undefined
    return { object: (twin as unknown as { _handle: Handle })._handle, close: () => { twin.destroy() } }
  }
  const isServer = ours instanceof Server
  const of = isServer ? (ours as unknown as { _handle: object | null })._handle : ours
  const handle = of instanceof ListenHandle ? listenerOf(of) : undefined
  if (handle === undefined) return undefined
  const close = (): void => { handle.close() }
  if (!isServer) return { object: handle, close }
  return { object: Object.assign(new nodeNet.Server(), { _handle: handle }), close }
}

/** A server that has Node's own sockets, or none yet, is sent as Node's. */
function isOurs(handle: unknown): handle is Socket | Server | SocketHandle | ListenHandle {
  if (handle instanceof Server) {
    return (handle as unknown as { _handle: unknown })._handle instanceof ListenHandle
  }
  return handle instanceof Socket || handle instanceof SocketHandle || handle instanceof ListenHandle
}

function sendStandIn(target: Target, send: Send, args: readonly unknown[], ours: StandIn): boolean {
  const [message] = args
  const [options, callback] = typeof args[2] === 'function' ? [undefined, args[2]] : args.slice(2)
  const { keepOpen = false, swallowErrors = false } = (options ?? {}) as SendOptions
  const done: Done = (error) => {
    ours.close()
    if (typeof callback === 'function') (callback as Done)(error)
    else if (error && !swallowErrors) target.emit('error', error)
  }
  let isSent = false
  try {
    const more = send.call(target, message, ours.object, options, done)
    isSent = true
    if (!keepOpen) ours.sent?.()
    return more
  } finally {
    if (!isSent) ours.close()
  }
}

/** What `send` is for a program whose sockets are ours. */
function withOurs(send: Send): Send {
  return function (this: Target, ...args: unknown[]): boolean {
    const handle = args[1]
    if (!isOurs(handle) || !this.connected) return send.apply(this, args as [unknown])
    const standIn = standInOf(handle)
    if (standIn !== undefined) return sendStandIn(this, send, args, standIn)
    // As Node's, the message comes without it.
    return send.call(this, args[0], undefined, ...args.slice(2))
  }
}

/** Of this thread, from now on; also of children that are started later. */
export function sendOurs(): void {
  if (process.send !== undefined) {
    // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called on the process again
    process.send = Object.assign(withOurs(process.send as Send), process.send) as NonNullable<typeof process.send>
  }
  // Node puts the function on each child that has a channel.
  Object.defineProperty(ChildProcess.prototype, 'send', {
    configurable: true,
    get: () => undefined,
    set(this: ChildProcess, send: Send) {
      const value = withOurs(send)
      Object.defineProperty(this, 'send', { value, writable: true, enumerable: true, configurable: true })
    },
  })
}

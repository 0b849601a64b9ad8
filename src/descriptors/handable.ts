/** What can be handed over to another process, in all its forms, as one. Owns nothing. */
import type { Server } from 'node:net'
import { constants } from 'node:os'
import { argumentError } from '../support/errors.js'
import { adoptability, adoptionError } from '../transport/descriptors.js'
import type { SocketAddress } from '../transport/seam/transport.js'

/** One of its listeners. */
export interface HandableListener {
  /** Where it listens. */
  readonly address: SocketAddress
  /** The kernel's number; undefined on the node transport. */
  readonly descriptor: number | undefined
  /** Another process has it, too, for good. */
  handedOver(): void
}

/** What can be asked of a driver's engine: that which `tcpEngine` makes. */
export interface HandableEngine {
  /** Its listeners that are open now. */
  listening(): readonly HandableListener[]
  /** Stops accepting, and ends when its connections have ended, or that many milliseconds have passed. */
  shutdown(options?: { readonly drainMs?: number | undefined }): Promise<unknown>
}

/**
 * Listeners of a driver, by its engine; a server of `marketplace-native/net` or of `node:net`; or the descriptor of a
 * listening socket, which the program itself stops accepting from.
 */
export type Handable = HandableEngine | Server | number

/** One listener. */
export interface HandedSocket {
  readonly name: string
  readonly fd: number
  readonly address: SocketAddress | undefined
  /** Another process has it for good. */
  handedOver(): void
}

interface ServerInternals {
  readonly _handle?: { readonly fd?: number, readonly listener?: { handedOver?(): void } } | null
  _nativeHandOver?(): Promise<void>
}

function isEngine(value: unknown): value is HandableEngine {
  const { listening, shutdown } = value as Partial<Record<string, unknown>>
  return typeof listening === 'function' && typeof shutdown === 'function'
}

function isServer(value: unknown): value is Server & ServerInternals {
  const { listen, close, address } = value as Partial<Record<string, unknown>>
  return [listen, close, address].every((method) => typeof method === 'function')
}

/** @throws TypeError for what can't be handed over */
export function checkHandable(name: string, value: unknown): void {
  const isObject = typeof value === 'object' && value !== null
  if (isObject && isEngine(value)) return
  if (isObject && isServer(value)) {
    const file = value._nativeHandOver === undefined && typeof value.address() === 'string'
    if (!file) return
    throw argumentError('handOff', name, "no Unix socket of node:net's, which removes its file when it closes", value)
  }
  if (Number.isInteger(value) && (value as number) >= 0) return
  throw argumentError('handOff', name, "a driver's engine, a server or a descriptor", value)
}

function addressOf(server: Server): SocketAddress | undefined {
  const address = server.address()
  if (typeof address === 'string') return { address, family: 'unix', port: 0 }
  return address === null ? undefined : address as SocketAddress
}

/** Its listeners that are open now. */
export function socketsOf(name: string, of: Handable): HandedSocket[] {
  const none = (): void => { /* Nothing to be done. */ }
  if (typeof of === 'number') {
    const kind = adoptability(of, 'listener')
    if (typeof kind === 'number' && kind !== -constants.errno.EEXIST) throw adoptionError(kind, 'listen', of)
    return [{ name, fd: of, address: undefined, handedOver: none }]
  }
  if (isEngine(of)) {
    return of.listening().flatMap((socket) => {
      const { descriptor: fd, address } = socket
      return fd === undefined || fd < 0 ? [] : [{ name, fd, address, handedOver: () => { socket.handedOver() } }]
    })
  }
  const fd = (of as unknown as ServerInternals)._handle?.fd
  return fd === undefined || fd < 0 ? [] : [{ name, fd, address: addressOf(of), handedOver: none }]
}

/** It stops accepting, and ends when its connections have ended. @returns two promises, of the one and of the other */
export function retire(of: Handable, drainMs: number | undefined): { stopped: Promise<void>, drained: Promise<void> } {
  const now = Promise.resolve()
  if (typeof of === 'number') return { stopped: now, drained: now }
  if (isEngine(of)) return { stopped: now, drained: of.shutdown({ drainMs }).then(() => undefined) }
  const server = of as Server & ServerInternals
  if (!server.listening) return { stopped: now, drained: now }
  const drained = new Promise<void>((resolve) => { server.once('close', resolve) })
  if (server._nativeHandOver !== undefined) return { stopped: server._nativeHandOver(), drained }
  server.close()
  return { stopped: now, drained }
}

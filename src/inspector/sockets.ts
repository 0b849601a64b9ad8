/**
 * The sockets of a ground VM's TCP drivers, as JSON: they are looked for, and the kernel is asked, when a client asks.
 *
 * Owns the numbers by which clients name them, and the limits of the list.
 */
import { socketsFrom, type DriverSockets, type OpenSocket } from '../drivers/open-sockets.js'
import type { SocketAddress } from '../support/socket-error.js'
import type { Inspection } from './inspection.js'
import { textOf } from './preview.js'
import type { ListenerRow, SocketRow } from './shown.js'

/** Sockets of one answer. */
const SOCKETS_MAX = 1000

const numbers = new WeakMap<object, number>()
let last = 0

function numberOf(connection: object): number {
  let number = numbers.get(connection)
  if (number === undefined) numbers.set(connection, number = ++last)
  return number
}

function* driversOf({ ground }: Inspection): Generator<DriverSockets> {
  for (const source of ground.activeSources()) {
    const driver = socketsFrom(source)
    if (driver !== undefined) yield driver
  }
}

/** All listeners, and at most 1,000 connections, those first of which most waits to be sent. */
export function socketsView(
  inspection: Inspection,
): { readonly sockets: SocketRow[], readonly listeners: ListenerRow[], readonly left: number } {
  const found: { readonly driver: DriverSockets, readonly socket: OpenSocket, readonly queued: number }[] = []
  const listeners: ListenerRow[] = []
  for (const driver of driversOf(inspection)) {
    for (const socket of driver.openSockets()) found.push({ driver, socket, queued: socket.connection.queuedBytes })
    for (const { name, address } of driver.openListeners()) {
      const { transport = '' } = driver
      listeners.push({ name: textOf(name, inspection.redact), address: addressText(address), transport })
    }
  }
  if (found.length > SOCKETS_MAX) found.sort((a, b) => b.queued - a.queued)
  return {
    sockets: found.slice(0, SOCKETS_MAX).map(({ driver, socket, queued }) => rowOf(inspection, driver, socket, queued)),
    listeners, left: Math.max(0, found.length - SOCKETS_MAX),
  }
}

function rowOf({ redact }: Inspection, driver: DriverSockets, socket: OpenSocket, queued: number): SocketRow {
  const { connection, names, accepted } = socket
  const { held = [], tcp } = socket.info() ?? {}
  return {
    socket: numberOf(connection), transport: driver.transport ?? '', accepted,
    local: addressText(connection.local), remote: addressText(connection.remote),
    name: names === undefined ? '' : `${textOf(names[0], redact)} - ${textOf(names[1], redact)}`,
    queued, held, ...tcp && { tcp },
  }
}

function addressText(address: SocketAddress | undefined): string {
  if (address === undefined) return ''
  const { address: host, family, port } = address
  if (family === 'unix') return host
  // A client of IPv4 at a listener of both.
  const plain = host.replace(/^::ffff:(?=\d+\.)/, '')
  return `${plain.includes(':') ? `[${plain}]` : plain}:${port}`
}

/** Closes a connection. @throws Error when there is no such one */
export function closeSocket(inspection: Inspection, socket: number, reason: unknown): void {
  for (const driver of driversOf(inspection)) {
    for (const { connection } of driver.openSockets()) {
      if (numbers.get(connection) !== socket) continue
      driver.closeSocket(connection, reason)
      return
    }
  }
  throw new Error(`there is no socket ${socket}`)
}

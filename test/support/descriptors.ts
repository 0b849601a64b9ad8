/** Descriptors of every kind for tests that adopt them: opened by Node or another engine, and a number of their own. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { fstatSync, openSync, readdirSync, readlinkSync, renameSync } from 'node:fs'
import * as net from 'node:net'
import { addonOrReason } from '../../src/transport/native/addon.js'

interface Handle {
  readonly fd: number
  close(): void
}

/** libuv's handle of something of Node's. */
export function handleOf(of: unknown): Handle {
  return (of as { _handle: Handle })._handle
}

/** A further descriptor, which is the caller's. */
export function duplicate(fd: number): number {
  const loaded = addonOrReason()
  if (!loaded.ok) throw new Error(loaded.reason)
  const result = loaded.addon.duplicateDescriptor(fd)
  if (result < 0) throw new Error(`dup of ${fd}: ${result}`)
  return result
}

/** Whether it is open. */
export function isOpen(fd: number): boolean {
  try {
    fstatSync(fd)
    return true
  } catch {
    return false
  }
}

/** The sockets that this process has, by their numbers in the kernel, each as often as there are descriptors of it. */
export function openSockets(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      return target.startsWith('socket:') ? [target] : []
    } catch {
      return []
    }
  }).sort()
}

/** A listening socket, by a descriptor, and where it is. */
export async function listeningDescriptor(path?: string): Promise<{ fd: number, port: number }> {
  const server = net.createServer()
  if (path === undefined) server.listen(0, '127.0.0.1')
  else server.listen(path)
  await once(server, 'listening')
  const fd = duplicate(handleOf(server).fd)
  const address = server.address()
  // libuv removes the file, if it finds it.
  if (path !== undefined) renameSync(path, `${path}.kept`)
  server.close()
  await once(server, 'close')
  if (path !== undefined) renameSync(`${path}.kept`, path)
  return { fd, port: typeof address === 'object' && address !== null ? address.port : 0 }
}

/** A connected socket by a descriptor, and the peer. */
export async function connectedDescriptor(path?: string): Promise<{ fd: number, peer: net.Socket }> {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true })
  if (path === undefined) server.listen(0, '127.0.0.1')
  else server.listen(path)
  await once(server, 'listening')
  const address = server.address() as net.AddressInfo | string
  const peer = typeof address === 'string'
    ? net.connect({ path: address, allowHalfOpen: true })
    : net.connect({ port: address.port, host: '127.0.0.1', allowHalfOpen: true })
  const [accepted] = await Promise.all([once(server, 'connection'), once(peer, 'connect')])
  const socket = accepted[0] as net.Socket
  const fd = duplicate(handleOf(socket).fd)
  socket.destroy()
  server.close()
  return { fd, peer }
}

/** Bound, and not listening. */
export function boundDescriptor(): number {
  const { _createServerHandle } = net as unknown as {
    _createServerHandle: (address: string, port: number, kind: number) => Handle
  }
  const handle = _createServerHandle('127.0.0.1', 0, 4)
  const fd = duplicate(handle.fd)
  handle.close()
  return fd
}

/** A socket for datagrams. */
export async function datagramDescriptor(): Promise<number> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { [Object.getOwnPropertySymbols(socket).find((one) => one.description === 'state symbol') as never]: state } =
    socket as unknown as Record<symbol, { handle: Handle }>
  const fd = duplicate(state.handle.fd)
  socket.close()
  return fd
}

/** No socket. */
export function fileDescriptor(): number {
  return openSync('/dev/null', 'r')
}

/** A number that nobody has. */
export function closedDescriptor(): number {
  // Higher than any that the kernel gives by itself.
  return 1_000_000
}

/**
 * `connect` and `listen` as promises, as `node:net/promises` has them in Node's main branch (26.10 has no such module).
 * Owns nothing: a failed or cancelled one leaves no socket behind.
 */
import type { ListenOptions as NetListenOptions, NetConnectOpts, Server, ServerOpts, Socket } from 'node:net'
import { once } from 'node:events'
import { _normalizeArgs, connect as connectSocket, createServer } from './exports.js'
import { checkSignal, invalidType } from './errors.js'

export { BlockList, isIP, isIPv4, isIPv6, SocketAddress } from './exports.js'

/** Options of `net.connect`; with `signal`, what ends the attempt. */
export type ConnectOptions = NetConnectOpts
/**
 * Options of `net.createServer` and of `server.listen`, in one object; without a port or a path it is a free
 * port. With `signal`, what ends the attempt, and later closes the server.
 */
export type ListenOptions = ServerOpts & NetListenOptions & {
  /** Called with each new socket. */
  connectionListener?: ((socket: Socket) => void) | undefined
}

/**
 * Connects.
 *
 * @param options as those of `net.connect`; a string is the path of a Unix socket
 * @returns the socket, connected
 * @throws (rejects) what the socket's 'error' event would have told: ECONNREFUSED, ABORT_ERR, ...
 */
export async function connect(options: ConnectOptions | string): Promise<Socket>
/**
 * Connects.
 *
 * @param port the port, 0 to 65535
 * @param host a name or an address; 'localhost' if it isn't given
 * @returns the socket, connected
 * @throws (rejects) what the socket's 'error' event would have told: ECONNREFUSED, ABORT_ERR, ...
 */
export async function connect(port: number, host?: string): Promise<Socket>
export async function connect(...args: unknown[]): Promise<Socket> {
  const [options] = _normalizeArgs(args) as [NetConnectOpts]
  const { signal } = options
  if (signal !== undefined) checkSignal(signal)
  signal?.throwIfAborted()
  // The socket is not told of the signal, which would end it later as well.
  const socket = connectSocket({ ...options, signal: undefined } as NetConnectOpts)
  try {
    // `once` fails with the 'error' event.
    await once(socket, 'connect', signal === undefined ? {} : { signal })
  } catch (error) {
    socket.destroy()
    throw error
  }
  return socket
}

/**
 * Makes a server and listens.
 *
 * @param options as those of `net.createServer` and of `server.listen`, together
 * @param onConnection called with each new socket: the same as the option `connectionListener`
 * @returns the server, listening; `await using` closes it
 * @throws (rejects) what the server's 'error' event would have told: EADDRINUSE, ...
 */
export async function listen(
  options: ListenOptions = {}, onConnection?: (socket: Socket) => void,
): Promise<Server> {
  if (typeof options !== 'object' || options === null) throw invalidType('options', 'of type object', options)
  const { signal, port, path, connectionListener } = options
  const { fd, handle } = options as { fd?: unknown, handle?: unknown }
  if (signal !== undefined) checkSignal(signal)
  signal?.throwIfAborted()
  const server = createServer(options, onConnection ?? connectionListener)
  const hasTarget = [port, path, fd, handle].some((target) => target !== undefined)
  try {
    server.listen(hasTarget ? options : { ...options, port: 0 })
    await once(server, 'listening', signal === undefined ? {} : { signal })
  } catch (error) {
    // Aborted, it is closed already.
    if (signal?.aborted !== true) server.close()
    throw error
  }
  return server
}

/** `connect` and `listen` as promises. Owns nothing: a failed or cancelled one leaves no socket behind. */
import type { ListenOptions as NetListenOptions, NetConnectOpts, Server, ServerOpts, Socket } from 'node:net'
import { once } from 'node:events'
import { connect as connectSocket, createServer } from './exports.js'

/** Options of `net.connect`; with `signal`, what ends the attempt, and later the socket. */
export type ConnectOptions = NetConnectOpts
/** Options of `net.createServer` and of `server.listen`, in one object. */
export type ListenOptions = ServerOpts & NetListenOptions

/**
 * Connects.
 *
 * @param options as those of `net.connect`
 * @returns the socket, connected
 * @throws (rejects) what the socket's 'error' event would have told: ECONNREFUSED, ABORT_ERR, ...
 */
export async function connect(options: ConnectOptions): Promise<Socket> {
  const socket = connectSocket(options)
  // `once` fails with the 'error' event.
  await once(socket, 'connect')
  return socket
}

/**
 * Makes a server and listens.
 *
 * @param options as those of `net.createServer` and of `server.listen`, together
 * @param onConnection called with each new socket
 * @returns the server, listening; `await using` closes it
 * @throws (rejects) what the server's 'error' event would have told: EADDRINUSE, ...
 */
export async function listen(
  options: ListenOptions, onConnection?: (socket: Socket) => void,
): Promise<Server> {
  const server = createServer(options, onConnection)
  server.listen(options)
  await once(server, 'listening')
  return server
}

/** What errors of sockets are, and the addresses that they name: for all folders. */

/** An address as Node's `server.address()` gives it. */
export interface SocketAddress {
  /** Textual IP address. Of a Unix socket its path, or '' if it has none, as those that connect have. */
  readonly address: string
  /** Which kind of address it is. */
  readonly family: 'IPv4' | 'IPv6' | 'unix'
  /** From 0 to 65535; 0 for a Unix socket. */
  readonly port: number
}

/** An error as Node's socket errors are: `code` 'ECONNREFUSED', `errno` negative, and so on. */
export interface SocketError extends Error {
  /** Name of the error: 'ECONNREFUSED', ... */
  code: string
  /** Negative, as libuv's. */
  errno: number
  /** What failed: 'connect', 'listen', 'read', ... */
  syscall: string
  /** Whose address it was, where there is one. */
  address?: string
  /** And the port. */
  port?: number
  /** Of a connect that tried several addresses: the error of each attempt, in the order of failing. */
  errors?: readonly SocketError[]
}

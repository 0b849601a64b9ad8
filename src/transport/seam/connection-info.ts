/** What is known of one connection when somebody looks: its form, and what the engine's words mean. Owns nothing. */
import type { SocketAddress } from '../../support/socket-error.js'
import { ConnectionInfoWord as Word } from './stats.js'

/** Why nothing is read of a connection at present. */
export type Held = 'paused' | 'no memory' | 'its output is too long' | 'all output is too long' | 'TLS' | 'its rate'

/** What the kernel knows of a TCP connection: see `ConnectionInfoWord`. */
export type TcpInfo = Readonly<Record<Exclude<keyof typeof Word, 'held'>, number>>

/** What is known of one connection. */
export interface ConnectionInfo {
  readonly held: readonly Held[]
  /** A Unix socket has none. */
  readonly tcp: TcpInfo | undefined
}

/** In the order of the engine's bits. */
const HELD: readonly Held[] = [
  'paused', 'no memory', 'its output is too long', 'all output is too long', 'TLS', 'its rate',
]

export function connectionInfoOf(words: Float64Array, remote: SocketAddress | undefined): ConnectionInfo {
  const { held: _held, ...numbers } = Word
  const tcp = Object.fromEntries(Object.entries(numbers).map(([name, word]) => [name, words[word]]))
  return {
    held: HELD.filter((_why, bit) => (words[Word.held] & 2 ** bit) !== 0),
    tcp: remote?.family === 'unix' ? undefined : tcp as unknown as TcpInfo,
  }
}

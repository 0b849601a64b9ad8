/**
 * Socket options as words for the addon, and what the kernel made of them from words.
 * native/binding/options.h describes the layout and is the other side.
 */
import { keepAliveSeconds } from '../seam/socket-options.js'
import type { ListenOptions, SocketOptions, SocketSettings } from '../seam/transport.js'
import type { UdpSocketOptions } from '../seam/udp-transport.js'

const SOCKET_WORDS = 8
const LISTEN_WORDS = 11
/** As Node's. */
const BACKLOG = 511

const Flag = { ipv6Only: 1, reusePort: 2, exclusive: 4, pauseOnAccept: 8 } as const

function fill(words: Int32Array, options: SocketOptions): Int32Array {
  const { noDelay = true, keepAlive = false, userTimeout = 0 } = options
  const { idle, interval, count } = keepAliveSeconds(keepAlive)
  words[0] = noDelay ? 1 : 0
  words[1] = keepAlive === false ? 0 : 1
  words[2] = idle
  words[3] = interval
  words[4] = count
  words[5] = userTimeout
  words[6] = options.sendBufferSize ?? 0
  words[7] = options.receiveBufferSize ?? 0
  return words
}

export function socketWords(options: SocketOptions): Int32Array {
  return fill(new Int32Array(SOCKET_WORDS), options)
}

export function listenWords(options: ListenOptions): Int32Array {
  const { backlog = BACKLOG, ipv6Only, reusePort = false, exclusive, pauseOnAccept, maxConnections } = options
  const words = fill(new Int32Array(LISTEN_WORDS), options)
  words[8] = backlog
  words[9] = (ipv6Only === true ? Flag.ipv6Only : 0)
    | (reusePort === false ? 0 : Flag.reusePort)
    | (exclusive === true ? Flag.exclusive : 0)
    | (pauseOnAccept === true ? Flag.pauseOnAccept : 0)
  words[10] = maxConnections ?? -1
  return words
}

/** The same of a socket for datagrams; -1 leaves a setting as the system has it. */
export function udpWords(
  options: UdpSocketOptions, maxDatagramSize: number, maxQueuedBytes: number,
): Int32Array {
  const flag = (value: boolean | undefined): number => (value === undefined ? -1 : value ? 1 : 0)
  return Int32Array.of(
    flag(options.ipv6Only), flag(options.reuseAddress), flag(options.broadcast), options.ttl ?? -1,
    options.multicastTTL ?? -1, flag(options.multicastLoopback), options.receiveBufferSize ?? -1,
    options.sendBufferSize ?? -1, maxDatagramSize, maxQueuedBytes,
  )
}

/** The settings that `ask` writes into the words it is given. */
export function askSettings(ask: (words: Int32Array) => number): SocketSettings | undefined {
  const words = new Int32Array(SOCKET_WORDS)
  if (ask(words) < 0) return undefined
  const keepAlive = { idle: words[2] * 1000, interval: words[3] * 1000, count: words[4] }
  return {
    noDelay: words[0] !== 0,
    keepAlive: words[1] !== 0 && keepAlive,
    userTimeout: words[5],
    sendBufferSize: words[6],
    receiveBufferSize: words[7],
  }
}

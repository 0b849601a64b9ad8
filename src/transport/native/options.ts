/**
 * Socket options as words for the addon, and what the kernel made of them from words.
 * layout.ts has the order of the words; native/binding/options.h is the other side.
 */
import { keepAliveSeconds } from '../seam/socket-options.js'
import type { ListenOptions, SocketOptions, SocketSettings } from '../seam/transport.js'
import type { UdpSocketOptions } from '../seam/udp-transport.js'
import { rangeWords } from '../seam/prefix.js'
import type { FullLimits } from '../seam/limits.js'
import {
  LIMITS_WORDS, LimitsWord, LISTEN_WORDS, ListenWord, SOCKET_WORDS, SocketWord, UDP_WORDS, UdpWord,
} from './layout.js'

/** As Node's. */
const BACKLOG = 511

function fill(words: Int32Array, options: SocketOptions): Int32Array {
  const { noDelay = true, keepAlive = false, userTimeout = 0 } = options
  const { idle, interval, count } = keepAliveSeconds(keepAlive)
  words[SocketWord.noDelay] = noDelay ? 1 : 0
  words[SocketWord.keepAlive] = keepAlive === false ? 0 : 1
  words[SocketWord.keepAliveIdle] = idle
  words[SocketWord.keepAliveInterval] = interval
  words[SocketWord.keepAliveCount] = count
  words[SocketWord.userTimeout] = userTimeout
  words[SocketWord.sendBufferSize] = options.sendBufferSize ?? 0
  words[SocketWord.receiveBufferSize] = options.receiveBufferSize ?? 0
  return words
}

export function socketWords(options: SocketOptions): Int32Array {
  return fill(new Int32Array(SOCKET_WORDS), options)
}

export function listenWords(options: ListenOptions): Int32Array {
  const { backlog = BACKLOG, ipv6Only, reusePort = false, exclusive, pauseOnAccept } = options
  const words = fill(new Int32Array(LISTEN_WORDS), options)
  words[ListenWord.backlog] = backlog
  words[ListenWord.ipv6Only] = ipv6Only === true ? 1 : 0
  words[ListenWord.reusePort] = reusePort === false ? 0 : 1
  words[ListenWord.exclusive] = exclusive === true ? 1 : 0
  words[ListenWord.pauseOnAccept] = pauseOnAccept === true ? 1 : 0
  return words
}

export function limitsWords(limits: FullLimits): Int32Array {
  const { maxConnections, acceptRate, acceptRatePerPrefix, receiveRate, prefixLength } = limits
  const words = new Int32Array(LIMITS_WORDS)
  words[LimitsWord.maxConnections] = maxConnections === Infinity ? -1 : maxConnections
  words[LimitsWord.connectionsPerPrefix] = limits.connectionsPerPrefix
  words[LimitsWord.acceptRate] = acceptRate.perSecond
  words[LimitsWord.acceptBurst] = acceptRate.burst
  words[LimitsWord.prefixRate] = acceptRatePerPrefix.perSecond
  words[LimitsWord.prefixBurst] = acceptRatePerPrefix.burst
  words[LimitsWord.receiveRate] = receiveRate.perSecond
  words[LimitsWord.receiveBurst] = receiveRate.burst
  words[LimitsWord.prefixLength4] = prefixLength.ipv4
  words[LimitsWord.prefixLength6] = prefixLength.ipv6
  words[LimitsWord.maxIdlePrefixes] = limits.maxIdlePrefixes
  words[LimitsWord.firstByteTimeout] = limits.firstByteTimeout
  words[LimitsWord.frameTimeout] = limits.frameTimeout
  words[LimitsWord.pauseAbove] = limits.pauseAbove
  return words
}

/** Peers that the limits of prefixes are not for. */
export function exemptWords({ exempt }: FullLimits): Int32Array | undefined {
  return exempt.length === 0 ? undefined : rangeWords(exempt)
}

/** The same of a socket for datagrams; -1 leaves a setting as the system has it. */
export function udpWords(
  options: UdpSocketOptions, maxDatagramSize: number, maxQueuedBytes: number,
): Int32Array {
  const flag = (value: boolean | undefined): number => (value === undefined ? -1 : value ? 1 : 0)
  const words = new Int32Array(UDP_WORDS)
  words[UdpWord.ipv6Only] = flag(options.ipv6Only)
  words[UdpWord.reuseAddress] = flag(options.reuseAddress)
  words[UdpWord.broadcast] = flag(options.broadcast)
  words[UdpWord.ttl] = options.ttl ?? -1
  words[UdpWord.multicastTTL] = options.multicastTTL ?? -1
  words[UdpWord.multicastLoopback] = flag(options.multicastLoopback)
  words[UdpWord.receiveBufferSize] = options.receiveBufferSize ?? -1
  words[UdpWord.sendBufferSize] = options.sendBufferSize ?? -1
  words[UdpWord.maxDatagramSize] = maxDatagramSize
  words[UdpWord.maxQueuedBytes] = maxQueuedBytes
  return words
}

/** The settings that `ask` writes into the words it is given. */
export function askSettings(ask: (words: Int32Array) => number): SocketSettings | undefined {
  const words = new Int32Array(SOCKET_WORDS)
  if (ask(words) < 0) return undefined
  const keepAlive = {
    idle: words[SocketWord.keepAliveIdle] * 1000,
    interval: words[SocketWord.keepAliveInterval] * 1000,
    count: words[SocketWord.keepAliveCount],
  }
  return {
    noDelay: words[SocketWord.noDelay] !== 0,
    keepAlive: words[SocketWord.keepAlive] !== 0 && keepAlive,
    userTimeout: words[SocketWord.userTimeout],
    sendBufferSize: words[SocketWord.sendBufferSize],
    receiveBufferSize: words[SocketWord.receiveBufferSize],
  }
}

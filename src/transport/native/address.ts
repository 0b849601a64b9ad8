/**
 * Socket addresses as the engine gives them, in words, and as Node gives them, in text.
 * Owns nothing; text is made only when somebody asks for it.
 */
import { networkInterfaces } from 'node:os'
import type { SocketAddress } from '../seam/transport.js'
import { Family, ZONE_ELSEWHERE, ZONE_SHIFT } from './layout.js'

/** Of the first word: all but the zone. */
const ZONELESS = (1 << ZONE_SHIFT) - 1

/** Texts of addresses that were asked for lately: many connections come from few hosts, such as a proxy's. */
const TEXTS = 256
const textWords = new Int32Array(TEXTS)
const texts = new Array<string>(TEXTS).fill('0.0.0.0')

/** The text of an IPv4 address in one word, most significant byte first. */
function ipv4Text(word: number): string {
  const place = (word ^ (word >>> 8) ^ (word >>> 16) ^ (word >>> 24)) & (TEXTS - 1)
  if (textWords[place] !== word) {
    textWords[place] = word
    texts[place] = `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`
  }
  return texts[place]
}

/** The longest run of two or more zero groups, as `[start, length]`; the first one of equals. */
function zeroRun(groups: readonly number[]): readonly [number, number] {
  let best = 0
  let bestLength = 0
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && groups[i + length] === 0) length++
    if (length > bestLength) {
      best = i
      bestLength = length
    }
    i += length
  }
  return bestLength < 2 ? [8, 0] : [best, bestLength]
}

function hex(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(':')
}

/** As inet_ntop writes it: lower case, the longest run of zeros left out, embedded IPv4 dotted. */
function ipv6Text(words: readonly number[]): string {
  const groups = words.flatMap((word) => [word >>> 16, word & 0xffff])
  const [start, length] = zeroRun(groups)
  if (start === 0 && (length === 6 || (length === 5 && groups[5] === 0xffff))) {
    return `::${length === 5 ? 'ffff:' : ''}${ipv4Text(words[3])}`
  }
  if (length === 0) return hex(groups)
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`
}

/** The address of a Unix socket. */
export function unixAddress(path: string): SocketAddress {
  return { address: path, family: 'unix', port: 0 }
}

/** The zone of a link-local address by its number, as Node has it: the name of the interface. */
export function withZone(address: SocketAddress, zone: number): SocketAddress {
  if (zone === 0) return address
  const named = Object.entries(networkInterfaces()).find(
    ([, entries]) => entries?.some((entry) => entry.family === 'IPv6' && entry.scopeid === zone),
  )
  return { ...address, address: `${address.address}%${named?.[0] ?? zone}` }
}

/**
 * The five words that the engine makes of an address (`Address::pack` in native/engine/address.h).
 *
 * @param portAndFamily port in the low half; above it three bits, which are 4, 6 or, for a Unix socket, 1;
 *   above these the zone
 */
export function socketAddress(
  portAndFamily: number, a: number, b: number, c: number, d: number,
): SocketAddress {
  const port = portAndFamily & 0xffff
  const family = (portAndFamily >>> 16) & 7
  const zone = portAndFamily >>> ZONE_SHIFT
  if (zone === ZONE_ELSEWHERE) return withZone(socketAddress(portAndFamily & ZONELESS, a, 0, c, d), b >>> 0)
  if (zone !== 0) return withZone(socketAddress(portAndFamily & ZONELESS, a, b, c, d), zone)
  // Who connects has no path, mostly; that of a listener is known.
  if (family === Family.unix) return unixAddress('')
  return family === Family.ipv6
    ? { address: ipv6Text([a, b, c, d]), family: 'IPv6', port }
    : { address: ipv4Text(a), family: 'IPv4', port }
}

/** The same of the words that begin at one of these. */
export function socketAddressIn(words: Int32Array, at: number): SocketAddress {
  return socketAddress(words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4])
}

/**
 * Prefixes of IP addresses, as peers are counted by, and ranges of addresses. Owns nothing.
 *
 * An IPv4 address within IPv6 (`::ffff:192.0.2.1`) is the IPv4 address. The peers of a Unix socket have no address:
 * all of them have one prefix. native/engine/prefix.h does the same.
 */
import { isIP } from 'node:net'
import type { SocketAddress } from '../../support/socket-error.js'

/** How many bits of an address count. */
export interface PrefixLength {
  /** Of IPv4, from 0 to 32. Default 32: each address for itself. */
  readonly ipv4?: number | undefined
  /** Of IPv6, from 0 to 128. Default 64: what is given to one customer, at least. */
  readonly ipv6?: number | undefined
}

/** Of IPv6's form: 8 groups of 16 bits. */
type Groups = readonly number[]

const GROUPS = 8
const GROUP_BITS = 16
const V4_BEGIN = 96
const V4_GROUPS = 6

/** An address and how many bits of it count; `words` are those of native/engine/address.h. */
export interface PrefixRange {
  readonly isIPv4: boolean
  readonly bits: number
  readonly groups: Groups
}

function isWithinIPv6(groups: Groups): boolean {
  return groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)
}

function ofIPv4(text: string): number[] {
  const [a, b, c, d] = text.split('.').map(Number)
  return [(a << 8) | b, (c << 8) | d]
}

/** Of an address that is one. */
function groupsOf(address: string): Groups {
  if (!address.includes(':')) return [0, 0, 0, 0, 0, 0xffff, ...ofIPv4(address)]
  const [plain] = address.split('%')
  const parts = (text: string): number[] => text === '' ? [] : text.split(':').flatMap((part) =>
    part.includes('.') ? ofIPv4(part) : [parseInt(part, 16)])
  const [front, back] = plain.split('::') as [string, string?]
  if (back === undefined) return parts(front)
  const [first, last] = [parts(front), parts(back)]
  return [...first, ...new Array<number>(GROUPS - first.length - last.length).fill(0), ...last]
}

function cut(groups: Groups, bits: number): Groups {
  return groups.map((group, i) => {
    const left = bits - i * GROUP_BITS
    return left >= GROUP_BITS ? group : left <= 0 ? 0 : group & (0xffff << (GROUP_BITS - left))
  })
}

/** What peers with the same prefix have in common. */
export function prefixOf({ address, family }: SocketAddress, { ipv4 = 32, ipv6 = 64 }: PrefixLength): string {
  if (family === 'unix' || isIP(address) === 0) return ''
  const groups = groupsOf(address)
  return cut(groups, isWithinIPv6(groups) ? V4_BEGIN + ipv4 : ipv6).join()
}

/** Reads `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`; undefined if it is nothing like that. */
export function prefixRange(text: string): PrefixRange | undefined {
  const [, address = '', length] = /^([^/%]*)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0) return undefined
  const isIPv4 = version === 4
  const most = isIPv4 ? 32 : 128
  const bits = (length as string | undefined) === undefined ? most : Number(length)
  if (bits > most) return undefined
  return { isIPv4, bits, groups: groupsOf(address) }
}

/** Whether an address is in a range. */
export function isInRange({ isIPv4, bits, groups }: PrefixRange, { address, family }: SocketAddress): boolean {
  if (family === 'unix' || isIP(address) === 0) return false
  const all = isIPv4 ? V4_BEGIN + bits : bits
  const there = cut(groups, all)
  return cut(groupsOf(address), all).every((group, i) => group === there[i])
}

/** Ranges as words for the addon: six for each. */
export function rangeWords(ranges: readonly PrefixRange[]): Int32Array {
  const words = ranges.flatMap(({ isIPv4, bits, groups }) => {
    const pairs = [0, 2, 4, 6].map((i) => (groups[i] << GROUP_BITS) | groups[i + 1])
    const address = isIPv4 ? [(groups[V4_GROUPS] << GROUP_BITS) | groups[V4_GROUPS + 1], 0, 0, 0] : pairs
    return [isIPv4 ? 1 : 0, bits, ...address]
  })
  return Int32Array.from(words)
}

/**
 * The PROXY protocol, versions 1 and 2: who the client is, said in front of what it says. Parsing is strict,
 * as what it says is believed: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
 */
import ipaddr from 'ipaddr.js'
import { isIP } from 'node:net'
import { tcpAddress, type TcpAddress } from 'marketplace-native'

export type ProxyVersion = 'v1' | 'v2'

/** From whom to whom; `undefined`: the proxy doesn't know, or speaks for itself. */
export type Ends = { readonly source: TcpAddress, readonly destination: TcpAddress } | undefined

/** What a header said, and the bytes behind it; or how many bytes there have to be before that is known. */
export type Parsed = { readonly ends: Ends, readonly rest: Buffer } | { readonly need: number }

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const V1_MAX = 107
const V2_START = 16
/** Header and addresses, and what other parties may have to add (TLVs, which are skipped). */
const V2_MAX = V2_START + 4096

/** @throws Error that says what is wrong with the header */
export function parseProxyHeader(bytes: Buffer): Parsed {
  const known = Math.min(bytes.length, SIGNATURE.length)
  if (known > 0 && bytes.subarray(0, known).equals(SIGNATURE.subarray(0, known))) return parseV2(bytes)
  const begin = 'PROXY '.slice(0, bytes.length)
  if (bytes.toString('latin1', 0, begin.length) !== begin) throw new Error('it does not begin as one')
  return parseV1(bytes)
}

function port(text: string): number {
  const value = /^(0|[1-9]\d{0,4})$/.test(text) ? Number(text) : NaN
  if (!(value <= 65_535)) throw new Error(`"${text}" is no port`)
  return value
}

function parseV1(bytes: Buffer): Parsed {
  const end = bytes.subarray(0, V1_MAX).indexOf('\r\n')
  if (end < 0) {
    if (bytes.length >= V1_MAX) throw new Error(`its line does not end within ${V1_MAX} bytes`)
    return { need: bytes.length + 1 }
  }
  const rest = bytes.subarray(end + 2)
  const line = bytes.toString('latin1', 0, end)
  if (/^PROXY UNKNOWN( |$)/.test(line)) return { ends: undefined, rest }
  const words = line.split(' ')
  const [, protocol, from, to, fromPort, toPort] = words
  const family = protocol === 'TCP4' ? 4 : protocol === 'TCP6' ? 6 : 0
  if (family === 0) throw new Error(`the protocol "${protocol}" is not known`)
  if (words.length !== 6) throw new Error(`it has ${words.length} words instead of 6`)
  for (const address of [from, to]) {
    // `isIP` takes zones, which mean something on the sender's machine only, and are not in the protocol.
    if (isIP(address) !== family || address.includes('%')) {
      throw new Error(`"${address}" is no address of ${protocol}`)
    }
  }
  const ends = { source: tcpAddress(from, port(fromPort)), destination: tcpAddress(to, port(toPort)) }
  return { ends, rest }
}

function parseV2(bytes: Buffer): Parsed {
  if (bytes.length < V2_START) return { need: V2_START }
  const [versionAndCommand, familyAndProtocol] = bytes.subarray(SIGNATURE.length)
  const length = V2_START + bytes.readUInt16BE(14)
  if (versionAndCommand >> 4 !== 2) throw new Error(`its version is ${versionAndCommand >> 4}`)
  const command = versionAndCommand & 15
  if (command > 1) throw new Error(`its command is ${command}`)
  if (length > V2_MAX) throw new Error(`it has ${length} bytes, more than ${V2_MAX}`)
  if (bytes.length < length) return { need: length }
  const rest = bytes.subarray(length)
  // The proxy's own connection, such as a check: whatever the addresses say.
  if (command === 0) return { ends: undefined, rest }
  if (familyAndProtocol >> 4 > 3 || (familyAndProtocol & 15) > 2) {
    throw new Error(`its family and protocol are 0x${familyAndProtocol.toString(16)}`)
  }
  const size = { 0x11: 4, 0x21: 16 }[familyAndProtocol]
  if (size === undefined) return { ends: undefined, rest }
  const addresses = bytes.subarray(V2_START, length)
  if (addresses.length < 2 * size + 4) throw new Error('its addresses are cut off')
  const end = (at: number, portAt: number) => {
    const host = ipaddr.fromByteArray([...addresses.subarray(at, at + size)]).toString()
    return tcpAddress(host, addresses.readUInt16BE(portAt))
  }
  return { ends: { source: end(0, 2 * size), destination: end(size, 2 * size + 2) }, rest }
}

/** Both addresses in one family: an IPv4 address beside an IPv6 one is written as that. */
function sameFamily({ source, destination }: NonNullable<Ends>): (ipaddr.IPv4 | ipaddr.IPv6)[] {
  // Without zones, which mean something on this machine only.
  const both = [source, destination].map(({ host }) => ipaddr.process(host.replace(/%.*/, '')))
  if (both[0].kind() === both[1].kind()) return both
  return both.map((one) => (one instanceof ipaddr.IPv4 ? one.toIPv4MappedAddress() : one))
}

/** The header to be sent to a backend. */
export function proxyHeader(version: ProxyVersion, ends: Ends): Buffer {
  if (ends === undefined) {
    if (version === 'v1') return Buffer.from('PROXY UNKNOWN\r\n')
    return Buffer.concat([SIGNATURE, Buffer.of(0x21, 0, 0, 0)])
  }
  const addresses = sameFamily(ends)
  const v6 = addresses[0].kind() === 'ipv6'
  const ports = [ends.source.port, ends.destination.port]
  if (version === 'v1') {
    return Buffer.from(`PROXY TCP${v6 ? 6 : 4} ${addresses.join(' ')} ${ports.join(' ')}\r\n`)
  }
  const body = Buffer.from([
    ...addresses.flatMap((one) => one.toByteArray()), ...ports.flatMap((each) => [each >> 8, each & 255]),
  ])
  const start = Buffer.of(0x21, v6 ? 0x21 : 0x11, body.length >> 8, body.length & 255)
  return Buffer.concat([SIGNATURE, start, body])
}

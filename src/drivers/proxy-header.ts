/**
 * The PROXY protocol, versions 1 and 2: what a load balancer says first on a connection, of whom the connection
 * really is. Reads and writes such headers; owns nothing.
 *
 * Source: "The PROXY protocol, versions 1 & 2", HAProxy Technologies (proxy-protocol.txt, 2020/03/05 and later).
 */
import { isIP, isIPv4, isIPv6 } from 'node:net'
import { checkOptions, ofType, type Checks } from '../support/checks.js'
import { argumentError, rangeError } from '../support/errors.js'
import { crc32c } from '../support/crc32c.js'

/** Where a connection comes from, or goes to, by a header. */
export interface ProxyEnd {
  /** As text; of a Unix socket its path. */
  readonly host: string
  /** 0 for a Unix socket. */
  readonly port: number
}

/** One more thing that a header of version 2 says. */
export interface ProxyTlv {
  /** From 0 to 255. */
  readonly type: number
  /** A copy of what was sent. */
  readonly value: Buffer
}

/** What the balancer says of TLS between the client and itself. */
export interface ProxySsl {
  /** The client has shown a certificate, on this connection or in this session. */
  readonly clientCertificate: boolean
  /** It has shown one, and that was verified. */
  readonly verified: boolean
  /** `TLSv1.3` */
  readonly version: string | undefined
  /** As OpenSSL calls it. */
  readonly cipher: string | undefined
  /** Of the client's certificate. */
  readonly commonName: string | undefined
}

/** A header that was read. */
export interface ProxyHeader {
  /** Of the protocol. */
  readonly version: 1 | 2
  /** `local`: the balancer speaks for itself, as with a health check. */
  readonly command: 'proxy' | 'local'
  /** Of both addresses. */
  readonly family: 'IPv4' | 'IPv6' | 'unix' | 'unknown'
  /** How the client has connected to the balancer. */
  readonly transport: 'stream' | 'datagram' | 'unknown'
  /** Who has connected; undefined where the header doesn't say. */
  readonly source: ProxyEnd | undefined
  /** To what. */
  readonly destination: ProxyEnd | undefined
  /** All of them, as they came. */
  readonly tlvs: readonly ProxyTlv[]
  /** The application protocol that was agreed upon, such as `h2`. */
  readonly alpn: string | undefined
  /** The host name that the client has asked for (SNI). */
  readonly authority: string | undefined
  /** The balancer's name for the connection. */
  readonly uniqueId: Buffer | undefined
  /** The network namespace. */
  readonly netns: string | undefined
  /** What the balancer says of the client's TLS. */
  readonly ssl: ProxySsl | undefined
  /** The endpoint of AWS's PrivateLink. */
  readonly awsVpcEndpoint: string | undefined
}

/** What the first bytes of a connection are: too few to say, no header, a wrong one, or one. */
export type ProxyRead = ProxyReadPart | ProxyReadOther | ProxyReadWrong | ProxyReadHeader

/** There are too few bytes to say. */
export interface ProxyReadPart {
  /** Which it is. */
  readonly is: 'part'
}

/** No header begins so. */
export interface ProxyReadOther {
  /** Which it is. */
  readonly is: 'other'
}

/** A header that is wrong. */
export interface ProxyReadWrong {
  /** Which it is. */
  readonly is: 'wrong'
  /** What is wrong with it. */
  readonly why: string
}

/** A header. */
export interface ProxyReadHeader {
  /** Which it is. */
  readonly is: 'header'
  /** What it says. */
  readonly header: ProxyHeader
  /** Of how many bytes. */
  readonly length: number
}

const PART: ProxyRead = { is: 'part' }
const OTHER: ProxyRead = { is: 'other' }
const wrong = (why: string): ProxyRead => ({ is: 'wrong', why })

const V1_BEGIN = Buffer.from('PROXY ', 'latin1')
/** With the end of its line. */
const V1_MAX = 107
const V2_BEGIN = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const V2_FIXED = 16
/** Addresses and all. No balancer sends as much; the protocol would allow 65,535. */
export const PROXY_HEADER_MAX = 8192

const IPV4 = 0x1
const IPV6 = 0x2
const UNIX = 0x3
const FAMILIES = ['unknown', 'IPv4', 'IPv6', 'unix'] as const
const TRANSPORTS = ['unknown', 'stream', 'datagram'] as const
/** Bytes of both addresses. */
const ADDRESSES = [0, 12, 36, 216] as const
const UNIX_PATH = 108

const TLV = { alpn: 0x01, authority: 0x02, crc32c: 0x03, uniqueId: 0x05, ssl: 0x20, netns: 0x30, aws: 0xea } as const
const UNIQUE_ID_MAX = 128
const SSL = { version: 0x21, commonName: 0x22, cipher: 0x23 } as const
const AWS_VPC_ENDPOINT = 0x01

/** Whether `bytes` begin as `begin` does, as far as they go. */
function beginsAs(bytes: Uint8Array, begin: Buffer): boolean {
  const n = Math.min(bytes.length, begin.length)
  return begin.compare(bytes, 0, n, 0, n) === 0
}

/**
 * Reads a header.
 *
 * @param bytes the first ones of a connection, as many as have come
 * @param needsChecksum whether one of version 2 without a checksum is wrong, as is any of version 1. A checksum that
 *   is there is looked at in any case
 * @throws TypeError when they are no Buffer
 */
export function readProxyHeader(bytes: Buffer, needsChecksum = false): ProxyRead {
  if (!Buffer.isBuffer(bytes)) throw argumentError('readProxyHeader', 'bytes', 'a Buffer', bytes)
  if (typeof needsChecksum !== 'boolean') {
    throw argumentError('readProxyHeader', 'needsChecksum', 'a boolean', needsChecksum)
  }
  if (beginsAs(bytes, V2_BEGIN)) return bytes.length < V2_FIXED ? PART : readV2(bytes, needsChecksum)
  if (!beginsAs(bytes, V1_BEGIN)) return OTHER
  const end = bytes.subarray(0, V1_MAX).indexOf('\r\n', 0, 'latin1')
  if (end < 0) return bytes.length < V1_MAX ? PART : wrong(`its line is longer than ${V1_MAX} bytes`)
  if (needsChecksum) return wrong('version 1 has no checksum')
  return readV1(bytes.toString('latin1', 0, end), end + 2)
}

function headerOf(
  fields: Pick<ProxyHeader, 'version' | 'command' | 'family' | 'transport' | 'source' | 'destination'>,
  tlvs: readonly ProxyTlv[] = [],
): ProxyHeader {
  const valueOf = (type: number): Buffer | undefined => tlvs.find((tlv) => tlv.type === type)?.value
  const aws = valueOf(TLV.aws)
  return {
    ...fields,
    tlvs,
    alpn: valueOf(TLV.alpn)?.toString('latin1'),
    authority: valueOf(TLV.authority)?.toString('utf8'),
    uniqueId: valueOf(TLV.uniqueId),
    netns: valueOf(TLV.netns)?.toString('latin1'),
    ssl: sslOf(valueOf(TLV.ssl)),
    awsVpcEndpoint: aws?.[0] === AWS_VPC_ENDPOINT ? aws.toString('latin1', 1) : undefined,
  }
}

/** Decimal, without leading zeros. */
function portOf(text: string): number {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65535 ? Number(text) : -1
}

function readV1(line: string, length: number): ProxyRead {
  const [, family, ...rest] = line.split(' ')
  if (family === 'UNKNOWN') {
    // The rest is to be ignored.
    const header = headerOf({
      version: 1, command: 'proxy', family: 'unknown', transport: 'unknown', source: undefined, destination: undefined,
    })
    return { is: 'header', header, length }
  }
  if (family !== 'TCP4' && family !== 'TCP6') return wrong('its family is none of TCP4, TCP6 and UNKNOWN')
  const [from, to, fromPort, toPort] = rest
  if (rest.length !== 4) return wrong('it has not two addresses and two ports')
  const isAddress = family === 'TCP4' ? isIPv4 : (text: string) => isIPv6(text) && !text.includes('%')
  if (!isAddress(from) || !isAddress(to)) return wrong(`an address is none of ${family}`)
  // One address has one text, however the balancer writes it.
  const host = (text: string): string => (family === 'TCP4' ? text : ipv6Text(bytesOf(text)))
  const source = { host: host(from), port: portOf(fromPort) }
  const destination = { host: host(to), port: portOf(toPort) }
  if (source.port < 0 || destination.port < 0) return wrong('a port is not from 0 to 65535')
  const header = headerOf({
    version: 1, command: 'proxy', family: family === 'TCP4' ? 'IPv4' : 'IPv6', transport: 'stream', source, destination,
  })
  return { is: 'header', header, length }
}

function readV2(bytes: Buffer, needsChecksum: boolean): ProxyRead {
  const version = bytes[12] >>> 4
  const command = bytes[12] & 0xf
  const family = bytes[13] >>> 4
  const transport = bytes[13] & 0xf
  const length = V2_FIXED + bytes.readUInt16BE(14)
  if (version !== 2) return wrong(`its version is ${version}`)
  if (command > 1) return wrong(`its command is ${command}`)
  if (family > UNIX || transport > 2) return wrong(`its family and protocol are 0x${bytes[13].toString(16)}`)
  if (length > PROXY_HEADER_MAX) return wrong(`it is longer than ${PROXY_HEADER_MAX} bytes`)
  if (bytes.length < length) return PART
  const isLocal = command === 0
  // Of `local` what is behind is to be ignored, but for a checksum that it must have.
  const ignored = isLocal && !needsChecksum
  const addresses = ADDRESSES[family]
  const block = Buffer.from(bytes.subarray(0, length))
  // Of `local` the addresses are to be ignored; and so are they when they don't say all.
  const known = !isLocal && family !== 0 && transport !== 0
  if (length - V2_FIXED < addresses) {
    return ignored ? localHeader(length) : wrong('it ends within its addresses')
  }
  const tlvs = readTlvs(block, V2_FIXED + addresses)
  if (tlvs === undefined) return ignored ? localHeader(length) : wrong('it ends within a TLV')
  const sum = wrongSum(block, tlvs, needsChecksum)
  if (sum !== undefined) return wrong(sum)
  const [source, destination] = known ? endsOf(block, family) : []
  const header = headerOf({
    version: 2,
    command: isLocal ? 'local' : 'proxy',
    family: FAMILIES[family],
    transport: TRANSPORTS[transport],
    source,
    destination,
  }, tlvs.map(({ type, value }) => ({ type, value })))
  return { is: 'header', header, length }
}

function localHeader(length: number): ProxyRead {
  const header = headerOf({
    version: 2, command: 'local', family: 'unknown', transport: 'unknown', source: undefined, destination: undefined,
  })
  return { is: 'header', header, length }
}

function endsOf(block: Buffer, family: number): [ProxyEnd, ProxyEnd] {
  if (family === UNIX) {
    const path = (at: number): ProxyEnd => {
      const bytes = block.subarray(at, at + UNIX_PATH)
      const end = bytes.indexOf(0, 1) // an abstract name begins with a zero byte
      return { host: bytes.toString('latin1', 0, end < 0 ? UNIX_PATH : end), port: 0 }
    }
    return [path(V2_FIXED), path(V2_FIXED + UNIX_PATH)]
  }
  const size = family === IPV4 ? 4 : 16
  const ports = V2_FIXED + 2 * size
  const end = (i: number): ProxyEnd => {
    const at = V2_FIXED + i * size
    const bytes = block.subarray(at, at + size)
    return { host: family === IPV4 ? [...bytes].join('.') : ipv6Text(bytes), port: block.readUInt16BE(ports + 2 * i) }
  }
  return [end(0), end(1)]
}

/** As `URL` writes it, which is as inet_ntop does, but for embedded IPv4. */
function ipv6Text(bytes: Buffer): string {
  const mapped = bytes.subarray(0, 12).equals(Buffer.from('00000000000000000000ffff', 'hex'))
  if (mapped) return `::ffff:${[...bytes.subarray(12)].join('.')}`
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16))
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

interface PlacedTlv extends ProxyTlv {
  /** Where its value is. */
  readonly at: number
}

/** @returns undefined when one of them does not end */
function readTlvs(bytes: Buffer, from: number): PlacedTlv[] | undefined {
  const tlvs: PlacedTlv[] = []
  for (let at = from; at < bytes.length;) {
    if (at + 3 > bytes.length) return undefined
    const end = at + 3 + bytes.readUInt16BE(at + 1)
    if (end > bytes.length) return undefined
    tlvs.push({ type: bytes[at], value: bytes.subarray(at + 3, end), at: at + 3 })
    at = end
  }
  return tlvs
}

/** What is wrong with the checksum, or with there being none. */
function wrongSum(block: Buffer, tlvs: readonly PlacedTlv[], needsChecksum: boolean): string | undefined {
  const found = tlvs.find(({ type }) => type === TLV.crc32c)
  if (found === undefined) return needsChecksum ? 'it has no checksum' : undefined
  if (found.value.length !== 4) return 'its checksum has not four bytes'
  const blank = Buffer.from(block)
  blank.fill(0, found.at, found.at + 4)
  return crc32c(blank) === found.value.readUInt32BE() ? undefined : 'its checksum is wrong'
}

function sslOf(value: Buffer | undefined): ProxySsl | undefined {
  if (value === undefined || value.length < 5) return undefined
  const client = value[0]
  const inner = readTlvs(value, 5) ?? []
  const textOf = (type: number): string | undefined =>
    inner.find((tlv) => tlv.type === type)?.value.toString('utf8')
  const clientCertificate = (client & 0x06) !== 0
  return {
    clientCertificate,
    verified: clientCertificate && value.readUInt32BE(1) === 0,
    version: textOf(SSL.version),
    cipher: textOf(SSL.cipher),
    commonName: textOf(SSL.commonName),
  }
}

/** One more thing that a header is to say. */
export interface ProxyTlvToSend {
  /** From 0 to 255. */
  readonly type: number
  /** Text is sent as UTF-8. */
  readonly value: Uint8Array | string
}

/** What a header is to say. */
export interface ProxyHeaderOptions {
  /** 1 is text, and has no TLVs. Default 2. */
  readonly version?: 1 | 2 | undefined
  /**
   * Who has connected; zones are left out. Without it the header says that the connection is the
   * sender's own (version 2), or of unknown origin (version 1).
   */
  readonly source?: ProxyEnd | undefined
  /** To what it has connected: given if, and only if, `source` is. */
  readonly destination?: ProxyEnd | undefined
  /** Version 2 only. */
  readonly tlvs?: readonly ProxyTlvToSend[] | undefined
  /** Version 2 only: with a checksum. Default false. */
  readonly checksum?: boolean | undefined
}

const headerChecks: Checks = {
  version: (call, name, value) => {
    if (value !== 1 && value !== 2) throw argumentError(call, name, '1 or 2', value)
  },
  source: ofType('object'),
  destination: ofType('object'),
  tlvs: (call, name, value) => {
    if (!Array.isArray(value)) throw argumentError(call, name, 'an array', value)
  },
  checksum: ofType('boolean'),
}

/**
 * Writes a header of the PROXY protocol, to be sent as the first bytes of a connection: it tells a server behind this
 * program whose connection that is.
 *
 * @throws TypeError or RangeError for what no header can say
 */
export function proxyHeader(options: ProxyHeaderOptions = {}): Buffer {
  const call = 'proxyHeader'
  checkOptions(call, options, headerChecks, 'options.')
  const { version = 2, source, destination, tlvs = [], checksum = false } = options
  if ((source === undefined) !== (destination === undefined)) {
    throw argumentError(call, 'options.destination', 'given if, and only if, options.source is', destination)
  }
  const ends = source === undefined || destination === undefined
    ? undefined
    : sameFamily(checkedEnd(call, 'options.source', source), checkedEnd(call, 'options.destination', destination))
  if (version === 2) return writeV2(call, ends, tlvs, checksum)
  if (tlvs.length > 0) throw argumentError(call, 'options.tlvs', 'left out, as version 1 has none', tlvs)
  if (checksum) throw argumentError(call, 'options.checksum', 'false, as version 1 has none', checksum)
  if (ends === undefined) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1')
  const [from, to] = ends
  const line = `PROXY TCP${isIPv4(from.host) ? 4 : 6} ${from.host} ${to.host} ${from.port} ${to.port}\r\n`
  return Buffer.from(line, 'latin1')
}

/** Without a zone, which means something on this machine only. */
function checkedEnd(call: string, name: string, end: unknown): ProxyEnd {
  const { host, port } = (end ?? {}) as Partial<ProxyEnd>
  if (typeof host !== 'string' || isIP(host) === 0) throw argumentError(call, `${name}.host`, 'an IP address', host)
  if (!Number.isInteger(port) || Number(port) < 0 || Number(port) > 65535) {
    throw rangeError(call, `${name}.port`, 'an integer from 0 to 65535', port)
  }
  return { host: host.replace(/%.*/, ''), port: Number(port) }
}

/** An IPv4 address beside an IPv6 one is written as that. */
function sameFamily(a: ProxyEnd, b: ProxyEnd): [ProxyEnd, ProxyEnd] {
  if (isIP(a.host) === isIP(b.host)) return [a, b]
  const mapped = ({ host, port }: ProxyEnd): ProxyEnd => ({ host: isIPv4(host) ? `::ffff:${host}` : host, port })
  return [mapped(a), mapped(b)]
}

function writeV2(
  call: string, ends: [ProxyEnd, ProxyEnd] | undefined, tlvs: NonNullable<ProxyHeaderOptions['tlvs']>,
  checksum: boolean,
): Buffer {
  const pieces: Buffer[] = []
  if (ends !== undefined) {
    const [source, destination] = ends
    const ports = Buffer.alloc(4)
    ports.writeUInt16BE(source.port, 0)
    ports.writeUInt16BE(destination.port, 2)
    pieces.push(bytesOf(source.host), bytesOf(destination.host), ports)
  }
  for (const [i, { type, value }] of tlvs.entries()) {
    const name = `options.tlvs[${i}]`
    if (!Number.isInteger(type) || type < 0 || type > 255) {
      throw rangeError(call, `${name}.type`, 'an integer from 0 to 255', type)
    }
    if (type === TLV.crc32c) throw argumentError(call, `${name}.type`, 'another: options.checksum makes this one', type)
    if (typeof value !== 'string' && !((value as unknown) instanceof Uint8Array)) {
      throw argumentError(call, `${name}.value`, 'a string or a Uint8Array', value)
    }
    const most = type === TLV.uniqueId ? UNIQUE_ID_MAX : 0xffff
    const bytes = Buffer.from(value as string)
    if (bytes.length > most) throw rangeError(call, `${name}.value`, `at most ${most} bytes`, bytes.length)
    pieces.push(tlvHead(type, bytes.length), bytes)
  }
  if (checksum) pieces.push(tlvHead(TLV.crc32c, 4), Buffer.alloc(4))
  const rest = Buffer.concat(pieces)
  if (V2_FIXED + rest.length > PROXY_HEADER_MAX) {
    throw rangeError(call, 'options.tlvs', `at most ${PROXY_HEADER_MAX} bytes with the addresses`, rest.length)
  }
  const head = Buffer.alloc(V2_FIXED)
  V2_BEGIN.copy(head)
  head[12] = ends === undefined ? 0x20 : 0x21
  head[13] = ends === undefined ? 0 : ((isIPv4(ends[0].host) ? IPV4 : IPV6) << 4) | 1
  head.writeUInt16BE(rest.length, 14)
  const header = Buffer.concat([head, rest])
  if (checksum) header.writeUInt32BE(crc32c(header), header.length - 4)
  return header
}

function tlvHead(type: number, length: number): Buffer {
  return Buffer.from([type, length >>> 8, length & 0xff])
}

/** Of an address, in network order. */
function bytesOf(host: string): Buffer {
  if (isIPv4(host)) return Buffer.from(host.split('.').map(Number))
  const text = new URL(`http://[${host}]`).hostname.slice(1, -1)
  const [before, after] = text.split('::').map((half) => half.split(':').filter((group) => group !== ''))
  const zeros = new Array<string>(8 - before.length - ((after as string[] | undefined)?.length ?? 0)).fill('0')
  const groups = (after as string[] | undefined) === undefined ? before : [...before, ...zeros, ...after]
  const bytes = Buffer.alloc(16)
  groups.forEach((group, i) => bytes.writeUInt16BE(parseInt(group, 16), 2 * i))
  return bytes
}

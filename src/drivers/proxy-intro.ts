/**
 * Connections that begin with a header of the PROXY protocol: who may say so, and the wait for what is said.
 *
 * Owns the first bytes of such a connection until its header is complete. Invariants: nothing that came behind the
 * header is lost; a header is believed from the addresses of `from` only; a connection that isn't introduced in time,
 * or wrongly, ends, and no other one is concerned.
 */
import { BlockList } from 'node:net'
import { constants } from 'node:os'
import { checkOptions, integer, ofType, oneOf, type Check } from '../support/checks.js'
import { argumentError, rangeError, socketError } from '../support/errors.js'
import type {
  SocketAddress, SocketError, TransportConnection, TransportEvent,
} from '../transport/seam/transport.js'
import type { ActionTree } from '../vm/index.js'
import { SocketIntro, type IntroHost } from './socket-intro.js'
import { readProxyHeader, type ProxyHeader } from './proxy-header.js'

/** Which connections of a driver's listeners begin with a header of the PROXY protocol. */
export interface ProxyOptions {
  /**
   * Who is believed: addresses (`10.0.0.7`), prefixes (`10.0.0.0/8`, `fd00::/8`), and `unix` for whoever
   * connects to a Unix socket.
   */
  readonly from: readonly string[]
  /**
   * Whether connections from there that begin otherwise are ended (EPROTO). With false, what they send is data. Default
   * true.
   */
  readonly required?: boolean | undefined
  /**
   * What becomes of connections from elsewhere: 'data', the default, takes what they send for data, a header
   * too; 'refuse' ends them.
   */
  readonly others?: 'data' | 'refuse' | undefined
  /** Milliseconds within which the header has to be there (ETIMEDOUT). Default 5,000. */
  readonly timeout?: number | undefined
  /** Whether headers without a checksum are wrong, too (version 2 has one on request). Default false. */
  readonly checksum?: boolean | undefined
}

const TIMEOUT = 5000
const checks = {
  from: (call: string, name: string, value: unknown) => { believed(call, name, value) },
  required: ofType('boolean'),
  others: oneOf('data', 'refuse'),
  timeout: integer(1, 0x7fffffff, 'milliseconds'),
  checksum: ofType('boolean'),
}

/** The check of the option `proxy`. */
export const checkProxy: Check = (call, name, value) => {
  if (typeof value !== 'object' || value === null) throw argumentError(call, name, 'an object with from', value)
  checkOptions(call, value, checks, `${name}.`)
  if ((value as Partial<ProxyOptions>).from === undefined) {
    throw argumentError(call, `${name}.from`, 'an array of addresses and prefixes', undefined)
  }
}

/** Who is believed. */
class Believed {
  readonly #list = new BlockList()
  #unix = false

  add(text: string): boolean {
    if (text === 'unix') {
      this.#unix = true
      return true
    }
    const [, address, prefix] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? []
    if ((address as string | undefined) === undefined || address.includes('%')) return false
    const family = address.includes(':') ? 'ipv6' : 'ipv4'
    try {
      if ((prefix as string | undefined) === undefined) this.#list.addAddress(address, family)
      else this.#list.addSubnet(address, Number(prefix), family)
      return true
    } catch {
      return false // it is no address, or no prefix of one
    }
  }

  has(address: SocketAddress | undefined): boolean {
    if (address === undefined) return false
    if (address.family === 'unix') return this.#unix
    return this.#list.check(address.address, address.family === 'IPv6' ? 'ipv6' : 'ipv4')
  }
}

function believed(call: string, name: string, value: unknown): Believed {
  const expected = 'an array of addresses and prefixes, such as 10.0.0.0/8, or unix'
  if (!Array.isArray(value)) throw argumentError(call, name, expected, value)
  const list = new Believed()
  for (const [i, text] of (value as readonly unknown[]).entries()) {
    if (typeof text !== 'string') throw argumentError(call, `${name}[${i}]`, 'an address, a prefix or unix', text)
    if (!list.add(text)) throw rangeError(call, `${name}[${i}]`, 'an address, a prefix or unix', text)
  }
  if (value.length === 0) throw rangeError(call, name, 'an array that is not empty', value)
  return list
}

/** What an accepted connection is before anybody is told of it. */
export type Introduction = 'none' | 'header' | 'refused'

/** A driver's option `proxy`. */
export class ProxyRules {
  readonly required: boolean
  readonly timeout: number
  readonly checksum: boolean
  readonly #believed: Believed
  readonly #refusesOthers: boolean

  constructor({ from, required = true, others = 'data', timeout = TIMEOUT, checksum = false }: ProxyOptions) {
    this.#believed = believed('proxy', 'from', from)
    this.required = required
    this.#refusesOthers = others === 'refuse'
    this.timeout = timeout
    this.checksum = checksum
  }

  /** What a connection from this address begins with. */
  expects(address: SocketAddress | undefined): Introduction {
    if (this.#believed.has(address)) return 'header'
    return this.#refusesOthers ? 'refused' : 'none'
  }
}

/** What becomes of a connection that has been waited for. It fails without an error if the peer has said nothing. */
export interface Introduced extends IntroHost {
  /**
   * It can begin.
   *
   * @param header undefined if there is none, and there needn't be
   * @param events what came behind it; those that follow are for whoever is the connection's context then
   */
  begin(
    socket: TransportConnection, header: ProxyHeader | undefined, events: readonly TransportEvent[],
  ): ActionTree
}

/** A connection whose header is still to come. Its context until then. */
export class ProxyIntro extends SocketIntro<Introduced> {
  #bytes: Buffer | undefined = undefined

  /** @param later has something done in a turn of the driver */
  constructor(
    socket: TransportConnection,
    private readonly rules: ProxyRules,
    host: Introduced,
    later: (deed: () => ActionTree) => void,
  ) {
    const late = (): SocketError =>
      headerError(socket, 'ETIMEDOUT', `no header of the PROXY protocol within ${rules.timeout} ms`)
    super(socket, host, rules.timeout, late, later)
  }

  protected heard(event: TransportEvent): ActionTree {
    if (event.kind === 'data') return this.#received(event.data as Buffer)
    if (event.kind === 'end') return this.#ended(event)
    return undefined
  }

  protected override finish(): void {
    super.finish()
    this.#bytes = undefined
  }

  #received(data: Buffer): ActionTree {
    // What is kept longer than this turn has to be a copy: it may be lent.
    const bytes = this.#bytes === undefined ? data : Buffer.concat([this.#bytes, data])
    const read = readProxyHeader(bytes, this.rules.checksum)
    switch (read.is) {
      case 'part':
        this.#bytes = bytes === data ? Buffer.from(data) : bytes
        return undefined
      case 'header':
        return this.#begin(read.header, this.#rest(bytes.subarray(read.length)))
      case 'wrong':
        return this.#refuse(`a header of the PROXY protocol is wrong: ${read.why}`)
      case 'other':
        return this.#without(bytes)
    }
  }

  /** The peer sends nothing more. */
  #ended(event: TransportEvent): ActionTree {
    if (this.#bytes !== undefined) return this.#without(this.#bytes, event)
    if (!this.rules.required) return this.#begin(undefined, [event])
    // As health checks do that only connect.
    return this.fail(undefined)
  }

  #without(bytes: Buffer, ...events: readonly TransportEvent[]): ActionTree {
    return this.rules.required
      ? this.#refuse('the connection does not begin with a header of the PROXY protocol')
      : this.#begin(undefined, [...this.#rest(bytes), ...events])
  }

  #rest(data: Buffer): TransportEvent[] {
    if (data.length === 0) return []
    return [{ kind: 'data', connection: this.socket, listener: undefined, data, bytes: 0, error: undefined }]
  }

  #begin(header: ProxyHeader | undefined, events: readonly TransportEvent[]): ActionTree {
    this.finish()
    return this.host.begin(this.socket, header, events)
  }

  #refuse(what: string): ActionTree {
    return this.fail(headerError(this.socket, 'EPROTO', what))
  }
}

function headerError({ remote }: TransportConnection, code: 'EPROTO' | 'ETIMEDOUT', what: string): SocketError {
  const address = remote?.family === 'unix' ? undefined : remote?.address
  const error = socketError(-constants.errno[code], 'read', address, remote?.port)
  error.message += `: ${what}`
  return error
}

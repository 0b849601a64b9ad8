/**
 * Whether a peer may have a WebSocket: its path, its origin, how many there are, what `verify` says, and the
 * subprotocol.
 *
 * Owns how many connections there are of each address. Invariant: what the program's functions throw is the peer's
 * refusal, and nobody else's trouble.
 */
import { isPromise } from 'node:util/types'
import { atOnce } from '../support/answers.js'
import { argumentError } from '../support/errors.js'
import { log } from '../support/log.js'
import type { Admission, Refusal } from './web-socket-carrier.js'
import type { WebSocketSettings, WsVerdict } from './web-socket-options.js'
import type { WsRequest } from './web-socket-records.js'

const refusal = (status: number, text: string): Refusal => ({ accepted: false, status, text })

/** Whose connections are counted together: an address, or the part of an IPv6 address that one site has. */
export function siteOf(address: string): string {
  if (!address.includes(':')) return address
  const [head = '', tail] = address.split('%')[0].split('::')
  const front = head === '' ? [] : head.split(':')
  const back = tail === undefined || tail === '' ? [] : tail.split(':')
  const missing = Math.max(0, 8 - front.length - back.length)
  const all = tail === undefined ? front : [...front, ...Array<string>(missing).fill('0'), ...back]
  return `${all.slice(0, 4).map((group) => parseInt(group, 16).toString(16)).join(':')}::/64`
}

/** The origin that a request is sent to, as a browser writes it. */
function ownOrigin({ secure, host }: WsRequest): string | undefined {
  try {
    return new URL(`${secure ? 'https' : 'http'}://${host}`).origin
  } catch {
    return undefined
  }
}

export class Admissions {
  readonly #settings: WebSocketSettings
  readonly #counts = new Map<string, number>()
  #total = 0
  /** Of the last request: idle connections share what is mostly equal. */
  #address = ''
  #path = ''
  #origin: string | undefined = undefined
  #host = ''

  constructor(settings: WebSocketSettings) {
    this.#settings = settings
  }

  /** A connection came. @returns what it is counted for */
  entered(address: string): string {
    const site = siteOf(address)
    this.#total++
    this.#counts.set(site, (this.#counts.get(site) ?? 0) + 1)
    return site
  }

  left(site: string): void {
    this.#total--
    const count = (this.#counts.get(site) ?? 0) - 1
    if (count > 0) this.#counts.set(site, count)
    else this.#counts.delete(site)
  }

  /** Whether there are as many as there may be. */
  full(address: string): Refusal | undefined {
    const { maxConnections = Infinity, maxConnectionsPerAddress } = this.#settings
    if (this.#total >= maxConnections) return refusal(503, 'there are as many connections as there may be')
    if (maxConnectionsPerAddress === Infinity) return undefined
    return (this.#counts.get(siteOf(address)) ?? 0) >= maxConnectionsPerAddress
      ? refusal(429, 'there are as many connections of this address as there may be') : undefined
  }

  /** @param owner whose connection it becomes; undefined: nobody listens there */
  admit(request: WsRequest, owner: unknown): Admission | Promise<Admission> {
    if (owner === undefined) return refusal(404, 'nobody listens on this path')
    try {
      const no = this.#judgeOrigin(request) ?? this.full(request.address)
      if (no !== undefined) return no
      const { verify } = this.#settings
      // What it forgets to answer is no yes.
      const verdict = verify === undefined ? true : verify(request)
      if (!isPromise(verdict)) return this.#judged(verdict, request, owner)
      return verdict.then(
        (answer) => this.#judged(answer as WsVerdict, request, owner), (error: unknown) => broken('verify', error),
      )
    } catch (error) {
      return broken('origins or verify', error)
    }
  }

  #judgeOrigin(request: WsRequest): Refusal | undefined {
    const { origins } = this.#settings
    const { origin } = request
    // Browsers always say where a page comes from. Others can write there what they like.
    if (origins === '*' || origin === undefined) return undefined
    const right = typeof origins === 'function'
      ? answered(origins(origin, request))
      : origins?.some((one) => one === 'self' ? origin === ownOrigin(request) : one === origin)
    return right === true ? undefined : refusal(403, 'pages of this origin may not connect')
  }

  #judged(verdict: WsVerdict, request: WsRequest, owner: unknown): Admission {
    if (verdict === false) return refusal(403, 'refused')
    if (typeof verdict === 'number') {
      const known = Number.isInteger(verdict) && verdict >= 400 && verdict <= 599
      if (known) return refusal(verdict, 'refused')
      return broken('verify', new RangeError(`${verdict} is no status from 400 to 599`))
    }
    const verified = typeof verdict === 'object' ? verdict : undefined
    if (verdict !== true && !verified) {
      return broken('verify', new TypeError('it must answer with a boolean, a number or an object'))
    }
    const { keptHeaders, protocols } = this.#settings
    let protocol: string | undefined
    try {
      protocol = typeof protocols === 'function'
        ? atOnce('webSocket', 'options.protocols()', protocols(request))
        : protocols?.find((name) => request.offered.includes(name))
    } catch (error) {
      return broken('protocols', error)
    }
    if (protocol !== undefined && !request.offered.includes(protocol)) {
      return broken('protocols', new RangeError(`'${protocol}' was not offered`))
    }
    const { port, query, secure } = request
    const address = this.#address = same(this.#address, request.address)
    const origin = this.#origin = same(this.#origin, request.origin)
    const path = this.#path = same(this.#path, request.path)
    const host = this.#host = same(this.#host, request.host)
    const offered = request.offered.length === 0 ? NO_NAMES : request.offered
    const told: WsRequest = {
      address, port, path, query, origin, host, secure, headers: kept(request.headers, keptHeaders), offered, protocol,
      verified,
    }
    return { accepted: true, request: told, owner }
  }
}

/** What `origins` has answered. Whoever gave it would look for a refusal at the client, if it said nothing. */
function answered(right: unknown): boolean {
  const name = 'options.origins()'
  atOnce('webSocket', name, right)
  if (typeof right !== 'boolean') throw argumentError('webSocket', name, 'true or false', right)
  return right
}

const NO_NAMES: readonly string[] = Object.freeze([])
const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({})

/** The string that is there already, if it is equal. */
function same<T extends string | undefined>(before: T, now: T): T {
  return before === now ? before : now
}

function kept(headers: Readonly<Record<string, string>>, names: readonly string[]): Readonly<Record<string, string>> {
  if (names.length === 0) return NO_HEADERS
  return Object.fromEntries(names.filter((name) => Object.hasOwn(headers, name)).map((name) => [name, headers[name]]))
}

/** A function of the program's failed: the peer isn't told how. */
function broken(what: string, error: unknown): Refusal {
  log('error', `webSocket: ${what} failed`, { reason: error })
  return refusal(500, 'it could not be judged')
}

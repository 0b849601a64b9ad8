/** The driver `natsRelay`: a relay between machines, over NATS. Owns the checks of its options. */
import { checkOptions, integer, ofType, type Check } from '../support/checks.js'
import { argumentError } from '../support/errors.js'
import type { Action } from '../vm/index.js'
import { NATS_NAME, NatsCarrier, type NatsAuth, type NatsMetrics, type NatsTls } from './nats-carrier.js'
import { relay, RelayMonitor, type RelayOptions } from './relay.js'

/** Options of `natsRelay`. */
export interface NatsRelayOptions extends Omit<RelayOptions, 'carrier'> {
  /**
   * Where a server is, or several of one cluster: `nats://host:port`, `tls://host:port` or `host:port`. Default
   * 'nats://127.0.0.1:4222'. More are learned from the server.
   */
  readonly servers?: string | readonly string[] | undefined
  /**
   * What all subjects begin with; only nodes of one prefix hear each other. 1 to 64 letters, digits, `_` and `-`.
   * Default 'marketplace'.
   */
  readonly prefix?: string | undefined
  /** The name of this node, unlike those of all others. 1 to 64 letters, digits, `_` and `-`. */
  readonly node: string
  /** Who this node is to the server, if that asks. */
  readonly auth?: NatsAuth | undefined
  /** TLS to the server; `{}` for one whose certificate Node trusts. A server that demands it gets it anyway. */
  readonly tls?: NatsTls | undefined
  /**
   * Nodes that this one has another link to: for these names it returns true, and they are neither heard here nor sent
   * to. Asked for each packet. Of two nodes it is enough that one leaves the other one out.
   */
  readonly except?: ((node: string) => boolean) | undefined
}

/** Shows what a `natsRelay` knows of the other nodes, and its link to the server: to be given to it as an option. */
export class NatsMonitor extends RelayMonitor {
  /** @internal */
  carrier: NatsCarrier | undefined = undefined

  /** The link to the server; undefined before the relay has started. */
  get link(): NatsMetrics | undefined {
    return this.carrier?.metrics
  }
}

const CALL = 'natsRelay'

const token: Check = (call, name, value) => {
  if (typeof value === 'string' && NATS_NAME.test(value)) return
  throw argumentError(call, name, '1 to 64 letters, digits, "_" and "-"', value)
}

const SERVER = /^(?:(?:nats|tls):\/\/)?(?:\[[0-9a-fA-F:.]+\]|[^\s/@:,?#[\]]+)(?::(\d{1,5}))?\/?$/

const serverList: Check = (call, name, value) => {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value]
  const expected = '"nats://host:port", or an array of such'
  if (list.length === 0) throw argumentError(call, name, expected, value)
  for (const server of list) {
    if (typeof server === 'string' && /@/.test(server)) {
      // It would come into the log.
      throw argumentError(call, name, `${expected}, with names and passwords in the option auth`, '<a name>@<a host>')
    }
    const parts = typeof server === 'string' ? SERVER.exec(server) : null
    if (parts === null || Number(parts[1] ?? 1) > 65_535) throw argumentError(call, name, expected, value)
  }
}

const text: Check = ofType('string')
const credentials: Check = (call, name, value) => {
  if (typeof value === 'string' || value instanceof Uint8Array) return
  throw argumentError(call, name, 'a string or a Uint8Array', '<something else>')
}
const secret: Check = (call, name, value) => {
  if (typeof value !== 'string') throw argumentError(call, name, 'a string', `<a ${typeof value}>`)
}

const authChecks = { user: text, pass: secret, token: secret, nkey: secret, creds: credentials }
const tlsChecks = { ca: text, cert: text, key: secret, handshakeFirst: ofType('boolean') }

const auth: Check = (call, name, value) => {
  checkOptions(call, value as object, authChecks, `${name}.`)
  const { user, pass, token, nkey, creds } = value as NatsAuth
  const kinds = [user, token, nkey, creds].filter((one) => one !== undefined).length
  if (kinds !== 1 || (pass !== undefined && user === undefined)) {
    const given = Object.keys(value as object).join(', ')
    throw argumentError(call, name, 'one of user (with pass), token, nkey and creds', `{ ${given} }`)
  }
}

const tls: Check = (call, name, value) => {
  checkOptions(call, value as object, tlsChecks, `${name}.`)
  const { cert, key } = value as NatsTls
  if ((cert === undefined) !== (key === undefined)) {
    throw argumentError(call, name, 'both cert and key, or neither', `{ ${Object.keys(value as object).join(', ')} }`)
  }
}

/** These the relay checks itself. */
const anything: Check = () => undefined

const checks = {
  servers: serverList, prefix: token, node: token, auth, tls, except: ofType('function'), topics: anything,
  heartbeatMs: integer(1, 3_600_000, 'milliseconds'), lostAfterMs: integer(2, 86_400_000, 'milliseconds'),
  maxQueuedBytes: anything, maxEndpoints: anything, maxNodes: anything, monitor: anything,
}

/**
 * Starts a relay over NATS: endpoints of the allowed topics on other machines are peers here, and those of this VM are
 * peers there. Needs the package `@nats-io/transport-node`, and a server; JetStream is not used.
 *
 * Whatever happens on the way shows as absences; see `relay` for their reasons. A server that isn't there is tried
 * again, for ever. What no waiting mends (wrong credentials, a permission that is missing, a certificate that isn't
 * trusted, the package that isn't installed) ends the relay with that as its reason.
 *
 * @throws TypeError or RangeError when an option is missing or wrong
 */
export function natsRelay(options: NatsRelayOptions): Action {
  checkOptions(CALL, options, checks)
  for (const name of ['node', 'topics'] as const) {
    if (options[name] === undefined) throw argumentError(CALL, name, 'given', undefined)
  }
  const { servers = 'nats://127.0.0.1:4222', prefix = 'marketplace', auth = {}, tls, except, ...common } = options
  const { node, monitor } = common
  const list = typeof servers === 'string' ? [servers] : [...servers]
  const settings = {
    // The scheme says what the client library is told by an option.
    servers: list, prefix, node, auth, tls: tls ?? (list.some((server) => server.startsWith('tls://')) ? {} : undefined),
    except,
  }
  return relay({
    ...common,
    carrier: () => {
      const carrier = new NatsCarrier(settings)
      if (monitor instanceof NatsMonitor) monitor.carrier = carrier
      return carrier
    },
  })
}

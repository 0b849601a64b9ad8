/** What `connect` of a socket takes, checked as Node checks it. Owns nothing. */
import * as net from 'node:net'
import type { TcpNetConnectOpts } from 'node:net'
import {
  checkBlockList, checkBoolean, checkedPort, checkFunction, checkInt32, checkNumber, checkString, invalidIp,
  invalidType, nodeError,
} from './errors.js'

type Lookup = NonNullable<TcpNetConnectOpts['lookup']>

/** All that `connect` may be told. */
export interface ConnectArgs extends Omit<Partial<TcpNetConnectOpts>, 'port'> {
  port?: unknown
  path?: string
  blockList?: net.BlockList
}

/** Where to connect to, by TCP, checked. */
export interface Destination {
  readonly host: string
  readonly port: number
  readonly localAddress: string | undefined
  readonly localPort: number
  readonly family: unknown
  readonly hints: number
  readonly lookup: Lookup | undefined
  readonly blockList: net.BlockList | undefined
  /** Try several addresses. */
  readonly several: boolean
  /** Milliseconds for each of them but the last. */
  readonly attemptTimeout: number
}

/** Node's own least. */
const ATTEMPT_TIMEOUT_MIN = 10

type Arguments = [options: ConnectArgs, callback: (() => void) | null]

const { _normalizeArgs: normalized } = net as unknown as {
  _normalizeArgs: (given: readonly unknown[]) => Arguments
}
/** What tells arguments that were sorted out already, as net.connect and an http.Agent pass them on. */
const [mark] = Object.getOwnPropertySymbols(normalized([]))

/** The arguments of `connect`, in any of their forms: the options, and the listener or null. */
export function connectArgs(args: readonly unknown[]): Arguments {
  const [first] = args
  const result = Array.isArray(first) && mark in first ? first as unknown as Arguments : normalized(args)
  const [options] = result
  if (options.port === undefined && (options.path === undefined || options.path === null)) {
    throw nodeError(
      TypeError, 'ERR_MISSING_ARGS', 'The "options" or "port" or "path" argument must be specified',
    )
  }
  return result
}

function checkedDestinationPort(port: unknown): number {
  if (port === undefined) return 0
  if (typeof port !== 'number' && typeof port !== 'string') {
    throw invalidType('options.port', 'one of type number or string', port)
  }
  return checkedPort(port)
}

/** @throws what `node:net` throws for the same options */
export function destination(options: ConnectArgs): Destination {
  const { localAddress, localPort, lookup, blockList, family, hints = 0 } = options
  if (localAddress && net.isIP(localAddress) === 0) throw invalidIp(localAddress)
  if (localPort) checkNumber(localPort, 'options.localPort')
  const port = checkedDestinationPort(options.port)
  const several = options.autoSelectFamily ?? net.getDefaultAutoSelectFamily()
  checkBoolean(several, 'options.autoSelectFamily')
  const attemptTimeout = options.autoSelectFamilyAttemptTimeout
    ?? net.getDefaultAutoSelectFamilyAttemptTimeout()
  checkInt32(attemptTimeout, 'options.autoSelectFamilyAttemptTimeout', 1)
  const host = options.host || 'localhost'
  checkString(host, 'options.host')
  if (net.isIP(host) === 0 && lookup !== undefined && lookup !== null) {
    checkFunction(lookup, 'options.lookup')
  }
  if (blockList !== undefined && blockList !== null) checkBlockList(blockList)
  return {
    host, port, several, family, hints, attemptTimeout: Math.max(attemptTimeout, ATTEMPT_TIMEOUT_MIN),
    localAddress: localAddress || undefined,
    localPort: localPort ?? 0,
    lookup: lookup ?? undefined,
    blockList: blockList ?? undefined,
  }
}

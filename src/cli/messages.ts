/** How the commands put things: addresses, amounts, and what went wrong, in one line each. */
import { isIPv6 } from 'node:net'
import { openTransport, type TransportName } from '../transport/choose.js'
import type { TransportMetrics } from '../transport/seam/metrics.js'
import type { SocketAddress } from '../transport/seam/transport.js'

export type Address = Pick<SocketAddress, 'address' | 'port'>

/** A failure that is explained completely by its message. */
export class CommandError extends Error {
  constructor(message: string, readonly exitCode = 1) {
    super(message)
  }
}

/** Refuses at once, and in one line, what could not work later. */
export function assertLoadable(name: TransportName): void {
  if (name !== 'native') return
  try {
    openTransport(name)
  } catch (error) {
    throw new CommandError(firstLine(error))
  }
}

/** `127.0.0.1:5999`, `[::1]:5999`. */
export function formatAddress(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`
}

type Explanation = (host: string, port: number, option: string) => string

const EXPLANATIONS: Readonly<Partial<Record<string, Explanation>>> = {
  EADDRINUSE: (host, port, option) => `port ${port} of ${host} is in use; choose another one with ${option}`,
  EACCES: (_host, port) => `port ${port} is not permitted to this user`,
  EADDRNOTAVAIL: (host) => `${host} is not an address of this machine`,
  ENOTFOUND: (host) => `unknown host ${host}`,
  EAI_AGAIN: (host) => `unknown host ${host}: no name server answers`,
  ECONNREFUSED: (host, port) => `${formatAddress(host, port)} refused the connection: nothing listens there`,
  ETIMEDOUT: (host, port) => `${formatAddress(host, port)} does not answer`,
  EHOSTUNREACH: (host) => `${host} can't be reached`,
  ENETUNREACH: (host) => `${host} can't be reached`,
  ECONNRESET: (host, port) => `${formatAddress(host, port)} reset the connection`,
}

/**
 * Says in one line what an error means to the user who named this host and port.
 *
 * @param option by which the port is chosen
 */
export function explain(error: unknown, host: string, port: number, option = '--port'): string {
  if (!(error instanceof Error)) return String(error)
  const code = (error as NodeJS.ErrnoException).code ?? ''
  const text = EXPLANATIONS[code]?.(host, port, option) ?? firstLine(error)
  return code === '' || text.includes(code) ? text : `${text} (${code})`
}

export function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.split('\n', 1)[0] ?? ''
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const

/** `999 B`, `1.2 kB`, `34 MB`. */
export function formatBytes(bytes: number): string {
  let amount = bytes
  let unit = 0
  while (amount >= 999.5 && unit < UNITS.length - 1) {
    amount /= 1000
    unit += 1
  }
  const digits = unit > 0 && amount < 9.95 ? 1 : 0
  return `${amount.toFixed(digits)} ${UNITS[unit]}`
}

type Traffic = Readonly<Pick<TransportMetrics, 'connections' | 'bytesIn' | 'bytesOut'>>

/** What a server is doing, in one line. `rate` is in messages per second. */
export function formatStatus(metrics: Traffic, rate: number): string {
  const { connections, bytesIn, bytesOut } = metrics
  const noun = connections === 1 ? 'connection' : 'connections'
  return [
    `${connections} ${noun}`, `${Math.round(rate).toLocaleString('en-US')} messages/s`,
    `${formatBytes(bytesIn)} in`, `${formatBytes(bytesOut)} out`,
  ].join(', ')
}

/** The options that all commands share, and how their values are read and refused. */
import { InvalidArgumentError, Option, type Command } from 'commander'
import { isIPv6 } from 'node:net'
import { availableParallelism } from 'node:os'
import { natsRelay } from '../index.js'
import type { TransportName } from '../transport/choose.js'

export const DEFAULT_PORT = 5999
/** The commands bind to this machine only, unless told: chat and echo are open to whoever can connect. */
export const DEFAULT_HOST = '127.0.0.1'

export interface CommonOptions {
  readonly host: string
  readonly port: number
  readonly transport: TransportName
}

/** Options of the commands that serve. */
export interface ServerOptions extends CommonOptions {
  readonly drainMs: number
  /** How many worker threads; undefined: none but the main one. */
  readonly workers: number | undefined
  /** Port of an inspector, 0 for any free one; undefined for none. */
  readonly inspect: number | undefined
}

/** Options of the chat server. */
export interface ChatOptions extends ServerOptions {
  /** Whether browsers may come, too. */
  readonly web: boolean
  readonly webPort: number | undefined
  /** A NATS server, where other chat servers are; undefined for none. */
  readonly nats: string | undefined
  /** The name among these. */
  readonly node: string | undefined
}

/** Milliseconds; a service manager that sends SIGTERM commonly kills after 10 or 30 seconds. */
const DEFAULT_DRAIN = 5000
/** The longest that a timer of Node's takes. */
const LONGEST_DRAIN = 0x7fffffff

function parseDrain(text: string): number {
  const time = /^\d{1,10}$/.test(text) ? Number(text) : NaN
  if (!(time <= LONGEST_DRAIN)) {
    throw new InvalidArgumentError(`It is a whole number of milliseconds from 0 to ${LONGEST_DRAIN}.`)
  }
  return time
}

function parseWorkers(text: string): number {
  const count = text === 'auto' ? availableParallelism() : /^\d{1,4}$/.test(text) ? Number(text) : NaN
  if (!(count >= 1 && count <= 1024)) throw new InvalidArgumentError("It is a whole number from 1 to 1024, or 'auto'.")
  return count
}

export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN
  if (!(port <= 65535)) throw new InvalidArgumentError('A port is a whole number from 0 to 65535.')
  return port
}

/** @returns a check of an option by the driver that it is for */
function natsOption(name: 'node' | 'servers'): (text: string) => string {
  return (text) => {
    try {
      natsRelay({ node: 'any', topics: ['any'], [name]: text })
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message)
    }
    return text
  }
}
export const parseNats = natsOption('servers')
export const parseNode = natsOption('node')

export function parseHost(text: string): string {
  if (text === '' || /\s/.test(text)) throw new InvalidArgumentError('A host is a name or an address.')
  // As it is written in front of a port; brackets are no part of the address.
  const host = text.replace(/^\[(.*)\]$/, '$1')
  if (host.includes(':') && !isIPv6(host)) {
    throw new InvalidArgumentError('A host is a name or an address; its port is said apart, with --port.')
  }
  return host
}

/** Adds those of servers. */
export function addServerOptions(command: Command): Command {
  addCommonOptions(command, 'name or address to listen on', 'port to listen on; 0: any free one')
  return command.addOption(
    new Option('--drain-ms <ms>', 'at SIGTERM: how long connections may take to end before they are reset')
      .argParser(parseDrain).default(DEFAULT_DRAIN),
  ).addOption(
    new Option('--workers <n>', 'as many threads, which share the port; auto: one for each processor')
      .argParser(parseWorkers),
  ).addOption(
    new Option('--inspect [port]', 'let others on this machine look into it; prints the address').preset('0')
      .argParser(parsePort),
  )
}

/** Adds the options; `hostMeans` says what the host is to this command. */
export function addCommonOptions(command: Command, hostMeans: string, portMeans: string): Command {
  return command
    .addOption(new Option('-p, --port <port>', portMeans).argParser(parsePort).default(DEFAULT_PORT))
    .addOption(new Option('-H, --host <host>', hostMeans).argParser(parseHost).default(DEFAULT_HOST))
    .addOption(
      new Option('-t, --transport <name>', 'socket implementation; auto: native where it loads, else node')
        .choices(['native', 'node', 'auto'])
        .default('auto'),
    )
}

/** The options that all commands share, and how their values are read and refused. */
import { InvalidArgumentError, Option, type Command } from 'commander'
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

export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN
  if (!(port <= 65535)) throw new InvalidArgumentError('A port is a whole number from 0 to 65535.')
  return port
}

export function parseHost(text: string): string {
  if (text === '' || /\s/.test(text)) throw new InvalidArgumentError('A host is a name or an address.')
  // As it is written in front of a port; brackets are no part of the address.
  return text.replace(/^\[(.*)\]$/, '$1')
}

/** Adds those of servers. */
export function addServerOptions(command: Command): Command {
  addCommonOptions(command, 'name or address to listen on', 'port to listen on; 0: any free one')
  return command.addOption(
    new Option('--drain-ms <ms>', 'at SIGTERM: how long connections may take to end before they are reset')
      .argParser(parseDrain).default(DEFAULT_DRAIN),
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

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

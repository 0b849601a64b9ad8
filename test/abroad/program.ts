/**
 * What a program of this kind of test is, and what it is given.
 *
 * Programs are written as other people write theirs: against `node:net`, without a thought of this package.
 * Each is run on `node:net` and on `marketplace-native/net`, with both of the engine's backends, and has to
 * print the same everywhere (see abroad.test.ts).
 *
 * To add one: a function in a file of `programs/`, by theme; a new file there is found by itself.
 *
 *     export default programs({
 *       'once in a loop hears everything': async ({ net, print, serve }) => { ...; print(sum) },
 *       'exit after write': alone(({ net, print }) => { ...; process.exit() }),
 *     })
 *
 * - What it prints must not depend on time, on how the kernel cuts a stream, or on the machine. `serve` hides
 *   the port that it got; `hide` hides other values.
 * - It ends when its promise has settled; a rejection is printed, as an uncaught exception is. It leaves
 *   nothing open. A theme's programs share a process, one after the other.
 * - One that is about the process itself (exit, ref, unref, uncaught exceptions) is `alone`: it has a
 *   process, which has to end by itself, and whose exit code and uncaught error are compared as well.
 * - It waits for events rather than for a time, and takes milliseconds.
 */
import { once } from 'node:events'
import type * as nodeNet from 'node:net'

export type Net = typeof nodeNet
export type Socket = nodeNet.Socket
export type Server = nodeNet.Server

export interface Environment {
  readonly net: Net
  /** One line: texts as they are, bytes as text, errors by name, code and message, others as JSON. */
  readonly print: (...values: unknown[]) => void
  /** From now on `value` is printed as `<label>`. */
  readonly hide: (value: unknown, label: string) => void
  /** A server on a free port of 127.0.0.1; the port is hidden. */
  readonly serve: (onSocket?: (socket: Socket) => void, options?: nodeNet.ServerOpts) => Promise<Served>
  /** Both ends of a connection; the port is hidden. */
  readonly pair: (options?: nodeNet.ServerOpts, clientOptions?: object) => Promise<Pair>
}

export interface Served {
  readonly server: Server
  readonly port: number
}

export interface Pair extends Served {
  readonly client: Socket
  /** The server's end. */
  readonly peer: Socket
}

type Body = (environment: Environment) => unknown

export interface Program {
  readonly body: Body
  /** Whether it has a process to itself. */
  readonly alone: boolean
}

/** A program that has a process to itself. */
export function alone(body: Body): Program {
  return { body, alone: true }
}

/** The programs of a theme, by name. */
export function programs(bodies: Readonly<Record<string, Body | Program>>): ReadonlyMap<string, Program> {
  return new Map(Object.entries(bodies).map(([name, body]) => (
    [name, typeof body === 'function' ? { body, alone: false } : body]
  )))
}

function worded(value: unknown): string {
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1')
  if (value instanceof Error) {
    const { name, code, message } = value as NodeJS.ErrnoException
    return code === undefined ? `${name}: ${message}` : `${name} ${code}: ${message}`
  }
  return JSON.stringify(value) ?? String(value)
}

/** What a program is given. @param write gets its lines */
export function environment(net: Net, write: (line: string) => void): Environment {
  const hidden = new Map<string, string>()
  const hide = (value: unknown, label: string): void => { hidden.set(String(value), `<${label}>`) }
  const print = (...values: unknown[]): void => {
    let line = values.map(worded).join(' ')
    for (const [value, label] of hidden) line = line.replaceAll(value, label)
    write(line)
  }
  const serve: Environment['serve'] = async (onSocket, options = {}) => {
    const server = net.createServer(options, onSocket)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as nodeNet.AddressInfo
    hide(port, 'port')
    return { server, port }
  }
  const pair: Environment['pair'] = async (options, clientOptions = {}) => {
    const served = await serve(undefined, options)
    const accepted = once(served.server, 'connection') as Promise<[Socket]>
    const client = net.connect({ port: served.port, host: '127.0.0.1', ...clientOptions })
    const [[peer]] = await Promise.all([accepted, once(client, 'connect')])
    return { ...served, client, peer }
  }
  return { net, print, hide, serve, pair }
}

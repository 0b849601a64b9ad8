/**
 * Runs a test of one behaviour on `node:net`, which proves the test right, and on `marketplace-native/net`.
 * Owns the sockets and servers of such a test: its end closes them.
 *
 * Each test has the names of the behaviours it is about: those of Node's own tests, `test-net-NAME.js`
 * (`pipe:NAME` for `test-pipe-NAME.js`, `other:NAME` for `test-NAME.js`). docs/net-compat.md lists them.
 */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import * as nodeNet from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import * as ourNet from '../../src/net/index.js'
import { TIMEOUT } from '../support/transports.js'
import { leftOutOnNode } from '../support/variants.js'

export type Net = typeof nodeNet
export type Socket = nodeNet.Socket
export type Server = nodeNet.Server

export interface Behaviour {
  readonly net: Net
  /** Whether it is `marketplace-native/net`. */
  readonly ours: boolean
  /** Listens on a port of 127.0.0.1 that is free, if the options don't say otherwise. */
  readonly listen: (onSocket?: (socket: Socket) => void, options?: object) => Promise<Server>
  /** A socket that connects to the server. */
  readonly connect: (server: Server, options?: object) => Socket
  /** Both ends of a connection that is there. */
  readonly pair: (serverOptions?: object, clientOptions?: object) => Promise<Pair>
  /** Closes it at the end of the test. */
  readonly own: <Owned extends Socket | Server>(owned: Owned) => Owned
}

export interface Pair {
  readonly server: Server
  readonly client: Socket
  /** The server's end. */
  readonly peer: Socket
}

export interface BothOptions {
  /** Why it can't run here. */
  readonly skip?: string | false
  readonly only?: boolean
}

/** Set in the environment, `node:net` is left out: it was tested by somebody else. */
export const ONLY_OURS = 'TEST_ONLY_OUR_NET'

const MODULES = ([['node:net', nodeNet], ['marketplace-native/net', ourNet as unknown as Net]] as const)
  .filter(([module]) => module !== 'node:net' || (process.env[ONLY_OURS] === undefined && leftOutOnNode === false))

/** Registers a test of the behaviours `names` (separated by spaces) on both modules. */
export function both(
  names: string, what: string, body: (t: Test, env: Behaviour) => unknown, { skip = false }: BothOptions = {},
): void {
  if (names.trim() === '') throw new TypeError('names must name at least one behaviour')
  for (const [module, net] of MODULES) {
    void t.test(`${module}: ${what} (${names})`, { skip, timeout: TIMEOUT }, async (t) => {
      const env = new Environment(net, net !== nodeNet)
      t.teardown(() => { env.close() })
      await body(t, env)
    })
  }
}

class Environment implements Behaviour {
  readonly #owned = new Set<Socket | Server>()

  constructor(readonly net: Net, readonly ours: boolean) {}

  readonly own = <Owned extends Socket | Server>(owned: Owned): Owned => {
    this.#owned.add(owned)
    return owned
  }

  readonly listen = async (onSocket?: (socket: Socket) => void, options: object = {}): Promise<Server> => {
    const server = this.own(this.net.createServer(options, (socket) => {
      this.own(socket)
      onSocket?.(socket)
    }))
    const where = 'path' in options ? {} : { port: 0, host: '127.0.0.1' }
    server.listen({ ...where, ...options })
    await once(server, 'listening')
    return server
  }

  readonly connect = (server: Server, options: object = {}): Socket => {
    const address = server.address()
    const tcp = { port: portOf(server), host: '127.0.0.1' }
    const where = typeof address === 'string' ? { path: address } : tcp
    return this.own(this.net.connect({ ...where, ...options } as nodeNet.NetConnectOpts))
  }

  readonly pair = async (serverOptions: object = {}, clientOptions: object = {}): Promise<Pair> => {
    const server = await this.listen(undefined, serverOptions)
    const accepted = once(server, 'connection')
    const client = this.connect(server, clientOptions)
    const [[peer]] = await Promise.all([accepted, once(client, 'connect')]) as [[Socket], unknown]
    return { server, client, peer }
  }

  close(): void {
    for (const owned of this.#owned) {
      // A test may be at its end before a socket has failed, which is no concern of its any more.
      owned.on('error', () => undefined)
      if ('destroySoon' in owned) owned.destroy()
      else if (owned.listening) owned.close()
    }
  }
}

export function portOf(server: Server): number {
  return (server.address() as nodeNet.AddressInfo).port
}

/** A path for a Unix socket, in a directory that goes with the test. */
export function socketPath(t: Test, name = 'socket'): string {
  const directory = mkdtempSync(join(tmpdir(), 'net-'))
  t.teardown(() => { rmSync(directory, { recursive: true, force: true }) })
  return join(directory, name)
}

/** The text that comes until the other side's end. */
export async function text(socket: Socket): Promise<string> {
  let all = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => { all += chunk })
  await once(socket, 'end')
  return all
}

export type Failure = NodeJS.ErrnoException & Record<string, unknown>

/** The error that a socket or server reports. */
export async function failure(emitter: Socket | Server): Promise<Failure> {
  return new Promise((resolve) => {
    emitter.once('error', (error) => { resolve(error as Failure) })
  })
}

/** Waits for 'close', also if it comes with an error; a test that cares for the error listens itself. */
export async function closed(emitter: Socket | Server): Promise<boolean> {
  return new Promise((resolve) => {
    emitter.once('close', (hadError?: boolean) => { resolve(hadError === true) })
  })
}

/** The events of these names, in the order in which they come. */
export function trace(emitter: Socket | Server, ...names: string[]): string[] {
  const seen: string[] = []
  for (const name of names) emitter.on(name, () => { seen.push(name) })
  return seen
}

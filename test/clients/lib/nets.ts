/**
 * Tests on both net modules. Owns also what they need: listening on a free port of 127.0.0.1, and closing at
 * a test's end.
 */
import { once } from 'node:events'
import type * as nodeNet from 'node:net'
import t, { type Test } from 'tap'
import { NETS_BY_NAME, nativeHere, type Net, type OnConnection } from './net-modules.js'

export type { Net, OnConnection } from './net-modules.js'

/** Without the engine ours is `node:net`, and nothing of it would be tested. */
const switchedOff = process.env['MARKETPLACE_NATIVE'] === 'off'
const nativeWanted = process.platform === 'linux' && !switchedOff
t.equal(nativeHere, nativeWanted, 'the sockets are those of the native engine')

/** One test on each module. */
export function onEachNet(name: string, test: (t: Test, net: Net) => Promise<void>): void {
  for (const [netName, net] of NETS_BY_NAME) t.test(`${name}, on ${netName}`, (t) => test(t, net))
}

/** What `http` gives a server of its own. */
const HTTP_OPTIONS = { noDelay: true, allowHalfOpen: true }

export interface Listening {
  readonly port: number
  readonly server: nodeNet.Server
  /** How many connections have come so far. */
  readonly accepted: () => number
}

/** Listens on a free port; the test's end closes the server and all of its connections. */
export async function listen(
  t: Test, net: Net, onConnection: OnConnection, options: nodeNet.ServerOpts = HTTP_OPTIONS,
): Promise<Listening> {
  const sockets = new Set<nodeNet.Socket>()
  let accepted = 0
  const server = net.createServer(options, (socket) => {
    accepted += 1
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    onConnection(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const { port } = server.address() as nodeNet.AddressInfo
  return { port, server, accepted: () => accepted }
}

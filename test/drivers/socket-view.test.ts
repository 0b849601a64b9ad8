/** The channels on which tools for tracing look for Node's sockets. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { EventEmitter } from 'node:events'
import { _, endpoint, quit, spawn, tcpAddress, tcpChannel, tcpHandle } from 'marketplace-native'
import { freePort, until } from '../support/util.js'
import { host, onBoth, server } from './tcp-program.js'

interface Seen extends EventEmitter {
  readonly remoteAddress: string
  readonly remotePort: number
  readonly localPort: number
  readonly connecting: boolean
}

onBoth('net.server.socket and net.client.socket: once per connection of the VM', async (t, start) => {
  const seen: Record<string, Seen[]> = { 'net.server.socket': [], 'net.client.socket': [] }
  const events: string[] = []
  const hear = (message: unknown, name: string | symbol): void => {
    const { socket } = message as { socket: Seen }
    seen[String(name)].push(socket)
    for (const event of ['connect', 'close']) socket.on(event, () => events.push(`${String(name)} ${event}`))
    socket.on('error', (error: { code: string }) => events.push(`${String(name)} ${error.code}`))
  }
  for (const name of Object.keys(seen)) {
    subscribe(name, hear)
    t.teardown(() => { unsubscribe(name, hear) })
  }
  const program = start(() => server((them, us) => endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
  })))
  const port = await program.port()
  const connect = (to: number): void => {
    program.do(spawn(() => endpoint.subscriber(tcpChannel(tcpAddress(host, to), tcpHandle(to), _), {
      onPresence: () => quit(),
    })))
  }
  connect(port)
  await until(() => events.filter((event) => event.endsWith('close')).length === 2)
  const { 'net.server.socket': servers, 'net.client.socket': clients } = seen
  t.equal(servers.length, 1)
  t.equal(clients.length, 1)
  t.equal(events.filter((event) => event === 'net.client.socket connect').length, 1)
  t.notOk(clients[0].connecting)
  const refused = await freePort()
  connect(refused)
  await until(() => events.includes('net.client.socket ECONNREFUSED'))
  t.equal(clients.length, 2)
})

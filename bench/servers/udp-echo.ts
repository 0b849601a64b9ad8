/**
 * Our UDP echo server as the benchmarks run it: one process that sends each datagram back; with `--bare`
 * the same on the transport alone, without driver and VM.
 *
 * usage: node dist/bench/servers/udp-echo.js [--port PORT] [--transport native|node]
 *   [--backend epoll|io_uring] [--bare]; prints `version: ...` and `listening on HOST:PORT`, or
 *   `skip: REASON` where the machine lacks what was asked for.
 */
import { parseArgs } from 'node:util'
import {
  _, endpoint, groundVm, sendMessage, spawn, udp, udpBound, udpError, udpListener, udpPacket,
  type ActionTree, type UdpTransport,
} from 'marketplace-native'
import { end } from './end.js'

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    transport: { type: 'string', default: 'native' },
    backend: { type: 'string' },
    bare: { type: 'boolean', default: false },
  },
})
const { host, bare } = values
const port = Number(values.port)
const transport = values.transport as 'native' | 'node'
if (values.backend !== undefined) process.env.MARKETPLACE_BACKEND = values.backend

const announce = ({ name, info }: Pick<UdpTransport, 'name' | 'info'>): void => {
  console.log(`version: ${name}${info === undefined ? '' : `, ${info.backend}`}`)
}
const listening = (address: string, actual: number): void => {
  console.log(`listening on ${address}:${actual}`)
}

function echo(): ActionTree {
  const here = udpListener(port)
  return [
    endpoint.subscriber(udpPacket(_, here, _), {
      onMessage: ({ source: them, body }) => sendMessage(udpPacket(here, them, body)),
    }),
    endpoint.subscriber(udpBound(here, _), {
      onPresence: ({ address }) => { listening(address.host, address.port) },
    }),
    endpoint.subscriber(udpError(here, undefined, _), { onMessage: ({ error }) => end(error) }),
  ]
}

/** The same without a VM. */
async function bareEcho(): Promise<void> {
  const { openUdpTransport } = await import('../../src/transport/choose.js')
  const opened = openUdpTransport(transport, {})
  opened.open((events) => {
    for (const { kind, socket, data, remote, error } of events) {
      if (kind === 'datagram' && data !== undefined && remote !== undefined) {
        socket.send(data, remote.address, remote.port)
      } else if (kind === 'bound' && socket.address !== undefined) {
        announce(opened)
        listening(socket.address.address, socket.address.port)
      } else if (kind === 'bind-failed') {
        end(error)
      }
    }
  })
  opened.bind({ host, port })
}

try {
  if (bare) await bareEcho()
  else await groundVm(() => [udp({ host, transport, onTransport: announce }), spawn(echo)])
} catch (error) {
  end(error)
}

/** Scenarios 91-94: UDP listeners and handles, closing and opening again, observers of everything. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import {
  _, deleteEndpoint, sendMessage, udp, udpHandle, udpListener, udpPacket, udpRemoteAddress,
  type Action, type UdpPacket,
} from 'marketplace-native'
import type { EndpointSpec, Stage } from './harness.js'
import { word } from './notation.js'
import { exact, inSequence, shuffled } from './orders.js'
import { socketScenario, type Outside } from './sockets.js'

const host = '127.0.0.1'

/** A plain UDP socket, with an ephemeral port unless told. */
async function plainSocket(
  outside: Outside, onMessage: (data: Buffer, port: number) => void, port = 0,
): Promise<Socket> {
  const socket = createSocket('udp4')
  outside.own({ destroy: () => socket.close() })
  socket.on('message', (data, from) => { onMessage(data, from.port) })
  socket.bind(port, host)
  await once(socket, 'listening')
  return socket
}

/** P's endpoint i. */
function listener(s: Stage, port: number, spec: EndpointSpec<unknown> = {}): Action {
  return s.subscriber('P.i', udpPacket(_, udpListener(port), _), spec)
}

// Bound to all interfaces, as programs do that say nothing of hosts.
socketScenario('91-udp-listener-echo', {
  start: (s, port, transport) => [
    udp({ transport }),
    s.process('P', [
      listener(s, port, {
        onMessage: (_text, _state, message) => {
          const { source, destination, body } = message as UdpPacket
          return sendMessage(udpPacket(destination, source, `re:${body.toString()}`))
        },
      }),
      s.publisher('P.o', udpPacket(udpListener(port), _, _)),
    ]),
  ],
  drive: async (outside) => {
    const { stage, port } = outside
    const client = await plainSocket(outside, (data) => { stage.print(`client: got ${stage.show(data)}`) })
    await outside.grown(4)
    client.send('hi', port, host)
    await outside.grown(6)
    client.send('x', port, host)
    await outside.end()
  },
  orders: { start: inSequence([2, shuffled], [2, shuffled], [4, exact]) },
})

// What is sent when o hears of i, before there is a socket, is lost.
socketScenario('92-udp-handle-client', {
  start: (s, port, transport) => {
    const handle = udpHandle(word('h'))
    const question = sendMessage(udpPacket(handle, udpRemoteAddress(host, port), 'q'))
    const ask = { onPresence: () => question }
    return [
      udp({ transport, host }),
      s.process('C', [], {
        1: () => [
          s.subscriber('C.i', udpPacket(_, handle, _)),
          s.publisher('C.o', udpPacket(handle, _, _), ask),
        ],
        2: () => deleteEndpoint('C.i', word('stop')),
      }),
    ]
  },
  drive: async (outside) => {
    const server: Socket = await plainSocket(outside, (data, port) => {
      server.send(`${data.toString()}!`, port, host)
    }, outside.port)
    outside.stage.step(1).reach()
    await outside.cause('-- signal 1')
    outside.stage.step(2).reach()
    await outside.end()
  },
  orders: { start: inSequence([2, shuffled], [2, shuffled], [1, exact]) },
})

// D8: the socket is closed with the endpoint, and opened again.
socketScenario('93-udp-reopen', {
  start: (s, port, transport) => [
    udp({ transport, host }),
    s.process('P', listener(s, port), {
      1: () => deleteEndpoint('P.i', word('stop')),
      2: () => listener(s, port),
    }),
  ],
  drive: async (outside) => {
    const { port } = outside
    const client = await plainSocket(outside, () => undefined)
    await outside.grown(1)
    client.send('1', port, host)
    await outside.signal(1)
    await outside.grown(4)
    client.send('2', port, host)
    await outside.signal(2)
    await outside.grown(6)
    client.send('3', port, host)
    await outside.end()
  },
})

// D8: a subscriber without a definite local address observes, and opens nothing.
socketScenario('94-udp-too-general-subscriber', {
  start: (s, port, transport) => [
    udp({ transport, host }),
    s.process('X', s.subscriber('X.x', udpPacket(_, _, _))),
    s.process('P', listener(s, port)),
  ],
  drive: async (outside) => {
    const client = await plainSocket(outside, () => undefined)
    await outside.grown(2)
    client.send('1', outside.port, host)
    await outside.end()
  },
  orders: { start: inSequence([2, shuffled], [2, shuffled]) },
})

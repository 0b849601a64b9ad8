/** Scenarios 78-81 and 85: outbound connections and their handles, and what becomes of failures. */
import { once } from 'node:events'
import {
  _, deleteEndpoint, sendMessage, tcpAddress, tcpBare, tcpChannel, tcpError, tcpHandle, tcpListener,
  type Action, type HandlerResult, type SocketError, type TcpError,
} from 'marketplace-native'
import type { Stage } from './harness.js'
import { word } from './notation.js'
import { besidesClients, exact, inSequence, shuffled } from './orders.js'
import { socketScenario } from './sockets.js'

const host = '127.0.0.1'

/** The two endpoints of an outbound connection: o sends, i receives. */
function outbound(
  s: Stage, port: number, id: string, suffix: string, opened?: () => HandlerResult<unknown>,
): Action[] {
  const [handle, address] = [tcpHandle(word(id)), tcpAddress(host, port)]
  return [
    s.publisher(`C.o${suffix}`, tcpChannel(handle, address, _), opened && { onPresence: opened }),
    s.subscriber(`C.i${suffix}`, tcpChannel(address, handle, _)),
  ]
}

socketScenario('78-tcp-outbound', {
  start: (s, port, transport) => {
    const ping = tcpChannel(tcpHandle(word('h1')), tcpAddress(host, port), 'ping\n')
    return [
      tcpBare({ transport }),
      s.process('C', [], { 1: () => outbound(s, port, 'h1', '', () => sendMessage(ping)) }),
    ]
  },
  drive: async (outside) => {
    await outside.server((socket) => {
      void once(socket, 'data').then(([line]) => {
        outside.stage.print(`server: got "${String(line).trimEnd()}"`)
        socket.write('pong\n')
        setTimeout(() => socket.end(), 50)
      })
    })
    outside.stage.step(1).reach()
  },
  orders: { start: inSequence([2, shuffled], [3, exact], [2, shuffled]) },
})

/** Keeps what was told of a failure, for the checks of its error. */
const failures = new Map<Stage, SocketError>()

function errors(s: Stage, label: string): Action {
  return s.subscriber(label, tcpError(_, _, _), {
    prints: ['message'],
    onMessage: (_text, _state, body) => {
      failures.set(s, (body as TcpError).error)
    },
  })
}

// D6: the program that asked is told.
socketScenario('79-tcp-connection-refused', {
  start: (s, port, transport) => [
    tcpBare({ transport }),
    s.process('C', [errors(s, 'C.e'), outbound(s, port, 'h1', '')]),
    s.process('keeper', [], { 1: () => [] }),
  ],
  drive: async (outside) => {
    await outside.cause('nothing else so far')
    await outside.end()
  },
  check: (t, s) => {
    t.match(failures.get(s), { code: 'ECONNREFUSED', syscall: 'connect', address: host, port: Number })
  },
})

// D5: a handle names one connection at a time, and may name another one later.
socketScenario('81-tcp-handle-reuse', {
  start: (s, port, transport) => [
    tcpBare({ transport }),
    s.process('C', [], {
      1: () => outbound(s, port, 'h1', '-h1'),
      2: () => [deleteEndpoint('C.o-h1'), deleteEndpoint('C.i-h1')],
      3: () => outbound(s, port, 'h1', '-h1'),
      4: () => outbound(s, port, 'h2', '-h2'),
    }),
  ],
  drive: async (outside) => {
    let accepted = 0
    await outside.server((socket) => {
      const n = ++accepted
      outside.stage.print(`server: accepted ${n}`)
      socket.resume().on('end', () => { outside.stage.print(`server: eof on ${n}`) })
    })
    for (const n of [1, 2, 3, 4]) await outside.signal(n)
    await outside.end()
  },
  orders: besidesClients(shuffled),
})

// D6 for listeners: `remote` is missing.
socketScenario('85-tcp-listen-port-in-use', {
  start: (s, port, transport) => [
    tcpBare({ transport, host }),
    s.process('L', errors(s, 'L.e'), {
      1: () => s.subscriber('L.l', tcpChannel(_, tcpListener(port), _), { interest: 'observer' }),
    }),
    s.process('keeper', [], { 2: () => [] }),
  ],
  drive: async (outside) => {
    await outside.server(() => undefined)
    outside.stage.step(1).reach()
    await outside.cause('nothing else so far')
    await outside.end()
  },
  check: (t, s) => {
    t.match(failures.get(s), { code: 'EADDRINUSE', syscall: 'listen' })
  },
})

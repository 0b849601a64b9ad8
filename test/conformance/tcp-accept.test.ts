/** Scenarios 73-77 and 80-86 of accepting: listeners, observers, endings, the driver inside a nested VM. */
import {
  _, deleteEndpoint, eof, eventRelay, quit, sendMessage, tcpBare, tcpChannel, tcpListener, transition,
  type Action, type ActionTree, type TcpChannel, type TcpEnd,
} from 'marketplace-native'
import { NO_PRESENCE, type EndpointSpec, type Stage } from './harness.js'
import { v, word } from './notation.js'
import { besidesClients, exact, inSequence, shuffled } from './orders.js'
import { socketScenario } from './sockets.js'

type Subpacket = Buffer | typeof eof

const subpacketOf = (body: unknown): Subpacket => (body as TcpChannel).subpacket

/** Endpoints of one accepted connection: what comes, what goes. */
interface Ends {
  readonly them: TcpEnd
  readonly us: TcpEnd
}

/** An observer of a listener, or another endpoint of it, that gives each connection to `session`. */
function listener(
  s: Stage, port: number, session: (ends: Ends) => ActionTree, spec: EndpointSpec<unknown> = {},
): Action {
  return s.subscriber('L.l', tcpChannel(_, tcpListener(port), _), {
    interest: 'observer',
    prints: [],
    ...spec,
    onPresence: (_text, _state, topic) => {
      const { source, destination } = topic as TcpChannel
      return session({ them: source, us: destination })
    },
  })
}

/** A session that only receives, and does with each subpacket what it is told to. */
function receiver(s: Stage, { them, us }: Ends, react: (subpacket: Subpacket) => ActionTree): Action {
  return s.process('session', s.subscriber('session', tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: (_text, _state, body) => react(subpacketOf(body)),
  }))
}

const echo = (s: Stage) => (ends: Ends): ActionTree =>
  receiver(s, ends, (subpacket) => sendMessage(tcpChannel(ends.us, ends.them, subpacket)))

const host = '127.0.0.1'

const shuffledPair = besidesClients(shuffled)

// Listens on all interfaces, as programs do that say nothing of hosts.
socketScenario('73-tcp-listener-echo', {
  start: (s, port, transport) => [
    tcpBare({ transport }),
    s.process('L', listener(s, port, echo(s), {
      interest: 'participant', prints: ['presence', 'absence', 'message'],
    })),
  ],
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('hello')
    await c.write('x')
    await c.fin()
    await outside.end()
  },
  orders: {
    'client c: writes "hello"': shuffledPair,
    'client c: writes "x"': shuffledPair,
    'client c: writes fin': besidesClients(inSequence([2, shuffled], [2, shuffled])),
  },
})

socketScenario('74-tcp-listener-observer', {
  start: (s, port, transport) => {
    let ends: Ends | undefined
    return [
      tcpBare({ transport, host }),
      s.process('L', listener(s, port, (found) => {
        ends = found
      }, { prints: ['presence', 'absence', 'message'] })),
      s.process('X', [], {
        1: () => ends && s.subscriber('X.x', tcpChannel(ends.them, ends.us, _)),
        2: () => deleteEndpoint('X.x'),
      }),
    ]
  },
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('early')
    await outside.signal(1)
    await c.write('late')
    await outside.signal(2)
    await outside.end()
  },
  orders: { 'client c: writes "late"': shuffledPair, 'signal 2': besidesClients(exact) },
})

// D9: what is sent in reaction to the peer's eof still gets there.
socketScenario('75-tcp-client-eof', {
  start: (s, port, transport) => [
    tcpBare({ transport, host }),
    s.process('L', listener(s, port, (ends) => receiver(s, ends, (subpacket) =>
      subpacket === eof && sendMessage(tcpChannel(ends.us, ends.them, 'reply')),
    ))),
  ],
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('abc')
    await c.fin()
    await outside.end()
  },
  orders: besidesClients(exact),
})

socketScenario('76-tcp-server-quits', {
  start: (s, port, transport) => [
    tcpBare({ transport, host }),
    s.process('L', listener(s, port, (ends) => receiver(s, ends, () => [
      sendMessage(tcpChannel(ends.us, ends.them, 'bye ')),
      sendMessage(tcpChannel(ends.us, ends.them, 'now')),
      quit(word('finished')),
    ]), { prints: ['absence'] })),
  ],
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('abc')
    await outside.end()
  },
  orders: besidesClients(exact),
})

// D9: the program's eof ends its own flow only. It is sent once, in reaction to the first data.
socketScenario('77-tcp-server-sends-eof', {
  start: (s, port, transport) => {
    const session = ({ them, us }: Ends): Action =>
      s.process('session', [
        s.publisher('session.p', tcpChannel(us, them, _)),
        s.subscriber<boolean>('session.s', tcpChannel(them, us, _), {
          onAbsence: () => quit(),
          onMessage: (_text, answered) => {
            if (answered) return undefined
            const [ok, end] = (['ok', eof] as const).map((part) => sendMessage(tcpChannel(us, them, part)))
            return transition<boolean>(true, ok, end)
          },
        }),
      ], {}, false)
    return [tcpBare({ transport, host }), s.process('L', listener(s, port, session))]
  },
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('abc')
    await c.write('more')
    await c.fin()
    await outside.end()
  },
  orders: {
    'client c: connected': shuffled,
    'client c: writes fin': inSequence([1, exact], [2, shuffled]),
  },
})

// D4: listening ends with the last interest, and begins again.
socketScenario('80-tcp-listener-close-and-reopen', {
  start: (s, port, transport) => {
    const listen = (): Action =>
      s.subscriber('L.l', tcpChannel(_, tcpListener(port), _), { interest: 'observer' })
    return [
      tcpBare({ transport, host }),
      s.process('L', listen(), { 1: () => deleteEndpoint('L.l', v`enough`), 2: listen }),
    ]
  },
  drive: async (outside) => {
    const one = await outside.client('one')
    await outside.signal(1)
    await outside.client('two')
    await outside.signal(2)
    await outside.client('three')
    await one.write('still')
    await outside.end()
  },
})

// D4: the socket that listened is closed with its owner.
socketScenario('84-tcp-participant-listener-owner-dies', {
  start: (s, port, transport) => [
    tcpBare({ transport, host }),
    s.process('L', s.subscriber('L.l', tcpChannel(_, tcpListener(port), _)), { 1: () => quit(v`gone`) }),
  ],
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('a')
    await outside.signal(1)
    await outside.client('d')
    await outside.end()
  },
})

socketScenario('86-tcp-nested-event-relay', {
  start: (s, port, transport) =>
    s.vm('N', [
      eventRelay(v`r`),
      tcpBare({ transport, host }),
      s.process('L', listener(s, port, ({ them, us }) =>
        s.process('session', s.subscriber('session', tcpChannel(them, us, _), {
          prints: NO_PRESENCE,
          onAbsence: () => quit(),
          onMessage: (_text, _state, body) => sendMessage(tcpChannel(us, them, subpacketOf(body))),
        })),
      )),
    ]),
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('hello')
    await c.fin()
    await outside.end()
  },
  orders: besidesClients(exact),
})

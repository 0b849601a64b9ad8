/** Scenarios 87-90: the flow-controlled driver: credit by lines and bytes, modes, and what may be sent. */
import {
  _, quit, sendFeedback, sendMessage, tcp, tcpChannel, tcpCredit, tcpListener, tcpMode,
  type Action, type ActionTree, type TcpChannel,
} from 'marketplace-native'
import type { Stage, Steps } from './harness.js'
import { besidesClients, exact, inSequence, shuffled } from './orders.js'
import { socketScenario, type SocketScenario } from './sockets.js'

/** What a session may do with its connection. */
interface Means {
  readonly credit: (n: number) => Action
  readonly mode: (name: 'lines' | 'bytes') => Action
  readonly send: (data: string | Buffer) => Action
}

/** What a session does: at once, and at the steps. */
type Script = (means: Means) => { readonly start?: ActionTree; readonly steps: Steps }

function sessions(script: Script): SocketScenario['start'] {
  return (s, port, transport) => [
    tcp({ transport, host: '127.0.0.1' }),
    s.process('L', s.subscriber('L.l', tcpChannel(_, tcpListener(port), _), {
      interest: 'observer',
      prints: [],
      onPresence: (_text, _state, topic) => session(s, topic as TcpChannel, script),
    })),
  ]
}

function session(s: Stage, { source: them, destination: us }: TcpChannel, script: Script): Action {
  const { start, steps } = script({
    credit: (n) => sendFeedback(tcpChannel(them, us, tcpCredit(n))),
    mode: (name) => sendFeedback(tcpChannel(them, us, tcpMode(name))),
    send: (data) => sendMessage(tcpChannel(us, them, data)),
  })
  return s.process('session', [
    s.subscriber('session.s', tcpChannel(them, us, _), { onAbsence: () => quit() }),
    s.publisher('session.p', tcpChannel(us, them, _)),
    start,
  ], steps)
}

/** The two flows of a connection come and go in either order. */
const opening = { 'client c: connected': shuffled }
const closing = besidesClients(inSequence([1, exact], [2, shuffled]))

socketScenario('87-tcpfc-lines', {
  start: sessions(({ credit, mode, send }) => ({
    start: [mode('lines'), credit(1)],
    steps: { 1: () => credit(1), 2: () => credit(5), 3: () => send(Buffer.from('ok\n')) },
  })),
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('one\ntwo\nthree\n')
    for (const n of [1, 2, 3]) await outside.signal(n)
    await outside.end()
  },
  orders: { ...opening, 'signal 3': besidesClients(exact) },
})

// D10: bytes are delivered as they come, never more than the credit.
socketScenario('88-tcpfc-bytes', {
  start: sessions(({ credit }) => ({ steps: { 1: () => credit(4), 2: () => credit(100), 3: () => [] } })),
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('abcdefghij')
    await outside.signal(1)
    await outside.signal(2)
    await c.write('kl')
    await outside.signal(3)
    await c.fin()
    await outside.end()
  },
  orders: { ...opening, 'client c: writes fin': closing },
})

socketScenario('89-tcpfc-mode-switch', {
  start: sessions(({ credit, mode }) => ({
    start: [mode('lines'), credit(10)],
    steps: { 1: () => mode('bytes'), 2: () => credit(4) },
  })),
  drive: async (outside) => {
    const c = await outside.client('c')
    await c.write('head\nbody')
    await outside.signal(1)
    await outside.signal(2)
    await c.fin()
    await outside.end()
  },
  orders: { ...opening, 'client c: writes fin': closing },
})

// D7: the connection closes, and the reason says what was illegal.
socketScenario('90-tcpfc-string-refused', {
  start: sessions(({ send }) => ({ steps: { 1: () => send('text') } })),
  drive: async (outside) => {
    await outside.client('c')
    await outside.signal(1)
    await outside.end()
  },
  orders: { ...opening, 'signal 1': besidesClients(shuffled) },
  check: (t, s) => {
    t.match(s.errors[0]?.message, 'text', 'the reason says what was illegal')
  },
})

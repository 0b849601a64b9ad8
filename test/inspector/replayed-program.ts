/**
 * A program that is recorded and replayed: it has a driver for sockets, timers, a nested VM with relays, an event
 * source of its own, promises, a failure and values of many kinds. `CHANGE` in the environment is what somebody has
 * changed.
 */
import { readFile } from 'node:fs/promises'
import {
  _, atMetaLevel, defineRecord, endpoint, eof, eventRelay, eventSource, groundVm, inspector, nestedVm, quit,
  sendMessage, setTimer, spawn, supervise, tcpBare, tcpChannel, tcpListener, tcpListening, timerDriver, timerExpired,
  timerRelay, transition, type ActionTree, type EventSink, type TcpEnd,
} from 'marketplace-native'

const change = process.env['CHANGE']
const port = Number(process.env['PORT'] ?? 0)
const line = defineRecord('replayed-line', ['n', 'text', 'more'])

let feed: EventSink<unknown> | undefined
const source = eventSource<unknown>('lines', (sink) => { feed = sink })
const label = Symbol('a label of its own')

const conversation = (them: TcpEnd, us: TcpEnd) => transition(0, [
  endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: ({ subpacket }, n: number) => {
      if (subpacket === eof) return undefined
      const texts = String(subpacket).trim().split('\n')
      return transition(n + texts.length, texts.map((text, i) => sendMessage(line(n + i, text, [
        text, n, new Map([['n', BigInt(n)]]), { nan: NaN, none: undefined }, label,
      ]))))
    },
  }),
  endpoint.subscriber(['reply', _], {
    onMessage: ([, text]) => sendMessage(tcpChannel(us, them, `${String(text)}\n`)),
  }),
])

const counter = () => transition({ heard: 0, last: '' }, [
  endpoint.subscriber(line(_, _, _), {
    onMessage: ({ text }, { heard }) => {
      if (text === 'fail') throw new Error('as it was told to')
      const by = change === 'count' && text === 'three' ? 2 : 1
      const next = { heard: heard + by, last: text as string }
      if (text === 'later') return transition(next, sendMessage(setTimer(label, 5, 'relative')))
      if (text === 'file') return transition(next, sendMessage(['read', 1]))
      if (text === 'feed') {
        feed?.fire({ given: new Date(0), bytes: Buffer.from([1, 2]) })
        return transition(next)
      }
      if (text === 'inside') return transition(next, sendMessage(['inside', heard]))
      return transition(next, sendMessage(['reply', `${next.heard} ${text as string}`]))
    },
  }),
  endpoint.subscriber(timerExpired(label, _), { onMessage: () => sendMessage(['reply', 'it is later']) }),
])

const reader = (): ActionTree => endpoint.subscriber(['read', _], {
  onMessage: async () => {
    const { length } = await readFile(new URL(import.meta.url))
    return sendMessage(['reply', `a file: ${length > 0}`])
  },
})

const room = (): ActionTree => [
  eventRelay(), timerRelay(),
  spawn(() => [
    atMetaLevel(endpoint.subscriber(['inside', _], {
      onMessage: ([, n]) => sendMessage(setTimer(['inside', n], 2, 'relative')),
    })),
    endpoint.subscriber(timerExpired(['inside', _], _), {
      onMessage: ({ label: which }) => {
        const [, n] = which as unknown as unknown[]
        return atMetaLevel(sendMessage(['reply', `inside ${String(n)}`]))
      },
    }),
    endpoint.subscriber([source, _], { onMessage: ([, value]) => atMetaLevel(sendMessage(['fed', value])) }),
  ], { name: 'listener' }),
]

const vm = groundVm(() => [
  ...change === 'no inspector' ? [] : [inspector({ print: false })],
  tcpBare({ host: '127.0.0.1' }), timerDriver(),
  supervise([{ name: 'counter', boot: counter }]),
  spawn(reader, { name: 'reader' }),
  nestedVm(room, { name: 'room' }),
  spawn(() => endpoint.subscriber(['fed', _], {
    onMessage: ([, value]) => sendMessage(['reply', `fed ${JSON.stringify(value)}`]),
  }), { name: 'fed' }),
  spawn(() => endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => spawn(() => conversation(them, us), { name: 'conversation' }),
  }), { name: 'server' }),
  spawn(() => endpoint.subscriber(tcpListening(tcpListener(port), _), {
    onPresence: ({ address }) => { process.stdout.write(`listening on ${address.port}\n`) },
  }), { name: 'teller' }),
  spawn(() => endpoint.subscriber(line(_, 'end', _), {
    onMessage: () => { void vm.stop() },
  }), { name: 'ender' }),
])
await vm

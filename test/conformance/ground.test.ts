/** Scenarios 43, 60 and 62: when the ground VM ends, what it can't do, and its event sources. */
import { atMetaLevel, deleteEndpoint, eventSource, sendMessage, transition } from 'marketplace-native'
import { scenario, settled } from './harness.js'
import { v, word } from './notation.js'
import { exact, inSequence, shuffled } from './orders.js'

scenario('43-ground-returns-when-idle', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(x ?)`)),
    s.process('B', s.publisher('B.b', v`(x 1)`)),
  ],
  orders: { start: shuffled },
})

// D1: the acting process alone ends. It has an endpoint here, so that somebody hears of it.
scenario('60-meta-at-ground', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(p ?)`, { prints: ['absence', 'message'] })),
    s.process('P', s.publisher('P.p', v`(p 1)`, { prints: ['absence'] }), {
      1: () => [atMetaLevel(sendMessage(v`(x)`)), sendMessage(v`(p 1)`)],
    }),
  ],
  check: (t, s) => {
    t.match(s.errors[0]?.message, 'sendMessage', 'the error says which action')
  },
})

scenario('62-ground-event', {
  start: (s) => {
    const source = eventSource<unknown>('E', (sink) => {
      signal = (value) => { sink.fire(value) }
    })
    return [
      s.process('P', s.subscriber<number>('P.e', v`(${source} ?)`, {
        onMessage: (_text, count) => transition(count + 1, count === 2 && deleteEndpoint('P.e')),
      }), {}, 0),
      s.process('O', s.subscriber('O.o', v`(${source} ?)`, { interest: 'observer' })),
      s.process('R', s.subscriber('R.r', v`(? ?)`)),
    ]
  },
  drive: async () => {
    for (let i = 0; i < 4; i++) {
      signal(word('fired'))
      await settled()
    }
  },
  orders: inSequence([1, exact], [2, shuffled], [1, exact], [2, shuffled], [1, exact], [2, shuffled]),
})

/** Signals the event of scenario 62. */
let signal: (value: unknown) => void = () => undefined

/** Scenarios 01-06, 09-12, 32 and 44: who is told of whom, with which reason; who gets which message. */
import { deleteEndpoint, quit, sendMessage, type Interest } from 'marketplace-native'
import { MESSAGES, NO_PRESENCE, scenario, type Stage } from './harness.js'
import { v } from './notation.js'
import { adjacent, chunks, exact, inSequence, shuffled } from './orders.js'

scenario('01-presence-both', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(x ?)`)),
    s.process('B', [], { 1: () => s.publisher('B.b', v`(x 1)`) }),
  ],
})

scenario('02-presence-many-peers', {
  start: (s) => [
    s.process('A', [s.subscriber('A.a1', v`(x ?)`), s.subscriber('A.a2', v`?`)]),
    s.process('B', [s.subscriber('B.b1', v`(x 2)`), s.subscriber('B.b2', v`(x 1)`)]),
    s.process('C', [], { 1: () => s.publisher('C.c', v`(x 1)`) }),
  ],
  orders: chunks(2),
})

scenario('03-absence-delete-reason', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(x ?)`, { prints: NO_PRESENCE })),
    s.process('B', s.publisher('B.b', v`(x 1)`, { name: 'b', prints: NO_PRESENCE }), {
      1: () => deleteEndpoint('b', v`bye`),
      2: () => deleteEndpoint('b', v`bye`),
      3: () => s.publisher("B.b'", v`(x 1)`, { name: 'b' }),
    }),
  ],
})

scenario('04-absence-default-reason', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(x ?)`, { prints: NO_PRESENCE })),
    s.process('B', s.publisher('B.b', v`(x 1)`, { name: 'b', prints: NO_PRESENCE }), {
      1: () => deleteEndpoint('b'),
    }),
  ],
})

/** For each peer, the peer first and then, at once, the one that goes. */
const bothTold = adjacent(shuffled, ['A.a: absence', 'B.b: absence'])

scenario('05-quit-reason', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(x ?)`, {
      prints: NO_PRESENCE,
      onAbsence: () => sendMessage(v`(noted)`),
    })),
    s.process(
      'B',
      s.publisher('B.b', v`(x 1)`, { prints: NO_PRESENCE, onAbsence: () => sendMessage(v`(ghost)`) }),
      { 1: () => [sendMessage(v`(last-words)`), quit(v`(done 7)`), sendMessage(v`(never)`)] },
    ),
    s.process('W', s.subscriber('W.w', v`?`, { prints: MESSAGES })),
  ],
  orders: { 'step 1': inSequence([1, exact], [3, bothTold], [1, exact]) },
})

scenario('06-crash-in-handler', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(x ?)`, { prints: NO_PRESENCE })),
    s.process('B', [
      s.publisher('B.b', v`(x 1)`, { prints: NO_PRESENCE }),
      s.subscriber('B.c', v`(boom)`, {
        onMessage: () => {
          throw new Error('kaboom')
        },
      }),
    ]),
    s.process('S', [], { 1: () => [sendMessage(v`(boom)`), sendMessage(v`(after)`)] }),
    s.process('W', s.subscriber('W.w', v`?`, { prints: MESSAGES })),
  ],
  orders: { 'step 1': inSequence([2, shuffled], [1, exact], [3, bothTold]) },
})

const INTERESTS: readonly Interest[] = ['participant', 'observer', 'everything']

function listenersOfAllInterests(s: Stage): ReturnType<Stage['process']> {
  return s.process('L', INTERESTS.map((interest) => s.subscriber(`L.${interest}`, v`(t ?)`, { interest })))
}

scenario('09-interest-table', {
  start: (s) => {
    const add = (interest: Interest, topic: unknown) => () =>
      s.publisher(`P.${interest}`, topic, { interest })
    const remove = (interest: Interest) => () => deleteEndpoint(`P.${interest}`, v`r`)
    return [
      listenersOfAllInterests(s),
      s.process('P', [], {
        1: add('participant', v`(t 1)`),
        2: add('observer', v`(t 2)`),
        3: add('everything', v`(t 3)`),
        4: remove('participant'),
        5: remove('observer'),
        6: remove('everything'),
      }),
    ]
  },
  orders: adjacent(
    shuffled,
    ['L.participant: presence', 'P.participant: presence'],
    ['L.everything: presence of publisher everything', 'P.everything: presence of subscriber everything'],
    ['L.participant: absence', 'P.participant: absence'],
    ['L.everything: absence of publisher everything', 'P.everything: absence of subscriber everything'],
  ),
})

scenario('10-interest-ignored-for-messages', {
  start: (s) => [listenersOfAllInterests(s), s.process('S', [], { 1: () => sendMessage(v`(t 9)`) })],
  orders: shuffled,
})

scenario('11-self-presence', {
  start: (s) =>
    s.process('P', [], {
      1: () => s.subscriber('P.s', v`(me ?)`),
      2: () => s.publisher('P.p', v`(me 1)`),
      3: () => deleteEndpoint('P.s', v`z`),
    }),
})

scenario('12-self-message-first', {
  start: (s) => [
    s.process('P', s.subscriber('P.p', v`(m ?)`)),
    s.process('Q', s.subscriber('Q.q', v`(m ?)`), { 1: () => sendMessage(v`(m 1)`) }),
    s.process('Z', s.subscriber('Z.z', v`(m ?)`)),
  ],
  orders: { 'step 1': inSequence([1, exact], [2, shuffled]) },
})

scenario('32-endpoint-names-are-per-process', {
  start: (s) => [
    s.process('P', s.subscriber('P.n', v`(nm ?)`, { name: 'n', prints: NO_PRESENCE }), {
      1: () => deleteEndpoint('n'),
    }),
    s.process('Q', s.subscriber('Q.n', v`(nm ?)`, { name: 'n', prints: NO_PRESENCE })),
    s.process('R', s.publisher('R.n', v`(nm ?)`, { name: 'n', prints: NO_PRESENCE }), {
      2: () => sendMessage(v`(nm 1)`),
    }),
  ],
})

scenario('44-presence-of-existing-for-newcomer', {
  start: (s) => {
    const child = (topic: unknown): ReturnType<Stage['process']> => {
      const label = `child-${String((topic as unknown[])[1])}`
      return s.process(label, s.subscriber(label, topic, { onAbsence: () => quit() }))
    }
    return [
      s.process('F', s.subscriber('F.f', v`(svc ?)`, {
        interest: 'observer',
        onPresence: (_text, _state, topic) => child(topic),
      })),
      s.process('P', s.publisher('P.p1', v`(svc 1)`), {
        1: () => s.publisher('P.p2', v`(svc 2)`),
        2: () => deleteEndpoint('P.p1', v`gone`),
      }),
    ]
  },
  // In step 2 F and the child are told in either order; P right after the child.
  orders: { 'step 2': adjacent(shuffled, ['child-1: absence', 'P.p1: absence']) },
})

/** Scenarios 45-54 and 56-61: what crosses levels, and what doesn't; how nested VMs end; a chat server. */
import {
  atMetaLevel, deleteEndpoint, kill, quit, sendFeedback, sendMessage, spawn, type Action, type ActionTree,
} from 'marketplace-native'
import { MESSAGES, NO_PRESENCE, scenario, SILENT, type Stage, type Steps } from './harness.js'
import { v } from './notation.js'
import { adjacent, exact, inSequence, perLabel, shuffled } from './orders.js'

const quiet = { prints: NO_PRESENCE }

scenario('45-nested-meta-endpoint', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(n ?)`)),
    s.vm('N', [
      s.process('I', [], {
        1: () => [atMetaLevel(s.publisher('I.i(meta)', v`(n 1)`)), s.publisher('I.j', v`(n 2)`)],
      }),
      s.process('J', s.subscriber('J.k', v`(n ?)`)),
    ]),
  ],
})

scenario('47-nested-meta-messages', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(m ?)`, {
      ...quiet,
      onMessage: (text) => text === '(m 1)' && [sendFeedback(v`(m 1)`), sendMessage(v`(back 2)`)],
    })),
    s.vm('N', [
      s.process(
        'I',
        [
          atMetaLevel(s.publisher('I.i1(meta)', v`(m ?)`, quiet)),
          atMetaLevel(s.subscriber('I.i2(meta)', v`(back ?)`, {
            onMessage: () => sendMessage(v`(inner ok)`),
          })),
        ],
        { 1: () => atMetaLevel(sendMessage(v`(m 1)`)), 2: () => sendMessage(v`(m 1)`) },
      ),
      s.process('J', s.subscriber('J.j', v`(inner ?)`)),
    ]),
  ],
})

scenario('48-nested-meta-spawn', {
  start: (s) => {
    const parent = (): Action => {
      s.print('k runs')
      return sendMessage(v`(got)`)
    }
    return [
      s.process('A', s.subscriber('A.a', v`(n ?)`)),
      s.vm('N', [
        s.process('I', [], {
          1: () => atMetaLevel(spawn(() => s.publisher('C.c', v`(n 3)`), { name: 'C', parent })),
          2: () => atMetaLevel(spawn(() => s.publisher('C2.c', v`(n 4)`), { name: 'C2' })),
        }),
        s.process('J', s.subscriber('J.j', v`(got)`)),
      ]),
    ]
  },
  orders: { 'step 1': inSequence([1, exact], [3, adjacent(shuffled, ['A.a', 'C.c'])]) },
})

/** Ground: A. Nested VM N: I with an endpoint at each level, J beside it. */
function innerProcess(
  s: Stage,
  steps: { readonly A?: Steps; readonly I?: Steps; readonly J?: ActionTree },
  onMessage?: () => never,
): ActionTree {
  return [
    s.process('A', s.subscriber('A.a', v`(n ?)`, quiet), steps.A),
    s.vm('N', [
      s.process(
        'I',
        [
          atMetaLevel(s.publisher('I.i(meta)', v`(n 1)`, { ...quiet, ...(onMessage && { onMessage }) })),
          s.publisher('I.ii', v`(z 1)`, quiet),
        ],
        steps.I,
      ),
      s.process('J', [s.subscriber('J.j', v`(z ?)`, quiet), steps.J]),
    ]),
  ]
}

scenario('50-nested-inner-quit', {
  start: (s) => innerProcess(s, { I: { 1: () => quit(v`done`) } }),
})

scenario('51-nested-inner-crash', {
  start: (s) =>
    innerProcess(
      s,
      {
        A: { 1: () => sendFeedback(v`(n 1)`), 2: () => sendFeedback(v`(n 2)`) },
        J: atMetaLevel(s.publisher('J.jj(meta)', v`(n 2)`, quiet)),
      },
      () => {
        throw new Error('inner-boom')
      },
    ),
})

scenario('52-nested-killed-from-outside', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(n ?)`, quiet)),
    s.process('K', [], { 1: () => kill(s.pid('N'), v`axe`) }),
    s.vm('N', s.process('I', atMetaLevel(s.publisher('I.i(meta)', v`(n 1)`, {
      ...quiet,
      onAbsence: () => atMetaLevel(sendMessage(v`(ghost)`)),
    })))),
    s.process('W', s.subscriber('W.w', v`(ghost)`)),
  ],
})

// D1: I alone quits. That N lives is seen at step 2, from J.
scenario('54-nested-vm-crash', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(n ?)`, quiet), { 2: () => sendFeedback(v`(n 2)`) }),
    s.vm('N', [
      s.process('I', [
        atMetaLevel(s.publisher('I.i(meta)', v`(n 1)`, quiet)),
        s.publisher('I.e', v`(z 1)`, { ...quiet, name: 'the-name' }),
      ], { 1: () => s.publisher('I.e', v`(z 2)`, { ...quiet, name: 'the-name' }) }),
      s.process('J', atMetaLevel(s.publisher('J.jj(meta)', v`(n 2)`, quiet))),
    ]),
  ],
  check: (t, s) => {
    t.ok(s.errors[0])
    for (const part of ['the-name', '1', '2']) t.match(s.errors[0]?.message, part)
  },
})

scenario('56-nested-two-endpoints-same-name', {
  start: (s) => {
    const inner = (name: string, topic: unknown, steps?: Steps): Action => {
      const same = s.publisher(`${name}.same(meta)`, topic, { ...quiet, name: 'same' })
      return s.process(name, atMetaLevel(same), steps)
    }
    return [
      s.process('A', s.subscriber('A.a', v`(n ?)`, quiet), { 2: () => sendFeedback(v`(n 2)`) }),
      s.vm('N', [
        inner('I1', v`(n 1)`, { 1: () => atMetaLevel(deleteEndpoint('same', v`r1`)) }),
        inner('I2', v`(n 2)`),
      ]),
    ]
  },
})

scenario('58-two-levels', {
  start: (s) => {
    const second = (body: unknown): unknown => (body as readonly unknown[])[1]
    const relay = s.process('R', [
      atMetaLevel(s.subscriber('R.r1(meta)', v`(down ?)`, {
        onMessage: (_text, _state, body) => sendMessage(body),
      })),
      s.subscriber('R.r2', v`(up ?)`, {
        onMessage: (_text, _state, body) => atMetaLevel(sendMessage(v`(g ${second(body)})`)),
      }),
    ])
    const leaf = s.process('I', [], {
      1: () => atMetaLevel(s.subscriber('I.i1(meta)', v`(down ?)`, {
        onMessage: (_text, _state, body) => atMetaLevel(sendMessage(v`(up ${second(body)})`)),
      })),
      3: () => quit(v`leaf`),
    })
    return [
      s.process('G', s.subscriber('G.g', v`(g ?)`), { 2: () => sendMessage(v`(down 1)`) }),
      s.vm('M', [relay, s.vm('L', leaf), s.process('S', s.publisher('S.s', v`(down ?)`))]),
    ]
  },
})

/** A session of the chat server for one user. */
function chatSession(user: unknown): (s: Stage) => Action {
  return (s) => {
    const part = (message: unknown, i: number): unknown => (message as readonly unknown[])[i]
    const tell = (text: string): Action => atMetaLevel(sendMessage(v`(out ${user} ${text})`))
    const who = (topic: unknown): string => s.show(part(topic, 0))
    const others = { prints: SILENT } as const
    return s.process(`session ${s.show(user)}`, [
      s.publisher('says', v`(${user} says ?)`, others),
      atMetaLevel(s.subscriber('conn', v`(conn ${user} ?)`, {
        ...others,
        onAbsence: () => quit(),
        onMessage: (_text, _state, body) => sendMessage(v`(${user} says ${part(body, 2)})`),
      })),
      tell(`You are ${s.show(user)}`),
      atMetaLevel(s.publisher('out', v`(out ${user} ?)`, others)),
      s.subscriber('others', v`(? says ?)`, {
        ...others,
        onPresence: (_text, _state, topic) => part(topic, 0) !== user && tell(`${who(topic)} arrived`),
        onAbsence: (_text, _state, topic) => part(topic, 0) !== user && tell(`${who(topic)} departed`),
        onMessage: (_text, _state, body) => tell(`${who(body)}: ${s.show(part(body, 2))}`),
      }),
    ])
  }
}

scenario('61-chat-shape', {
  start: (s) => {
    const connect = (user: unknown): Action[] => [
      s.publisher(`c${s.show(user)}`, v`(conn ${user} ?)`, { prints: SILENT }),
      s.subscriber(`socket ${s.show(user)}`, v`(out ${user} ?)`, { prints: MESSAGES }),
    ]
    return [
      s.process('D', [], {
        1: () => connect(v`a`),
        2: () => connect(v`b`),
        3: () => sendMessage(v`(conn a hi)`),
        4: () => [deleteEndpoint('ca', v`left`), deleteEndpoint('socket a', v`left`)],
      }),
      s.vm('N', s.process('listener', atMetaLevel(s.subscriber('listener', v`(conn ? ?)`, {
        interest: 'observer',
        prints: SILENT,
        onPresence: (_text, _state, topic) => chatSession((topic as readonly unknown[])[1])(s),
      })))),
    ]
  },
  orders: perLabel,
})

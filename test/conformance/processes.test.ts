/** Scenarios 07, 08, 25-30 and 33-40: crashes, batches and turns, endpoints replaced, spawns, quits. */
import type { Test } from 'tap'
import {
  deleteEndpoint, kill, sendFeedback, sendMessage, spawn, transition, yieldTurn,
  type Action, type Pid,
} from 'marketplace-native'
import { NO_PRESENCE, scenario, SILENT, type Stage } from './harness.js'
import { v } from './notation.js'
import { chunks, exact, inSequence, shuffled } from './orders.js'

scenario('07-crash-after-queued-actions', {
  start: (s) => [
    s.process('B', [
      s.publisher('B.b', v`(x ?)`, { prints: NO_PRESENCE }),
      s.subscriber('B.c', v`(cmd ?)`, {
        onMessage: (text) => {
          if (text === '(cmd bad)') throw new Error('oops')
          return sendMessage(text === '(cmd good)' ? v`(result 1)` : v`(result 3)`)
        },
      }),
    ]),
    s.process('S', [], {
      1: () => [sendMessage(v`(cmd good)`), sendMessage(v`(cmd bad)`), sendMessage(v`(cmd late)`)],
    }),
    s.process('A', s.subscriber('A.a', v`(x ?)`, { prints: NO_PRESENCE })),
    s.process('W', s.subscriber('W.w', v`(result ?)`)),
  ],
})

scenario('08-crash-keeps-old-state', {
  start: (s) => [
    s.process('P', s.subscriber<number>('P', v`(n ?)`, {
      prints: SILENT,
      onMessage: (text, state) => {
        s.print(`P: ${text.slice(3, -1)} with state ${state}`)
        const next = transition(text === '(n bad)' ? state + 100 : state + 1)
        if (text === '(n bad)') throw new Error('bad')
        return next
      },
    }), {}, 0),
    s.process('S', [], {
      1: () => [sendMessage(v`(n inc)`), sendMessage(v`(n bad)`), sendMessage(v`(n inc)`)],
    }),
    s.process('W', s.publisher('W.w', v`(n ?)`, { prints: NO_PRESENCE })),
  ],
})

// Both senders are set off by one message, so that their batches are queued in the same round.
scenario('25-fifo-per-sender', {
  start: (s) => {
    const sender = (name: string, word: unknown): Action =>
      s.process(name, s.subscriber(name, v`(go)`, {
        prints: SILENT,
        onMessage: () => [1, 2, 3].map((n) => sendMessage(v`(q ${word} ${n})`)),
      }))
    return [
      s.process('W', s.subscriber('W', v`(q ? ?)`)),
      sender('S1', v`s1`),
      sender('S2', v`s2`),
      s.process('T', [], { 1: () => sendMessage(v`(go)`) }),
    ]
  },
  orders: { 'step 1': chunks(3) },
})

scenario('27-send-before-subscribe', {
  start: (s) =>
    s.process('P', [], {
      1: () => [
        sendMessage(v`(z 1)`),
        s.subscriber('P.p', v`(z ?)`),
        sendMessage(v`(z 2)`),
        deleteEndpoint('P.p'),
        sendMessage(v`(z 3)`),
      ],
    }),
})

scenario('28-update-same-role', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(u ?)`), { 2: () => sendFeedback(v`(u 1)`) }),
    s.process('B', s.publisher('B.b v1', v`(u 1)`, { name: 'b' }), {
      1: () => s.publisher('B.b v2', v`(u 1)`, { name: 'b' }),
    }),
  ],
  orders: { start: shuffled },
})

/** D1: the error says which endpoint it is about, and both roles. */
function namesRoles(t: Test, s: Stage, name: string, ...topics: readonly string[]): void {
  const [error] = s.errors
  t.ok(error, 'an error is the reason')
  for (const part of [name, 'publisher', ...topics]) t.match(error?.message, part)
}

scenario('29-update-role-mismatch', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(u ?)`), { 2: () => sendFeedback(v`(u 1)`) }),
    s.process('B', s.publisher('B.b v1', v`(u 1)`, { name: 'the-name' }), {
      1: () => [s.publisher('B.b v2', v`(u 2)`, { name: 'the-name' }), sendMessage(v`(u 3)`)],
    }),
  ],
  orders: { start: shuffled },
  check: (t, s) => { namesRoles(t, s, 'the-name', '1', '2') },
})

scenario('30-update-role-renamed-wildcards', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(u ? ?)`), { 3: () => sendFeedback(v`(u 1 2)`) }),
    s.process('B', s.publisher('B.b v1', v`(u ? ?)`, { name: 'the-name' }), {
      1: () => s.publisher('B.b v2', v`(u ?P ?Q)`, { name: 'the-name' }),
      2: () => s.publisher('B.b v3', v`(u ?X ?X)`, { name: 'the-name' }),
    }),
  ],
  orders: { start: shuffled },
  check: (t, s) => { namesRoles(t, s, 'the-name') },
})

scenario('33-spawn-parent-k', {
  start: (s) => {
    const child = (): Action => {
      s.print('C boots as P+1')
      return sendMessage(v`(log child)`)
    }
    const parent = (pid: Pid): Action => {
      s.print(`k got pid P+${pid - s.pid('P')}`)
      return sendMessage(v`(log from-k)`)
    }
    return [
      s.process('W', s.subscriber('W', v`(log ?)`)),
      s.process('P', [], {
        1: () => [
          sendMessage(v`(log before)`),
          spawn(child, { name: 'C', parent }),
          sendMessage(v`(log after)`),
        ],
      }),
    ]
  },
  orders: { 'step 1': inSequence([4, exact], [2, shuffled]) },
})

scenario('34-spawn-boot-failure', {
  start: (s) => {
    const child = (name: string, k: string, boot: () => Action): Action =>
      spawn(
        () => {
          s.print(`${name} boot`)
          return boot()
        },
        { name, parent: (pid) => { s.print(`${k} got pid P+${pid - s.pid('P')}`) } },
      )
    const fail = (): never => {
      throw new Error('nope')
    }
    return [
      s.process('A', s.subscriber('A.a', v`(dd ?)`)),
      s.process('P', [], {
        1: () => [child('C', 'k1', fail), child('D', 'k2', () => s.publisher('D.d', v`(dd 1)`))],
      }),
    ]
  },
})

scenario('35-spawn-boot-bad-value', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(dd ?)`)),
    s.process('P', [], {
      1: () => [
        spawn(() => 5 as never, { name: 'C', parent: () => { s.print('k runs') } }),
        spawn(() => s.publisher('D.d', v`(dd 1)`), { name: 'D' }),
      ],
    }),
  ],
})

scenario('37-quit-sibling', {
  start: (s) => [
    s.process('V', s.publisher('V.v', v`(vv 1)`, { prints: NO_PRESENCE })),
    s.process('A', s.subscriber('A.a', v`(vv ?)`, { prints: NO_PRESENCE })),
    s.process('K', s.subscriber('K.k', v`(vv ?)`, { prints: NO_PRESENCE }), {
      1: () => [kill(s.pid('V'), v`(killed)`), sendMessage(v`(kmsg)`)],
      2: () => kill(s.pid('V')),
    }),
    s.process('W', s.subscriber('W', v`(kmsg)`)),
  ],
  // D11: each remaining peer, then V's own handler about that peer; the killer is a peer like any other.
  orders: { 'step 1': inSequence([4, chunks(2)], [1, exact]) },
})

scenario('38-quit-own-pid-explicit', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(pp ?)`, { prints: NO_PRESENCE })),
    s.process('P', s.publisher('P.p', v`(pp 1)`, { prints: NO_PRESENCE }), {
      1: () => [kill(s.pid('P'), v`own`), sendMessage(v`(never)`)],
    }),
    s.process('W', s.subscriber('W', v`(never)`)),
  ],
})

scenario('40-yield-order', {
  start: (s) => {
    const k = (): Action => {
      s.print('k runs')
      return sendMessage(v`(y 3)`)
    }
    return [
      s.process('W', s.subscriber('W', v`(y ?)`)),
      s.process('P', [], { 1: () => [sendMessage(v`(y 1)`), yieldTurn(k), sendMessage(v`(y 2)`)] }),
    ]
  },
})

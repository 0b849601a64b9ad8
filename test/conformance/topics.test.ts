/** Scenarios 14-24: where topics meet, what equals what, orientation, and the order of action trees. */
import { sendFeedback, sendMessage, type ActionTree } from 'marketplace-native'
import { scenario } from './harness.js'
import { v } from './notation.js'

scenario('14-topic-both-sides', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(chat ? (to bob))`)),
    s.process('B', [], {
      1: () => s.publisher('B.b1', v`(chat alice ?)`),
      2: () => s.publisher('B.b2', v`(chat ? ?)`),
      3: () => s.publisher('B.b3', v`(? carol (to ?))`),
      4: () => s.publisher('B.b4', v`(chat alice (to eve))`),
    }),
  ],
})

// The original's topic is a pair with a wildcard for a tail; arrays have no tails: its list is written out.
scenario('15-topic-canonical-numbering', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(q ? #(? 3 ?) ?)`)),
    s.process('B', [], { 1: () => s.publisher('B.b', v`(q (1 ?) ? ?)`) }),
  ],
})

scenario('16-topic-vectors', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`#(v ? 2)`)),
    s.process('B', [], {
      1: () => s.publisher('B.b1', v`#(v 1 ?)`),
      2: () => s.publisher('B.b2', v`#(v 1)`),
      3: () => s.publisher('B.b3', v`(v 1 2)`),
      4: () => s.publisher('B.b4', v`#(v #(?) ?)`),
    }),
  ],
})

scenario('17-topic-structs', {
  start: (s) => {
    // An instance of a class is opaque: equal only to itself.
    const Op = class op {
      constructor(readonly x: number) {}
    }
    const ob = new Op(1)
    return [
      s.process('A', [
        s.subscriber('A.a1', v`addr{? 80}`),
        s.subscriber('A.a2', v`pt{? ?}`),
        s.subscriber('A.a3(opaque)', ob),
      ]),
      s.process('B', [], {
        1: () => s.publisher('B.b1', v`addr{"h" ?}`),
        2: () => s.publisher('B.b2', v`adr2{"h" 80}`),
        3: () => s.publisher('B.b3', v`pt{1 addr{? 2}}`),
        4: () => s.publisher('B.b4', ob),
        5: () => s.publisher('B.b5', new Op(1)),
        6: () => [s.publisher('B.b6', v`#(addr "h" 80)`), s.publisher('B.b7', v`("h" 80)`)],
      }),
    ]
  },
})

scenario('18-repeated-variable', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(same ?X ?X)`)),
    s.process('B', [], {
      1: () => s.publisher('B.b1', v`(same 1 ?)`),
      2: () => s.publisher('B.b2', v`(same ? ?)`),
      3: () => s.publisher('B.b3', v`(same 1 2)`),
      4: () => s.publisher('B.b4', v`(same (p ?) (? q))`),
    }),
    s.process('S', [], { 5: () => [sendMessage(v`(same 5 5)`), sendMessage(v`(same 5 6)`)] }),
  ],
})

// The two kinds of numbers that differ are numbers and bigints, as JavaScript's 1 is 1.0.
scenario('21-atoms', {
  start: (s) => [
    s.process('A', [
      s.subscriber('A(n 1)', v`(n 1)`),
      s.subscriber('A(n 1n)', v`(n 1n)`),
      s.subscriber('A(s "a")', v`(s "a")`),
      s.subscriber('A(b bytes)', v`(b #"a")`),
      s.subscriber('A(y a)', v`(y a)`),
      s.subscriber('A(e)', v`(e)`),
      s.subscriber('A(l #t)', v`(l #t)`),
    ]),
    s.process('S', [], {
      1: () =>
        [
          v`(n 1)`, v`(n 1n)`, v`(s "a")`, v`(b #"a")`, v`(y a)`, v`(y "a")`, v`(e)`, v`(l #t)`, v`(l #f)`,
        ].map((body) => sendMessage(body)),
    }),
  ],
})

scenario('23-orientation', {
  start: (s) => [
    s.process('A', s.subscriber('A.sub', v`(f ?)`, { prints: ['message'], withRole: true }), {
      2: () => sendFeedback(v`(f 2)`),
      4: () => sendMessage(v`(f 4)`),
    }),
    s.process('B', s.publisher('B.pub', v`(f ?)`, { prints: ['message'], withRole: true }), {
      1: () => sendMessage(v`(f 1)`),
      3: () => sendMessage(v`(f 3)`, 'subscriber'),
    }),
  ],
})

// What the original writes as a pair of two actions is an array here.
scenario('24-action-tree-order', {
  start: (s) => {
    const say = (n: number): ActionTree => sendMessage(v`(o ${n})`)
    return [
      s.process('W', s.subscriber('W', v`(o ?)`)),
      s.process('S', [], {
        1: () => [
          [say(1), [false, [say(2), undefined], [], say(3)], [[say(4)]], null, say(5)],
          [say(6), say(7)],
        ],
      }),
    ]
  },
})

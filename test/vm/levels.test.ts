/** Nested VMs, three levels deep, in both directions. */
import { run } from './harness.js'
import t from 'tap'
import {
  _, atMetaLevel, deleteEndpoint, endpoint, nestedVm, quit, sendFeedback, sendMessage, spawn, transition,
  yieldTurn, type Action, type ActionTree,
} from 'marketplace-native'

/** The action so many levels out. */
const out = (levels: number, action: Action): Action =>
  levels === 0 ? action : out(levels - 1, atMetaLevel(action))

/** Processes so many levels in, beside something that keeps the VMs between alive. */
const inside = (levels: number, actions: () => ActionTree): ActionTree =>
  levels === 0 ? actions() : nestedVm(() => inside(levels - 1, actions))

for (const depth of [1, 2, 3]) {
  t.test(`${depth} level(s) out: presence, messages and feedback both ways`, async (t) => {
    const { lines, ended } = await run((print) => [
      spawn(() =>
        endpoint.subscriber(['up', _], {
          onPresence: (topic) => {
            print('ground: presence', topic[1])
            return sendFeedback(['up', 'feedback'])
          },
          onMessage: ([, what]) => {
            print('ground:', what)
            return sendMessage(['down', what])
          },
          onAbsence: (_topic, _state, reason) => print('ground: absence', reason),
        }),
      ),
      spawn(() => endpoint.publisher(['down', _], { onPresence: () => print('ground: down is wanted') })),
      inside(depth, () => [
        out(depth, endpoint.publisher(['up', _], {
          name: 'up',
          onPresence: () => print('inner: presence'),
          onMessage: ([, what]) => {
            print('inner:', what)
            return out(depth, sendMessage(['up', 'hello']))
          },
        })),
        out(depth, endpoint.subscriber(['down', _], {
          onMessage: ([, what]) => {
            print('inner: down', what)
            return out(depth, deleteEndpoint('up', 'done'))
          },
        })),
      ]),
    ])
    t.ok(ended)
    const order = [
      'ground: presence ?0', 'inner: presence', 'inner: feedback', 'ground: hello', 'inner: down hello',
      'ground: absence done',
    ]
    t.same(lines.filter((line) => line !== 'ground: down is wanted'), order)
    t.equal(lines.filter((line) => line === 'ground: down is wanted').length, 1)
  })

  t.test(`${depth} level(s) out: spawn, with the continuation in the inner process`, async (t) => {
    const { lines } = await run((print) => [
      spawn(() => endpoint.subscriber(['ground', _], { onMessage: ([, what]) => print('ground', what) })),
      inside(depth, () =>
        spawn(() =>
          transition(
            'state',
            endpoint.subscriber(['inner', _], {
              onMessage: ([, what], state) => print('inner', what, state),
            }),
            out(depth, spawn(() => sendMessage(['ground', 'child']), {
              parent: (pid, state: string) => {
                print('parent', typeof pid, state)
                return sendMessage(['inner', 'parent'])
              },
            }) as Action),
          ),
        ),
      ),
    ])
    t.same(lines.sort(), ['ground child', 'inner parent state', 'parent number state'])
  })

  t.test(`${depth} level(s) out: quit ends just that VM`, async (t) => {
    const { lines, ended } = await run((print) => [
      spawn(() =>
        endpoint.subscriber(['level', _], { onAbsence: ([, level], _state, reason) => print(level, reason) }),
      ),
      inside(depth, () => [
        out(depth, endpoint.publisher(['level', 'inner'])),
        endpoint.subscriber(['keep']),
        yieldTurn(() => yieldTurn(() => yieldTurn(() => out(depth, quit('out'))))),
        spawn(() => out(depth, endpoint.publisher(['level', 'neighbour']))),
      ]),
    ])
    t.ok(ended)
    t.same(lines.sort(), ['inner out', 'neighbour out'])
  })
}

t.test('levels do not leak: each hears only its own', async (t) => {
  const program = (print: (...values: unknown[]) => void, level: number): ActionTree => [
    endpoint.subscriber(['m', _], { onMessage: ([, from]) => print(`${level} hears ${String(from)}`) }),
    endpoint.publisher(['m', level], { onPresence: () => print(`${level} is heard`) }),
    level < 3 && nestedVm(() => program(print, level + 1)),
    yieldTurn(() => sendMessage(['m', level])),
    level > 0 && atMetaLevel(endpoint.subscriber(['other', level])),
  ]
  const { lines } = await run((print) => program(print, 0))
  const expected = [0, 1, 2, 3].flatMap((level) => [`${level} is heard`, `${level} hears ${level}`])
  t.same(lines.sort(), expected.sort())
})

t.test('the same name at several levels, in several processes', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => endpoint.subscriber(['n', _], { onPresence: ([, who]) => print('+', who),
      onAbsence: ([, who]) => print('-', who) })),
    nestedVm(() => [
      endpoint.subscriber(['n', _], { onPresence: ([, who]) => print('inner +', who) }),
      ['a', 'b'].map((who) =>
        spawn(() => [
          endpoint.publisher(['n', who], { name: 'x' }),
          atMetaLevel(endpoint.publisher(['n', who], { name: 'x' })),
          yieldTurn(() => yieldTurn(() => who === 'a' && atMetaLevel(deleteEndpoint('x')))),
        ]),
      ),
    ]),
  ])
  t.same(lines.sort(), ['+ a', '+ b', '- a', 'inner + a', 'inner + b'])
})

t.test('a busy nested VM does not starve its siblings', async (t) => {
  const forEver = (): Action => yieldTurn(() => forEver())
  const { lines } = await run(
    (print) => [
      nestedVm(() => forEver(), { name: 'busy' }),
      nestedVm(() => yieldTurn(() => yieldTurn(() => yieldTurn(() => print('sibling'))))),
      nestedVm(() => nestedVm(() => yieldTurn(() => yieldTurn(() => print('deep sibling'))))),
    ],
    { meanwhile: (ground) => new Promise((resolve) => setTimeout(() => resolve(ground.stop()), 20)) },
  )
  t.same(lines.sort(), ['deep sibling', 'sibling'])
})

t.test('atMetaLevel takes any tree of actions', async (t) => {
  const { lines } = await run((print) => [
    endpoint.subscriber(['n', _], { onMessage: ([, n]) => print(String(n)) }),
    nestedVm(() => [
      atMetaLevel(sendMessage(['n', 1]), undefined, [sendMessage(['n', 2]), [false, sendMessage(['n', 3])]]),
      atMetaLevel(),
    ]),
  ])
  t.same(lines, ['1', '2', '3'])
})

/** Links: children that end with the process that has started them, in whatever way it ends; and boots that fail. */
import { logged, run, sleep } from './harness.js'
import t from 'tap'
import { collectGarbage } from '../support/util.js'
import {
  _, atMetaLevel, deleteEndpoint, endpoint, groundVm, kill, nestedVm, quit, sendMessage, spawn, yieldTurn,
  type ActionTree,
} from 'marketplace-native'

const collected = (log: Parameters<typeof logged>[0]): string[] =>
  logged(log, 'debug').filter((line) => line.endsWith(' garbage-collected'))

/** A child that is there until somebody ends it. */
const child = (name: string) => (): ActionTree => endpoint.publisher(['here', name])

const linked = (name: string): ActionTree => spawn(child(name), { name, link: true })

const watcher = (print: (...what: unknown[]) => void): ActionTree => endpoint.subscriber(['here', _], {
  interest: 'observer',
  onPresence: ([, who]) => print('came', who),
  onAbsence: ([, who], _state, reason) => print('went', who, reason),
})

const boom = new Error('boom')

/** Ways in which the parent ends, and the reason. */
const endings: Readonly<Record<string, readonly [ActionTree, unknown]>> = {
  'it quits': [quit(), undefined],
  'it quits with a reason': [quit('done'), 'done'],
  'it quits with an error': [quit(boom), boom],
  'a continuation throws': [yieldTurn(() => { throw boom }), boom],
  'a promise rejects': [yieldTurn(() => Promise.reject(boom)), boom],
  'an action is impossible': [atMetaLevel(atMetaLevel(atMetaLevel(sendMessage(1)))), /impossible/],
  'a sibling kills it': [spawn(() => kill(1, 'killed')), 'killed'],
}

t.test('children end with their parent, with its reason; others, and the parent of a child that ends, live',
  async (t) => {
    for (const start of [spawn, nestedVm] as const) {
      for (const [name, [end, reason]] of Object.entries(endings)) {
        const gone = new Map<unknown, unknown>()
        const parent = (): ActionTree => [
          endpoint.publisher(['here', 'parent']),
          start(() => start === spawn ? child('linked')() : atMetaLevel(child('linked')()), { link: true }),
          spawn(child('free')),
          endpoint.subscriber(['end'], { onMessage: () => end }),
        ]
        await run(() => [
          spawn(parent),
          endpoint.subscriber(['here', _], {
            interest: 'observer',
            onPresence: ([, who]) => who === 'linked' && sendMessage(['end']),
            onAbsence: ([, who], _state, why) => { gone.set(who, why) },
          }),
        ])
        t.same([...gone.keys()].sort(), ['linked', 'parent'], `${start.name}, ${name}`)
        for (const why of gone.values()) {
          if (reason instanceof RegExp) t.match(String(why), reason)
          else t.equal(why, reason, `${start.name}, ${name}: the reason`)
        }
      }
    }
  })

t.test('what is linked to a linked child ends too, after it, however deep', async (t) => {
  const depth = 30_000
  let alive = 0
  let boots = 0
  const next = (n: number) => (): ActionTree => {
    boots++
    return [
      endpoint.publisher(['chain', n], { onAbsence: () => { alive-- }, onPresence: () => { alive++ } }),
      n === 0 ? sendMessage(['end']) : spawn(next(n - 1), { link: true }),
    ]
  }
  const order: unknown[] = []
  await groundVm(() => [
    spawn(() => [
      endpoint.subscriber(['end'], { onMessage: () => quit() }), spawn(next(depth), { link: true }),
    ]),
    endpoint.subscriber(['chain', _], { onAbsence: ([, n]) => { order.push(n) } }),
  ])
  t.equal(boots, depth + 1)
  t.equal(alive, 0)
  t.equal(order.length, depth + 1)
  t.equal(order[0], depth, 'the one that was started first goes first')
  t.equal(order[depth], 0)
})

t.test('a child that ends is forgotten by its parent, and may end before it', async (t) => {
  const { lines, log } = await run((print) => [
    watcher(print),
    spawn(() => [
      linked('a'), linked('b'), spawn(() => [child('c')(), quit('by itself')], { link: true }),
    ], { name: 'parent' }),
    endpoint.subscriber(['here', 'c'], { onAbsence: () => kill(3, 'enough') }),
  ])
  t.same(lines.filter((line) => line.startsWith('went')), ['went c by itself', 'went b enough'])
  t.same(collected(log), [], 'the parent waits for the other one')
})

t.test('linked children keep their parent from being collected, and no longer than they live', async (t) => {
  const { lines, log } = await run((print) => [
    watcher(print),
    spawn(() => linked('a'), { name: 'parent' }),
    endpoint.subscriber(['here', 'a'], {
      onPresence: () => { print('served') },
      name: 'x',
    }),
    yieldTurn(() => yieldTurn(() => yieldTurn(() => yieldTurn(() => kill(2, 'over'))))),
  ])
  t.same(lines, ['came a', 'served', 'went a over'])
  t.same(collected(log), ['process 1 (parent) garbage-collected'])
})

t.test('a linked child outside of the VM: ends with its parent, also when the whole VM is killed', async (t) => {
  const ends: Readonly<Record<string, ActionTree>> = {
    'the parent quits': quit('why'),
    'its VM is killed': atMetaLevel(kill(1, 'why')),
    'its VM ends itself': atMetaLevel(quit('why')),
  }
  for (const levels of [1, 2]) {
    for (const [name, end] of Object.entries(ends)) {
      const out = (action: ActionTree): ActionTree =>
        levels === 1 ? atMetaLevel(action) : atMetaLevel(atMetaLevel(action))
      const inside = (): ActionTree => [
        out(linked('outside')),
        out(endpoint.subscriber(['end'], { onMessage: () => end })),
      ]
      const { lines, log } = await run((print) => [
        watcher(print),
        nestedVm(() => levels === 1 ? inside() : [atMetaLevel(endpoint.publisher('stay')), nestedVm(inside)]),
        endpoint.subscriber(['here', 'outside'], { onPresence: () => sendMessage(['end']) }),
      ])
      t.match(lines, ['came outside', 'went outside why'], `${name}, ${levels} levels`)
      t.same(logged(log, 'error'), [])
    }
  }
})

t.test('a VM with a parent whose child is outside is not collected before the child ends', async (t) => {
  const { lines, log } = await run((print) => [
    watcher(print),
    nestedVm(() => atMetaLevel(linked('outside')), { name: 'vm' }),
    yieldTurn(() => yieldTurn(() => yieldTurn(() => yieldTurn(() => yieldTurn(() => kill(2, 'over')))))),
  ])
  t.same(lines, ['came outside', 'went outside over'])
  t.same(collected(log), ['process 0 (vm) of VM 1 garbage-collected', 'process 1 (vm) garbage-collected'])
})

t.test('a linked child outside whose parent has ended meanwhile is not started', async (t) => {
  const { lines } = await run((print) => [
    watcher(print),
    nestedVm(() => [atMetaLevel(linked('late')), quit()]),
  ])
  t.same(lines, [])
})

t.test('who ends a parent goes on, also if nothing else holds it', async (t) => {
  const { lines } = await run((print) => [
    watcher(print),
    nestedVm(() => [
      endpoint.subscriber(['said', _], { onMessage: ([, what]) => print(what) }),
      atMetaLevel(endpoint.subscriber('stay')),
      spawn(() => [endpoint.subscriber('x'), atMetaLevel(linked('outside'))]),
      spawn(async () => {
        await sleep(5)
        return [kill(1), sendMessage(['said', 'still here'])]
      }),
    ]),
  ])
  t.same(lines, ['came outside', 'still here', 'went outside undefined'])
})

t.test('an essential child fails if its parent does, and does not if that ends in order', async (t) => {
  const parent = (end: ActionTree) => (): ActionTree => [
    spawn(child('x'), { link: true, essential: true }),
    endpoint.subscriber(['here', 'x'], { onPresence: () => end }),
  ]
  await t.resolves(groundVm(() => [endpoint.subscriber('x'), spawn(parent(quit()))]))
  const failing = groundVm(() => [endpoint.subscriber('x'), spawn(parent(quit(boom)))])
  await t.rejects(failing, boom)
})

t.test('ended children leave nothing behind in a parent that lives', async (t) => {
  const ended: WeakRef<object>[] = []
  const { log } = await run(() => {
    const one = (n: number): ActionTree => spawn(() => {
      const state = { n }
      ended.push(new WeakRef(state))
      return [endpoint.publisher(['one', n], { onAbsence: () => { state.n++ } }), quit()] as ActionTree
    }, { link: true, parent: () => n > 0 && yieldTurn(() => one(n - 1)) })
    return [endpoint.subscriber('stay'), one(200)]
  })
  t.same(logged(log, 'error'), [])
  t.equal(ended.length, 201)
  await sleep(1) // what a deref gives is kept until the turn of the loop is over
  collectGarbage()
  t.ok(ended.filter((ref) => ref.deref() !== undefined).length < 50)
})

t.test('the continuation of the parent learns that a boot failed, and why', async (t) => {
  const results: unknown[] = []
  const parent = (pid: number, _state: unknown, failure: unknown): void => { results.push([pid, failure]) }
  await run(() => [
    spawn(() => { throw boom }, { parent }),
    spawn(() => undefined, { parent }),
    spawn(() => 5 as never, { parent }),
    spawn(() => { throw undefined as unknown as Error }, { parent }),
    spawn(() => Promise.reject(boom), { parent }),
    nestedVm(() => { throw boom }, { parent }),
    nestedVm(() => undefined, { parent }),
  ])
  t.match(results, [
    [1, boom], [2, undefined], [3, /must return actions/], [4, /what was thrown is undefined/], [5, undefined],
    [6, boom], [7, undefined],
  ])
  const outside: unknown[] = []
  await run(() => nestedVm(() => atMetaLevel(spawn(() => { throw boom }, {
    parent: (pid, _state, failure) => {
      outside.push(pid, failure)
      return deleteEndpoint('none')
    },
  }))))
  t.same(outside, [2, boom])
})

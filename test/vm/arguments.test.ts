/** Bad arguments: each constructor says which argument, what was expected, and what it got. */
import { logged, run } from './harness.js'
import t from 'tap'
import {
  _, addEndpoint, atMetaLevel, endpoint, eventSource, EventSource, groundVm, kill, lineSource, nestedVm,
  publisherOf,  role, sendMessage, spawn, transition, wild, yieldTurn, type ActionTree,
} from './unchecked.js'

type Case = readonly [name: string, call: () => unknown, message: string | RegExp]

const noop = (): void => undefined

function rejects(title: string, cases: readonly Case[]): void {
  t.test(title, async (t) => {
    for (const [name, call, message] of cases) {
      const code = /unknown option/.test(String(message)) ? 'ERR_INVALID_ARG_VALUE' : 'ERR_INVALID_ARG_TYPE'
      t.throws(call, { name: 'TypeError', code, message }, name)
    }
  })
}

rejects('sendMessage, kill, atMetaLevel, yieldTurn', [
  ['orientation', () => sendMessage(1, 'up'),
    "sendMessage: orientation must be 'publisher' or 'subscriber'; got 'up'"],
  ['null', () => sendMessage(1, null),
    "sendMessage: orientation must be 'publisher' or 'subscriber'; got null"],
  ['no pid', () => kill(), 'kill: pid must be a pid; got undefined'],
  ['fraction', () => kill(1.5), 'kill: pid must be a pid; got 1.5'],
  ['string', () => kill('1'), "kill: pid must be a pid; got '1'"],
  ['no action', () => atMetaLevel('x'), "atMetaLevel: action must be an action, or arrays of them; got 'x'"],
  ['a list with a stray value', () => atMetaLevel([sendMessage(1), 5]),
    'atMetaLevel: action must be an action, or arrays of them; got 5'],
  ['no function', () => yieldTurn(5), 'yieldTurn: continuation must be a function; got 5'],
])

for (const [name, start] of [['spawn', spawn], ['nestedVm', nestedVm]] as const) {
  rejects(name, [
    ['boot', () => start(5), `${name}: boot must be a function; got 5`],
    ['no boot', () => start(), `${name}: boot must be a function; got undefined`],
    ['options', () => start(noop, null), `${name}: options must be an object; got null`],
    ['options', () => start(noop, 'name'), `${name}: options must be an object; got 'name'`],
    ['name', () => start(noop, { name: 5 }), `${name}: options.name must be a string; got 5`],
    ['parent', () => start(noop, { parent: [] }), `${name}: options.parent must be a function; got []`],
    ['link', () => start(noop, { link: 1 }), `${name}: options.link must be a boolean; got 1`],
  ])
}

rejects('an option of one of them', [
  ['sequential', () => spawn(noop, { sequential: 1 }),
    'spawn: options.sequential must be a boolean; got 1'],
  ['of a VM', () => nestedVm(noop, { sequential: true }),
    "nestedVm: unknown option 'sequential'; a VM has no handlers itself: it is an option of spawn, for the processes "
      + 'inside'],
  ['of no process', () => groundVm(noop, { nam: 'x' }), "groundVm: unknown option 'nam'; did you mean 'name'?"],
])

rejects('role', [
  ['orientation', () => role('both'), "role: orientation must be 'publisher' or 'subscriber'; got 'both'"],
  ['interest', () => role('publisher', _, 'some'),
    "role: interest must be 'participant', 'observer' or 'everything'; got 'some'"],
])

rejects('undefined is no default where it could mean everything', [
  ['role', () => role('subscriber', undefined),
    'role: topic must be a topic (`_` meets everything); got undefined'],
  ['subscriber', () => endpoint.subscriber(undefined),
    'endpoint.subscriber: topic must be a topic (`_` meets everything); got undefined'],
  ['publisher with handlers', () => publisherOf(undefined, {}),
    'endpoint.publisher: topic must be a topic (`_` meets everything); got undefined'],
  ['wild', () => wild(undefined), /^wild: name must be .*; got undefined$/],
  ['lineSource', () => lineSource(undefined), 'lineSource: stream must be a readable stream; got undefined'],
])

rejects('addEndpoint', [
  ['role', () => addEndpoint('n', 'publisher', {}), "addEndpoint: role must be a role(...); got 'publisher'"],
  ['role-like', () => addEndpoint('n', { orientation: 'publisher' }, {}),
    "addEndpoint: role must be a role(...); got { orientation: 'publisher' }"],
  ['no handlers', () => addEndpoint('n', role('publisher')),
    'addEndpoint: handlers must be an object of handlers; got undefined'],
  ['handlers', () => addEndpoint('n', role('publisher'), 5),
    'addEndpoint: handlers must be an object of handlers; got 5'],
  ['handler', () => addEndpoint('n', role('publisher'), { onMessage: 5 }),
    'addEndpoint: handlers.onMessage must be a function; got 5'],
])

for (const orientation of ['subscriber', 'publisher'] as const) {
  const make = orientation === 'publisher' ? publisherOf : endpoint.subscriber
  rejects(`endpoint.${orientation}`, [
    ['options', () => make(_, 5), `endpoint.${orientation}: options must be an object of handlers; got 5`],
    ['null', () => make(_, null), `endpoint.${orientation}: options must be an object of handlers; got null`],
    ['unknown option', () => make(_, { onPresense: noop }),
      `endpoint.${orientation}: unknown option 'onPresense'; did you mean 'onPresence'?`],
    ['unlike any other', () => make(_, { colour: 'red' }),
      `endpoint.${orientation}: unknown option 'colour'; there are name, interest, onPresence, onAbsence, onMessage`],
    ['handler', () => make(_, { onAbsence: 'x' }),
      `endpoint.${orientation}: options.onAbsence must be a function; got 'x'`],
    ['null handler', () => make(_, { onMessage: null }),
      `endpoint.${orientation}: options.onMessage must be a function; got null`],
    ['interest', () => make(_, { interest: 'none' }),
      "role: interest must be 'participant', 'observer' or 'everything'; got 'none'"],
  ])
}

rejects('eventSource, groundVm, wild', [
  ['name', () => eventSource(5, noop), 'eventSource: name must be a string; got 5'],
  ['activate', () => eventSource('x'), 'eventSource: activate must be a function; got undefined'],
  ['class', () => new EventSource('x', {}), 'eventSource: activate must be a function; got {}'],
  ['boot', () => groundVm(), 'groundVm: boot must be a function; got undefined'],
  ['boot', () => groundVm({}), 'groundVm: boot must be a function; got {}'],
  ['negative', () => wild(-1), 'wild: name must be a string, a symbol or a non-negative integer; got -1'],
  ['fraction', () => wild(0.5), 'wild: name must be a string, a symbol or a non-negative integer; got 0.5'],
  ['object', () => wild({}), 'wild: name must be a string, a symbol or a non-negative integer; got {}'],
])

t.test('what an error shows is short, and on one line', async (t) => {
  try {
    const list = Array.from({ length: 1000 }, (_value, i) => i)
    kill({ text: 'x'.repeat(1000), list, deep: { a: { b: { c: 1 } } } })
    t.fail('was accepted')
  } catch (error) {
    const { message } = error as Error
    t.ok(message.length < 200, message)
    t.notMatch(message, /\n/, 'one line')
  }
})

const EXPECTED = "onPresence of the subscriber of [ 'q' ] must return actions, nested arrays of them "
  + 'or a transition; got '
const WAY = '. A function that is called for its effect only has braces: (...) => { ... }'

t.test('stray values in action trees: the process quits, nothing of the tree is done', async (t) => {
  const strays: Record<string, readonly [value: unknown, shown: string]> = {
    'a number': [5, '5'],
    true: [true, 'true'],
    'a string': ['quit', "'quit'"],
    'a function': [quitLater, '[Function: quitLater]'],
    'an object': [{ kind: 'quit' }, "{ kind: 'quit' }"],
    'a promise in a list': [[Promise.resolve()], 'a promise inside an action tree'],
    'a transition in a list': [[transition(1)], 'a transition inside an action tree'],
    'a transition with a number': [transition(1, 5), '5'],
    'a transition with a promise': [transition(1, Promise.resolve()), 'a promise inside an action tree'],
    'deep down': [[[sendMessage(['m'])], [[], [[5]]]], '5'],
  }
  for (const [name, [value, shown]] of Object.entries(strays)) {
    const { lines, log } = await run((print) => [
      endpoint.publisher(['q'], { onAbsence: (_t: [], _s: null, reason: Error) => print(reason.message) }),
      endpoint.subscriber(['m'], { onMessage: () => print('sent') }),
      spawn(() => endpoint.subscriber(['q'], { onPresence: () => value })),
    ])
    t.same(lines, [EXPECTED + shown + (/promise|transition/.test(shown) ? '' : WAY)], name)
    t.same(logged(log, 'error'), ['process 1 failed'], name)
  }
})

function quitLater(): void {
  throw new Error('must not be called')
}

t.test('a stray value leaves the state as it was', async (t) => {
  const { lines } = await run((print) => [
    spawn(() =>
      transition(
        'old',
        endpoint.subscriber(['m', _], {
          onMessage: ([, n]: [string, number], state: string) => {
            print(n, state)
            return transition('new', 5)
          },
        }),
      ),
    ),
    yieldTurn(() => [sendMessage(['m', 1]), sendMessage(['m', 2])]),
  ])
  t.same(lines, ['1 old', '2 old'])
})

t.test('what a boot may not return: the child never lives, the parent goes on', async (t) => {
  const boots: Record<string, () => unknown> = {
    number: () => 5,
    'a list with a number': () => [endpoint.publisher(['p']), 5],
    'a transition in a list': () => [transition(1)],
  }
  for (const [name, boot] of Object.entries(boots)) {
    const { lines, log } = await run((print) => [
      endpoint.subscriber(['p'], { onPresence: () => print('presence') }),
      spawn(boot, { parent: (pid: number) => print('parent', pid) }),
      spawn(noop, { parent: (pid: number) => print('next', pid) }),
    ] as ActionTree)
    t.same(lines, ['parent 1', 'next 2'], name)
    t.same(logged(log, 'error'), ['process 1 did not boot'], name)
  }
})

t.test('a ground VM whose first process does not boot ends at once', async (t) => {
  const no = new Error('no')
  await t.rejects(groundVm(() => { throw no }), no)
  const { ended, log } = await run(() => spawn(() => { throw no }))
  t.ok(ended)
  t.same(logged(log, 'error'), ['process 1 did not boot'])
})

t.test('undefined, null, false and empty arrays are skipped', async (t) => {
  const { lines } = await run((print) => [
    undefined, null, false, [], [[], [null]],
    endpoint.subscriber(['m', _], { onMessage: ([, n]: [string, number]) => print(n) }),
    [undefined, [sendMessage(['m', 1]), [[sendMessage(['m', 2])]], false], sendMessage(['m', 3])],
  ] as ActionTree)
  t.same(lines, ['1', '2', '3'])
})

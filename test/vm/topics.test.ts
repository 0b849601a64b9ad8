/** Topics in a running VM: later writes to arrays and bytes, messages with wildcards, repeated wildcards. */
import { run } from './harness.js'
import t from 'tap'
import {
  _, atMetaLevel, defineRecord, deleteEndpoint, endpoint, nestedVm, sendFeedback, sendMessage, spawn, wild,
  yieldTurn, type Action, type ActionTree,
} from 'marketplace-native'

/** Does something `turns` turns later. */
const later = (turns: number, action: () => ActionTree): Action =>
  yieldTurn(() => (turns === 1 ? action() : later(turns - 1, action)))

const box = defineRecord('vm-test-box', ['content'])

t.test('what is written to a topic after the endpoint was added counts for nothing', async (t) => {
  for (const level of ['own', 'meta']) {
    const at = level === 'meta' ? atMetaLevel : (action: Action): Action => action
    const list = ['k', 1]
    const bytes = Uint8Array.of(1, 2)
    const deep = ['d', [box([1])], box(bytes)] as const
    const { lines } = await run((print) => {
      const program = [
        at(endpoint.subscriber(list, { name: 'list', onMessage: (body) => print('list', body) })),
        at(endpoint.subscriber(['b', bytes], { name: 'bytes', onMessage: () => print('bytes') })),
        at(endpoint.subscriber(deep, { name: 'deep', onMessage: () => print('deep') })),
        yieldTurn(() => yieldTurn(() => {
          list[1] = 2
          bytes[0] = 9
          ;((deep[1][0] as { content: unknown }).content as number[])[0] = 9
          return [
            at(sendMessage(['k', 1])), at(sendMessage(['k', 2])),
            at(sendMessage(['b', Uint8Array.of(1, 2)])), at(sendMessage(['b', bytes])),
            at(sendMessage(['d', [box([1])], box(Uint8Array.of(1, 2))])), at(sendMessage(deep)),
            later(10, () => [
              ['list', 'bytes', 'deep'].map((name) => at(deleteEndpoint(name))),
              at(sendMessage(['k', 1])), at(sendMessage(['b', Uint8Array.of(1, 2)])),
            ]),
          ]
        })),
      ]
      return level === 'meta' ? nestedVm(() => program) : program
    })
    t.same(lines, ["list [ 'k', 1 ]", 'bytes', 'deep'], level)
  }
})

t.test('a name that is an array counts as what was in it', async (t) => {
  const name = ['n', 1]
  const { lines } = await run((print) => [
    endpoint.subscriber(['m'], { name, onMessage: () => print('first') }),
    yieldTurn(() => {
      name[1] = 2
      return [
        endpoint.subscriber(['m', 2], { name, onMessage: () => print('second') }),
        deleteEndpoint(['n', 1]),
        sendMessage(['m']),
        sendMessage(['m', 2]),
      ]
    }),
  ])
  t.same(lines, ['second'])
})

t.test('messages with wildcards reach all whose topic they meet, unchanged', async (t) => {
  const x = wild('x')
  const { lines } = await run((print) => [
    spawn(() => [
      endpoint.subscriber(['a', 1], { onMessage: (body) => print('a 1', body) }),
      endpoint.subscriber(['a', 2], { onMessage: (body) => print('a 2', body) }),
      endpoint.subscriber(['a', box(_)], { onMessage: (body) => print('a box', body) }),
      endpoint.subscriber(['b', x, x], { onMessage: (body) => print('b x x', body) }),
      endpoint.subscriber('atom', { onMessage: (body) => print('atom', body) }),
      endpoint.subscriber(_, { onMessage: (body) => print('any', body) }),
    ]),
    yieldTurn(() => [
      sendMessage(['a', _]), sendMessage(['a', box(3)]), sendMessage(['b', 1, _]), sendMessage(['b', 1, 2]),
      sendMessage(['b', wild('y'), [wild('y')]]), sendMessage(_),
    ]),
  ])
  const heardBy = (who: string): string[] =>
    lines.filter((line) => line.startsWith(who)).map((line) => line.slice(who.length + 1))
  t.same(heardBy('a 1'), ["[ 'a', _ ]", '_'])
  t.same(heardBy('a 2'), ["[ 'a', _ ]", '_'])
  t.same(heardBy('a box'), ["[ 'a', _ ]", "[ 'a', vm-test-box(3) ]", '_'])
  t.same(heardBy('b x x'), ["[ 'b', 1, _ ]", '_'], 'the occurs check keeps y from meeting [y]')
  t.same(heardBy('atom'), ['_'])
  t.equal(heardBy('any').length, 6)
})

t.test('feedback with wildcards reaches publishers', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => [
      endpoint.publisher(['f', 1], { onMessage: (body) => print(1, body) }),
      endpoint.publisher(['f', 2], { onMessage: (body) => print(2, body) }),
      endpoint.subscriber(['f', _], { onMessage: () => print('subscribers hear no feedback') }),
    ]),
    yieldTurn(() => [sendFeedback(['f', 2]), sendFeedback(['f', _])]),
  ])
  t.same(lines, ["2 [ 'f', 2 ]", "1 [ 'f', _ ]", "2 [ 'f', _ ]"])
})

t.test('repeated wildcards: presence is refined, and only where both places agree', async (t) => {
  const x = wild('x')
  const { lines } = await run((print) => [
    spawn(() => endpoint.subscriber(['same', x, x], { onPresence: (topic) => print(topic) })),
    spawn(() => [
      endpoint.publisher(['same', 1, 2]),
      endpoint.publisher(['same', 1, _]),
      endpoint.publisher(['same', [_, 2], [1, _]]),
      endpoint.publisher(['same', wild('y'), [wild('y')]]),
      endpoint.publisher(['same', _, _]),
    ]),
  ])
  t.same(lines, ["[ 'same', 1, 1 ]", "[ 'same', [ 1, 2 ], [ 1, 2 ] ]", "[ 'same', ?0, ?0 ]"])
})

t.test('more endpoints than a walk is worth: presence comes from the join tables', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => Array.from({ length: 100 }, (_value, i) => endpoint.publisher(['e', i % 10, [i], _]))),
    spawn(() =>
      endpoint.subscriber(['e', 3, _, 'x'], {
        name: 's',
        onPresence: (topic) => print('+', topic[2]),
        onAbsence: (topic) => print('-', topic[2]),
      }),
    ),
    yieldTurn(() =>
      spawn(() => [endpoint.publisher(['e', 3, [200], _]), endpoint.publisher(['e', 4, [201], _])]),
    ),
  ])
  const expected = [...Array.from({ length: 10 }, (_value, i) => `+ [ ${i * 10 + 3} ]`), '+ [ 200 ]']
  t.same(lines.filter((line) => line.startsWith('+')).sort(), expected.sort())
})

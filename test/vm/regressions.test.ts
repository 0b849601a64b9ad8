/** Programs that once broke the VM, or made it tell the wrong things. */
import { logged, run } from './harness.js'
import { inspect } from 'node:util'
import t from 'tap'
import {
  _, atMetaLevel, defineRecord, deleteEndpoint, endpoint, eventSource, kill, nestedVm, quit, sendMessage,
  spawn, yieldTurn, type Action, type ActionTree,
} from 'marketplace-native'

/** A value that can't be inspected. */
const evil = {
  [inspect.custom]() {
    throw new Error('inspect failed')
  },
}

/** Does something `turns` turns later. */
function later(turns: number, action: () => ActionTree): Action {
  return yieldTurn(() => (turns === 1 ? action() : later(turns - 1, action)))
}

t.test('an error that cannot be inspected ends only its process', async (t) => {
  const { lines, log, ended } = await run((print) => [
    spawn(() =>
      endpoint.subscriber(['m', _], {
        onMessage: () => {
          throw evil
        },
      }),
    ),
    spawn(() =>
      endpoint.publisher(['m', _], { onAbsence: (_t, _s, reason) => print('gone', reason === evil) }),
    ),
    spawn(() => [sendMessage(['m', 1]), sendMessage(['m', 2]), yieldTurn(() => print('sender lives'))]),
    spawn(() => endpoint.subscriber(['w', _], { onMessage: (body) => print(body) })),
    later(3, () => sendMessage(['w', 1])),
  ])
  t.ok(ended)
  t.same(lines, ['sender lives', 'gone true', "[ 'w', 1 ]"])
  t.equal(logged(log, 'error').length, 2)
})

t.test('an uninspectable error in a boot, a promise or an activation ends only its process', async (t) => {
  const programs: Record<string, Action> = {
    boot: spawn(() => {
      throw evil
    }),
    promise: spawn(async () => {
      await Promise.resolve()
      throw evil
    }),
    activation: spawn(() =>
      endpoint.subscriber([
        eventSource('evil', () => {
          throw evil
        }),
        _,
      ]),
    ),
  }
  for (const [name, action] of Object.entries(programs)) {
    const { lines, log } = await run((print) => [action, yieldTurn(() => print('others live'))])
    t.same(lines, ['others live'], name)
    t.equal(logged(log, 'error').length, 1, `${name} is logged`)
  }
})

t.test('undefined that is thrown is a failure, and no orderly end', async (t) => {
  const { lines } = await run((print) => [
    endpoint.publisher(['q'], { onAbsence: (_t, _s, reason) => print('absence', String(reason)) }),
    spawn(() =>
      endpoint.subscriber(['q'], {
        onPresence: () => {
          throw undefined
        },
      }),
    ),
  ])
  t.same(lines, ['absence Error: process 1 failed: what was thrown is undefined'])
})

t.test('endpoints two levels out go when the VM between is killed', async (t) => {
  const { lines } = await run((print) => [
    spawn(() =>
      endpoint.subscriber(['n', _], {
        onPresence: (topic) => print('ground: presence', topic),
        onAbsence: (topic, _s, reason) => print('ground: absence', topic, reason),
      }),
    ),
    nestedVm(() => [
      nestedVm(
        () => [
          atMetaLevel(endpoint.publisher(['one', 1])),
          atMetaLevel(atMetaLevel(endpoint.publisher(['n', 1]))),
        ],
        {
          parent: (pid) =>
            endpoint.subscriber(['one', _], {
              onPresence: () => later(2, () => kill(pid, 'axe')),
              onAbsence: (topic, _s, reason) => print('middle: absence', topic, reason),
            }),
        },
      ),
      atMetaLevel(endpoint.subscriber(['keep'])),
    ]),
  ])
  t.same(lines, [
    "ground: presence [ 'n', 1 ]",
    "middle: absence [ 'one', 1 ] axe",
    "ground: absence [ 'n', 1 ] axe",
  ])
})

t.test('a VM that is killed while its endpoint is on its way two levels out leaves nothing', async (t) => {
  for (let turns = 1; turns <= 5; turns++) {
    const { lines } = await run((print) => [
      endpoint.subscriber(['n', _], {
        onPresence: () => print('presence'),
        onAbsence: () => print('absence'),
      }),
      nestedVm(() =>
        nestedVm(() => atMetaLevel(atMetaLevel(endpoint.publisher(['n', 1]))), {
          parent: (pid) => later(turns, () => kill(pid)),
        }),
      ),
    ])
    t.ok(['', 'presence,absence'].includes(lines.join()), `killed after ${turns} turns: ${lines.join()}`)
  }
})

t.test('an inner process that quits takes its endpoint two levels out with it', async (t) => {
  const { lines } = await run((print) => [
    endpoint.subscriber(['n', _], { onAbsence: (topic, _s, reason) => print('absence', topic, reason) }),
    nestedVm(() =>
      nestedVm(() =>
        atMetaLevel(atMetaLevel(endpoint.publisher(['n', 1], { onPresence: () => quit('done') }))),
      ),
    ),
  ])
  t.same(lines, ["absence [ 'n', 1 ] done"])
})

t.test('quitting two levels out ends the VM around, and all its endpoints', async (t) => {
  const { lines } = await run((print) => [
    endpoint.subscriber(['n', _], { onAbsence: (topic, _s, reason) => print('absence', topic, reason) }),
    nestedVm(() => [
      atMetaLevel(endpoint.publisher(['n', 'middle'])),
      nestedVm(() => [
        atMetaLevel(atMetaLevel(endpoint.publisher(['n', 'inner']))),
        later(3, () => atMetaLevel(atMetaLevel(quit('all')))),
      ]),
    ]),
  ])
  t.same(lines.sort(), ["absence [ 'n', 'inner' ] all", "absence [ 'n', 'middle' ] all"])
})

t.test('a process that is held by an endpoint two levels out is not collected', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => endpoint.subscriber(['r', _], { onMessage: (body) => print('ground', body) })),
    nestedVm(() => [
      endpoint.subscriber(['m', _], { onMessage: (body) => print('middle', body) }),
      nestedVm(() =>
        atMetaLevel(
          atMetaLevel(
            endpoint.subscriber(['n', _], {
              onMessage: (body) => {
                print('inner', body)
                return [atMetaLevel(sendMessage(['m', 1])), atMetaLevel(atMetaLevel(sendMessage(['r', 1])))]
              },
            }),
          ),
        ),
      ),
    ]),
    later(8, () => sendMessage(['n', 1])),
  ])
  t.same(lines, ["inner [ 'n', 1 ]", "middle [ 'm', 1 ]", "ground [ 'r', 1 ]"])
})

t.test('a meta endpoint loses its handler while the message is being delivered', async (t) => {
  const { lines } = await run((print) => [
    nestedVm(() => [
      atMetaLevel(
        endpoint.subscriber(['n', _], {
          name: 'a',
          onMessage: () => {
            print('a')
            return atMetaLevel(endpoint.subscriber(['n', 1], { name: 'b' }))
          },
        }),
      ),
      atMetaLevel(endpoint.subscriber(['n', 1], { name: 'b', onMessage: () => print('b') })),
      endpoint.publisher(['inner']),
      spawn(() => endpoint.subscriber(['inner'], { onAbsence: (_t, _s, reason) => print('quits', reason) })),
    ]),
    later(4, () => sendMessage(['n', 1])),
    later(8, () => sendMessage(['n', 1])),
  ])
  t.notOk(lines.some((line) => line.startsWith('quits')))
  t.equal(lines.filter((line) => line === 'a').length, 2, 'the process lives')
  t.ok(lines.filter((line) => line === 'b').length <= 1, 'b is heard at most before a had its turn')
})

t.test('names may have wildcards in them', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => [
      endpoint.subscriber(['a', _], { name: ['a', _], onMessage: (body) => print(body) }),
      endpoint.subscriber(['b', _], { name: ['b', _], onMessage: (body) => print(body) }),
      deleteEndpoint(['a', _]),
    ]),
    later(2, () => [sendMessage(['a', 1]), sendMessage(['b', 1])]),
  ])
  t.same(lines, ["[ 'b', 1 ]"])
})

t.test('a string that looks like the key of an array is another name', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => [
      endpoint.subscriber(['a', _], { name: [1], onMessage: (body) => print(body) }),
      endpoint.subscriber(['b', _], { name: '\u0000a1(n1,)', onMessage: (body) => print(body) }),
    ]),
    later(2, () => [sendMessage(['a', 1]), sendMessage(['b', 1])]),
  ])
  t.same(lines, ["[ 'a', 1 ]", "[ 'b', 1 ]"])
})

t.test('a record with bytes in it counts as what is in the bytes now', async (t) => {
  const rec = defineRecord('vm-test-rec', ['x'])
  const bytes = Uint8Array.of(1)
  const record = rec(bytes)
  const list = [1]
  const other = rec(list)
  const { lines } = await run((print) => [
    endpoint.subscriber(['k', rec(Uint8Array.of(1))], { onMessage: () => print('bytes') }),
    endpoint.subscriber(['k', rec([1])], { onMessage: () => print('list') }),
    sendMessage(['k', record]),
    sendMessage(['k', other]),
    yieldTurn(() => {
      bytes[0] = 2
      list[0] = 2
      return [sendMessage(['k', record]), sendMessage(['k', other])]
    }),
  ])
  t.same(lines, ['bytes', 'list'])
})

t.test('a thenable that is no promise, a promise with a throwing then, a revoked proxy', async (t) => {
  const results: Record<string, () => unknown> = {
    thenable: () => ({ then: () => undefined }),
    'throwing then': () =>
      Object.assign(Promise.resolve(), {
        then: () => {
          throw new Error('then')
        },
      }),
    'revoked proxy': () => {
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      return proxy
    },
  }
  for (const [name, result] of Object.entries(results)) {
    const { lines, ended } = await run((print) => [
      endpoint.publisher(['q'], { onAbsence: (_t, _s, reason) => print(reason instanceof Error) }),
      spawn(() => endpoint.subscriber(['q'], { onPresence: result as () => undefined })),
      later(3, () => print('others live')),
    ])
    t.ok(ended, name)
    // A promise is awaited as such: its own `then` doesn't count.
    t.same(lines.sort(), name === 'throwing then' ? ['others live'] : ['others live', 'true'], name)
  }
})

t.test('a message or a topic that is too deep ends only its process', async (t) => {
  let deep: readonly unknown[] = []
  for (let i = 0; i < 100_000; i++) deep = [deep]
  const programs: Record<string, () => ActionTree> = {
    'as a topic': () => endpoint.subscriber(deep),
  }
  for (const [name, bad] of Object.entries(programs)) {
    const { lines } = await run((print) => [
      endpoint.subscriber(['q'], { onAbsence: (_t, _s, reason) => print(reason instanceof RangeError) }),
      endpoint.subscriber(_),
      spawn(() => [endpoint.publisher(['q']), sendMessage(deep), yieldTurn(bad)]),
      later(4, () => print('others live')),
    ])
    t.same(lines.sort(), ['others live', 'true'], name)
  }
})

t.test('the continuation of a process that has quit does not run', async (t) => {
  const { lines, ended } = await run((print) =>
    nestedVm(() =>
      spawn(() => [
        atMetaLevel(spawn(() => print('the child boots'), { parent: () => print('in a dead process') })),
        quit(),
      ]),
    ),
  )
  t.ok(ended)
  t.same(lines, ['the child boots'])
})

t.test('a handler that writes to the topic it was given harms nobody', async (t) => {
  const { lines } = await run((print) => [
    endpoint.publisher(['k'], { onAbsence: () => print('absence') }),
    spawn(() => endpoint.subscriber(['other'])),
    spawn(() =>
      endpoint.subscriber(['k'], {
        name: 's',
        onPresence: (topic) => {
          Reflect.set(topic, 0, 'changed')
          return deleteEndpoint('s')
        },
        onMessage: () => print('heard after it was deleted'),
      }),
    ),
    later(4, () => sendMessage(['k'])),
  ])
  t.same(lines, ['absence'], 'no zombie')
})

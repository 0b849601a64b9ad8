/** Promises: async handlers and boots, and processes that end while one is pending. */
import { logged, run, sleep } from './harness.js'
import t from 'tap'
import {
  _, atMetaLevel, endpoint, groundVm, kill, nestedVm, quit, sendMessage, spawn, transition, yieldTurn,
  type HandlerResult,
} from 'marketplace-native'
import { patient } from '../support/patience.js'

const never = (): Promise<undefined> => new Promise(() => undefined)

t.test('an async handler that rejects ends its process with that reason; neighbours live', async (t) => {
  const reason = new Error('rejected')
  const { lines, ended, log } = await run((print) => [
    spawn(() => [
      endpoint.publisher(['p'], { onAbsence: (_t, _s, why) => print('gone', why === reason) }),
      endpoint.subscriber(['alive', _], { onMessage: () => print('neighbour lives') }),
    ]),
    spawn(() =>
      endpoint.subscriber(['p'], {
        onPresence: async () => {
          await sleep(2)
          throw reason
        },
      }),
    ),
    spawn(async () => {
      await sleep(10)
      return sendMessage(['alive', 1])
    }),
  ])
  t.ok(ended)
  t.same(lines.sort(), ['gone true', 'neighbour lives'])
  t.same(logged(log, 'error'), ['process 2 failed'])
})

t.test('an async handler resolves to actions, with the state of its beginning', async (t) => {
  let isQuickDone: () => void = () => undefined
  const quickDone = new Promise<void>((resolve) => { isQuickDone = resolve })
  const { lines } = await run((print) => [
    spawn(() =>
      transition(
        1,
        endpoint.subscriber(['ask', _], {
          onMessage: async ([, n], state: number): Promise<ReturnType<typeof sendMessage>[]> => {
            await (n === 'slow' ? quickDone : sleep(1))
            return [sendMessage(['answer', n, state]), sendMessage(['answer', n, 'again'])]
          },
        }),
        endpoint.subscriber(['set', _], { onMessage: ([, n]) => transition(n as number) }),
      ),
    ),
    endpoint.subscriber(['answer', _, _], {
      onMessage: ([, n, state]) => {
        print(n, state)
        if (n === 'quick' && state === 'again') isQuickDone()
      },
    }),
    yieldTurn(() => [sendMessage(['ask', 'slow']), sendMessage(['set', 2]), sendMessage(['ask', 'quick'])]),
  ])
  t.same(lines, ['quick 2', 'quick again', 'slow 1', 'slow again'])
})

t.test('the same from anything that returns a result: boots, continuations, presence', async (t) => {
  const { lines } = await run((print) => {
    const say = async (what: string): Promise<ReturnType<typeof sendMessage>> => {
      await Promise.resolve()
      return sendMessage(['say', what])
    }
    return [
      endpoint.subscriber(['say', _], { onMessage: ([, what]) => print(what) }),
      yieldTurn(() => [
        spawn(() => say('boot'), { parent: () => say('parent') }),
        yieldTurn(() => say('yield')),
        nestedVm(() => say('unheard')),
        nestedVm(async () => {
          await sleep(1)
          return atMetaLevel(sendMessage(['say', 'nested']))
        }),
      ]),
    ]
  })
  t.same(lines.sort(), ['boot', 'nested', 'parent', 'yield'])
})

t.test('the ground VM itself may boot asynchronously', async (t) => {
  const lines: unknown[] = []
  await groundVm(async () => {
    await sleep(5)
    return [endpoint.subscriber(['a'], { onMessage: ([what]) => { lines.push(what) } }), sendMessage(['a'])]
  })
  t.same(lines, ['a'])
})

t.test('an async handler that resolves to what it may not', async (t) => {
  const results: Record<string, readonly [unknown, RegExp]> = {
    'a transition': [transition(1), /^TypeError: an async handler must resolve to actions, not to a trans/],
    'a number': [5, /^TypeError: onPresence of .* must return actions.*got 5\. /],
    'a list with a promise': [[Promise.resolve()], /got a promise inside an action tree$/],
  }
  for (const [name, [value, expected]] of Object.entries(results)) {
    const { lines, ended } = await run((print) => [
      endpoint.publisher(['p'], { onAbsence: (_t, _s, reason) => print(String(reason)) }),
      spawn(() =>
        endpoint.subscriber(['p'], { onPresence: async () => (await Promise.resolve(value)) as undefined }),
      ),
    ])
    t.ok(ended, name)
    t.match(lines[0], expected, name)
    t.equal(lines.length, 1, name)
  }
})

t.test('a pending promise keeps its process, and the VMs around it, alive', async (t) => {
  const { lines, ended } = await run((print) =>
    nestedVm(() => [
      endpoint.subscriber(['done'], { onMessage: () => print('heard inside') }),
      nestedVm(() =>
        spawn(async () => {
          await sleep(15)
          return atMetaLevel(sendMessage(['done']))
        }),
      ),
    ]),
  )
  t.ok(ended)
  t.same(lines, ['heard inside'])
})

t.test('stop and kill do not wait for promises that never settle', async (t) => {
  const stopped = await run(
    (print) => [
      endpoint.subscriber(['x'], { onAbsence: (_t, _s, reason) => print('absence', reason) }),
      endpoint.publisher(['x']),
      spawn(never),
      nestedVm(() => spawn(never)),
    ],
    {
      meanwhile: async (ground) => {
        await sleep(2)
        await ground.stop('now')
      },
    },
  )
  t.ok(stopped.ended, 'stop')
  t.same(stopped.lines, ['absence now'])
  const killed = await run(() => spawn(never, { parent: (pid) => kill(pid) }))
  t.ok(killed.ended, 'kill')
  const crashed = await run(() =>
    spawn((): HandlerResult<undefined> => [yieldTurn(never), yieldTurn(() => quit('enough'))]),
  )
  t.ok(crashed.ended, 'quit')
})

t.test('a nested VM is killed while a promise pends inside; what it resolves to is lost', async (t) => {
  const { lines, ended } = await run((print) => [
    endpoint.subscriber(['n', _], {
      onAbsence: (topic, _s, reason) => print('absence', topic, reason),
      onMessage: (body) => print('got', body),
    }),
    nestedVm(
      () => [
        atMetaLevel(endpoint.publisher(['n', 1])),
        spawn(async () => {
          await sleep(20)
          print('resolves')
          return atMetaLevel(sendMessage(['n', 2]))
        }),
        spawn(() => nestedVm(never)),
      ],
      {
        parent: async (pid) => {
          await sleep(5)
          return kill(pid, 'axe')
        },
      },
    ),
  ])
  t.ok(ended)
  t.same(lines, ["absence [ 'n', 1 ] axe"], 'it ends before the promise resolves')
  await sleep(25)
  t.same(lines.slice(1), ['resolves'])
})

t.test('a process that quits while its promise pends ends the VM at once', async (t) => {
  const start = performance.now()
  const { ended } = await run(() => [
    spawn(() => [yieldTurn(() => sleep(3000, undefined, { ref: false })), yieldTurn(() => quit())]),
  ])
  t.ok(ended)
  t.ok(performance.now() - start < patient(1500))
})

t.test('thousands of promises', async (t) => {
  let count = 0
  const { ended } = await run(() => [
    endpoint.subscriber(['m', _], {
      onMessage: () => {
        count++
      },
    }),
    Array.from({ length: 2000 }, (_value, i) =>
      spawn(async () => {
        await sleep(i % 2)
        return sendMessage(['m', i])
      }),
    ),
  ])
  t.ok(ended)
  t.equal(count, 2000)
})

t.test('an async boot that fails is told to the parent, when it has', async (t) => {
  const boots: readonly [what: string, boot: () => Promise<unknown>, told: RegExp][] = [
    ['rejects', async () => { await sleep(2); throw new Error('no configuration') }, /no configuration/],
    ['resolves to what is no action', async () => { await sleep(2); return 5 }, /5/],
    ['resolves to a transition', async () => { await sleep(2); return transition(1) }, /must resolve to actions/],
    ['succeeds', async () => { await sleep(2); return undefined }, /^undefined$/],
  ]
  const children = { 'a process': spawn, 'a nested VM': nestedVm, 'a process outside': spawn }
  for (const [what, boot, told] of boots) {
    for (const [which, make] of Object.entries(children)) {
      const { lines, ended } = await run((print) => {
        const child = make(boot as never, {
          parent: (pid, _state, failure) => { print(typeof pid, failure instanceof Error ? failure.message : failure) },
        })
        return which === 'a process outside' ? nestedVm(() => atMetaLevel(child)) : spawn(() => child)
      })
      t.ok(ended)
      t.equal(lines[0], 'number undefined', `${which} ${what}: at once, and not known yet`)
      t.match(lines[1]?.replace('number ', '') ?? 'undefined', told, `${which} ${what}`)
      t.equal(lines.length, what === 'succeeds' ? 1 : 2)
    }
  }
})

t.test('a supervisor that starts its child again by `parent` does so after an async boot, too', async (t) => {
  let boots = 0
  const boot = async (): Promise<undefined> => {
    await sleep(1)
    if (++boots < 3) throw new Error(`boot ${boots} failed`)
    return undefined
  }
  const { ended } = await run(() => spawn(() => {
    const start = (): ReturnType<typeof spawn> =>
      spawn(boot, { parent: (_pid, _state, failure) => failure !== undefined && start() })
    return start()
  }))
  t.ok(ended)
  t.equal(boots, 3)
})

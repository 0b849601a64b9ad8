/** The ground VM: its end, stop(), and its manners towards the event loop. */
import { logged, run, sleep } from './harness.js'
import { patient } from '../support/patience.js'
import t from 'tap'
import {
  _, atMetaLevel, endpoint, eventSource, groundVm, nestedVm, quit, sendMessage, spawn, yieldTurn, type Action,
} from 'marketplace-native'

/** Two processes that message each other for ever. */
function pingPong(start: string, level = (action: Action): Action => action): Action[] {
  const player = (hears: string, says: string, serves: boolean): Action =>
    spawn(() => [
      level(endpoint.subscriber([start, hears], { onMessage: () => level(sendMessage([start, says])) })),
      serves && yieldTurn(() => level(sendMessage([start, says]))),
    ])
  return [player('pong', 'ping', false), player('ping', 'pong', true)]
}

t.test('ping-pong for ever starves neither timers nor event sources nor stop()', async (t) => {
  const programs = {
    'at ground': () => pingPong('a'),
    'in a nested VM': () => nestedVm(() => pingPong('b')),
    'across levels': () => nestedVm(() => pingPong('c', atMetaLevel)),
    'by yielding': () => spawn(() => forEver()),
    'by spawning': () => spawn(() => spawnForEver()),
  }
  for (const [name, program] of Object.entries(programs)) {
    let ticks = 0
    let fired = 0
    const source = eventSource<number>('clock', (sink) => {
      const timer = setInterval(() => sink.fire(++fired), 1)
      return () => clearInterval(timer)
    })
    const timer = setInterval(() => ticks++, 1)
    const heard: number[] = []
    const ground = groundVm(() => [
      program(),
      spawn(() => endpoint.subscriber([source, _], { onMessage: ([, value]) => void heard.push(value) })),
    ])
    const limit = performance.now() + patient(10_000)
    while ((heard.length < 5 || ticks < 5) && performance.now() < limit) await sleep(1)
    await ground.stop()
    clearInterval(timer)
    t.ok(heard.length >= 5 && ticks >= 5, `${name}: ${heard.length} firings, ${ticks} ticks`)
  }
})

function forEver(): Action {
  return yieldTurn(() => forEver())
}

function spawnForEver(): Action {
  return spawn(() => spawnForEver())
}

t.test('whenIdle calls back although the VM is never idle', async (t) => {
  let called = 0
  let heard = 0
  const source = eventSource<number>('idle', (sink) => {
    sink.whenIdle(() => {
      called++
      sink.fire(1)
    })
  })
  await run(() => [
    pingPong('d'),
    spawn(() =>
      endpoint.subscriber([source, _], {
        onMessage: () => {
          heard++
        },
      }),
    ),
  ], {
    meanwhile: async (ground) => {
      const limit = performance.now() + patient(10_000)
      while (heard === 0 && performance.now() < limit) await sleep(1)
      await ground.stop()
    },
  })
  t.equal(called, 1)
  t.equal(heard, 1)
})

t.test('stop is idempotent: before the start, twice, from a handler, after the end', async (t) => {
  const ground = groundVm(() => spawn(() => endpoint.subscriber(['x'])))
  t.equal(ground.stop('one'), ground)
  t.equal(ground.stop('two'), ground)
  await ground
  await ground.stop('three')
  t.equal(ground.stop('four'), ground)

  const { lines, ended } = await run(
    (print) => [
      endpoint.subscriber(['x'], { onAbsence: (_t, _s, reason) => print('absence', reason) }),
      spawn(() => [endpoint.publisher(['x'])]),
      spawn(() => new Promise<undefined>(() => undefined)),
    ],
    {
      meanwhile: async (vm) => {
        await sleep(1)
        vm.stop('first')
        vm.stop('second')
      },
    },
  )
  t.ok(ended)
  t.ok(lines.length <= 1 && lines.every((line) => line === 'absence first'), lines.join())
})

t.test('stop from a handler takes effect after the round', async (t) => {
  const lines: string[] = []
  const ground = groundVm(() => [
    endpoint.subscriber(['m'], {
      onMessage: () => {
        ground.stop('by a handler')
        lines.push('called')
        return sendMessage(['never'])
      },
      onAbsence: (_t, _s, reason) => void lines.push(String(reason)),
    }),
    endpoint.subscriber(['never'], { onMessage: () => void lines.push('heard') }),
    endpoint.publisher(['m']),
    yieldTurn(() => sendMessage(['m'])),
  ])
  await ground
  t.same(lines, ['called', 'by a handler'])
})

t.test('stop tells those that are still there, and releases the sources', async (t) => {
  let released = 0
  const source = eventSource('s', () => () => {
    released++
  })
  const { lines, ended } = await run(
    (print) => [
      spawn(() => [
        endpoint.subscriber([source, _]),
        endpoint.subscriber(['p', _], { onAbsence: (topic, _s, reason) => print(topic, reason) }),
      ]),
      spawn(() => endpoint.publisher(['p', 1])),
      nestedVm(() => [atMetaLevel(endpoint.publisher(['p', 2])), endpoint.subscriber(['inside'])]),
    ],
    {
      meanwhile: async (ground) => {
        await sleep(2)
        await ground.stop('end')
      },
    },
  )
  t.ok(ended)
  t.equal(released, 1)
  t.same(lines.sort(), ["[ 'p', 1 ] end", "[ 'p', 2 ] end"])
})

t.test('two ground VMs know nothing of each other', async (t) => {
  const program = (name: string) => (print: (...values: unknown[]) => void) => [
    endpoint.subscriber(['m', _], { onMessage: ([, who]) => print(who) }),
    yieldTurn(() => sendMessage(['m', name])),
  ]
  const [a, b] = await Promise.all([run(program('a')), run(program('b'))])
  t.same([a.lines, b.lines], [['a'], ['b']])
})

t.test('D1: a meta action at ground level ends the acting process only', async (t) => {
  const bad: Record<string, readonly [Action, string]> = {
    send: [atMetaLevel(sendMessage(['x'])), "atMetaLevel(sendMessage([ 'x' ]))"],
    add: [atMetaLevel(endpoint.subscriber(['x'], { name: 'n' })), "atMetaLevel(addEndpoint('n'))"],
    quit: [atMetaLevel(quit()), 'atMetaLevel(quit)'],
    spawn: [atMetaLevel(spawn(() => undefined)), 'atMetaLevel(spawn)'],
    twice: [atMetaLevel(atMetaLevel(sendMessage(1))), 'atMetaLevel(atMetaLevel(sendMessage(1)))'],
  }
  for (const [name, [action, shown]] of Object.entries(bad)) {
    const { lines, ended, log } = await run((print) => [
      endpoint.subscriber(['p'], { onAbsence: (_t, _s, reason) => print((reason as Error).message) }),
      spawn(() => [endpoint.publisher(['p']), action, yieldTurn(() => print('still here'))]),
    ])
    t.ok(ended, name)
    t.equal(lines.length, 1, name)
    const message = `${shown} is impossible: the ground VM has no VM around it`
    t.equal(lines[0]?.toLowerCase(), message.toLowerCase(), name)
    t.same(logged(log, 'error'), ['process 1 failed'], name)
  }
})

t.test('D1: a name that is taken under another role ends the acting process only', async (t) => {
  const levels = { own: (action: Action): Action => action, meta: atMetaLevel }
  const others: Record<string, readonly [Action, string]> = {
    topic: [endpoint.subscriber(['b'], { name: 'n' }), "a subscriber participant of [ 'b' ]"],
    orientation: [endpoint.publisher(['a', _], { name: 'n' }), "a publisher participant of [ 'a', _ ]"],
    interest: [
      endpoint.subscriber(['a', _], { name: 'n', interest: 'observer' }),
      "a subscriber observer of [ 'a', _ ]",
    ],
  }
  for (const [level, at] of Object.entries(levels)) {
    for (const [name, [again, shown]] of Object.entries(others)) {
      const { lines, ended } = await run((print) =>
        nestedVm(() => [
          endpoint.subscriber(['p'], { onAbsence: (_t, _s, reason) => print((reason as Error).message) }),
          spawn(() => [
            endpoint.publisher(['p']),
            at(endpoint.subscriber(['a', _], { name: 'n' })),
            at(again),
          ]),
          spawn(() => yieldTurn(() => yieldTurn(() => yieldTurn(() => print('the VM lives'))))),
        ]),
      )
      t.ok(ended, `${level} ${name}`)
      const message =
        `endpoint 'n' is already a subscriber participant of [ 'a', _ ]; it can't be added as ${shown}`
      t.same(lines.sort(), [message, 'the VM lives'].sort(), `${level} ${name}`)
    }
  }
})

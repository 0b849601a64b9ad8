/** Event sources: activation, release, and what goes wrong with them. */
import { logged, run, sleep } from './harness.js'
import t from 'tap'
import {
  _, atMetaLevel, deleteEndpoint, endpoint, eventRelay, eventSource, kill, nestedVm, quit, sendMessage,
  spawn, wild, yieldTurn, type Action, type ActionTree, type EventSink, type EventSource,
} from 'marketplace-native'

/** A source that can be fired from outside, and counts what is done to it. */
function manual(name = 'manual') {
  const state = { activated: 0, released: 0, sink: undefined as EventSink<number> | undefined }
  const source = eventSource<number>(name, (sink) => {
    state.activated++
    state.sink = sink
    return () => {
      state.released++
    }
  })
  return { source, state, fire: (value: number) => state.sink?.fire(value) }
}

const failing = (): EventSource<number> =>
  eventSource('failing', () => () => {
    throw new Error('release failed')
  })

const watcher = (print: (...values: unknown[]) => void): Action =>
  spawn(() => endpoint.subscriber(['w', _], { onMessage: ([, what]) => print('w', what) }))

t.test('a source is activated once, and released with its last subscriber', async (t) => {
  const { source, state, fire } = manual()
  const { lines, ended } = await run(
    (print) => [
      spawn(() => [
        endpoint.subscriber([source, _], {
          name: 'a',
          onMessage: ([, value]) => {
            print('a', value)
            return value === 2 ? deleteEndpoint('a') : undefined
          },
        }),
      ]),
      spawn(() => [
        endpoint.subscriber([source, _], {
          onMessage: ([, value]) => {
            print('b', value)
            return value === 3 ? quit() : undefined
          },
        }),
      ]),
      spawn(() =>
        endpoint.subscriber(_, { interest: 'observer', onMessage: (body) => print('observer', body) }),
      ),
      spawn(() => endpoint.subscriber([_, 1], { onMessage: () => print('one') })),
      spawn(() => endpoint.subscriber([source, 2], { onMessage: () => print('two') }), { name: 'two' }),
    ],
    {
      meanwhile: async (ground) => {
        await sleep(1)
        t.equal(state.activated, 1)
        for (const value of [1, 2, 3, 4]) {
          fire(value)
          await sleep(1)
        }
        t.equal(state.released, 0, 'two still wants it')
        await ground.stop()
      },
    },
  )
  t.ok(ended)
  t.equal(state.activated, 1)
  t.equal(state.released, 1)
  t.same(lines.filter((line) => /^[ab]/.test(line)).sort(), ['a 1', 'a 2', 'b 1', 'b 2', 'b 3'])
  t.same(lines.filter((line) => line.startsWith('one')), ['one'])
  t.same(lines.filter((line) => line.startsWith('two')), ['two'])
  t.equal(lines.filter((line) => line.startsWith('observer')).length, 4)
})

t.test('who does not activate a source: observers, publishers, wildcards, other lengths', async (t) => {
  const { source, state } = manual()
  const { ended } = await run(() =>
    spawn(() => [
      endpoint.subscriber([source, _], { interest: 'observer' }),
      endpoint.subscriber([source, _], { interest: 'everything' }),
      endpoint.publisher([source, _]),
      endpoint.subscriber([source]),
      endpoint.subscriber([source, _, _]),
      endpoint.subscriber([_, source]),
      endpoint.subscriber([wild('s'), _]),
      endpoint.subscriber(source),
    ]),
  )
  t.ok(ended)
  t.equal(state.activated, 0)
})

t.test('firing after release is ignored', async (t) => {
  const { source, state, fire } = manual()
  const keep = manual('keep')
  const { lines } = await run(
    (print) => [
      spawn(() => endpoint.subscriber([source, _], { onMessage: () => quit() })),
      spawn(() => endpoint.subscriber([keep.source, _], { onMessage: () => quit() })),
      spawn(() =>
        endpoint.subscriber([_, _], { interest: 'observer', onMessage: ([, value]) => print(value) }),
      ),
    ],
    {
      meanwhile: async () => {
        await sleep(1)
        fire(1)
        t.equal(state.released, 1)
        fire(2)
        keep.fire(3)
        fire(4)
      },
    },
  )
  t.same(lines, ['1', '3'])
})

t.test('a source that is wanted again is activated again; the old sink is dead', async (t) => {
  const sinks: EventSink<string>[] = []
  const source = eventSource<string>('again', (sink) => {
    sinks.push(sink)
    return () => undefined
  })
  const { lines } = await run(
    (print) =>
      spawn(() => [
        endpoint.subscriber([source, _], { name: 'n' }),
        deleteEndpoint('n'),
        endpoint.subscriber([source, _], {
          name: 'n',
          onMessage: ([, value]) => {
            print(value)
            return quit()
          },
        }),
      ]),
    {
      meanwhile: async () => {
        await sleep(1)
        t.equal(sinks.length, 2)
        sinks[0].fire('old')
        sinks[1].fire('new')
      },
    },
  )
  t.same(lines, ['new'])
})

t.test('a release that takes its time is waited for', async (t) => {
  const trace: string[] = []
  const source = eventSource<number>('slow', (sink) => {
    sink.fire(1)
    return async () => {
      trace.push('closing')
      await sleep(30)
      trace.push('closed')
    }
  })
  const { ended } = await run(() =>
    spawn(() => endpoint.subscriber([source, _], { onMessage: () => quit() })),
  )
  t.ok(ended)
  t.same(trace, ['closing', 'closed'])
})

t.test('a release that rejects is logged, and the VM ends', async (t) => {
  const source = eventSource<number>('slow', (sink) => {
    sink.fire(1)
    return () => Promise.reject(new Error('close failed'))
  })
  const { ended, log } = await run(() =>
    spawn(() => endpoint.subscriber([source, _], { onMessage: () => quit() })),
  )
  t.ok(ended)
  t.same(logged(log, 'error'), ['event source slow failed when it was released'])
})

t.test('a release that throws does no harm: on quit, on crash, on kill, on stop', async (t) => {
  const victim = (bad: EventSource<number>, last: ActionTree): Action =>
    spawn(() => [endpoint.subscriber([bad, _]), endpoint.publisher(['x']), last])
  const programs: Record<string, () => ActionTree> = {
    quit: () => victim(failing(), quit('bye')),
    crash: () => victim(failing(), atMetaLevel(sendMessage(1))),
    kill: () =>
      spawn(() => [endpoint.subscriber([failing(), _]), endpoint.publisher(['x'])], {
        parent: (pid) => yieldTurn(() => yieldTurn(() => kill(pid, 'axe'))),
      }),
  }
  for (const [name, program] of Object.entries(programs)) {
    const { lines, ended, log } = await run((print) => [
      watcher(print),
      spawn(() => endpoint.subscriber(['x'], { onAbsence: () => print('x gone') })),
      yieldTurn(program),
      yieldTurn(() => yieldTurn(() => yieldTurn(() => yieldTurn(() => sendMessage(['w', 1]))))),
    ])
    t.ok(ended, name)
    t.ok(lines.includes('x gone') && lines.includes('w 1'), `${name}: ${lines.join()}`)
    t.ok(logged(log, 'error').includes('event source failing failed when it was released'), name)
  }
  const { ended } = await run(() => endpoint.subscriber([failing(), _]), {
    meanwhile: async (ground) => {
      await sleep(1)
      await ground.stop('x')
    },
  })
  t.ok(ended, 'stop')
})

t.test('the killer survives a victim whose release throws', async (t) => {
  const { lines } = await run((print) => [
    endpoint.subscriber(['x'], { onAbsence: () => print('x gone') }),
    endpoint.subscriber(['k'], { onAbsence: () => print('killer gone') }),
    spawn(() => [endpoint.subscriber([failing(), _]), endpoint.publisher(['x'])], {
      parent: (pid) =>
        spawn(() => [endpoint.publisher(['k']), yieldTurn(() => yieldTurn(() => kill(pid, 'axe')))]),
    }),
  ])
  t.same(lines, ['x gone'])
})

t.test('a whenIdle callback that throws is logged; the source goes on', async (t) => {
  const source = eventSource<number>('idle', (sink) => {
    sink.whenIdle(() => {
      throw new Error('idle callback')
    })
    sink.whenIdle(() => sink.fire(1))
  })
  const { lines, ended, log } = await run((print) =>
    spawn(() =>
      endpoint.subscriber([source, _], {
        onMessage: ([, value]) => {
          print(value)
          return quit()
        },
      }),
    ),
  )
  t.ok(ended)
  t.same(lines, ['1'])
  t.same(logged(log, 'error'), ['a whenIdle callback of an event source failed'])
})

t.test('whenIdle calls back after all that was queued', async (t) => {
  const source = eventSource<string>('idle', (sink) => {
    sink.whenIdle(() => sink.fire('idle'))
  })
  const { lines } = await run((print) =>
    spawn(() => [
      endpoint.subscriber([source, _], {
        onMessage: ([, value]) => {
          print(value)
          return quit()
        },
      }),
      yieldTurn(() => yieldTurn(() => yieldTurn(() => print('work')))),
    ]),
  )
  t.same(lines, ['work', 'idle'])
})

t.test('a source that cannot be activated ends its subscriber; nobody hears of the endpoint', async (t) => {
  const source = eventSource<number>('bad', () => {
    throw new Error('no')
  })
  const { lines, ended, log } = await run((print) => [
    endpoint.publisher([source, _], {
      onPresence: () => print('presence'),
      onAbsence: () => print('absence'),
    }),
    endpoint.publisher(['p'], { onAbsence: (_t, _s, reason) => print('process quits', String(reason)) }),
    spawn(() => [
      endpoint.subscriber(['p']),
      endpoint.subscriber([source, _], { onPresence: () => print('own'), onAbsence: () => print('own') }),
    ]),
    yieldTurn(() => yieldTurn(() => print('others live'))),
  ])
  t.ok(ended)
  t.same(lines.sort(), ['others live', 'process quits Error: no'])
  t.same(logged(log, 'error'), ['process 1 failed'])
})

t.test('an activation that fails two levels out ends the inner process only', async (t) => {
  const source = eventSource<number>('bad', () => {
    throw new Error('no')
  })
  const { lines, ended } = await run((print) => [
    nestedVm(() => [
      nestedVm(() => [
        endpoint.publisher(['i']),
        spawn(() => endpoint.subscriber(['i'], { onAbsence: (_t, _s, reason) => print(String(reason)) })),
        atMetaLevel(endpoint.subscriber(['z'])),
        atMetaLevel(atMetaLevel(endpoint.subscriber([source, _]))),
      ]),
      nestedVm(() => yieldTurn(() => yieldTurn(() => yieldTurn(() => print('neighbour lives'))))),
    ]),
  ])
  t.ok(ended)
  t.same(lines.sort(), ['Error: no', 'neighbour lives'])
})

t.test('what a source fired before its activation failed is ignored', async (t) => {
  const source = eventSource<number>('half', (sink) => {
    sink.fire(1)
    throw new Error('no')
  })
  const { lines } = await run((print) => [
    spawn(() => endpoint.subscriber([_, _], { interest: 'observer', onMessage: (body) => print(body) })),
    spawn(() => endpoint.subscriber([source, _])),
  ])
  t.same(lines, [], 'nothing is delivered')
})

t.test('a source fires inside nested VMs by one relay per level', async (t) => {
  const { source, state, fire } = manual()
  const listener = (print: (...values: unknown[]) => void, name: string): Action =>
    spawn(() =>
      endpoint.subscriber([source, _], {
        onMessage: ([, value]) => {
          print(name, value)
          return value === 2 ? quit() : undefined
        },
      }),
    )
  const { lines, ended } = await run(
    (print) => [
      nestedVm(() => [
        eventRelay('outer'),
        listener(print, 'one'),
        nestedVm(() => [eventRelay('inner'), listener(print, 'two a'), listener(print, 'two b')]),
      ]),
    ],
    {
      meanwhile: async (ground) => {
        await sleep(5)
        t.equal(state.activated, 1)
        fire(1)
        await sleep(5)
        fire(2)
        await sleep(5)
        t.equal(state.released, 1, 'nobody wants it any more')
        await ground
      },
    },
  )
  t.ok(ended)
  t.same(lines.sort(), ['one 1', 'one 2', 'two a 1', 'two a 2', 'two b 1', 'two b 2'])
})

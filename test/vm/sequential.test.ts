/** Processes whose async handlers run one after another, while events for them wait. */
import { logged, run, sleep } from './harness.js'
import { AsyncLocalStorage } from 'node:async_hooks'
import t from 'tap'
import {
  _, addEndpoint, atMetaLevel, deleteEndpoint, endpoint, kill, nestedVm, quit, role, sendMessage, spawn, transition,
  withAsyncContext, yieldTurn, type ActionTree, type EndpointEvent,
} from 'marketplace-native'
import { deferred } from '../support/util.js'

const numbers = (count: number): number[] => Array.from({ length: count }, (_value, i) => i)

/** Sends numbers below `count` as jobs, all at once, when somebody is there for them. */
const sender = (count: number): ActionTree => spawn(() => endpoint.publisher(['job', _], {
  interest: 'observer',
  onPresence: () => numbers(count).map((n) => sendMessage(['job', n])),
}))

// The first test, as a place is looked up once a second.
t.test('an error says where a handler was written', async (t) => {
  const { log } = await run(() => [
    spawn(() => endpoint.subscriber(['job', _], { onMessage: () => 5 as never }), { sequential: true }),
    sender(1),
  ])
  const [{ fields }] = log.filter(({ level }) => level === 'error')
  t.match((fields['reason'] as Error).stack, /\n {4}at onMessage \(file:.*sequential\.test\.js:\d+:\d+\)/)
})

t.test('one after another, in order, with the state of then', async (t) => {
  for (const sequential of [true, false]) {
    let running = 0
    let most = 0
    const ends = numbers(5).map(() => deferred<undefined>())
    ends[4].resolve(undefined)
    const { lines, ended } = await run((print) => [
      endpoint.subscriber(['done', _, _], { onMessage: ([, n, state]) => print(n, state) }),
      spawn(() => transition(0, endpoint.subscriber(['job', _], {
        onMessage: async ([, n], state: number): Promise<ActionTree> => {
          most = Math.max(most, ++running)
          // Those that overlap end in the reverse order.
          await (sequential ? sleep(4 - Number(n)) : ends[Number(n) + 1].promise)
          ends[Number(n)].resolve(undefined)
          running--
          return [sendMessage(['done', n, state]), yieldTurn((now: number) => transition(now + 1))]
        },
      })), { sequential }),
      sender(4),
    ])
    t.ok(ended)
    t.equal(most, sequential ? 1 : 4)
    t.same(lines, sequential ? ['0 0', '1 1', '2 2', '3 3'] : ['3 0', '2 0', '1 0', '0 0'])
  }
})

t.test('presence, absence and messages wait in their order, at every level, for functions of all events too',
  async (t) => {
    const expected = ['hear 1', 'begin', 'end', 'came', 'hear 2', 'went', 'own message']
    for (const level of ['own', 'meta'] as const) {
      for (const form of ['handlers', 'function'] as const) {
        const gate = deferred<undefined>()
        const { lines } = await run((print) => {
          const out = <A extends ActionTree>(action: A): ActionTree => level === 'own' ? action : atMetaLevel(action)
          const onMessage = (body: unknown): ActionTree | Promise<ActionTree> => {
            const [, what] = body as readonly unknown[]
            if (what !== 'wait') {
              print(what === 'own' ? 'own message' : `hear ${String(what)}`)
              return undefined
            }
            print('begin')
            return gate.promise.then(() => {
              print('end')
              return out(sendMessage(['say', 'own']))
            })
          }
          const onPresence = (): void => { print('came') }
          const onAbsence = (): void => { print('went') }
          const handlers = form === 'handlers' ? { onMessage, onPresence, onAbsence } : (event: EndpointEvent) =>
            event.type === 'message' ? onMessage(event.body) : event.type === 'presence' ? onPresence() : onAbsence()
          const program = spawn(() => out(addEndpoint('ear', role('subscriber', ['say', _]), handlers as never)), {
            sequential: true,
          })
          const talker = spawn(() => endpoint.publisher('go', { interest: 'observer', onPresence: () => [
            sendMessage(['say', 1]), sendMessage(['say', 'wait']),
            endpoint.publisher(['say', _], { name: 'p' }),
            sendMessage(['say', 2]),
            deleteEndpoint('p'),
            yieldTurn(() => { setTimeout(() => { gate.resolve(undefined) }, 5) }),
          ] }))
          return [
            level === 'own' ? program : nestedVm(() => program),
            talker,
            yieldTurn(() => yieldTurn(() => yieldTurn(() => endpoint.subscriber('go')))),
          ]
        })
        t.same(lines, expected, `${level}, ${form}`)
      }
    }
  })

t.test('what waits is dropped when the process ends, however that comes', async (t) => {
  const boom = new Error('boom')
  const ends: Readonly<Record<string, () => ActionTree | Promise<ActionTree>>> = {
    'the promise rejects': () => Promise.reject(boom),
    'it resolves to quit': () => quit(),
    'it resolves to what it may not': () => 5 as never,
    'it is killed meanwhile': () => sleep(10).then(() => undefined),
  }
  for (const [name, end] of Object.entries(ends)) {
    const { lines, ended } = await run((print) => [
      spawn(() => endpoint.subscriber(['job', _], {
        onMessage: async ([, n]) => {
          print(n)
          await sleep(1)
          return end()
        },
        onAbsence: () => print('own absence'),
      }), { sequential: true }),
      sender(5),
      name.includes('killed') && yieldTurn(() => yieldTurn(() => yieldTurn(() => yieldTurn(() => kill(1))))),
      endpoint.publisher(['job', _]),
    ])
    t.ok(ended)
    t.same(lines, ['0', 'own absence'], `${name}: it is told of its own endpoint's going`)
  }
})

t.test('a handler that is not async is followed by its actions before the next one that waited', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => endpoint.subscriber(['job', _], {
      onMessage: ([, n]) => {
        print(n)
        return n === 0 ? sleep(1).then(() => undefined) : n === 2 && quit()
      },
    }), { sequential: true }),
    sender(5),
  ])
  t.same(lines, ['0', '1', '2'])
})

t.test('promises of continuations, and of several at once, hold what comes', async (t) => {
  const { lines } = await run((print) => {
    const ends = { slow: deferred<undefined>(), quick: deferred<undefined>(), parent: deferred<undefined>() }
    const wait = (what: keyof typeof ends, after: Promise<unknown>) => async (): Promise<ActionTree> => {
      print('begin', what)
      await after
      print('end', what)
      ends[what].resolve(undefined)
      return undefined
    }
    return [
      spawn(() => [
        endpoint.subscriber(['job', _], { onMessage: ([, n]) => print(n) }),
        yieldTurn(wait('slow', ends.parent.promise)), yieldTurn(wait('quick', sleep(5))),
        spawn(() => undefined, { parent: wait('parent', ends.quick.promise) }),
      ], { sequential: true }),
      sender(2),
    ]
  })
  const begins = ['begin slow', 'begin quick', 'begin parent']
  t.same(lines, [...begins, 'end quick', 'end parent', 'end slow', '0', '1'])
})

t.test('what waits goes to handlers that have taken the place of others meanwhile', async (t) => {
  const { lines } = await run((print) => {
    const second = (body: readonly unknown[]): void => { print('second', body[1]) }
    const first = async (body: readonly unknown[]): Promise<ActionTree> => {
      await sleep(1)
      print('first', body[1])
      return addEndpoint('ear', role('subscriber', ['job', _]), { onMessage: second as never })
    }
    return [
      spawn(() => addEndpoint('ear', role('subscriber', ['job', _]), { onMessage: first as never }), {
        sequential: true,
      }),
      sender(3),
    ]
  })
  t.same(lines, ['first 0', 'second 1', 'second 2'])
})

t.test('more than may wait: the process fails, and says why, once; others go on', async (t) => {
  let handled = 0
  let gone: unknown
  const { log, ended } = await run(() => [
    spawn(() => endpoint.subscriber(['job', _], {
      onMessage: async () => {
        handled++
        await sleep(50)
        return undefined
      },
    }), { sequential: true, name: 'slow' }),
    endpoint.publisher(['job', _], { onAbsence: (_topic, _state, reason) => { gone = reason } }),
    sender(20_000),
  ])
  t.ok(ended)
  t.equal(handled, 1)
  t.match(gone, {
    name: 'RangeError', code: 'ERR_OUT_OF_RANGE',
    message: 'process 1 (slow) is sequential, and more than 10000 events wait for its handlers',
  })
  t.same(logged(log, 'error'), ['process 1 (slow) failed'])
})

t.test('as many as may wait are handled', async (t) => {
  let handled = 0
  const { log } = await run(() => [
    spawn(() => endpoint.subscriber(['job', _], {
      onMessage: ([, n]) => {
        handled++
        return n === 0 ? sleep(1).then(() => undefined) : undefined
      },
    }), { sequential: true }),
    sender(10_001),
  ])
  t.equal(handled, 10_001)
  t.same(logged(log, 'error'), [])
})

t.test('with a context kept', async (t) => {
  const storage = new AsyncLocalStorage<string>()
  const { lines } = await run((print) => [
    storage.run('mine', () => withAsyncContext(spawn(() => endpoint.subscriber(['job', _], {
      onMessage: async ([, n]) => {
        await sleep(5 - 2 * Number(n))
        print(n, storage.getStore())
        return n === 1 ? 'stray' as never : undefined
      },
    }), { sequential: true }))),
    sender(2),
  ])
  t.same(lines, ['0 mine', '1 mine'])
})

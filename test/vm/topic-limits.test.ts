/** Limits of topics in a program: who exceeds one ends, and nobody else; and what has gone leaves no memory. */
import { collectLog } from './log-records.js'
import t from 'tap'
import {
  _, atMetaLevel, deleteEndpoint, endpoint, eventSource, groundVm, kill, nestedVm, quit, sendMessage, spawn,
  topicLimits,
  transition, wild, yieldTurn, type ActionTree,
} from 'marketplace-native'
import { collectGarbage } from '../support/util.js'

const listOf = (n: number, end: unknown): unknown => {
  let list = end
  for (let i = 0; i < n; i++) list = [i, list]
  return list
}

t.test('the acting process gets the error, its neighbours go on', async (t) => {
  const cyclic: unknown[] = ['x']
  cyclic.push(cyclic)
  const acts: readonly (readonly [act: () => ActionTree, error: RegExp])[] = [
    [() => endpoint.subscriber(listOf(1001, _)), /depth/],
    [() => endpoint.publisher(['hello', new Array(70_000).fill(0)]), /parts/],
    [() => endpoint.subscriber(['hello', Buffer.alloc(5_000_000)]), /bytes/],
    [() => endpoint.subscriber('fine', { name: listOf(1001, 1) }), /depth/],
    [() => endpoint.subscriber(['hello', cyclic]), /contain itself/],
    [() => deleteEndpoint(cyclic), /contain itself/],
    [() => atMetaLevel(endpoint.subscriber(['hello', cyclic])), /contain itself/],
  ]
  const log = collectLog()
  const heard: unknown[] = []
  for (const [act, error] of acts) {
    const reasons: unknown[] = []
    await groundVm(() => nestedVm(() => [
      spawn(() => [
        endpoint.subscriber(['hello', _], { name: 'open', onMessage: ([, what]) => { heard.push(what) } }),
        endpoint.subscriber(['hello', [[['a', 'b'], 1]]], { name: 'closed' }),
        endpoint.subscriber('actor', {
          name: 'actor',
          onAbsence: (_topic, _state, reason) => {
            reasons.push(reason)
            return [sendMessage(['hello', 'still here']), quit()]
          },
        }),
      ]),
      spawn(() => [endpoint.publisher('actor'), yieldTurn(act)]),
    ]))
    t.match(reasons, [{ name: 'RangeError', message: error }])
    t.equal(heard.pop(), 'still here')
  }
  t.strictSame(heard, [])
  log.end()
  t.ok(log.records.some(({ level }) => level === 'error'))
})

t.test('a message may be of any size: it goes to those who leave open what is in it', async (t) => {
  const cyclic: unknown[] = []
  cyclic.push(cyclic)
  const bodies = [cyclic, listOf(50_000, 'end'), Buffer.alloc(5_000_000), new Array(70_000).fill(0)]
  const heard: unknown[] = []
  await groundVm(() => [
    spawn(() => transition(0,
      endpoint.subscriber(['m', _], {
        onMessage: ([, body], n: number) => {
          heard.push(body)
          return transition(n + 1, n + 1 === bodies.length && quit())
        },
      }),
      endpoint.subscriber(['m', ['a', 'b']]),
      endpoint.subscriber(['m', [wild('x'), wild('x')]]),
    )),
    yieldTurn(() => bodies.map((body) => sendMessage(['m', body]))),
  ])
  t.equal(heard.length, bodies.length)
  t.ok(bodies.every((body, i) => heard[i] === body))
})

const heap = (): number => {
  collectGarbage()
  collectGarbage()
  return process.memoryUsage().heapUsed
}

/** Forms that differ: wildcards at the levels that the bits of a number say. */
const form = (i: number, end: unknown): unknown => {
  let list = end
  for (let bit = 0; bit < 14; bit++) list = [((i >> bit) & 1) === 1 ? _ : `level ${bit}`, list]
  return list
}

const COUNT = 4000

t.test('endpoints that have gone leave no memory, while their VM goes on', async (t) => {
  const ticks = eventSource<number>('ticks', (sink) => {
    const interval = setInterval(() => { sink.fire(0) }, 1)
    return () => { clearInterval(interval) }
  })
  const crowd = (round: number) => () =>
    Array.from({ length: COUNT }, (_value, i) => endpoint.subscriber(form(i, [`client ${round}`, i])))
  const used: number[] = []
  let round = 0
  const wayOf = (n: number): ActionTree => {
    // By quitting, by being killed, inside of a VM that is killed; and by asking without an endpoint.
    if (n % 4 === 0) return spawn(() => [crowd(n)(), yieldTurn(() => quit())])
    if (n % 4 === 1) return spawn(crowd(n), { parent: (pid) => kill(pid) })
    if (n % 4 === 2) return nestedVm(crowd(n), { parent: (pid) => yieldTurn(() => yieldTurn(() => kill(pid))) })
    return Array.from({ length: COUNT }, (_value, i) => sendMessage(form(i, [`client ${n}`, i])))
  }
  const log = collectLog(({ level }) => level === 'error')
  await groundVm(() => [
    endpoint.publisher(form(3, _), { interest: 'everything', onPresence: () => undefined }),
    endpoint.subscriber(form(1, [wild('x'), wild('y')])),
    endpoint.subscriber([ticks, _], {
      name: 'ticks',
      onMessage: () => {
        if (round % 4 === 0) used.push(heap())
        return round === 16 ? quit() : wayOf(round++)
      },
    }),
  ])
  t.equal(used.length, 5)
  const [, first, , , last] = used
  t.ok(last - first < 3_000_000, `heap after each four rounds of ${COUNT}: ${used.join(', ')}`)
  log.end()
  t.strictSame(log.records, [])
})

t.test('a ground VM that has ended leaves no memory, though what it was given stays', async (t) => {
  const kept = [endpoint.subscriber(['kept', _])]
  const before = heap()
  for (let n = 0; n < 3; n++) {
    await groundVm(() => [
      kept, Array.from({ length: COUNT }, (_value, i) => endpoint.subscriber(form(i, [n, i]))),
    ])
  }
  const after = heap()
  t.ok(after - before < 3_000_000, `${before} before, ${after} after`)
})

t.test('forms beyond the limit end who wants one more', async (t) => {
  const before = topicLimits()
  topicLimits({ forms: 100 })
  const log = collectLog()
  const reasons: unknown[] = []
  await groundVm(() => [
    spawn(() => [
      endpoint.subscriber('greedy', {
        onAbsence: (_topic, _state, reason) => {
          reasons.push(reason)
          return quit()
        },
      }),
    ]),
    spawn(() => [
      endpoint.publisher('greedy'),
      Array.from({ length: 101 }, (_value, i) => endpoint.subscriber(form(i, _))),
    ]),
  ])
  topicLimits(before)
  t.match(reasons, [{ name: 'RangeError', message: /at most 100 forms/ }])
  log.end()
  t.ok(log.records.some(({ level }) => level === 'error'))
})

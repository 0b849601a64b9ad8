/** Asking and answering: who gets which answer, and how what goes wrong is told. */
import { logged, run, sleep, type Print } from './harness.js'
import { getEventListeners } from 'node:events'
import t from 'tap'
import {
  _, answer, answerError, answering, asking, atMetaLevel, deleteEndpoint, endpoint, groundVm, kill, nestedVm, question,
  quit, sendMessage, spawn, spy, transition, wild, yieldTurn, type ActionTree, type Asking,
} from 'marketplace-native'
import { deferred } from '../support/util.js'
import { patient } from '../support/patience.js'

/** A process that asks, and ends with its function. */
const asker = (body: (asks: Asking) => Promise<unknown>, wrap: (asks: Asking) => ActionTree = (asks) => asks) =>
  spawn(() => {
    const asks = asking()
    return [wrap(asks), yieldTurn(async () => {
      await body(asks)
      return quit()
    })]
  }, { name: 'asker' })

const errorOf = async (promise: Promise<unknown>): Promise<Error & { code?: string }> => {
  try {
    return new Error(`no error, but ${String(await promise)}`)
  } catch (error) {
    return error as Error
  }
}

const doubler = (): ActionTree => spawn(() => answering(['double', _], ([, n]) => Number(n) * 2))

t.test('answers find their questions, also after an await, many at once, from many processes', async (t) => {
  const { lines, ended, log } = await run((print) => [
    spawn(() => answering(['double', _], async ([, n]) => {
      await sleep(Number(n) % 3)
      return Number(n) * 2
    })),
    [1, 2, 3].map((who) => asker(async (asks) => {
      await sleep(1)
      const numbers = Array.from({ length: 50 }, (_value, i) => who * 100 + i)
      const answers = await Promise.all(numbers.map((n) => asks.ask<number>(['double', n])))
      if (answers.every((value, i) => value === 2 * numbers[i])) print('all right')
      print(await asks.ask(['double', who]))
    })),
  ])
  t.ok(ended)
  t.same(lines.sort(), ['2', '4', '6', 'all right', 'all right', 'all right'])
  t.same(logged(log, 'error'), [])
})

t.test('what is asked in boot, before its action is performed, goes out with it', async (t) => {
  const { lines } = await run((print) => [
    doubler(),
    spawn(() => {
      const asks = asking()
      const early = asks.ask(['double', 4])
      return [yieldTurn(async () => { print(await early) }), asks]
    }),
  ])
  t.same(lines, ['8'])
})

t.test('an answer may be anything, and of a state; the first one counts', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => transition(7, answering('state', (_body, state: number) => state))),
    spawn(() => answering('nothing', () => undefined)),
    spawn(() => [
      endpoint.subscriber(question(_, 'twice'), {
        onMessage: ({ id }) => [sendMessage(answer(id, 'first')), sendMessage(answer(id, 'second'))],
      }),
    ]),
    spawn(() => transition(0, endpoint.subscriber(question(_, 'count'), {
      onMessage: ({ id }, state: number) => transition(state + 1, sendMessage(answer(id, state))),
    }))),
    asker(async (asks) => {
      print(await asks.ask('state'), await asks.ask('nothing'), await asks.ask('twice'))
      print(await asks.ask('count'), await asks.ask('count'))
    }),
  ])
  t.same(lines, ['7 undefined first', '0 1'])
})

t.test('what the answering handler throws is the asker\'s; it goes on itself', async (t) => {
  const boom = new Error('boom')
  const { lines, log } = await run((print) => [
    spawn(() => answering(['fail', _], ([, how]) => {
      if (how === 'throw') throw boom
      if (how === 'throw undefined') throw undefined as unknown as Error
      if (how === 'reject') return Promise.reject(boom)
      if (how === 'action') return quit()
      if (how === 'async transition') return Promise.resolve(transition(1))
      return 'lives'
    })),
    spawn(() => endpoint.subscriber(question(_, 'refuse'), {
      onMessage: ({ id }) => sendMessage(answerError(id, 'no reason')),
    })),
    asker(async (asks) => {
      print(await errorOf(asks.ask(['fail', 'throw'])) === boom)
      print(await errorOf(asks.ask(['fail', 'reject'])) === boom)
      for (const how of ['throw undefined', 'action', 'async transition']) {
        print((await errorOf(asks.ask(['fail', how]))).message.slice(0, 45))
      }
      print(String(await errorOf(asks.ask('refuse'))))
      print(await asks.ask(['fail', 'not']))
    }),
  ])
  t.same(lines, [
    'true', 'true', 'a handler of answering has thrown undefined',
    'a handler of answering must return the answer', 'a handler of answering must return the answer',
    'no reason', 'lives',
  ])
  t.same(logged(log, 'error'), [])
  t.same(logged(log, 'warning'), [])
})

t.test('an asker that doesn\'t handle an error fails with it, as with any rejection', async (t) => {
  let reason: unknown
  await run(() => [
    spawn(() => answering('fail', () => { throw new Error('theirs') })),
    endpoint.subscriber('asker', { onAbsence: (_topic, _state, why) => { reason = why } }),
    spawn(() => {
      const asks = asking()
      return [asks, endpoint.publisher('asker'), yieldTurn(async () => { await asks.ask('fail') })]
    }),
  ])
  t.match(reason, { message: 'theirs' })
})

t.test('no answer in time: the error names the question, and says who was there', async (t) => {
  const over = deferred<undefined>()
  const { lines, ended } = await run((print) => [
    spy('ALL', { print: () => undefined }),
    spawn(() => endpoint.subscriber(question(_, ['heard', _]), { onMessage: () => undefined })),
    spawn(() => endpoint.subscriber(question(_, ['deaf', _]))),
    spawn(() => answering('slow', () => over.promise)),
    asker(async (asks) => {
      for (const body of [['heard', 1], ['deaf', 1], ['unheard', 1], 'slow']) {
        const { name, code, message } = await errorOf(asks.ask(body, { timeout: 20 }))
        print(name, code, message)
      }
      const { message } = await errorOf(asking().ask('x', { timeout: 20 }))
      print(message)
      over.resolve(undefined)
    }),
  ])
  t.ok(ended)
  t.same(lines, [
    "Error ETIMEDOUT ask: no answer to [ 'heard', 1 ] within 20 ms",
    "Error ETIMEDOUT ask: no answer to [ 'deaf', 1 ] within 20 ms; nobody was there to hear it",
    "Error ETIMEDOUT ask: no answer to [ 'unheard', 1 ] within 20 ms; nobody was there to hear it",
    "Error ETIMEDOUT ask: no answer to 'slow' within 20 ms",
    "ask: no answer to 'x' within 20 ms; no process has returned its asking(), which sends it",
  ])
})

t.test('who comes within the time is asked, once; others who are there already are not asked again', async (t) => {
  const asked: unknown[] = []
  const { lines } = await run((print) => [
    asker(async (asks) => {
      print(...await Promise.all([asks.ask(['late', 1]), asks.ask(['late', 2]), asks.ask(['never', 1], {
        timeout: 200,
      }).catch((error: unknown) => (error as Error).message)]))
    }),
    yieldTurn(async () => {
      await sleep(50)
      const one = (name: string, time: number) => spawn(() => answering(['late', _], async ([, n]) => {
        asked.push([name, n])
        await sleep(time)
        return `${name} ${String(n)}`
      }))
      return [one('first', 30), yieldTurn(async () => {
        await sleep(10)
        return one('second', 0)
      })]
    }),
  ])
  t.same(asked, [['first', 1], ['first', 2]])
  t.same(lines, [
    "first 1 first 2 ask: no answer to [ 'never', 1 ] within 200 ms; nobody was there to hear it",
  ])
})

t.test('a signal gives it up; a late answer is nobody\'s', async (t) => {
  const reason = new Error('changed my mind')
  const gate = deferred<string>()
  const { lines } = await run((print) => [
    spawn(() => answering('slow', () => gate.promise)),
    asker(async (asks) => {
      const controller = new AbortController()
      const { signal } = controller
      const asked = errorOf(asks.ask('slow', { signal }))
      await sleep(1)
      controller.abort(reason)
      print(await asked === reason)
      print(await errorOf(asks.ask('slow', { signal })) === reason, getEventListeners(signal, 'abort').length)
      gate.resolve('late')
      const other = new AbortController()
      print(await asks.ask('slow', { signal: other.signal }), getEventListeners(other.signal, 'abort').length)
    }),
  ])
  t.same(lines, ['true', 'true 0', 'late 0'])
})

t.test('the process ends: what it asks is rejected, later questions too, and nothing is left', async (t) => {
  const unhandled: unknown[] = []
  const listener = (reason: unknown): void => { unhandled.push(reason) }
  process.on('unhandledRejection', listener)
  t.teardown(() => process.off('unhandledRejection', listener))
  const start = performance.now()
  const ways: Record<string, (pid: number) => ActionTree> = {
    killed: (pid) => kill(pid, 'reason'),
    'its VM killed': (pid) => kill(pid),
  }
  for (const [way, end] of Object.entries(ways)) {
    const errors: (Error & { code?: string })[] = []
    let asks: Asking | undefined
    const done = deferred<undefined>()
    const { log, ended } = await run(() => {
      const boot = (): ActionTree => {
        asks = asking()
        void asks.ask('never', { timeout: 100_000 })
        return [asks, yieldTurn(async () => {
          errors.push(await errorOf((asks as Asking).ask('never', { timeout: 100_000 })))
          errors.push(await errorOf((asks as Asking).ask('never')))
          done.resolve(undefined)
          return asks?.ask('never').then(() => undefined)
        })]
      }
      return [
        way === 'killed' ? spawn(boot, { name: 'x' }) : nestedVm(() => [endpoint.subscriber('stay'), spawn(boot)]),
        yieldTurn(() => yieldTurn(() => yieldTurn(() => end(1)))),
      ]
    })
    t.ok(ended)
    await done.promise
    await sleep(1)
    for (const { code, message } of errors) {
      t.equal(code, 'ECANCELED')
      t.match(message, /^ask: process 1.* has ended, before there was an answer to 'never'$/)
    }
    t.equal(errors.length, 2)
    t.same(logged(log, 'warning'), [], 'that its handlers reject is no news')
  }
  t.same(unhandled, [])
  t.ok(performance.now() - start < patient(5000), 'no timer is left')
})

t.test('stop ends what waits for an answer', async (t) => {
  const asked = deferred<Error & { code?: string }>()
  const vm = groundVm(() => asker(async (asks) => {
    const promise = asks.ask('x', { timeout: 100_000 })
    setTimeout(() => void vm.stop(), 1)
    asked.resolve(await errorOf(promise))
  }))
  await vm
  t.equal((await asked.promise).code, 'ECANCELED')
})

t.test('no more may wait than maxPending', async (t) => {
  const { lines } = await run((print) => spawn(() => {
    const asks = asking({ maxPending: 2 })
    return [asks, yieldTurn(async () => {
      const both = ['a', 'b'].map((body) => errorOf(asks.ask(body, { timeout: 20 })))
      const { code, message } = await errorOf(asks.ask('c'))
      print(code, message)
      await Promise.all(both)
      print((await errorOf(asks.ask('d', { timeout: 1 }))).code)
      return quit()
    })]
  }))
  t.same(lines, ['ENOBUFS ask: 2 questions are waiting for an answer, and maxPending is 2', 'ETIMEDOUT'])
})

t.test('from inside of a VM outwards, at any level, and with answers from inside', async (t) => {
  for (const levels of [1, 2]) {
    const over = deferred<undefined>()
    const wrap = (print: Print, inside: (print: Print) => ActionTree, n = levels): ActionTree =>
      nestedVm(() => n === 1 ? inside(print) : wrap(print, inside, n - 1))
    const outwards = (action: ActionTree): ActionTree =>
      levels === 1 ? atMetaLevel(action) : atMetaLevel(...[atMetaLevel(action)].flat())
    const { lines, ended } = await run((print) => [
      doubler(),
      wrap(print, () => asker(async (asks) => {
        print(await asks.ask(['double', 21]))
        print((await errorOf(asks.ask('inside only', { timeout: 20 }))).code)
        print(await asks.ask('inside'))
        over.resolve(undefined)
      }, outwards)),
      wrap(print, () => [
        answering('inside only', () => 'wrong VM'),
        outwards(answering('inside', () => 'from inside')),
        outwards(endpoint.subscriber('enough', { onMessage: () => quit() })),
      ]),
      yieldTurn(async () => {
        await over.promise
        return sendMessage('enough')
      }),
    ])
    t.ok(ended)
    t.same(lines, ['42', 'ETIMEDOUT', 'from inside'])
  }
})

t.test('a sequential process gets its answers while its handler waits', async (t) => {
  const { lines } = await run((print) => [
    doubler(),
    spawn(() => {
      const asks = asking()
      return [asks, endpoint.subscriber(['job', _], {
        onMessage: async ([, n]) => {
          await sleep(5 - Number(n))
          print(await asks.ask(['double', n]))
          return undefined
        },
      })]
    }, { sequential: true }),
    endpoint.publisher(['job', _], { onPresence: () => [1, 2, 3].map((n) => sendMessage(['job', n])) }),
  ])
  t.same(lines, ['2', '4', '6'])
})

t.test('each process needs its own; the same process may return it again', async (t) => {
  const { lines, log } = await run((print) => {
    const shared = asking()
    return [
      doubler(),
      spawn(() => [shared, shared, yieldTurn(async () => { print(await shared.ask(['double', 1])) })], { name: 'one' }),
      spawn(() => [endpoint.publisher('two', { onAbsence: () => print('gone') }), shared], { name: 'two' }),
      endpoint.subscriber('two', { onAbsence: (_topic, _state, reason) => print((reason as Error).message) }),
    ]
  })
  t.same(lines.filter((line) => line !== 'gone').sort(), [
    '2', 'this asking() is that of process 2 (one) already; each process needs its own',
  ])
  t.same(logged(log, 'error'), ['process 3 (two) failed'])
})

t.test('messages with wildcards, and what can\'t be compared, hurt nobody', async (t) => {
  const evil: unknown = new Proxy([], { get: () => { throw new Error('trap') } })
  const { lines, log, ended } = await run((print) => [
    doubler(),
    asker(async (asks) => {
      const pending = asks.ask(['double', 1])
      print(await pending)
      print((await errorOf(asks.ask(evil, { timeout: 20 }))).name)
      print(await asks.ask(['double', 2]))
    }),
    endpoint.publisher(question(_, _), {
      onPresence: () => [
        sendMessage(_), sendMessage(answer(_, 'forged')), sendMessage(answerError(_, 'forged')),
        sendMessage(question(_, ['double', 5])),
      ],
    }),
    endpoint.publisher('over', { name: 'x' }), deleteEndpoint('x'),
  ])
  t.ok(ended)
  t.same(lines, ['2', 'Error', '4'])
  t.same(logged(log, 'error'), [])
  t.match(logged(log, 'warning').join(), /id has a wildcard/)
})

t.test('wrong arguments', (t) => {
  const asks = asking()
  const cases: readonly [() => unknown, RegExp][] = [
    [() => asking(5 as never), /^asking: options must be an object; got 5/],
    [() => asking({ maxPending: 0 }), /^asking: options.maxPending must be an integer from 1/],
    [() => asking({ pending: 5 } as never), /^asking: unknown option 'pending'/],
    [() => asks.ask('x', { timeout: 0 }), /^ask: options.timeout must be an integer from 1 to 2147483647 milliseconds/],
    [() => asks.ask('x', { timeout: Infinity }), /^ask: options.timeout must be/],
    [() => asks.ask('x', { signal: 5 as never }), /^ask: options.signal must be an AbortSignal; got 5/],
    [() => answering(undefined, () => 1), /^answering: topic must be a topic/],
    [() => answering('x', 5 as never), /^answering: handler must be a function; got 5/],
    [() => answering('x', () => 1, { nmae: 5 } as never), /^answering: unknown option 'nmae'; did you mean 'name'/],
  ]
  for (const [call, message] of cases) t.throws(call, { message })
  t.end()
})

void t.test('actions are no answer, in a list neither', async (t) => {
  const asks = asking()
  let reason: unknown
  await groundVm(() => [
    asks,
    answering('q', () => [sendMessage('side'), 7]),
    endpoint.subscriber('go', {
      onMessage: async () => {
        reason = await asks.ask('q', { timeout: 5000 }).catch((error: unknown) => error)
      },
    }),
    yieldTurn(() => sendMessage('go')),
  ])
  t.match(reason, { name: 'TypeError', message: /^a handler of answering must return the answer; got \[/ })
})

t.test('an answer with a wildcard is refused, and the asker hears why', async (t) => {
  for (const value of [_, [_], wild('x'), ['a', wild('x'), ['b']]]) {
    const { lines } = await run((print) => [
      spawn(() => answering(['q'], () => value)),
      spawn(() => answering(['later'], async () => value)),
      asker(async (asks) => {
        print((await errorOf(asks.ask(['q']))).message)
        print((await errorOf(asks.ask(['later']))).message)
      }),
    ])
    t.equal(lines.length, 2)
    for (const line of lines) t.match(line, /^the answer to a question must have no wildcard; got /)
  }
})

t.test('who ends in order may have left the answer to another process', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => endpoint.subscriber(question(_, 'work'), {
      onMessage: ({ id }) => [
        spawn(async () => {
          await sleep(20)
          return sendMessage(answer(id, 'from another one'))
        }),
        quit(),
      ],
    })),
    asker(async (asks) => { print(await asks.ask('work')) }),
  ])
  t.same(lines, ['from another one'])
})

t.test('a question to a process that ends without an answer fails at once, with the reason of its end', async (t) => {
  const worker = (end: (pid: number) => ActionTree) => spawn(() => endpoint.subscriber(question(_, 'work'), {
    onMessage: () => end(1),
  }), { name: 'worker' })
  const crash = new Error('crash')
  const ends: readonly [what: string, end: (pid: number) => ActionTree, cause: unknown][] = [
    ['it throws', () => { throw crash }, crash],
    ['it quits with a reason', () => quit('tired'), 'tired'],
    ['it is killed', (pid) => spawn(() => kill(pid, 'killed')), 'killed'],
  ]
  for (const inside of [false, true]) {
    for (const [what, end, cause] of ends) {
      const { lines } = await run((print) => [
        // The worker is process 1 here, or process 0 of its VM.
        inside ? nestedVm(() => [
          atMetaLevel(endpoint.subscriber(question(_, 'work'), { onMessage: () => end(0) })),
        ]) : worker(end),
        asker(async (asks) => {
          const error = await errorOf(asks.ask('work', { timeout: patient(20_000) }))
          print(error.code, error.message, error.cause === cause)
        }),
      ], { patience: patient(10_000) })
      const told = "ESRCH ask: who was to answer 'work' has ended without an answer true"
      t.same(lines, [told], `${what}, inside: ${inside}`)
    }
  }
})

t.test('it does not fail while one is left who has heard it, nor when the answer came before the end', async (t) => {
  const { lines } = await run((print) => [
    spawn(() => endpoint.subscriber(question(_, 'work'), {
      onMessage: ({ id }) => [sendMessage(answer(id, 'first, and gone')), quit()],
    })),
    nestedVm(() => atMetaLevel(endpoint.subscriber(question(_, 'inside'), {
      onMessage: ({ id }) => [atMetaLevel(sendMessage(answer(id, 'from inside, and gone'))), quit()],
    }))),
    spawn(() => endpoint.subscriber(question(_, 'both'), { onMessage: () => quit() })),
    spawn(() => answering('both', async () => {
      await sleep(20)
      return 'the other one'
    })),
    // Its endpoint goes, and it lives on: it may still answer.
    spawn(() => endpoint.subscriber(question(_, 'later'), {
      name: 'questions',
      onMessage: ({ id }) => [
        deleteEndpoint('questions'),
        yieldTurn(async () => { await sleep(20); return sendMessage(answer(id, 'later')) }),
      ],
    })),
    asker(async (asks) => {
      const all = await Promise.all(['work', 'inside', 'both', 'later'].map((body) =>
        asks.ask(body, { timeout: patient(5000) }).catch((error: unknown) => (error as Error).message)))
      for (const one of all) print(one)
    }),
  ], { patience: patient(10_000) })
  t.same(lines, ['first, and gone', 'from inside, and gone', 'the other one', 'later'])
})

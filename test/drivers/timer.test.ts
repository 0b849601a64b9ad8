/** The timer driver and the timer relay: order, deadlines, cancelling, numbers, nested VMs. */
import { logged, run, type Print } from '../vm/harness.js'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import {
  _, atMetaLevel, cancelTimer, defineRecord, endpoint, eventRelay, groundVm, nestedVm, quit, sendMessage,
  setTimer, spawn, timerDriver, timerExpired, timerRelay, type Action, type ActionTree,
} from 'marketplace-native'
import { patient } from '../support/patience.js'
import { until } from '../support/util.js'
import { anySetTimer } from '../support/unchecked.js'

const relative = (label: unknown, msecs: number): Action => sendMessage(setTimer(label, msecs, 'relative'))
const absolute = (label: unknown, msecs: number): Action => sendMessage(setTimer(label, msecs, 'absolute'))
const cancel = (label: unknown): Action => sendMessage(cancelTimer(label))

/** Acts once there is somebody who sets timers in this VM. */
const withTimers = (actions: () => ActionTree): Action =>
  spawn(() => endpoint.publisher(setTimer(_, _, _), { onPresence: actions }))

const prints = (print: Print, who = ''): Action =>
  spawn(() => endpoint.subscriber(timerExpired(_, _), {
    onMessage: ({ label }) => { print(who === '' ? label : [who, label]) },
  }))

t.test('in the order of deadlines, never early, past ones at once', { timeout: patient(10_000) }, async (t) => {
  const early: unknown[] = []
  const due = new Map<unknown, number>()
  const { lines, ended } = await run((print) => [
    timerDriver(),
    prints(print),
    spawn(() => endpoint.subscriber(timerExpired(_, _), {
      onMessage: ({ label, now }) => {
        // Timers of the monotonic clock may differ from the wall clock's milliseconds by one.
        if (now < (due.get(label) ?? 0) - 1 || Math.abs(now - Date.now()) > 1000) early.push([label, now])
      },
    })),
    withTimers(() => {
      const now = Date.now()
      due.set('b', now + 50).set('c', now + 200).set('d', now + 350)
      return [
        absolute('d', now + 350), relative('c', 200), relative('b', 50), absolute('past 2', 2000),
        relative('just past', -5), absolute('past 1', -10), absolute('past 0', -Infinity),
      ]
    }),
  ])
  t.strictSame(lines, ['past 0', 'past 1', 'past 2', 'just past', 'b', 'c', 'd'])
  t.strictSame(early, [])
  t.ok(ended, 'the ground VM ends after the last one')
})

t.test('timers of one turn expire in the order of their delays', { timeout: patient(10_000) }, async (t) => {
  /** What a busy machine does to a program: the CPU is somebody else's for a while. */
  const stall = (msecs: number): void => {
    const end = performance.now() + msecs
    while (performance.now() < end);
  }
  const early: unknown[] = []
  const due = new Map<unknown, number>()
  let present = 0
  const { lines, ended } = await run((print) => [
    timerDriver(),
    prints(print),
    spawn(() => [
      endpoint.subscriber(timerExpired(_, _), {
        onMessage: ({ label }) => { if (performance.now() < (due.get(label) ?? 0) - 30) early.push(label) },
      }),
      // Between one of them and the next.
      endpoint.subscriber(setTimer(_, _, _), {
        onMessage: ({ label, msecs }) => {
          due.set(label, performance.now() + msecs)
          stall(30)
        },
      }),
    ]),
    // Once for the driver, and not again for the one who stalls.
    withTimers(() => present++ === 0 && [
      relative('60', 60), relative('50', 50), relative('20', 20), relative('40', 40), cancel('50'),
      relative('1', 1), relative('20 again', 20),
    ]),
  ])
  t.strictSame(lines, ['1', '20', '20 again', '40', '60'])
  t.strictSame(early, [], 'none before its time')
  t.ok(ended, 'the ground VM ends after the last one')
})

t.test('a timer may be set when another expires; labels are no names', { timeout: patient(10_000) }, async (t) => {
  let left = 5
  const { lines, ended } = await run((print) => [
    timerDriver(),
    prints(print),
    spawn(() => endpoint.subscriber(timerExpired('tick', _), {
      onMessage: () => --left > 0 && relative('tick', 2),
    })),
    withTimers(() => [relative('tick', 1), relative('same', 30), relative('same', 31)]),
  ])
  t.ok(ended)
  t.equal(lines.filter((line) => line === 'tick').length, 5)
  t.equal(lines.filter((line) => line === 'same').length, 2, 'both with the same label')
})

const named = defineRecord('named', ['name', 'parts'])

t.test('cancel takes all with an equal label, and no other', { timeout: patient(10_000) }, async (t) => {
  const gone = ['text', 7, ['list', [1, 2]], named('n', [1]), Buffer.from('bytes'), undefined, NaN]
  const again = ['text', 7, ['list', [1, 2]], named('n', [1]), Buffer.from('bytes'), undefined, NaN]
  const kept = ['texts', '7', ['list', [1, 3]], named('n', [2]), Buffer.from('byteS'), null, 0]
  const { lines, ended } = await run((print) => [
    timerDriver(),
    prints(print),
    withTimers(() => [
      gone.map((label) => [relative(label, 10), absolute(label, Date.now() + 15), relative(label, 3600_000)]),
      kept.map((label) => relative(label, 40)),
      cancel('unknown'),
      again.map(cancel),
      again.map(cancel),
    ]),
  ])
  t.equal(lines.length, kept.length, lines.join(' '))
  t.ok(ended, 'cancelled timers keep nothing alive')
})

t.test('a label is free again after cancelling and after expiring', { timeout: patient(10_000) }, async (t) => {
  const { lines } = await run((print) => [
    timerDriver(),
    prints(print),
    withTimers(() => [
      relative('x', 5), cancel('x'), relative('x', 10), relative('y', 5),
      relative('later', 30),
    ]),
    spawn(() => endpoint.subscriber(timerExpired('later', _), {
      onMessage: () => [relative('y', 1), cancel('x'), relative('x', 2)],
    })),
  ])
  t.same(lines.slice(-3), ['later', 'y', 'x'])
  t.same(lines.slice(0, 2).sort(), ['x', 'y'])
})

const timeouts = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length

t.test('100,000 timers, half of them cancelled: one Node timer', { timeout: patient(20_000) }, async (t) => {
  const COUNT = 100_000
  const seen = new Uint8Array(COUNT)
  let expired = 0
  const { ended } = await run(() => [
    timerDriver(),
    spawn(() => endpoint.subscriber(timerExpired(_, _), {
      onMessage: ({ label }) => {
        seen[label as number]++
        expired++
      },
    })),
    withTimers(() => [
      Array.from({ length: COUNT }, (_each, i) => relative(i, 700 + (i * 7919) % 300)),
      Array.from({ length: COUNT / 2 }, (_each, i) => cancel(2 * i)),
    ]),
  ], {
    patience: 10_000,
    meanwhile: async () => {
      const before = timeouts()
      const begin = performance.now()
      await new Promise(setImmediate)
      await sleep(1)
      const msecs = performance.now() - begin
      t.ok(msecs < patient(5000), `set and cancelled in ${msecs} ms`)
      let most = 0
      while (expired < COUNT / 4 && performance.now() - begin < patient(8000)) {
        await sleep(20)
        most = Math.max(most, timeouts() - before)
      }
      // The driver's, and the one by which an idle ground VM keeps the process alive.
      t.ok(most <= 2, `${most} Node timers at most, ${before} before`)
    },
  })
  t.ok(ended)
  t.equal(expired, COUNT / 2)
  t.ok(seen.every((times, i) => times === i % 2), 'each once')
})

t.test('no timer outlives its use: far ones wait, and go when cancelled', { timeout: patient(10_000) }, async (t) => {
  const before = timeouts()
  const { lines, ended } = await run((print) => [
    timerDriver(),
    prints(print),
    withTimers(() => [
      relative('far', 2 ** 33), absolute('very far', 8.64e15), relative('farthest', Number.MAX_VALUE),
      relative('now', 30),
    ]),
    spawn(() => endpoint.subscriber(timerExpired('now', _), {
      onMessage: () => [cancel('far'), cancel('very far'), cancel('farthest')],
    })),
  ])
  t.strictSame(lines, ['now'])
  t.ok(ended)
  t.equal(timeouts(), before)
})

t.test('what is no timer is ignored, with a warning', { timeout: patient(10_000) }, async (t) => {
  const { lines, log, ended } = await run((print) => [
    timerDriver(),
    prints(print),
    withTimers(() => [
      [['kind', 1, 'sideways'], ['nan', NaN, 'relative'], ['infinite', Infinity, 'relative'], ['text', '5', 'relative'],
        ['none', undefined, 'relative'], ['no kind', 1, undefined]].map((wish) => sendMessage(anySetTimer(...wish))),
      relative('good', 5),
    ]),
  ])
  t.strictSame(lines, ['good'])
  t.ok(ended)
  t.equal(logged(log, 'warning').filter((text) => text.startsWith('setTimer: ')).length, 6)
  t.match(log.find(({ level }) => level === 'warning')?.fields, { label: 'kind' })
})

const inside = (boot: () => ActionTree): Action => nestedVm(boot)

t.test('relays give each VM its own timers, at any depth', { timeout: patient(10_000) }, async (t) => {
  const user = (print: Print, who: string, msecs: number): ActionTree => [
    prints(print, who),
    withTimers(() => [
      relative('x', msecs), relative(['y', who], msecs + 20), relative('no', 10), cancel('no'),
    ]),
  ]
  const { lines, ended } = await run((print) => [
    timerDriver(),
    withTimers(() => [
      relative('x', 5),
      inside(() => [timerRelay(), user(print, 'a', 20)]),
      inside(() => [timerRelay('named'), user(print, 'b', 30)]),
      inside(() => [
        timerRelay(),
        withTimers(() => inside(() => [timerRelay(), user(print, 'deep', 25)])),
      ]),
    ]),
  ])
  const expected = ['a', 'b', 'deep'].flatMap((who) => [
    `[ '${who}', 'x' ]`, `[ '${who}', [ 'y', '${who}' ] ]`,
  ])
  t.strictSame(lines.sort(), expected.sort())
  t.ok(ended)
})

t.test('two relays in one VM with different ids; the driver itself in a nested VM', async (t) => {
  const { lines, ended } = await run((print) => inside(() => [
    eventRelay(),
    timerDriver(),
    prints(print, 'outer'),
    withTimers(() => ['one', 'two'].map((id) => inside(() => [
      timerRelay(id), prints(print, id), withTimers(() => relative(['of', id], 5)),
    ]))),
  ]))
  t.strictSame(lines.sort(), [
    "[ 'one', [ 'of', 'one' ] ]", "[ 'outer', [ 'one', 0 ] ]", "[ 'outer', [ 'two', 0 ] ]",
    "[ 'two', [ 'of', 'two' ] ]",
  ])
  t.ok(ended)
})

t.test('relays of one id hear their own timers only, also after one that has gone', async (t) => {
  const heard: string[] = []
  const inside = (name: string, label: string, msecs: number): ActionTree => nestedVm(() => [
    timerRelay('same'),
    spawn(() => [
      endpoint.subscriber(timerExpired(_, _), {
        onMessage: ({ label }) => {
          heard.push(`${name}: ${String(label)}`)
          return quit()
        },
      }),
      sendMessage(setTimer(label, msecs, 'relative')),
    ]),
  ])
  const vm = groundVm(() => [
    timerDriver(), inside('one', 'x', 10), inside('two', 'y', 20), inside('three', 'z', 5),
  ])
  await until(() => heard.length === 3)
  t.strictSame(heard, ['three: z', 'one: x', 'two: y'])
  await vm.stop()
})

t.test('timers of a relay go with it, at any depth, and nobody else\'s', { timeout: patient(10_000) }, async (t) => {
  const FAR = 3_600_000
  const heard: string[] = []
  const far = (label: unknown): ActionTree => sendMessage(setTimer(label, FAR, 'relative'))
  /** A VM that ends by itself with its timers pending: when `ends` has been heard. */
  const brief = (id: unknown, more: () => ActionTree = () => undefined): ActionTree => nestedVm(() => [
    timerRelay(id),
    more(),
    spawn(() => [
      endpoint.subscriber(timerExpired('ends', _), { onMessage: () => atMetaLevel(quit()) }),
      [1, 2, 3].map(far), sendMessage(cancelTimer(2)), sendMessage(setTimer('ends', 5, 'relative')),
    ]),
  ])
  await groundVm(() => [
    timerDriver(),
    brief(undefined), brief('same'), brief('same'),
    brief('outer', () => brief('inner')),
    spawn(() => [
      endpoint.subscriber(timerExpired(['same', 'mine'], _), {
        onMessage: () => {
          heard.push('mine')
          return quit()
        },
      }),
      sendMessage(setTimer(['same', 'mine'], 1, 'relative')),
    ]),
  ])
  t.same(heard, ['mine'])
})

t.test('it has no options', async (t) => {
  t.throws(() => (timerDriver as (options: unknown) => unknown)({ unref: true }), {
    code: 'ERR_INVALID_ARG_TYPE', message: /^timerDriver: options must be left out/,
  })
})

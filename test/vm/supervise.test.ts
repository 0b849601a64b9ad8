/** Supervisors: which children they start, stop and start again, in which order, and when they give up. */
import { logged, run, sleep } from './harness.js'
import t, { type Test } from 'tap'
import {
  _, atMetaLevel, childReady, childWanted, endpoint, eventSource, groundVm, kill, nestedVm, quit, sendMessage, spawn,
  stopSupervisor, supervise, supervising, supervisor, type ActionTree, type EventSink, type SupervisedChild,
  type SupervisorOptions,
} from 'marketplace-native'

const SOON = { first: 0, jitter: 0 }

/** It is there until it hears that it is to fail, or to end. */
const child = (name: string) => (): ActionTree => [
  endpoint.publisher(['here', name]),
  endpoint.subscriber(['fail', name], { onMessage: () => { throw new Error(`${name} failed`) } }),
  endpoint.subscriber(['end', name], { onMessage: () => quit() }),
]

/** Prints who comes and goes, and feeds the program with messages from outside. */
class Watch {
  readonly trace: string[] = []
  #sink: EventSink<unknown> | undefined
  #waiting: (() => void)[] = []

  send(message: unknown): void {
    this.#sink?.fire(message)
  }

  /** Until the trace has these lines, or five seconds are over. */
  async has(t: Test, lines: readonly string[], what: string): Promise<void> {
    const end = performance.now() + 5000
    while (this.trace.length < lines.length && performance.now() < end) {
      await Promise.race([new Promise<void>((resolve) => this.#waiting.push(resolve)), sleep(50)])
    }
    t.same(this.trace, lines, what)
  }

  print(line: string): void {
    this.trace.push(line)
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  actions(): ActionTree {
    const source = eventSource<unknown>('test', (sink) => {
      this.#sink = sink
      return () => undefined
    })
    return [
      spawn(() => endpoint.subscriber(['here', _], {
        interest: 'observer',
        onPresence: ([, who]) => { this.print(`+${String(who)}`) },
        onAbsence: ([, who]) => { this.print(`-${String(who)}`) },
      })),
      spawn(() => endpoint.subscriber([source, _], { onMessage: ([, message]) => sendMessage(message) })),
    ]
  }
}

/** Runs a supervisor while the test does something to it. */
async function supervised(
  children: readonly SupervisedChild[], options: SupervisorOptions,
  test: (watch: Watch) => Promise<void>, around: (watch: Watch) => ActionTree = () => undefined,
): Promise<void> {
  const watch = new Watch()
  const vm = groundVm(() => [watch.actions(), around(watch), supervise(children, { backoff: SOON, ...options })])
  try {
    await test(watch)
  } finally {
    await vm.stop()
  }
}

const abc = (restart: SupervisedChild['restart'] = 'permanent'): SupervisedChild[] =>
  ['a', 'b', 'c'].map((name) => ({ name, boot: child(name), restart }))

t.test('children start in order; the strategy says who is started again with one that fails', async (t) => {
  const after = {
    'one-for-one': ['-b', '+b'],
    'one-for-all': ['-b', '-c', '-a', '+a', '+b', '+c'],
    'rest-for-one': ['-b', '-c', '+b', '+c'],
  }
  for (const [strategy, lines] of Object.entries(after)) {
    await supervised(abc(), { strategy: strategy as keyof typeof after }, async (watch) => {
      await watch.has(t, ['+a', '+b', '+c'], `${strategy}: start`)
      watch.send(['fail', 'b'])
      await watch.has(t, ['+a', '+b', '+c', ...lines], strategy)
    })
  }
})

t.test('restart: permanent always, transient after a failure, temporary never', async (t) => {
  for (const [restart, how, again] of [
    ['permanent', 'end', true], ['permanent', 'fail', true],
    ['transient', 'end', false], ['transient', 'fail', true],
    ['temporary', 'end', false], ['temporary', 'fail', false],
  ] as const) {
    await supervised([...abc(restart), { name: 'last', boot: child('last') }], {}, async (watch) => {
      await watch.has(t, ['+a', '+b', '+c', '+last'], 'start')
      watch.send([how, 'a'])
      const lines = ['+a', '+b', '+c', '+last', '-a', ...again ? ['+a'] : []]
      await watch.has(t, lines, `${restart}, ${how}`)
      // Whatever would be done about `a` would be done before this.
      watch.send(['fail', 'last'])
      await watch.has(t, [...lines, '-last', '+last'], `${restart}, ${how}: nothing else`)
    })
  }
})

t.test('any sequence of ends and failures leaves what a naive model says', async (t) => {
  let seed = 20_261_128
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return Math.floor(seed / 2 ** 31 * below)
  }
  const pick = <T>(of: readonly T[]): T => of[random(of.length)]
  for (let round = 0; round < 60; round++) {
    const strategy = pick(['one-for-one', 'one-for-all', 'rest-for-one'] as const)
    const children = Array.from({ length: 1 + random(5) }, (_none, i) => ({
      name: `c${i}`, restart: pick(['permanent', 'transient', 'temporary'] as const), nested: random(3) === 0,
    }))
    const lives = new Set(children.map(({ name }) => name))
    const expected = children.map(({ name }) => `+${name}`)
    const specs = children.map(({ name, restart, nested }) => ({
      name, restart, nested, boot: nested ? () => outside(name) : child(name),
    }))
    await supervised(specs, { strategy, intensity: Infinity }, async (watch) => {
      await watch.has(t, expected, `round ${round}: start`)
      for (let n = 0; n < 12 && lives.size > 0; n++) {
        const name = pick([...lives])
        const how = pick(['end', 'fail'])
        const at = children.findIndex((one) => one.name === name)
        const { restart } = children[at]
        expected.push(`-${name}`)
        lives.delete(name)
        if (restart === 'permanent' || (restart === 'transient' && how === 'fail')) {
          const together = children.filter((_one, i) =>
            i === at || strategy === 'one-for-all' || (strategy === 'rest-for-one' && i > at))
          for (const one of together.toReversed()) if (lives.delete(one.name)) expected.push(`-${one.name}`)
          for (const one of together) {
            if (one.restart === 'temporary') continue
            lives.add(one.name)
            expected.push(`+${one.name}`)
          }
        }
        watch.send([how, name])
        await watch.has(t, expected, `round ${round}, ${strategy}: ${how} ${name}`)
      }
    })
  }
})

/** The same as `child` for a VM: what it shows and hears is outside. */
function outside(name: string): ActionTree {
  return spawn(() => [
    atMetaLevel(endpoint.publisher(['here', name])),
    atMetaLevel(endpoint.subscriber(['fail', name], { onMessage: () => { throw new Error(`${name} failed`) } })),
    atMetaLevel(endpoint.subscriber(['end', name], { onMessage: () => atMetaLevel(quit()) })),
  ], { essential: true })
}

t.test('too many restarts: all are stopped, the last one first, and the supervisor fails with the last reason',
  async (t) => {
    const watch = new Watch()
    let reason: unknown
    const vm = groundVm(() => [
      watch.actions(),
      endpoint.subscriber(supervising('pool'), {
        interest: 'observer',
        onPresence: () => { watch.print('ready') },
        onAbsence: (_topic, _state, why) => { reason = why; watch.print('gave up') },
      }),
      supervise(abc(), { name: 'pool', backoff: SOON, intensity: 2, period: 60_000 }),
    ])
    await watch.has(t, ['+a', '+b', '+c', 'ready'], 'start')
    for (let n = 0; n < 3; n++) {
      watch.send(['fail', 'b'])
      const restarts = ['-b', '+b', '-b', '+b'].slice(0, 2 * (n + 1))
      await watch.has(t, ['+a', '+b', '+c', 'ready', ...restarts, ...n < 2 ? [] : ['-b', '-c', '-a', 'gave up']], 'end')
    }
    t.match(reason, { code: 'ERESTARTS', message: /supervisor pool .* more than 2 times within 60000 ms, b last/ })
    t.match((reason as Error).cause, { message: 'b failed' })
    await vm.stop()
  })

t.test('restarts that are longer ago than the period are forgotten', async (t) => {
  await supervised(abc(), { intensity: 1, period: 20 }, async (watch) => {
    const lines = ['+a', '+b', '+c']
    await watch.has(t, lines, 'start')
    for (let n = 0; n < 4; n++) {
      watch.send(['fail', 'a'])
      lines.push('-a', '+a')
      await watch.has(t, lines, 'again')
      await sleep(25)
    }
  })
})

t.test('an essential supervisor that gives up ends the program, with the failure as cause', async (t) => {
  const error = new Error('no disk')
  const boot = (): never => { throw error }
  const vm = groundVm(() =>
    supervise([{ name: 'a', boot }], { essential: true, intensity: 1, backoff: SOON }))
  await t.rejects(vm, { code: 'ERESTARTS', cause: error })
})

t.test('each wait is longer than the one before, up to the longest; who was well for long begins anew', async (t) => {
  const starts: number[] = []
  const boot = (): ActionTree => {
    starts.push(performance.now())
    throw new Error('not yet')
  }
  const vm = groundVm(() => supervise([{ name: 'a', boot }], {
    essential: true, intensity: 5, backoff: { first: 20, factor: 2, most: 50, jitter: 0 },
  }))
  await t.rejects(vm, { code: 'ERESTARTS' })
  const waits = starts.slice(1).map((at, i) => at - starts[i])
  t.equal(waits.length, 5)
  for (const [i, least] of [20, 40, 50, 50, 50].entries()) {
    t.ok(waits[i] > least - 2, `wait ${i}: ${waits[i]} ms, at least ${least}`)
  }
})

t.test('a boot that throws, is rejected, whose actions fail, or that takes too long, is tried again', async (t) => {
  let attempt = 0
  const boots: readonly (() => ReturnType<SupervisedChild['boot']>)[] = [
    () => { throw new Error('thrown') },
    () => Promise.reject(new Error('rejected')),
    () => atMetaLevel(atMetaLevel(sendMessage('impossible'))),
    () => new Promise(() => undefined),
    async () => { await sleep(1); throw new Error('rejected later') },
    child('a'),
  ]
  for (const nested of [false, true]) {
    attempt = 0
    const a = {
      name: 'a', nested, readyMs: 50,
      boot: () => nested && attempt === 5 ? (attempt++, outside('a')) : boots[attempt++](),
    }
    const list = nested ? boots.length - 1 : boots.length
    await supervised([a, { name: 'b', boot: child('b') }], { intensity: Infinity }, async (watch) => {
      await watch.has(t, ['+a', '+b'], `nested ${String(nested)}: those after it start when it is there`)
      t.ok(attempt >= list, 'all boots were tried')
    })
  }
})

t.test('a child is ready when its topic is there, and those after it wait for that', async (t) => {
  let open: (() => void) | undefined
  const gate = new Promise<void>((resolve) => { open = resolve })
  const slow = async (): Promise<ActionTree> => {
    await gate
    return endpoint.publisher(['ready', 'a'])
  }
  const a = (): ActionTree => [
    child('a')(), spawn(slow, { link: true }),
    endpoint.subscriber(['break'], { onMessage: () => quit('broken') }),
  ]
  const heard = (watch: Watch): ActionTree => spawn(() => endpoint.subscriber(childReady('supervisor', _), {
    onPresence: (it) => { watch.print(`ready ${it.child}`) },
    onAbsence: (it, _state, reason) => { watch.print(`not ready ${it.child}: ${reason as string}`) },
  }))
  await supervised([{ name: 'a', boot: a, ready: ['ready', 'a'] }, { name: 'b', boot: child('b') }], {},
    async (watch) => {
      await watch.has(t, ['+a'], 'the first one')
      open?.()
      const lines = ['+a', 'ready a', '+b', 'ready b']
      await watch.has(t, lines, 'then the other')
      watch.send(['break'])
      await watch.has(t, [...lines, '-a', 'not ready a: broken', '+a', 'ready a'], 'it is seen again')
    }, heard)
})

t.test('what shows that a child is ready may have been there before it', async (t) => {
  await supervised([{ name: 'a', boot: child('a'), ready: ['up'], readyMs: 5000 }, { name: 'b', boot: child('b') }], {},
    async (watch) => {
      await watch.has(t, ['+a', '+b'], 'start')
      watch.send(['fail', 'a'])
      await watch.has(t, ['+a', '+b', '-a', '+a'], 'again')
    }, () => spawn(() => endpoint.publisher(['up'])))
})

t.test('a child that is to stop hears of it, and has its time; then it is ended', async (t) => {
  const polite = (name: string) => (): ActionTree => [
    child(name)(),
    endpoint.subscriber(childWanted('supervisor', name), { onAbsence: () => quit() }),
  ]
  const deaf = child('deaf')
  await supervised([
    { name: 'a', boot: polite('a'), stopMs: 60_000 },
    { name: 'deaf', boot: deaf, stopMs: 30 },
    { name: 'c', boot: polite('c'), stopMs: 60_000 },
  ], {}, async (watch) => {
    await watch.has(t, ['+a', '+deaf', '+c', 'supervising'], 'start')
    watch.send(stopSupervisor('supervisor'))
    await watch.has(t, ['+a', '+deaf', '+c', 'supervising', '-c', '-deaf', '-a', 'over'], 'stop')
  }, (watch) => spawn(() => endpoint.subscriber(supervising(_), {
    onPresence: () => { watch.print('supervising') },
    onAbsence: (_topic, _state, reason) => { watch.print(reason === undefined ? 'over' : 'failed') },
  })))
})

t.test('supervisors supervise supervisors, in nested VMs too; they stop from the leaves on', async (t) => {
  const inner = (name: string): SupervisedChild => ({
    name, ready: supervising(name),
    boot: supervisor([{ name: `${name}1`, boot: child(`${name}1`) }, { name: `${name}2`, boot: child(`${name}2`) }],
      { name, backoff: SOON, intensity: 1, period: 60_000 }),
  })
  await supervised([inner('x'), inner('y')], { name: 'top' }, async (watch) => {
    const lines = ['+x1', '+x2', '+y1', '+y2']
    await watch.has(t, lines, 'start')
    watch.send(['fail', 'x1'])
    lines.push('-x1', '+x1')
    await watch.has(t, lines, 'one is started again below')
    watch.send(['fail', 'x1'])
    lines.push('-x1', '-x2', '+x1', '+x2')
    await watch.has(t, lines, 'and then the supervisor')
    watch.send(stopSupervisor('top'))
    lines.push('-y2', '-y1', '-x2', '-x1')
    await watch.has(t, lines, 'stop')
  })
  const watch = new Watch()
  const away = supervisor([{ name: 'deep', nested: true, boot: () => outside2() }], { backoff: SOON })
  const outside2 = (): ActionTree => spawn(() => [
    atMetaLevel(atMetaLevel(endpoint.publisher(['here', 'deep']))),
    atMetaLevel(atMetaLevel(endpoint.subscriber(['fail', 'deep'], { onMessage: () => { throw new Error('deep') } }))),
  ], { essential: true })
  const vm = groundVm(() => [watch.actions(), nestedVm(away)])
  await watch.has(t, ['+deep'], 'deep')
  watch.send(['fail', 'deep'])
  await watch.has(t, ['+deep', '-deep', '+deep'], 'deep, again')
  await vm.stop()
})

t.test('when a supervisor is killed, its children end, the last one first', async (t) => {
  for (const end of [kill(1, 'bye'), undefined]) {
    const gone: unknown[] = []
    const { ended } = await run(() => [
      supervise([...abc(), { name: 'late', boot: () => { throw new Error('never') } }],
        { intensity: Infinity, backoff: { first: 10_000 } }),
      spawn(() => endpoint.subscriber(['here', _], {
        interest: 'observer', onAbsence: ([, who], _state, reason) => { gone.push([who, reason]) },
        onPresence: ([, who]) => who === 'c' && end,
      })),
    ], { patience: 60_000, meanwhile: async (ground) => {
      if (end === undefined) { await sleep(20); void ground.stop('bye') }
    } })
    t.ok(ended)
    t.same(gone, [['c', 'bye'], ['b', 'bye'], ['a', 'bye']])
  }
})

t.test('who waits for nothing keeps nothing: a program whose children are over ends', async (t) => {
  const { ended, log } = await run(() => supervise([
    { name: 'once', boot: () => sendMessage('done'), restart: 'transient' },
    { name: 'twice', boot: async () => { await sleep(1); return undefined }, restart: 'temporary' },
  ]))
  t.ok(ended)
  t.same(logged(log, 'error'), [])
  t.same(logged(log, 'warning'), [])
})

t.test('thousands of restarts at once leave the event loop its turns', async (t) => {
  let starts = 0
  let turns = 0
  const turn = setInterval(() => { turns++ }, 1)
  const vm = groundVm(() => supervise([{
    name: 'a', boot: () => { if (++starts < 20_000) throw new Error('again'); return quit() }, restart: 'transient',
  }], { intensity: Infinity, backoff: SOON }))
  await vm
  clearInterval(turn)
  t.equal(starts, 20_000)
  t.ok(turns > 1, `${turns} turns`)
})

t.test('arguments that are wrong are told by name', (t) => {
  const boot = child('a')
  const bad: readonly [() => unknown, RegExp][] = [
    [() => supervise('a' as never), /supervise: .*children.*an array of children/],
    [() => supervise([1 as never]), /children\[0\].*an object with a name and a boot/],
    [() => supervise([{ boot } as never]), /children\[0\]\.name/],
    [() => supervise([{ name: 'a' } as never]), /children\[0\]\.boot.*a function/],
    [() => supervise([{ name: 'a', boot }, { name: 'a', boot }]), /children\[1\]\.name.*another name/],
    [() => supervise([{ name: 'a', boot, restart: 'never' as never }]), /children\[0\]\.restart.*'permanent'/],
    [() => supervise([{ name: 'a', boot, nested: true, sequential: true }]), /children\[0\]\.sequential/],
    [() => supervise([{ name: 'a', boot, stopMs: -1 }]), /children\[0\]\.stopMs/],
    [() => supervise([{ name: 'a', boot, readyMs: Infinity }]), /children\[0\]\.readyMs/],
    [() => supervise([{ name: 'a', boot, bot: 1 } as never]), /option 'bot' of children\[0\]; did you mean 'boot'/],
    [() => supervise([], { strategy: 'all' as never }), /options\.strategy/],
    [() => supervise([], { intensity: 1.5 }), /options\.intensity/],
    [() => supervise([], { period: 0 }), /options\.period/],
    [() => supervise([], { backoff: { factor: 0.5 } }), /options\.backoff\.factor/],
    [() => supervise([], { backoff: { jitter: NaN } }), /options\.backoff\.jitter/],
    [() => supervise([], { essential: 1 as never }), /options\.essential/],
    [() => supervisor([], { essential: true } as never), /supervisor: unknown option 'essential'/],
  ]
  for (const [call, message] of bad) t.throws(call, { message }, String(message))
  t.end()
})

/** Whatever happens, processes end in order, and nobody else with them: hostile topics, reasons, promises. */
import { logged, run, sleep } from './harness.js'
import { inspect } from 'node:util'
import t from 'tap'
import {
  _, atMetaLevel, defineRecord, deleteEndpoint, endpoint, eventSource, groundVm, kill, nestedVm, quit,
  sendMessage, spawn,
  tcpBare, tcpChannel, tcpListener, tcpListening, transition, yieldTurn, type Action, type ActionTree,
  type GroundVm, type HandlerResult,
} from 'marketplace-native'
import { collectLog } from './log-records.js'
import { client, freePort } from '../support/util.js'

/** No topic: it has no end. */
const cyclic: unknown[] = ['cyclic']
cyclic.push(cyclic)

/** Nothing can be asked of it. */
const trap = (): never => { throw new Error('trap') }
const hostile = new Proxy([], { get: trap, has: trap, ownKeys: trap, getPrototypeOf: trap })

const evil = { [inspect.custom]: trap, get message(): never { return trap() }, toString: trap }

/** Does something `turns` turns later. */
const later = (turns: number, action: () => ActionTree): Action =>
  yieldTurn(() => (turns === 1 ? action() : later(turns - 1, action)))

/** What comes of a program whose handlers may return anything. */
const wrong = (result: unknown): HandlerResult<unknown> => result as HandlerResult<unknown>

/** Notes what would end the Node process. */
function watchNode(): { readonly rejections: unknown[], end: () => void } {
  const rejections: unknown[] = []
  const note = (reason: unknown): void => { rejections.push(reason) }
  process.on('unhandledRejection', note)
  return { rejections, end: () => process.off('unhandledRejection', note) }
}

const turns = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
}

t.test('a topic that cannot be installed is an error of its process, and leaves nothing', async (t) => {
  for (const [level, at] of [
    ['own', (action: Action) => action],
    ['meta', (action: Action) => atMetaLevel(action)],
    ['two levels out', (action: Action) => atMetaLevel(atMetaLevel(action))],
  ] as const) {
    for (const bad of [cyclic, ['x', hostile], [hostile, _], ['y', [_, cyclic]]]) {
      const { lines, ended } = await run((print) => {
        const program = [
          spawn(() => [
            endpoint.publisher('here'),
            at(endpoint.subscriber(['x', _], { name: 'x' })),
            at(endpoint.subscriber(bad, { name: 'bad' })),
          ]),
          endpoint.subscriber('here', {
            name: 'q',
            onAbsence: (_t, _s, reason) => {
              print(reason instanceof Error)
              return deleteEndpoint('q')
            },
          }),
        ]
        const nested = (): ActionTree => level === 'meta' ? program : nestedVm(() => program)
        const inner = level === 'own' ? program : nestedVm(nested)
        return [
          endpoint.publisher(['x', _], {
            onPresence: () => print('presence'), onAbsence: () => print('absence'),
          }),
          inner,
        ]
      })
      t.ok(ended, level)
      t.same(lines.sort(), ['absence', 'presence', 'true'], level)
    }
  }
})

t.test('a proxy in a topic ends its process, and fails nobody who sends later', async (t) => {
  const record = defineRecord('endings-record', ['x'])
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const whimsical = Object.create(new Proxy({}, { get: trap, getPrototypeOf: trap })) as unknown
  const proxies = {
    record: new Proxy(record(1), { get: trap }), array: new Proxy([1], { get: trap }),
    object: new Proxy({}, {}), function: new Proxy(() => undefined, {}), wildcard: new Proxy(_, {}),
    bytes: new Proxy(new Uint8Array(1), {}),
    revoked: revoked.proxy, hostile, whimsical,
  }
  const placed: string[] = []
  const { lines } = await run((print) => [
    spawn(() => [
      endpoint.subscriber(['k', _], { onMessage: () => print('message') }),
      endpoint.subscriber(record(_), { onMessage: () => print('record') }),
    ], { name: 'receiver' }),
    Object.entries(proxies).flatMap(([name, proxy]) => ['k', 'record'].map((where) => spawn(() => [
      endpoint.subscriber(where === 'k' ? ['k', proxy] : record(proxy)),
      yieldTurn(() => { placed.push(name) }),
    ], { name }))),
    later(2, () => [
      sendMessage(['k', record(1)]), sendMessage(['k', _]), sendMessage(record([1])), sendMessage(record(_)),
      endpoint.publisher(['k', _]), endpoint.publisher(record(_)),
    ]),
  ])
  t.same(lines, ['message', 'message', 'record', 'record'])
  t.same(placed, [], 'none of them is there')
})

t.test('a source is not activated for an endpoint that cannot be installed', async (t) => {
  let active = 0
  const source = eventSource('s', () => {
    active++
    return () => { active-- }
  })
  const { ended } = await run(() => [
    spawn(() => endpoint.subscriber([source, cyclic])),
    spawn(() => endpoint.subscriber([source, hostile])),
  ])
  t.ok(ended)
  t.equal(active, 0)
})

t.test('ports are free and the end comes, whatever processes end with and are called', async (t) => {
  const reasons = [undefined, null, cyclic, hostile, evil, Symbol('s'), Object.create(null), () => trap()]
  for (const reason of reasons) {
    for (const how of ['stop', 'shutdown'] as const) {
      const port = await freePort()
      let up: () => void = () => undefined
      const listening = new Promise<void>((resolve) => { up = resolve })
      const ground: GroundVm = groundVm(() => [
        tcpBare({ host: '127.0.0.1' }),
        endpoint.subscriber(tcpListening(tcpListener(port), _), { onPresence: () => { up() } }),
        spawn(() => [
          endpoint.subscriber(tcpChannel(_, tcpListener(port), _), { name: [evil, 'n'] }),
          endpoint.subscriber(['end'], {
            name: Symbol('end'),
            onMessage: () => quit(reason),
            onAbsence: () => { throw evil },
          }),
          endpoint.publisher(['end'], { onAbsence: () => wrong(hostile) }),
        ], { name: '\u0000 %s %o \n' }),
      ])
      await listening
      const connected = await client(port)
      const closed = new Promise((resolve) => { connected.on('close', resolve) })
      connected.on('error', () => undefined).resume()
      if (how === 'stop') await ground.stop(reason)
      else await ground.shutdown({ drainMs: 0, reason })
      connected.end()
      await closed
      await t.rejects(client(port), { code: 'ECONNREFUSED' }, `${how}: nobody listens any more`)
    }
  }
})

t.test('what a source fires and nobody can compare ends nobody', async (t) => {
  let fire: (value: unknown) => void = () => undefined
  const source = eventSource<unknown>('strange', (sink) => { fire = (value) => { sink.fire(value) } })
  const { lines, ended, log } = await run((print) => [
    endpoint.subscriber([source, ['cyclic', ['a']]], { name: 'particular' }),
    endpoint.subscriber([source, _], {
      name: 'all',
      onMessage: ([, value]) => {
        if (value !== 'end') return undefined
        print('end')
        return [deleteEndpoint('all'), deleteEndpoint('particular')]
      },
    }),
    yieldTurn(() => {
      fire(cyclic)
      fire([hostile, hostile])
      fire('end')
    }),
  ])
  t.ok(ended)
  t.same(lines, ['end'])
  t.ok(logged(log, 'error').every((line) => /^event source strange fired/.test(line)))
})

t.test('a message outwards that cannot be sent is no failure of the VM around its sender', async (t) => {
  for (const bad of [['k', cyclic], ['k', ['cyclic', hostile]], ['k', hostile]]) {
    const { lines, ended } = await run((print) => [
      endpoint.subscriber(['k', ['cyclic', 'topic']]),
      nestedVm(() => [
        endpoint.subscriber('sender', {
          onAbsence: (_t, _s, reason) => print('sender', reason instanceof Error),
        }),
        spawn(() => endpoint.subscriber(['sibling', _], { onMessage: () => print('sibling lives') })),
        spawn(() => [
          endpoint.publisher('sender'), atMetaLevel(sendMessage(bad)),
          later(20, () => quit(new Error('it was possible'))),
        ]),
        later(30, () => sendMessage(['sibling', 1])),
      ]),
    ])
    t.ok(ended)
    t.same(lines, ['sender true', 'sibling lives'])
  }
})

t.test('no handler of a process that ends, no promise in a tree, is an unhandled rejection', async (t) => {
  const node = watchNode()
  const no = (): Promise<undefined> => Promise.reject(new Error('late no'))
  const programs: Record<string, () => ActionTree> = {
    'an absence handler of its own': () => [
      endpoint.publisher('p'), endpoint.subscriber('p', { name: 'own', onAbsence: no }), quit(),
    ],
    'in a tree': () => endpoint.subscriber('q', {
      name: 'own', onPresence: () => wrong([sendMessage(1), no(), [[no()]]]),
    }),
    'in a transition': () => endpoint.subscriber('q', {
      name: 'own', onPresence: () => wrong(transition(1, [no()] as never)),
    }),
    'in what a promise resolved to': () => endpoint.subscriber('q', {
      name: 'own', onPresence: async () => (await Promise.resolve([no()])) as never,
    }),
    'rejected after the process has quit': () => endpoint.subscriber('q', {
      name: 'own',
      onPresence: async () => {
        await sleep(20)
        throw new Error('late no')
      },
    }),
  }
  for (const [name, program] of Object.entries(programs)) {
    const { log, ended } = await run(() => [
      endpoint.publisher('q'),
      spawn(program, { name: 'rejecting', parent: (pid) => yieldTurn(() => yieldTurn(() => kill(pid))) }),
      spawn(async () => {
        await sleep(40)
        return undefined
      }),
    ])
    await turns()
    t.ok(ended, name)
    const isLate = (reason: unknown): boolean => reason instanceof Error && reason.message === 'late no'
    const lines = log.filter((record) => isLate(record.fields['reason']))
    t.ok(lines.length > 0, `${name}: is in the log`)
    for (const { level, message, fields } of lines) {
      t.equal(level, 'warning')
      t.match(message, /^process 1 \(rejecting\) /)
      t.equal(fields['name'], 'own')
    }
  }
  t.throws(() => atMetaLevel(no() as never), /got Promise/)
  await turns()
  t.same(node.rejections, [])
  node.end()
})

t.test('a boot, a continuation and a parent may reject, too', async (t) => {
  const node = watchNode()
  const { log } = await run(() => [
    spawn(() => wrong([sendMessage(1), Promise.reject(new Error('boot'))]), {
      parent: () => wrong([Promise.reject(new Error('parent'))]),
    }),
    spawn(() => yieldTurn(() => wrong([Promise.reject(new Error('yield'))]))),
    nestedVm(() => wrong([[Promise.reject(new Error('nested'))]])),
  ])
  await turns()
  t.same(node.rejections, [])
  t.equal(log.filter(({ level }) => level === 'warning').length, 4)
  node.end()
})

t.test('undefined as a failure is told as an error', async (t) => {
  const failures: Record<string, () => HandlerResult<unknown>> = {
    thrown: () => { throw undefined },
    rejected: () => Promise.reject(undefined),
    'by a source': () => endpoint.subscriber([eventSource('bad', () => { throw undefined }), _]),
  }
  for (const [name, fail] of Object.entries(failures)) {
    for (const level of ['own', 'nested']) {
      if (level === 'nested' && name === 'by a source') continue
      const { lines } = await run((print) => {
        const program = [
          endpoint.publisher('q', { onAbsence: (_t, _s, reason) => print(String(reason)) }),
          spawn(() => endpoint.subscriber('q', { onPresence: fail }), { name: 'bad' }),
        ]
        return level === 'own' ? program : nestedVm(() => program)
      })
      t.match(lines[0], /^Error: process \d \(bad\).* failed: what was thrown is und/, `${name}, ${level}`)
      t.equal(lines.length, 1)
    }
  }
})

t.test('stop and shutdown from a handler, however much else is to be done', async (t) => {
  for (const how of ['stop', 'shutdown'] as const) {
    for (const actions of [10, 25_000, 100_000]) {
      const reasons: unknown[] = []
      const ground: GroundVm = groundVm(() => [
        endpoint.subscriber('peer', { onAbsence: (_t, _s, reason) => { reasons.push(reason) } }),
        spawn(() => [
          endpoint.publisher('peer'),
          yieldTurn(() => {
            if (how === 'stop') void ground.stop('over')
            else void ground.shutdown({ reason: 'over' })
            return Array.from({ length: actions }, () => sendMessage('nobody'))
          }),
        ]),
      ])
      await ground
      t.same(reasons, ['over'], `${how}, ${actions}`)
    }
  }
})

t.test('action trees of any depth', async (t) => {
  const deep = (leaf: ActionTree, depth: number): ActionTree => {
    let tree = leaf
    for (let i = 0; i < depth; i++) tree = i % 2 === 0 ? [tree] : [undefined, tree, false]
    return tree
  }
  const { lines } = await run((print) => [
    endpoint.subscriber(['n', _], { onMessage: ([, n]) => print(n) }),
    sendMessage(['n', 0]),
    deep([sendMessage(['n', 1]), sendMessage(['n', 2])], 30_000),
    sendMessage(['n', 3]),
    nestedVm(() => atMetaLevel(deep(sendMessage(['n', 4]), 30_000), deep(sendMessage(['n', 5]), 3))),
    spawn(() => transition(1, deep(sendMessage(['n', 6]), 30_000))),
  ])
  t.same(lines, ['0', '1', '2', '3', '6', '4', '5'])
  const inside: unknown[] = [sendMessage(['n', 7])]
  inside.push([inside])
  const end = await run((print) => [
    endpoint.publisher('q', { onAbsence: (_t, _s, reason) => print((reason as Error).message) }),
    spawn(() => endpoint.subscriber('q', { onPresence: () => wrong(inside) })),
  ])
  t.same(end.lines, ['an action tree has an array inside of itself'])
})

t.test('VMs in VMs, as deep as they get, end in order', async (t) => {
  const nest = (depth: number): Action =>
    nestedVm(() => depth === 0 ? endpoint.subscriber('innermost') : nest(depth - 1))
  const { records, end } = collectLog()
  const ground = groundVm(() => [nest(300), endpoint.subscriber([eventSource('keep', () => undefined), _])])
  await turns()
  await ground.stop()
  end()
  t.same(logged(records, 'error'), [])
  t.same(logged(records, 'fatal'), [])
})

/** The inspector's protocol, with real clients: seeing, tracing, causes, pausing, breakpoints, failures, acting. */
import '../vm/log-records.js'
import t from 'tap'
import {
  _, atMetaLevel, defineRecord, endpoint, groundVm, inspecting, inspector, kill, nestedVm, quit, sendMessage,
  setTimer, spawn, tcpListener, timerDriver, timerExpired, transition, type ActionTree,
} from 'marketplace-native'
import { until } from '../support/util.js'
import { Client, inspected, type Answer } from './program.js'

const says = defineRecord('inspected-says', ['who', 'what'])

/** Counts what it hears in its state. */
const counter = (heard: unknown[]): ActionTree => spawn(() => transition(0,
  endpoint.subscriber(['count', _], {
    onMessage: ([, what], state) => {
      heard.push(what)
      return transition(state + 1, sendMessage(['counted', state + 1]))
    },
  })), { name: 'counter' })

t.test('the tree, and a process with all it has', async (t) => {
  const { client, send, path } = await inspected(t, () => [
    counter([]),
    nestedVm(() => spawn(() => atMetaLevel(endpoint.publisher(['up', 1])), { name: 'inside' }), { name: 'room' }),
  ])
  send(['count', 'a'])
  const { processes, left } = await client.ask('tree')
  t.equal(left, 0)
  const rows = processes as Answer[]
  const names = rows.map((row) => row['name'] as string)
  for (const name of ['inspector', 'finder', 'feeder', 'counter', 'room', 'inside']) t.ok(names.includes(name), name)
  const room = rows.find((row) => row['name'] === 'room') as Answer
  const inside = rows.find((row) => row['name'] === 'inside') as Answer
  t.match(room, { kind: 'vm', vm: '', parent: '0' })
  t.match(inside, { kind: 'process', vm: room['path'] as string, held: -1, endpoints: 1 })
  const page = await client.ask('process', { path: await path('counter') })
  t.match(page, { state: 1, messages: 1, sent: 1, essential: false })
  t.match(page['endpointList'], [{
    level: 0, orientation: 'subscriber', interest: 'participant', text: "['count', _]", handlers: ['onMessage'],
  }])
  const deep = await client.ask('process', { path: inside['path'] as string })
  t.match(deep['endpointList'], [{ level: 1, orientation: 'publisher', text: "['up', 1]" }])
})

t.test('who meets a topic, and who would get a message, and why not', async (t) => {
  const { client, path } = await inspected(t, () => [
    spawn(() => [
      endpoint.subscriber(says('joe', _), { onMessage: () => undefined }),
      endpoint.publisher(says('ann', _), { onMessage: () => undefined }),
      endpoint.subscriber(says('mute', _)),
      endpoint.subscriber(says('deep', ['a', tcpListener(5999)]), { onMessage: () => undefined }),
    ], { name: 'ears' }),
    nestedVm(() => [
      endpoint.subscriber(says('joe', 'hi'), { onMessage: () => undefined }),
      atMetaLevel(endpoint.publisher(['open'])),
    ], { name: 'room' }),
  ])
  const ears = await path('ears')
  const { peers } = await client.ask('meets', { topic: "inspected-says('joe', _)" })
  t.match(peers, [{ path: ears, text: "inspected-says('joe', _)" }])
  t.equal((peers as Answer[]).length, 1, 'only those that meet')
  const who = await client.ask('who', { message: "inspected-says('joe', 'hi')" })
  t.match(who['gets'], [{ path: ears }])
  t.match(who['elsewhere'], [{ vm: await path('room') }])
  const whyOf = async (message: string, text: string): Promise<string> => {
    const { misses } = await client.ask('who', { message })
    return (misses as Answer[]).find((miss) => miss['text'] === text)?.['why'] as string
  }
  const joe = "inspected-says('joe', _)"
  t.equal(await whyOf("inspected-says('ann', 1)", joe), "who: the topic has 'joe', and the message 'ann'")
  t.match(await whyOf("inspected-says('ann', 1)", "inspected-says('ann', _)"), /goes to subscribers/)
  t.equal(await whyOf("inspected-says('mute', 1)", "inspected-says('mute', _)"), 'it has no onMessage')
  const deep = "inspected-says('deep', ['a', tcp-listener(5999)])"
  t.match(await whyOf("inspected-says('deep', ['a', tcp-listener(6000)])", deep),
    /^what\.1\.port: the topic has 5999, and the message 6000$/)
  t.match(await whyOf("inspected-says('deep', ['a'])", deep), /^what: the topic has 2 parts, and the message 1$/)
  for (const [message, error] of [
    ['inspected-say(1, 2)', /no records inspected-say of 2 fields; did you mean inspected-says\?/],
    ['inspected-says(1)', /has not 1 fields: there is inspected-says\(who, what\)/],
    ["['a'", /at character 5, before the end: expected ','/], ['joe', /text is written in quotes: 'joe'/],
    ['', /expected a value/], ['[1] 2', /expected the end/], ["'a", /ends the string/], [7, /expected a topic as text/],
    ['['.repeat(200), /at most 100 levels/],
  ] as const) await t.rejects(client.ask('who', { message }), { message: error })
})

t.test('a trace tells what fits, with values, and what it left out', async (t) => {
  const { client, send } = await inspected(t, () => counter([]))
  await client.ask('trace', { topic: "['count', 'wanted']" })
  send(['count', 'other'])
  send(['count', 'wanted'])
  const { events } = await client.hears('trace')
  t.match(events, [{ kind: 'message', subject: ['count', 'wanted'], state: 2, who: /counter/ }])
  await client.ask('trace', { rate: 10 })
  for (let i = 0; i < 100; i++) send(['count', i])
  const first = await client.hears('trace', ({ dropped }) => Number(dropped) > 0)
  t.ok((first['events'] as Answer[]).length <= 12)
  await client.ask('untrace')
  send(['count', 'unseen'])
  await client.ask('tree')
  t.notMatch(client.told, [{ event: 'trace', events: [{ subject: ['count', 'unseen'] }] }])
})

t.test('causes go through messages, timers, nested VMs and promises', async (t) => {
  const { client, send } = await inspected(t, () => [
    timerDriver(),
    spawn(() => endpoint.subscriber(['go'], { onMessage: () => sendMessage(['one']) }), { name: 'a' }),
    nestedVm(() => [
      spawn(() => atMetaLevel(endpoint.subscriber(['one'], { onMessage: () => sendMessage(['two']) }))),
      spawn(() => endpoint.subscriber(['two'], { onMessage: () => atMetaLevel(sendMessage(['three'])) })),
    ]),
    spawn(() => endpoint.subscriber(['three'], {
      onMessage: async () => { await Promise.resolve(); return [sendMessage(['four']), sendMessage(['four'])] },
    }), { name: 'd' }),
    spawn(() => endpoint.subscriber(['four'], {
      onMessage: () => sendMessage(setTimer('later', 1, 'relative')),
    }), { name: 'e' }),
    spawn(() => endpoint.subscriber(timerExpired('later', _), { onMessage: () => undefined }), { name: 'f' }),
  ])
  await client.ask('trace')
  send(['go'])
  const { events: late } = await client.hears('trace', ({ events }) =>
    (events as Answer[]).some(({ text }) => String(text).startsWith('timer-expired')))
  const expired = (late as Answer[]).find(({ text }) => String(text).startsWith('timer-expired')) as Answer
  const { events: all } = await client.ask('chain', { event: expired['id'] as number })
  t.match((all as Answer[]).map((event) => event['text'] as string).slice(-3),
    ["['four']", /^set-timer/, /^timer-expired/], 'a timer is because of who has set it')
  await client.ask('untrace')
  await client.ask('trace', { topic: "['four']" })
  send(['go'])
  const { events } = await client.hears('trace', ({ events }) =>
    (events as Answer[]).every(({ text }) => text === "['four']"))
  const last = (events as Answer[])[0]
  const chain = await client.ask('chain', { event: last['id'] as number })
  const texts = (chain['events'] as Answer[]).map((event) => event['text'] as string).slice(0, 6)
  t.same(texts, ['[<source test>, _]', "['go']", "['one']", "['two']", "['three']", "['four']"])
  t.equal((chain['events'] as Answer[])[0]['source'], 'test')
  const forward = await client.ask('chain', { event: (chain['events'] as Answer[])[0]['id'] as number })
  t.equal((forward['events'] as Answer[]).filter(({ text }) => text === "['four']").length, 2, 'both are its effects')
  const { mermaid } = await client.ask('diagram', { event: last['id'] as number })
  t.match(mermaid, /^sequenceDiagram\n {2}participant p0 as /)
  t.match(mermaid, /p\d->>p\d: \['four'\]/)
})

t.test('what is to be redacted is in no text either, and no code of the program is run for one', async (t) => {
  const odd = { [Symbol.for('nodejs.util.inspect.custom')]: () => { throw new Error('run') } }
  const { client, send, path } = await inspected(t, () => [
    spawn(() => [
      endpoint.subscriber(['login', 'secret', odd, _], {
        name: 'secret', onMessage: () => { throw new Error('the secret is wrong') },
      }),
      endpoint.subscriber(['other', 'secret'], { onMessage: () => undefined }),
    ], { name: 'victim' }),
  ], { redact: (value) => typeof value === 'string' && value.includes('secret') ? '***' : value })
  const victim = await path('victim')
  await client.ask('trace')
  send(['other', 'secret'])
  const answers: unknown[] = [await client.ask('process', { path: victim })]
  await client.ask('break', { on: 'message', topic: "['login', _, _, 'secret']", path: victim })
  answers.push(
    await client.ask('breaks'), await client.ask('meets', { topic: '_' }),
    await client.ask('who', { message: "['login', 'x', 1, 1]" }), await client.ask('who', { message: "['other', 1]" }))
  send(['login', 'secret', odd, 1])
  answers.push(
    await client.hears('crashed'), await client.ask('crashes'), await client.ask('events'), await client.ask('export'),
    await client.hears('trace'))
  for (const answer of answers) t.notMatch(JSON.stringify(answer), /secret/)
  t.match(JSON.stringify(answers), /\*\*\*/)
})

t.test('a paused process hears nothing, loses nothing, and goes on in order; steps are one thing each', async (t) => {
  const heard: unknown[] = []
  const { client, send, path } = await inspected(t, () => counter(heard))
  const counterPath = await path('counter')
  send(['count', 0])
  await client.ask('pause', { path: counterPath })
  t.match(await client.hears('paused'), { by: 'request', process: { path: counterPath, held: 0 } })
  const bytes = Buffer.from('lent')
  for (let i = 1; i <= 5; i++) send(['count', i])
  send(['count', bytes])
  bytes.fill(0) // as memory that is received into again
  t.match(await client.ask('process', { path: counterPath }), { held: 6, messages: 1 })
  t.same(heard, [0])
  await client.ask('step', { path: counterPath })
  t.same(heard, [0, 1], 'it hears one')
  t.match(await client.ask('process', { path: counterPath }), { held: 5, queue: 1, state: 2 })
  await client.ask('step', { path: counterPath })
  t.match(await client.ask('process', { path: counterPath }), { held: 5, queue: 0, state: 2, sent: 2 }, 'then acts')
  await client.ask('resume', { path: counterPath })
  t.match(await client.hears('resumed'), { path: counterPath, overflowed: false })
  t.same(heard.slice(0, 6), [0, 1, 2, 3, 4, 5])
  t.equal((heard[6] as Buffer).toString(), 'lent', 'byte arrays that waited are copies')
  t.match(await client.ask('process', { path: counterPath }), { held: -1, messages: 7, sent: 7, state: 7 })
})

t.test('a sequential process keeps its order: what waits in its own line comes before what is held', async (t) => {
  const heard: unknown[] = []
  const gates = new Map<unknown, () => void>()
  const { client, send, path } = await inspected(t, () => spawn(() => endpoint.subscriber(['job', _], {
    onMessage: async ([, n]) => {
      heard.push(n)
      await new Promise<void>((resolve) => { gates.set(n, resolve) })
    },
  }), { name: 'worker', sequential: true }))
  const worker = await path('worker')
  const opened = async (n: number): Promise<void> => {
    while (!gates.has(n)) await client.ask('tree')
    gates.get(n)?.()
  }
  for (const n of [1, 2, 3]) send(['job', n])
  await client.ask('pause', { path: worker })
  for (const n of [4, 5]) send(['job', n])
  await opened(1)
  for (const n of [6, 7, 8]) send(['job', n])
  await client.ask('step', { path: worker })
  await client.ask('resume', { path: worker })
  for (const n of [2, 3, 4, 5, 6, 7, 8]) await opened(n)
  t.same(heard, [1, 2, 3, 4, 5, 6, 7, 8])
})

t.test('a process that is paused inside of a paused VM stays so when the VM goes on', async (t) => {
  const heard: unknown[] = []
  const { client, send, path } = await inspected(t, () => nestedVm(() => [
    spawn(() => atMetaLevel(endpoint.subscriber(['in', _], { onMessage: ([, what]) => { heard.push(what) } })),
      { name: 'inside' }),
  ], { name: 'room' }))
  const [room, inside] = [await path('room'), await path('inside')]
  await client.ask('pause', { path: room })
  for (const n of [1, 2, 3]) send(['in', n])
  await client.ask('pause', { path: inside })
  await client.ask('resume', { path: room })
  send(['in', 4])
  await client.ask('tree')
  t.same(heard, [])
  await client.ask('resume', { path: inside })
  await client.ask('tree')
  t.same(heard, [1, 2, 3, 4])
})

t.test('going on stops again where a handler throws and a breakpoint wants that', async (t) => {
  const heard: unknown[] = []
  const { client, send, path } = await inspected(t, () => spawn(() => endpoint.subscriber(['job', _], {
    onMessage: ([, n]) => {
      heard.push(n)
      if (n === 1) throw new Error('on purpose')
    },
  }), { name: 'worker' }))
  await client.ask('break', { on: 'exception' })
  const worker = await path('worker')
  await client.ask('pause', { path: worker })
  for (const n of [1, 2, 3]) send(['job', n])
  await client.ask('resume', { path: worker })
  t.match(await client.hears('paused', ({ by }) => by === 'breakpoint'), { process: { path: worker, held: 2 } })
  t.same(heard, [1])
})

t.test('an inspector that comes when another one goes, with something paused, looks when that has ended', async (t) => {
  const heard: unknown[] = []
  const urls: string[] = []
  const { client, url, send, path } = await inspected(t, () => [
    counter(heard),
    spawn(() => endpoint.subscriber(['change', _], {
      onMessage: ([, pid]) => [kill(pid as number), inspector({ print: false })],
    })),
    spawn(() => endpoint.subscriber(inspecting(_), { onPresence: ({ url }) => { urls.push(url) } })),
  ])
  await client.ask('pause', { path: await path('counter') })
  for (const n of [1, 2]) send(['count', n])
  send(['change', Number(await path('inspector'))])
  await until(() => urls.some((other) => other !== url))
  t.same(heard, [1, 2], 'nothing is lost')
  const other = await new Client(urls.at(-1) ?? '').opened()
  t.match(await other.ask('tree'), { left: 0 })
  await other.close()
})

t.test('too much waits: the process goes on, and that is told', async (t) => {
  const heard: unknown[] = []
  const { client, send, path } = await inspected(t, () => counter(heard))
  await client.ask('pause', { path: await path('counter') })
  for (let i = 0; i < 10_001; i++) send(['count', i])
  t.match(await client.hears('resumed', ({ overflowed }) => overflowed === true), { overflowed: true })
  await client.ask('tree')
  t.equal(heard.length, 10_001)
  t.same(heard, heard.map((_none, i) => i), 'all, in order')
})

t.test('what waits is bounded whatever it is, and stays as it was', async (t) => {
  const heard: unknown[] = []
  const { client, send, path } = await inspected(t, () => counter(heard))
  const pause = async (): Promise<void> => {
    heard.length = 0
    await client.ask('pause', { path: await path('counter') })
  }
  const overflowed = (): Promise<Answer> => client.hears('resumed', ({ overflowed }) => overflowed === true)
  const megabyte = 'x'.repeat(1 << 20)
  const large = { strings: megabyte, lists: [[[megabyte]]], bytes: [[new Uint8Array(1 << 20)]] }
  for (const [name, value] of Object.entries(large)) {
    await pause()
    for (let i = 0; i < 17; i++) send(['count', value])
    t.match(await overflowed(), { overflowed: true }, name)
    await until(() => heard.length === 17)
  }
  await pause()
  send(['count', new Array(3 << 20).fill(0)])
  t.match(await overflowed(), { overflowed: true }, 'many parts')
  await pause()
  const lent = new Uint8Array([1, 2, 3])
  send(['count', ['deep', [lent, Buffer.from([9])]]])
  lent.fill(0)
  await client.ask('resume', { path: await path('counter') })
  await until(() => heard.length === 1)
  t.same(heard, [['deep', [new Uint8Array([1, 2, 3]), Buffer.from([9])]]])
})

t.test('a client that is gone leaves nobody paused', async (t) => {
  const heard: unknown[] = []
  const { client, send, path, url } = await inspected(t, () => counter(heard))
  const counterPath = await path('counter')
  const other = await new Client(url).opened()
  await other.ask('pause', { path: counterPath })
  await other.ask('break', { topic: "['count', 'never']" })
  send(['count', 1])
  t.same(heard, [])
  other.socket.terminate()
  await client.hears('resumed')
  t.same(heard, [1])
  t.same((await client.ask('breaks'))['breakpoints'], [])
})

t.test('the ground VM stands still but for its drivers, and a nested VM with all that is inside', async (t) => {
  let ticks = 0
  const heard: unknown[] = []
  const { client, send, path } = await inspected(t, () => [
    timerDriver(),
    spawn(() => [
      endpoint.subscriber(timerExpired('tick', _), {
        onMessage: () => { ticks++; return sendMessage(setTimer('tick', 1, 'relative')) },
      }),
      sendMessage(setTimer('tick', 1, 'relative')),
    ], { name: 'clock' }),
    nestedVm(() => [
      spawn(() => atMetaLevel(endpoint.subscriber(['in', _], { onMessage: (it) => sendMessage(it) }))),
      spawn(() => endpoint.subscriber(['in', _], { onMessage: ([, what]) => { heard.push(what) } })),
    ], { name: 'room' }),
  ])
  const room = await path('room')
  await client.ask('pause', { path: room })
  send(['in', 1])
  send(['in', 2])
  t.match(await client.ask('process', { path: room }), { held: 2 })
  t.same(heard, [])
  await client.ask('resume', { path: room })
  t.same(heard, [1, 2])
  await client.ask('pause')
  const before = ticks
  await client.hears('paused', ({ process }) => (process as Answer)['name'] === 'clock')
  t.equal(ticks, before)
  await client.ask('resume')
  await client.hears('resumed', ({ path }) => path !== room)
  await client.ask('trace', { topic: "timer-expired('tick', _)" })
  await client.hears('trace')
  t.ok(ticks > before)
  await t.rejects(client.ask('pause', { path: await path('timer') }), { message: /is a driver/ })
})

t.test('breakpoints: on a topic, on an absence with a reason, on an exception', async (t) => {
  const heard: unknown[] = []
  const { client, send, path } = await inspected(t, () => [
    counter(heard),
    spawn(() => [
      endpoint.publisher(['here']),
      endpoint.subscriber(['fail'], { onMessage: () => { throw new Error('on purpose') } }),
    ], { name: 'weak' }),
    spawn(() => endpoint.subscriber(['here'], {
      onAbsence: (_topic, _state, reason) => { heard.push((reason as Error).message) },
    }), { name: 'watcher' }),
  ])
  const { breakpoint } = await client.ask('break', { on: 'message', topic: "['count', 3]" })
  for (let i = 1; i <= 4; i++) send(['count', i])
  t.match(await client.hears('paused'), {
    by: 'breakpoint', breakpoint: breakpoint as number, process: { name: 'counter' },
  })
  t.same(heard, [1, 2], 'it has not heard it yet')
  send(['count', 3])
  await client.ask('resume', { path: await path('counter') })
  await client.hears('paused')
  t.same(heard, [1, 2, 3, 4], 'and stops at the next one')
  t.same(await client.ask('unbreak', { breakpoint: breakpoint as number }), { gone: true })
  await client.ask('resume', { path: await path('counter') })
  await client.hears('resumed', ({ path }) => path !== undefined)
  await client.ask('break', { on: 'exception' })
  send(['fail'])
  const stopped = await client.hears('paused', ({ process }) => (process as Answer)['name'] === 'weak')
  t.match(await client.ask('process', { path: (stopped['process'] as Answer)['path'] as string }), {
    queue: 1, actions: ['Quit'], failures: 1,
  })
  await client.ask('break', { on: 'reason' })
  await client.ask('resume', { path: (stopped['process'] as Answer)['path'] as string })
  await client.hears('paused', ({ process }) => (process as Answer)['name'] === 'watcher')
  t.notOk(heard.includes('on purpose'))
  await client.ask('resume')
  await client.hears('resumed', ({ path }) => path !== undefined)
  await client.ask('tree')
  t.ok(heard.includes('on purpose'))
})

t.test('what has failed is kept, with its state and what it heard last, until it is dismissed', async (t) => {
  const { client, send } = await inspected(t, () => [
    spawn(() => transition({ account: 7 }, endpoint.subscriber(['work', _], {
      onMessage: ([, n]) => { if (n === 2) throw Object.assign(new Error('no money'), { code: 'EPOOR' }) },
    })), { name: 'worker' }),
    spawn(() => { throw new Error('did not boot') }, { name: 'unborn' }),
  ])
  send(['work', 1])
  send(['work', 2])
  t.match(await client.hears('crashed'), {
    crash: {
      who: /worker/, state: { $: 'object', entries: [['account', 7]] },
      reason: { $: 'error', message: 'no money', code: 'EPOOR', stack: /protocol\.test/ },
      last: [{}, { kind: 'message' }],
    },
  })
  const { crashes } = await client.ask('crashes')
  t.same((crashes as Answer[]).map((crash) => (crash['reason'] as Answer)['message'] as string).sort(),
    ['did not boot', 'no money'])
  for (const { id } of crashes as Answer[]) {
    t.same(await client.ask('dismiss', { crash: id as number }), { gone: true })
  }
  t.same((await client.ask('crashes'))['crashes'], [])
})

t.test('moments: the state after an event, and before', async (t) => {
  const { client, send } = await inspected(t, () => counter([]))
  await client.ask('trace', { topic: "['count', _]" })
  send(['count', 'a'])
  send(['count', 'b'])
  const { events } = await client.hears('trace', ({ events }) => (events as Answer[]).length === 2)
  const moment = await client.ask('moment', { event: (events as Answer[])[1]['id'] as number })
  t.match(moment, { state: 2, stateBefore: 1, before: (events as Answer[])[0]['id'] as number, after: 0 })
  await t.rejects(client.ask('moment', { event: 1e9 }), { message: /is not there/ })
})

t.test('acting: messages, kills; and a table that tells what has changed', async (t) => {
  const heard: unknown[] = []
  const { client, path } = await inspected(t, () => counter(heard))
  await client.ask('watch', { every: 200 })
  const { changed } = await client.hears('processes')
  t.ok((changed as Answer[]).some((row) => row['name'] === 'counter'))
  await client.ask('send', { message: "['count', bytes('x')]" })
  t.same(heard, [Buffer.from('x')])
  const counterPath = await path('counter')
  const { changed: later } = await client.hears('processes', ({ changed }) =>
    (changed as Answer[]).some((row) => row['path'] === counterPath))
  t.match((later as Answer[]).find((row) => row['path'] === counterPath), { messages: 1 })
  await client.ask('kill', { path: counterPath, reason: 'enough' })
  await client.hears('processes', ({ gone }) => (gone as string[]).includes(counterPath))
  await t.rejects(client.ask('kill', { path: counterPath }), { message: /there is no process/ })
  await t.rejects(client.ask('nonsense'), { message: /there is no request "nonsense"/ })
})

t.test('who only looks can\'t act', async (t) => {
  const { client, path } = await inspected(t, () => counter([]), { readOnly: true })
  t.match(await client.hears('hello'), { readOnly: true, protocol: 1 })
  const counterPath = await path('counter')
  for (const [what, parameters] of [
    ['pause', { path: counterPath }], ['resume', {}], ['step', { path: counterPath }], ['break', {}], ['unbreak', {}],
    ['send', { message: '1' }], ['kill', { path: counterPath }], ['log', { level: 'off' }], ['dismiss', { crash: 1 }],
  ] as const) await t.rejects(client.ask(what, parameters), { message: /only looks/ }, what)
  await client.ask('process', { path: counterPath })
})

t.test('one inspector for a ground VM; the second fails alone, and a new one can follow the first', async (t) => {
  const { vm, client } = await inspected(t, () => spawn(() => [
    endpoint.subscriber(['again'], { onMessage: () => inspector({ print: false }) }),
  ]))
  await client.ask('send', { message: "['again']" })
  t.match(await client.hears('crashed'), { crash: { reason: { message: /looks into this ground VM already/ } } })
  await client.ask('tree')
  await vm.stop()
})

t.test('an inspector keeps no program running, and ends with it', async (t) => {
  await groundVm(() => [inspector({ print: false }), spawn(() => quit())])
  t.pass('it has ended')
})

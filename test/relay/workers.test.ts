/** Nodes that are real threads: rooms over several of them, and what the death of one is to the others. */
import t from 'tap'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads'
import {
  _, endpoint, eventSource, groundVm, LOG_CHANNEL, portCarrier, relay, relayNode, sendMessage, spawn, type ActionTree,
  type EventSink,
} from '../../src/index.js'
import { setLogLevel } from '../../src/support/log.js'
import { patient } from '../support/patience.js'
import { until } from '../support/util.js'
import type { Heard, WorkerData } from './worker.js'

setLogLevel('off')
const TOPICS = [['member', _, _], ['say', _], ['die', _, _]]
const BEATS = { heartbeatMs: 100, lostAfterMs: 600 }
const MEMBERS = 20

interface Thread {
  readonly worker: Worker
  readonly heard: Heard[]
}

/** Threads, each connected with each other and with this one, in which `here` runs. */
class Threads {
  readonly threads = new Map<string, Thread>()
  readonly carrier = portCarrier()
  readonly heard: Heard[] = []
  readonly nodes = new Set<string>()
  #sink: EventSink<ActionTree> | undefined
  readonly vm = groundVm(() => {
    const control = eventSource<ActionTree>('control', (sink) => { this.#sink = sink })
    return [
      relay({ node: 'main', carrier: this.carrier, topics: TOPICS, ...BEATS }),
      spawn(() => endpoint.subscriber([control, _], { onMessage: ([, actions]) => actions })),
      spawn(() => [
        endpoint.subscriber(relayNode(_), {
          onPresence: ({ node }) => { this.nodes.add(node) },
          onAbsence: ({ node }) => { this.nodes.delete(node) },
        }),
        endpoint.subscriber(['member', _, _], {
          onPresence: ([, of, i]) => { this.heard.push({ what: '+', who: `${String(of)} ${String(i)}` }) },
          onAbsence: ([, of, i], _state, reason) => {
            const { code } = (reason ?? {}) as { code?: string }
            this.heard.push({ what: '-', who: `${String(of)} ${String(i)}`, code })
          },
        }),
        endpoint.publisher(['say', _], {
          onMessage: ([, text]) => { this.heard.push({ what: 'says', text: String(text) }) },
        }),
      ]),
    ]
  })

  do(actions: ActionTree): void {
    this.#sink?.fire(actions)
  }

  start(...names: string[]): void {
    const ports = new Map<string, Record<string, MessagePort>>(names.map((name) => [name, {}]))
    names.forEach((name, i) => {
      const own = ports.get(name) as Record<string, MessagePort>
      for (const other of names.slice(i + 1)) {
        const { port1, port2 } = new MessageChannel()
        own[other] = port1
        ;(ports.get(other) as Record<string, MessagePort>)[name] = port2
      }
      const { port1, port2 } = new MessageChannel()
      own['main'] = port1
      this.carrier.connect(name, port2)
      const workerData: WorkerData = { node: name, members: MEMBERS, ports: own }
      const worker = new Worker(new URL('./worker.js', import.meta.url), {
        workerData, transferList: Object.values(own), resourceLimits: { maxOldGenerationSizeMb: 48 },
        env: { MARKETPLACE_LOG: 'off' }, stderr: true,
      })
      const heard: Heard[] = []
      worker.on('message', (told: Heard) => { heard.push(told) })
      worker.on('error', () => undefined)
      this.threads.set(name, { worker, heard })
    })
  }

  /** All have heard of all members. */
  async complete(): Promise<void> {
    const all = this.threads.size * MEMBERS
    const count = (heard: readonly Heard[]): number => heard.filter(({ what }) => what === '+').length
    await until(() => this.nodes.size === this.threads.size && count(this.heard) >= all &&
       [...this.threads.values()].every(({ heard }) => count(heard) >= all))
  }

  clear(): void {
    this.heard.length = 0
    for (const { heard } of this.threads.values()) heard.length = 0
  }

  async end(): Promise<void> {
    await this.vm.stop()
    for (const { worker } of this.threads.values()) await worker.terminate()
  }
}

const absences = (heard: readonly Heard[]): string[] =>
  heard.flatMap((told) => told.what === '-' ? [`${told.who} ${String(told.code)}`] : []).sort()
const said = (heard: readonly Heard[]): string[] => heard.flatMap((told) => told.what === 'says' ? [told.text] : [])

t.test('members on several threads are in one room; feedback comes back from all', async (t) => {
  const threads = new Threads()
  threads.start('a', 'b')
  await threads.complete()
  t.strictSame([...threads.nodes].sort(), ['a', 'b'])
  threads.do([sendMessage(['say', 'one']), sendMessage(['say', 'two'])])
  await until(() => said(threads.heard).length >= 4)
  t.strictSame(said(threads.heard).sort(), ['a', 'b'].flatMap((node) =>
    [`${node} has heard one`, `${node} has heard two`]))
  for (const { heard } of threads.threads.values()) t.strictSame(said(heard), ['one', 'two'], 'in order')
  await threads.end()
})

for (const how of ['exit', 'throw', 'memory', 'loop', 'terminate'] as const) {
  t.test(`a thread that dies by ${how} is everybody's absence with EWORKERLOST within a second`, async (t) => {
    const threads = new Threads()
    threads.start('a', 'b')
    await threads.complete()
    threads.clear()
    const { worker } = threads.threads.get('b') as Thread
    const died = how === 'loop' ? undefined : new Promise((resolve) => { worker.once('exit', resolve) })
    let start = performance.now()
    if (how === 'terminate') void worker.terminate()
    else threads.do(sendMessage(['die', 'b', how]))
    // What comes before its death is its own affair: a heap takes a while to be full.
    await died
    if (died !== undefined) start = performance.now()
    const expected = Array.from({ length: MEMBERS }, (_none, i) => `b ${i} EWORKERLOST`).sort()
    const others = [threads.heard, (threads.threads.get('a') as Thread).heard]
    await until(() => others.every((heard) => absences(heard).length >= MEMBERS))
    t.ok(performance.now() - start < patient(1000), `${Math.round(performance.now() - start)} ms`)
    threads.do(sendMessage(['say', 'still there']))
    await until(() => said(threads.heard).length >= 1)
    for (const heard of others) t.strictSame(absences(heard), expected, 'all of them, and nobody else')
    t.strictSame(said(threads.heard), ['a has heard still there'])
    await threads.end()
  })
}

t.test('a thread that is started again under its name is present again', async (t) => {
  const threads = new Threads()
  threads.start('a')
  await threads.complete()
  await (threads.threads.get('a') as Thread).worker.terminate()
  await until(() => absences(threads.heard).length >= MEMBERS)
  threads.clear()
  threads.start('a')
  await threads.complete()
  t.strictSame(absences(threads.heard), [])
  await threads.end()
})

t.test('a thread that ends in order is absent without a reason', async (t) => {
  const { port1, port2 } = new MessageChannel()
  const heard: string[] = []
  const left = groundVm(() => [
    relay({ node: 'left', carrier: portCarrier({ right: port1 }), topics: TOPICS }),
    spawn(() => endpoint.publisher(['say', 1])),
  ])
  const right = groundVm(() => [
    relay({ node: 'right', carrier: portCarrier({ left: port2 }), topics: TOPICS }),
    spawn(() => endpoint.subscriber(['say', _], {
      onPresence: () => { heard.push('+') },
      onAbsence: (_topic, _state, reason) => { heard.push(`- ${String(reason)}`) },
    })),
  ])
  await until(() => heard.length > 0)
  await left.stop()
  await until(() => heard.length > 1)
  t.strictSame(heard, ['+', '- undefined'])
  await right.stop()
})

t.test('what is no packet costs the other side its session; wrong arguments are told', async (t) => {
  const { port1, port2 } = new MessageChannel()
  const carrier = portCarrier({ left: port2 })
  const right = groundVm(() => relay({ node: 'right', carrier, topics: TOPICS }))
  for (const packet of ['text', { a: 1 }, null, new Uint8Array(3), new ArrayBuffer(5)]) port1.postMessage(packet)
  await new Promise((resolve) => { setTimeout(resolve, 50) })
  await right.stop()
  const records: unknown[] = []
  const hear = (record: unknown): void => { records.push(record) }
  subscribe(LOG_CHANNEL, hear)
  setLogLevel('error')
  await groundVm(() => relay({ node: 'right', carrier, topics: TOPICS }))
  setLogLevel('off')
  unsubscribe(LOG_CHANNEL, hear)
  t.match(records, [{ fields: { reason: { code: 'ERR_INVALID_STATE', message: /a carrier is for one relay/ } } }])
  const noPort = 5 as unknown as MessagePort
  t.throws(() => portCarrier({ left: noPort }), { message: /portCarrier: port must be a MessagePort/ })
  t.throws(() => { carrier.connect('', port1) }, { message: /portCarrier: node must be the name of a node/ })
  port1.close()
})

/** The rules of the relay, one by one, on a network in memory and in virtual time. */
import t, { type Test } from 'tap'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import {
  _, atMetaLevel, deleteEndpoint, endpoint, eventRelay, eventSource, groundVm, LOG_CHANNEL, nestedVm, quit,
  sendFeedback, sendMessage, spawn, topicLimits, Wildcard, type Action, type ActionTree, type EventSink, type GroundVm,
  type LogRecord,
} from '../../src/index.js'
import { relayBy, RelayMonitor, type RelayOptions } from '../../src/relay/relay.js'
import { relayNode } from '../../src/relay/records.js'
import { setLogLevel } from '../../src/support/log.js'
import { beatPacket, leavePacket, parsePacket, streamPacket, type StreamPacket } from '../../src/relay/packet.js'
import { Network, type MemoryCarrier } from './network.js'

setLogLevel('off')

const TOPICS = [['room', _, _], ['tick', _]]
const H = 100
const T = 500

/** A topic or a message, with `_` for a wildcard. */
const show = (shown: unknown): string =>
  JSON.stringify(shown, (_key, value: unknown) => value instanceof Wildcard ? '_' : value).replaceAll('"_"', '_')

/** A node of a test: a ground VM with a relay, in which actions can be done from outside. */
class Node {
  readonly trace: string[] = []
  readonly carrier: MemoryCarrier
  readonly monitor = new RelayMonitor()
  readonly vm: GroundVm
  failure: unknown
  #sink: EventSink<ActionTree> | undefined

  constructor(readonly network: Network, readonly name: string, options: Partial<RelayOptions> = {}) {
    const carrier = this.carrier = network.carrier(name)
    const control = eventSource<ActionTree>('control', (sink) => { this.#sink = sink })
    const relay = (): Action => relayBy({
      node: name, carrier, topics: TOPICS, heartbeatMs: H, lostAfterMs: T, monitor: this.monitor, ...options,
    }, network.clock(() => carrier.frozen))
    this.vm = groundVm(() => [
      spawn(() => endpoint.subscriber([control, _], { onMessage: ([, actions]) => actions }),
        { essential: true }),
      relay(),
    ])
    this.vm.catch((error: unknown) => { this.failure = error })
  }

  /** Has a process of its own do something. */
  do(...actions: ActionTree[]): void {
    if (this.#sink === undefined) throw new Error('the test is wrong: the VM does not run yet')
    this.#sink.fire(spawn(() => actions))
  }

  /** A process that tells what it hears of a topic. */
  listen(topic: unknown, interest: 'participant' | 'observer' | 'everything' = 'participant', as = 'subscriber'): void {
    const say = (...words: unknown[]): void => { this.trace.push(words.join(' ')) }
    const make = as === 'subscriber' ? endpoint.subscriber : endpoint.publisher
    this.do(make(topic, {
      interest,
      onPresence: (meeting) => { say('+', show(meeting)) },
      onAbsence: (meeting, _state, reason) => {
        const { code } = (reason ?? {}) as { code?: string }
        say('-', show(meeting), code ?? reason ?? 'orderly')
      },
      onMessage: (body) => { say(show(body)) },
    }))
  }

  /** A process with one endpoint, which ends by `quit` of `['tick', name]` on its node. */
  publish(topic: unknown, as: 'subscriber' | 'publisher' = 'publisher'): void {
    this.do(endpoint[as](topic), endpoint.subscriber(['end', topic, _], { onMessage: ([, , reason]) => quit(reason) }))
  }

  end(topic: unknown, reason?: unknown): void {
    this.do(sendMessage(['end', topic, reason]))
  }

  takeTrace(): string[] {
    return this.trace.splice(0)
  }
}

async function stop(...nodes: Node[]): Promise<void> {
  for (const { vm } of nodes) await vm.stop()
}

async function two(options: Partial<RelayOptions> = {}, network = new Network()): Promise<[Network, Node, Node]> {
  const nodes: [Network, Node, Node] = [network, new Node(network, 'a', options), new Node(network, 'b', options)]
  await network.run(20)
  return nodes
}

t.test('an endpoint of another node is a peer, with its topic, and hears messages; feedback goes back', async (t) => {
  const [network, a, b] = await two()
  b.listen(['room', _, _])
  a.listen(['room', 'one', _], 'participant', 'publisher')
  await network.run(10)
  t.strictSame(b.takeTrace(), ['+ ["room","one",_]'])
  t.strictSame(a.takeTrace(), ['+ ["room","one",_]'])
  a.do(sendMessage(['room', 'one', 'hello']), sendMessage(['room', 'two', 'more']), sendMessage(['secret', 1]))
  b.do(sendFeedback(['room', 'one', 'thanks']))
  await network.run(10)
  t.strictSame(b.takeTrace(), ['["room","one","hello"]', '["room","two","more"]'])
  t.strictSame(a.takeTrace(), ['["room","one","thanks"]'])
  await stop(a, b)
})

t.test('nothing is sent back, or on to a third node', async (t) => {
  const network = new Network()
  const nodes = ['a', 'b', 'c'].map((name) => new Node(network, name))
  await network.run(20)
  for (const node of nodes) node.listen(['room', _, _])
  nodes[0].publish(['room', 'one', _])
  await network.run(10)
  for (const node of nodes) t.strictSame(node.takeTrace(), ['+ ["room","one",_]'], node.name)
  nodes[0].do(sendMessage(['room', 'one', 'x']))
  await network.run(10)
  for (const node of nodes) t.strictSame(node.takeTrace(), ['["room","one","x"]'], node.name)
  nodes[0].end(['room', 'one', _])
  await network.run(10)
  for (const node of nodes) t.strictSame(node.takeTrace(), ['- ["room","one",_] orderly'], node.name)
  await stop(...nodes)
})

t.test('interest types: observers are told and not told of; everything is told of all; the relay itself is hidden',
  async (t) => {
    const [network, a, b] = await two()
    b.listen(['tick', _], 'observer')
    b.listen(['tick', _], 'everything')
    await network.run(10)
    t.strictSame(b.takeTrace(), [])
    a.do(endpoint.publisher(['tick', 1], { interest: 'observer' }))
    await network.run(10)
    t.strictSame(b.takeTrace(), ['+ ["tick",1]'], 'an observer is told of to everything')
    a.do(endpoint.publisher(['tick', 2]))
    await network.run(10)
    t.strictSame(b.takeTrace(), ['+ ["tick",2]', '+ ["tick",2]'])
    a.do(sendMessage(['tick', 3]))
    await network.run(10)
    t.strictSame(b.takeTrace(), ['["tick",3]', '["tick",3]'], 'messages reach them all alike')
    await stop(a, b)
  })

t.test('reasons cross; errors are errors', async (t) => {
  const [network, a, b] = await two()
  b.listen(['tick', _])
  a.publish(['tick', 1])
  a.publish(['tick', 2])
  await network.run(10)
  b.takeTrace()
  a.end(['tick', 1], 'bye')
  a.end(['tick', 2], Object.assign(new Error('no'), { code: 'ECODE' }))
  await network.run(10)
  t.strictSame(b.takeTrace(), ['- ["tick",1] bye', '- ["tick",2] ECODE'])
  await stop(a, b)
})

t.test('rule 1: each side publishes only its own part, stamped: what is of another epoch, or for one, is not taken',
  async (t) => {
    const network = new Network()
    const recorded: [string, string, Uint8Array][] = []
    network.loses = (from, to, packet) => {
      recorded.push([from, to, packet.slice()])
      return false
    }
    const a = new Node(network, 'a')
    const b = new Node(network, 'b')
    await network.run(20)
    b.listen(['tick', _])
    await network.run(10)
    a.do(endpoint.publisher(['tick', 1]), sendMessage(['tick', 5]))
    await network.run(10)
    t.strictSame(b.takeTrace(), ['+ ["tick",1]', '["tick",5]'])
    for (const [from, to, packet] of recorded) if (from === 'a' && to === 'b') a.carrier.forge('b', packet)
    await network.run(10)
    t.strictSame(b.takeTrace(), [], 'what was sent before and comes again')
    b.carrier.kill()
    const earlier = recorded.length
    const again = new Node(network, 'b')
    await network.run(4 * H)
    again.listen(['tick', _])
    recorded.length = earlier
    for (const [from, to, packet] of recorded) if (from === 'a' && to === 'b') a.carrier.forge('b', packet)
    await network.run(10)
    t.strictSame(again.takeTrace(), ['+ ["tick",1]'], 'what was for the one before')
    await stop(a, b, again)
  })

t.test('rule 2: only allowed topics cross, and messages only to nodes with an endpoint that would hear them',
  async (t) => {
    const network = new Network()
    const a = new Node(network, 'a')
    const b = new Node(network, 'b')
    const c = new Node(network, 'c')
    await network.run(20)
    b.listen(['room', 'one', _])
    c.listen(['room', 'two', _])
    b.listen(['secret', _])
    a.do(endpoint.publisher(['secret', 1]), endpoint.publisher(['room', _, _]), endpoint.publisher(_))
    await network.run(10)
    t.strictSame(b.takeTrace(), ['+ ["room","one",_]', '+ ["room","one",_]'], 'of what is open, the allowed part')
    c.takeTrace()
    await network.run(2 * H)
    const sent: string[] = []
    network.loses = (from, to, packet) => {
      if (packet.length > 1000) sent.push(`${from}>${to}`)
      return false
    }
    a.do(sendMessage(['room', 'two', 'x'.repeat(1000)]), sendMessage(['secret', 'x'.repeat(1000)]),
      sendMessage(['room', 'three', 'x'.repeat(1000)]))
    await network.run(3 * H)
    t.strictSame(sent, ['a>c'])
    t.strictSame(b.takeTrace(), [])
    t.equal(c.takeTrace().length, 1)
    await stop(a, b, c)
  })

t.test('rule 2: a node takes only what it allows itself', async (t) => {
  const network = new Network()
  const a = new Node(network, 'a', { topics: [['room', _, _], ['tick', _]] })
  const b = new Node(network, 'b', { topics: [['room', 'one', _]] })
  await network.run(20)
  b.listen(['room', _, _])
  b.listen(['tick', _])
  a.do(endpoint.publisher(['tick', 1]), endpoint.publisher(['room', _, 1]), endpoint.publisher(['room', 'two', _]))
  await network.run(10)
  t.strictSame(b.takeTrace(), ['+ ["room","one",1]'])
  a.do(sendMessage(['tick', 1]), sendMessage(['room', 'one', 1]), sendMessage(['room', 'two', 1]))
  await network.run(10)
  t.strictSame(b.takeTrace(), ['["room","one",1]'])
  await stop(a, b)
})

t.test('rule 3: an endpoint appears after one delta; what a lost one leaves different is found and repaired',
  async (t) => {
    const [network, a, b] = await two()
    b.listen(['tick', _])
    await network.run(2 * H)
    a.publish(['tick', 1])
    await network.run(2)
    t.strictSame(b.takeTrace(), ['+ ["tick",1]'])
    await network.run(2 * H)
    // All that goes to one node is lost, marks too: only beats come.
    network.loses = (from, _to, packet) => from === 'a' && packet[1] > 1
    a.publish(['tick', 2])
    await network.run(4 * H)
    t.strictSame(b.takeTrace(), ['- ["tick",1] EGAP'], 'the beats say that there is more')
    network.loses = () => false
    await network.run(4 * H)
    t.strictSame(b.takeTrace().sort(), ['+ ["tick",1]', '+ ["tick",2]'])
    await stop(a, b)
  })

for (const lostCode of ['ENODELOST', 'EWORKERLOST'] as const) {
  t.test(`rule 4: a lost node is absent within T + H, with ${lostCode}; one that ends, at once and without a reason`,
    async (t) => {
      const network = new Network()
      const a = new Node(network, 'a')
      const b = new Node(network, 'b')
      b.carrier.lostCode = lostCode === 'ENODELOST' ? undefined : lostCode
      await network.run(20)
      b.listen(['tick', _])
      b.listen(relayNode('a'))
      a.do(endpoint.publisher(['tick', 1]))
      await network.run(10)
      t.strictSame(b.takeTrace().sort(), ['+ ["tick",1]', '+ {"record":"relay-node","node":"a"}'])
      a.carrier.kill()
      await network.run(T - H)
      t.strictSame(b.takeTrace(), [])
      await network.run(2 * H + 1)
      t.strictSame(b.takeTrace(), [`- {"record":"relay-node","node":"a"} ${lostCode}`, `- ["tick",1] ${lostCode}`])
      const again = new Node(network, 'a')
      await network.run(20)
      again.do(endpoint.publisher(['tick', 2]), sendMessage(['tick', 'last']))
      await network.run(10)
      b.takeTrace()
      again.do(sendMessage(['tick', 'last']))
      await again.vm.stop()
      await network.run(5)
      t.strictSame(b.takeTrace(),
        ['["tick","last"]', '- ["tick",2] orderly', '- {"record":"relay-node","node":"a"} orderly'])
      await stop(a, b)
    })
}

t.test('rule 4: what the carrier knows for certain is told at once, with its reason', async (t) => {
  const [network, a, b] = await two()
  b.listen(['tick', _])
  a.do(endpoint.publisher(['tick', 1]))
  await network.run(10)
  b.takeTrace()
  a.carrier.kill()
  b.carrier.tellGone('a', Object.assign(new Error('exit'), { code: 'EXIT' }))
  b.carrier.tellGone('nobody')
  await network.run(1)
  t.strictSame(b.takeTrace(), ['- ["tick",1] EXIT'])
  await stop(a, b)
})

t.test('rule 5: a node that was given up and speaks again is heard again', async (t) => {
  const [network, a, b] = await two()
  b.listen(['tick', _])
  a.listen(['tick', _], 'participant', 'publisher')
  await network.run(10)
  t.strictSame([...a.takeTrace(), ...b.takeTrace()], ['+ ["tick",_]', '+ ["tick",_]'])
  a.carrier.frozen = true
  await network.run(T + 2 * H)
  t.strictSame(b.takeTrace(), ['- ["tick",_] ENODELOST'])
  a.carrier.thaw()
  await network.run(4 * H)
  t.strictSame(b.takeTrace(), ['+ ["tick",_]'])
  t.strictSame(a.takeTrace(), ['- ["tick",_] EGAP', '+ ["tick",_]'], 'it was silent itself; the other one was not')
  a.do(sendMessage(['tick', 1]))
  b.do(sendFeedback(['tick', 2]))
  await network.run(10)
  t.strictSame([...a.takeTrace(), ...b.takeTrace()], ['["tick",2]', '["tick",1]'])
  await stop(a, b)
})

t.test('rule 6: without the carrier everything remote is absent after T; both sides of a split see it', async (t) => {
  const [network, a, b] = await two()
  b.listen(['tick', _])
  a.listen(['tick', _], 'participant', 'publisher')
  await network.run(10)
  a.takeTrace()
  b.takeTrace()
  a.carrier.setUp(false, new Error('the server is gone'))
  await network.run(T - 2 * H)
  t.strictSame(a.takeTrace(), [])
  a.carrier.setUp(true)
  await network.run(2 * H)
  t.strictSame([...a.takeTrace(), ...b.takeTrace()], [], 'a short time is not noticed')
  a.carrier.setUp(false, new Error('the server is gone'))
  await network.run(T + 2 * H)
  t.strictSame(a.takeTrace(), ['- ["tick",_] ENETSPLIT'])
  t.strictSame(b.takeTrace(), ['- ["tick",_] ENODELOST'])
  a.carrier.setUp(true)
  await network.run(3 * H)
  t.strictSame([...a.takeTrace(), ...b.takeTrace()], ['+ ["tick",_]', '+ ["tick",_]'])
  await stop(a, b)
})

t.test('rule 6: a link that works in one direction only is a split for both', async (t) => {
  const [network, a, b] = await two()
  b.listen(['tick', _])
  a.listen(['tick', _], 'participant', 'publisher')
  await network.run(2 * H)
  a.takeTrace()
  b.takeTrace()
  network.loses = (from) => from === 'a'
  await network.run(3 * T)
  t.match(a.takeTrace().join(), /^- \["tick",_\] E/)
  t.strictSame(b.takeTrace(), ['- ["tick",_] ENODELOST'])
  t.strictSame(a.monitor.peers.filter(({ up }) => up), [])
  network.loses = () => false
  await network.run(T)
  t.strictSame(b.takeTrace(), ['+ ["tick",_]'])
  t.equal(a.takeTrace().at(-1), '+ ["tick",_]')
  await stop(a, b)
})

for (const what of ['first', 'last'] as const) {
  t.test(`rule 7: messages are in order; a gap is absence, then presence, on both sides: the ${what} one is lost`,
    async (t) => {
      const [network, a, b] = await two()
      b.listen(['tick', _])
      a.listen(['tick', _], 'participant', 'publisher')
      await network.run(2 * H)
      a.takeTrace()
      b.takeTrace()
      let lost = false
      network.loses = (from, _to, packet) => {
        if (lost || from !== 'a' || packet[1] !== 2) return false
        return lost = true
      }
      a.do(sendMessage(['tick', 1]))
      await network.run(2)
      t.strictSame(b.takeTrace(), [])
      if (what === 'first') a.do(sendMessage(['tick', 2]))
      await network.run(4 * H)
      t.strictSame(b.takeTrace(), ['- ["tick",_] EGAP', '+ ["tick",_]'], 'what came after the gap is not heard')
      t.strictSame(a.takeTrace(), ['- ["tick",_] EGAP', '+ ["tick",_]'])
      t.equal(b.monitor.peers[0].gaps, 1)
      a.do(sendMessage(['tick', 3]), sendMessage(['tick', 4]))
      await network.run(2)
      t.strictSame(b.takeTrace(), ['["tick",3]', '["tick",4]'])
      await stop(a, b)
    })
}

t.test('rule 8: too many bytes for a slow peer cost it its session, and nobody else anything', async (t) => {
  const network = new Network()
  const options = { maxQueuedBytes: 262_144, lostAfterMs: 50 * H }
  const a = new Node(network, 'a', options)
  const b = new Node(network, 'b', options)
  const c = new Node(network, 'c', options)
  await network.run(20)
  a.listen(['room', _, _], 'participant', 'publisher')
  for (const node of [b, c]) node.do(endpoint.subscriber(['room', node.name, _], {
    onPresence: () => { node.trace.push('+') },
    onAbsence: (_topic, _state, reason) => { node.trace.push(`- ${(reason as { code: string }).code}`) },
    onMessage: ([, , body]) => { node.trace.push(String((body as string).length)) },
  }))
  await network.run(H)
  t.strictSame(a.takeTrace().sort(), ['+ ["room","b",_]', '+ ["room","c",_]'])
  b.takeTrace()
  c.takeTrace()
  for (let i = 0; i < 20; i++) {
    a.do(sendMessage(['room', 'c', 'x'.repeat(100_000)]))
    await network.run(5)
  }
  t.equal(c.takeTrace().length, 20, 'who reads gets more than the limit, all in all')
  b.carrier.frozen = true
  for (let i = 0; i < 4; i++) {
    a.do(sendMessage(['room', 'b', 'x'.repeat(100_000)]), sendMessage(['room', 'c', 'x'.repeat(100_000)]))
    await network.run(5)
  }
  t.strictSame(a.takeTrace(), ['- ["room","b",_] ENOBUFS'])
  const before = network.bytes
  await network.run(20 * H)
  t.ok(network.bytes - before < 20_000, 'nothing piles up for it')
  t.strictSame(c.takeTrace(), ['100000', '100000', '100000', '100000'])
  b.carrier.thaw()
  await network.run(5 * H)
  t.strictSame(a.takeTrace(), ['+ ["room","b",_]'])
  const heard = b.takeTrace()
  t.match(heard.join(), /^(100000,)*- EGAP,\+$/)
  await stop(a, b, c)
})

t.test('rule 8: what no queue has room for is not sent, and costs nobody a session', async (t) => {
  // The other side takes what this one may send, whatever its own options are.
  const network = new Network()
  const a = new Node(network, 'a', { maxQueuedBytes: 2 * 1024 * 1024 })
  const b = new Node(network, 'b', { maxQueuedBytes: 262_144 })
  await network.run(20)
  b.listen(['room', _, _])
  await network.run(20)
  const reasons: unknown[] = []
  const onLog = (record: unknown): void => {
    const { message, fields } = record as LogRecord
    if (message.includes("can't be")) reasons.push((fields.reason as { code?: string }).code)
    else reasons.push(message)
  }
  subscribe(LOG_CHANNEL, onLog)
  setLogLevel('warning')
  t.teardown(() => {
    unsubscribe(LOG_CHANNEL, onLog)
    setLogLevel('off')
  })
  const long = 'x'.repeat(2 * 1024 * 1024)
  a.do(endpoint.publisher(['room', long, _]), sendMessage(['room', 1, long]), sendMessage(['room', 1, 'after']))
  await network.run(20)
  t.strictSame(reasons, ['EMSGSIZE', 'EMSGSIZE'])
  t.strictSame(b.takeTrace(), ['["room",1,"after"]'])
  a.do(endpoint.publisher(['room', 'one', _]))
  a.do(endpoint.publisher(['room', long.slice(0, 2_000_000), _]))
  await network.run(20 * H)
  t.strictSame(b.takeTrace().map((line) => line.slice(0, 14)), ['+ ["room","one', '+ ["room","xxx'])
  a.do(sendMessage(['room', 1, long.slice(0, 2_000_000)]))
  await network.run(5 * H)
  t.strictSame(b.takeTrace().map((line) => line.length), [2_000_000 + '["room",1,""]'.length])
  b.publish(['room', 'two', _])
  a.listen(['room', 'two', _])
  await network.run(10)
  b.end(['room', 'two', _], 'y'.repeat(300_000))
  await network.run(5 * H)
  t.strictSame(a.takeTrace(), ['+ ["room","two",_]', '- ["room","two",_] EMSGSIZE'])
  for (const node of [a, b]) t.strictSame(node.monitor.peers.map(({ up, gaps }) => [up, gaps]), [[true, 0]])
  await stop(a, b)
})

t.test('rule 8: what the carrier says is queued counts as well', async (t) => {
  const [network, a, b] = await two()
  a.listen(['tick', _])
  b.do(endpoint.publisher(['tick', 1]))
  await network.run(10)
  a.takeTrace()
  a.carrier.setQueued('b', 17 * 1024 * 1024)
  await network.run(2 * H)
  t.strictSame(a.takeTrace(), ['- ["tick",1] ENOBUFS'])
  a.carrier.setQueued('b', 0)
  await network.run(4 * H)
  t.strictSame(a.takeTrace(), ['+ ["tick",1]'])
  await stop(a, b)
})

t.test('rule 8: a snapshot on its way to the carrier is not what may not wait', async (t) => {
  const network = new Network()
  const options = { maxQueuedBytes: 262_144 }
  const a = new Node(network, 'a', options)
  await network.run(1)
  const text = 'x'.repeat(1000)
  a.do(Array.from({ length: 500 }, (_v, i) => endpoint.publisher(['tick', `${text} ${i}`])))
  await network.run(H)
  const b = new Node(network, 'b', options)
  await network.run(1)
  b.listen(['tick', _])
  await network.run(3)
  // It is in the carrier, whose link is slow.
  a.carrier.setQueued('b', 510_000)
  await network.run(4 * H)
  a.carrier.setQueued('b', 0)
  await network.run(4 * H)
  const trace = b.takeTrace()
  t.strictSame(trace.filter((line) => line.startsWith('-')), [])
  t.equal(trace.length, 500)
  t.match(a.monitor.peers, [{ node: 'b', gaps: 0 }])
  // What comes beside it is.
  a.carrier.setQueued('b', 510_000 + 262_144)
  b.listen(['room', _, _], 'participant', 'publisher')
  await network.run(2 * H)
  t.equal(b.takeTrace().filter((line) => line.startsWith('- ["tick"')).length, 500)
  await stop(a, b)
})

t.test('rule 9: old endpoints of a node that is started again are absent before new ones appear', async (t) => {
  const [network, a, b] = await two()
  b.listen(['tick', _])
  a.do(endpoint.publisher(['tick', 'old']))
  await network.run(10)
  b.takeTrace()
  a.carrier.kill()
  const again = new Node(network, 'a')
  await network.run(1)
  again.do(endpoint.publisher(['tick', 'new']))
  await network.run(4 * H)
  t.strictSame(b.takeTrace(), ['- ["tick","old"] ENODELOST', '+ ["tick","new"]'])
  await stop(b, again, a)
})

t.test('a name used twice: the second one is refused, and the first one is not disturbed', async (t) => {
  const [network, a, b] = await two()
  b.listen(['tick', _])
  a.do(endpoint.publisher(['tick', 'first']))
  await network.run(10 * H)
  b.takeTrace()
  let reason: unknown
  const second = new Node(network, 'a')
  await network.run(1)
  second.do(endpoint.publisher(['tick', 'second']))
  setLogLevel('error')
  const hear = (record: unknown): void => {
    const { level, fields } = record as { level: string; fields: { reason?: unknown } }
    if (level === 'error') reason ??= fields.reason
  }
  subscribe(LOG_CHANNEL, hear)
  await network.run(5 * H)
  unsubscribe(LOG_CHANNEL, hear)
  setLogLevel('off')
  t.match(reason, { code: 'ENODEINUSE', node: 'a', message: /the name 'a' is another node's/ })
  t.strictSame(b.takeTrace(), [])
  a.do(endpoint.publisher(['tick', 'third']))
  await network.run(H)
  t.strictSame(b.takeTrace(), ['+ ["tick","third"]'])
  await stop(a, b, second)
})

t.test('a name used twice: one is refused, however alike the ages are, and however long beats take', async (t) => {
  for (const delay of [1, 40, 150]) {
    for (let between = 320; between <= 680; between += 30) {
      const network = new Network({ delay: [delay, delay] })
      const other = new Node(network, 'other')
      const first = new Node(network, 'a')
      await network.run(between)
      const second = new Node(network, 'a')
      await network.run(12 * H)
      // The relay has ended; without it the carrier has stopped.
      const refused = [first, second].filter(({ carrier }) => carrier.dead)
      t.equal(refused.length, 1, `started ${between} ms apart, a beat takes ${delay} ms`)
      if (between > 500 + delay) t.equal(refused[0], second)
      await stop(other, first, second)
    }
  }
})

t.test('two nodes that have lost each other at the same time find each other again, once', async (t) => {
  const [network, a, b] = await two()
  b.listen(['tick', _])
  a.listen(['tick', _], 'participant', 'publisher')
  await network.run(2 * H)
  for (let i = 0; i < 3; i++) {
    a.takeTrace()
    b.takeTrace()
    const lost = new Set<string>()
    network.loses = (from, _to, packet) => packet[1] === 2 && !lost.has(from) && lost.add(from).has(from)
    a.do(sendMessage(['tick', 1]))
    b.do(sendFeedback(['tick', 1]))
    await network.run(10 * H)
    network.loses = () => false
    for (const node of [a, b]) t.strictSame(node.takeTrace(), ['- ["tick",_] EGAP', '+ ["tick",_]'], node.name)
    await network.run(20 * H)
    t.strictSame([...a.takeTrace(), ...b.takeTrace()], [], 'and that is it')
  }
  await stop(a, b)
})

t.test('beats that have waited for a node are no reason to begin anew', async (t) => {
  const network = new Network()
  const a = new Node(network, 'a')
  await network.run(5)
  const b = new Node(network, 'b')
  b.carrier.frozen = true
  await network.run(4.5 * H)
  b.listen(['tick', _])
  a.do(endpoint.publisher(['tick', 1]))
  b.carrier.thaw()
  await network.run(4 * H)
  t.strictSame(b.takeTrace(), ['+ ["tick",1]'])
  t.equal(b.monitor.peers[0].gaps, 0)
  await stop(a, b)
})

t.test('items that are larger than a packet cross in parts', async (t) => {
  const [network, a, b] = await two({}, new Network({ maxPacket: 1024, delay: [1, 5] }))
  b.listen(['tick', _])
  await network.run(20)
  const long = 'x'.repeat(5000)
  a.do(sendMessage(['tick', 1]), sendMessage(['tick', long]), sendMessage(['tick', 2]),
    endpoint.publisher(['tick', long]))
  await network.run(20)
  t.strictSame(b.takeTrace(), ['["tick",1]', `["tick","${long}"]`, '["tick",2]', `+ ["tick","${long}"]`])
  await stop(a, b)
})

t.test('what can\'t cross is not seen elsewhere, and disturbs nothing', async (t) => {
  const [network, a, b] = await two()
  b.listen(['tick', _])
  await network.run(10)
  a.do(endpoint.publisher(['tick', () => undefined]), sendMessage(['tick', () => undefined]),
    endpoint.publisher(['tick', 1]), sendMessage(['tick', 2]))
  await network.run(10)
  t.strictSame(b.takeTrace(), ['+ ["tick",1]', '["tick",2]'])
  await stop(a, b)
})

t.test('a relay works in a nested VM, at any depth', async (t) => {
  const network = new Network()
  const a = new Node(network, 'a')
  const trace: string[] = []
  const carrier = network.carrier('b')
  const relay = relayBy({ node: 'b', carrier, topics: TOPICS, heartbeatMs: H, lostAfterMs: T }, network.clock())
  const vm = groundVm(() => nestedVm(() => [spawn(() => eventRelay()), nestedVm(() => [
    eventRelay(), relay,
    spawn(() => endpoint.subscriber(['tick', _], {
      onPresence: ([, n]) => { trace.push(`+ ${String(n)}`) },
      onAbsence: ([, n]) => { trace.push(`- ${String(n)}`) },
      onMessage: ([, n]) => [sendFeedback(['tick', `${String(n)} back`])],
    })),
    spawn(() => atMetaLevel(endpoint.subscriber(['tick', _]))),
  ])]))
  await network.run(20)
  a.listen(['tick', 1], 'participant', 'publisher')
  await network.run(20)
  t.strictSame(trace, ['+ 1'])
  t.strictSame(a.takeTrace(), ['+ ["tick",1]'], 'only the endpoint of its own VM')
  a.do(endpoint.publisher(['tick', _], { name: 'all', onMessage: ([, n]) => { a.trace.push(String(n)) } }),
    sendMessage(['tick', 1]), deleteEndpoint('nobody'))
  await network.run(20)
  t.ok(a.takeTrace().includes('1 back'))
  await vm.stop()
  await network.run(5)
  t.strictSame(a.takeTrace(), ['- ["tick",1] orderly'])
  await stop(a)
})

t.test('two relays in one VM: what comes by one does not go out by the other', async (t) => {
  const left = new Network()
  const right = new Network()
  const a = new Node(left, 'a')
  const c = new Node(right, 'c')
  const clock = left.clock()
  const vm = groundVm(() => [
    relayBy({ node: 'b', carrier: left.carrier('b'), topics: TOPICS }, clock),
    relayBy({ node: 'b', carrier: right.carrier('b'), topics: TOPICS }, right.clock()),
    spawn(() => endpoint.subscriber(['tick', _])),
  ])
  const both = async (msecs: number): Promise<void> => {
    await left.run(msecs)
    await right.run(msecs)
    await left.run(msecs)
  }
  await both(20)
  c.listen(['tick', _])
  a.listen(['tick', _], 'participant', 'publisher')
  await both(20)
  t.strictSame(a.takeTrace(), ['+ ["tick",_]'], 'the endpoint in between')
  a.do(sendMessage(['tick', 1]))
  await both(20)
  t.strictSame(c.takeTrace(), [])
  await vm.stop()
  await stop(a, c)
})

t.test('a carrier that throws ends its relay, and not the program', async (t) => {
  for (const method of ['send', 'queued', 'stop'] as const) {
    const [network, a, b] = await two({ heartbeatMs: H })
    b.listen(['tick', _])
    await network.run(20)
    const broken = a.carrier as unknown as Record<string, () => void>
    broken[method] = () => { throw new Error(`${method} is broken`) }
    a.do(sendMessage(['tick', 1]))
    await network.run(3 * H)
    a.do(endpoint.publisher(['tick', 2]))
    await network.run(3 * H)
    await stop(a, b)
    t.equal(a.failure, undefined, method)
  }
})

t.test('hostile packets throw nothing, and cost their node its session and nobody else anything', async (t) => {
  const network = new Network()
  const recorded: Uint8Array[] = []
  network.loses = (from, to, packet) => {
    if (from === 'a' && to === 'b') recorded.push(packet.slice())
    return false
  }
  const a = new Node(network, 'a')
  const b = new Node(network, 'b')
  const c = new Node(network, 'c')
  await network.run(20)
  b.listen(['tick', _])
  a.do(endpoint.publisher(['tick', 'a']), sendMessage(['tick', 1]))
  c.do(endpoint.publisher(['tick', 'c']))
  await network.run(3 * H)
  b.takeTrace()
  for (let i = 0; i < 3000; i++) {
    const original = recorded[Math.floor(network.random() * recorded.length)]
    const packet = original.slice(0, Math.ceil(network.random() * original.length))
    for (let n = Math.floor(network.random() * 4); n > 0; n--) {
      packet[Math.floor(network.random() * packet.length)] = Math.floor(network.random() * 256)
    }
    a.carrier.forge('b', packet)
    if (i % 100 === 0) await network.run(T)
  }
  await network.run(4 * T)
  const trace = b.takeTrace()
  t.notOk(trace.some((line) => line.includes('"c"')), 'the third one is not concerned')
  t.ok(trace.some((line) => line.startsWith('- ["tick","a"] E')))
  t.equal(trace.filter((line) => line.includes('"a"')).at(-1), '+ ["tick","a"]', 'in the end all is well')
  c.do(sendMessage(['tick', 'still there']))
  await network.run(10)
  t.strictSame(b.takeTrace(), ['["tick","still there"]'])
  await stop(a, b, c)
})

t.test('pieces that are no whole packets cost their node its session: each could keep much in memory', async (t) => {
  for (const length of [0, 1, 500]) {
    const network = new Network()
    let last: StreamPacket | undefined
    network.loses = (from, to, packet) => {
      const parsed = from === 'a' && to === 'b' ? parsePacket(packet) : undefined
      if (parsed?.kind === 'stream') last = parsed
      return false
    }
    const [a, b] = [new Node(network, 'a'), new Node(network, 'b')]
    await network.run(20)
    b.listen(['tick', _])
    a.do(endpoint.publisher(['tick', 'a']))
    await network.run(3 * H)
    b.takeTrace()
    const stream = last as unknown as StreamPacket
    a.carrier.forge('b', streamPacket({
      ...stream, seq: stream.seq + 1, continues: true, payload: new Uint8Array(length),
    }))
    await network.run(10)
    t.match(b.takeTrace()[0], /^- \["tick","a"\] EPROTO/, `${length} bytes`)
    await stop(a, b)
  }
})

t.test('a node that leaves and comes again and again has no more snapshots than one that stays', async (t) => {
  const network = new Network()
  const b = new Node(network, 'b')
  await network.run(20)
  for (let i = 0; i < 100; i++) b.publish(['tick', i])
  await network.run(3 * H)
  const hostile = network.carrier('a')
  let bytes = 0
  const nothing = (): void => undefined
  hostile.start({
    onUp: nothing, onDown: nothing, onGone: nothing, onFailed: nothing,
    onMessage: (_from, packet) => { bytes += packet.length },
  })
  await network.run(20)
  for (let epoch = 1; epoch <= 1000; epoch++) {
    hostile.forge('b', beatPacket({ epoch, age: 0, version: 1, digest: 0 }))
    hostile.forge('b', leavePacket(epoch))
    if (epoch % 100 === 0) await network.run(H / 10)
  }
  await network.run(H)
  const snapshot = 100 * Buffer.byteLength('["tick",99]')
  t.ok(bytes > snapshot / 2 && bytes < 5 * snapshot, `${bytes} bytes`)
  hostile.stop()
  const a = new Node(network, 'a')
  await network.run(20)
  a.listen(['tick', 7])
  await network.run(3 * H)
  t.strictSame(a.takeTrace(), ['+ ["tick",7]'], 'an honest one that comes then is told of all')
  await stop(a, b)
})

/** What is logged until the test ends. */
function warnings(t: Test): readonly string[] {
  const messages: string[] = []
  const hear = (record: unknown): void => { messages.push((record as LogRecord).message) }
  setLogLevel('warning')
  subscribe(LOG_CHANNEL, hear)
  t.teardown(() => {
    unsubscribe(LOG_CHANNEL, hear)
    setLogLevel('off')
  })
  return messages
}

t.test('no more nodes than maxNodes are heard; who has left makes room', async (t) => {
  const network = new Network()
  const messages = warnings(t)
  const hub = new Node(network, 'hub', { maxNodes: 2 })
  const others = ['a', 'b', 'c'].map((name) => new Node(network, name))
  await network.run(3 * H)
  const heard = (): string[] => hub.monitor.peers.map(({ node }) => node)
  t.equal(heard().length, 2)
  t.equal(messages.filter((message) => message.endsWith('is not heard: maxNodes is 2')).length, 1)
  const [out] = others.filter(({ name }) => !heard().includes(name))
  const [leaves, stays] = others.filter((node) => node !== out)
  await stop(leaves)
  await network.run(5 * H)
  t.strictSame(heard().sort(), [stays.name, out.name].sort())
  const forged = beatPacket({ epoch: 1, age: 0, version: 1, digest: 0 })
  for (let i = 0; i < 1000; i++) network.carrier(`forged ${i}`).forge('hub', forged)
  t.strictSame(heard().sort(), [stays.name, out.name].sort())
  t.equal(messages.length, 2)
  await stop(hub, stays, out)
})

t.test('who is lost makes room for another at once, though it is told for some time that it was', async (t) => {
  const network = new Network()
  const hub = new Node(network, 'hub', { maxNodes: 1 })
  const lost = new Node(network, 'lost')
  await network.run(3 * H)
  lost.carrier.kill()
  await network.run(2)
  hub.carrier.tellGone('lost')
  const next = new Node(network, 'next')
  await network.run(2 * H)
  t.strictSame(hub.monitor.peers.map(({ node }) => node), ['next'])
  await stop(hub, lost, next)
})

t.test('what can\'t be read of those that are no nodes is told of once in a while, however much it is', async (t) => {
  const network = new Network()
  const messages = warnings(t)
  const hub = new Node(network, 'hub')
  await network.run(3 * H)
  const flood = (): void => {
    for (let i = 0; i < 1000; i++) network.carrier(`no node ${i % 10}`).forge('hub', Uint8Array.of(99, i % 256))
  }
  flood()
  t.strictSame(messages, ['relay hub: node \'no node 0\' has sent what can\'t be read'])
  await network.run(T)
  flood()
  t.equal(messages.length, 2)
  await stop(hub)
})

t.test('a VM that has no room for an endpoint of a node: it is not there, and its node keeps all others', async (t) => {
  const before = topicLimits()
  t.teardown(() => { topicLimits(before) })
  const form = (i: number): unknown[] => Array.from({ length: 4 }, (_v, bit) => (i >> bit) % 2 === 0 ? bit : _)
  const [network, a, b] = await two()
  a.listen(['tick', _])
  b.do([1, 2, 3].map((i) => endpoint.publisher(['room', form(i), i])))
  b.publish(['tick', 'b'])
  await network.run(H)
  t.strictSame(a.takeTrace(), ['+ ["tick","b"]'])
  b.do([4, 5].map((i) => endpoint.publisher(['room', form(i), i])))
  await network.run(0.5)
  // The nodes are in one thread here: by now it has been told of these, and the other one has not heard of it.
  topicLimits({ forms: 1 })
  await network.run(10 * H)
  t.match(a.monitor.peers, [{ node: 'b', up: true, gaps: 0 }])
  t.strictSame(a.takeTrace(), [])
  topicLimits(before)
  b.end(['tick', 'b'])
  await network.run(H)
  t.strictSame(a.takeTrace(), ['- ["tick","b"] orderly'])
  await stop(a, b)
})

t.test('wrong options are told', async (t) => {
  const network = new Network()
  const carrier = network.carrier('a')
  const make = (options: object) => () => relayBy({ node: 'a', carrier, topics: TOPICS, ...options }, network.clock())
  t.throws(make({ node: '' }), { message: /relay: node must be a string of 1 to 255 characters; got ''/ })
  t.throws(make({ carrier: 5 }), { message: /relay: carrier must be a carrier/ })
  t.throws(make({ topics: [] }), { message: /relay: topics must be an array of topics/ })
  t.throws(make({ topics: [['a', _], [_, 'b']] }), { message: /topics\[1\] must be a topic that doesn't meet/ })
  t.throws(make({ lostAfterMs: 1500, heartbeatMs: 1000 }), { message: /lostAfterMs must be at least twice/ })
  t.throws(make({ carrier: { maxPacket: 1024, start: () => undefined, send: () => undefined } as never }), {
    message: /carrier must be a carrier \(start, send, queued, stop\)/,
  })
  t.throws(make({ maxQueuedBytes: 1 }), { message: /maxQueuedBytes must be an integer from/ })
  t.throws(make({ heartbeat: 1 }), { message: /unknown option 'heartbeat'; did you mean 'heartbeatMs'/ })
  t.throws(make({ topics: undefined }), { message: /topics must be given/ })
})

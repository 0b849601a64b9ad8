/**
 * Random histories of several nodes on a network that loses packets, is cut, freezes nodes, kills and restarts them.
 * Afterwards the network is left alone; then each endpoint must have exactly the peers that it has in the naive VM, in
 * which all processes are siblings, and a message of each node must reach exactly who it reaches there.
 *
 * On the way: nobody is told of more absences than presences, and what a stream of numbered messages brings between a
 * presence and an absence of its publisher has no hole.
 */
import fc from 'fast-check'
import {
  _, addEndpoint, eventSource, groundVm, quit, role, sendMessage, spawn, wild, Wildcard,
  type Action, type ActionTree, type EventSink, type GroundVm, type Role,
} from '../../src/index.js'
import { relayBy } from '../../src/relay/relay.js'
import { COUNTED, type Action as NaiveAction, type Event, type World } from '../model/naive-state.js'
import { fill } from '../model/naive-topic.js'
import { runNaive } from '../model/naive-vm.js'
import { type Interest, type Orientation, type Term } from '../model/program.js'
import { Network, type MemoryCarrier } from './network.js'

const H = 100
const T = 500
/** All topics of the test are instances of these, or of none that crosses. */
/** The kind of packets that carry endpoints and messages; see packet.ts. */
const STREAM = 2
const TOPICS = [['s', _], ['s', _, _], ['n', _, _]]

export interface EndpointPlan {
  readonly orientation: Orientation
  readonly interest: Interest
  readonly topic: Term
}

export type Step =
  | { readonly kind: 'add'; readonly node: number; readonly endpoint: EndpointPlan }
  | { readonly kind: 'delete'; readonly node: number; readonly which: number }
  | { readonly kind: 'send'; readonly node: number; readonly body: Term; readonly orientation: Orientation }
  | { readonly kind: 'number'; readonly node: number; readonly count: number }
  | { readonly kind: 'cut'; readonly a: number; readonly b: number; readonly both: boolean }
  | { readonly kind: 'heal' }
  /** The next packet of a stream from this node is lost. */
  | { readonly kind: 'drop'; readonly node: number }
  | { readonly kind: 'down' | 'freeze' | 'kill' | 'end' | 'start'; readonly node: number }
  | { readonly kind: 'lossy'; readonly share: number }
  | { readonly kind: 'wait'; readonly msecs: number }

export interface History {
  readonly seed: number
  readonly nodes: number
  readonly maxPacket: number
  readonly delay: number
  readonly steps: readonly Step[]
}

const part = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom<Term[]>('a', 1, 2) },
  { weight: 3, arbitrary: fc.constant<Term>({ any: true }) },
  { weight: 2, arbitrary: fc.constantFrom<Term[]>({ wild: 'X' }, { wild: 'Y' }) },
  { weight: 2, arbitrary: fc.constantFrom<Term[]>(['a', { any: true }], [1, 'a'], null, { bytes: [1, 2] }) },
)
const atom = fc.constantFrom<Term[]>('a', 1, 2, ['a', 2], [1, 'a'], null, { bytes: [1, 2] })
const topic = fc.oneof(
  { weight: 5, arbitrary: part.map((p): Term => ['s', p]) },
  { weight: 5, arbitrary: fc.tuple(part, part).map(([p, q]): Term => ['s', p, q]) },
  // This one doesn't cross.
  { weight: 1, arbitrary: part.map((p): Term => ['here', p]) },
)
const body = fc.oneof(
  atom.map((p): Term => ['s', p]), fc.tuple(atom, atom).map(([p, q]): Term => ['s', p, q]),
  atom.map((p): Term => ['here', p]),
)
const interest = fc.constantFrom<Interest[]>('participant', 'participant', 'participant', 'observer', 'everything')
const orientation = fc.constantFrom<Orientation[]>('publisher', 'subscriber')
const node = fc.nat({ max: 3 })
const constant = <K extends Step['kind']>(kind: K): fc.Arbitrary<K> => fc.constant(kind)

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 20, arbitrary: fc.record({
    kind: constant('add'), node, endpoint: fc.record({ orientation, interest, topic }),
  }) },
  { weight: 4, arbitrary: fc.record({ kind: constant('delete'), node, which: fc.nat({ max: 9 }) }) },
  { weight: 4, arbitrary: fc.record({ kind: constant('send'), node, body, orientation }) },
  { weight: 12, arbitrary: fc.record({ kind: constant('number'), node, count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: constant('cut'), a: node, b: node, both: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: constant('heal') }) },
  { weight: 4, arbitrary: fc.record({ kind: constant('drop'), node }) },
  { weight: 4, arbitrary: fc.record({
    kind: fc.constantFrom('down', 'freeze', 'kill', 'end', 'start', 'start' as const), node,
  }) },
  { weight: 1, arbitrary: fc.record({ kind: constant('lossy'), share: fc.constantFrom(0, 0.02, 0.2) }) },
  { weight: 10, arbitrary: fc.record({ kind: constant('wait'), msecs: fc.constantFrom(0, 1, 7, 60, 130, 700) }) },
)

export const history: fc.Arbitrary<History> = fc.record({
  seed: fc.nat({ max: 0xffffff }),
  nodes: fc.integer({ min: 2, max: 4 }),
  maxPacket: fc.constantFrom(1024, 65_536),
  delay: fc.constantFrom(1, 20),
  steps: fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }),
})

function value(term: Term): unknown {
  if (typeof term !== 'object' || term === null) return term
  if (Array.isArray(term)) return term.map((inner: Term) => value(inner))
  if ('any' in term) return _
  if ('wild' in term) return wild(term.wild)
  if ('bytes' in term) return Uint8Array.from(term.bytes)
  throw new Error('the test is wrong: a term that it does not have')
}

/** A topic as text, in canonical form. */
function text(shown: unknown): string {
  if (Array.isArray(shown)) return `(${shown.map(text).join(' ')})`
  if (shown instanceof Wildcard) return `?${String(shown.name)}`
  if (shown instanceof Uint8Array) return `#${shown.join('.')}`
  return typeof shown === 'string' ? JSON.stringify(shown) : String(shown)
}

/** The same of a term of the model. */
function termText(term: Term): string {
  if (Array.isArray(term)) return `(${term.map((inner: Term) => termText(inner)).join(' ')})`
  if (typeof term === 'object' && term !== null && 'wild' in term) return `?${term.wild}`
  if (typeof term === 'object' && term !== null && 'bytes' in term) return `#${term.bytes.join('.')}`
  return typeof term === 'string' ? JSON.stringify(term) : `${term as number | null}`
}

/** An endpoint of a process of its own, and what it was told. */
interface Living {
  readonly id: number
  readonly plan: EndpointPlan
  /** How many peers there are of each kind. */
  readonly peers: Map<string, number>
  heard: string[]
}

type Fail = (what: string) => void

class TestNode {
  readonly carrier: MemoryCarrier
  readonly vm: GroundVm
  readonly endpoints: Living[] = []
  #sink: EventSink<ActionTree> | undefined
  sent = 0
  numbered = 0
  frozen = false

  constructor(network: Network, readonly name: string, readonly start: number, fail: Fail) {
    const carrier = this.carrier = network.carrier(name)
    const control = eventSource<ActionTree>('control', (sink) => { this.#sink = sink })
    this.vm = groundVm(() => [
      spawn(() => addEndpoint('control', role('subscriber', [control, _]), {
        onMessage: ([, actions]: [unknown, ActionTree]) => actions,
      }), { essential: true }),
      relayBy({
        node: name, carrier, topics: TOPICS, heartbeatMs: H, lostAfterMs: T,
      }, network.clock(() => carrier.frozen)),
      spawn(() => [
        addEndpoint('own', role('publisher', ['n', name, _]), {}),
        addEndpoint('numbers', role('subscriber', ['n', _, _]), this.#numbers(fail)),
      ]),
    ])
    this.vm.catch((error: unknown) => { fail(`node ${name} fails: ${String(error)}`) })
  }

  /** Messages `['n', node, [start, number]]` of all nodes: between presence and absence without a hole. */
  #numbers(fail: Fail): object {
    const present = new Map<string, { start: number; last: number } | undefined>()
    return {
      onPresence: ([, from]: [unknown, unknown]) => {
        if (typeof from !== 'string' || from === this.name) return
        if (present.has(from)) fail(`${this.name} hears of ${from} twice`)
        present.set(from, undefined)
      },
      onAbsence: ([, from]: [unknown, unknown]) => {
        if (typeof from !== 'string' || from === this.name) return
        if (!present.delete(from)) fail(`${this.name} hears of the absence of ${from}, which was not there`)
      },
      onMessage: ([, from, [start, number]]: [unknown, string, [number, number]]) => {
        if (from === this.name) return
        if (!present.has(from)) return
        this.numbered++
        const last = present.get(from)
        if (last !== undefined && (last.start !== start || last.last + 1 !== number)) {
          fail(`${this.name} hears ${start}/${number} of ${from} after ${last.start}/${last.last}`)
        }
        present.set(from, { start, last: number })
      },
    }
  }

  do(...actions: Action[]): void {
    this.#sink?.fire(actions)
  }

  add(id: number, plan: EndpointPlan, fail: Fail): void {
    const living: Living = { id, plan, peers: new Map(), heard: [] }
    this.endpoints.push(living)
    const key = (meeting: unknown, peer: Role): string => `${peer.orientation} ${peer.interest} ${text(meeting)}`
    const count = (change: number) => (meeting: unknown, peer: Role): void => {
      const now = (living.peers.get(key(meeting, peer)) ?? 0) + change
      if (now < 0) fail(`${this.name}: more absences than presences of ${key(meeting, peer)}`)
      if (now === 0) living.peers.delete(key(meeting, peer))
      else living.peers.set(key(meeting, peer), now)
    }
    this.do(spawn(() => [
      addEndpoint('it', role(plan.orientation, value(plan.topic), plan.interest), {
        onPresence: (meeting: unknown, _state, peer) => { count(1)(meeting, peer) },
        onAbsence: (meeting: unknown, _state, _reason, peer) => { count(-1)(meeting, peer) },
        onMessage: (message: unknown) => { living.heard.push(text(message)) },
      }),
      addEndpoint('end', role('subscriber', ['end', id]), { onMessage: () => quit() }),
    ]))
  }

  remove(which: number): void {
    if (this.endpoints.length === 0) return
    const [living] = this.endpoints.splice(which % this.endpoints.length, 1)
    this.do(sendMessage(['end', living.id]))
  }

  send(message: Term, way: Orientation): void {
    this.do(sendMessage(value(message), way))
  }

  number(count: number): void {
    const actions: Action[] = []
    for (let i = 0; i < count; i++) actions.push(sendMessage(['n', this.name, [this.start, ++this.sent]]))
    this.do(...actions)
  }
}

export interface Outcome {
  readonly wrong: string | undefined
  readonly counts: Readonly<Record<string, number>>
}

/** Runs a history. @returns what went wrong */
export async function runHistory({ seed, nodes: count, maxPacket, delay, steps }: History): Promise<Outcome> {
  const network = new Network({ seed, delay: [1, delay], maxPacket })
  const counts: Record<string, number> = {}
  const tally = (what: string, n = 1): void => { counts[what] = (counts[what] ?? 0) + n }
  let wrong: string | undefined
  const fail: Fail = (what) => { wrong ??= `at ${network.now}: ${what}` }
  const cuts = new Set<string>()
  let share = 0
  const drops = new Set<string>()
  network.loses = (from, to, packet) => {
    const dropped = packet[1] === STREAM && drops.delete(from)
    const lost = dropped || cuts.has(`${from}>${to}`) || network.random() < share
    if (lost) tally('lost')
    return lost
  }
  let starts = 0
  let ids = 0
  const nodes: (TestNode | undefined)[] = []
  const dead: TestNode[] = []
  const begin = (i: number): void => { nodes[i] = new TestNode(network, `node ${i}`, ++starts, fail) }
  const heal = (): void => {
    cuts.clear()
    drops.clear()
    share = 0
    for (const each of nodes) {
      each?.carrier.setUp(true)
      if (each !== undefined && each.carrier.frozen) each.carrier.thaw()
    }
  }
  for (let i = 0; i < count; i++) begin(i)
  await network.run(5)
  for (const each of steps) {
    const at = 'node' in each ? each.node % count : 0
    const one = nodes[at]
    tally(each.kind)
    switch (each.kind) {
      case 'add': one?.add(++ids, each.endpoint, fail); break
      case 'delete': one?.remove(each.which); break
      case 'send': one?.send(each.body, each.orientation); break
      case 'number': one?.number(each.count); break
      case 'cut': {
        cuts.add(`node ${each.a % count}>node ${each.b % count}`)
        if (each.both) cuts.add(`node ${each.b % count}>node ${each.a % count}`)
        break
      }
      case 'heal': heal(); break
      case 'drop': drops.add(`node ${at}`); break
      case 'lossy': share = each.share; break
      case 'down': one?.carrier.setUp(false); break
      case 'freeze': if (one !== undefined) one.carrier.frozen = true; break
      case 'kill':
        if (one === undefined) break
        one.carrier.kill()
        dead.push(one)
        nodes[at] = undefined
        break
      case 'end':
        if (one === undefined || one.carrier.frozen) break
        nodes[at] = undefined
        await one.vm.stop()
        break
      case 'start':
        if (one !== undefined) break
        begin(at)
        await network.run(0)
        break
      case 'wait': await network.run(each.msecs); break
    }
  }
  heal()
  await network.run(4 * T + 20 * H)
  const living = nodes.filter((each) => each !== undefined)
  for (const each of living) for (const one of each.endpoints) one.heard = []
  living.forEach((each, i) => {
    each.do(...PROBES.map(([message, way]) => sendMessage(value(withNode(message, i)), way)))
  })
  await network.run(H)
  const expected = naively(living)
  for (const each of living) {
    for (const one of each.endpoints) {
      const { peers, heard } = expected.get(one.id) ?? { peers: new Map<string, number>(), heard: [] as string[] }
      for (const n of peers.values()) tally('peers', n)
      tally('heard', heard.length)
      const about = `${each.name}, ${one.plan.orientation} ${one.plan.interest} of ${termText(one.plan.topic)}`
      compare(fail, `${about}: peers`, [...one.peers].map(String), [...peers].map(String))
      compare(fail, `${about}: messages`, one.heard, heard)
    }
  }
  for (const each of [...living, ...dead]) {
    tally('numbered', each.numbered)
    each.carrier.thaw()
    await each.vm.stop()
  }
  return { wrong, counts }
}

function compare(fail: Fail, about: string, got: readonly string[], expected: readonly string[]): void {
  const [a, b] = [got, expected].map((list) => [...list].sort().join('; '))
  if (a !== b) fail(`${about}: ${a}, and not ${b}`)
}

/** What each node sends in the end; the last part is the node. */
const PROBES: readonly (readonly [Term, Orientation])[] = [
  [['s', 'a'], 'publisher'], [['s', 1, 'node'], 'publisher'], [['s', ['a', 2], 'node'], 'subscriber'],
  [['s', 2], 'subscriber'], [['here', 1], 'publisher'],
]

const withNode = (message: Term, i: number): Term =>
  (message as readonly Term[]).map((inner) => inner === 'node' ? (i % 2) + 1 : inner)

/**
 * The same endpoints and probes in one naive VM. What doesn't cross is there under the name of its node.
 */
function naively(nodes: readonly TestNode[]): Map<number, { peers: Map<string, number>; heard: string[] }> {
  const found = new Map<number, { peers: Map<string, number>; heard: string[] }>()
  const world: World = {
    order: (serial) => serial, serials: 0, ids: 0,
    counts: Object.fromEntries(COUNTED.map((what) => [what, 0])) as World['counts'],
  }
  const local = (term: Term, i: number): Term =>
    Array.isArray(term) && term[0] === 'here' ? [`here ${i}`, ...(term as readonly Term[]).slice(1)] : term
  const adds: NaiveAction[] = []
  const sends: NaiveAction[] = []
  nodes.forEach((each, i) => {
    for (const { id, plan } of each.endpoints) {
      const told = { peers: new Map<string, number>(), heard: [] as string[] }
      found.set(id, told)
      const { orientation: side, interest: kind } = plan
      adds.push({
        kind: 'add', name: id, role: { orientation: side, interest: kind, topic: fill(local(plan.topic, i), null) },
        handlers: {
          presence: ({ role: peer }: Event) => {
            const key = `${peer.orientation} ${peer.interest} ${unlocal(termText(peer.topic))}`
            told.peers.set(key, (told.peers.get(key) ?? 0) + 1)
            return undefined
          },
          message: ({ role: { topic: message } }: Event) => {
            told.heard.push(unlocal(termText(message)))
            return undefined
          },
        },
      })
    }
    for (const [message, way] of PROBES) {
      sends.push({ kind: 'send', body: fill(local(withNode(message, i), i), null), orientation: way })
    }
  })
  const process = (actions: readonly NaiveAction[]): NaiveAction =>
    ({ kind: 'spawn', boot: () => actions, nested: false, parent: undefined, path: [] })
  // Each endpoint has a process of its own; all are there before the probes are sent.
  const yielding: NaiveAction = { kind: 'yield', run: () => [process(sends)], path: [] }
  runNaive(world, () => [...adds.map((add) => process([add])), yielding])
  return found
}

const unlocal = (shown: string): string => shown.replace(/"here \d+"/, '"here"')

/** The routing index against a linear scan with `meet`. */
import fc, { type Arbitrary } from 'fast-check'
import t from 'tap'
import {
  _, AtomTable, defineRecord, isLinear, meet, NO_MEETING, RoutingIndex, wild,
} from '../../src/topic/index.js'
import { crowded, message, topic } from './arbitraries.js'
import { Entry } from './entry.js'

type Command =
  | readonly ['add', topic: unknown, receives: boolean]
  | readonly ['remove' | 'toggle', which: number]
  | readonly ['message' | 'peers', topic: unknown]

const commands = (stored: Arbitrary<unknown>, asked: Arbitrary<unknown>, adds: number): Arbitrary<Command> =>
  fc.oneof(
    { weight: adds, arbitrary: fc.tuple(fc.constant('add' as const), stored, fc.boolean()) },
    { weight: 2, arbitrary: fc.tuple(fc.constantFrom('remove' as const, 'toggle' as const), fc.nat(1000)) },
    { weight: 3, arbitrary: fc.tuple(fc.constantFrom('message' as const, 'peers' as const), asked) },
  )

/** The index and the plain list that it is compared with. */
class Both {
  readonly table = new AtomTable()
  readonly index = new RoutingIndex<Entry>(this.table)
  readonly list: Entry[] = []

  do(command: Command): boolean {
    switch (command[0]) {
      case 'add':
        this.add(new Entry(command[1], command[2]))
        break
      case 'remove':
        if (this.list.length > 0) this.remove(this.pick(command[1]))
        break
      case 'toggle': {
        const entry = this.pick(command[1])
        if (entry !== undefined) this.index.setReceives(entry, !entry.receives)
        break
      }
      case 'message':
        return this.agreesOnReceivers(command[1])
      case 'peers':
        return this.agreesOnPeers(command[1])
    }
    return this.index.size === this.list.length
  }

  add(entry: Entry): void {
    this.index.add(entry)
    this.list.push(entry)
  }

  remove(entry: Entry | undefined): void {
    if (entry === undefined) return
    this.index.remove(entry)
    this.list.splice(this.list.indexOf(entry), 1)
  }

  clear(): boolean {
    while (this.list.length > 0) this.remove(this.list[0])
    return this.table.size === 0 && this.index.size === 0
  }

  agreesOnReceivers(body: unknown): boolean {
    const found: Entry[] = []
    const count = this.index.receivers(body, found)
    const expected = this.list.filter((entry) => entry.receives && meet(body, entry.topic) !== NO_MEETING)
    return count === expected.length && sameSet(found.slice(0, count), expected)
  }

  /**
   * All that meet must be found, none twice. What doesn't meet may be found because of a repeated
   * wildcard, or in a shape of few entries.
   *
   * @param exact whether there are many entries, so that only repeated wildcards excuse
   */
  agreesOnPeers(query: unknown, exact = false): boolean {
    const found: Entry[] = []
    this.index.peers(query, found)
    if (new Set(found).size !== found.length) return false
    const meeting = this.list.filter((entry) => meet(query, entry.topic) !== NO_MEETING)
    const wrong = found.filter((entry) => !meeting.includes(entry))
    if (exact && wrong.some((entry) => entry.linear && isLinear(query))) return false
    return meeting.every((entry) => found.includes(entry))
  }

  private pick(which: number): Entry | undefined {
    return this.list[which % this.list.length]
  }
}

const sameSet = (a: readonly Entry[], b: readonly Entry[]): boolean =>
  new Set(a).size === b.length && b.every((entry) => a.includes(entry))

interface Size {
  readonly adds: number
  readonly length: number
  readonly runs: number
}

function check(stored: Arbitrary<unknown>, asked: Arbitrary<unknown>, { adds, length, runs }: Size): void {
  fc.assert(
    fc.property(
      fc.array(commands(stored, asked, adds), { maxLength: length, size: 'max' }),
      (list) => {
        const both = new Both()
        return list.every((command) => both.do(command)) && both.clear()
      },
    ),
    { numRuns: runs },
  )
}

t.test('any topics, any messages, any queries', async () => {
  check(topic, fc.oneof(message, topic), { adds: 6, length: 120, runs: 300 })
})

t.test('many topics of few forms: the join tables are used and kept up to date', async () => {
  check(crowded, crowded, { adds: 12, length: 400, runs: 60 })
})

t.test('the join tables are exact where no wildcard is repeated', async (t) => {
  const both = new Both()
  for (let a = 0; a < 6; a++) for (let b = 0; b < 6; b++) both.add(new Entry(['k', a, [b, _], b]))
  const queries = [
    ['k', 3, _, _], ['k', _, _, 4], [_, 2, [1, _], _], ['k', _, [_, 'x'], 2], [_, _, [_, _], _],
    ['k', 2, [_, 1], 3], ['k', _, 7, _], ['k', 9, _, _], ['k', wild(0), wild(1), wild(2)],
    ['k', 1, [1, 1], 1], ['k', _, [_, _, _], _], ['k', _, '12', _],
  ]
  const ask = (): void => {
    for (const query of queries) t.ok(both.agreesOnPeers(query, true))
  }
  ask()
  for (const entry of both.list.slice(0, 12)) both.remove(entry)
  ask()
  for (let i = 0; i < 30; i++) both.add(new Entry(['k', i % 7, [i % 3, _], i % 5]))
  ask()
  for (const entry of both.list.filter((_entry, i) => i % 2 === 0)) both.remove(entry)
  ask()
  t.ok(both.clear())
})

t.test('what one topic has asked for makes no other one find more: keys behind the second differ, too', async (t) => {
  const kinds = ['b', 'c'].map((label) => defineRecord(`third-${label}`, ['x']))
  for (const order of [[0, 1], [1, 0]]) {
    const both = new Both()
    for (let i = 0; i < 30; i++) both.add(new Entry([_, _, kinds[0](_)]))
    const asking = new RoutingIndex<Entry>(both.table)
    for (const which of order) {
      const entry = new Entry([1, 2, kinds[which](3)])
      asking.add(entry)
      const found: Entry[] = []
      both.index.peersOf(entry, found)
      t.equal(found.length, which === 0 ? 30 : 0)
    }
  }
})

t.test('queries with wildcards below a constructor where the entries are ground', async (t) => {
  const both = new Both()
  for (let i = 0; i < 40; i++) both.add(new Entry(['k', i % 2 === 0 ? [i % 4, i] : i % 4, i]))
  const queries = [
    ['k', [_, 4], _], ['k', [2, _], _], ['k', [_, _], 6], ['k', [_], _], ['k', 1, _], [_, [0, 4], 4],
  ]
  for (const query of queries) {
    t.ok(both.agreesOnPeers(query, true))
  }
  t.ok(both.clear())
})

t.test('a string has parts only in JavaScript: it never meets an array', async (t) => {
  const both = new Both()
  for (let i = 0; i < 40; i++) both.add(new Entry(['k', ['a', _], i]))
  for (const query of [['k', 'ab', _], ['k', 'a', _], ['k', { 0: 'a', length: 2 }, _]]) {
    t.ok(both.agreesOnPeers(query, true))
  }
  t.ok(both.clear())
})

t.test('records of one label and two arities, and of two definitions', async (t) => {
  const two = defineRecord('index-test', ['a', 'b'])
  const again = defineRecord('index-test', ['a', 'b'])
  const three = defineRecord('index-test', ['a', 'b', 'c'])
  const both = new Both()
  for (const topic of [two(1, _), again(_, 2), three(1, _, _), [two(1, 2), _], _]) both.add(new Entry(topic))
  const bodies = [two(1, 2), again(1, 3), three(1, 2, 3), [again(1, 2), 0], two(_, 2), ['index-test', 1, 2]]
  for (const body of bodies) t.ok(both.agreesOnReceivers(body))
  t.ok(both.clear())
})

t.test('the same topic many times: removal from the middle of a bucket', async (t) => {
  for (const topic of ['atom', ['k'], ['k', 1, _], [_, _], _, [1, 2], [['deep', _], 'x']]) {
    const both = new Both()
    const entries = Array.from({ length: 50 }, () => new Entry(topic))
    for (const entry of entries) both.add(entry)
    const bodies = ['atom', ['k'], ['k', 1, 2], [1, 2], [['deep', 0], 'x']]
    for (const [i, entry] of entries.entries()) {
      if (i % 3 === 0) both.remove(entry)
      else if (i % 3 === 1) both.index.setReceives(entry, false)
    }
    t.ok(bodies.every((body) => both.agreesOnReceivers(body)))
    for (const entry of both.list) both.index.setReceives(entry, true)
    t.ok(bodies.every((body) => both.agreesOnReceivers(body)))
    t.ok(both.clear())
  }
})

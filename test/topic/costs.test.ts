/**
 * What topics cost that a stranger chose: it grows with their size and no faster, nothing overflows the stack, and
 * what is beyond the limits is refused with an error that says so.
 */
import { inspect } from 'node:util'
import t from 'tap'
import {
  _, canonical, defineRecord, isGround, isSpecialization, meet, NO_MEETING, topicLimits, wild,
} from 'marketplace-native'
import { AtomTable, equal, examine, mapKey, RoutingIndex, sameTopic, snapshot } from '../../src/topic/index.js'
import { SkeletonTable } from '../../src/topic/skeleton.js'
import { Entry } from './entry.js'

const box = defineRecord('costs-test-box', ['content'])
const pair = defineRecord('costs-test-pair', ['left', 'right'])

/**
 * The time of a call, in microseconds: the least of many, as others are at work too. Not its CPU time: that has the
 * threads of the garbage collector in it, which spin when they are held up.
 */
function cost(call: () => unknown): number {
  let least = Infinity
  for (let i = 0; i < 50; i++) {
    const before = performance.now()
    call()
    least = Math.min(least, 1000 * (performance.now() - before))
  }
  return least
}

/**
 * Four times the size is to cost about as much as four times the same; with the square it would be four times that.
 * Both take about as long: a busy machine gives what is over soon all of its time, and what takes longer a share.
 */
const LINEAR = 2.25

function growsLinearly(what: string, make: (n: number) => () => unknown, n = 200): void {
  t.test(`linear: ${what}`, async (t) => {
    const repeated = (call: () => unknown, times: number) => () => { for (let i = 0; i < times; i++) call() }
    const [small, large] = [make(n), make(4 * n)]
    for (let i = 0; i < 20; i++) small() // so that it is compiled
    let [fourSmall, oneLarge] = [Infinity, Infinity]
    for (let tries = 0; tries < 4 && !(oneLarge < LINEAR * Math.max(fourSmall, 80)); tries++) {
      fourSmall = Math.min(fourSmall, cost(repeated(small, 12)))
      oneLarge = Math.min(oneLarge, cost(repeated(large, 3)))
    }
    const text = `four of a size ${fourSmall.toFixed(0)} us, one of four times the size ${oneLarge.toFixed(0)} us`
    t.ok(oneLarge < LINEAR * Math.max(fourSmall, 80), text)
  })
}

const listOf = (n: number, end: unknown, level: (i: number) => unknown = (i) => i): unknown => {
  let list = end
  for (let i = 0; i < n; i++) list = [level(i), list]
  return list
}
const boxes = (n: number, content: unknown): unknown => {
  let value = content
  for (let i = 0; i < n; i++) value = box(value)
  return value
}

const use = (topics: readonly unknown[], bodies: readonly unknown[]) => () => {
  const atoms = new AtomTable()
  const [index, peers] = [new RoutingIndex<Entry>(atoms), new RoutingIndex<Entry>(atoms)]
  const entries = topics.map((topic) => new Entry(snapshot(topic)))
  for (const entry of entries) index.add(entry)
  for (const entry of entries) peers.peersOf(entry, [])
  for (const body of bodies) index.receivers(body, [])
  for (const body of bodies) index.peers(body, [])
  for (const entry of entries) index.remove(entry)
}

growsLinearly('a wildcard at depth n, in the index', (n) => use([listOf(n, _)], [listOf(n, 'end')]))
growsLinearly('a wildcard at each of n levels, in the index', (n) =>
  use([listOf(n, [], () => _)], [listOf(n, [])]))
growsLinearly('a ground value of depth n, in the index', (n) =>
  use([['k', listOf(n, [])]], [['k', listOf(n, [])]]))
growsLinearly('nested records, in the index', (n) => use([boxes(n, _), boxes(n, 1)], [boxes(n, 1)]))
growsLinearly('n parts, in the index', (n) =>
  use([Array.from({ length: n }, (_value, i) => (i % 2 === 0 ? _ : i))], [Array.from({ length: n }, () => 1)]), 2000)
growsLinearly('a query of depth n among many entries', (n) => {
  const atoms = new AtomTable()
  const index = new RoutingIndex<Entry>(atoms)
  for (let i = 0; i < 20; i++) index.add(new Entry([i, listOf(n, _)]))
  const query = [_, listOf(n, [3, _])]
  return () => { index.peers(query, []) }
})
growsLinearly('meetings', (n) => {
  const [a, b] = [listOf(n, _), listOf(n, 'end', () => _)]
  return () => meet(a, b)
})
growsLinearly('unification of n wildcards', (n) => {
  const names = Array.from({ length: n }, (_value, i) => wild(`v${i}`))
  const [a, b] = [listOf(n, [], (i) => names[i]), listOf(n, [], (i) => names[(i * 7) % n])]
  return () => meet([a, a], [b, b])
})
growsLinearly('specialization, renumbering', (n) => {
  const [a, b] = [listOf(n, 'end', () => wild('x')), listOf(n, _, () => wild('y'))]
  return () => [isSpecialization(a, b), canonical(a), sameTopic(a, b)]
})
growsLinearly('snapshots', (n) => {
  const value = boxes(n, Buffer.from('bytes'))
  return () => snapshot(value)
})
growsLinearly('keys, groundness, equality', (n) => {
  const [a, b] = [listOf(n, 'end'), listOf(n, 'end')]
  return () => [mapKey(a), isGround(a), equal(a, b)]
})

/* A few levels more and these cost the double before: to the power of n. */
growsLinearly('snapshots of few nested records around bytes', (n) => {
  const value = boxes(n, Buffer.from('bytes'))
  return () => snapshot(value)
}, 5)
growsLinearly('unification of which the result doubles at each level', (n) => {
  const vars = Array.from({ length: n + 1 }, (_value, i) => wild(`v${i}`))
  const [lower, upper] = [vars.slice(0, n), vars.slice(1)]
  const [left, right] = [[...upper, ...lower], [...lower.map((variable) => [variable, variable]), ...lower]]
  return () => meet(left, right)
}, 5)
growsLinearly('equality of what shares its parts', (n) => {
  const doubled = (): unknown => {
    let value: unknown = 'end'
    for (let i = 0; i < n; i++) value = [value, value]
    return value
  }
  const [a, b] = [doubled(), doubled()]
  return () => [equal(a, b), isGround(a)]
}, 15)

t.test('a part that no topic has in its place costs a message nothing, however large it is', async (t) => {
  const atoms = new AtomTable()
  const [index, other] = [new RoutingIndex<Entry>(atoms), new RoutingIndex<Entry>(atoms)]
  index.add(new Entry([_, box('here')]))
  index.add(new Entry([box('here'), pair(_, _)]))
  const numbers = (n: number) => Array.from({ length: n }, (_value, i) => i)
  // Values of these constructors are mentioned, but elsewhere.
  const [little, large] = [numbers(10), numbers(10_000)]
  for (const value of [little, large]) other.add(new Entry([[...value.slice(1), 'other'], _]))
  const used = (part: unknown) => cost(() => {
    let found = 0
    for (let i = 0; i < 1000; i++) found += index.receivers([box('here'), part], [])
    return found
  })
  used(little)
  const [few, many] = [used(little), used(large)]
  t.ok(many < 9 * Math.max(few, 1000), `${few} us, a thousand times the size ${many} us`)
})

t.test('shared wildcards: the meeting is right, and its parts are shared', async (t) => {
  const n = 60
  const vars = Array.from({ length: n + 1 }, (_value, i) => wild(`v${i}`))
  // v1 is (w0, w0) and w0 is v0, v2 is (w1, w1) and w1 is v1, and so on: each contains the one before twice.
  const doubling = meet(
    [...vars.slice(1), ...vars.slice(0, n)],
    [...vars.slice(0, n).map((v) => [v, v]), ...vars.slice(0, n)],
  ) as unknown[]
  t.not(doubling, NO_MEETING)
  let value: unknown = doubling[n - 1]
  for (let i = 0; i < n; i++) {
    const [left, right] = value as unknown[]
    t.equal(left, right)
    value = left
  }
  t.equal(value, wild(0))
  t.equal(meet(
    [...vars.slice(1), ...vars.slice(0, n), vars[n]],
    [...vars.slice(0, n).map((v) => [v, v]), ...vars.slice(0, n), vars[0]],
  ), NO_MEETING, 'a wildcard would contain itself')
})

t.test('what exceeds a limit is refused, and the error says which limit and what came', async (t) => {
  const cyclic: unknown[] = []
  cyclic.push(box(cyclic))
  const cases: readonly (readonly [value: unknown, message: RegExp])[] = [
    [listOf(1001, _), /at most 1000 levels \(topicLimits: depth\); more came, in an array of 2 parts/],
    [boxes(1001, 1), /at most 1000 levels .* a record costs-test-box of 1 parts/],
    [new Array(65_537).fill(1), /at most 65536 parts \(topicLimits: parts\)/],
    [new Array(4_000_000_000), /at most 65536 parts/],
    [[Buffer.alloc(4 * 1024 * 1024 + 1)], /at most 4194304 bytes and characters \(topicLimits: bytes\)/],
    [['x'.repeat(3_000_000), 'y'.repeat(3_000_000)], /topicLimits: bytes/],
    [[2n ** 20_000_000n], /topicLimits: bytes/],
    [cyclic, /can't contain itself/],
  ]
  for (const [value, message] of cases) {
    const expected = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message: message as unknown as string }
    for (const call of [examine, snapshot, canonical, mapKey]) t.throws(() => call(value), expected, call.name)
    t.throws(() => meet(value, _), expected)
    t.throws(() => meet(_, value), expected)
    t.throws(() => isSpecialization(value, _), expected)
  }
  const wide = Array.from({ length: 22 }).reduce<unknown>((value) => [value, value], 1)
  const parts = { message: /topicLimits: parts/ as unknown as string }
  t.throws(() => examine(wide), parts, 'what is shared counts each time')
  t.doesNotThrow(() => examine(listOf(1000, _)))
  t.doesNotThrow(() => examine(new Array(65_536).fill(1)))
})

t.test('a message of any size finds its receivers: only what topics mention is looked at', async (t) => {
  const index = new RoutingIndex<Entry>()
  const open = new Entry(['k', _, _])
  for (const entry of [open, new Entry(['k', ['a', 1], _]), new Entry(['k', wild('x'), wild('x')])]) index.add(entry)
  const receivers = (body: unknown): Entry[] => {
    const found: Entry[] = []
    return found.slice(0, index.receivers(body, found))
  }
  const cyclic: unknown[] = ['a']
  cyclic.push(cyclic)
  const deep = listOf(20_000, 'end')
  for (const large of [cyclic, deep, ['a', deep], ['a', Buffer.alloc(5_000_000)]]) {
    t.strictSame(receivers(['k', large, 1]).map(({ topic }) => topic), [open.topic])
    t.strictSame(receivers(['k', large, large]).length, 2)
  }
  t.strictSame(receivers(['k', deep, listOf(20_000, 'end')]).length, 2)
  t.strictSame(receivers(['k', deep, listOf(20_000, 'other')]).length, 1)
  t.throws(() => receivers(['k', listOf(2000, _), 1]), { message: /topicLimits: depth/ as unknown as string },
    'with a wildcard where a topic has a value it is a topic')
})

t.test('limits are checked, changed and given', async (t) => {
  const before = topicLimits()
  t.strictSame(before, { depth: 1000, parts: 65_536, bytes: 4_194_304, forms: 4096 })
  t.throws(() => topicLimits({ deep: 1 } as never), { message: /unknown option 'deep'/ as unknown as string })
  t.throws(() => topicLimits({ depth: 0 }), { name: 'RangeError' })
  t.throws(() => topicLimits({ depth: '5' as never }), { name: 'TypeError' })
  t.strictSame(topicLimits(), before, 'all or nothing')
  const index = new RoutingIndex<Entry>()
  const deep = new Entry(snapshot([listOf(100, 'end'), listOf(100, _), listOf(100, 'other')]))
  index.add(deep)
  topicLimits({ depth: 3 })
  t.throws(() => examine([[[[]]]]), { message: /at most 3 levels/ as unknown as string })
  index.remove(deep)
  t.equal(index.size, 0, 'what is in is found again')
  topicLimits(before)
})

t.test('forms of topics: so many of one constructor, then an error, and room again when some go', async (t) => {
  const before = topicLimits()
  topicLimits({ forms: 10 })
  const atoms = new AtomTable()
  const index = new RoutingIndex<Entry>(atoms)
  const form = (i: number): unknown[] =>
    ['k', ...Array.from({ length: 6 }, (_value, bit) => ((i >> bit) & 1) === 1 ? _ : bit)]
  const entries = Array.from({ length: 10 }, (_value, i) => new Entry(form(i)))
  for (const entry of entries) index.add(entry)
  const { size } = atoms
  const forms = { message: /at most 10 forms .*topicLimits: forms/ as unknown as string }
  t.throws(() => { index.add(new Entry(form(10))) }, forms)
  t.strictSame([index.size, atoms.size], [10, size], 'nothing has happened')
  index.add(new Entry(form(3)))
  index.add(new Entry(['other constructor', _]))
  index.remove(entries[9])
  index.add(new Entry(form(10)))
  topicLimits(before)
})

t.test('skeletons and atoms are there as long as somebody holds them', async (t) => {
  const atoms = new AtomTable()
  const [index, other] = [new RoutingIndex<Entry>(atoms), new RoutingIndex<Entry>(atoms)]
  const skeletons = atoms.skeletons.size
  const topics = Array.from({ length: 2000 }, (_value, i) =>
    listOf(11, ['k', i], (bit) => ((i >> bit) & 1) === 1 ? _ : bit))
  const entries = topics.map((topic) => new Entry(topic))
  for (const entry of entries) index.add(entry)
  t.equal(atoms.skeletons.size, skeletons + 2000)
  for (const topic of topics) other.peers(topic, [])
  t.equal(atoms.skeletons.size, skeletons + 2000, 'asking leaves nothing behind')
  for (const entry of entries) index.remove(entry)
  t.ok(atoms.skeletons.size <= skeletons + 16, 'a few forms are kept, as they tend to come back')
  t.equal(atoms.size, 0)
  const long = new Entry(listOf(100, _))
  index.add(long)
  index.remove(long)
  t.equal(atoms.skeletons.size, skeletons, 'but none that is long')
  for (const entry of entries) index.add(entry)
  index.clear()
  t.strictSame([index.size, atoms.size, atoms.skeletons.size], [0, 0, skeletons])
  index.clear()
  const table = new SkeletonTable()
  const first = table.hold(['a', _])
  t.equal(table.hold(['b', _]), first)
  table.release(first)
  table.release(first)
  const again = table.hold(['a', _])
  t.not(again, first)
  t.equal(table.skeletonOf(['c', _]), again)
  t.equal(table.size, 1)
})

t.test('tables for queries are bounded, and right when they come back', async (t) => {
  const atoms = new AtomTable()
  const [index, asking] = [new RoutingIndex<Entry>(atoms), new RoutingIndex<Entry>(atoms)]
  const bits = 7
  const entries = Array.from({ length: 128 }, (_value, i) =>
    new Entry(['k', _, ...Array.from({ length: bits }, (_bit, bit) => `${bit}${(i >> bit) & 1}`)]))
  for (const entry of entries) index.add(entry)
  const before = atoms.size
  for (let round = 0; round < 2; round++) {
    for (let form = 0; form < 128; form++) {
      const query = new Entry(['k', 1, ...Array.from({ length: bits }, (_bit, bit) =>
        ((form >> bit) & 1) === 1 ? _ : `${bit}1`)])
      asking.add(query)
      const found: Entry[] = []
      index.peersOf(query, found)
      asking.remove(query)
      const wanted = entries.filter(({ topic }) => meet(topic, query.topic) !== NO_MEETING)
      if (found.length !== wanted.length || !wanted.every((entry) => found.includes(entry))) t.fail(`form ${form}`)
    }
  }
  t.equal(atoms.size, before, 'no atom more')
  for (const entry of entries) index.remove(entry)
  t.equal(atoms.size, 0)
  index.clear()
  asking.clear()
  t.equal(atoms.skeletons.size, 1)
})

t.test('a form that is gone makes room where there are only so many', async (t) => {
  const before = topicLimits()
  topicLimits({ forms: 4 })
  const index = new RoutingIndex<Entry>()
  const form = (i: number): Entry => new Entry(listOf(3, ['k', i], (bit) => ((i >> bit) & 1) === 1 ? _ : bit))
  for (let i = 0; i < 8; i++) {
    const entry = form(i)
    index.add(entry)
    const found: Entry[] = []
    index.peersOf(entry, found)
    t.strictSame(found, [entry])
    index.remove(entry)
    index.peers(entry.topic, found)
    t.strictSame(found, [entry], 'nothing is found of it')
  }
  topicLimits(before)
})

t.test('no depth overflows the stack, no cycle hangs', async (t) => {
  const before = topicLimits()
  topicLimits({ depth: 1_000_000, parts: 10_000_000 })
  const n = 20_000
  const [a, b] = [listOf(n, _), listOf(n, 'end')]
  t.not(meet(a, b), NO_MEETING)
  t.not(meet([a, wild('x'), wild('x')], [b, 1, 1]), NO_MEETING)
  t.ok(isSpecialization(b, a))
  t.ok(sameTopic(a, listOf(n, wild('x'))))
  t.ok(isGround(b))
  t.notOk(isGround(a))
  t.equal(mapKey(b), mapKey(listOf(n, 'end')))
  t.ok(equal(b, listOf(n, 'end')))
  t.ok(equal(snapshot(b), b))
  use([a, ['k', b], boxes(n, _), ['k', boxes(n, 1)]], [b, ['k', b], boxes(n, 1), ['k', boxes(n, 1)]])()
  t.match(inspect(boxes(n, 1), { depth: null }), /costs-test-box\(costs-test-box\(/)
  t.match(inspect(boxes(n, 1), { depth: Infinity }), /costs-test-box\(costs-test-box\(/)
  topicLimits(before)

  const cyclic: unknown[] = [1]
  cyclic.push(cyclic)
  const twin: unknown[] = [1]
  twin.push(twin)
  t.ok(isGround(cyclic))
  t.ok(equal(cyclic, twin), 'both unfold to the same')
  t.notOk(equal(cyclic, [1, [1, [2]]]))
  t.match(inspect(pair(cyclic, box(cyclic)), { depth: null }), /costs-test-pair/)
})

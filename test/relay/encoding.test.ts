/** What crosses to another node, and what bytes of strangers can do. */
import fc from 'fast-check'
import { inspect } from 'node:util'
import t from 'tap'
import { _, defineRecord, eof, topicLimits, wild, type Wildcard } from 'marketplace-native'
import { decode, encode, UnknownRecord } from '../../src/relay/encoding.js'
import { defineInstancedRecord, equal, meet, sameTopic, withInstance } from '../../src/topic/index.js'
import { message, topic } from '../topic/arbitraries.js'

const point = defineRecord('encoding-test-point', ['x', 'y']).of<[x: unknown, y: unknown]>()
const none = defineRecord('encoding-test-none', [])
const named = defineInstancedRecord('encoding-test-named', ['a', 'b'])
const nine = defineRecord('encoding-test-nine', ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'])

/** Rounds of the random tests: a few for each change, many for a long run. */
const RUNS = Number(process.env['MARKETPLACE_FUZZ'] ?? 1)
const SEED = process.env['MARKETPLACE_FUZZ'] === undefined ? 19 : Date.now()

const crossed = (value: unknown): unknown => decode(encode(value))

/** Whether everything in it can cross as the same value. */
function canCross(value: unknown): boolean {
  try {
    encode(value)
    return true
  } catch {
    return false
  }
}

t.test('values that cross as the same value', async (t) => {
  const values: unknown[] = [
    undefined, null, true, false, '', 'a', 'x'.repeat(31), 'x'.repeat(32), 'é'.repeat(40), '日本', '😀'.repeat(50),
    '\ud800', `${'a'.repeat(40)}\udfff`, '\0', 0, -0, NaN, Infinity, -Infinity, 1, -1, 127, 128, -128, 2 ** 31 - 1,
    2 ** 31, -(2 ** 31), -(2 ** 31) - 1, 2 ** 53, -(2 ** 53), 0.1, Number.MIN_VALUE, Number.MAX_VALUE, 0n, 1n, -1n,
    255n, 256n, -(2n ** 64n), 2n ** 1000n, -(3n ** 1000n), Symbol.for('s'), Symbol.for(''), Symbol.iterator, eof, [],
    [[]], Array.from({ length: 15 }, (_v, i) => i), Array.from({ length: 16 }, (_v, i) => i), new Uint8Array(0),
    Uint8Array.of(1, 2, 255), Buffer.from('bytes'), none(), point(1, 'two'), point(point(none(), [none()]), null),
    nine(1, 2, 3, 4, 5, 6, 7, 8, 9), withInstance(named('h', 1), 7), named('h', 1),
    Array.from({ length: 40 }, (_v, i) => defineRecord(`encoding-test-${i % 20}`, ['a'])(i)),
  ]
  for (const value of values) {
    const back = crossed(value)
    t.ok(Object.is(back, value) || (typeof value === 'object' && equal(back, value)), typeof value)
  }
  t.ok(Buffer.isBuffer(crossed(Buffer.from('a'))), 'a Buffer comes as a Buffer')
  t.notOk(Buffer.isBuffer(crossed(Uint8Array.of(1))))
  t.same(crossed([, 1]), [undefined, 1], 'a hole is undefined') // eslint-disable-line no-sparse-arrays
  const bytes = encode(Uint8Array.of(1, 2, 3))
  const copy = decode(bytes) as Uint8Array
  bytes.fill(0)
  t.same([...copy], [1, 2, 3], 'what was read shares no memory with the bytes')
})

t.test('topics that cross are the same topics', async (t) => {
  const own = wild()
  const topics: unknown[] = [
    _, [_, _], wild(0), [wild(0), wild(1), wild(0)], [wild('x'), wild('y'), wild('x')], wild(5000), wild(2 ** 40),
    [own, own, wild()], wild(Symbol.for('n')), named(_, 1), named('h', 1), point(named(_, _), _),
  ]
  for (const value of topics) t.ok(sameTopic(crossed(value), value))
  t.equal(crossed(_), _)
  const [a, b, c] = crossed([own, own, wild()]) as Wildcard[]
  t.equal(a.name, b.name)
  t.not(a.name, c.name)
  // What has an instance is met by a pattern that has crossed, as by the pattern itself.
  const it = withInstance(named('h', 1), 7)
  t.ok(equal(meet(crossed(named(_, 1)), it), it))
  t.notOk(equal(meet(crossed(named('h', 1)), it), it))
})

t.test('what crosses as a copy', async (t) => {
  const object = crossed({ a: 1, b: [{ c: undefined }], ['__proto__']: 5, toString: 'x' }) as Record<string, unknown>
  t.same(Object.keys(object), ['a', 'b', '__proto__', 'toString'])
  t.equal(Object.getPrototypeOf(object), Object.prototype)
  t.equal(Object.getOwnPropertyDescriptor(object, '__proto__')?.value, 5)
  t.equal(({} as { a?: unknown }).a, undefined)
  t.same(crossed(Object.assign(Object.create(null), { a: 1 })), { a: 1 })
  t.same(crossed(new Date(5)), new Date(5))
  t.ok(Number.isNaN((crossed(new Date(NaN)) as Date).getTime()))
  const cause = new RangeError('inner')
  const socket = { fd: 3 }
  const error = Object.assign(new TypeError('outer', { cause }), { code: 'ECONNRESET', errno: -104, socket })
  const back = crossed(error) as NodeJS.ErrnoException & { cause: Error }
  t.ok(back instanceof TypeError)
  t.match(back, { message: 'outer', name: 'TypeError', code: 'ECONNRESET', errno: -104 })
  t.ok(back.cause instanceof RangeError)
  t.notOk('socket' in back, 'only what is simple')
  t.notMatch(back.stack, /encoding\.test/, 'no stack')
  class Own extends Error {
    override name = 'Own'
  }
  t.match(crossed(new Own('o')), { name: 'Own', message: 'o' })
  const cyclic: Error & { cause?: unknown } = new Error('cyclic')
  cyclic.cause = cyclic
  t.equal((crossed(cyclic) as Error).message, 'cyclic')
  t.equal((crossed(AbortSignal.abort().reason) as Error).name, 'AbortError')
})

t.test('what cannot cross is refused, with its place', async (t) => {
  class Instance {
    x = 1
  }
  for (const value of [
    () => 1, Symbol('own'), new Instance(), new Map(), new Set(), new Uint16Array(1), new ArrayBuffer(1), /x/,
    new WeakMap(), Promise.resolve(), new Proxy({}, {}), new Proxy([], {}), Symbol.for('x'.repeat(257)),
  ]) {
    t.throws(() => encode(value), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: /^encode: what goes to/ })
    t.throws(() => encode(point(1, [2, { k: value }])), { message: /, at encoding-test-point\.y\[1\]\.k must be/ })
  }
  const cyclic: unknown[] = []
  cyclic.push(cyclic)
  t.throws(() => encode(cyclic), { name: 'RangeError', message: /at most 1024 levels; got more, or a cycle/ })
  let wide: unknown = []
  for (let i = 0; i < 100; i++) wide = [wide, wide]
  t.throws(() => encode(wide), { name: 'RangeError', message: /at most 1048576 parts/ })
  t.throws(() => encode([[1]], { depth: 1 }), { name: 'RangeError' })
  t.throws(() => encode(1, { dept: 1 } as never), { message: /did you mean 'depth'/ })
  t.throws(() => encode({ get a() { throw new Error('theirs') } }), { message: 'theirs' })
  t.same(crossed([1]), [1], 'and the next one can')
  t.ok(topicLimits().depth <= 1024, 'topics of any depth that the VM takes can cross')
})

t.test('records that nobody has defined here', async (t) => {
  const bytes = encode(point(1, [point(2, 3)]))
  const renamed = Buffer.from(Buffer.from(bytes).toString('latin1').replace('test-point', 'test-other'), 'latin1')
  const unknown = decode(renamed) as UnknownRecord
  t.ok(unknown instanceof UnknownRecord)
  t.match(unknown, { label: 'encoding-test-other' })
  t.equal(inspect(unknown),
    'unknown encoding-test-other(1, [ unknown encoding-test-other(2, 3) ])')
  t.ok(Buffer.from(encode(unknown)).equals(renamed), 'sent on, it is what it was')
  t.throws(() => { defineRecord('encoding-test-other', ['x']); (unknown.values as unknown[]).push(1) }, TypeError)
  const other = defineRecord('encoding-test-other', ['x', 'y'])
  t.ok(other.is(decode(renamed)), 'once it is defined, it is a record')
})

t.test('bytes of another version, cut short, or too long', async (t) => {
  const bytes = encode([point('abc', 2n ** 70n), new Error('x'), { a: new Date(1) }, Symbol.for('s'), 'x'.repeat(40)])
  const wrong = { code: 'EBADMSG' }
  for (let i = 0; i < bytes.length; i++) t.throws(() => decode(bytes.subarray(0, i)), wrong)
  t.throws(() => decode(Buffer.concat([bytes, Buffer.of(0)])), { message: 'decode: 1 bytes follow the value' })
  t.throws(() => decode(Buffer.of(2, 0)), { message: /of format 2; this version of marketplace-native reads 1/ })
  t.throws(() => decode('x' as never), TypeError)
})

t.test('bytes of strangers cost what they are worth', async (t) => {
  const claims = Buffer.concat(Array.from({ length: 2000 }, () => Buffer.from([0xcd, 0xff, 0xff, 0xff, 0x3f])))
  const before = process.memoryUsage().rss
  const endless = [0xa1, 0xce, 0xd4, 0xd0, 0xd5, 0xd6, 0xd8, 0xd9, 0xcf, 0xcb]
  for (const hostile of [
    Buffer.concat([Buffer.of(1), claims]),
    // Nested to the end: arrays, records' labels, wildcards' names, symbols' keys, errors, objects.
    ...endless.map((tag) => Buffer.alloc(200_000, tag).fill(1, 0, 1)),
    ...[0xd8, 0xd9].map((tag) => Buffer.from([1, tag, 2, 0, 0])),
    Buffer.from([1, 0xd8, 1, 0x80]),
    Buffer.from([1, 0xd4, 0xc5, 0]),
    Buffer.from([1, 0xd5, 0xff, 0xff, 0xff, 0x07]),
    Buffer.from([1, 0xda]),
  ]) {
    t.throws(() => decode(hostile), { code: 'EBADMSG' })
  }
  t.ok(process.memoryUsage().rss - before < 100e6, 'no memory for claims')
  t.throws(() => decode(Buffer.from([1, 0xa2, 0xa1, 0, 0]), { parts: 2 }), { message: /more than 2 parts/ })
  t.throws(() => decode(encode([[1]]), { depth: 1 }), { message: /more than 1 levels/ })
})

t.test('random values come back as they were', async () => {
  const options = { numRuns: 500 * RUNS, seed: SEED }
  fc.assert(fc.property(message, (value) => {
    if (canCross(value)) return hasCopies(value) || equal(crossed(value), value)
    return true
  }), options)
  fc.assert(fc.property(topic, (value) => {
    if (canCross(value)) return hasCopies(value) || sameTopic(crossed(value), value)
    return true
  }), options)
  fc.assert(fc.property(fc.anything({ withBigInt: true, withDate: true }), (value) => {
    if (!canCross(value)) return true
    const bytes = encode(value)
    return Buffer.from(encode(decode(bytes))).equals(Buffer.from(bytes))
  }), options)
})

/** Whether a plain object or a date is in it, which is equal only to itself. */
function hasCopies(value: unknown): boolean {
  const bytes = Buffer.from(encode(value))
  return [0xd7, 0xd8, 0xd9].some((tag) => bytes.includes(tag))
}

t.test('random bytes are a value, or an error with its code', async (t) => {
  const options = { numRuns: 2000 * RUNS, seed: SEED }
  const tries = (bytes: Uint8Array): unknown => {
    try {
      encode(decode(bytes))
      return true
    } catch (error) {
      return (error as { code?: unknown }).code === 'EBADMSG' || String(error)
    }
  }
  const check = (bytes: Uint8Array): void => {
    const result = tries(bytes)
    if (result !== true) throw new Error(String(result))
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    bytes[0] = 1
    check(bytes)
  }), options)
  // Values of which a few bytes were changed get further.
  const edits = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 })
  fc.assert(fc.property(topic, edits, (value, changes) => {
    if (!canCross(value)) return
    const bytes = encode([value, { a: new Error('e', { cause: 1 }) }, point(1, named(2, 3))])
    for (const [at, byte] of changes) if (at % bytes.length > 0) bytes[at % bytes.length] = byte
    check(bytes)
  }), options)
  t.pass()
})

// The last one: the table is full after it.
t.test('strangers cannot fill the registry of symbols, or forge instances', async (t) => {
  const symbols = (n: number): Buffer => {
    const count = Buffer.of(0xcd, (n & 0x7f) | 0x80, n >> 7)
    const all = Array.from({ length: n }, (_v, i) => Buffer.from(`\xd0\x86s${10000 + i}`, 'latin1'))
    return Buffer.concat([Buffer.of(1), count, ...all])
  }
  t.equal((decode(symbols(1000)) as symbol[]).length, 1000)
  const many = decode(symbols(5000)) as symbol[]
  t.equal(many[1000], Symbol.for('s11000'))
  t.ok(many.filter((symbol) => Symbol.keyFor(symbol) !== undefined).length <= 4096)
  t.equal(many[4096].description, 's14096', 'further ones are there')
  t.equal(Symbol.keyFor(many[4096]), undefined, 'and not in the registry')
  const twice = decode(Buffer.of(1, 0xa2, 0xd0, 0x82, 0x71, 0x71, 0xd0, 0x82, 0x71, 0x71)) as symbol[]
  t.equal(Symbol.keyFor(twice[0]), undefined)
  t.equal(twice[0], twice[1], 'within one value the same is the same')
  t.equal((decode(encode(Symbol.for('mine')))), Symbol.for('mine'), 'what this program has named is its own')
  t.equal((decode(symbols(1000)) as symbol[])[5], Symbol.for('s10005'), 'what was there still comes')
  const it = Buffer.from(encode(withInstance(named('h', 1), 7)))
  it[it.length - 1] = 0xc1
  t.throws(() => decode(it), { message: /an instance that none can have/ })
})

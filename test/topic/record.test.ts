/** Records, wildcards, and what counts as one value. */
import fc from 'fast-check'
import { inspect } from 'node:util'
import t from 'tap'
import { _, defineRecord, meet, NO_MEETING, wild, Wildcard } from 'marketplace-native'
import {
  canonical, defineInstancedRecord, equal, isGround, mapKey, sameTopic, snapshot, withInstance,
} from '../../src/topic/index.js'
import { structuralKey } from '../../src/topic/structural-key.js'
import { defineRecord as uncheckedDefine } from '../vm/unchecked.js'
import { collectGarbage } from '../support/util.js'
import { message, topic } from './arbitraries.js'

const point = defineRecord('record-test-point', ['x', 'y']).of<[x: number, y: number]>()

t.test('fields, label, and the test for the type', async (t) => {
  const p = point(1, 2)
  t.equal(p.x, 1)
  t.equal(p.y, 2)
  t.equal(point.label, 'record-test-point')
  t.same(point.fields, ['x', 'y'])
  t.ok(Object.isFrozen(point.fields))
  t.equal(point.name, 'record-test-point')
  t.ok(point.is(p))
  t.ok(point.is(point(_, _)))
  for (const no of [undefined, null, 1, {}, [1, 2], { x: 1, y: 2 }]) t.notOk(point.is(no))
  t.notOk(Reflect.set(p, 'x', 5), 'fields are read-only')
  t.equal(p.x, 1)
})

interface AnyMaker {
  (...args: unknown[]): object
  is(value: unknown): boolean
}

t.test('records of every arity', async (t) => {
  for (let arity = 0; arity <= 9; arity++) {
    const fields = Array.from({ length: arity }, (_value, i) => `f${i}`)
    const make: AnyMaker = uncheckedDefine('record-test-arity', fields)
    const values = fields.map((_name, i) => i * 10)
    const record = make(...values)
    t.same(fields.map((name) => (record as Record<string, unknown>)[name]), values)
    t.ok(make.is(record))
    t.ok(equal(record, make(...values)))
    t.equal(inspect(record), `record-test-arity(${values.join(', ')})`)
    if (arity > 0) t.notOk(equal(record, make(...values.with(arity - 1, 'other' as never))))
    for (const wrong of [arity + 1, arity - 1].filter((n) => n >= 0)) {
      const s = arity === 1 ? '' : 's'
      t.throws(() => make(...new Array<number>(wrong).fill(0)), {
        name: 'TypeError',
        message: `record-test-arity: expected ${arity} field${s}; got ${wrong}`,
      })
    }
  }
})

t.test('the same definition again makes the same records; one with other fields is an error', async (t) => {
  const again = defineRecord('record-test-point', ['x', 'y'])
  t.ok(equal(point(1, 2), again(1, 2)))
  t.ok(again.is(point(1, 2)))
  t.not(meet(point(1, _), again(_, 2)), NO_MEETING)
  const other = defineRecord('record-test-other', ['x', 'y'])
  t.notOk(equal(point(1, 2), other(1, 2)))
  const longer = defineRecord('record-test-point', ['x', 'y', 'z'])
  t.notOk(point.is(longer(1, 2, 3)))
  t.equal(meet(longer(_, _, _), point(1, 2)), NO_MEETING)
  for (const fields of [['y', 'x'], ['east', 'north'], ['x', 'z']]) {
    t.throws(() => defineRecord('record-test-point', fields), {
      name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE',
      message: 'defineRecord: fields must be those of the other definition of these records, '
        + `record-test-point(x, y); got record-test-point(${fields.join(', ')}). Records are compared by `
        + 'label and number of fields: others need another label',
    })
  }
  t.equal(point(1, 2).x, 1, 'and what there was is as it was')
  t.throws(() => defineRecord('tcp-address', ['port', 'host']), /tcp-address\(host, port\); got/, 'our own')
})

t.test('records without end: each costs the same, and those that nobody uses are let go', async (t) => {
  const define = (from: number, count: number): number => {
    const start = performance.now()
    for (let i = from; i < from + count; i++) {
      const make: AnyMaker = uncheckedDefine(`record-test-many-${i}`, [`a${i}`, 'common', `b${i}`, `c${i}`])
      const record = make(i, i + 1, i + 2, i + 3) as Record<string, unknown>
      if (record[`a${i}`] !== i || record['common'] !== i + 1 || record[`c${i}`] !== i + 3) t.fail(String(i))
    }
    return performance.now() - start
  }
  define(0, 2000)
  const first = Math.min(define(10_000, 1000), define(11_000, 1000))
  define(20_000, 20_000)
  const last = Math.min(define(50_000, 1000), define(51_000, 1000), define(52_000, 1000))
  t.ok(last < 8 * first, `${last} ms for the last thousand, ${first} ms for the first`)
  await new Promise(setImmediate)
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < 4; i++) {
    define(100_000 + i * 10_000, 10_000)
    await new Promise(setImmediate)
    collectGarbage()
    await new Promise(setImmediate)
  }
  collectGarbage()
  const grown = process.memoryUsage().heapUsed - before
  t.ok(grown < 8e6, `${grown} bytes for 40,000 that are gone`)
  const one = uncheckedDefine('record-test-late', ['late-x', 'common']) as AnyMaker
  const other = uncheckedDefine('record-test-late', ['late-x', 'common']) as AnyMaker
  t.ok(one.is(other(1, 2)), 'late definitions are shared as well')
  t.equal(inspect(one(1, _)), 'record-test-late(1, _)')
  t.equal((one(1, 2) as { y?: unknown }).y, undefined)
})

t.test('of() types the fields only: it is the same constructor', async (t) => {
  const bare = defineRecord('record-test-bare', ['x'])
  t.equal(bare.of<[string]>(), bare)
})

t.test('what a definition may not be', async (t) => {
  const cases: readonly (readonly [unknown, unknown, RegExp])[] = [
    [5, [], /^defineRecord: label must be a non-empty string; got 5$/],
    ['', [], /^defineRecord: label must be a non-empty string; got ''$/],
    ['x', undefined, /^defineRecord: fields must be an array of distinct names; got undefined$/],
    ['x', 'abc', /^defineRecord: fields must be an array of distinct names; got 'abc'$/],
    ['x', ['a', 'a'], /^defineRecord: fields must be an array of distinct names; got \[ 'a', 'a' \]$/],
    ['x', ['a', 5], /^defineRecord: fields must be names .*; got 5$/],
    ['x', [''], /^defineRecord: fields must be names .*; got ''$/],
    ['x', ['$a'], /^defineRecord: fields must be names .*; got '\$a'$/],
    ['x', ['toJSON'], /^defineRecord: fields must be names .*; got 'toJSON'$/],
    ['x', ['constructor'], /^defineRecord: fields must be names .*; got 'constructor'$/],
    ['x', ['__proto__'], /^defineRecord: fields must be names .*; got '__proto__'$/],
  ]
  for (const [label, fields, expected] of cases) {
    const error = { name: 'TypeError', message: expected as unknown as string }
    t.throws(() => uncheckedDefine(label, fields), error)
  }
})

t.test('as text', async (t) => {
  const record = defineRecord('record-test-text', ['a', 'b'])(1, _)
  t.equal(`to ${String(record)}`, 'to record-test-text(1, _)')
})

t.test('inspect and toJSON', async (t) => {
  const nested = defineRecord('record-test-box', ['content'])
  t.equal(inspect(nested(point(1, 2))), 'record-test-box(record-test-point(1, 2))')
  t.equal(inspect([nested('text'), nested(_), nested(wild('x'))]),
    "[ record-test-box('text'), record-test-box(_), record-test-box(?x) ]")
  t.equal(JSON.stringify(nested(point(1, 2))),
    '{"record":"record-test-box","content":{"record":"record-test-point","x":1,"y":2}}')
  t.equal(JSON.stringify(point(1, 2)), JSON.stringify(point(1, 2)))
})

t.test('enumeration: a record that was looked up is like one that was not', async (t) => {
  const { RoutingIndex } = await import('../../src/topic/index.js')
  const known = point(1, 2)
  const index = new RoutingIndex()
  const atoms = { atom0: undefined, atom1: undefined, moreAtoms: undefined }
  const places = { shape: undefined, number: 0, place: 0, bucketPlace: 0, ...atoms }
  index.add({ topic: ['k', known], linear: true, receives: true, ...places })
  t.equal(index.receivers(['k', known], []), 1)
  t.same(Object.keys(known), Object.keys(point(1, 2)))
  t.same(Object.entries(known), Object.entries(point(1, 2)))
  t.equal(inspect(known), inspect(point(1, 2)))
})

t.test('wildcards', async (t) => {
  t.ok(_ instanceof Wildcard)
  t.ok(equal(wild('x'), wild('x')))
  t.notOk(equal(wild('x'), wild('y')))
  t.notOk(equal(wild('0'), wild(0)))
  t.notOk(equal(wild(), wild()))
  t.equal(wild(3), wild(3))
  t.ok(equal(wild(5000), wild(5000)))
  t.equal(inspect([_, wild('x'), wild(2), wild(Symbol('s'))]), '[ _, ?x, ?2, ?Symbol(s) ]')
})

t.test('structural keys are equal exactly when values are', async () => {
  fc.assert(
    fc.property(message, message, (a, b) => (structuralKey(a) === structuralKey(b)) === equal(a, b)),
    { numRuns: 3000 },
  )
  fc.assert(
    fc.property(topic, topic, (a, b) => {
      const same = structuralKey(a, true) === structuralKey(b, true)
      return same === equal(a, b) && Object.is(mapKey(a), mapKey(b)) === (same && !isNegativeZeroPair(a, b))
    }),
    { numRuns: 3000 },
  )
})

/** A Map takes 0 and -0 for one key; Object.is does not. */
const isNegativeZeroPair = (a: unknown, b: unknown): boolean => a === 0 && b === 0 && !Object.is(a, b)

t.test('a snapshot is equal, and shares nothing that can be written to', async (t) => {
  fc.assert(fc.property(topic, (a) => equal(snapshot(a), a)))
  const list = [1, [2]]
  const bytes = Uint8Array.of(1)
  const fixed = point(1, 2)
  const box = defineRecord('record-test-box', ['content'])
  const taken = snapshot([list, bytes, fixed, box(list), box(fixed)]) as unknown[]
  list[0] = 5
  bytes[0] = 5
  t.ok(equal(taken, [[1, [2]], Uint8Array.of(1), fixed, box([1, [2]]), box(fixed)]))
  t.equal(taken[2], fixed, 'records without such parts are taken as they are')
})

t.test('records of an instanced kind: namesakes are different values, patterns fit them all', async (t) => {
  const call = defineInstancedRecord('record-test-call', ['host', 'port']).of<[host: string, port: number]>()
  const plain = call('h', 80)
  const first = withInstance(plain, 1)
  const second = withInstance(plain, 2)
  const values = [plain, first, second]
  for (const a of values) {
    t.equal(a.host, 'h')
    t.equal(a.port, 80)
    t.ok(call.is(a))
    t.ok(isGround(a))
    for (const b of values) {
      t.equal(equal(a, b), a === b)
      t.equal(mapKey(a) === mapKey(b), a === b)
      t.equal(meet(a, b) !== NO_MEETING, a === b)
      t.equal(meet([a, wild('x')], [b, wild('x')]) !== NO_MEETING, a === b)
    }
    for (const pattern of [_, call(_, _), call('h', _), call(_, 80), call(wild('x'), wild('y'))]) {
      t.equal(meet(pattern, a), a)
      t.equal(meet(a, pattern), a)
    }
    for (const other of [call('g', _), call(_, 81), call('h', 81), call(wild('x'), wild('x'))]) {
      t.equal(meet(other, a), NO_MEETING)
    }
    t.ok(equal(meet([a, wild('x'), wild('x')], [wild('y'), wild('y'), _]), [a, a, a]), 'also unified')
    t.ok(equal(meet([wild('x'), wild('x')], [call('h', _), a]), [a, a]))
  }
  t.equal(meet([wild('x'), wild('x')], [first, second]), NO_MEETING)
  const pattern = call('h', wild('p'))
  t.equal(meet([pattern, pattern], [first, second]) !== NO_MEETING, true, 'two patterns are two')
  t.equal(meet([wild('x'), wild('x'), wild('x')], [pattern, first, second]), NO_MEETING)

  t.ok(equal(call('h', 80), plain))
  t.equal(inspect(plain), "record-test-call('h', 80)")
  t.equal(inspect(second), "record-test-call('h', 80)#2")
  t.equal(inspect(call(_, 80)), 'record-test-call(_, 80)')
  t.equal(JSON.stringify(plain), '{"record":"record-test-call","host":"h","port":80}')
  t.equal(JSON.stringify(second), '{"record":"record-test-call","host":"h","port":80,"instance":2}')
  t.equal(snapshot(second), second)

  t.ok(equal(canonical([call(_, 80), _]), canonical([call(wild('x'), 80), wild('y')])))
  t.equal(inspect(canonical([call(_, 80), _])), '[ record-test-call(?0, 80), ?1 ]', 'only what was written')
  t.notOk(sameTopic(meet(call('h', _), call(_, 80)), plain), 'the meeting of patterns fits every instance')
  t.equal(meet(meet(call('h', _), call(_, 80)), second), second)

  t.ok(defineRecord('record-test-call', ['host', 'port']).is(second), 'defined again: the same kind')
  t.throws(() => call('h', ...([80, 1] as unknown as [number])), {
    code: 'ERR_INVALID_ARG_VALUE', message: /expected 2 fields; got 3/,
  })
  t.throws(() => defineInstancedRecord('record-test-point', ['x', 'y']), { message: /defined already/ })
})

/** Meetings: most general unifiers in canonical form, against the textbook and by example. */
import fc from 'fast-check'
import t from 'tap'
import {
  _, canonical, defineRecord, isGround, isSpecialization, meet, NO_MEETING, wild,
} from 'marketplace-native'
import { equal, sameTopic } from '../../src/topic/index.js'
import { message, topic } from './arbitraries.js'
import { unified } from './unify.js'

const pair = defineRecord('meet-test-pair', ['left', 'right'])
const single = defineRecord('meet-test-pair', ['left'])
const x = wild('x')
const y = wild('y')

t.test('meetings by example', async (t) => {
  const cases: readonly (readonly [a: unknown, b: unknown, meeting: unknown])[] = [
    [1, 1, 1],
    [1, 2, NO_MEETING],
    [1, '1', NO_MEETING],
    [1, 1n, NO_MEETING],
    [NaN, NaN, NaN],
    [0, -0, 0],
    [null, undefined, NO_MEETING],
    [undefined, undefined, undefined],
    [_, undefined, undefined],
    [_, _, wild(0)],
    [x, [y, y], [wild(0), wild(0)]],
    [['same', x, x], ['same', 1, _], ['same', 1, 1]],
    [['same', x, x], ['same', 1, 2], NO_MEETING],
    [[x, y], [y, x], [wild(0), wild(1)]],
    [[x, x], [_, _], [wild(0), wild(0)]],
    [[x, y, x], [_, _, 3], [3, wild(0), 3]],
    [[x, y], [[y, 1], _], [[wild(0), 1], wild(1)]],
    [[x, x], [[1, _], [_, 2]], [[1, 2], [1, 2]]],
    [[x, x], [y, [y]], NO_MEETING],
    [[x, y, y], [[y], x, _], [[wild(0)], wild(1), wild(1)]],
    [[x, [x]], [y, y], NO_MEETING],
    [pair(_, 2), pair(1, _), pair(1, 2)],
    [pair(x, x), pair([1, _], [_, pair(2, 3)]), pair([1, pair(2, 3)], [1, pair(2, 3)])],
    [pair(1, 2), ['meet-test-pair', 1, 2], NO_MEETING],
    [pair(1, 2), [1, 2], NO_MEETING],
    [single(1), pair(1, _), NO_MEETING],
    [[], [], []],
    [[], [_], NO_MEETING],
    [Uint8Array.of(1, 2), Buffer.from([1, 2]), Uint8Array.of(1, 2)],
    [Uint8Array.of(1, 2), [1, 2], NO_MEETING],
    [Uint8Array.of(1), Uint8Array.of(2), NO_MEETING],
  ]
  for (const [a, b, meeting] of cases) {
    t.ok(equal(meet(a, b), meeting), 'forth')
    t.ok(equal(meet(b, a), meeting) || meeting !== NO_MEETING, 'and back')
    t.equal(meet(b, a) === NO_MEETING, meeting === NO_MEETING)
  }
})

t.test('the wildcards of the two sides are renamed apart; equal texts are not mixed up', async (t) => {
  t.ok(equal(meet([x, 1], [2, x]), [2, 1]))
  t.ok(equal(meet([wild('0'), wild(0)], [1, 2]), [1, 2]))
  const symbol = Symbol('x')
  t.ok(equal(meet([wild(symbol), wild('x')], [1, 2]), [1, 2]))
  t.equal(meet([wild(symbol), wild(symbol)], [1, 2]), NO_MEETING)
  t.ok(equal(meet([wild(), wild()], [1, 2]), [1, 2]))
})

t.test('ground parts are taken over as they are, but for bytes, which a receiver may write to', async (t) => {
  const address = pair('host', 80)
  const list = [1, [2]]
  const bytes = Uint8Array.of(1)
  const meeting = meet([address, _, list, bytes], [_, 'x', _, _]) as unknown[]
  t.equal(meeting[0], address)
  t.equal(meeting[2], list)
  t.not(meeting[3], bytes)
  t.same(meeting[3], bytes)
  const repeated = meet([x, x, _], [address, _, list]) as unknown[]
  t.equal(repeated[0], address)
  t.equal(repeated[1], address)
  t.equal(repeated[2], list)
})

t.test('meet finds the most general unifier, in canonical form', async () => {
  fc.assert(
    fc.property(topic, topic, (a, b) => {
      const expected = unified(a, b)
      const actual = meet(a, b)
      return expected === undefined ? actual === NO_MEETING : equal(actual, expected[0])
    }),
    { numRuns: 5000 },
  )
})

t.test('laws of meet', async () => {
  fc.assert(
    fc.property(topic, topic, (a, b) => {
      const ab = meet(a, b)
      const ba = meet(b, a)
      if (ab === NO_MEETING) return ba === NO_MEETING
      return equal(ab, ba) && equal(canonical(ab), ab) && isSpecialization(ab, a) && isSpecialization(ab, b)
    }),
    { numRuns: 2000 },
  )
  fc.assert(fc.property(topic, (a) => equal(meet(a, a), canonical(a)) && equal(meet(a, _), canonical(a))))
  fc.assert(fc.property(message, topic, (m, a) => {
    const meeting = meet(m, a)
    return meeting === NO_MEETING ? !isSpecialization(m, a) : equal(meeting, m) && isSpecialization(m, a)
  }))
})

t.test('canonical: numbered in reading order; equal for topics that differ in names only', async (t) => {
  t.ok(equal(canonical([y, [x, y], _, _]), [wild(0), [wild(1), wild(0)], wild(2), wild(3)]))
  t.ok(equal(canonical(pair(_, pair(x, x))), pair(wild(0), pair(wild(1), wild(1)))))
  const ground = [1, [pair(1, 2)]]
  t.equal(canonical(ground), ground, 'ground topics are not copied')
  t.ok(sameTopic([x, y], [_, _]))
  t.notOk(sameTopic([x, x], [_, _]), 'D2')
  t.notOk(sameTopic([x, x, y], [x, y, y]))
  t.ok(sameTopic([x, y, x], [y, x, y]))
  fc.assert(fc.property(topic, (a) => equal(canonical(canonical(a)), canonical(a))))
  fc.assert(fc.property(topic, topic, (a, b) =>
    sameTopic(a, b) === (isSpecialization(a, b) && isSpecialization(b, a))))
})

t.test('isSpecialization', async (t) => {
  t.ok(isSpecialization(1, _))
  t.notOk(isSpecialization(_, 1))
  t.ok(isSpecialization([1, 1], [x, x]))
  t.notOk(isSpecialization([1, 2], [x, x]))
  t.ok(isSpecialization([x, x], [x, y]))
  t.notOk(isSpecialization([x, y], [x, x]))
  t.ok(isSpecialization([[_], _], [_, _]))
  t.ok(isSpecialization(x, x))
  t.ok(isSpecialization([y, x], [x, y]), 'names are renamed apart')
  t.notOk(isSpecialization([_, 1], [1, _]))
})

t.test('isGround', async (t) => {
  const ground = [1, 'x', null, undefined, NaN, [], [[1]], pair(1, [2]), Uint8Array.of(1), new Map([[1, _]])]
  for (const value of ground) t.ok(isGround(value))
  for (const value of [_, x, [1, [_]], pair(1, x), [pair(single(_), 1)]]) t.notOk(isGround(value))
  fc.assert(fc.property(message, (m) => isGround(m)))
})

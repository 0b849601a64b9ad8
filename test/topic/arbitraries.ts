/** Random topics and messages, from pools that are small enough for values to meet often. */
import fc, { type Arbitrary } from 'fast-check'
import {
  _, defineInstancedRecord, defineRecord, wild, withInstance, type RecordType,
} from '../../src/topic/index.js'

const record = (label: string, arity: number): RecordType<string, string[], unknown[]> =>
  defineRecord(label, Array.from({ length: arity }, (_value, i) => `f${i}`))

const nothing = record('topic-test-nothing', 0)
const one = record('topic-test-p', 1)
/** Same label, other arity: another kind. */
const two = record('topic-test-p', 2)
/** Defined twice: the same kind. */
const twoAgain = record('topic-test-p', 2)
const other = record('topic-test-q', 2)
const five = record('topic-test-five', 5)
/** Records that may have namesakes. */
const named = defineInstancedRecord('topic-test-named', ['a', 'b'])
const namesake = fc
  .tuple(fc.constantFrom<unknown>('a', 0, null), fc.constantFrom<unknown>('a', 1), fc.constantFrom(1, 2))
  .map(([a, b, instance]) => withInstance(named(a, b), instance))

class Opaque {
  readonly x = 1
}
const opaque = [new Opaque(), new Opaque(), {}, () => 1, new Map(), new Uint16Array(1), new Date(0)]
const symbols = [Symbol('s'), Symbol('s'), Symbol.for('s'), Symbol.for('t')]

/** Values without parts. Each byte array is a new one. */
const leaf: Arbitrary<unknown> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom<unknown>('a', 'b', 0, 1) },
  { weight: 2, arbitrary: fc.constantFrom<unknown>('', '0', 'n0', 's1:a', 'a1(n1,)', -0, NaN, Infinity) },
  { weight: 2, arbitrary: fc.constantFrom<unknown>(true, false, null, undefined, 0n, 1n, 'true', 'null') },
  { weight: 1, arbitrary: fc.constantFrom<unknown>(...symbols) },
  { weight: 1, arbitrary: fc.constantFrom<unknown>(...opaque) },
  { weight: 1, arbitrary: fc.constantFrom([], [1], [97], [1, 2]).map((bytes) => Uint8Array.from(bytes)) },
  { weight: 1, arbitrary: fc.constantFrom('', 'a', '\u0001').map((text) => Buffer.from(text)) },
)

const wildcard: Arbitrary<unknown> = fc.oneof(
  { weight: 3, arbitrary: fc.constant(_) },
  { weight: 2, arbitrary: fc.constantFrom('x', 'y', 0, 1).map((name) => wild(name)) },
)

function terms(wildcards: boolean, depth: number): Arbitrary<unknown> {
  const open = fc.oneof({ weight: 2, arbitrary: leaf }, { weight: 1, arbitrary: wildcard })
  const simple = wildcards ? open : leaf
  if (depth === 0) return simple
  const inner = terms(wildcards, depth - 1)
  return fc.oneof(
    { weight: 4, arbitrary: simple },
    { weight: 3, arbitrary: fc.array(inner, { maxLength: 3 }) },
    { weight: 1, arbitrary: fc.constant(nothing()) },
    { weight: 1, arbitrary: inner.map((a) => one(a)) },
    { weight: 1, arbitrary: fc.tuple(inner, inner).map(([a, b]) => two(a, b)) },
    { weight: 1, arbitrary: fc.tuple(inner, inner).map(([a, b]) => twoAgain(a, b)) },
    { weight: 1, arbitrary: fc.tuple(inner, inner).map(([a, b]) => other(a, b)) },
    { weight: 2, arbitrary: fc.tuple(simple, inner).map(([a, b]) => named(a, b)) },
    { weight: 1, arbitrary: namesake },
    { weight: 1, arbitrary: fc.tuple(inner, simple, simple, simple, inner).map((parts) => five(...parts)) },
  )
}

/** Any topic. */
export const topic = terms(true, 2)
/** Any message without wildcards. */
export const message = terms(false, 2)

const small = fc.constantFrom<unknown>('a', 'b', 0, 1, 2)
const smallOrWild = fc.oneof({ weight: 4, arbitrary: small }, { weight: 1, arbitrary: wildcard })

/** Topics of few forms and few values: many of each, so that the index has big buckets and tables. */
export const crowded: Arbitrary<unknown> = fc.oneof(
  small,
  fc.tuple(small, smallOrWild),
  fc.tuple(small, smallOrWild, smallOrWild),
  fc.tuple(fc.tuple(small, small), small, small),
  fc.tuple(small, small, small, smallOrWild),
  fc.tuple(small, small.map((a) => [a]), smallOrWild),
  fc.tuple(fc.tuple(small, smallOrWild), small, wildcard),
  fc.tuple(fc.tuple(small, small).map(([a, b]) => two(a, b)), smallOrWild),
  fc.tuple(small, smallOrWild, small).map(([a, b, c]) => [two(a, b), c, _]),
  fc.tuple(small, small).map(([a, b]) => other([a, _], b)),
  fc.tuple(smallOrWild, wildcard).map(([a, b]) => two(a, b)),
  fc.tuple(small, wildcard).map(([a, w]) => [a, w, w]),
  fc.tuple(smallOrWild, smallOrWild, small).map(([a, b, c]) => [named(a, b), c]),
  fc.tuple(small, small, small).map(([a, b, c]) => [withInstance(named(a, b), 1), c]),
  fc.tuple(smallOrWild, wildcard).map(([a, w]) => [[w, a], w, _]),
)

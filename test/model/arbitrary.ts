/** Random programs: weights chosen so that endpoints meet often and most processes live for a while. */
import fc from 'fast-check'
import {
  ABSENT, NAMED, NOTHING,
  type ActionSpec, type EndpointSpec, type Group, type HandlersSpec, type Program, type Reaction, type Script,
  type Style, type Term,
} from './program.js'

type Weighted<T> = readonly [weight: number, arbitrary: fc.Arbitrary<T>]

const oneOf = <T>(...choices: readonly Weighted<T>[]): fc.Arbitrary<T> =>
  fc.oneof(...choices.map(([weight, arbitrary]) => ({ weight, arbitrary })))

/** Arrays of all lengths alike; fast-check prefers short ones. */
const many = <T>(of: fc.Arbitrary<T>, minLength: number, maxLength: number): fc.Arbitrary<T[]> =>
  fc.array(of, { minLength, maxLength, size: 'max' })

const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true })

const atom = oneOf<Term>(
  [16, fc.constantFrom('a', 1, 2)],
  [1, fc.constantFrom<Term[]>(null, undefined, Number.NaN, { bytes: [1, 2] }, { bytes: [] })],
)
const wildcard = oneOf<Term>(
  [3, fc.constant({ any: true } as const)],
  [3, fc.constantFrom('X', 'Y', 0).map((wild) => ({ wild }))],
)

/** A part of a topic, with so many wildcards in sixteen. */
function part(wildcards: number, depth: number): fc.Arbitrary<Term> {
  const plain: readonly Weighted<Term>[] = [[wildcards, wildcard], [16 - wildcards, atom]]
  if (depth === 0) return oneOf(...plain)
  const inner = part(wildcards, depth - 1)
  return oneOf(
    ...plain,
    [3, fc.array(inner, { minLength: 1, maxLength: 2 })],
    [2, fc.array(inner, { minLength: 1, maxLength: 2 }).map((parts) => ({ record: 'r', parts }))],
  )
}

/** Records with and without an instance, and patterns over them. */
function named(wildcards: number): fc.Arbitrary<Term> {
  const simple = part(wildcards, 0)
  return oneOf<Term>(
    [2, fc.tuple(simple, simple).map((parts) => ({ record: NAMED, parts }))],
    [1, fc.constantFrom(1, 2).map((instance) => ({ record: NAMED, parts: ['a', 1], instance }))],
  )
}

function term(wildcards: number): fc.Arbitrary<Term> {
  const inner = part(wildcards, 1)
  return oneOf<Term>(
    [14, fc.tuple(fc.constant('s'), part(wildcards, 0)).map((parts): Term => parts)],
    [5, fc.tuple(fc.constant('s'), inner).map((parts): Term => parts)],
    [5, fc.tuple(fc.constant('s'), inner, inner).map((parts): Term => parts)],
    [3, fc.tuple(inner, inner).map((parts): Term => ({ record: 'r', parts }))],
    [3, named(wildcards)],
    [3, fc.tuple(named(wildcards), inner).map((parts): Term => parts)],
    [1, part(wildcards, 1)],
    [1, fc.constant({ here: true } as const)],
    [1, fc.constant(['s', { here: true }] as const)],
  )
}

// What isn't there is no topic: `role` refuses it.
const topic = term(9).map((value) => value === undefined ? 'none' : value)
const body = oneOf([12, term(0)], [1, term(6)])
const reason = oneOf<Term>([2, fc.constant(undefined)], [3, fc.constantFrom('bye', 'gone')], [1, term(2)])
const orientation = fc.constantFrom('publisher', 'subscriber')
const shared = oneOf<Term>(
  [8, fc.constant(undefined)],
  [1, fc.constantFrom<Term[]>('m', ['m', 1], { any: true })],
)
const interest = oneOf(
  [4, fc.constant('participant' as const)],
  [1, fc.constant('observer' as const)],
  [1, fc.constant('everything' as const)],
)

const endpoint: fc.Arbitrary<EndpointSpec> = record({ shared, orientation, interest, topic })
const index = fc.nat({ max: 11 })

const reaction = (absent: number): fc.Arbitrary<Reaction> =>
  oneOf([6, index], [3, fc.constant(NOTHING)], [absent, fc.constant(ABSENT)])

const handlers: fc.Arbitrary<HandlersSpec> = record({
  single: fc.boolean(),
  presence: reaction(1),
  absence: reaction(1),
  message: reaction(1),
})

const add = record({
  kind: fc.constant('add' as const),
  endpoint: index,
  handlers,
  twist: oneOf([15, fc.constant(0)], [1, index]),
})
const send = record({
  kind: fc.constant('send' as const),
  body,
  orientation,
  to: fc.option(index, { nil: undefined, freq: 4 }),
})
const spawn = record({
  kind: fc.constant('spawn' as const),
  boot: index,
  parent: reaction(3),
  nested: fc.boolean(),
})
const pid = fc.nat({ max: 6 })

const plain: readonly Weighted<ActionSpec>[] = [
  [14, add],
  [10, send],
  [4, record({ kind: fc.constant('delete' as const), endpoint: index, reason })],
  [4, spawn],
  [1, record({ kind: fc.constant('quit' as const), pid: fc.option(pid, { nil: undefined }), reason })],
  [2, record({ kind: fc.constant('yield' as const), script: index })],
]

const meta = record({
  kind: fc.constant('meta' as const),
  levels: oneOf([5, fc.constant(1)], [3, fc.constant(2)], [1, fc.constant(3)]),
  reckless: oneOf([14, fc.constant(false)], [1, fc.constant(true)]),
  action: oneOf(...plain),
})
const action: fc.Arbitrary<ActionSpec> = oneOf(...plain, [12, meta])

const style = oneOf<Style>(
  [6, fc.constant('list')],
  [6, fc.constant('transition')],
  [2, fc.constant('tree')],
  [4, fc.constant('bare')],
  [2, fc.constant('throw')],
  [1, fc.constant('stray')],
)

const script: fc.Arbitrary<Script> = record({
  style,
  actions: many(action, 0, 5),
})

const group: fc.Arbitrary<Group> = record({
  depth: oneOf([5, fc.constant(0)], [4, fc.constant(1)], [3, fc.constant(2)], [1, fc.constant(3)]),
  processes: many(many(action, 0, 8), 1, 4),
  crowd: oneOf([15, fc.constant(0)], [1, fc.integer({ min: 17, max: 30 })]),
  crowded: index,
  handlers,
})

export const program: fc.Arbitrary<Program> = record({
  seed: fc.nat({ max: 0xffff }),
  fuel: fc.nat({ max: 100 }),
  endpoints: many(endpoint, 1, 10),
  scripts: many(script, 1, 10),
  start: many(group, 1, 3),
})

/**
 * Records: named constructors with a fixed list of fields, compared by name and fields.
 *
 * All records have one hidden class: their values are in the slots `$0`, `$1`, ..., and the named fields
 * are getters that know the slot by the record's kind. So the code that matches and routes reads records
 * of all kinds with the same few loads, which V8 would otherwise have to look up one by one. With three
 * slots and its atom a record is as long as a cache line. Those with more have slots `$3` to `$7` of their own, which
 * are read by name as well; only what is beyond these is looked up by a name that has to be put together.
 *
 * Two definitions with the same label and the same fields make records of one kind. As records are compared
 * by label and field count (as prefab structs are), two that differ in their fields' names only are an error.
 *
 * The names of the world outside come back: a peer's address and port name one connection now and another one
 * later, or even at the same time. Records of an *instanced* kind can tell such namesakes apart: behind their
 * fields they have one more slot, which no program writes and all comparisons see. It is undefined in what a
 * program makes (the plain value), a number in what `withInstance` makes, and a wildcard in a pattern; so a
 * pattern fits every instance, and two ground values of equal fields and different instances are different.
 */
import { inspect, type InspectOptions } from 'node:util'
import type { Check } from '../support/checks.js'
import { argumentError, fromCaller } from '../support/errors.js'
import { ANY_INSTANCE, Wildcard } from './wildcard.js'

/** Identity of a kind of records: one per label and field count. `id` counts from 0. */
export interface RecordKind {
  readonly label: string
  /** How many fields there are. */
  readonly arity: number
  /** How many values are compared: the fields, and the instance if the kind has such. */
  readonly slots: number
  readonly id: number
  /** Names of the fields, the same in all definitions. */
  readonly fields: readonly string[]
  /** What its records are made by. */
  readonly Maker: Maker
}

/** The fourth is for records that have more than three slots. */
type Maker = new (kind: RecordKind, a: unknown, b: unknown, c: unknown, d?: unknown) => RecordBase

/**
 * Kinds with a smaller id have their fields on the one prototype that all their records share; later ones,
 * which only programs have that define records without end, each a prototype of their own. So the tables
 * that find fields by kind are small, and a kind that nobody uses any more takes no memory.
 */
const SHARED_MAX = 512

/** Strongly held by the constructors and the records of each kind. */
const kinds = new Map<string, WeakRef<RecordKind>>()
const shared: RecordKind[] = []
let kindCount = 0

const forgotten = new FinalizationRegistry<string>((key) => {
  if (kinds.get(key)?.deref() === undefined) kinds.delete(key)
})

/** @throws TypeError when the same records have been defined with other fields */
function kindFor(label: string, fields: readonly string[], instances = 0): RecordKind {
  const arity = fields.length
  const key = `${arity}:${label}`
  const known = kinds.get(key)?.deref()
  if (known !== undefined) {
    if (known.fields.every((name, i) => name === fields[i])) return known
    const list = (names: readonly string[]): string => `${label}(${names.join(', ')})`
    throw fromCaller(Object.assign(new TypeError(
      'defineRecord: fields must be those of the other definition of these records, '
        + `${list(known.fields)}; got ${list(fields)}. Records are compared by label and number of fields: `
        + 'others need another label',
    ), { code: 'ERR_INVALID_ARG_VALUE' }))
  }
  const id = kindCount++
  const Base = arity + instances > 3 ? WideRecord : RecordBase
  const Maker = (id < SHARED_MAX ? Base : class extends (Base as typeof RecordBase) {}) as Maker
  const kind = { label, arity, slots: arity + instances, id, fields, Maker }
  kinds.set(key, new WeakRef(kind))
  if (id < SHARED_MAX) shared.push(kind)
  else forgotten.register(kind, key)
  fields.forEach((name, i) => {
    if (id < SHARED_MAX) defineSharedField(name, kind, i)
    else defineField(Maker.prototype as RecordBase, name, i)
  })
  return kind
}

/**
 * Which of its namesakes a record is; a wildcard in a pattern, undefined if it is the plain value.
 */
export function instanceOf(record: RecordBase): unknown {
  const { arity, slots } = record.$kind
  return slots > arity ? slot(record, arity) : undefined
}

/** Where a record remembers its atom (see `atom.ts`). Not enumerable: it takes no part in comparisons. */
export const ATOM = Symbol('atom')

/** Records inside each other that `inspect` shows when it is asked for all: it recurs, and the stack has an end. */
const INSPECT_DEPTH = 100

/** A record of any kind. Made by the constructors that `defineRecord` returns, never directly. */
export class RecordBase {
  /** @internal */
  readonly $kind: RecordKind
  /** @internal */
  readonly $0: unknown
  /** @internal */
  readonly $1: unknown
  /** @internal */
  readonly $2: unknown

  /** @internal */
  constructor(kind: RecordKind, a: unknown, b: unknown, c: unknown) {
    this.$kind = kind
    this.$0 = a
    this.$1 = b
    this.$2 = c
  }

  /** As `inspect` shows it: `tcp-address('127.0.0.1', 5000)`. */
  toString(): string {
    return inspect(this)
  }

  toJSON(): Record<string, unknown> {
    const out: Record<string, unknown> = { record: this.$kind.label }
    this.$kind.fields.forEach((name, i) => (out[name] = slot(this, i)))
    const instance = instanceOf(this)
    if (typeof instance === 'number') out.instance = instance
    return out
  }

  [inspect.custom](depth: number | null, options: InspectOptions): string {
    if (depth !== null && depth < 0) return `[${this.$kind.label}]`
    const inner = { ...options, depth: Math.min(depth ?? INSPECT_DEPTH, INSPECT_DEPTH) - 1 }
    const values = this.$kind.fields.map((_name, i) => inspect(slot(this, i), inner))
    const instance = instanceOf(this)
    const suffix = typeof instance === 'number' ? `#${instance}` : ''
    return `${this.$kind.label}(${values.join(', ')})${suffix}`
  }
}

/* V8 sizes objects by the properties that the first few have had: so there is room for the atom inside. */
const none: RecordKind = { label: '', arity: 0, slots: 0, id: -1, fields: [], Maker: RecordBase }
Object.defineProperty(new RecordBase(none, 0, 0, 0), ATOM, { value: undefined, writable: true })

/** Slots beyond the third. */
type MoreSlots = { $3?: unknown, $4?: unknown, $5?: unknown, $6?: unknown, $7?: unknown }
  & Record<`$${number}`, unknown>

/** A record of four slots, as many are: the fourth lies in the object, too. */
class WideRecord extends RecordBase {
  /** @internal */
  readonly $3: unknown

  constructor(kind: RecordKind, a: unknown, b: unknown, c: unknown, d: unknown) {
    super(kind, a, b, c)
    this.$3 = d
  }
}
Object.defineProperty(new WideRecord(none, 0, 0, 0, 0), ATOM, { value: undefined, writable: true })

/** The value of slot number `i`: a field's, or the instance behind the last one. */
export function slot(record: RecordBase, i: number): unknown {
  switch (i) {
    case 0:
      return record.$0
    case 1:
      return record.$1
    case 2:
      return record.$2
    case 3:
      return (record as unknown as MoreSlots).$3
    case 4:
      return (record as unknown as MoreSlots).$4
    case 5:
      return (record as unknown as MoreSlots).$5
    case 6:
      return (record as unknown as MoreSlots).$6
    case 7:
      return (record as unknown as MoreSlots).$7
    default:
      return (record as unknown as MoreSlots)[`$${i}`]
  }
}

/** Makes a record with as many values as its kind has slots. */
export function makeRecord(kind: RecordKind, values: readonly unknown[]): RecordBase {
  const record = new kind.Maker(kind, values[0], values[1], values[2], values[3])
  if (values.length > 4) addSlots(record as unknown as MoreSlots, values)
  return record
}

/** Those behind the fourth. */
function addSlots(record: MoreSlots, values: readonly unknown[]): void {
  const n = values.length
  record.$4 = values[4]
  if (n > 5) record.$5 = values[5]
  if (n > 6) record.$6 = values[6]
  if (n > 7) record.$7 = values[7]
  for (let i = 8; i < n; i++) record[`$${i}`] = values[i]
}

declare const LABEL: unique symbol

/** The index keys of a tuple type. */
type Places<T extends readonly unknown[]> = Exclude<keyof T, keyof (readonly unknown[])>

/**
 * A record with the label `L`, field names `N` and field types `V`.
 * Messages and topics have the same type: a wildcard's place has the type that the field was declared with.
 */
export type RecordOf<L extends string, N extends readonly string[], V> = RecordBase & {
  /** Exists for the compiler only: tells records of different labels apart. */
  readonly [LABEL]: L
} & { readonly [K in Places<N> as N[K] & string]: K extends keyof V ? V[K] : never }

/** What may be written in each place of a topic. */
type TopicArguments<V extends readonly unknown[]> = { readonly [K in keyof V]: V[K] | Wildcard }

/** What messages have where a topic has an `X`. */
type ResolvedPart<X, V> = X extends Wildcard ? V : X

/** The field types of the messages that a topic with arguments `A` can meet. */
type Resolved<A, V> = { [K in keyof A]: ResolvedPart<A[K], K extends keyof V ? V[K] : never> }

/**
 * Constructor of one type of records; also what tells them apart (`type.is`). `V` are the types that
 * the fields of messages have, `W` those that the constructor takes.
 */
export interface RecordType<
  L extends string,
  N extends readonly string[],
  V extends readonly unknown[],
  W extends readonly unknown[] = V,
> {
  /** Makes a message, or a topic where an argument is or contains a wildcard. */
  <const A extends TopicArguments<W>>(...args: A): RecordOf<L, N, Resolved<A, V>>
  /** What the records are called. */
  readonly label: L
  /** Names of the fields, in order. */
  readonly fields: N
  /** @internal */
  readonly kind: RecordKind
  /** Whether `value` is a record of this kind. */
  is(value: unknown): value is RecordOf<L, N, V>
  /**
   * Types the fields; the value is the same constructor.
   * `defineRecord('says', ['who', 'what']).of<[string, string]>()`; a second list of types is for
   * fields in which more may be sent than comes.
   */
  of<
    F extends { readonly [K in keyof N]: unknown },
    G extends { readonly [K in keyof N]: unknown } = F,
  >(): RecordType<L, N, F extends readonly unknown[] ? F : never, G extends readonly unknown[] ? G : never>
}

/** The type of the records that a constructor makes. `type Says = RecordFrom<typeof says>` */
export type RecordFrom<T> = T extends { is(value: unknown): value is infer R } ? R : never

/**
 * Whether a field leaves open which instance is meant. Wildcards further inside don't: what has an instance
 * has no field with parts, so that nothing needs to be walked here.
 */
function isOpen(field: unknown): boolean {
  return field instanceof Wildcard
}

function miscount({ label, arity }: RecordKind, got: number): TypeError {
  const message = `${label}: expected ${arity} field${arity === 1 ? '' : 's'}; got ${got}`
  const code = got < arity ? 'ERR_MISSING_ARGS' : 'ERR_INVALID_ARG_VALUE'
  return fromCaller(Object.assign(new TypeError(message), { code }))
}

/** A constructor of records, as it is called. */
type RecordMaker = (...args: unknown[]) => RecordBase

function makerOf(kind: RecordKind): RecordMaker {
  const miscounted = (got: number): never => {
    throw miscount(kind, got)
  }
  const { Maker } = kind
  switch (kind.arity) {
    case 1:
      return function (a) {
        if (arguments.length !== 1) miscounted(arguments.length)
        return new Maker(kind, a, undefined, undefined)
      }
    case 2:
      if (kind.slots === 3) {
        return function (a, b) {
          if (arguments.length !== 2) miscounted(arguments.length)
          return new Maker(kind, a, b, isOpen(a) || isOpen(b) ? ANY_INSTANCE : undefined)
        }
      }
      return function (a, b) {
        if (arguments.length !== 2) miscounted(arguments.length)
        return new Maker(kind, a, b, undefined)
      }
    case 3:
      return function (a, b, c) {
        if (arguments.length !== 3) miscounted(arguments.length)
        return new Maker(kind, a, b, c)
      }
    case 4:
      return function (a, b, c, d) {
        if (arguments.length !== 4) miscounted(arguments.length)
        return new Maker(kind, a, b, c, d)
      }
    default:
      return (...values) => {
        if (values.length !== kind.arity) miscounted(values.length)
        return makeRecord(kind, values)
      }
  }
}

/** For each field name, the number of its slot by kind id; of the kinds that share a prototype. */
const slotsByName = new Map<string, number[]>()

/** Makes a name readable on the records of a kind, by the prototype that they share with others. */
function defineSharedField(name: string, kind: RecordKind, i: number): void {
  let slots = slotsByName.get(name)
  if (slots === undefined) {
    const slotOf: number[] = []
    slotsByName.set(name, (slots = slotOf))
    Object.defineProperty(RecordBase.prototype, name, {
      get(this: RecordBase): unknown {
        const i = slotOf[this.$kind.id]
        return i === undefined ? undefined : slot(this, i)
      },
    })
  }
  // No holes: V8 would check for them on each read.
  while (slots.length <= kind.id) slots.push(undefined as unknown as number)
  slots[kind.id] = i
}

/** The same by a prototype of the kind's own. */
function defineField(prototype: RecordBase, name: string, i: number): void {
  Object.defineProperty(prototype, name, {
    get(this: RecordBase): unknown {
      return slot(this, i)
    },
  })
}

/**
 * Defines a type of records.
 *
 * @param label the name that records are compared by
 * @param fields names of the fields, in order; each becomes a read-only property
 * @returns the constructor; `.of<[string, number]>()` gives the fields their types
 * @throws TypeError when the label or a field name is unusable, or when records with this label and number of
 *   fields have been defined with other fields, or in another order
 */
export function defineRecord<const L extends string, const N extends readonly string[]>(
  label: L,
  fields: N,
): RecordType<L, N, { readonly [K in keyof N]: unknown }> {
  if (typeof label !== 'string' || label === '') {
    throw argumentError('defineRecord', 'label', 'a non-empty string', label)
  }
  if (!Array.isArray(fields) || new Set(fields).size !== fields.length) {
    throw argumentError('defineRecord', 'fields', 'an array of distinct names', fields)
  }
  for (const name of fields) {
    if (typeof name !== 'string' || name === '' || name.startsWith('$') || isReserved(name)) {
      throw argumentError('defineRecord', 'fields', 'names other than "$..." and those of methods', name)
    }
  }
  return typeOf(kindFor(label, Object.freeze([...fields]))) as never
}

/**
 * Defines a type of records of two fields that can have namesakes (see the top of this file).
 *
 * @param checks what each field may be, as with `defineCheckedRecord`; nothing, and it may be anything
 */
export function defineInstancedRecord<const L extends string, const N extends readonly [string, string]>(
  label: L,
  fields: N,
  checks?: FieldChecks<N>,
): RecordType<L, N, { readonly [K in keyof N]: unknown }> {
  const kind = kindFor(label, Object.freeze([...fields]), 1)
  if (kind.slots === kind.arity) throw new Error(`${label} is defined already, as a record without instances`)
  return typeOf(kind, checks === undefined ? makerOf(kind) : checkedMaker(kind, checks)) as never
}

/** The kind of the records with this label and so many fields, if they are defined. */
export function kindNamed(label: string, arity: number): RecordKind | undefined {
  return kinds.get(`${arity}:${label}`)?.deref()
}

/** Makes a record of a kind that is defined already; undefined if none with this label and number of fields is. */
export function recordNamed(label: string, values: readonly unknown[], instance?: number): RecordBase | undefined {
  const kind = kindNamed(label, values.length)
  if (kind === undefined) return undefined
  if (kind.slots === kind.arity) return makeRecord(kind, values)
  return makeRecord(kind, [...values, instance ?? (values.some(isOpen) ? ANY_INSTANCE : undefined)])
}

/** The labels of records that are defined, with their fields. For those who look for one. */
export function knownRecords(): { readonly label: string, readonly fields: readonly string[] }[] {
  const found: { readonly label: string, readonly fields: readonly string[] }[] = []
  for (const reference of kinds.values()) {
    const kind = reference.deref()
    if (kind !== undefined) found.push({ label: kind.label, fields: kind.fields })
  }
  return found
}

/**
 * The record with the same fields that is another value: namesake number `instance`.
 *
 * @param record a message of an instanced kind, whose fields have no parts
 * @param instance a positive integer
 */
export function withInstance<R extends RecordBase>(record: R, instance: number): R {
  return new record.$kind.Maker(record.$kind, record.$0, record.$1, instance) as R
}

/** For fields by name: what each may be. Wildcards may be everywhere, and are not asked about. */
export type FieldChecks<N extends readonly string[]> = { readonly [K in N[number]]?: Check }

/**
 * Defines a type of records with values that make no sense refused where they are made, so that the error
 * points there. The one who is sent such records checks them all the same: others can define them, too.
 *
 * @param checks what each field may be; one that isn't there may be anything
 */
export function defineCheckedRecord<const L extends string, const N extends readonly string[]>(
  label: L,
  fields: N,
  checks: FieldChecks<N>,
): RecordType<L, N, { readonly [K in keyof N]: unknown }> {
  const kind = kindFor(label, Object.freeze([...fields]))
  return typeOf(kind, checkedMaker(kind, checks)) as never
}

/** The constructor's name in programs: `tcpAddress` makes records that are called `tcp-address`. */
const constructorName = (label: string): string =>
  label.replace(/-(\w)/g, (_dash, letter: string) => letter.toUpperCase())

/** Where nothing is checked. */
const anything: Check = () => undefined

/** What makes the records of a kind once their fields are checked: written out, as a loop takes five times as long. */
function checkedMaker(kind: RecordKind, checks: Readonly<Record<string, Check | undefined>>): RecordMaker {
  const { label, arity, slots, fields, Maker } = kind
  if (arity > 4) throw new Error(`${label}: only up to four fields can be checked`)
  const call = constructorName(label)
  const wanted = fields.map((name) => checks[name])
  const [checkA = anything, checkB = anything, checkC = anything, checkD = anything] = wanted
  const [nameA, nameB, nameC, nameD] = fields
  const counted = (got: number): void => {
    if (got !== arity) throw miscount(kind, got)
  }
  const hasInstances = slots > arity
  switch (arity) {
    case 1:
      return function (a) {
        counted(arguments.length)
        if (!(a instanceof Wildcard)) checkA(call, nameA, a)
        return new Maker(kind, a, undefined, undefined)
      }
    case 2:
      return function (a, b) {
        counted(arguments.length)
        if (!(a instanceof Wildcard)) checkA(call, nameA, a)
        if (!(b instanceof Wildcard)) checkB(call, nameB, b)
        return new Maker(kind, a, b, hasInstances && (isOpen(a) || isOpen(b)) ? ANY_INSTANCE : undefined)
      }
    default:
      return function (a, b, c, d) {
        counted(arguments.length)
        if (!(a instanceof Wildcard)) checkA(call, nameA, a)
        if (!(b instanceof Wildcard)) checkB(call, nameB, b)
        if (!(c instanceof Wildcard)) checkC(call, nameC, c)
        if (arity === 4 && !(d instanceof Wildcard)) checkD(call, nameD, d)
        return new Maker(kind, a, b, c, d)
      }
  }
}

function typeOf(kind: RecordKind, make: RecordMaker = makerOf(kind)): unknown {
  const { label } = kind
  Object.defineProperties(make, {
    name: { value: label },
    label: { value: label },
    fields: { value: kind.fields },
    kind: { value: kind },
    is: { value: (value: unknown) => value instanceof RecordBase && value.$kind === kind },
    of: { value: () => make },
  })
  return make
}

function isReserved(name: string): boolean {
  return name === 'toJSON' || name in Object.prototype
}

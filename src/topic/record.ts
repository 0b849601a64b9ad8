/**
 * Records: named constructors with a fixed list of fields, compared by name and fields.
 *
 * Field values live in the slots `$0`, `$1`, ... so that matching reads records of all types through
 * the same few property loads; the named fields are getters over them. Two definitions with the same
 * label and field count make records of one kind (as prefab structs do), whatever the field names.
 */
import { inspect, type InspectOptions } from 'node:util'
import { argumentError } from '../support/errors.js'
import type { Wildcard } from './wildcard.js'

/** Identity of a kind of records: one per label and field count. `id` counts from 0. */
export interface RecordKind {
  readonly label: string
  readonly arity: number
  readonly id: number
}

/** On the prototypes of records: no object of anyone else has it. */
const KIND = Symbol('kind')

/** Where a record remembers its atom (see `atom.ts`). Not enumerable: it takes no part in comparisons. */
export const ATOM = Symbol('atom')

/**
 * Makes V8 keep room for the atom inside of a class's objects: it sizes them by the properties that
 * the first few have had. Elsewhere it would cost another cache line on each look-up.
 */
function reserveAtom(Class: RecordClass): void {
  Object.defineProperty(new Class(), ATOM, { value: undefined, writable: true })
}

const kinds = new Map<string, RecordKind>()

function kindFor(label: string, arity: number): RecordKind {
  const key = `${arity}:${label}`
  let kind = kinds.get(key)
  if (kind === undefined) kinds.set(key, (kind = { label, arity, id: kinds.size }))
  return kind
}

/** Base of all records. Made by the constructors that `defineRecord` returns, never directly. */
export abstract class RecordBase {
  /** The constructor that made it; on the prototype. @internal */
  declare readonly $type: AnyRecordType
  /** On the prototype. @internal */
  declare readonly $kind: RecordKind
  /** @internal */
  declare readonly $0: unknown
  /** @internal */
  declare readonly $1: unknown
  /** @internal */
  declare readonly $2: unknown
  /** @internal */
  declare readonly $3: unknown

  toJSON(): Record<string, unknown> {
    const out: Record<string, unknown> = { record: this.$kind.label }
    this.$type.fields.forEach((name, i) => (out[name] = slot(this, i)))
    return out
  }

  [inspect.custom](_depth: number, options: InspectOptions): string {
    const values = this.$type.fields.map((_name, i) => inspect(slot(this, i), options))
    return `${this.$kind.label}(${values.join(', ')})`
  }
}

/** The kind of a record; undefined for any other object. One property load, on the hot path. */
export function kindOf(value: object): RecordKind | undefined {
  return (value as { readonly [KIND]?: RecordKind })[KIND]
}

/** The value of field number `i`. */
export function slot(record: RecordBase, i: number): unknown {
  switch (i) {
    case 0:
      return record.$0
    case 1:
      return record.$1
    case 2:
      return record.$2
    case 3:
      return record.$3
    default:
      return (record as unknown as Record<string, unknown>)[`$${i}`]
  }
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

/** The field types of the messages that a topic with arguments `A` can meet. */
type Resolved<A, V> = {
  [K in keyof A]: A[K] extends Wildcard ? (K extends keyof V ? V[K] : never) : A[K]
}

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
  readonly label: L
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

/** @internal */
export interface AnyRecordType {
  (...args: readonly unknown[]): RecordBase
  readonly label: string
  readonly fields: readonly string[]
  readonly kind: RecordKind
}

/** An object under construction: the slots are read-only only afterwards. */
type Slots = Record<`$${number}`, unknown>

type RecordClass = new (...values: unknown[]) => RecordBase

/* One class per definition, written out per field count: V8 then allocates the object in one go. */
function classOf(arity: number): RecordClass {
  switch (arity) {
    case 0:
      return class extends (RecordBase as unknown as RecordClass) {}
    case 1:
      return slotClass(function (this: Slots, a: unknown) {
        this.$0 = a
      })
    case 2:
      return slotClass(function (this: Slots, a: unknown, b: unknown) {
        this.$0 = a
        this.$1 = b
      })
    case 3:
      return slotClass(function (this: Slots, a: unknown, b: unknown, c: unknown) {
        this.$0 = a
        this.$1 = b
        this.$2 = c
      })
    case 4:
      return slotClass(function (this: Slots, a: unknown, b: unknown, c: unknown, d: unknown) {
        this.$0 = a
        this.$1 = b
        this.$2 = c
        this.$3 = d
      })
    default:
      return slotClass(function (this: Slots, ...values: unknown[]) {
        for (let i = 0; i < values.length; i++) this[`$${i}`] = values[i]
      })
  }
}

/* A plain constructor function, as `super()` of a derived class costs on each construction. */
function slotClass(constructor: (this: Slots, ...values: never[]) => void): RecordClass {
  constructor.prototype = Object.create(RecordBase.prototype) as object
  return constructor as unknown as RecordClass
}

function makerOf(Class: RecordClass, label: string, arity: number): (...args: unknown[]) => RecordBase {
  const miscounted = (got: number): never => {
    throw new TypeError(`${label}: expected ${arity} field${arity === 1 ? '' : 's'}; got ${got}`)
  }
  switch (arity) {
    case 1:
      return function (a) {
        if (arguments.length !== 1) miscounted(arguments.length)
        return new Class(a)
      }
    case 2:
      return function (a, b) {
        if (arguments.length !== 2) miscounted(arguments.length)
        return new Class(a, b)
      }
    case 3:
      return function (a, b, c) {
        if (arguments.length !== 3) miscounted(arguments.length)
        return new Class(a, b, c)
      }
    default:
      return (...values) => {
        if (values.length !== arity) miscounted(values.length)
        return new Class(...values)
      }
  }
}

const getters = [0, 1, 2, 3].map((i) =>
  [
    function (this: RecordBase) {
      return this.$0
    },
    function (this: RecordBase) {
      return this.$1
    },
    function (this: RecordBase) {
      return this.$2
    },
    function (this: RecordBase) {
      return this.$3
    },
  ].at(i),
)

function getterOf(i: number): (this: RecordBase) => unknown {
  return (
    getters[i] ??
    function (this: RecordBase) {
      return slot(this, i)
    }
  )
}

/**
 * Defines a type of records.
 *
 * @param label the name that records are compared by
 * @param fields names of the fields, in order; each becomes a read-only property
 * @returns the constructor; `.of<[string, number]>()` gives the fields their types
 * @throws TypeError when the label or a field name is unusable
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
    if (typeof name !== 'string' || name === '' || name.startsWith('$') || name in RecordBase.prototype) {
      throw argumentError('defineRecord', 'fields', 'names other than "toJSON" and "$..."', name)
    }
  }
  const kind = kindFor(label, fields.length)
  const Class = classOf(fields.length)
  const prototype = Class.prototype as object
  const make = makerOf(Class, label, fields.length)
  fields.forEach((name, i) => {
    Object.defineProperty(prototype, name, { get: getterOf(i), enumerable: true, configurable: true })
  })
  Object.defineProperty(prototype, '$kind', { value: kind })
  Object.defineProperty(prototype, KIND, { value: kind })
  Object.defineProperty(prototype, '$type', { value: make })
  reserveAtom(Class)
  Object.defineProperties(make, {
    name: { value: label },
    label: { value: label },
    fields: { value: Object.freeze([...fields]) },
    kind: { value: kind },
    is: { value: (value: unknown) => value instanceof RecordBase && value.$kind === kind },
    of: { value: () => make },
  })
  return make as unknown as RecordType<L, N, { readonly [K in keyof N]: unknown }>
}

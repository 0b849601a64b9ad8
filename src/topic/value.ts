/**
 * What counts as one value: structural equality and structural keys of ground values.
 *
 * Primitives compare as in a Map (NaN equals itself, 0 equals -0), arrays and records by their parts,
 * byte arrays by content; every other object or function is opaque and equal only to itself.
 */
import { makeRecord, RecordBase, slot } from './record.js'
import { Wildcard } from './wildcard.js'

/** An array or a record: a value with parts. */
export type Compound = readonly unknown[] | RecordBase

export function isCompound(value: unknown): value is Compound {
  return Array.isArray(value) || value instanceof RecordBase
}

/** How many parts a compound has; the instance of a record is one. */
export function size(value: Compound): number {
  return value instanceof RecordBase ? value.$kind.slots : value.length
}

/** Part number `i` of a compound. */
export function part(value: Compound, i: number): unknown {
  return value instanceof RecordBase ? slot(value, i) : value[i]
}

/** Whether two compounds have the same constructor: both arrays of one length, or records of one kind. */
export function sameConstructor(a: Compound, b: Compound): boolean {
  if (a instanceof RecordBase) return b instanceof RecordBase && a.$kind === b.$kind
  return !(b instanceof RecordBase) && a.length === b.length
}

/** A compound with the constructor of `like` and the given parts. */
export function rebuild(like: Compound, parts: readonly unknown[]): Compound {
  return like instanceof RecordBase ? makeRecord(like.$kind, parts) : parts
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Structural equality of ground values. Wildcards are equal when their names are. */
export function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    return a !== a && b !== b // NaN
  }
  if (isCompound(a)) {
    if (!isCompound(b) || !sameConstructor(a, b)) return false
    for (let i = 0, n = size(a); i < n; i++) if (!equal(part(a, i), part(b, i))) return false
    return true
  }
  if (a instanceof Uint8Array) return b instanceof Uint8Array && sameBytes(a, b)
  if (a instanceof Wildcard) return b instanceof Wildcard && a.name === b.name
  return false
}

/** Whether a topic has no wildcard in it. */
export function isGround(topic: unknown): boolean {
  if (typeof topic !== 'object' || topic === null) return true
  if (topic instanceof Wildcard) return false
  if (!isCompound(topic)) return true
  for (let i = 0, n = size(topic); i < n; i++) if (!isGround(part(topic, i))) return false
  return true
}

const opaqueIds = new WeakMap<object, number>()
let opaqueCount = 0

function opaqueId(value: object | symbol): number {
  const key = value as object // V8 takes unregistered symbols as well
  let id = opaqueIds.get(key)
  if (id === undefined) opaqueIds.set(key, (id = ++opaqueCount))
  return id
}

/**
 * A string that two values share exactly when they are equal. In one piece: what V8 makes of `+` would
 * keep all the pieces for as long as the string is kept.
 *
 * @param wildcards whether the value may have wildcards in it
 * @returns undefined when the value has a wildcard in it that it may not have
 */
export function structuralKey(value: unknown, wildcards = false): string | undefined {
  switch (typeof value) {
    case 'string':
      return `s${value.length}:${value}`
    case 'number':
      return `n${value}`
    case 'bigint':
      return `i${value}`
    case 'symbol': {
      const registered = Symbol.keyFor(value)
      return registered === undefined ? `o${opaqueId(value)}` : `y${registered.length}:${registered}`
    }
    case 'object':
      return value === null ? 'null' : objectKey(value, wildcards)
    case 'function':
      return `o${opaqueId(value)}`
    default:
      return String(value)
  }
}

function objectKey(value: object, wildcards: boolean): string | undefined {
  if (isCompound(value)) {
    const pieces = [value instanceof RecordBase ? `r${value.$kind.id}` : `a${value.length}`, '(']
    for (let i = 0, n = size(value); i < n; i++) {
      const inner = structuralKey(part(value, i), wildcards)
      if (inner === undefined) return undefined
      pieces.push(inner, ',')
    }
    pieces.push(')')
    return pieces.join('')
  }
  if (value instanceof Wildcard) return wildcards ? `w${structuralKey(value.name)}` : undefined
  if (value instanceof Uint8Array) {
    return `b${value.length}:${Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1')}`
  }
  return `o${opaqueId(value)}`
}

/**
 * A topic that no later write to its arrays or byte arrays can change. Records are taken as they are,
 * unless there is such a part in them.
 */
export function snapshot(topic: unknown): unknown {
  if (topic instanceof Uint8Array) return Uint8Array.from(topic)
  if (Array.isArray(topic)) return Object.freeze(topic.map(snapshot)) // handlers get to see it
  if (!(topic instanceof RecordBase)) return topic
  const { slots } = topic.$kind
  for (let i = 0; i < slots; i++) {
    // Nearly no topic has a part that can be written to.
    if (snapshot(slot(topic, i)) !== slot(topic, i)) {
      return rebuild(topic, Array.from({ length: slots }, (_slot, j) => snapshot(slot(topic, j))))
    }
  }
  return topic
}

/**
 * What to key a Map with so that equal values meet: the value itself unless it has parts.
 * The prefix keeps structural keys apart from strings that look like them.
 */
export function mapKey(value: unknown): unknown {
  if (typeof value === 'string') return value.startsWith('\u0000') ? `\u0000${structuralKey(value)}` : value
  if (typeof value !== 'object' || value === null) return value
  if (isCompound(value) || value instanceof Uint8Array || value instanceof Wildcard) {
    return `\u0000${structuralKey(value, true)}`
  }
  return value
}

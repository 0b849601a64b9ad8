/**
 * What values with parts are, and what counts as one value: structural equality.
 *
 * Whatever is walked here may be of any depth, share parts, or contain itself: nothing recurs, and nothing is
 * walked again and again.
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

/** Whether all parts of a compound are primitives: then there is no wildcard in it, and nothing else with parts. */
export function isFlat(value: Compound): boolean {
  for (let i = 0, n = size(value); i < n; i++) {
    const inner = part(value, i)
    if ((typeof inner === 'object' && inner !== null) || typeof inner === 'function') return false
  }
  return true
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

/** From so many steps on, what was compared or visited is remembered: then parts may be shared, or cyclic. */
const REMEMBER_AFTER = 256

/** Structural equality of ground values. Wildcards are equal when their names are. */
export function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    return a !== a && b !== b // NaN
  }
  if (isCompound(a)) return isCompound(b) && sameConstructor(a, b) && equalParts(a, b)
  if (a instanceof Uint8Array) return b instanceof Uint8Array && sameBytes(a, b)
  if (a instanceof Wildcard) return b instanceof Wildcard && a.name === b.name
  return false
}

/**
 * Two compounds of one constructor are taken for equal, and then whatever that makes equal, until something isn't
 * (Hopcroft and Karp's equivalence of automata, 1971): nearly linear in the number of different parts.
 */
function equalParts(a: Compound, b: Compound): boolean {
  let waiting: Compound[] | undefined
  let classes: Classes | undefined
  let steps = 0
  let x = a
  let y = b
  for (;;) {
    for (let i = 0, n = size(x); i < n; i++) {
      const inner = part(x, i)
      const other = part(y, i)
      if (inner === other) continue
      if (!isCompound(inner)) {
        if (!equal(inner, other)) return false
      } else if (!isCompound(other) || !sameConstructor(inner, other)) {
        return false
      } else {
        ;(waiting ??= []).push(inner, other)
      }
    }
    do {
      if (waiting === undefined || waiting.length === 0) return true
      y = waiting.pop() as Compound
      x = waiting.pop() as Compound
      if (++steps > REMEMBER_AFTER) classes ??= new Classes()
    } while (classes?.join(x, y) === false)
  }
}

/** Sets of compounds that were taken for equal: union-find, by size. */
class Classes {
  private readonly members = new Map<Compound, { above: Compound; size: number }>()

  /** @returns whether they were in different sets */
  join(a: Compound, b: Compound): boolean {
    const x = this.rootOf(a)
    const y = this.rootOf(b)
    if (x === y) return false
    if (x.size < y.size) {
      x.above = y.above
      y.size += x.size
    } else {
      y.above = x.above
      x.size += y.size
    }
    return true
  }

  private rootOf(compound: Compound): { above: Compound; size: number } {
    const known = this.members.get(compound)
    let member: { above: Compound; size: number } = known ?? { above: compound, size: 1 }
    if (known === undefined) this.members.set(compound, member)
    for (let here = compound; member.above !== here; ) {
      here = member.above
      // Whoever is above another is a member.
      member = this.members.get(here) ?? member
    }
    return member
  }
}

/** Whether a topic has no wildcard in it. */
export function isGround(topic: unknown): boolean {
  if (typeof topic !== 'object' || topic === null) return true
  if (topic instanceof Wildcard) return false
  if (!isCompound(topic)) return true
  let waiting: Compound[] | undefined
  let visited: Set<Compound> | undefined
  let steps = 0
  let compound: Compound = topic
  for (;;) {
    for (let i = 0, n = size(compound); i < n; i++) {
      const inner = part(compound, i)
      if (typeof inner !== 'object' || inner === null) continue
      if (inner instanceof Wildcard) return false
      if (isCompound(inner)) (waiting ??= []).push(inner)
    }
    for (;;) {
      if (waiting === undefined || waiting.length === 0) return true
      compound = waiting.pop() as Compound
      if (++steps <= REMEMBER_AFTER) break
      visited ??= new Set()
      if (visited.has(compound)) continue
      visited.add(compound)
      break
    }
  }
}

/** A compound on the way of `mapParts`, whose parts up to `next` are done. */
class Copying {
  next = 0
  /** Undefined as long as no part has changed. */
  parts: unknown[] | undefined = undefined

  constructor(
    readonly of: Compound,
    readonly above: Copying | undefined,
  ) {}

  done(before: unknown, after: unknown): void {
    if (this.parts === undefined && !Object.is(after, before)) {
      this.parts = []
      for (let j = 0; j < this.next; j++) this.parts.push(part(this.of, j))
    }
    this.parts?.push(after)
    this.next++
  }
}

/**
 * Copies a compound with what is in it mapped, in reading order. What has no changed part is not copied. For
 * topics within the limits: what stands in several places is walked several times.
 *
 * @param map for what has no parts
 * @param whole compounds that are taken as they are
 * @param copy what a compound becomes; `parts` is undefined when none has changed
 */
export function mapParts(
  root: Compound,
  map: (leaf: unknown) => unknown,
  whole: (compound: Compound) => boolean,
  copy: (of: Compound, parts: readonly unknown[] | undefined) => unknown = copyIfChanged,
): unknown {
  let here = new Copying(root, undefined)
  for (;;) {
    const { of } = here
    const n = size(of)
    while (here.next < n) {
      const before = part(of, here.next)
      if (!isCompound(before)) {
        here.done(before, map(before))
      } else if (whole(before)) {
        here.done(before, before)
      } else {
        here = new Copying(before, here)
        break
      }
    }
    if (here.of !== of || here.next < n) continue
    const copied = copy(of, here.parts)
    if (here.above === undefined) return copied
    here = here.above
    here.done(of, copied)
  }
}

function copyIfChanged(of: Compound, parts: readonly unknown[] | undefined): unknown {
  return parts === undefined ? of : rebuild(of, parts)
}

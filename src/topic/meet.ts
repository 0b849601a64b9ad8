/**
 * Meetings of topics: their most general common instance, in canonical form.
 *
 * The wildcards of the two sides are renamed apart. Topics without a repeated wildcard (nearly all)
 * meet in one walk; the others are unified with a substitution and an occurs check
 * (Robinson, "A Machine-Oriented Logic Based on the Resolution Principle", 1965).
 *
 * Parts that one side gives and the other leaves open are taken over as they are, not copied, so that
 * an address in a meeting is the very object that was in the endpoint's topic.
 */
import { hasAtom } from './atom.js'
import {
  equal,
  isCompound,
  isGround,
  part,
  rebuild,
  sameConstructor,
  size,
  type Compound,
} from './value.js'
import { isFresh, Numbering, Wildcard } from './wildcard.js'

/** Marks topics that don't meet: `undefined` is an ordinary value. */
export const NO_MEETING = Symbol('no meeting')

/** Whether no wildcard stands twice in a topic. */
export function isLinear(topic: unknown): boolean {
  return namesOnce(topic, undefined) !== null
}

type Names = Set<string | number | symbol> | undefined

/** The names of the wildcards, with those `seen` before; null when one stands twice. `_` has no name. */
function namesOnce(topic: unknown, seen: Names): Names | null {
  if (topic instanceof Wildcard) {
    if (isFresh(topic)) return seen
    if (seen?.has(topic.name) === true) return null
    return (seen ?? new Set()).add(topic.name)
  }
  if (!isCompound(topic)) return seen
  let names: Names | null = seen
  for (let i = 0, n = size(topic); i < n && names !== null; i++) names = namesOnce(part(topic, i), names)
  return names
}

/**
 * The meeting of two topics.
 *
 * @param linear whether both sides are known to be linear
 * @returns the canonical meeting, or NO_MEETING
 */
export function meet(a: unknown, b: unknown, linear = isLinear(a) && isLinear(b)): unknown {
  if (linear) return new LinearMeeting().meet(a, b)
  return new Unifier().meet(a, b)
}

/** A topic with its wildcards numbered from 0 in reading order. Ground parts are not copied. */
export function canonical(topic: unknown): unknown {
  return new Renumbering().apply(topic)
}

/** Whether two topics are equal up to renaming of wildcards, sharing included. */
export function sameTopic(a: unknown, b: unknown): boolean {
  return a === b || equal(canonical(a), canonical(b))
}

/** Whether `special` is an instance of `general`. */
export function isSpecialization(special: unknown, general: unknown): boolean {
  const meeting = meet(special, general)
  return meeting !== NO_MEETING && equal(meeting, canonical(special))
}

/** Copies `value` with its parts mapped; `value` itself when no part changed. */
function mapParts(value: Compound, map: (inner: unknown) => unknown): unknown {
  let parts: unknown[] | undefined
  for (let i = 0, n = size(value); i < n; i++) {
    const before = part(value, i)
    const after = map(before)
    if (parts !== undefined) {
      parts.push(after)
    } else if (after !== before) {
      parts = []
      for (let j = 0; j < i; j++) parts.push(part(value, j))
      parts.push(after)
    }
  }
  return parts === undefined ? value : rebuild(value, parts)
}

/** A part of a meeting: the receiver may write to it, the topic must not change by that. */
function detached(value: unknown): unknown {
  return value instanceof Uint8Array ? Uint8Array.prototype.slice.call(value) : value
}

class Renumbering {
  private readonly numbering = new Numbering()
  private names: Map<string | number | symbol, Wildcard> | undefined

  apply(topic: unknown): unknown {
    if (typeof topic !== 'object' || topic === null) return topic
    if (topic instanceof Wildcard) {
      if (isFresh(topic)) return this.numbering.next(topic)
      this.names ??= new Map()
      let renamed = this.names.get(topic.name)
      if (renamed === undefined) this.names.set(topic.name, (renamed = this.numbering.next(topic)))
      return renamed
    }
    if (!isCompound(topic) || hasAtom(topic)) return topic
    return mapParts(topic, (inner) => this.apply(inner))
  }
}

/** Meeting of two topics in which no wildcard stands twice: every place can be decided by itself. */
class LinearMeeting {
  private readonly numbering = new Numbering()

  meet(a: unknown, b: unknown): unknown {
    if (a === b && (typeof a !== 'object' || a === null)) return a
    if (a instanceof Wildcard) return this.renumber(b)
    if (b instanceof Wildcard) return this.renumber(a)
    if (!isCompound(a)) return equal(a, b) ? detached(a) : NO_MEETING
    if (!isCompound(b) || !sameConstructor(a, b)) return NO_MEETING
    if (a === b && hasAtom(a)) return a
    // Whether all parts so far are those of one side: then there is no need of a new topic yet.
    let fromA = true
    let fromB = true
    let parts: unknown[] | undefined
    for (let i = 0, n = size(a); i < n; i++) {
      const x = part(a, i)
      const y = part(b, i)
      const inner = this.meet(x, y)
      if (inner === NO_MEETING) return NO_MEETING
      if (parts !== undefined) {
        parts.push(inner)
        continue
      }
      const like = fromA ? a : b
      fromA &&= inner === x
      fromB &&= inner === y
      if (fromA || fromB) continue
      parts = []
      for (let j = 0; j < i; j++) parts.push(part(like, j))
      parts.push(inner)
    }
    return parts === undefined ? (fromA ? a : b) : rebuild(a, parts)
  }

  private renumber(topic: unknown): unknown {
    if (topic instanceof Wildcard) return this.numbering.next(topic)
    if (!isCompound(topic)) return detached(topic)
    if (hasAtom(topic)) return topic
    return mapParts(topic, (inner) => this.renumber(inner))
  }
}

/** A wildcard of one of the sides, bound or not. Doubles as the canonical wildcard's holder at the end. */
class Variable {
  /** One of the wildcards that it stands for. */
  readonly wildcard: Wildcard
  bound = false
  value: unknown = undefined
  renamed: Wildcard | undefined

  constructor(wildcard: Wildcard) {
    this.wildcard = wildcard
  }
}

class Unifier {
  private readonly numbering = new Numbering()

  meet(a: unknown, b: unknown): unknown {
    const left = this.open(a, new Map())
    const right = this.open(b, new Map())
    return this.unify(left, right) ? this.close(left) : NO_MEETING
  }

  /** Replaces the wildcards of one side by variables of its own. */
  private open(topic: unknown, names: Map<string | number | symbol, Variable>): unknown {
    if (topic instanceof Wildcard) {
      if (isFresh(topic)) return new Variable(topic)
      let variable = names.get(topic.name)
      if (variable === undefined) names.set(topic.name, (variable = new Variable(topic)))
      return variable
    }
    if (!isCompound(topic) || isGround(topic)) return topic
    return mapParts(topic, (inner) => this.open(inner, names))
  }

  private unify(a: unknown, b: unknown): boolean {
    const x = resolve(a)
    const y = resolve(b)
    if (x === y) return true
    if (x instanceof Variable) return bind(x, y)
    if (y instanceof Variable) return bind(y, x)
    if (!isCompound(x) || !isCompound(y)) return equal(x, y)
    if (!sameConstructor(x, y)) return false
    for (let i = 0, n = size(x); i < n; i++) if (!this.unify(part(x, i), part(y, i))) return false
    return true
  }

  /** Puts bindings in place and numbers what is left. */
  private close(term: unknown): unknown {
    const value = resolve(term)
    if (value instanceof Variable) return (value.renamed ??= this.numbering.next(value.wildcard))
    return isCompound(value) ? mapParts(value, (inner) => this.close(inner)) : detached(value)
  }
}

function resolve(term: unknown): unknown {
  let value = term
  while (value instanceof Variable && value.bound) value = value.value
  return value
}

function bind(variable: Variable, value: unknown): boolean {
  if (occurs(variable, value)) return false
  variable.bound = true
  variable.value = value
  return true
}

/** The occurs check: a wildcard can't stand for something that contains it. */
function occurs(variable: Variable, term: unknown): boolean {
  const value = resolve(term)
  if (value === variable) return true
  if (!isCompound(value)) return false
  for (let i = 0, n = size(value); i < n; i++) if (occurs(variable, part(value, i))) return true
  return false
}

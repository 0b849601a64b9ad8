/**
 * Meetings of topics: their most general common instance, in canonical form.
 *
 * The wildcards of the two sides are renamed apart. Topics without a repeated wildcard (nearly all)
 * meet in one walk; the others are unified as graphs (`unify.ts`). Both take time that is nearly linear in the
 * size of the topics, and nothing recurs.
 *
 * Parts that one side gives and the other leaves open are taken over as they are, not copied, so that
 * an address in a meeting is the very object that was in the endpoint's topic.
 */
import { hasAtom } from './atom.js'
import { examine, isLinear } from './examine.js'
import { RecordBase } from './record.js'
import { Unifier } from './unify.js'
import {
  equal, isCompound, isFlat, isGround, mapParts, part, rebuild, sameConstructor, size, type Compound,
} from './value.js'
import { isFresh, Numbering, Wildcard } from './wildcard.js'

/** Marks topics that don't meet: `undefined` is an ordinary value. */
export const NO_MEETING = Symbol('no meeting')

/**
 * The meeting of two topics. What stands in several places of it may be one and the same object.
 *
 * @returns the canonical meeting, or NO_MEETING
 * @throws RangeError when a topic exceeds the limits
 */
export function meet(a: unknown, b: unknown): unknown {
  const linear = isLinear(a)
  return meetExamined(a, b, isLinear(b) && linear)
}

/**
 * The meeting of topics that were examined.
 *
 * @param linear whether both are linear
 */
export function meetExamined(a: unknown, b: unknown, linear: boolean): unknown {
  if (linear) return meetLinear(a, b)
  const unifier = new Unifier(a, b)
  const result = unifier.unify() ? unifier.result(detached) : undefined
  return result === undefined ? NO_MEETING : result.topic
}

/**
 * A topic with its wildcards numbered from 0 in reading order. Ground parts are not copied.
 *
 * @throws RangeError when it exceeds the limits
 */
export function canonical(topic: unknown): unknown {
  examine(topic)
  const numbering = new Numbering()
  const names = new Map<Wildcard['name'], Wildcard>()
  return mapTopic(topic, (leaf) => {
    if (!(leaf instanceof Wildcard)) return leaf
    if (isFresh(leaf)) return numbering.next(leaf)
    let renamed = names.get(leaf.name)
    if (renamed === undefined) names.set(leaf.name, (renamed = numbering.next(leaf)))
    return renamed
  })
}

/** Whether two topics are equal up to renaming of wildcards, sharing included. */
export function sameTopic(a: unknown, b: unknown): boolean {
  return a === b || equal(canonical(a), canonical(b))
}

/**
 * Whether `special` is an instance of `general`.
 *
 * @throws RangeError when one of them exceeds the limits
 */
export function isSpecialization(special: unknown, general: unknown): boolean {
  const meeting = meet(special, general)
  return meeting !== NO_MEETING && equal(meeting, canonical(special))
}

/**
 * Whether a message meets a topic that was examined. The message may be of any size: of its parts only those are
 * walked that stand where a wildcard is repeated.
 *
 * @throws RangeError when there are wildcards in those, and the message exceeds the limits
 */
export function fits(body: unknown, topic: unknown): boolean {
  const bound = new Map<Wildcard['name'], unknown>()
  const again: unknown[] = []
  const waiting: unknown[] = [body, topic]
  while (waiting.length > 0) {
    const wanted = waiting.pop()
    const value = waiting.pop()
    if (wanted instanceof Wildcard) {
      if (isFresh(wanted)) continue
      if (bound.has(wanted.name)) again.push(bound.get(wanted.name), value)
      else bound.set(wanted.name, value)
    } else if (value instanceof Wildcard) {
      return meet(body, topic) !== NO_MEETING
    } else if (!isCompound(wanted)) {
      if (!equal(value, wanted)) return false
    } else {
      if (!isCompound(value) || !sameConstructor(value, wanted)) return false
      for (let i = size(wanted) - 1; i >= 0; i--) waiting.push(part(value, i), part(wanted, i))
    }
  }
  for (let i = 0; i < again.length; i += 2) {
    if (!isGround(again[i]) || !isGround(again[i + 1])) return meet(body, topic) !== NO_MEETING
    if (!equal(again[i], again[i + 1])) return false
  }
  return true
}

function mapTopic(topic: unknown, map: (leaf: unknown) => unknown): unknown {
  if (!isCompound(topic)) return map(topic)
  return isWhole(topic) ? topic : mapParts(topic, map, isWhole)
}

/** Records that have, or had, an atom are ground, and nothing in them can be written to. */
function isWhole(compound: Compound): boolean {
  return compound instanceof RecordBase && hasAtom(compound)
}

/** A part of a meeting: the receiver may write to it, the topic must not change by that. */
function detached(leaf: unknown): unknown {
  return leaf instanceof Uint8Array ? Uint8Array.prototype.slice.call(leaf) : leaf
}

/** Two compounds that are being met, whose parts up to `next` are. */
class Pair {
  next = 0
  /** Whether all parts so far are those of one side: then there is no need of a new topic yet. */
  fromA = true
  fromB = true
  parts: unknown[] | undefined = undefined

  constructor(
    readonly a: Compound,
    readonly b: Compound,
    readonly above: Pair | undefined,
  ) {}

  done(inner: unknown): void {
    const i = this.next++
    if (this.parts !== undefined) {
      this.parts.push(inner)
      return
    }
    const like = this.fromA ? this.a : this.b
    this.fromA &&= inner === part(this.a, i)
    this.fromB &&= inner === part(this.b, i)
    if (this.fromA || this.fromB) return
    this.parts = []
    for (let j = 0; j < i; j++) this.parts.push(part(like, j))
    this.parts.push(inner)
  }

  get meeting(): unknown {
    if (this.parts !== undefined) return rebuild(this.a, this.parts)
    return this.fromA ? this.a : this.b
  }
}

/** Stands for a meeting that is still to be worked out. */
const LATER = Symbol('later')

function meetParts(x: unknown, y: unknown, numbering: Numbering): unknown {
  if (x === y && (typeof x !== 'object' || x === null)) return x
  if (x instanceof Wildcard) return renumbered(y, numbering)
  if (y instanceof Wildcard) return renumbered(x, numbering)
  if (!isCompound(x)) return equal(x, y) ? detached(x) : NO_MEETING
  if (!isCompound(y) || !sameConstructor(x, y)) return NO_MEETING
  return x === y && isWhole(x) ? x : LATER
}

function renumbered(topic: unknown, numbering: Numbering): unknown {
  if (topic instanceof Wildcard) return numbering.next(topic)
  if (!isCompound(topic)) return detached(topic)
  if (isFlat(topic)) return topic
  return mapTopic(topic, (leaf) => (leaf instanceof Wildcard ? numbering.next(leaf) : detached(leaf)))
}

/** So many levels of records are met by a function that calls itself. */
const SHORT_LEVELS = 2

/** Two records of one kind with up to three slots, as most topics are and what is in them; LATER if they go deeper. */
function meetShort(a: RecordBase, b: RecordBase, levels: number, numbering: Numbering): unknown {
  const x = meetSlots(a.$0, b.$0, levels, numbering)
  if (x === NO_MEETING || x === LATER) return x
  const y = meetSlots(a.$1, b.$1, levels, numbering)
  if (y === NO_MEETING || y === LATER) return y
  const z = meetSlots(a.$2, b.$2, levels, numbering)
  if (z === NO_MEETING || z === LATER) return z
  if (x === a.$0 && y === a.$1 && z === a.$2) return a
  if (x === b.$0 && y === b.$1 && z === b.$2) return b
  return new a.$kind.Maker(a.$kind, x, y, z)
}

function meetSlots(x: unknown, y: unknown, levels: number, numbering: Numbering): unknown {
  const inner = meetParts(x, y, numbering)
  if (inner !== LATER || levels === 1 || !isShort(x)) return inner
  return meetShort(x, y as RecordBase, levels - 1, numbering)
}

function isShort(x: unknown): x is RecordBase {
  return x instanceof RecordBase && x.$kind.slots <= 3
}

/** Meeting of two topics in which no wildcard stands twice: every place can be decided by itself. */
function meetLinear(a: unknown, b: unknown): unknown {
  const outermost = meetParts(a, b, new Numbering())
  if (outermost !== LATER) return outermost
  if (isShort(a)) {
    const short = meetShort(a, b as RecordBase, SHORT_LEVELS, new Numbering())
    if (short !== LATER) return short
  }
  const numbering = new Numbering()
  let pair = new Pair(a as Compound, b as Compound, undefined)
  for (;;) {
    if (pair.next === size(pair.a)) {
      const { meeting, above } = pair
      if (above === undefined) return meeting
      pair = above
      pair.done(meeting)
      continue
    }
    const x = part(pair.a, pair.next)
    const y = part(pair.b, pair.next)
    const inner = meetParts(x, y, numbering)
    if (inner === NO_MEETING) return NO_MEETING
    if (inner === LATER) pair = new Pair(x as Compound, y as Compound, pair)
    else pair.done(inner)
  }
}

/**
 * Skeletons: the form of a topic with its ground parts left out.
 *
 * A skeleton says where a topic has wildcards, where it has ground values ("keys"), and which
 * constructors lie above its wildcards. The outermost constructor is always spelt out, so that topics
 * can be grouped by it. Topics with equal skeletons share one shape of the routing index.
 *
 * Equal skeletons are one object: they are found, without allocating, by walking a tree that has a
 * branch for each part. It grows with the number of different forms of topics, and is kept.
 */
import { makeRecord, RecordBase } from './record.js'
import { isCompound, isGround, part, sameConstructor, size, type Compound } from './value.js'
import { Wildcard } from './wildcard.js'

/** A place in a topic: part numbers from the outside in. */
export type Path = readonly number[]

export type Skeleton = 'key' | 'wild' | Frame

/** A constructor with a wildcard somewhere inside (or the outermost one). */
export class Frame {
  constructor(
    /** A compound with this constructor. */
    readonly like: Compound,
    readonly parts: readonly Skeleton[],
  ) {}
}

/** The skeletons that begin with the same constructor and parts. */
class Branch {
  private key: Branch | undefined = undefined
  private wild: Branch | undefined = undefined
  private frames: Map<Frame, Branch> | undefined = undefined
  /** The skeleton that ends here. */
  frame: Frame | undefined = undefined

  step(part: Skeleton): Branch {
    if (part === 'key') return (this.key ??= new Branch())
    if (part === 'wild') return (this.wild ??= new Branch())
    this.frames ??= new Map()
    let branch = this.frames.get(part)
    if (branch === undefined) this.frames.set(part, (branch = new Branch()))
    return branch
  }
}

/** By kind id, and by array length. Sparse. */
const ofRecords: (Branch | undefined)[] = []
const ofArrays: (Branch | undefined)[] = []

export function skeletonOf(topic: unknown, outermost = true): Skeleton {
  if (topic instanceof Wildcard) return 'wild'
  if (!isCompound(topic) || (!outermost && isGround(topic))) return 'key'
  const isRecord = topic instanceof RecordBase
  const n = size(topic)
  let branch = isRecord ? (ofRecords[topic.$kind.id] ??= new Branch()) : (ofArrays[n] ??= new Branch())
  for (let i = 0; i < n; i++) branch = branch.step(skeletonOf(part(topic, i), false))
  return (branch.frame ??= frameOf(topic))
}

/** Not with the topic itself, which it would keep alive. */
function frameOf(topic: Compound): Frame {
  const like = topic instanceof RecordBase ? makeRecord(topic.$kind, []) : new Array<unknown>(topic.length)
  const parts: Skeleton[] = []
  for (let i = 0, n = size(topic); i < n; i++) parts.push(skeletonOf(part(topic, i), false))
  return new Frame(like, parts)
}

/** A string that two constructors share exactly when they are equal. */
export function constructorKey(value: Compound): string {
  return value instanceof RecordBase ? `r${value.$kind.id}` : `a${value.length}`
}

/** A constructor that must be found at a place. */
export interface Check {
  readonly path: Path
  readonly like: Compound
}

/** The places of the keys, and the constructors above wildcards, the outermost one left out. */
export function placesOf(skeleton: Skeleton): { keys: Path[]; checks: Check[] } {
  const keys: Path[] = []
  const checks: Check[] = []
  const walk = (inner: Skeleton, path: Path): void => {
    if (inner === 'key') keys.push(path)
    if (typeof inner === 'string') return
    if (path.length > 0) checks.push({ path, like: inner.like })
    inner.parts.forEach((next, i) => walk(next, [...path, i]))
  }
  walk(skeleton, [])
  return { keys, checks }
}

/**
 * How topics of skeleton `entry` are told apart by a query of skeleton `query`: they meet (but for
 * repeated wildcards) exactly when the values at `keys` are equal, the entry satisfies `entryChecks`
 * and the query satisfies `queryChecks`.
 */
export interface Projection {
  readonly keys: readonly Path[]
  readonly entryChecks: readonly Check[]
  readonly queryChecks: readonly Check[]
}

/** @returns undefined when no topics of these skeletons can meet */
export function project(entry: Skeleton, query: Skeleton): Projection | undefined {
  const keys: Path[] = []
  const entryChecks: Check[] = []
  const queryChecks: Check[] = []
  const walk = (e: Skeleton, q: Skeleton, path: Path): boolean => {
    if (e === 'wild' || q === 'wild') return true
    if (e === 'key' && q === 'key') {
      keys.push(path)
      return true
    }
    if (e === 'key')
      return descend(q as Frame, entryChecks, path, (next, i) => walk('key', next, [...path, i]))
    if (q === 'key') return descend(e, queryChecks, path, (next, i) => walk(next, 'key', [...path, i]))
    if (!sameConstructor(e.like, q.like)) return false
    const other = q.parts
    return e.parts.every((next, i) => walk(next, other[i], [...path, i]))
  }
  return walk(entry, query, []) ? { keys, entryChecks, queryChecks } : undefined
}

/** One side is ground here, the other has a frame: the ground side must have its constructor. */
function descend(
  frame: Frame,
  checks: Check[],
  path: Path,
  inner: (next: Skeleton, i: number) => boolean,
): boolean {
  checks.push({ path, like: frame.like })
  return frame.parts.every(inner)
}

/** The value at a place; the constructors above it must have been checked. */
export function at(topic: unknown, path: Path): unknown {
  let value = topic
  for (let i = 0; i < path.length; i++) value = part(value as Compound, path[i])
  return value
}

/** Whether a topic has the constructors at their places. Checks are in reading order, outer before inner. */
export function satisfies(topic: unknown, checks: readonly Check[]): boolean {
  for (let i = 0; i < checks.length; i++) {
    const value = at(topic, checks[i].path)
    if (!isCompound(value) || !sameConstructor(value, checks[i].like)) return false
  }
  return true
}

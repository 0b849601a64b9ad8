/**
 * The routing index: finds the entries whose topics meet a message or another topic.
 *
 * Topics are grouped by their outermost constructor, then by skeleton (a shape). A message is looked
 * up once per shape of its constructor, by hash: the cost depends on the number of different forms of
 * topics, never on the number of entries that don't match.
 */
import { AtomTable } from './atom.js'
import { examine } from './examine.js'
import { limitError, limits } from './limits.js'
import { canonical, fits, meet, NO_MEETING } from './meet.js'
import { RecordBase } from './record.js'
import type { IndexEntry } from './index-entry.js'
import type { Lookup } from './joins.js'
import { Shape } from './shape.js'
import { constructorToken, fitByKeys, type Skeleton } from './skeleton.js'
import { equal, isCompound, part, type Compound } from './value.js'
import { _, Wildcard } from './wildcard.js'

export type { IndexEntry } from './index-entry.js'

/** For so many forms of queries it is remembered how they are answered; and for so many kinds of keys in each. */
const PLANS_MAX = 64
const KINDS_MAX = 32
/** Tokens below this are told apart by a number that two of them make. */
const TOKEN_MAX = 2 ** 26

/** Where queries of one skeleton find what they may meet. */
class Plan<E extends IndexEntry> {
  readonly lookups: Lookup<E>[] = []
  /** Those that are left when the constructors of the query's first two keys are known. */
  private readonly byKinds = new Map<number, Lookup<E>[]>()

  constructor(
    private readonly skeleton: Skeleton,
    shapes: Iterable<Shape<E>>,
  ) {
    for (const shape of shapes) this.add(shape)
  }

  add(shape: Shape<E>): void {
    const lookup = shape.joins.lookupBy(this.skeleton)
    if (lookup === undefined) return
    this.lookups.push(lookup)
    this.byKinds.clear()
  }

  remove(shape: Shape<E>): void {
    const place = this.lookups.findIndex(({ joins }) => joins === shape.joins)
    if (place < 0) return
    this.lookups.splice(place, 1)
    this.byKinds.clear()
  }

  lookupsFor(topic: unknown): readonly Lookup<E>[] {
    const { firstKey, secondKey } = this.skeleton
    if (firstKey < 0) return this.lookups
    const first = tokenOfPart(topic, firstKey)
    const second = secondKey < 0 ? 0 : tokenOfPart(topic, secondKey)
    if (first >= TOKEN_MAX || second >= TOKEN_MAX) return this.lookups
    const kinds = first * TOKEN_MAX + second
    return this.byKinds.get(kinds) ?? this.narrowed(topic, kinds)
  }

  private narrowed(topic: unknown, kinds: number): readonly Lookup<E>[] {
    const left: Lookup<E>[] = []
    for (const lookup of this.lookups) {
      const fit = fitByKeys(topic, this.skeleton, lookup.tokens)
      if (fit === 'yes') left.push({ ...lookup, shallow: true })
      else if (fit === 'open') left.push(lookup)
    }
    if (this.byKinds.size >= KINDS_MAX) this.byKinds.delete(this.byKinds.keys().next().value as number)
    this.byKinds.set(kinds, left)
    return left
  }
}

/** The constructor of a ground part; 0 for a value without parts. */
function tokenOfPart(topic: unknown, n: number): number {
  const value = part(topic as Compound, n)
  return isCompound(value) ? constructorToken(value) : 0
}

/** The shapes of the topics with one outermost constructor. */
class Group<E extends IndexEntry> {
  readonly shapes = new Map<Skeleton, Shape<E>>()
  /** Those with an entry that receives messages. */
  readonly receiving: Shape<E>[] = []
  /** By skeleton of a query; the oldest one comes first. */
  private readonly plans = new Map<Skeleton, Plan<E>>()

  /** @param forget takes it out of the index, if that is done with one that has no shapes */
  constructor(readonly forget?: () => void) {}

  add(shape: Shape<E>): void {
    this.shapes.set(shape.skeleton, shape)
    for (const plan of this.plans.values()) plan.add(shape)
  }

  remove(shape: Shape<E>): void {
    this.shapes.delete(shape.skeleton)
    for (const plan of this.plans.values()) plan.remove(shape)
  }

  /** Where to look for what a topic of this skeleton may meet. */
  lookupsFor(topic: unknown, skeleton: Skeleton): readonly Lookup<E>[] {
    const known = this.plans.get(skeleton)
    if (known !== undefined) return known.lookupsFor(topic)
    const plan = new Plan(skeleton, this.shapes.values())
    // A query that isn't in an index, such as a message, doesn't come again.
    if (skeleton.holders === 0) return plan.lookups
    if (this.plans.size >= PLANS_MAX) this.plans.delete(this.plans.keys().next().value as Skeleton)
    this.plans.set(skeleton, plan)
    return plan.lookupsFor(topic)
  }
}

/**
 * So many shapes without entries are kept: where one topic of a form comes and goes again and again, the shape, and
 * what was found out about it, would be made anew each time.
 */
const IDLE_MAX = 16
/** Of these only, whose memory is not worth mentioning. */
const IDLE_TOKENS_MAX = 64

/** Groups of kinds of records, and of lengths of arrays, below this are found without hashing, and stay. */
const COMMON = 512

export class RoutingIndex<E extends IndexEntry> {
  /** By kind id, by array length. Sparse. */
  private readonly records: (Group<E> | undefined)[] = []
  private readonly arrays: (Group<E> | undefined)[] = []
  /** The others, as long as something is in them. */
  private readonly moreRecords = new Map<number, Group<E>>()
  private readonly moreArrays = new Map<number, Group<E>>()
  /** Topics that are a single value without parts. */
  private readonly atoms = new Group<E>()
  /** The topic that is nothing but a wildcard. */
  private readonly open: Shape<E>
  private readonly table: AtomTable
  private count = 0
  /** Shapes that are or were empty; the oldest one comes first. */
  private idle: { readonly shape: Shape<E>, readonly group: Group<E> }[] = []
  /** How many entries a message was too general for, since this was set to 0. */
  refused = 0

  /** @param table shared with the indexes that are looked up with the same values */
  constructor(table = new AtomTable()) {
    this.table = table
    this.open = new Shape<E>(table.skeletons.hold(_), table)
  }

  get size(): number {
    return this.count
  }

  /**
   * Puts an entry into the index, whose topic was examined.
   *
   * @throws RangeError when its constructor has too many forms; then nothing has happened
   */
  add(entry: E): void {
    const { skeletons } = this.table
    const skeleton = skeletons.hold(entry.topic)
    if (skeleton.isWild) {
      skeletons.release(skeleton)
      this.open.add(entry)
      this.count++
      return
    }
    const group = this.groupFor(entry.topic)
    let shape = group.shapes.get(skeleton)
    if (shape === undefined && group.shapes.size >= limits.forms) this.dropIdle(0)
    if (shape !== undefined) {
      skeletons.release(skeleton)
    } else if (group.shapes.size >= limits.forms) {
      skeletons.release(skeleton)
      throw limitError('forms', entry.topic)
    } else {
      group.add((shape = new Shape<E>(skeleton, this.table)))
    }
    shape.add(entry)
    this.count++
    if (entry.receives && shape.receivers === 1) beginReceiving(group, shape)
  }

  /** Takes an entry out. One that isn't in an index, as that was cleared, is let be. */
  remove(entry: E): void {
    const shape = entry.shape as Shape<E> | undefined
    if (shape === undefined) return
    this.count--
    shape.remove(entry)
    if (shape === this.open) return
    const group = this.groupFor(entry.topic)
    if (entry.receives && shape.receivers === 0) endReceiving(group, shape)
    if (shape.entries.length > 0 || shape.idle) return
    shape.idle = true
    this.idle.push({ shape, group })
    if (shape.skeleton.tokens.length > IDLE_TOKENS_MAX) this.dropIdle(0)
    else if (this.idle.length > IDLE_MAX) this.dropIdle(IDLE_MAX)
  }

  /** Drops the shapes that have been empty longest, until so many are left. */
  private dropIdle(left: number): void {
    for (const { shape, group } of this.idle.splice(0, this.idle.length - left)) {
      shape.idle = false
      if (shape.entries.length > 0) continue
      group.remove(shape)
      this.table.skeletons.release(shape.skeleton)
      if (group.shapes.size === 0) group.forget?.()
    }
  }

  /** Takes all entries out: what they hold in the table is there for the other indexes. */
  clear(): void {
    for (const group of this.groups()) {
      for (const { entries } of [...group.shapes.values()]) for (const entry of [...entries]) this.remove(entry)
    }
    for (const entry of [...this.open.entries]) this.remove(entry)
    this.dropIdle(0)
  }

  private groups(): Group<E>[] {
    const all = [
      this.atoms, ...this.records, ...this.arrays, ...this.moreRecords.values(), ...this.moreArrays.values(),
    ]
    return all.filter((group) => group !== undefined)
  }

  /** Changes whether messages find an entry that is in the index. */
  setReceives(entry: E, receives: boolean): void {
    if (entry.receives === receives) return
    const shape = entry.shape as Shape<E> | undefined
    entry.receives = receives
    if (shape === undefined) return
    if (receives) shape.addReceiver(entry)
    else shape.removeReceiver(entry)
    if (shape === this.open) return
    const group = this.groupFor(entry.topic)
    if (receives && shape.receivers === 1) beginReceiving(group, shape)
    if (!receives && shape.receivers === 0) endReceiving(group, shape)
  }

  /**
   * The one receiver of a message, undefined if there is none; null if `receivers` has to tell. The
   * short way for what nearly all messages are.
   */
  onlyReceiver(body: unknown): E | undefined | null {
    if (this.open.receivers > 0) return null
    const group = this.groupOf(body)
    if (group === undefined) return body instanceof Wildcard ? null : undefined
    const shapes = group.receiving
    if (shapes.length !== 1) return shapes.length === 0 ? undefined : null
    const bucket = shapes[0].receiversOf(body)
    if (bucket === undefined) return undefined
    return bucket === null || Array.isArray(bucket) || !bucket.linear ? null : bucket
  }

  /**
   * Finds the entries that receive a message.
   *
   * @param found is filled from index 0 on; what was in it is overwritten, and not cut off
   * @returns how many were found
   */
  receivers(body: unknown, found: E[]): number {
    let n = 0
    if (this.open.receivers > 0) n = collect(this.open.receiversOf(body) as E[], body, found, 0)
    const group = this.groupOf(body)
    if (group === undefined) return body instanceof Wildcard ? this.receiversOfTopic(body, found) : n
    const shapes = group.receiving
    for (let i = 0; i < shapes.length; i++) {
      const bucket = shapes[i].receiversOf(body)
      if (bucket === undefined) continue
      if (bucket === null) return this.receiversOfTopic(body, found)
      if (Array.isArray(bucket)) n = collect(bucket, body, found, n)
      else if (bucket.linear || fits(body, bucket.topic)) found[n++] = bucket
    }
    return n
  }

  /**
   * A message with wildcards in it is looked up as a topic is.
   *
   * @throws RangeError when it exceeds a limit of topics
   */
  private receiversOfTopic(body: unknown, found: E[]): number {
    let n = 0
    const all: E[] = []
    const count = this.peers(body, all)
    for (let i = 0; i < count; i++) {
      const entry = all[i]
      if (!entry.receives) continue
      const meeting = meet(body, entry.topic)
      if (meeting === NO_MEETING) continue
      if (entry.exact !== true || equal(meeting, canonical(body))) found[n++] = entry
      else this.refused++
    }
    return n
  }

  /**
   * Finds the entries whose topics may meet a topic: all that do, and perhaps some that don't because
   * of a repeated wildcard.
   *
   * @param found is filled from index 0 on; what was in it is overwritten, and not cut off
   * @returns how many were found
   * @throws RangeError when the topic exceeds a limit
   */
  peers(topic: unknown, found: E[]): number {
    examine(topic)
    return this.peersLike(topic, this.table.skeletons.skeletonOf(topic), found)
  }

  /** The same for the topic of an entry that is in an index, this one or another. */
  peersOf(entry: IndexEntry, found: E[]): number {
    return this.peersLike(entry.topic, (entry.shape as Shape<IndexEntry>).skeleton, found)
  }

  private peersLike(topic: unknown, skeleton: Skeleton, found: E[]): number {
    let n = 0
    const open = this.open.entries
    for (let i = 0; i < open.length; i++) found[n++] = open[i]
    if (skeleton.isWild) {
      for (const group of this.groups()) {
        for (const shape of group.shapes.values()) for (const entry of shape.entries) found[n++] = entry
      }
      return n
    }
    const group = this.groupOf(topic)
    if (group === undefined) return n
    const lookups = group.lookupsFor(topic, skeleton)
    for (let i = 0; i < lookups.length; i++) n = lookups[i].joins.candidates(topic, lookups[i], found, n)
    return n
  }

  private groupOf(body: unknown): Group<E> | undefined {
    if (typeof body !== 'object' || body === null) return this.atoms
    if (Array.isArray(body)) {
      const { length } = body
      return length < COMMON ? this.arrays[length] : this.moreArrays.get(length)
    }
    if (body instanceof RecordBase) {
      const { id } = body.$kind
      return id < COMMON ? this.records[id] : this.moreRecords.get(id)
    }
    return body instanceof Wildcard ? undefined : this.atoms
  }

  private groupFor(topic: unknown): Group<E> {
    const known = this.groupOf(topic)
    if (known !== undefined) return known
    if (Array.isArray(topic)) return newGroup(topic.length, this.arrays, this.moreArrays)
    // What is neither is in the group of topics without parts, which is always there.
    return newGroup((topic as RecordBase).$kind.id, this.records, this.moreRecords)
  }
}

function newGroup<E extends IndexEntry>(
  key: number, common: (Group<E> | undefined)[], more: Map<number, Group<E>>,
): Group<E> {
  const group = new Group<E>(key < COMMON ? undefined : () => { more.delete(key) })
  if (key < COMMON) common[key] = group
  else more.set(key, group)
  return group
}

function beginReceiving<E extends IndexEntry>({ receiving }: Group<E>, shape: Shape<E>): void {
  shape.receivingPlace = receiving.push(shape) - 1
}

function endReceiving<E extends IndexEntry>({ receiving }: Group<E>, shape: Shape<E>): void {
  const last = receiving.pop() as Shape<E>
  if (last === shape) return
  receiving[shape.receivingPlace] = last
  last.receivingPlace = shape.receivingPlace
}

function collect<E extends IndexEntry>(bucket: readonly E[], body: unknown, found: E[], n: number): number {
  for (let i = 0; i < bucket.length; i++) {
    const entry = bucket[i]
    if (entry.linear || fits(body, entry.topic)) found[n++] = entry
  }
  return n
}

/**
 * The routing index: finds the entries whose topics meet a message or another topic.
 *
 * Topics are grouped by their outermost constructor, then by skeleton (a shape). A message is looked
 * up once per shape of its constructor, by hash: the cost depends on the number of different forms of
 * topics, never on the number of entries that don't match.
 */
import { AtomTable } from './atom.js'
import { meet, NO_MEETING, sameTopic } from './meet.js'
import { RecordBase } from './record.js'
import { Shape, type IndexEntry } from './shape.js'
import { skeletonOf, type Skeleton } from './skeleton.js'
import { Wildcard } from './wildcard.js'

export type { IndexEntry } from './shape.js'

/** The shapes of the topics with one outermost constructor. */
class Group<E extends IndexEntry> {
  readonly shapes = new Map<Skeleton, Shape<E>>()
  /** Those with an entry that receives messages. */
  receiving: Shape<E>[] = []
}

export class RoutingIndex<E extends IndexEntry> {
  /** By kind id, by array length. Sparse. */
  private readonly records: (Group<E> | undefined)[] = []
  private readonly arrays: (Group<E> | undefined)[] = []
  /** Topics that are a single value without parts. */
  private readonly atoms = new Group<E>()
  /** The topic that is nothing but a wildcard. */
  private readonly open: Shape<E>
  private readonly table: AtomTable
  private count = 0
  /** How many entries a message was too general for, since this was set to 0. */
  refused = 0

  /** @param table shared with the indexes that are looked up with the same values */
  constructor(table = new AtomTable()) {
    this.table = table
    this.open = new Shape<E>('wild', table)
  }

  get size(): number {
    return this.count
  }

  /** @throws when the topic can't be put into it; then it is as it was */
  add(entry: E): void {
    const skeleton = skeletonOf(entry.topic)
    if (skeleton === 'wild') {
      this.open.add(entry)
      this.count++
      return
    }
    const group = this.groupFor(entry.topic)
    const shape = group.shapes.get(skeleton) ?? new Shape<E>(skeleton, this.table)
    shape.add(entry)
    group.shapes.set(skeleton, shape)
    this.count++
    if (entry.receives && shape.receivers === 1) group.receiving.push(shape)
  }

  remove(entry: E): void {
    this.count--
    const shape = entry.shape as unknown as Shape<E>
    shape.remove(entry)
    if (shape === this.open) return
    const group = this.groupFor(entry.topic)
    if (entry.receives && shape.receivers === 0)
      group.receiving = group.receiving.filter((s) => s !== shape)
    if (shape.entries.length === 0) group.shapes.delete(shape.skeleton)
  }

  /** Changes whether messages find an entry that is in the index. */
  setReceives(entry: E, receives: boolean): void {
    if (entry.receives === receives) return
    const shape = entry.shape as unknown as Shape<E>
    entry.receives = receives
    if (receives) shape.addReceiver(entry)
    else shape.removeReceiver(entry)
    if (shape === this.open) return
    const group = this.groupFor(entry.topic)
    if (receives && shape.receivers === 1) group.receiving.push(shape)
    if (!receives && shape.receivers === 0) group.receiving = group.receiving.filter((s) => s !== shape)
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
      else if (bucket.linear || meet(body, bucket.topic) !== NO_MEETING) found[n++] = bucket
    }
    return n
  }

  /** A message with wildcards in it is looked up as a topic is. */
  private receiversOfTopic(body: unknown, found: E[]): number {
    let n = 0
    const all: E[] = []
    this.peers(body, all)
    for (const entry of all) {
      if (!entry.receives) continue
      const meeting = meet(body, entry.topic)
      if (meeting === NO_MEETING) continue
      if (entry.exact !== true || sameTopic(meeting, body)) found[n++] = entry
      else this.refused++
    }
    return n
  }

  /**
   * Finds the entries whose topics may meet a topic: all that do, and perhaps some that don't because
   * of a repeated wildcard. Appends to `found`.
   */
  peers(topic: unknown, found: E[]): void {
    this.peersLike(topic, skeletonOf(topic), found)
  }

  /** The same for the topic of an entry that is in an index, this one or another. */
  peersOf(entry: IndexEntry, found: E[]): void {
    this.peersLike(entry.topic, (entry.shape as Shape<IndexEntry>).skeleton, found)
  }

  private peersLike(topic: unknown, skeleton: Skeleton, found: E[]): void {
    for (const entry of this.open.entries) found.push(entry)
    if (skeleton === 'wild') {
      for (const group of [this.atoms, ...this.records, ...this.arrays]) {
        if (group === undefined) continue
        for (const shape of group.shapes.values()) for (const entry of shape.entries) found.push(entry)
      }
      return
    }
    const group = this.groupOf(topic)
    if (group !== undefined) candidatesIn(group, topic, skeleton, found)
  }

  private groupOf(body: unknown): Group<E> | undefined {
    if (typeof body !== 'object' || body === null) return this.atoms
    if (Array.isArray(body)) return this.arrays[body.length]
    if (body instanceof RecordBase) return this.records[body.$kind.id]
    return body instanceof Wildcard ? undefined : this.atoms
  }

  private groupFor(topic: unknown): Group<E> {
    if (topic instanceof RecordBase) return (this.records[topic.$kind.id] ??= new Group<E>())
    if (Array.isArray(topic)) return (this.arrays[topic.length] ??= new Group<E>())
    return this.atoms
  }
}

function candidatesIn<E extends IndexEntry>(
  group: Group<E>,
  topic: unknown,
  skeleton: Skeleton,
  found: E[],
): void {
  for (const shape of group.shapes.values()) shape.candidates(topic, skeleton, found)
}

function collect<E extends IndexEntry>(bucket: readonly E[], body: unknown, found: E[], n: number): number {
  for (let i = 0; i < bucket.length; i++) {
    const entry = bucket[i]
    if (entry.linear || meet(body, entry.topic) !== NO_MEETING) found[n++] = entry
  }
  return n
}

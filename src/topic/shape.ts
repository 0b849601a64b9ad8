/**
 * Shapes: all topics of one skeleton in a routing index, found by the values in their ground places.
 *
 * Owns the tables of one skeleton: the one for messages (only entries that receive messages are in
 * it), and one for each way in which topics with wildcards have lately asked for peers. The latter are made
 * when a query of a new form comes, if there are more entries than a walk is worth; there are only so many.
 */
import { isOwnKey, WILD, type Atom, type AtomTable } from './atom.js'
import { KeyTable } from './key-table.js'
import { slot, type RecordBase } from './record.js'
import { commonTokens, KEY, valuesAt, WILD_PART, type Skeleton, type Token } from './skeleton.js'
import { Wildcard } from './wildcard.js'

/** What an index holds. The fields beside `topic`, `linear` and `receives` belong to the index. */
export interface IndexEntry {
  readonly topic: unknown
  /** Whether no wildcard stands twice in the topic. */
  readonly linear: boolean
  /** Whether messages are to find it. Changes only through the index. */
  receives: boolean
  /** Whether only messages that are instances of the topic are to find it. */
  readonly exact?: boolean
  /** @internal */
  shape: Shape<IndexEntry> | undefined
  /** Position in its shape's list, and in its bucket of the message table. @internal */
  place: number
  bucketPlace: number
  /** Atoms of its keys, held while it is in the index: up to two in fields, more in a list. @internal */
  atom0: Atom | undefined
  atom1: Atom | undefined
  moreAtoms: readonly Atom[] | undefined
}

type Bucket<E> = E | E[]

/** More entries than this, and a new form of query gets a table of its own. */
const WALK_MAX = 16

/** So many forms of queries have tables; for another one, the table that was not asked for longest goes. */
const JOINS_MAX = 16

/** How queries of one skeleton find the entries of one shape. */
export interface Lookup<E extends IndexEntry> {
  readonly shape: Shape<E>
  /** What they and the entries have in common, and the same as the name of the join. */
  readonly tokens: readonly Token[]
  readonly name: string
  /** It is known that the query has the constructors, and there is no key. */
  readonly shallow: boolean
  /** The join that was used last, if there was need of one. */
  join: Join<E> | undefined
}

/** The entries of a shape by some of their places; for queries with wildcards. */
interface Join<E> {
  readonly tokens: readonly Token[]
  /** Undefined when there is no key: then all entries that have the constructors are in `all`. */
  readonly table: KeyTable<E | Set<E>> | undefined
  readonly all: Set<E>
  /** Its keys are those of the shape, and entries hold their atoms already. */
  readonly isOwn: boolean
  /** Another one took its place: it is not kept up to date any more. */
  dropped: boolean
}

export class Shape<E extends IndexEntry> {
  readonly skeleton: Skeleton
  readonly entries: E[] = []
  /** How many entries receive messages. */
  receivers = 0

  /** Where it is among those of its group that receive messages. */
  receivingPlace = 0

  private readonly atoms: AtomTable
  /** Part number of each key if all keys are direct parts of the outermost constructor. */
  private readonly first: number
  private readonly second: number
  private readonly simple: boolean
  /** Receivers by their keys: none, one (the value itself, or its atom if it has parts), or several. */
  private readonly keyless: E[] = []
  private readonly single: Map<unknown, Bucket<E>> | undefined
  private readonly table: KeyTable<Bucket<E>> | undefined
  /** The first one is that which was not asked for longest. */
  private readonly joins = new Map<string, Join<E>>()

  constructor(skeleton: Skeleton, atoms: AtomTable) {
    this.atoms = atoms
    this.skeleton = skeleton
    const { tokens, keys } = skeleton
    this.single = keys === 1 ? new Map() : undefined
    this.table = keys > 1 ? new KeyTable(keys) : undefined
    const flat = tokens.length > 1 && tokens.every((token, i) => i === 0 || token === KEY || token === WILD_PART)
    this.simple = keys === 0 ? tokens.length === 1 || flat : flat && keys <= 2
    this.first = this.simple && keys > 0 ? tokens.indexOf(KEY) - 1 : -1
    this.second = this.simple && keys > 1 ? tokens.lastIndexOf(KEY) - 1 : -1
  }

  /** The topic was examined: there is nothing here that could fail half-way. */
  add(entry: E): void {
    this.holdAtoms(entry)
    // Without an iterator where there is nothing to go through: nearly all come and go here.
    if (this.joins.size > 0) for (const join of this.joins.values()) addToJoin(this.atoms, join, entry)
    entry.shape = this
    entry.place = this.entries.length
    this.entries.push(entry)
    if (entry.receives) this.addReceiver(entry)
  }

  remove(entry: E): void {
    const last = this.entries.pop() as E
    if (last !== entry) {
      this.entries[entry.place] = last
      last.place = entry.place
    }
    if (entry.receives) this.removeReceiver(entry)
    if (this.joins.size > 0) for (const join of this.joins.values()) removeFromJoin(this.atoms, join, entry)
    this.releaseAtoms(entry)
    entry.shape = undefined
  }

  /** The atoms that an entry's keys are found by. A single key needs one only if it has parts. */
  private holdAtoms(entry: E): void {
    const { atoms } = this
    const { keys } = this.skeleton
    if (keys === 0) return
    const values = this.keysOf(entry)
    if (keys > 2) {
      entry.moreAtoms = values.map((value) => atoms.acquire(value))
      return
    }
    if (this.single !== undefined && isOwnKey(values[0])) return
    entry.atom0 = atoms.acquire(values[0])
    if (keys === 2) entry.atom1 = atoms.acquire(values[1])
  }

  private keysOf(entry: E): unknown[] {
    const values: unknown[] = []
    valuesAt(entry.topic, this.skeleton.tokens, values)
    return values
  }

  private releaseAtoms(entry: E): void {
    if (entry.atom0 !== undefined) this.atoms.release(entry.atom0)
    if (entry.atom1 !== undefined) this.atoms.release(entry.atom1)
    if (entry.moreAtoms !== undefined) for (const atom of entry.moreAtoms) this.atoms.release(atom)
    entry.atom0 = undefined
    entry.atom1 = undefined
    entry.moreAtoms = undefined
  }

  private singleKey(entry: E): unknown {
    return entry.atom0 ?? this.keysOf(entry)[0]
  }

  addReceiver(entry: E): void {
    this.receivers++
    if (this.single !== undefined) {
      const key = this.singleKey(entry)
      this.single.set(key, joined(this.single.get(key), entry))
    } else if (this.table !== undefined) {
      const ids = idsOf(entry)
      const index = this.table.find(ids)
      if (index < 0) this.table.add(ids, joined(undefined, entry))
      else this.table.setAt(index, joined(this.table.valueAt(index), entry))
    } else {
      entry.bucketPlace = this.keyless.push(entry) - 1
    }
  }

  removeReceiver(entry: E): void {
    this.receivers--
    if (this.single !== undefined) {
      const key = this.singleKey(entry)
      const left = without(this.single.get(key) as Bucket<E>, entry)
      if (left === undefined) this.single.delete(key)
      else this.single.set(key, left)
    } else if (this.table !== undefined) {
      const index = this.table.find(idsOf(entry))
      const left = without(this.table.valueAt(index), entry)
      if (left === undefined) this.table.removeAt(index)
      else this.table.setAt(index, left)
    } else {
      removeFrom(this.keyless, entry)
    }
  }

  /**
   * What receives a message, repeated wildcards not considered.
   *
   * @returns null when the message has a wildcard in one of the shape's ground places
   */
  receiversOf(body: unknown): Bucket<E> | undefined | null {
    if (!this.simple) return this.deepReceiversOf(body)
    const { single, table, first } = this
    if (single !== undefined) {
      const value: unknown = Array.isArray(body) ? body[first] : slot(body as RecordBase, first)
      return typeof value === 'object' ? this.singleReceiversOf(value) : single.get(value)
    }
    if (table === undefined) return this.keyless
    const second = this.second
    const a = this.atoms.lookup(Array.isArray(body) ? body[first] : slot(body as RecordBase, first))
    const b = this.atoms.lookup(Array.isArray(body) ? body[second] : slot(body as RecordBase, second))
    if (a === undefined || b === undefined) return undefined
    if (a === WILD || b === WILD) return null
    const index = table.find2(a.id, b.id)
    return index < 0 ? undefined : table.valueAt(index)
  }

  private singleReceiversOf(value: unknown): Bucket<E> | undefined | null {
    const single = this.single as Map<unknown, Bucket<E>>
    if (isOwnKey(value)) return value instanceof Wildcard ? null : single.get(value)
    const atom = this.atoms.lookup(value)
    return atom === WILD ? null : atom && single.get(atom)
  }

  private deepReceiversOf(body: unknown): Bucket<E> | undefined | null {
    const values: unknown[] = []
    const fit = valuesAt(body, this.skeleton.tokens, values)
    if (fit !== 'yes') return fit === 'open' ? null : undefined
    if (this.single !== undefined) return this.singleReceiversOf(values[0])
    if (this.table === undefined) return this.keyless
    const ids: number[] = []
    for (let i = 0; i < values.length; i++) {
      const atom = this.atoms.lookup(values[i])
      if (atom === undefined) return undefined
      if (atom === WILD) return null
      ids.push(atom.id)
    }
    const index = this.table.find(ids)
    return index < 0 ? undefined : this.table.valueAt(index)
  }

  /** How topics of a skeleton find entries here; undefined when none of them meets one. */
  lookupBy(skeleton: Skeleton): Lookup<E> | undefined {
    const tokens = commonTokens(this.skeleton, skeleton)
    return tokens && { shape: this, tokens, name: tokens.join(), shallow: false, join: undefined }
  }

  /**
   * Appends all entries that a topic may meet; exact but for repeated wildcards where there are so many
   * that a walk isn't worth it.
   */
  candidates(query: unknown, lookup: Lookup<E>, found: E[]): void {
    const { entries } = this
    const values: unknown[] = []
    if (!lookup.shallow && valuesAt(query, lookup.tokens, values) === 'no') return
    if (entries.length <= WALK_MAX) {
      for (let i = 0; i < entries.length; i++) found.push(entries[i])
      return
    }
    const { table, all } = this.joinFor(lookup)
    if (table === undefined) {
      for (const entry of all) found.push(entry)
      return
    }
    const ids: number[] = []
    for (let i = 0; i < values.length; i++) {
      const atom = this.atoms.lookup(values[i])
      if (atom === undefined) return
      ids.push(atom.id)
    }
    const index = table.find(ids)
    if (index < 0) return
    const value = table.valueAt(index)
    if (value instanceof Set) for (const entry of value) found.push(entry)
    else found.push(value)
  }

  private joinFor(lookup: Lookup<E>): Join<E> {
    const { joins } = this
    const { join } = lookup
    // When others are waiting for its place, it has to be marked as used.
    if (join !== undefined && !join.dropped && joins.size < JOINS_MAX) return join
    return (lookup.join = this.namedJoin(lookup))
  }

  private namedJoin({ tokens, name }: Lookup<E>): Join<E> {
    const { joins, atoms } = this
    let join = joins.get(name)
    if (join !== undefined) {
      joins.delete(name)
      joins.set(name, join)
      return join
    }
    if (joins.size === JOINS_MAX) {
      const [[oldest, dropped]] = joins
      for (const entry of this.entries) removeFromJoin(atoms, dropped, entry)
      dropped.dropped = true
      joins.delete(oldest)
    }
    let keys = 0
    for (const token of tokens) if (token === KEY) keys++
    join = {
      tokens,
      table: keys === 0 ? undefined : new KeyTable(keys),
      all: new Set(),
      isOwn: keys > 1 && name === this.skeleton.tokens.join(),
      dropped: false,
    }
    for (const entry of this.entries) addToJoin(atoms, join, entry)
    joins.set(name, join)
    return join
  }
}

function idsOf(entry: IndexEntry): number[] {
  const { atom0, atom1, moreAtoms } = entry
  if (moreAtoms !== undefined) return moreAtoms.map((atom) => atom.id)
  return [(atom0 as Atom).id, (atom1 as Atom).id]
}

function joined<E extends IndexEntry>(bucket: Bucket<E> | undefined, entry: E): Bucket<E> {
  if (bucket === undefined) {
    entry.bucketPlace = 0
    return entry
  }
  if (!Array.isArray(bucket)) {
    bucket.bucketPlace = 0
    entry.bucketPlace = 1
    return [bucket, entry]
  }
  entry.bucketPlace = bucket.push(entry) - 1
  return bucket
}

function without<E extends IndexEntry>(bucket: Bucket<E>, entry: E): Bucket<E> | undefined {
  if (!Array.isArray(bucket)) return undefined
  removeFrom(bucket, entry)
  return bucket.length === 1 ? bucket[0] : bucket
}

function removeFrom<E extends IndexEntry>(list: E[], entry: E): void {
  const last = list.pop() as E
  if (last === entry) return
  list[entry.bucketPlace] = last
  last.bucketPlace = entry.bucketPlace
}

function addToJoin<E extends IndexEntry>(atoms: AtomTable, join: Join<E>, entry: E): void {
  if (join.isOwn) {
    addByIds(join.table as KeyTable<E | Set<E>>, idsOf(entry), entry)
    return
  }
  const values: unknown[] = []
  if (valuesAt(entry.topic, join.tokens, values) === 'no') return
  if (join.table === undefined) {
    join.all.add(entry)
    return
  }
  addByIds(join.table, values.map((value) => atoms.acquire(value).id), entry)
}

function addByIds<E>(table: KeyTable<E | Set<E>>, ids: readonly number[], entry: E): void {
  const index = table.find(ids)
  if (index < 0) {
    table.add(ids, entry)
    return
  }
  const found = table.valueAt(index)
  if (found instanceof Set) found.add(entry)
  else table.setAt(index, new Set([found, entry]))
}

function removeFromJoin<E extends IndexEntry>(atoms: AtomTable, join: Join<E>, entry: E): void {
  if (join.isOwn) {
    removeByIds(join.table as KeyTable<E | Set<E>>, idsOf(entry), entry)
    return
  }
  const values: unknown[] = []
  if (valuesAt(entry.topic, join.tokens, values) === 'no') return
  if (join.table === undefined) {
    join.all.delete(entry)
    return
  }
  const held = values.map((value) => atoms.lookup(value) as Atom)
  removeByIds(join.table, held.map((atom) => atom.id), entry)
  for (const atom of held) atoms.release(atom)
}

function removeByIds<E>(table: KeyTable<E | Set<E>>, ids: readonly number[], entry: E): void {
  const index = table.find(ids)
  const found = table.valueAt(index)
  if (found instanceof Set && found.size > 1) found.delete(entry)
  else table.removeAt(index)
}

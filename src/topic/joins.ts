/**
 * Joins: how topics with wildcards find the entries of one skeleton that they may meet.
 *
 * Owns a table for each way in which topics have lately asked for peers. It is made when a query of a new form
 * comes, if there are more entries than a walk is worth; there are only so many.
 */
import type { Atom, AtomTable } from './atom.js'
import { idsOf, type IndexEntry } from './index-entry.js'
import { KeyTable } from './key-table.js'
import { Roster } from './roster.js'
import { commonTokens, KEY, valuesAt, type Skeleton, type Token } from './skeleton.js'

/** More entries than this, and a new form of query gets a table of its own. */
const WALK_MAX = 16

/** So many forms of queries have tables; for another one, the table that was not asked for longest goes. */
const JOINS_MAX = 16

/** How queries of one skeleton find the entries of one shape. */
export interface Lookup<E extends IndexEntry> {
  readonly joins: Joins<E>
  /** What they and the entries have in common, and the same as the name of the join. */
  readonly tokens: readonly Token[]
  readonly name: string
  /** It is known that the query has the constructors, and there is no key. */
  readonly shallow: boolean
  /** The join that was used last, if there was need of one. */
  join: Join<E> | undefined
}

/** The entries of a shape by some of their places; for queries with wildcards. */
interface Join<E extends IndexEntry> {
  readonly tokens: readonly Token[]
  /** Undefined when there is no key: then all entries that have the constructors are in `all`. */
  readonly table: KeyTable<E | Roster<E>> | undefined
  readonly all: Roster<E>
  /** Its keys are those of the shape, and entries hold their atoms already. */
  readonly isOwn: boolean
  /** Another one took its place: it is not kept up to date any more. */
  dropped: boolean
}

export class Joins<E extends IndexEntry> {
  readonly #skeleton: Skeleton
  /** All of the shape. */
  readonly #entries: readonly E[]
  readonly #atoms: AtomTable
  /** The first one is that which was not asked for longest. */
  readonly #joins = new Map<string, Join<E>>()

  constructor(skeleton: Skeleton, entries: readonly E[], atoms: AtomTable) {
    this.#skeleton = skeleton
    this.#entries = entries
    this.#atoms = atoms
  }

  /** The entry holds the atoms of its own keys. */
  add(entry: E): void {
    // Mostly there is none, and no need of an iterator.
    if (this.#joins.size > 0) for (const join of this.#joins.values()) addToJoin(this.#atoms, join, entry)
  }

  /** While the entry still holds its atoms. */
  remove(entry: E): void {
    if (this.#joins.size > 0) for (const join of this.#joins.values()) removeFromJoin(this.#atoms, join, entry)
  }

  /** How topics of a skeleton find entries here; undefined when none of them meets one. */
  lookupBy(skeleton: Skeleton): Lookup<E> | undefined {
    const tokens = commonTokens(this.#skeleton, skeleton)
    return tokens && { joins: this, tokens, name: tokens.join(), shallow: false, join: undefined }
  }

  /**
   * Appends all entries that a topic may meet; exact but for repeated wildcards where there are so many
   * that a walk isn't worth it.
   */
  candidates(query: unknown, lookup: Lookup<E>, found: E[]): void {
    const entries = this.#entries
    const values: unknown[] = []
    if (!lookup.shallow && valuesAt(query, lookup.tokens, values) === 'no') return
    if (entries.length <= WALK_MAX) {
      for (let i = 0; i < entries.length; i++) found.push(entries[i])
      return
    }
    const { table, all } = this.#joinFor(lookup)
    if (table === undefined) {
      append(all, found)
      return
    }
    const ids: number[] = []
    for (let i = 0; i < values.length; i++) {
      const atom = this.#atoms.lookup(values[i])
      if (atom === undefined) return
      ids.push(atom.id)
    }
    const index = table.find(ids)
    if (index < 0) return
    const value = table.valueAt(index)
    if (value instanceof Roster) append(value, found)
    else found.push(value)
  }

  #joinFor(lookup: Lookup<E>): Join<E> {
    const joins = this.#joins
    const { join } = lookup
    // When others are waiting for its place, it has to be marked as used.
    if (join !== undefined && !join.dropped && joins.size < JOINS_MAX) return join
    return (lookup.join = this.#namedJoin(lookup))
  }

  #namedJoin({ tokens, name }: Lookup<E>): Join<E> {
    const joins = this.#joins
    const atoms = this.#atoms
    let join = joins.get(name)
    if (join !== undefined) {
      joins.delete(name)
      joins.set(name, join)
      return join
    }
    if (joins.size === JOINS_MAX) {
      const [[oldest, dropped]] = joins
      for (const entry of this.#entries) removeFromJoin(atoms, dropped, entry)
      dropped.dropped = true
      joins.delete(oldest)
    }
    let keys = 0
    for (const token of tokens) if (token === KEY) keys++
    join = {
      tokens,
      table: keys === 0 ? undefined : new KeyTable(keys),
      all: new Roster(),
      isOwn: keys > 1 && name === this.#skeleton.tokens.join(),
      dropped: false,
    }
    for (const entry of this.#entries) addToJoin(atoms, join, entry)
    joins.set(name, join)
    return join
  }
}

function append<E extends IndexEntry>({ entries }: Roster<E>, found: E[]): void {
  for (let i = 0; i < entries.length; i++) found.push(entries[i])
}

function addToJoin<E extends IndexEntry>(atoms: AtomTable, join: Join<E>, entry: E): void {
  if (join.isOwn) {
    addByIds(join.table as KeyTable<E | Roster<E>>, idsOf(entry), entry)
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

function addByIds<E extends IndexEntry>(table: KeyTable<E | Roster<E>>, ids: readonly number[], entry: E): void {
  const index = table.find(ids)
  if (index < 0) {
    table.add(ids, entry)
    return
  }
  const found = table.valueAt(index)
  if (found instanceof Roster) {
    found.add(entry)
    return
  }
  const both = new Roster<E>()
  both.add(found)
  both.add(entry)
  table.setAt(index, both)
}

function removeFromJoin<E extends IndexEntry>(atoms: AtomTable, join: Join<E>, entry: E): void {
  if (join.isOwn) {
    removeByIds(join.table as KeyTable<E | Roster<E>>, idsOf(entry), entry)
    return
  }
  const values: unknown[] = []
  if (valuesAt(entry.topic, join.tokens, values) === 'no') return
  if (join.table === undefined) {
    join.all.remove(entry)
    return
  }
  const held = values.map((value) => atoms.lookup(value) as Atom)
  removeByIds(join.table, held.map((atom) => atom.id), entry)
  for (const atom of held) atoms.release(atom)
}

function removeByIds<E extends IndexEntry>(table: KeyTable<E | Roster<E>>, ids: readonly number[], entry: E): void {
  const index = table.find(ids)
  const found = table.valueAt(index)
  if (found instanceof Roster && found.entries.length > 1) found.remove(entry)
  else table.removeAt(index)
}

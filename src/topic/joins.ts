/**
 * Joins: how topics with wildcards find the entries of one skeleton that they may meet.
 *
 * Owns a table for each way in which topics have lately asked for peers. It is made when a query of a new form
 * comes, if there are more entries than a walk is worth; there are only so many.
 */
import type { Atom, AtomTable, Keys } from './atom.js'
import { putIds, type IndexEntry } from './index-entry.js'
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
  /** How many of the tokens are keys. */
  readonly keys: number
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
  /** The same, to be walked through without an iterator. */
  #all: Join<E>[] = []

  constructor(skeleton: Skeleton, entries: readonly E[], atoms: AtomTable) {
    this.#skeleton = skeleton
    this.#entries = entries
    this.#atoms = atoms
  }

  /** The entry holds the atoms of its own keys. */
  add(entry: E): void {
    const all = this.#all
    for (let i = 0; i < all.length; i++) addToJoin(this.#atoms, all[i], entry)
  }

  /** While the entry still holds its atoms. */
  remove(entry: E): void {
    const all = this.#all
    for (let i = 0; i < all.length; i++) removeFromJoin(this.#atoms, all[i], entry)
  }

  /** How topics of a skeleton find entries here; undefined when none of them meets one. */
  lookupBy(skeleton: Skeleton): Lookup<E> | undefined {
    const tokens = commonTokens(this.#skeleton, skeleton)
    if (tokens === undefined) return undefined
    return { joins: this, tokens, name: tokens.join(), keys: keysIn(tokens), shallow: false, join: undefined }
  }

  /**
   * Finds all entries that a topic may meet; exact but for repeated wildcards where there are so many
   * that a walk isn't worth it.
   *
   * @param found is filled with them from index `n` on
   * @returns `n` and how many they are
   */
  candidates(query: unknown, lookup: Lookup<E>, found: E[], n: number): number {
    if (this.#entries.length === 0) return n
    const atoms = this.#atoms
    if (lookup.shallow) return this.#candidatesBy(undefined, lookup, found, n)
    const keys = atoms.takeKeys()
    const fits = valuesAt(query, lookup.tokens, keys.values) !== 'no'
    const end = fits ? this.#candidatesBy(keys, lookup, found, n) : n
    atoms.giveBack(keys, lookup.keys)
    return end
  }

  #candidatesBy(keys: Keys | undefined, lookup: Lookup<E>, found: E[], n: number): number {
    const entries = this.#entries
    if (entries.length <= WALK_MAX) return append(entries, found, n)
    const { table, all } = this.#joinFor(lookup)
    if (table === undefined || keys === undefined) return append(all.entries, found, n)
    const { values, ids } = keys
    for (let i = 0; i < table.width; i++) {
      const atom = this.#atoms.lookup(values[i])
      if (atom === undefined) return n
      ids[i] = atom.id
    }
    const index = table.find(ids)
    if (index < 0) return n
    const value = table.valueAt(index)
    if (value instanceof Roster) return append(value.entries, found, n)
    found[n] = value
    return n + 1
  }

  #joinFor(lookup: Lookup<E>): Join<E> {
    const joins = this.#joins
    const { join } = lookup
    // When others are waiting for its place, it has to be marked as used.
    if (join !== undefined && !join.dropped && joins.size < JOINS_MAX) return join
    return (lookup.join = this.#namedJoin(lookup))
  }

  #namedJoin({ tokens, name, keys }: Lookup<E>): Join<E> {
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
      this.#all = this.#all.filter((other) => other !== dropped)
    }
    join = {
      tokens,
      table: keys === 0 ? undefined : new KeyTable(keys),
      all: new Roster(),
      isOwn: keys > 1 && name === this.#skeleton.tokens.join(),
      dropped: false,
    }
    for (const entry of this.#entries) addToJoin(atoms, join, entry)
    joins.set(name, join)
    this.#all.push(join)
    return join
  }
}

function keysIn(tokens: readonly Token[]): number {
  let keys = 0
  for (const token of tokens) if (token === KEY) keys++
  return keys
}

function append<E extends IndexEntry>(entries: readonly E[], found: E[], n: number): number {
  for (let i = 0; i < entries.length; i++) found[n + i] = entries[i]
  return n + entries.length
}

function addToJoin<E extends IndexEntry>(atoms: AtomTable, join: Join<E>, entry: E): void {
  const keys = atoms.takeKeys()
  const { values, ids } = keys
  if (join.isOwn) {
    putIds(entry, ids)
    addByIds(join.table as KeyTable<E | Roster<E>>, ids, entry)
  } else if (valuesAt(entry.topic, join.tokens, values) !== 'no') {
    if (join.table === undefined) {
      join.all.add(entry)
    } else {
      for (let i = 0; i < join.table.width; i++) ids[i] = atoms.acquire(values[i]).id
      addByIds(join.table, ids, entry)
    }
  }
  atoms.giveBack(keys, join.table?.width ?? 0)
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
  const keys = atoms.takeKeys()
  const { values, ids } = keys
  if (join.isOwn) {
    putIds(entry, ids)
    removeByIds(join.table as KeyTable<E | Roster<E>>, ids, entry)
  } else if (valuesAt(entry.topic, join.tokens, values) !== 'no') {
    if (join.table === undefined) {
      join.all.remove(entry)
    } else {
      const { width } = join.table
      for (let i = 0; i < width; i++) ids[i] = (atoms.lookup(values[i]) as Atom).id
      removeByIds(join.table, ids, entry)
      for (let i = 0; i < width; i++) atoms.release(atoms.lookup(values[i]) as Atom)
    }
  }
  atoms.giveBack(keys, join.table?.width ?? 0)
}

function removeByIds<E extends IndexEntry>(table: KeyTable<E | Roster<E>>, ids: readonly number[], entry: E): void {
  const index = table.find(ids)
  const found = table.valueAt(index)
  if (found instanceof Roster && found.entries.length > 1) found.remove(entry)
  else table.removeAt(index)
}

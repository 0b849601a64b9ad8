/**
 * Shapes: all topics of one skeleton in a routing index, and what of them receives a message, found by the values
 * in its ground places.
 *
 * Owns the entries of one skeleton, the atoms that these hold, and the table for messages: only entries that receive
 * messages are in it. How topics find entries is told by joins.ts.
 */
import { isOwnKey, WILD, type AtomTable, type Keys } from './atom.js'
import { putIds, type IndexEntry } from './index-entry.js'
import { Joins } from './joins.js'
import { KeyTable } from './key-table.js'
import { slot, type RecordBase } from './record.js'
import { constructorToken, KEY, valuesAt, WILD_PART, type Fit, type Skeleton, type Token } from './skeleton.js'
import { isCompound, part, size, type Compound } from './value.js'
import { Wildcard } from './wildcard.js'

type Bucket<E> = E | E[]
/** What a Map refers to: empty, once nothing is left; see `KeyTable` for who may still refer to it. */
interface Holder<E> {
  bucket: Bucket<E> | undefined
}

export class Shape<E extends IndexEntry> {
  readonly skeleton: Skeleton
  readonly entries: E[] = []
  /** Numbers that no entry has, up to the highest that one has had. */
  private readonly freeNumbers: number[] = []
  private highestNumber = 0
  /** How many entries receive messages. */
  receivers = 0

  /** It was empty, and may be again: see `RoutingIndex`. */
  idle = false
  /** Where it is among those of its group that receive messages. */
  receivingPlace = 0

  private readonly atoms: AtomTable
  /** Part number of each key if all keys are direct parts of the outermost constructor. */
  private readonly first: number
  private readonly second: number
  private readonly simple: boolean
  /** Whether all keys are direct parts of the outermost constructor, or parts of these. */
  private readonly shallow: boolean
  /** The value of the only key, where `shallowKeyOf` has found it. */
  private found: unknown = undefined
  /** Receivers by their keys: none, one (the value itself, or its atom if it has parts), or several. */
  private readonly keyless: E[] = []
  private readonly single: Map<unknown, Holder<E>> | undefined
  /**
   * How many receivers in `single` have a key of each constructor: a value of another one needs no look-up, which
   * would have to write down its structural key if no topic mentions it.
   */
  private readonly constructors = new Map<Token, number>()
  private readonly table: KeyTable<Bucket<E>> | undefined
  /** For topics; messages are looked up here. */
  readonly joins: Joins<E>

  constructor(skeleton: Skeleton, atoms: AtomTable) {
    this.atoms = atoms
    this.skeleton = skeleton
    this.joins = new Joins(skeleton, this.entries, atoms)
    const { tokens, keys } = skeleton
    this.single = keys === 1 ? new Map() : undefined
    this.table = keys > 1 ? new KeyTable(keys) : undefined
    const flat = tokens.length > 1 && tokens.every((token, i) => i === 0 || token === KEY || token === WILD_PART)
    this.simple = keys === 0 ? tokens.length === 1 || flat : flat && keys <= 2
    this.shallow = tokens.length > 1 && isShallow(skeleton)
    this.first = this.simple && keys > 0 ? tokens.indexOf(KEY) - 1 : -1
    this.second = this.simple && keys > 1 ? tokens.lastIndexOf(KEY) - 1 : -1
  }

  /** The topic was examined: there is nothing here that could fail half-way. */
  add(entry: E): void {
    this.holdAtoms(entry)
    entry.number = this.freeNumbers.pop() ?? ++this.highestNumber
    this.joins.add(entry)
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
    this.joins.remove(entry)
    this.freeNumbers.push(entry.number)
    this.releaseAtoms(entry)
    entry.shape = undefined
  }

  /** The atoms that an entry's keys are found by. A single key needs one only if it has parts. */
  private holdAtoms(entry: E): void {
    const { atoms } = this
    const { keys } = this.skeleton
    if (keys === 0) return
    const found = atoms.takeKeys()
    const { values } = found
    valuesAt(entry.topic, this.skeleton.tokens, values)
    if (keys > 2) {
      entry.moreAtoms = values.slice(0, keys).map((value) => atoms.acquire(value))
    } else if (this.single === undefined || !isOwnKey(values[0])) {
      entry.atom0 = atoms.acquire(values[0])
      if (keys === 2) entry.atom1 = atoms.acquire(values[1])
    }
    atoms.giveBack(found, keys)
  }

  private releaseAtoms(entry: E): void {
    if (entry.atom0 !== undefined) this.atoms.release(entry.atom0)
    if (entry.atom1 !== undefined) this.atoms.release(entry.atom1)
    if (entry.moreAtoms !== undefined) for (const atom of entry.moreAtoms) this.atoms.release(atom)
    entry.atom0 = undefined
    entry.atom1 = undefined
    entry.moreAtoms = undefined
  }

  private countConstructor({ atom0 }: E, change: number): void {
    const value = atom0?.value
    if (!isCompound(value)) return
    const token = constructorToken(value)
    const count = (this.constructors.get(token) ?? 0) + change
    if (count === 0) this.constructors.delete(token)
    else this.constructors.set(token, count)
  }

  private singleKey(entry: E): unknown {
    if (entry.atom0 !== undefined) return entry.atom0
    const found = this.atoms.takeKeys()
    valuesAt(entry.topic, this.skeleton.tokens, found.values)
    const [key] = found.values
    this.atoms.giveBack(found, 1)
    return key
  }

  addReceiver(entry: E): void {
    this.receivers++
    if (this.single !== undefined) {
      const key = this.singleKey(entry)
      const holder = this.single.get(key)
      if (holder === undefined) this.single.set(key, { bucket: joined(undefined, entry) })
      else holder.bucket = joined(holder.bucket, entry)
      this.countConstructor(entry, 1)
    } else if (this.table !== undefined) {
      const keys = this.atoms.takeKeys()
      putIds(entry, keys.ids)
      const index = this.table.find(keys.ids)
      if (index < 0) this.table.add(keys.ids, joined(undefined, entry))
      else this.table.setAt(index, joined(this.table.valueAt(index), entry))
      this.atoms.giveBack(keys, 0)
    } else {
      entry.bucketPlace = this.keyless.push(entry) - 1
    }
  }

  removeReceiver(entry: E): void {
    this.receivers--
    if (this.single !== undefined) {
      const key = this.singleKey(entry)
      const holder = this.single.get(key) as Holder<E>
      holder.bucket = without(holder.bucket as Bucket<E>, entry)
      if (holder.bucket === undefined) this.single.delete(key)
      this.countConstructor(entry, -1)
    } else if (this.table !== undefined) {
      const keys = this.atoms.takeKeys()
      putIds(entry, keys.ids)
      const index = this.table.find(keys.ids)
      this.atoms.giveBack(keys, 0)
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
      return typeof value === 'object' ? this.singleReceiversOf(value) : single.get(value)?.bucket
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
    const single = this.single as Map<unknown, Holder<E>>
    if (isOwnKey(value)) return value instanceof Wildcard ? null : single.get(value)?.bucket
    if (isCompound(value) && !this.constructors.has(constructorToken(value))) return undefined
    const atom = this.atoms.lookup(value)
    return atom === WILD ? null : atom && single.get(atom)?.bucket
  }

  private deepReceiversOf(body: unknown): Bucket<E> | undefined | null {
    if (this.shallow && this.table === undefined) {
      const fit = this.shallowKeyOf(body as Compound)
      const { found } = this
      this.found = undefined
      if (fit !== 'yes') return fit === 'open' ? null : undefined
      return this.single === undefined ? this.keyless : this.singleReceiversOf(found)
    }
    const found = this.atoms.takeKeys()
    const fit = valuesAt(body, this.skeleton.tokens, found.values)
    const bucket = fit === 'yes' ? this.receiversBy(found) : fit === 'open' ? null : undefined
    this.atoms.giveBack(found, this.skeleton.keys)
    return bucket
  }

  private receiversBy({ values, ids }: Keys): Bucket<E> | undefined | null {
    const { single, table, atoms } = this
    if (single !== undefined) return this.singleReceiversOf(values[0])
    if (table === undefined) return this.keyless
    for (let i = 0; i < table.width; i++) {
      const atom = atoms.lookup(values[i])
      if (atom === undefined) return undefined
      if (atom === WILD) return null
      ids[i] = atom.id
    }
    const index = table.find(ids)
    return index < 0 ? undefined : table.valueAt(index)
  }

  /** As `valuesAt`, for a message of this outermost constructor and a shallow skeleton with at most one key. */
  private shallowKeyOf(body: Compound): Fit {
    const { tokens } = this.skeleton
    let at = 1
    for (let i = 0, n = size(body); i < n; i++) {
      const token = tokens[at++]
      if (token === WILD_PART) continue
      const value = part(body, i)
      if (token === KEY) {
        this.found = value
        continue
      }
      if (!isCompound(value)) return value instanceof Wildcard ? 'open' : 'no'
      if (constructorToken(value) !== token) return 'no'
      for (let j = 0, m = size(value); j < m; j++) if (tokens[at++] === KEY) this.found = part(value, j)
    }
    return 'yes'
  }
}

/** Whether below the parts of the outermost constructor there are keys and wildcards only. */
function isShallow({ tokens, ends }: Skeleton): boolean {
  for (let i = 1; i < tokens.length; i = ends[i]) {
    for (let j = i + 1; j < ends[i]; j++) if (tokens[j] !== KEY && tokens[j] !== WILD_PART) return false
  }
  return true
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

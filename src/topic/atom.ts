/**
 * Atoms: small integers for the ground values that topics mention, so that the routing index compares
 * and hashes integers.
 *
 * An atom lives while some topic in some index holds it. Records remember their atom in a hidden
 * property: a program that keeps using one address object pays for hashing it once.
 */
import { ATOM, RecordBase } from './record.js'
import { limitError } from './limits.js'
import { constructorToken, SkeletonTable } from './skeleton.js'
import { OPEN, Oversize, structuralKey } from './structural-key.js'
import { isGround, part, size, type Compound } from './value.js'
import { Wildcard } from './wildcard.js'

/** Whether an atom is in its table's list of those that may be dropped, and whether it was. */
const enum Fate { live, dying, dropped }

/** The identity of one ground value. Dead when `refs` is 0: then no topic mentions the value. */
export class Atom {
  /** The number of its table: a record that remembers it must not keep all of the table alive. */
  readonly table: number
  readonly id: number
  /** Undefined once it is dropped: old copies of a Map may refer to it still; see `KeyTable`. */
  value: unknown
  /** What it is found by in the table; undefined for values that are their own key. */
  readonly key: string | undefined
  refs = 0
  fate = Fate.live

  constructor(table: number, id: number, value: unknown, key: string | undefined) {
    this.table = table
    this.id = id
    this.value = value
    this.key = key
  }
}

/** What a look-up answers for a value with a wildcard in it. */
export const WILD = new Atom(0, -1, undefined, undefined)
WILD.refs = 1

interface Remembering {
  [ATOM]?: Atom | undefined
}

/** Whether a ground value can key a Map by itself. */
export function isOwnKey(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  return !(value instanceof RecordBase || Array.isArray(value) || value instanceof Uint8Array)
}

/** Of byte arrays one for each length, as of arrays. */
function constructorKey(value: Compound | Uint8Array): number {
  return value instanceof Uint8Array ? -1 - value.length : constructorToken(value)
}

/** Atoms that nothing mentions any more are dropped when there are so many, and a quarter of all. */
const DEAD_MAX = 1024
/** Or when their keys have so many characters together. */
const DEAD_LENGTH_MAX = 1024 * 1024

/** Where the values at the keys of a topic, and the ids of their atoms, are put for a look-up. */
export class Keys {
  readonly values: unknown[] = []
  readonly ids: number[] = []
}

let tables = 0

/** The atoms and skeletons of the routing indexes that belong together: those of a ground VM and all VMs inside. */
export class AtomTable {
  readonly skeletons = new SkeletonTable()
  private readonly number = ++tables
  /** Values that are their own key: primitives and opaque objects. */
  private readonly plain = new Map<unknown, Atom>()
  /** Arrays, records and byte arrays, by structural key. */
  private readonly structured = new Map<string, Atom>()
  /** How many atoms there are of each constructor, so that most misses need no structural key. */
  private readonly population = new Map<number, number>()
  /** Kept for a while, as the same values tend to come back. */
  private dead: Atom[] = []
  private deadLength = 0
  private readonly freeIds: number[] = []
  private lastId = 0
  private live = 0
  /** Absent while it is in use: a look-up may run code of the program that comes here again. */
  private keys: Keys | undefined = undefined

  /** Live atoms. */
  get size(): number {
    return this.live
  }

  /**
   * The live atom of a value, undefined when no topic mentions it, WILD when it has a wildcard in it. What
   * exceeds the limits no topic mentions.
   * Never allocates for values without parts, or for records that have been looked up before.
   */
  lookup(value: unknown): Atom | undefined {
    if (typeof value === 'object' && value !== null) {
      const known = (value as Remembering)[ATOM]
      if (known !== undefined && known.table === this.number && known.refs > 0) return known
    }
    const atom = this.find(value)
    return atom === undefined || atom.refs === 0 ? undefined : atom
  }

  /** The atom of a value, live or dead. */
  private find(value: unknown): Atom | undefined {
    if (isOwnKey(value)) return value instanceof Wildcard ? WILD : this.plain.get(value)
    const known = (value as Remembering)[ATOM]
    if (known?.table === this.number && known.fate !== Fate.dropped) return known
    if (!this.population.has(constructorKey(value as Compound))) return undefined
    const key = structuralKey(value)
    if (typeof key !== 'string') return key === OPEN || !isGround(value) ? WILD : undefined
    const atom = this.structured.get(key)
    if (atom !== undefined && value instanceof RecordBase) remember(value, atom, false)
    return atom
  }

  /** Room for keys, to be given back. */
  takeKeys(): Keys {
    const keys = this.keys ?? new Keys()
    this.keys = undefined
    return keys
  }

  /** @param used how many values were put there: they must not be kept alive */
  giveBack(keys: Keys, used: number): void {
    for (let i = 0; i < used; i++) keys.values[i] = undefined
    this.keys = keys
  }

  /**
   * Holds the atom of a ground value; pair with `release`.
   *
   * @param value a part of an entry's topic: frozen arrays in it are copies that only the index knows
   * @throws RangeError when the value exceeds a limit
   */
  acquire(value: unknown): Atom {
    const atom = isOwnKey(value) ? this.plain.get(value) ?? this.createPlain(value) : this.structuredAtom(value)
    if (atom.refs++ === 0) this.live++
    return atom
  }

  private createPlain(value: unknown): Atom {
    const atom = new Atom(this.number, this.freeIds.pop() ?? ++this.lastId, value, undefined)
    this.plain.set(value, atom)
    return atom
  }

  /** The atom of a ground value with parts, live or dead, or a new one. */
  private structuredAtom(value: unknown): Atom {
    const known = (value as Remembering)[ATOM]
    if (known?.table === this.number && known.fate !== Fate.dropped) return known
    const key = groundKey(value)
    const found = this.structured.get(key)
    if (found !== undefined) {
      if (value instanceof RecordBase) remember(value, found, true)
      return found
    }
    const atom = new Atom(this.number, this.freeIds.pop() ?? ++this.lastId, value, key)
    this.structured.set(key, atom)
    const constructor = constructorKey(value as Compound)
    this.population.set(constructor, (this.population.get(constructor) ?? 0) + 1)
    if (value instanceof RecordBase) remember(value, atom, true)
    return atom
  }

  release(atom: Atom): void {
    if (--atom.refs > 0) return
    this.live--
    if (atom.key === undefined) {
      this.drop(atom) // cheap to make again, and its value may be a large object
      return
    }
    if (atom.fate === Fate.live) {
      this.dead.push(atom)
      this.deadLength += atom.key.length
    }
    atom.fate = Fate.dying
    if (this.deadLength > DEAD_LENGTH_MAX || (this.dead.length > DEAD_MAX && this.dead.length * 4 > this.live)) {
      this.dropDead()
    }
  }

  private dropDead(): void {
    const { dead } = this
    this.dead = []
    this.deadLength = 0
    for (const atom of dead) {
      atom.fate = Fate.live
      if (atom.refs === 0) this.drop(atom)
    }
  }

  private drop(atom: Atom): void {
    atom.fate = Fate.dropped
    this.freeIds.push(atom.id)
    const { key, value } = atom
    atom.value = undefined
    if (key === undefined) {
      this.plain.delete(value)
      return
    }
    this.structured.delete(key)
    const constructor = constructorKey(value as Compound)
    const left = (this.population.get(constructor) ?? 1) - 1
    if (left === 0) this.population.delete(constructor)
    else this.population.set(constructor, left)
  }
}

/**
 * Not for records whose parts may be written to: they could become another value.
 *
 * @param frozen whether frozen arrays in it are the index's own: in others there may be accessors
 */
function remember(record: RecordBase, atom: Atom, frozen: boolean): void {
  if (!isFixed(record, frozen)) return
  if (ATOM in record) (record as Remembering)[ATOM] = atom
  else if (Object.isExtensible(record)) Object.defineProperty(record, ATOM, { value: atom, writable: true })
}

/** Whether nothing in a record can be written to. It has a key, so that it is within the limits. */
function isFixed(record: RecordBase, frozen: boolean): boolean {
  let waiting: Compound[] | undefined
  let compound: Compound = record
  for (;;) {
    for (let i = 0, n = size(compound); i < n; i++) {
      const value = part(compound, i)
      if (value instanceof Uint8Array) return false
      if (Array.isArray(value)) {
        if (!frozen || !Object.isFrozen(value)) return false
        ;(waiting ??= []).push(value as unknown[])
      } else if (value instanceof RecordBase) {
        (waiting ??= []).push(value)
      }
    }
    if (waiting === undefined || waiting.length === 0) return true
    compound = waiting.pop() as Compound
  }
}

function groundKey(value: unknown): string {
  const key = structuralKey(value)
  if (key instanceof Oversize) throw limitError(key.limit, value)
  if (key === OPEN) throw new TypeError('a value with a wildcard has no atom')
  return key
}

/** Whether a record is known to be ground because it has, or had, an atom. */
export function hasAtom(value: object): boolean {
  return (value as Remembering)[ATOM] !== undefined
}

/**
 * Atoms: small integers for the ground values that topics mention, so that the routing index compares
 * and hashes integers.
 *
 * An atom lives while some topic in some index holds it. Records remember their atom in a hidden
 * property: a program that keeps using one address object pays for hashing it once.
 */
import { RecordBase, slot } from './record.js'
import { isCompound, structuralKey, type Compound } from './value.js'
import { Wildcard } from './wildcard.js'

/** The identity of one ground value. Dead when `refs` is 0. */
export class Atom {
  readonly id: number
  readonly value: unknown
  /** What it is found by in the table; undefined for values that are their own key. */
  readonly key: string | undefined
  refs = 0

  constructor(id: number, value: unknown, key: string | undefined) {
    this.id = id
    this.value = value
    this.key = key
  }
}

/** What `lookupAtom` answers for a value with a wildcard in it. */
export const WILD = new Atom(-1, undefined, undefined)

const ATOM = Symbol('atom')
interface Remembering {
  [ATOM]?: Atom
}

/** Values that are their own key: primitives and opaque objects. */
const plain = new Map<unknown, Atom>()
/** Arrays, records and byte arrays, by structural key. */
const structured = new Map<string, Atom>()
/** Whether a ground value can key a Map by itself. */
export function isOwnKey(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  return !(value instanceof RecordBase || Array.isArray(value) || value instanceof Uint8Array)
}

/** How many live atoms there are of each constructor, so that most misses need no structural key. */
const population = new Map<string, number>()
const freeIds: number[] = []
let lastId = 0

function constructorKey(value: Compound | Uint8Array): string {
  if (value instanceof RecordBase) return `r${value.$kind.id}`
  return value instanceof Uint8Array ? `b${value.length}` : `a${value.length}`
}

/**
 * The live atom of a value, undefined when no topic mentions it, WILD when it has a wildcard in it.
 * Never allocates for values without parts, or for records that have been looked up before.
 */
export function lookupAtom(value: unknown): Atom | undefined {
  if (typeof value !== 'object' || value === null) return plain.get(value)
  const known = (value as Remembering)[ATOM]
  if (known !== undefined && known.refs > 0) return known
  if (value instanceof RecordBase || Array.isArray(value) || value instanceof Uint8Array) return lookupStructured(value as Compound)
  if (value instanceof Wildcard) return WILD
  return plain.get(value)
}

function lookupStructured(value: Compound | Uint8Array): Atom | undefined {
  if (!population.has(constructorKey(value))) return undefined
  const key = structuralKey(value)
  if (key === undefined) return WILD
  const atom = structured.get(key)
  if (atom !== undefined && value instanceof RecordBase) remember(value, atom)
  return atom
}

/** Not for records whose parts may be written to: they could become another value. */
function remember(record: RecordBase, atom: Atom): void {
  if (!isFixed(record)) return
  if (ATOM in record) (record as Remembering)[ATOM] = atom
  else if (Object.isExtensible(record)) Object.defineProperty(record, ATOM, { value: atom, writable: true })
}

function isFixed(record: RecordBase): boolean {
  for (let i = 0; i < record.$kind.arity; i++) {
    const value = slot(record, i)
    if (Array.isArray(value) || value instanceof Uint8Array) return false
    if (value instanceof RecordBase && !isFixed(value)) return false
  }
  return true
}

/** Holds the atom of a ground value; pair with `releaseAtom`. */
export function acquireAtom(value: unknown): Atom {
  let atom = lookupAtom(value)
  if (atom === undefined) {
    const key = isCompound(value) || value instanceof Uint8Array ? structuralKey(value) : undefined
    atom = new Atom(freeIds.pop() ?? ++lastId, value, key)
    if (key === undefined) {
      plain.set(value, atom)
    } else {
      structured.set(key, atom)
      const constructor = constructorKey(value as Compound)
      population.set(constructor, (population.get(constructor) ?? 0) + 1)
      if (value instanceof RecordBase) remember(value, atom)
    }
  }
  atom.refs++
  return atom
}

export function releaseAtom(atom: Atom): void {
  if (--atom.refs > 0) return
  freeIds.push(atom.id)
  if (atom.key === undefined) {
    plain.delete(atom.value)
    return
  }
  structured.delete(atom.key)
  const constructor = constructorKey(atom.value as Compound)
  const left = (population.get(constructor) ?? 1) - 1
  if (left === 0) population.delete(constructor)
  else population.set(constructor, left)
}

/** Whether a record is known to be ground because it has, or had, an atom. */
export function hasAtom(value: object): boolean {
  return (value as Remembering)[ATOM] !== undefined
}

/** Live atoms; for leak tests. @internal */
export function atomCount(): number {
  return plain.size + structured.size
}

/**
 * Topics, naively: unification with an association list for a substitution, nothing precomputed.
 * Terms are the plain data of `program.ts`.
 */
import { NAMED, type Term } from './program.js'

type Compound = readonly Term[] | { readonly record: string; readonly parts: readonly Term[] }
type Bindings = readonly (readonly [variable: string, value: Term])[]

function isList(term: Term): term is readonly Term[] {
  return Array.isArray(term)
}

/** The name of a wildcard; undefined for anything else. */
function wildcard(term: Term): string | undefined {
  return typeof term === 'object' && term !== null && 'wild' in term ? String(term.wild) : undefined
}

function isCompound(term: Term): term is Compound {
  return isList(term) || (typeof term === 'object' && term !== null && 'record' in term)
}

function partsOf(term: Compound): readonly Term[] {
  return isList(term) ? term : (term as { readonly parts: readonly Term[] }).parts
}

function map(term: Term, change: (leaf: Term) => Term): Term {
  if (!isCompound(term)) return change(term)
  const parts = partsOf(term).map((part) => map(part, change))
  return isList(term) ? parts : { record: (term as { readonly record: string }).record, parts }
}

/** What the names of wildcards of instances begin with; no other's does. */
const INSTANCE = 'instance of '
/** So that each is another one, also beside those that came with an event. */
let filled = 0

/**
 * Puts the topic or body of the event at hand where `here` stands, and writes out the instance of records
 * that have one: as a third part, which is a wildcard beside a wildcard, and undefined in plain ones.
 */
export function fill(term: Term, here: Term): Term {
  const walk = (inner: Term): Term => {
    if (typeof inner === 'object' && inner !== null && 'here' in inner) return here
    if (!isCompound(inner)) return inner
    const parts = partsOf(inner).map(walk)
    if (isList(inner)) return parts
    const { record, instance } = inner as { readonly record: string; readonly instance?: number }
    if (record !== NAMED) return { record, parts }
    const open = parts.some((part) => typeof part === 'object' && part !== null && isWildcard(part))
    return { record, parts: [...parts, open ? { wild: `${INSTANCE}new ${++filled}` } : instance] }
  }
  return walk(term)
}

function isWildcard(term: object): boolean {
  return 'any' in term || 'wild' in term
}

/** The same topic with wildcards that no other topic has. */
function apart(term: Term, side: string): Term {
  let count = 0
  return map(term, (leaf) => {
    if (typeof leaf === 'object' && leaf !== null && 'any' in leaf) return { wild: `${side}any${count++}` }
    const name = wildcard(leaf)
    if (name === undefined) return leaf
    if (name.startsWith(INSTANCE)) return { wild: `${INSTANCE}${side}.${name}` }
    return { wild: `${side}.${typeof (leaf as { wild: unknown }).wild}.${name}` }
  })
}

function lookUp(term: Term, bindings: Bindings): Term {
  const name = wildcard(term)
  const binding = name === undefined ? undefined : bindings.find(([variable]) => variable === name)
  return binding === undefined ? term : lookUp(binding[1], bindings)
}

function occursIn(name: string, term: Term, bindings: Bindings): boolean {
  const value = lookUp(term, bindings)
  if (isCompound(value)) return partsOf(value).some((part) => occursIn(name, part, bindings))
  return wildcard(value) === name
}

function unify(a: Term, b: Term, bindings: Bindings): Bindings | undefined {
  const x = lookUp(a, bindings)
  const y = lookUp(b, bindings)
  const left = wildcard(x)
  const right = wildcard(y)
  if (left !== undefined && left === right) return bindings
  if (left !== undefined) return occursIn(left, y, bindings) ? undefined : [...bindings, [left, y]]
  if (right !== undefined) return unify(y, x, bindings)
  if (!isCompound(x) || !isCompound(y)) return showTerm(x) === showTerm(y) ? bindings : undefined
  if (isList(x) !== isList(y) || partsOf(x).length !== partsOf(y).length) return undefined
  if (!isList(x) && (x as { record: string }).record !== (y as { record: string }).record) return undefined
  return partsOf(x).reduce<Bindings | undefined>(
    (sofar, part, i) => (sofar === undefined ? undefined : unify(part, partsOf(y)[i], sofar)),
    bindings,
  )
}

/** Numbers the wildcards in reading order, those of instances apart. */
function number(term: Term): Term {
  const names: string[] = []
  const instances: string[] = []
  return map(term, (leaf) => {
    const name = wildcard(leaf)
    if (name === undefined) return leaf
    const isInstance = name.startsWith(INSTANCE)
    const known = isInstance ? instances : names
    if (!known.includes(name)) known.push(name)
    return { wild: isInstance ? `${INSTANCE}${known.indexOf(name)}` : known.indexOf(name) }
  })
}

function resolve(term: Term, bindings: Bindings): Term {
  return map(term, (leaf) => {
    const value = lookUp(leaf, bindings)
    return Object.is(value, leaf) ? leaf : resolve(value, bindings)
  })
}

/** The canonical meeting of two topics in a list of one, as a topic may be undefined; undefined if none. */
export function meeting(a: Term, b: Term): readonly [Term] | undefined {
  const left = apart(a, 'left')
  const bindings = unify(left, apart(b, 'right'), [])
  return bindings === undefined ? undefined : [number(resolve(left, bindings))]
}

/** Whether two topics are equal up to renaming of wildcards, sharing included. */
export function sameTopic(a: Term, b: Term): boolean {
  return spell(number(apart(a, ''))) === spell(number(apart(b, '')))
}

/** A term as traces show it: of a record's instance only the number. */
export function showTerm(term: Term): string {
  return spell(hideInstances(term))
}

function hideInstances(term: Term): Term {
  if (!isCompound(term)) return term
  const parts = partsOf(term).map(hideInstances)
  if (isList(term)) return parts
  const { record } = term as { readonly record: string }
  return { record, parts: record === NAMED && typeof parts[2] !== 'number' ? parts.slice(0, 2) : parts }
}

/** Equal texts are equal terms. */
function spell(term: Term): string {
  if (typeof term === 'string') return JSON.stringify(term)
  if (typeof term !== 'object' || term === null) return String(term)
  if (isCompound(term)) {
    const inner = partsOf(term).map(spell).join(' ')
    return isList(term) ? `(${inner})` : `${(term as { record: string }).record}{${inner}}`
  }
  if ('bytes' in term) return `#${term.bytes.join('.')}`
  return 'wild' in term ? `?${term.wild}` : '_'
}

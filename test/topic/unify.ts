/** Unification as in the textbook: slow, obvious, and independent of `meet.ts`. Judges the real one. */
import { equal, isCompound, part, RecordBase, size, Wildcard } from '../../src/topic/index.js'
import { makeRecord } from '../../src/topic/record.js'
import { isFresh, Numbering } from '../../src/topic/wildcard.js'

class Var {
  readonly kind = 'var'
  constructor(readonly wildcard: Wildcard) {}
}

interface Node {
  readonly kind: 'node'
  readonly like: unknown
  readonly parts: readonly Term[]
}

interface Leaf {
  readonly kind: 'leaf'
  readonly value: unknown
}

type Term = Var | Node | Leaf
type Substitution = ReadonlyMap<Var, Term>

function read(topic: unknown, names: Map<unknown, Var>): Term {
  if (topic instanceof Wildcard) {
    const name = isFresh(topic) ? Symbol('fresh') : topic.name
    const known = names.get(name) ?? new Var(topic)
    names.set(name, known)
    return known
  }
  if (!isCompound(topic)) return { kind: 'leaf', value: topic }
  const parts = Array.from({ length: size(topic) }, (_value, i) => read(part(topic, i), names))
  return { kind: 'node', like: topic, parts }
}

/** Replaces one variable everywhere. */
function replace(term: Term, variable: Var, by: Term): Term {
  if (term === variable) return by
  if (term.kind !== 'node') return term
  return { ...term, parts: term.parts.map((inner) => replace(inner, variable, by)) }
}

const contains = (term: Term, variable: Var): boolean =>
  term === variable || (term.kind === 'node' && term.parts.some((inner) => contains(inner, variable)))

const applied = (term: Term, substitution: Substitution): Term => {
  let result = term
  for (const [variable, by] of substitution) result = replace(result, variable, by)
  return result
}

function sameHead(a: Node, b: Node): boolean {
  if (a.parts.length !== b.parts.length) return false
  if (!(a.like instanceof RecordBase)) return !(b.like instanceof RecordBase)
  return b.like instanceof RecordBase && a.like.$kind.label === b.like.$kind.label
}

function solve(equations: (readonly [Term, Term])[]): Map<Var, Term> | undefined {
  const solution = new Map<Var, Term>()
  for (let next = equations.shift(); next !== undefined; next = equations.shift()) {
    const a = applied(next[0], solution)
    const b = applied(next[1], solution)
    if (a === b) continue
    const [variable, by] = a.kind === 'var' ? [a, b] : b.kind === 'var' ? [b, a] : []
    if (variable !== undefined && by !== undefined) {
      if (contains(by, variable)) return undefined
      for (const [known, value] of solution) solution.set(known, replace(value, variable, by))
      solution.set(variable, by)
    } else if (a.kind === 'leaf' && b.kind === 'leaf') {
      if (!equal(a.value, b.value)) return undefined
    } else if (a.kind === 'node' && b.kind === 'node') {
      if (!sameHead(a, b)) return undefined
      equations.push(...a.parts.map((inner, i) => [inner, b.parts[i]] as const))
    } else {
      return undefined
    }
  }
  return solution
}

function write(term: Term, names: Map<Var, Wildcard>, numbering: Numbering): unknown {
  if (term.kind === 'leaf') return term.value
  if (term.kind === 'var') {
    const name = names.get(term) ?? numbering.next(term.wildcard)
    names.set(term, name)
    return name
  }
  const parts = term.parts.map((inner) => write(inner, names, numbering))
  if (!(term.like instanceof RecordBase)) return parts
  return makeRecord(term.like.$kind, parts)
}

/** The most general common instance in canonical form, in an array; undefined when there is none. */
export function unified(a: unknown, b: unknown): readonly [unknown] | undefined {
  const left = read(a, new Map())
  const right = read(b, new Map())
  const solution = solve([[left, right]])
  return solution === undefined ? undefined : [write(applied(left, solution), new Map(), new Numbering())]
}

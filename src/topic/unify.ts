/**
 * Unification of topics with repeated wildcards, as graphs.
 *
 * What must be equal is put into one class (union-find), and what follows for the parts with it; then every class is
 * visited once, which finds wildcards that would contain themselves, and makes the result. So a part that stands in
 * many places of the result is one object, made once: written out, the result can be exponentially larger than the
 * topics. The time is nearly linear in the size of the topics (Huet, 1976; Baader and Snyder, "Unification Theory",
 * section 2.3, in the Handbook of Automated Reasoning, 2001).
 */
import { equal, isCompound, part, rebuild, sameConstructor, size, type Compound } from './value.js'
import { isFresh, Numbering, Wildcard } from './wildcard.js'

type Names = Map<Wildcard['name'], Term>

/** A part of one of the topics, in its class. */
class Term {
  /** Another one of its class, or itself. */
  parent: Term = this
  /** Terms of the class, if this is the one that stands for it. */
  members = 1
  /** What the class is: a wildcard as long as no member is anything else. */
  value: unknown
  /** The wildcards of the topic that `value` is from; its parts, once somebody has asked for them. */
  names: Names
  private inner: Term[] | undefined = undefined
  /** Whether the result is under way, or there. */
  visit: 'not yet' | 'under way' | 'done' = 'not yet'
  result: unknown = undefined

  constructor(value: unknown, names: Names) {
    this.value = value
    this.names = names
  }

  get isWild(): boolean {
    return this.value instanceof Wildcard
  }

  parts(): readonly Term[] {
    if (this.inner !== undefined) return this.inner
    const inner: Term[] = []
    const compound = this.value as Compound
    for (let i = 0, n = size(compound); i < n; i++) inner.push(termOf(part(compound, i), this.names))
    return (this.inner = inner)
  }

  /** Becomes what another one is. */
  take(other: Term): void {
    this.value = other.value
    this.names = other.names
    this.inner = other.inner
  }
}

function termOf(value: unknown, names: Names): Term {
  if (!(value instanceof Wildcard) || isFresh(value)) return new Term(value, names)
  let term = names.get(value.name)
  if (term === undefined) names.set(value.name, (term = new Term(value, names)))
  return term
}

/** The term that stands for a class. Halves the path to it. */
function rootOf(term: Term): Term {
  let here = term
  while (here.parent !== here) {
    here.parent = here.parent.parent
    here = here.parent
  }
  return here
}

function join(x: Term, y: Term): void {
  const [root, other] = x.members < y.members ? [y, x] : [x, y]
  if (root.isWild) root.take(other)
  other.parent = root
  root.members += other.members
}

/** A class whose result is being made: the terms of its parts, and the results of the first of them. */
class Making {
  readonly results: unknown[] = []
  changed = false

  constructor(
    readonly term: Term,
    readonly above: Making | undefined,
  ) {}

  add(result: unknown): void {
    this.changed ||= !Object.is(result, part(this.term.value as Compound, this.results.length))
    this.results.push(result)
  }
}

/** One unification of two topics, whose wildcards are apart from each other. */
export class Unifier {
  private readonly root: Term
  private readonly other: Term

  constructor(a: unknown, b: unknown) {
    this.root = termOf(a, new Map())
    this.other = termOf(b, new Map())
  }

  /** @returns whether they have a common instance, but for wildcards that would contain themselves */
  unify(): boolean {
    const waiting = [this.root, this.other]
    while (waiting.length > 0) {
      const y = rootOf(waiting.pop() as Term)
      const x = rootOf(waiting.pop() as Term)
      if (x === y) continue
      if (!x.isWild && !y.isWild) {
        if (!isCompound(x.value) || !isCompound(y.value)) {
          if (!equal(x.value, y.value)) return false
        } else {
          if (!sameConstructor(x.value, y.value)) return false
          const [inner, other] = [x.parts(), y.parts()]
          for (let i = inner.length - 1; i >= 0; i--) waiting.push(inner[i], other[i])
        }
      }
      join(x, y)
    }
    return true
  }

  /**
   * The topics' common instance, its wildcards numbered in reading order.
   *
   * @param map makes the values without parts that it has
   * @returns undefined when there is none, as a wildcard would contain itself
   */
  result(map: (leaf: unknown) => unknown): { readonly topic: unknown } | undefined {
    const numbering = new Numbering()
    /** Whether the result is there; otherwise its parts have to be made first. */
    const made = (term: Term): boolean => {
      if (term.visit === 'done') return true
      if (!term.isWild && isCompound(term.value)) return false
      term.result = term.value instanceof Wildcard ? numbering.next(term.value) : map(term.value)
      term.visit = 'done'
      return true
    }
    const root = rootOf(this.root)
    if (made(root)) return { topic: root.result }
    root.visit = 'under way'
    let here = new Making(root, undefined)
    for (;;) {
      const { term, results } = here
      const parts = term.parts()
      const i = results.length
      if (i < parts.length) {
        const inner = rootOf(parts[i])
        if (made(inner)) {
          here.add(inner.result)
        } else if (inner.visit === 'under way') {
          return undefined
        } else {
          inner.visit = 'under way'
          here = new Making(inner, here)
        }
        continue
      }
      term.result = here.changed ? rebuild(term.value as Compound, results) : term.value
      term.visit = 'done'
      if (here.above === undefined) return { topic: term.result }
      here = here.above // which finds it done
    }
  }
}

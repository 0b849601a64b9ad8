/**
 * Wildcards: what turns a message into a topic.
 *
 * `_` is fresh at each place where it stands; `wild(name)` is one and the same wildcard wherever the
 * same name stands in a topic, and then all its places must take one value. Canonical topics use the
 * wildcards `wild(0)`, `wild(1)`, ... in reading order.
 */
import { inspect } from 'node:util'
import { argumentError } from '../support/errors.js'

/** A place in a topic that any value fits. Wildcards of one name in one topic are the same wildcard. */
export class Wildcard {
  /** Forbids structural mix-ups: nothing else is assignable to a Wildcard. */
  declare private readonly brand: 'wildcard'
  /** Equal names in one topic are the same wildcard; `_` has one that is never equal. */
  readonly name: string | number | symbol

  /** @internal */
  constructor(name: string | number | symbol) {
    this.name = name
  }

  [inspect.custom](): string {
    return this === _ ? '_' : `?${String(this.name)}`
  }
}

/** A fresh wildcard at each use. */
export const _: Wildcard = new Wildcard(Symbol('_'))

const canonical: Wildcard[] = []

/**
 * A wildcard that can stand in several places of one topic.
 *
 * @param name identifies it within a topic; without a name it is unlike any other
 */
export function wild(name: string | number | symbol = Symbol('wild')): Wildcard {
  if (typeof name === 'number') {
    if (!Number.isInteger(name) || name < 0) {
      throw argumentError('wild', 'name', 'a string, a symbol or a non-negative integer', name)
    }
    if (name < 1024) return (canonical[name] ??= new Wildcard(name))
  } else if (typeof name !== 'string' && typeof name !== 'symbol') {
    throw argumentError('wild', 'name', 'a string, a symbol or a non-negative integer', name)
  }
  return new Wildcard(name)
}

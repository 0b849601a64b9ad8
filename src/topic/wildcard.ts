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

/** What stands in the instance of a record that is a pattern (see `record.ts`); nobody writes or sees it. */
class InstanceWildcard extends Wildcard {}

/** Any instance, at each use another one. */
export const ANY_INSTANCE: Wildcard = new InstanceWildcard(Symbol('instance'))

/** Whether a wildcard is another one at each place where it stands. */
export function isFresh(wildcard: Wildcard): boolean {
  return wildcard === _ || wildcard === ANY_INSTANCE
}

/**
 * Gives the wildcards of a canonical topic their names, in reading order. Those of instances are counted
 * apart: nobody has written them.
 */
export class Numbering {
  private count = 0
  private instances = 0

  /** The next wildcard to take the place of `wildcard`. */
  next(wildcard: Wildcard): Wildcard {
    return wildcard instanceof InstanceWildcard ? instanceWild(this.instances++) : wild(this.count++)
  }
}

const canonicalInstances: Wildcard[] = []

/** The wildcard of an instance that a canonical topic has at place `i`, counted from 0. */
export function instanceWild(i: number): Wildcard {
  if (i >= CANONICAL_MAX) return new InstanceWildcard(instanceName(i))
  return (canonicalInstances[i] ??= new InstanceWildcard(instanceName(i)))
}

const INSTANCE = 'marketplace-native instance '
const instanceName = (i: number): symbol => Symbol.for(`${INSTANCE}${i}`)

/** The `i` of `instanceWild(i)`; undefined for every other wildcard. */
export function instanceNumber(wildcard: Wildcard): number | undefined {
  if (!(wildcard instanceof InstanceWildcard) || wildcard === ANY_INSTANCE) return undefined
  return Number(Symbol.keyFor(wildcard.name as symbol)?.slice(INSTANCE.length))
}

/** So many wildcards of canonical topics are made only once. */
export const CANONICAL_MAX = 1024

const canonical: Wildcard[] = []

/**
 * A wildcard that can stand in several places of one topic.
 *
 * @param name identifies it within a topic; without a name it is unlike any other
 */
export function wild(name?: string | number | symbol): Wildcard
// What is given as `undefined` is a mistake: a fresh wildcard would meet more than was meant.
export function wild(...given: [name?: string | number | symbol]): Wildcard {
  const name = given.length === 0 ? Symbol('wild') : given[0]
  if (typeof name === 'number') {
    if (!Number.isInteger(name) || name < 0) {
      throw argumentError('wild', 'name', 'a string, a symbol or a non-negative integer', name)
    }
    if (name < CANONICAL_MAX) return (canonical[name] ??= new Wildcard(name))
  } else if (typeof name !== 'string' && typeof name !== 'symbol') {
    throw argumentError('wild', 'name', 'a string, a symbol or a non-negative integer', name)
  }
  return new Wildcard(name)
}

/**
 * What drivers have in common: how they take what programs ask of them.
 *
 * A driver is a process of `spawnDriver`, so that whatever goes wrong in it comes to its guard, which tells
 * the one that asked. A message is taken only if it has no wildcards.
 */
import { isGround } from '../topic/index.js'
import { show } from '../support/errors.js'
import type { ActionTree } from '../vm/index.js'

/**
 * A handler of messages that takes only those without wildcards: what has one is addressed to nobody, and
 * what a driver would send of it would reach everybody.
 */
export function definite<M>(handle: (wish: M) => ActionTree): (wish: M) => ActionTree {
  return (wish) => {
    if (!isGround(wish)) throw new TypeError(`${show(wish)} is for nobody: it has a wildcard in it`)
    return handle(wish)
  }
}

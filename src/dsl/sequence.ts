/** Chains of transitions: `sequence(first, step, step, ...)`. */
import { argumentError } from '../support/errors.js'
import { Transition, transition, type ActionTree } from '../vm/index.js'

/** Actions to be added, or a function from the state so far to the next transition or actions. */
export type Step<S> = ActionTree<S> | ((state: S) => Transition<S> | ActionTree<S>)

/** A state that begins as `0` is a number, not always 0. */
type Widened<S> = S extends number ? number : S extends string ? string : S extends boolean ? boolean : S

/**
 * Composes transitions: the state goes from step to step, the actions add up in order.
 *
 * @param first the first transition
 * @throws TypeError when it is not a transition
 */
export function sequence<S>(
  first: Transition<S>,
  ...steps: readonly Step<Widened<S>>[]
): Transition<Widened<S>> {
  if (!(first instanceof Transition)) throw argumentError('sequence', 'first', 'a transition', first)
  let state = first.state as Widened<S>
  const actions: ActionTree[] = [first.actions]
  for (const step of steps) {
    const result = typeof step === 'function' ? step(state) : step
    if (result instanceof Transition) {
      state = result.state
      actions.push(result.actions)
    } else {
      actions.push(result)
    }
  }
  return transition(state, actions)
}

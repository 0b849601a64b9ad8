/** Chains of transitions: `sequence(first, step, step, ...)`. */
import { Transition, transition, type ActionTree } from '../vm/index.js'

/** Actions to be added, or a function from the state so far to the next transition or actions. */
export type Step<S> = ActionTree<S> | ((state: S) => Transition<S> | ActionTree<S>)

/**
 * Composes transitions: the state goes from step to step, the actions add up in order.
 *
 * @param first the first transition
 */
export function sequence<S>(first: Transition<S>, ...steps: readonly Step<S>[]): Transition<S> {
  let state = first.state
  const actions: ActionTree<S>[] = [first.actions]
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

/**
 * What handlers are and what they may return: transitions and action trees; and the flattening of
 * action trees into the list of their actions.
 */
import { show } from '../support/errors.js'
import { Action, SendMessage } from './action.js'
import type { EndpointEvent, Role } from './role.js'

/** Actions, nested to any depth. `undefined`, `null`, `false` and empty arrays are skipped. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- most actions fit any state
export type ActionTree<S = any> = Action<S> | undefined | null | false | void | readonly ActionTree<S>[]

/** A new state for the process, and actions. */
export class Transition<S> {
  constructor(
    /** The new state. */
    readonly state: S,
    /** That they fit the state was checked where they were put together. */
    readonly actions: ActionTree,
  ) {}
}

/**
 * What a handler returns to change its process's state.
 *
 * @param state replaces the process's state
 * @param actions performed depth-first, left to right
 */
export function transition<S>(state: S, ...actions: readonly ActionTree<S>[]): Transition<S>
// Written with a first action, as an array of the rest costs on each call, and most calls have none.
export function transition<S>(
  state: S,
  first?: ActionTree<S>,
  ...more: readonly ActionTree<S>[]
): Transition<S> {
  return new Transition(state, more.length === 0 ? first : [first, ...more])
}

/**
 * What a handler may return. A promise keeps the process alive until it settles; it must resolve to
 * actions, not to a transition, as the state may have changed meanwhile.
 */
export type HandlerResult<S> = Transition<S> | ActionTree<S> | Promise<ActionTree<S>>

/** One function for all events of an endpoint. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
export type Handler<S = any> = (event: EndpointEvent, state: S) => HandlerResult<S>

/**
 * A function for each kind of event; what is left out is ignored. `M` is the type of the messages. Each
 * is given the endpoint's name as its last argument, so that many endpoints can have the same functions.
 */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
export interface Handlers<M = unknown, S = any> {
  /** A peer came. `topic` is where the two topics meet. */
  readonly onPresence?: ((topic: M, state: S, peer: Role, name: unknown) => HandlerResult<S>) | undefined
  /** A peer went. `reason` is undefined for an orderly end. */
  readonly onAbsence?:
    ((topic: M, state: S, reason: unknown, peer: Role, name: unknown) => HandlerResult<S>) | undefined
  /** A message came. `body` is the message itself. */
  readonly onMessage?: ((body: M, state: S, name: unknown) => HandlerResult<S>) | undefined
}

/**
 * Appends the actions of a tree to `out`, depth-first, left to right.
 *
 * @throws TypeError for anything in the tree that is not an action
 */
export function flatten(tree: unknown, out: Action[]): void {
  if (Array.isArray(tree)) {
    for (let i = 0; i < tree.length; i++) {
      const branch: unknown = tree[i]
      if (branch instanceof SendMessage) out.push(branch)
      else flatten(branch, out)
    }
  } else if (tree instanceof Action) {
    out.push(tree)
  } else if (tree !== undefined && tree !== null && tree !== false) {
    throw new TypeError(
      `a handler must return actions, nested arrays of them or a transition; got ${strayValue(tree)}`,
    )
  }
}

function strayValue(value: unknown): string {
  if (value instanceof Transition) return 'a transition inside an action tree'
  if (value instanceof Promise) return 'a promise inside an action tree'
  return show(value)
}

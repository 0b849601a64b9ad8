/**
 * Async context for processes: handlers see the values of `AsyncLocalStorage`s that were current where their actions
 * were made.
 *
 * A wrapper around actions, so that processes that don't ask for it pay nothing.
 */
import { AsyncResource } from 'node:async_hooks'
import {
  Action, AddEndpoint, AtMetaLevel, atMetaLevel, Spawn, Yield, yieldTurn, type AnyHandlers,
} from './action.js'
import { argumentError } from '../support/errors.js'
import {
  adoptPromises, flatten, Transition, transition, type ActionTree, type Handlers,
} from './handler.js'

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- functions of whatever kind, kept as they are
type AnyFunction = (...args: any[]) => unknown

/**
 * Keeps the async context: handlers, boots and continuations in these actions are called in the context in
 * which `withAsyncContext` is called, and so are those that they return in their turn, for as long as the
 * processes live. What `enterWith` sets in one of them, the others of them see, and nobody else; from
 * Node 24 on it ends with the handler, as in all callbacks there.
 *
 * @param actions typically `spawn(...)` of the process for one connection, within `storage.run(...)`
 * @throws TypeError when it is not an action, nor a tree of them
 */
export function withAsyncContext<S>(actions: ActionTree<S>): ActionTree<S> {
  return kept(new AsyncResource('MARKETPLACE_PROCESS'), actions) as ActionTree<S>
}

/** A tree, a transition or a promise with every function in it called in the context. */
function kept(context: AsyncResource, result: unknown): unknown {
  if (Array.isArray(result)) return keptTree(context, result)
  if (result instanceof Transition) {
    return transition(result.state, kept(context, result.actions) as ActionTree)
  }
  if (result instanceof Promise) return result.then((actions) => kept(context, actions))
  if (result instanceof Action) return keptAction(context, result)
  if (result === undefined || result === null || result === false) return result
  throw notActions(result)
}

function keptTree(context: AsyncResource, tree: readonly unknown[]): ActionTree {
  const actions: Action[] = []
  try {
    flatten(tree, actions, notActions)
  } catch (error) {
    // The error says what is wrong already: should a promise in there be rejected as well, that is ignored.
    adoptPromises(tree, () => undefined)
    throw error
  }
  return actions.map((action) => keptAction(context, action))
}

const notActions = (value: unknown): TypeError =>
  argumentError('withAsyncContext', 'actions', 'actions, or arrays of them', value)

function keptAction(context: AsyncResource, action: Action): ActionTree {
  const inside = (run: AnyFunction): AnyFunction => (...args: unknown[]) =>
    kept(context, context.runInAsyncScope(run, undefined, ...args))
  if (action instanceof AddEndpoint) {
    return new AddEndpoint(action.name, action.role, handlers(action.handlers, inside), action.kind)
  }
  if (action instanceof AtMetaLevel) return atMetaLevel(keptAction(context, action.action))
  if (action instanceof Yield) return yieldTurn(inside(action.continuation as AnyFunction) as never)
  if (!(action instanceof Spawn)) return action
  const { settings } = action
  const parent = settings.parent && inside(settings.parent as AnyFunction)
  return new Spawn(inside(action.boot) as never, { ...settings, parent: parent as never })
}

function handlers(all: AnyHandlers, inside: (run: AnyFunction) => AnyFunction): Handlers {
  if (typeof all === 'function') return inside(all) as never
  const { onPresence, onAbsence, onMessage } = all
  return {
    onPresence: onPresence && inside(onPresence) as never,
    onAbsence: onAbsence && inside(onAbsence) as never,
    onMessage: onMessage && inside(onMessage) as never,
  }
}

/**
 * What handlers are and what they may return: transitions and trees of actions; and the flattening of
 * such trees into the list of their actions. The actions themselves are in `action.ts`, but for their base
 * and for the one that nearly every handler returns, which the flattening looks at first.
 */
import { isPromise } from 'node:util/types'
import { show } from '../support/errors.js'
import type { EndpointEvent, Orientation, Role } from './role.js'

/** Base of all actions. `S` is the state that the handlers in it expect. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- most actions fit any state
export abstract class Action<in S = any> {
  /** Makes the type parameter count. */
  declare protected readonly state: (state: S) => void
}

export class SendMessage extends Action {
  readonly body: unknown
  readonly orientation: Orientation

  constructor(body: unknown, orientation: Orientation) {
    super()
    this.body = body
    this.orientation = orientation
  }
}

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

/** From this depth on it is checked now and then whether an array is inside of itself. */
const DEPTH_UNCHECKED = 256

/** An array of a tree, and where in it the walk goes on. */
interface Open {
  readonly branches: readonly unknown[]
  next: number
}

/**
 * Appends the actions of a tree to `out`, depth-first, left to right. Trees may be of any depth.
 *
 * @param refusal the error for what is no action
 * @throws TypeError for anything in the tree that is not an action, and for an array inside of itself
 */
export function flatten(tree: unknown, out: Action[], refusal = notAResult): void {
  if (!Array.isArray(tree)) {
    leaf(tree, out, refusal)
    return
  }
  let branches: readonly unknown[] = tree
  let next = 0
  // Most trees are one array: what is open around it is kept only when there is something.
  let around: Open[] | undefined
  for (;;) {
    if (next < branches.length) {
      const branch = branches[next++]
      if (branch instanceof SendMessage) {
        out.push(branch)
      } else if (Array.isArray(branch)) {
        around ??= []
        around.push({ branches, next })
        if (around.length > DEPTH_UNCHECKED) checkNoCycle(around, branch)
        branches = branch
        next = 0
      } else {
        leaf(branch, out, refusal)
      }
    } else {
      const outer = around?.pop()
      if (outer === undefined) return
      branches = outer.branches
      next = outer.next
    }
  }
}

function leaf(value: unknown, out: Action[], refusal: (value: unknown) => Error): void {
  if (value instanceof Action) out.push(value)
  else if (value !== undefined && value !== null && value !== false) throw refusal(value)
}

function notAResult(value: unknown): TypeError {
  return strayResult(value, 'a handler')
}

/** The error for what is no result of a handler. `who` has returned it. */
export function strayResult(value: unknown, who: string): TypeError {
  const way = isPromise(value) || value instanceof Transition
    ? '' : '. A function that is called for its effect only has braces: (...) => { ... }'
  const what = 'must return actions, nested arrays of them or a transition'
  return new TypeError(`${who} ${what}; got ${strayValue(value)}${way}`)
}

/** Checks now and then only, so that the cost stays linear: an array that is inside of itself gets to any depth. */
function checkNoCycle(around: readonly Open[], branch: unknown): void {
  const depth = around.length
  if ((depth & (depth - 1)) !== 0) return
  const seen = new Set<unknown>([branch])
  for (const { branches } of around) {
    if (seen.has(branches)) throw new TypeError('an action tree has an array inside of itself')
    seen.add(branches)
  }
}

function strayValue(value: unknown): string {
  if (value instanceof Transition) return 'a transition inside an action tree'
  if (isPromise(value)) return 'a promise inside an action tree'
  return show(value)
}

/**
 * Hears of the failures of all promises in a result that is of no use to anybody, so that none of them is
 * an unhandled rejection, which would end the whole Node process.
 */
export function adoptPromises(result: unknown, rejected: (reason: unknown) => void): void {
  const seen = new Set<unknown>()
  const open: unknown[] = [result]
  while (open.length > 0) {
    const value = open.pop()
    if (typeof value !== 'object' || value === null || seen.has(value)) continue
    try {
      if (isPromise(value)) void settled(value, rejected)
      else if (value instanceof Transition) open.push(value.actions)
      else if (Array.isArray(value)) for (const inner of value as unknown[]) open.push(inner)
      else continue
    } catch {
      continue // something with a trap that throws: it has no promises that anybody could reach
    }
    seen.add(value)
  }
}

async function settled(promise: Promise<unknown>, rejected: (reason: unknown) => void): Promise<void> {
  try {
    await promise
  } catch (error) {
    rejected(error)
  }
}

/** @internal A handler of whatever event; state is the second argument of each. */
export type AnyHandler = (...args: unknown[]) => unknown

/** What stands where a handler was, and the handler. */
const handlersBehind = new WeakMap<AnyHandler, AnyHandler>()

/** @internal From now on, a function stands in the place of a handler. */
export function standsFor(standIn: AnyHandler, handler: AnyHandler): void {
  handlersBehind.set(standIn, handler)
}

/** @internal The handler as the program has written it. */
export function handlerBehind(handler: unknown): unknown {
  let behind = handler
  for (;;) {
    const next = typeof behind === 'function' ? handlersBehind.get(behind as AnyHandler) : undefined
    if (next === undefined) return behind
    behind = next
  }
}

/** `answering(topic, handler)`: the endpoint of whoever answers questions. */
import { isPromise } from 'node:util/types'
import { checkOptions } from '../support/checks.js'
import { argumentError, show } from '../support/errors.js'
import { log, logs } from '../support/log.js'
import { _, isGround } from '../topic/index.js'
import { Action, ofKind } from '../vm/action.js'
import { checkTopic } from '../vm/role.js'
import {
  answer, answerError, question, sendMessage, Transition, type ActionTree, type Question,
} from '../vm/index.js'
import { endpoint } from './endpoint.js'
import type { MessageOf } from './message-of.js'

/** Options of `answering`. */
export interface AnsweringOptions {
  /** By which `deleteEndpoint` knows it. Any value, unique in the process. Default: unlike any other. */
  readonly name?: unknown
}

/**
 * Answers questions that meet a topic: the action that adds an endpoint for them.
 *
 * @param topic of the question's body
 * @param handler its value, or that of its promise, is the answer. What it throws is what the asker's promise is
 * rejected with; this process goes on. To change the state, or to answer later, subscribe to `question(_, topic)`
 * @throws TypeError when an argument is of the wrong type
 */
export function answering<const T, S = unknown>(
  topic: T, handler: (body: MessageOf<T>, state: S) => unknown, options: AnsweringOptions = {},
): Action<S> {
  checkTopic('answering', topic)
  if (typeof handler !== 'function') throw argumentError('answering', 'handler', 'a function', handler)
  checkOptions('answering', options, { name: () => undefined }, 'options.')
  const { name = Symbol('answering') } = options
  const onMessage = ({ id, body }: Question, state: S): ActionTree | Promise<ActionTree> => {
    if (!isGround(id)) {
      // Its answer would be for every asker.
      log('warning', 'a question was not answered, as its id has a wildcard in it', { question: question(id, body) })
      return undefined
    }
    try {
      const value = handler(body as MessageOf<T>, state)
      return isPromise(value) ? awaited(id, value) : told(id, value)
    } catch (error) {
      return refused(id, error)
    }
  }
  return ofKind({ exact: true, replies: true }, endpoint.subscriber(question(_, topic), { name, onMessage }))
}

async function awaited(id: unknown, promise: Promise<unknown>): Promise<ActionTree> {
  try {
    return told(id, await promise)
  } catch (error) {
    return refused(id, error)
  }
}

function told(id: unknown, value: unknown): ActionTree {
  // The message would meet what no answer is meant for.
  if (!isGround(value)) throw new TypeError(`the answer to a question must have no wildcard; got ${show(value)}`)
  const hasActions = Array.isArray(value) && value.some((part) => part instanceof Action)
  if (!hasActions && !(value instanceof Action) && !(value instanceof Transition)) return sendMessage(answer(id, value))
  throw new TypeError(`a handler of answering must return the answer; got ${show(value)}, which is none`)
}

function refused(id: unknown, error: unknown): ActionTree {
  const reason = error === undefined ? new Error('a handler of answering has thrown undefined') : error
  if (logs('info')) log('info', 'a question was answered with an error', { reason })
  return sendMessage(answerError(id, reason))
}

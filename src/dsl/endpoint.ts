/** `endpoint.subscriber(topic, {...})` and `endpoint.publisher(topic, {...})`. */
import { holdsOptions, unknownOption } from '../support/checks.js'
import { argumentError } from '../support/errors.js'
import { AddEndpoint, checkHandlers } from '../vm/action.js'
import { checkTopic } from '../vm/role.js'
import {
  EventSource,
  role,
  type Action,
  type Handlers,
  type Interest,
  type Orientation,
} from '../vm/index.js'
import type { MessageOf } from './message-of.js'

/** Handlers of an endpoint, and what else may be said of it. `T` is the topic's type, `S` the state's. */
export interface EndpointOptions<T, S> extends Handlers<MessageOf<T>, S> {
  /** By which `deleteEndpoint` knows it. Any value, unique in the process. Default: unlike any other. */
  readonly name?: unknown
  /** Default `participant`. */
  readonly interest?: Interest | undefined
}

const KNOWN = ['name', 'interest', 'onPresence', 'onAbsence', 'onMessage']
const known = new Set(KNOWN)

function makeEndpoint<T, S>(orientation: Orientation, topic: T, options: EndpointOptions<T, S>): Action<S> {
  const call = `endpoint.${orientation}`
  if (!holdsOptions(options, KNOWN)) {
    throw argumentError(call, 'options', 'an object of handlers', options)
  }
  const keys = Object.keys(options)
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]
    if (!known.has(key)) throw unknownOption(call, key, KNOWN)
  }
  checkTopic(call, topic)
  // It would meet nothing: what a source fires comes with the source.
  if (topic instanceof EventSource) throw argumentError(call, 'topic', '[source, _] for an event source', topic)
  checkHandlers(call, 'options', options)
  const { name = Symbol(orientation), interest = 'participant' } = options
  return new AddEndpoint<S>(name, role(orientation, topic, interest), options)
}

/** Ways to add an endpoint to a process. */
export const endpoint = {
  /**
   * Receives what publishers of the topic send, and hears of their presence.
   *
   * @param topic a message with wildcards in it; its type gives the handlers theirs
   * @returns the action that adds the endpoint
   * @throws TypeError when the topic is `undefined`, or an option is unknown or of the wrong type
   */
  subscriber<const T, S = unknown>(topic: T, options: EndpointOptions<T, S> = {}): Action<S> {
    return makeEndpoint('subscriber', topic, options)
  },

  /** Announces that messages of the topic will be sent; receives feedback, and hears of subscribers. */
  publisher<const T, S = unknown>(topic: T, options: EndpointOptions<T, S> = {}): Action<S> {
    return makeEndpoint('publisher', topic, options)
  },
} as const

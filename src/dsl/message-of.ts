/** Types: which messages a topic can meet. */
import type { Wildcard } from '../topic/index.js'
import type { EventSource } from '../vm/index.js'

/**
 * The type of the messages that meet a topic of type `T`: arrays part by part, records as they are
 * (their wildcards already have the type of the field), a wildcard as `unknown`; a pair that begins
 * with an event source as what the source fires.
 */
export type MessageOf<T> = T extends Wildcard
  ? unknown
  : T extends readonly [EventSource<infer V>, Wildcard]
    ? readonly [T[0], V]
    : T extends readonly unknown[]
      ? { readonly [K in keyof T]: MessageOf<T[K]> }
      : T

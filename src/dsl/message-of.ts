/** Types: which messages a topic can meet, and what it has in common with others' topics. */
import type { RecordBase, Wildcard } from '../topic/index.js'
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

/**
 * The type of what a topic has in common with a peer's, as `onPresence` and `onAbsence` are told: like messages of
 * type `M`, but the peer's topic may have a wildcard in each place where the own one has. Handlers are declared
 * with the values, as peers such as the drivers' have no wildcards there; who can't know his peers declares
 * what he takes as a `Meeting`, `({ source }: Meeting<TcpChannel>) => ...`, and the compiler asks him to look.
 */
export type Meeting<M> = M extends RecordBase
  ? { readonly [K in keyof M]: K extends keyof RecordBase | symbol ? M[K] : Meeting<M[K]> | Wildcard }
  : M extends Uint8Array
    ? M
    : M extends readonly unknown[]
      ? { readonly [K in keyof M]: Meeting<M[K]> | Wildcard }
      : M

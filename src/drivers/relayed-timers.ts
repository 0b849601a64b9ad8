/**
 * The timers that relays have asked for, which go with them: nobody is left who would hear of them.
 *
 * A relay is an observer outside, of a topic with its id; its timers have labels `[id, number]`. Relays of one
 * id can't be told apart here: their timers stay until the last of them has gone.
 *
 * Invariants: a label is kept while its timer is; what is done when a relay goes costs as much as it has timers.
 */
import { endpoint } from '../dsl/index.js'
import { _, defineRecord, mapKey } from '../topic/index.js'
import type { Action, ActionTree } from '../vm/index.js'

const timersOf = defineRecord('timers-of', ['relay']).of<[relay: unknown]>()

/** What tells others that a relay of this id is there: to be added outside. */
export const relayIsThere = (id: unknown): Action =>
  endpoint.publisher(timersOf(id), { interest: 'observer' })

type RelayedLabel = readonly [id: unknown, number: unknown]

const isRelayed = (label: unknown): label is RelayedLabel => Array.isArray(label) && label.length === 2

interface Relay {
  demand: number
  readonly labels: Map<unknown, RelayedLabel>
}

export class RelayedTimers {
  readonly #relays = new Map<unknown, Relay>()
  readonly #cancel: (label: unknown) => ActionTree

  /** @param cancel calls off the timers with a label whose relay has gone */
  constructor(cancel: (label: unknown) => ActionTree) {
    this.#cancel = cancel
  }

  /** The endpoint that hears of relays. */
  watch(): Action {
    return endpoint.subscriber(timersOf(_), {
      interest: 'everything',
      onPresence: ({ relay }) => { this.#came(mapKey(relay)) },
      onAbsence: ({ relay }) => this.#left(mapKey(relay)),
    })
  }

  /** A timer with this label was set. */
  set(label: unknown): void {
    if (this.#relays.size === 0 || !isRelayed(label)) return
    this.#relays.get(mapKey(label[0]))?.labels.set(label[1], label)
  }

  /** It is due, or was called off. */
  over(label: unknown): void {
    if (this.#relays.size === 0 || !isRelayed(label)) return
    this.#relays.get(mapKey(label[0]))?.labels.delete(label[1])
  }

  #came(key: unknown): void {
    const relay = this.#relays.get(key)
    if (relay === undefined) this.#relays.set(key, { demand: 1, labels: new Map() })
    else relay.demand++
  }

  #left(key: unknown): ActionTree {
    const relay = this.#relays.get(key)
    if (relay === undefined || --relay.demand > 0) return undefined
    this.#relays.delete(key)
    return [...relay.labels.values()].map((label) => this.#cancel(label))
  }
}

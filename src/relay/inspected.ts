/** What an inspector finds of relays: what each knows of other nodes. Owns which relay is behind an event source. */
import type { EventSource } from '../vm/index.js'
import type { RelayPeerMetrics } from './metrics.js'

/** A relay. */
export interface InspectedRelay {
  /** The name of this node. */
  readonly node: string
  readonly peers: () => readonly RelayPeerMetrics[]
}

const relays = new WeakMap<EventSource<unknown>, InspectedRelay>()

/** A relay is behind this source. */
export function showRelay(source: EventSource<unknown>, relay: InspectedRelay): void {
  relays.set(source, relay)
}

/** The relay behind a source, if it is one's. */
export function relayFrom(source: EventSource<unknown>): InspectedRelay | undefined {
  return relays.get(source)
}

/**
 * Which nodes hear a message: an index of the topics of remote endpoints, in which endpoints of one node with equal
 * topics are one entry.
 */
import { mapKey, RoutingIndex } from '../topic/index.js'
import type { Orientation } from '../vm/index.js'
import { TopicEntry } from './allowed.js'

/** One topic that some endpoints of a node have. */
export class Route<N> extends TopicEntry {
  count = 1
  constructor(readonly node: N, topic: unknown, readonly index: RoutingIndex<Route<N>>, readonly key: unknown) {
    super(topic)
  }
}

/** Those of one node, by orientation and topic. */
export type NodeRoutes<N> = Map<unknown, Route<N>>

export class Routes<N> {
  readonly #publishers = new RoutingIndex<Route<N>>()
  readonly #subscribers = new RoutingIndex<Route<N>>()
  readonly #found: Route<N>[] = []

  /** How many there are that messages of this orientation may take. */
  countFor(orientation: Orientation): number {
    return this.#receivers(orientation).size
  }

  /**
   * Adds an endpoint of a node.
   *
   * @param topic in canonical form
   * @throws RangeError when it exceeds a limit of topics
   */
  add(node: N, routes: NodeRoutes<N>, orientation: Orientation, topic: unknown): Route<N> {
    const index = orientation === 'publisher' ? this.#publishers : this.#subscribers
    const key = mapKey([orientation, topic])
    const known = routes.get(key)
    if (known !== undefined) {
      known.count++
      return known
    }
    const route = new Route(node, topic, index, key)
    index.add(route)
    routes.set(key, route)
    return route
  }

  remove(routes: NodeRoutes<N>, route: Route<N>): void {
    if (--route.count > 0) return
    route.index.remove(route)
    routes.delete(route.key)
  }

  /** Fills `nodes` with those that hear a message, each once. */
  find(body: unknown, orientation: Orientation, nodes: Set<N>): void {
    const index = this.#receivers(orientation)
    const only = index.onlyReceiver(body)
    if (only === undefined) return
    if (only !== null) {
      nodes.add(only.node)
      return
    }
    const count = index.receivers(body, this.#found)
    index.refused = 0
    for (let i = 0; i < count; i++) nodes.add(this.#found[i].node)
  }

  #receivers(orientation: Orientation): RoutingIndex<Route<N>> {
    return orientation === 'publisher' ? this.#subscribers : this.#publishers
  }
}

/** The topics that may cross. Owns what of an endpoint's topic does, and which messages do. */
import { argumentError, show } from '../support/errors.js'
import {
  canonical, examine, meet, NO_MEETING, RoutingIndex, snapshot, type IndexEntry,
} from '../topic/index.js'

/** An entry of an index: a topic that messages find if they are instances of it. */
export class TopicEntry implements IndexEntry {
  readonly topic: unknown
  readonly linear: boolean
  receives = true
  readonly exact: boolean = true
  shape: IndexEntry['shape'] = undefined
  number = 0
  place = 0
  bucketPlace = 0
  atom0: IndexEntry['atom0'] = undefined
  atom1: IndexEntry['atom1'] = undefined
  moreAtoms: IndexEntry['moreAtoms'] = undefined

  /** @throws RangeError when the topic exceeds the limits of topics */
  constructor(topic: unknown) {
    const { linear, fixed } = examine(topic)
    this.topic = snapshot(topic, fixed)
    this.linear = linear
  }
}

export class Allowed {
  readonly topics: readonly unknown[]
  readonly #index = new RoutingIndex<TopicEntry>()
  readonly #found: TopicEntry[] = []

  /** @throws TypeError when they are no topics, or two of them meet */
  constructor(call: string, topics: readonly unknown[]) {
    if (!Array.isArray(topics) || topics.length === 0) {
      throw argumentError(call, 'topics', 'an array of topics, with one at least', topics)
    }
    this.topics = topics.map((topic: unknown, i) => {
      if (topic === undefined) throw argumentError(call, `topics[${i}]`, 'a topic', topic)
      return canonical(topic)
    })
    this.topics.forEach((topic, i) => {
      // What meets both would cross twice.
      const other = this.topics.slice(0, i).find((earlier) => meet(earlier, topic) !== NO_MEETING)
      if (other !== undefined) {
        const expected = `a topic that doesn't meet ${show(other)}, which is allowed, too`
        throw argumentError(call, `topics[${i}]`, expected, topic)
      }
      this.#index.add(new TopicEntry(topic))
    })
  }

  /** What of a topic is allowed: one meeting for each of the allowed topics that it meets. */
  partsOf(topic: unknown): unknown[] {
    const parts: unknown[] = []
    for (const allowed of this.topics) {
      const meeting = meet(topic, allowed)
      if (meeting !== NO_MEETING) parts.push(meeting)
    }
    return parts
  }

  /** Whether a message is an instance of an allowed topic. */
  admits(body: unknown): boolean {
    const only = this.#index.onlyReceiver(body)
    if (only !== null) return only !== undefined
    const count = this.#index.receivers(body, this.#found)
    this.#index.refused = 0
    return count > 0
  }
}

/** An entry of a routing index, as endpoints are. */
import { isLinear, type IndexEntry } from '../../src/topic/index.js'

export class Entry implements IndexEntry {
  readonly topic: unknown
  readonly linear: boolean
  receives: boolean
  shape: IndexEntry['shape'] = undefined
  number = 0
  place = 0
  bucketPlace = 0
  atom0: IndexEntry['atom0'] = undefined
  atom1: IndexEntry['atom1'] = undefined
  moreAtoms: IndexEntry['moreAtoms'] = undefined

  constructor(topic: unknown, receives = true) {
    this.topic = topic
    this.linear = isLinear(topic)
    this.receives = receives
  }
}

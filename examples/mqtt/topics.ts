/**
 * MQTT's topics and filters as topics of the VM. The levels are a list with a tail, `a/b` is
 * `['a', ['b', []]]`, so that `+` is a wildcard in the place of a level, and `#` one in the place of a tail:
 * `a/#` is `['a', _]`, which is `a` itself and all below it, as MQTT wants.
 */
import { _, defineRecord } from 'marketplace-native'

export interface Message {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
}

export type Levels = unknown

/** A message on its way. `root` is '$' for topics such as `$SYS/x`, which no filter finds by a wildcard. */
export const mqttMessage = defineRecord('mqtt-message', ['root', 'levels', 'message'])
  .of<[root: string, levels: Levels, message: Message]>()

/** The messages that were there before a client subscribed, for this client alone. */
export const mqttRetained = defineRecord('mqtt-retained', ['client', 'root', 'levels', 'message'])
  .of<[client: number, root: string, levels: Levels, message: Message]>()

/** Somebody is connected under this name. Of two, the one with the higher number came later. */
export const mqttClient = defineRecord('mqtt-client', ['id', 'client']).of<[id: string, client: number]>()

export interface Place {
  readonly root: string
  readonly levels: Levels
}

function listOf(levels: readonly unknown[], end: unknown): Levels {
  return levels.reduceRight<unknown>((tail, level) => [level, tail], end)
}

/** Where messages with this topic are; undefined if there can be none. */
export function placeOf(topic: string): Place | undefined {
  if (topic === '' || /[+#\0]/.test(topic)) return undefined
  return { root: topic.startsWith('$') ? '$' : '', levels: listOf(topic.split('/'), []) }
}

/** Where a filter looks; undefined if it is none. */
export function filterOf(filter: string): Place | undefined {
  const levels = filter.split('/')
  const open = levels.at(-1) === '#'
  if (open) levels.pop()
  const wrong = (level: string): boolean => /[#\0]/.test(level) || (level !== '+' && level.includes('+'))
  if (filter === '' || levels.some(wrong)) return undefined
  const parts = levels.map((level) => (level === '+' ? _ : level))
  return { root: filter.startsWith('$') ? '$' : '', levels: listOf(parts, open ? _ : []) }
}

/**
 * MQTT's topics and filters as topics of the VM. The levels are a list with a tail, `a/b` is
 * `['a', ['b', []]]`, so that `+` is a wildcard in the place of a level, and `#` one in the place of a tail:
 * `a/#` is `['a', _]`, which is `a` itself and all below it, as MQTT wants.
 */
import { generate } from 'mqtt-packet'
import { _, defineRecord, Wildcard, type RecordFrom } from 'marketplace-native'
import { LEVELS_MAX, TOPIC_BYTES_MAX } from './limits.js'

export type QoS = 0 | 1 | 2

/** A message, with what its subscribers are sent: made once, however many they are. */
export class Message {
  /** The topic, between the slashes. */
  readonly levels: readonly string[]
  readonly payload: Buffer
  /** By quality. */
  readonly #packets: (Buffer | undefined)[] = [undefined, undefined, undefined]

  constructor(readonly topic: string, payload: Uint8Array, readonly qos: QoS, readonly retain: boolean) {
    this.payload = Buffer.isBuffer(payload) ? payload : Buffer.from(payload)
    this.levels = topic.split('/')
  }

  /** As it is sent to a subscriber; `messageId` is of no account with QoS 0. */
  packet(qos: QoS, messageId: number): Buffer {
    const packet = (this.#packets[qos] ??= this.#generate(qos, 1, false))
    if (qos === 0) return packet
    // The same for all but for the identifier, which stands before the payload.
    const own = Buffer.from(packet)
    own.writeUInt16BE(messageId, own.length - this.payload.length - 2)
    return own
  }

  /** As it is sent to who subscribes after it was. Not kept: it would be for as long as the message is. */
  retainedPacket(qos: QoS, messageId: number): Buffer {
    return this.#generate(qos, messageId, true)
  }

  #generate(qos: QoS, messageId: number, retain: boolean): Buffer {
    const { topic, payload } = this
    const content = { cmd: 'publish', topic, payload, retain, dup: false } as const
    return generate(qos === 0 ? { ...content, qos } : { ...content, qos, messageId })
  }
}

/** What a message says. */
export interface Content {
  readonly topic: string
  /** What was part of a topic, as a will is, is no Buffer. */
  readonly payload: Uint8Array
  readonly qos: QoS
  readonly retain: boolean
}

type ContentFields = [topic: string, payload: Uint8Array, qos: QoS, retain: boolean]

/** Content for the clients of all nodes, and for those of one node: that is not told to others. */
export const mqttContent = defineRecord('mqtt-content', ['topic', 'payload', 'qos', 'retain']).of<ContentFields>()
const mqttContentHere = defineRecord('mqtt-content-here', ['topic', 'payload', 'qos', 'retain']).of<ContentFields>()

export const contentHere = ({ topic, payload, qos, retain }: Content): Content =>
  mqttContentHere(topic, payload, qos, retain)

/** Content that is to be kept. Each node hears all of it, to keep it: so nobody who subscribes there misses any. */
export const mqttContentKept = defineRecord('mqtt-content-kept', ['topic', 'payload', 'qos', 'retain', 'since', 'node'])
  .of<[...ContentFields, since: number, node: string]>()

/** What comes from another node may be anything: whether a packet can be made of it. */
export function isContent(value: unknown): value is Content {
  const { topic, payload, qos, retain } = value as Record<keyof Content, unknown>
  return typeof topic === 'string' && topic.length <= TOPIC_BYTES_MAX && payload instanceof Uint8Array
    && (qos === 0 || qos === 1 || qos === 2) && typeof retain === 'boolean'
}

let latest: unknown
let latestMessage: Message | undefined

/** The message with this content: one for all who are sent it, one after the other. Undefined if that is none. */
export function messageOf(content: unknown): Message | undefined {
  if (content === latest) return latestMessage
  latest = content
  latestMessage = undefined
  if (isContent(content)) {
    const { topic, payload, qos, retain } = content
    latestMessage = new Message(topic, payload, qos, retain)
  }
  return latestMessage
}

export type Levels = unknown

/** A message on its way. `root` is '$' for topics such as `$SYS/x`, which no filter finds by a wildcard. */
export const mqttMessage = defineRecord('mqtt-message', ['root', 'levels', 'content'])
  .of<[root: string, levels: Levels, content: Content]>()

/** The messages that were there before a client subscribed, for this one of its subscriptions alone. */
export const mqttRetained = defineRecord('mqtt-retained', ['subscription', 'root', 'levels', 'message'])
  .of<[subscription: readonly [client: number, count: number], root: string, levels: Levels, message: Message]>()

/** Somebody is connected under this name. Of two, the one with the higher number came later. */
export const mqttClient = defineRecord('mqtt-client', ['id', 'since', 'node'])
  .of<[id: string, since: number, node: string]>()

/** The last message of a topic, as it is kept; an empty one removes it. */
export const mqttRetain = defineRecord('mqtt-retain', ['topic', 'payload', 'qos', 'since', 'node'])
  .of<[topic: string, payload: Uint8Array, qos: QoS, since: number, node: string]>()
export type Retain = RecordFrom<typeof mqttRetain>

/** One node asks another one for what it keeps, from a place on; and the answer, with the next place, or 0. */
export const mqttAsk = defineRecord('mqtt-ask', ['of', 'by', 'after']).of<[of: string, by: string, after: number]>()
export const mqttCopy = defineRecord('mqtt-copy', ['by', 'from', 'page', 'upTo'])
  .of<[by: string, from: string, page: readonly Retain[], upTo: number]>()

/** The last will of a client of this node that is there since then. */
export const mqttWill = defineRecord('mqtt-will', ['node', 'since', 'will'])
  .of<[node: string, since: number, will: Content]>()

/** What crosses between the nodes of a broker. */
export const SHARED_TOPICS: readonly unknown[] = [
  mqttMessage(_, _, mqttContent(_, _, _, _)), mqttMessage(_, _, mqttContentKept(_, _, _, _, _, _)),
  mqttClient(_, _, _), mqttAsk(_, _, _), mqttCopy(_, _, _, _), mqttWill(_, _, mqttContent(_, _, _, _)),
]

export interface Place {
  readonly root: string
  readonly levels: Levels
}

/** A filter's place, and its form: the same for all filters with wildcards at the same levels. */
export interface FilterPlace extends Place {
  readonly form: string
}

/** What a filter says of the levels, to compare with many topics. */
export class Pattern {
  readonly #root: string
  readonly #levels: readonly unknown[]
  readonly #open: boolean

  constructor({ root, levels }: Place) {
    const list: unknown[] = []
    let tail = levels
    for (; Array.isArray(tail) && tail.length === 2; tail = tail[1] as unknown) list.push(tail[0])
    this.#root = root
    this.#levels = list
    this.#open = tail instanceof Wildcard
  }

  /** @param levels of a topic, as they are between the slashes */
  finds(levels: readonly string[]): boolean {
    const wanted = this.#levels
    if (levels.length !== wanted.length && !(this.#open && levels.length > wanted.length)) return false
    if (levels[0].startsWith('$') !== (this.#root === '$')) return false
    for (let i = 0; i < wanted.length; i++) {
      if (wanted[i] !== levels[i] && !(wanted[i] instanceof Wildcard)) return false
    }
    return true
  }
}

/** The levels of a topic or a filter; undefined if it is too long. */
function levelsOf(text: string): string[] | undefined {
  if (text === '' || text.length > TOPIC_BYTES_MAX || Buffer.byteLength(text) > TOPIC_BYTES_MAX) return undefined
  const levels = text.split('/')
  return levels.length > LEVELS_MAX ? undefined : levels
}

function listOf(levels: readonly unknown[], end: unknown): Levels {
  return levels.reduceRight<unknown>((tail, level) => [level, tail], end)
}

/** Where messages with this topic are; undefined if there can be none. */
export function placeOf(topic: string): Place | undefined {
  const levels = levelsOf(topic)
  if (levels === undefined || /[+#\0]/.test(topic)) return undefined
  return { root: topic.startsWith('$') ? '$' : '', levels: listOf(levels, []) }
}

/** Where a filter looks; undefined if it is none. */
export function filterOf(filter: string): FilterPlace | undefined {
  const levels = levelsOf(filter)
  if (levels === undefined) return undefined
  const open = levels.at(-1) === '#'
  if (open) levels.pop()
  const wrong = (level: string): boolean => /[#\0]/.test(level) || (level !== '+' && level.includes('+'))
  if (levels.some(wrong)) return undefined
  const parts = levels.map((level) => (level === '+' ? _ : level))
  // What is behind the last wildcard is one value.
  const written = open ? levels.length : levels.lastIndexOf('+') + 1
  const form = levels.slice(0, written).map((level) => (level === '+' ? '+' : 'x')).join('') + (open ? '#' : '')
  return { root: filter.startsWith('$') ? '$' : '', levels: listOf(parts, open ? _ : []), form }
}

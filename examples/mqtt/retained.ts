/**
 * Retained messages: the last one of each topic. Each node of a broker keeps all of them, so that a client is sent what
 * there is by the node that it is connected to, and a node's death takes none away.
 *
 * Of two that were set on different nodes the later one stays, everywhere. A node that appears is asked for what it
 * has, page by page: so one that was started later, or was cut off for some time, has the same as the others again.
 * What was removed is remembered, so that it doesn't come back from who hadn't heard of it.
 */
import { endpoint, sendMessage, setTimer, timerExpired, _, type ActionTree, type RecordFrom } from 'marketplace-native'
import { isLater, type Clock, type Moment } from './clock.js'
import { RETAINED_BYTES_MAX, RETAINED_MAX } from './limits.js'
import {
  contentHere, isContent, Message, mqttAsk, mqttContentKept, mqttCopy, mqttMessage, mqttRetain, mqttRetained, Pattern,
  placeOf, type Content, type Retain,
} from './topics.js'

/** Bytes after which a page ends, and what an entry counts besides its own. */
const PAGE_BYTES = 256 * 1024
const ENTRY_BYTES = 64

interface Entry extends Moment {
  readonly message: Message
  /** Grows with each one that is kept. */
  readonly serial: number
}

export class Retained {
  /** In the order of their serials, both. */
  readonly #entries = new Map<string, Entry>()
  readonly #removed = new Map<string, Entry>()
  readonly #remembers: boolean
  #bytes = 0
  #serial = 0

  /** @param remembers whether there are others, who may not have heard of what was removed */
  constructor(remembers: boolean) {
    this.#remembers = remembers
  }

  /** @returns whether this is news: there was another message, or none, and nothing later was known */
  keep({ topic, payload, qos, since, node }: Retain): boolean {
    const known = this.#entries.get(topic) ?? this.#removed.get(topic)
    if (known !== undefined && !isLater({ since, node }, known)) return false
    this.#forget(topic)
    const isNews = known?.message.payload.equals(payload) !== true && (known !== undefined || payload.length > 0)
    // Without the packets that were made of it.
    const entry = { message: new Message(topic, payload, qos, true), since, node, serial: ++this.#serial }
    if (payload.length === 0) {
      if (this.#remembers) this.#removed.set(topic, entry)
      if (this.#removed.size > RETAINED_MAX) this.#removed.delete(this.#removed.keys().next().value as string)
    } else if (this.#entries.size < RETAINED_MAX && this.#bytes + sizeOf(entry) <= RETAINED_BYTES_MAX) {
      this.#bytes += sizeOf(entry)
      this.#entries.set(topic, entry)
    }
    return isNews
  }

  #forget(topic: string): void {
    this.#removed.delete(topic)
    const known = this.#entries.get(topic)
    if (known === undefined) return
    this.#bytes -= sizeOf(known)
    this.#entries.delete(topic)
  }

  /** The topics of those that a filter finds. */
  found(pattern: Pattern): string[] {
    const found: string[] = []
    for (const [topic, { message }] of this.#entries) if (pattern.finds(message.levels)) found.push(topic)
    return found
  }

  /** The one of this topic, if there is one yet, and it was kept by then. @param serial a value of `serial` */
  of(topic: string, serial = Infinity): Message | undefined {
    const entry = this.#entries.get(topic)
    return entry !== undefined && entry.serial <= serial ? entry.message : undefined
  }

  /** Of the one that was kept last. */
  get serial(): number {
    return this.#serial
  }

  /** What was kept or removed after so many, as far as it has room in a page. `upTo` is how far that is; 0: all. */
  page(after: number): { readonly page: readonly Retain[], readonly upTo: number } {
    const page: Retain[] = []
    let bytes = 0
    for (const { message: { topic, payload, qos }, since, node, serial } of this.#bySerial(after)) {
      page.push(mqttRetain(topic, payload, qos, since, node))
      bytes += topic.length + payload.length + ENTRY_BYTES
      if (bytes >= PAGE_BYTES) return { page, upTo: serial }
    }
    return { page, upTo: 0 }
  }

  *#bySerial(after: number): Generator<Entry> {
    const lists = [this.#entries.values(), this.#removed.values()]
    const heads = lists.map((list) => list.next().value)
    for (;;) {
      const [kept, removed] = heads
      const i = kept !== undefined && (removed === undefined || kept.serial < removed.serial) ? 0 : 1
      const head = heads[i]
      if (head === undefined) return
      if (head.serial > after) yield head
      heads[i] = lists[i].next().value
    }
  }
}

function sizeOf({ message: { topic, payload } }: Entry): number {
  return topic.length + payload.length
}

/** So many are sent before others have their turn. */
const SENT_MAX = 100

type Subscription = RecordFrom<typeof mqttRetained>

interface Delivery {
  readonly subscription: Subscription
  /** What was kept when it appeared. What comes after that, it hears as it comes. */
  readonly upTo: number
  /** Found when it begins. */
  topics: readonly string[] | undefined
  sent: number
}

/**
 * Sends what is retained to who subscribes. That may be much, for a packet of a few bytes: so some at a time, each
 * subscription in its turn, with the event loop in between.
 */
class Deliveries {
  readonly #retained: Retained
  /** In the order of their turns. */
  readonly #waiting = new Map<string, Delivery>()
  /** Some were sent, and the event loop has not turned since. */
  #rests = false

  constructor(retained: Retained) {
    this.#retained = retained
  }

  begin(subscription: Subscription): ActionTree {
    this.#waiting.set(subscription.subscription.join(), {
      subscription, upTo: this.#retained.serial, topics: undefined, sent: 0,
    })
    return !this.#rests && this.goOn()
  }

  /** Whoever has gone gets no more. */
  end({ subscription }: Subscription): void {
    this.#waiting.delete(subscription.join())
  }

  goOn(): ActionTree {
    const [next] = this.#waiting
    this.#rests = next !== undefined
    if (next === undefined) return undefined
    const [name, delivery] = next
    const { root, levels, subscription } = delivery.subscription
    const topics = delivery.topics ??= this.#retained.found(new Pattern({ root, levels }))
    const page = topics.slice(delivery.sent, delivery.sent + SENT_MAX)
    delivery.sent += page.length
    this.#waiting.delete(name)
    if (delivery.sent < topics.length) this.#waiting.set(name, delivery)
    return [
      page.map((topic) => {
        const message = this.#retained.of(topic, delivery.upTo)
        return message && sendMessage(mqttRetained(subscription, root, placeOf(topic)?.levels, message))
      }),
      sendMessage(setTimer('retained', 0, 'relative')),
    ]
  }
}

/** Sends a message to the clients of this node alone. */
export function publishedHere(content: Content): ActionTree {
  const place = placeOf(content.topic)
  return place && sendMessage(mqttMessage(place.root, place.levels, contentHere(content)))
}

/** The process that keeps them. */
export function memory(node: string, clock: Clock, isShared: boolean): ActionTree {
  const retained = new Retained(isShared)
  const deliveries = new Deliveries(retained)
  /** @param retain may be of another node, and anything */
  const keep = (retain: Retain): boolean => {
    if (!isContent({ ...fieldsOf(retain), retain: true }) || typeof retain.node !== 'string') return false
    if (!Number.isSafeInteger(retain.since) || placeOf(retain.topic) === undefined) return false
    clock.heard(retain.since)
    return retained.keep(retain)
  }
  const others: ActionTree = [
    endpoint.subscriber(mqttAsk(node, _, _), {
      onMessage: ({ by, after }) => {
        const { page, upTo } = retained.page(after)
        return sendMessage(mqttCopy(by, node, page, upTo))
      },
    }),
    endpoint.publisher(mqttAsk(_, node, _), {
      onPresence: ({ of }) => of !== node && sendMessage(mqttAsk(of, node, 0)),
    }),
    endpoint.subscriber(mqttCopy(node, _, _, _), {
      onMessage: ({ from, page, upTo }) => [
        // Who subscribes already has missed it.
        Array.isArray(page) && page.map((retain: unknown) =>
          mqttRetain.is(retain) && keep(retain) && publishedHere({ ...fieldsOf(retain), retain: true })),
        upTo > 0 && sendMessage(mqttAsk(from, node, upTo)),
      ],
    }),
  ]
  return [
    endpoint.subscriber(mqttMessage(_, _, mqttContentKept(_, _, _, _, _, _)), {
      onMessage: ({ content: { topic, payload, qos, since, node } }) =>
        void keep(mqttRetain(topic, payload, qos, since, node)),
    }),
    endpoint.publisher(mqttRetained(_, _, _, _), {
      interest: 'observer',
      onPresence: (subscription) => deliveries.begin(subscription),
      onAbsence: (subscription) => { deliveries.end(subscription) },
    }),
    endpoint.subscriber(timerExpired('retained', _), { onMessage: () => deliveries.goOn() }),
    isShared && others,
  ]
}

function fieldsOf({ topic, payload, qos }: Retain): Pick<Retain, 'topic' | 'payload' | 'qos'> {
  return { topic, payload, qos }
}

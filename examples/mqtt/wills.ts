/**
 * Last wills. A process beside each client publishes its will when it goes without a word. If its node dies, that
 * process dies with it: so each node of a broker knows the wills of all, by their presence, and when they are absent
 * because their node is lost, each publishes them to its own clients.
 */
import {
  endpoint, quit, sendMessage, yieldTurn, _, type ActionTree,
} from 'marketplace-native'
import type { Clock } from './clock.js'
import { publishedHere } from './retained.js'
import {
  isContent, mqttClient, mqttContentKept, mqttCopy, mqttMessage, mqttRetain, mqttWill, placeOf, type Content,
} from './topics.js'

/** What the processes of a broker have in common. */
export interface Broker {
  /** The name of this node. */
  readonly node: string
  /** Whether there may be others. */
  readonly isShared: boolean
  readonly clock: Clock
}

/** What sends a message to all who subscribe, and to who keeps it, if it is to be; undefined if its topic is none. */
export function published(content: Content, { clock, node }: Broker): ActionTree {
  const { topic, payload, qos, retain } = content
  const place = placeOf(topic)
  if (place === undefined) return undefined
  const sent = retain ? mqttContentKept(topic, payload, qos, retain, clock.next(), node) : content
  return sendMessage(mqttMessage(place.root, place.levels, sent))
}

/** Publishes a client's last will when it goes without a word. */
export const executor = (
  id: string, since: number, will: Content, broker: Broker, disconnected: () => boolean,
): ActionTree => {
  const { node, isShared } = broker
  let present = false
  const execute = (): ActionTree => [!disconnected() && published(will, broker), quit()]
  return [
    isShared && endpoint.publisher(mqttWill(node, since, will)),
    endpoint.subscriber(mqttClient(id, since, node), {
      interest: 'observer',
      onPresence: () => { present = true },
      onAbsence: execute,
    }),
    // It may have come and gone in one turn.
    yieldTurn(() => (present ? undefined : execute())),
  ]
}

/** Why everything of a node is absent when the node itself is gone, and not only the way to it. */
const LOST: readonly unknown[] = ['EWORKERLOST', 'ENODELOST']

function isLost(node: string, reason: unknown): boolean {
  const error = reason as { readonly code?: unknown, readonly node?: unknown } | undefined
  return LOST.includes(error?.code) && error?.node === node
}

/** The process that publishes the wills that a lost node has left. */
export const heir = ({ node: own, clock }: Broker): ActionTree =>
  endpoint.subscriber(mqttWill(_, _, _), {
    interest: 'observer',
    onAbsence: ({ node, will }, _state, reason) => {
      if (node === own || !isLost(node, reason) || !isContent(will)) return undefined
      if (!will.retain) return publishedHere(will)
      const { topic, payload, qos } = will
      // To this node's memory, which sends it to the clients as well.
      return sendMessage(mqttCopy(own, own, [mqttRetain(topic, payload, qos, clock.next(), own)], 0))
    },
  })

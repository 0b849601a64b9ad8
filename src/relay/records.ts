/** What a relay publishes of itself. */
import { defineRecord, type RecordFrom } from '../topic/index.js'

/**
 * The presence of another node: `relayNode(node)` is published, by the relay, while all endpoints of that node are
 * here. The reason of its absence is that of theirs.
 */
export const relayNode = defineRecord('relay-node', ['node']).of<[node: string]>()
/** Names another node. */
export type RelayNode = RecordFrom<typeof relayNode>

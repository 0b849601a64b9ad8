/** What a relay publishes of itself. */
import { notEmpty } from '../support/checks.js'
import { defineCheckedRecord, type RecordFrom } from '../topic/index.js'

/**
 * The presence of another node: `relayNode(node)` is published, by the relay, while all endpoints of that node are
 * here. The reason of its absence is that of theirs.
 *
 * @throws TypeError for what is no name
 */
export const relayNode = defineCheckedRecord('relay-node', ['node'], { node: notEmpty }).of<[node: string]>()
/** Names another node. */
export type RelayNode = RecordFrom<typeof relayNode>

/**
 * A worker of the tests: a node with some members of a room, which tells its parent what it hears, and dies on demand.
 */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { _, endpoint, groundVm, portCarrier, relay, sendFeedback, spawn } from '../../src/index.js'

export interface WorkerData {
  readonly node: string
  readonly members: number
  readonly ports: Readonly<Record<string, MessagePort>>
}

/** What the parent is told. */
export type Heard =
  | { readonly what: '+'; readonly who: string }
  | { readonly what: '-'; readonly who: string; readonly code: string | undefined }
  | { readonly what: 'says'; readonly text: string }

export const TOPICS = [['member', _, _], ['say', _], ['die', _, _]]
export const BEATS = { heartbeatMs: 100, lostAfterMs: 600 }

const { node, members, ports } = workerData as WorkerData
const tell = (heard: Heard): void => { parentPort?.postMessage(heard) }

const ways: Readonly<Record<string, () => void>> = {
  exit: () => { process.exit(3) },
  throw: () => { setImmediate(() => { throw new Error('as it was asked to') }) },
  memory: () => {
    const kept: unknown[] = []
    for (;;) kept.push(new Array(1e5).fill(Math.random()))
  },
  loop: () => { for (;;); },
}

await groundVm(() => [
  relay({ node, carrier: portCarrier(ports), topics: TOPICS, ...BEATS }),
  Array.from({ length: members }, (_none, i) => spawn(() => endpoint.publisher(['member', node, i]))),
  spawn(() => [
    endpoint.subscriber(['member', _, _], {
      interest: 'observer',
      onPresence: ([, of, i]) => { tell({ what: '+', who: `${String(of)} ${String(i)}` }) },
      onAbsence: ([, of, i], _state, reason) => {
        tell({ what: '-', who: `${String(of)} ${String(i)}`, code: (reason as { code?: string } | undefined)?.code })
      },
    }),
    endpoint.subscriber(['say', _], {
      onMessage: ([, text]) => {
        tell({ what: 'says', text: String(text) })
        return sendFeedback(['say', `${node} has heard ${String(text)}`])
      },
    }),
    endpoint.subscriber(['die', node, _], { onMessage: ([, , how]) => { ways[how as string]() } }),
  ]),
])

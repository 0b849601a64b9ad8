/**
 * One process with N endpoints, each on a topic of its own, all visited in turn: what the number of
 * distinct topics costs when it is not also a number of processes.
 */
import { _, endpoint, sendMessage, spawn, transition, type ActionTree } from 'marketplace-native'
import { BATCH, expectCount, plan } from './baseline.js'
import { drive } from './driver.js'
import { ratio, type Effort, type Program, type Suite } from './harness.js'
import { here, makeAddresses, packet, type Address } from './messages.js'

const SIZES = [10, 1_000, 10_000] as const

function subscriber(topics: readonly Address[], seen: { got: number }): ActionTree {
  return spawn(() =>
    transition(
      0,
      topics.map((topic) =>
        endpoint.subscriber(packet(topic, here, _), {
          onMessage: (_packet, count: number) => {
            seen.got += 1
            return transition(count + 1)
          },
        }),
      ),
    ),
  )
}

async function visit(count: number, operations: number): Promise<number> {
  const topics = makeAddresses(count)
  const seen = { got: 0 }
  let next = 0
  const make = (): ActionTree => {
    const actions: ActionTree[] = []
    for (let i = 0; i < BATCH; i += 1) {
      actions.push(sendMessage(packet(topics[next], here, i)))
      next = next + 1 === count ? 0 : next + 1
    }
    return actions
  }
  const driver = await drive(() => subscriber(topics, seen), { ...plan(count, operations), make })
  expectCount('messages', seen.got, driver.operations)
  return driver.nsPerOperation
}

function program(count: number, operations: number): Program {
  return {
    name: `topics-${count}`,
    title: `routed message, one process with ${count.toLocaleString('en-US')} topics`,
    at: { axis: 'topics-message', line: 'routed message', x: count },
    run: () => visit(count, operations),
  }
}

export function topicsSuite({ operations }: Effort): Suite {
  return {
    name: 'topics',
    title: 'distinct topics of one process',
    programs: SIZES.map((count) => program(count, operations)),
    claims: [ratio('routed message, one process: 10,000 topics / 10', 'topics-10000', 'topics-10')],
  }
}

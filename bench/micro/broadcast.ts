/**
 * Chat: one line to 1,000 members, per delivery, against a routed message that visits 1,000
 * subscribers with distinct topics in turn.
 */
import { _, endpoint, sendMessage, spawn, transition, type ActionTree } from 'marketplace-native'
import { expectCount } from './baseline.js'
import { drive } from './driver.js'
import { ratio, type Effort, type Suite } from './harness.js'
import { makeAddresses, says } from './messages.js'
import { routed } from './routed.js'

const MEMBERS = 1_000

/** Members that subscribe to what anybody says. */
function members(seen: { lines: number }): ActionTree {
  return Array.from({ length: MEMBERS }, () =>
    spawn(() =>
      transition(
        0,
        endpoint.subscriber(says(_, _), {
          onMessage: (_line, count: number) => {
            seen.lines += 1
            return transition(count + 1)
          },
        }),
      ),
    ),
  )
}

async function broadcast(operations: number): Promise<number> {
  const seen = { lines: 0 }
  const lines = Math.ceil(operations / MEMBERS)
  const driver = await drive(() => members(seen), {
    size: MEMBERS, // deliveries: one line per batch
    warmup: Math.ceil(lines / 4),
    timed: lines,
    make: (n) => sendMessage(says('ann', `line ${n}`)),
  })
  expectCount('lines delivered', seen.lines, driver.operations)
  return driver.nsPerOperation
}

export function broadcastSuite({ operations }: Effort): Suite {
  return {
    name: 'broadcast',
    title: 'a line of chat to 1,000 members',
    programs: [
      {
        name: 'broadcast',
        title: 'one line to 1,000 members, per delivery',
        run: () => broadcast(operations * 2),
      },
      {
        name: 'routed',
        title: 'routed message, 1,000 subscribers in turn',
        run: () => routed(makeAddresses(MEMBERS), operations),
      },
    ],
    claims: [ratio('broadcast, per delivery / routed message', 'broadcast', 'routed', 1.2)],
  }
}

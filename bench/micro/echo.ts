/**
 * An echo inside the VM among 100 connections' endpoints: message in, handler, transition, message
 * out, handler; against `Map.get` and a function call among 100 entries.
 */
import { _, endpoint, sendMessage, spawn, transition, type ActionTree } from 'marketplace-native'
import { BATCH, expectCount, mapBaseline, plan } from './baseline.js'
import { drive } from './driver.js'
import { ratio, type Effort, type Suite } from './harness.js'
import { here, makeAddresses, packet, type Address } from './messages.js'

const CONNECTIONS = 100

/** The server side: a process per connection that sends back what it gets. */
function sessions(addresses: readonly Address[]): ActionTree {
  return addresses.map((them) =>
    spawn(() =>
      transition(
        0,
        endpoint.subscriber(packet(them, here, _), {
          onMessage: ({ body }, count: number) =>
            transition(count + 1, sendMessage(packet(here, them, body))),
        }),
      ),
    ),
  )
}

/** The driver's side: a process with an endpoint per connection that takes the echoes. */
function receiver(addresses: readonly Address[], seen: { echoes: number }): ActionTree {
  return spawn(() =>
    addresses.map((them) =>
      endpoint.subscriber(packet(here, them, _), {
        onMessage: () => {
          seen.echoes += 1
        },
      }),
    ),
  )
}

async function echo(operations: number): Promise<number> {
  const addresses = makeAddresses(CONNECTIONS)
  const seen = { echoes: 0 }
  let next = 0
  const make = (): ActionTree => {
    const actions: ActionTree[] = []
    for (let i = 0; i < BATCH; i += 1) {
      actions.push(sendMessage(packet(addresses[next], here, i)))
      next = next + 1 === CONNECTIONS ? 0 : next + 1
    }
    return actions
  }
  const scene = (): ActionTree => [sessions(addresses), receiver(addresses, seen)]
  const driver = await drive(scene, { ...plan(CONNECTIONS, operations), make })
  expectCount('echoes', seen.echoes, driver.operations)
  return driver.nsPerOperation
}

export function echoSuite({ operations }: Effort): Suite {
  return {
    name: 'echo',
    title: 'an echo among 100 connections',
    programs: [
      {
        name: 'echo-vm',
        title: 'echo: in, handler, transition, out, handler',
        run: () => echo(operations),
      },
      {
        name: 'map-100',
        title: 'Map.get and call, 100 entries in turn',
        run: () => mapBaseline(makeAddresses(CONNECTIONS), operations),
      },
    ],
    claims: [ratio('echo inside the VM / Map.get and call, 100', 'echo-vm', 'map-100', 18)],
  }
}

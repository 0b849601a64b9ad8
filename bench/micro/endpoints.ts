/**
 * Adding and removing an endpoint while 10 or 100,000 others are there: alone, and with one peer
 * that observes all of them and hears of each, as a listener's observer does.
 */
import {
  _, addEndpoint, deleteEndpoint, endpoint, role, spawn, type ActionTree,
} from 'marketplace-native'
import { BATCH, expectCount, plan } from './baseline.js'
import { drive } from './driver.js'
import { ratio, type Claim, type Effort, type Program, type Suite } from './harness.js'
import { here, makeAddresses, packet, type Address } from './messages.js'

/** Endpoints that come and go; more than a cache of recent ones would hold. */
const VISITORS = 1_000

function others(addresses: readonly Address[]): ActionTree {
  return addresses.map((them) =>
    spawn(() => endpoint.subscriber(packet(them, here, _), { onMessage: () => undefined })),
  )
}

/** Hears of every endpoint on `here`, the visitors' included. */
function observer(seen: { presences: number; absences: number }): ActionTree {
  return spawn(() =>
    endpoint.publisher(packet(_, here, _), {
      interest: 'observer',
      onPresence: () => {
        seen.presences += 1
      },
      onAbsence: () => {
        seen.absences += 1
      },
    }),
  )
}

async function comeAndGo(count: number, operations: number, observed: boolean): Promise<number> {
  const addresses = makeAddresses(count)
  const visitors = makeAddresses(count + VISITORS).slice(count)
  const seen = { presences: 0, absences: 0 }
  const handlers = { onMessage: () => undefined }
  let next = 0
  const make = (): ActionTree => {
    const actions: ActionTree[] = []
    for (let i = 0; i < BATCH; i += 1) {
      const topic = packet(visitors[next], here, _)
      actions.push(addEndpoint('visitor', role('subscriber', topic), handlers))
      actions.push(deleteEndpoint('visitor'))
      next = next + 1 === VISITORS ? 0 : next + 1
    }
    return actions
  }
  const scene = (): ActionTree => [others(addresses), observed && observer(seen)]
  const driver = await drive(scene, { ...plan(VISITORS, operations), make })
  if (observed) {
    expectCount('presences', seen.presences, driver.operations + count)
    expectCount('absences', seen.absences, driver.operations)
  }
  return driver.nsPerOperation
}

function program(count: number, operations: number, observed: boolean): Program {
  return {
    name: `endpoint-${observed ? 'observed-' : ''}${count}`,
    title:
      `add and remove an endpoint, ${count.toLocaleString('en-US')} others` +
      (observed ? ' and an observer' : ''),
    run: () => comeAndGo(count, operations, observed),
  }
}

export function endpointSuite(effort: Effort): Suite {
  const operations = effort.operations / 3
  /* Setting up 100,000 endpoints takes longer than the rest: a quick run does it once a round. */
  const variants = effort.quick ? [false] : [false, true]
  const observed: Claim[] = effort.quick
    ? []
    : [
        ratio(
          '  the same with an observer of all of them',
          'endpoint-observed-100000',
          'endpoint-observed-10',
          2,
        ),
      ]
  return {
    name: 'endpoints',
    title: 'adding and removing an endpoint',
    programs: variants.flatMap((withObserver) =>
      [10, 100_000].map((count) => program(count, operations, withObserver)),
    ),
    claims: [
      ratio('add + remove an endpoint, 100,000 others / 10', 'endpoint-100000', 'endpoint-10', 2),
      ...observed,
    ],
  }
}

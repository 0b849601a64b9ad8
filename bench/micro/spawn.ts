/**
 * Spawning and quitting a process with two endpoints while 10 or 100,000 processes are alive.
 */
import { _, endpoint, quit, spawn, type ActionTree } from 'marketplace-native'
import { BATCH, expectCount, plan } from './baseline.js'
import { drive } from './driver.js'
import { ratio, type Effort, type Program, type Suite } from './harness.js'
import { here, makeAddresses, packet, type Address } from './messages.js'

const VISITORS = 1_000
const handlers = { onMessage: () => undefined }

/** The two endpoints of a session. */
function session(them: Address): ActionTree {
  return [
    endpoint.subscriber(packet(them, here, _), handlers),
    endpoint.publisher(packet(here, them, _), handlers),
  ]
}

async function spawnAndQuit(alive: number, operations: number): Promise<number> {
  const residents = makeAddresses(alive)
  const visitors = makeAddresses(alive + VISITORS).slice(alive)
  let next = 0
  let born = 0
  const make = (): ActionTree => {
    const actions: ActionTree[] = []
    for (let i = 0; i < BATCH; i += 1) {
      const them = visitors[next]
      next = next + 1 === VISITORS ? 0 : next + 1
      actions.push(
        spawn(() => {
          born += 1
          return [session(them), quit()]
        }),
      )
    }
    return actions
  }
  const scene = (): ActionTree => residents.map((them) => spawn(() => session(them)))
  const driver = await drive(scene, { ...plan(VISITORS, operations), make })
  expectCount('processes', born, driver.operations)
  return driver.nsPerOperation
}

function program(alive: number, operations: number): Program {
  return {
    name: `spawn-${alive}`,
    title: `spawn and quit, two endpoints, ${alive.toLocaleString('en-US')} alive`,
    run: () => spawnAndQuit(alive, operations),
  }
}

export function spawnSuite(effort: Effort): Suite {
  const operations = effort.operations / 5
  return {
    name: 'spawn',
    title: 'processes that come and go',
    programs: [10, 100_000].map((alive) => program(alive, operations)),
    claims: [
      ratio('spawn + quit with two endpoints, 100,000 alive / 10', 'spawn-100000', 'spawn-10', 2),
    ],
  }
}

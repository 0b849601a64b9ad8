/**
 * What a level of VM nesting adds to a routed message: messages from the ground to subscribers in a
 * VM that is k levels deep, and messages from such a VM to subscribers on the ground.
 */
import {
  _, atMetaLevel, endpoint, groundVm, nestedVm, sendMessage, spawn, transition,
  type Action, type ActionTree,
} from 'marketplace-native'
import { BATCH, expectCount, plan } from './baseline.js'
import { drive, Driver } from './driver.js'
import type { Claim, Effort, Program, Suite } from './harness.js'
import { here, makeAddresses, packet, type Address } from './messages.js'

const SUBSCRIBERS = 10
const DEPTHS = [0, 1, 2, 5] as const
const LIMIT = 0.6

function levels(depth: number): string {
  return depth === 1 ? '1 level' : `${depth} levels`
}

/** An action of a process `depth` levels deep that takes effect on the ground. */
function onGround(depth: number, action: Action): Action {
  return depth === 0 ? action : onGround(depth - 1, atMetaLevel(action))
}

/** Runs a boot in a VM so many levels deep. */
function inDepth(depth: number, boot: () => ActionTree): ActionTree {
  return depth === 0 ? boot() : nestedVm(() => inDepth(depth - 1, boot))
}

function subscribers(
  addresses: readonly Address[],
  depth: number,
  seen: { got: number },
): ActionTree {
  return addresses.map((them) =>
    spawn(() =>
      transition(
        0,
        onGround(
          depth,
          endpoint.subscriber(packet(them, here, _), {
            onMessage: (_packet, count: number) => {
              seen.got += 1
              return transition(count + 1)
            },
          }),
        ),
      ),
    ),
  )
}

function sender(addresses: readonly Address[], depth: number): () => ActionTree {
  let next = 0
  return () => {
    const actions: ActionTree[] = []
    for (let i = 0; i < BATCH; i += 1) {
      actions.push(onGround(depth, sendMessage(packet(addresses[next], here, i))))
      next = next + 1 === SUBSCRIBERS ? 0 : next + 1
    }
    return actions
  }
}

async function inward(depth: number, operations: number): Promise<number> {
  const addresses = makeAddresses(SUBSCRIBERS)
  const seen = { got: 0 }
  const scene = (): ActionTree => inDepth(depth, () => subscribers(addresses, depth, seen))
  const batches = { ...plan(SUBSCRIBERS, operations), make: sender(addresses, 0) }
  const driver = await drive(scene, batches)
  expectCount('messages', seen.got, driver.operations)
  return driver.nsPerOperation
}

async function outward(depth: number, operations: number): Promise<number> {
  const addresses = makeAddresses(SUBSCRIBERS)
  const seen = { got: 0 }
  const batches = { ...plan(SUBSCRIBERS, operations), make: sender(addresses, depth) }
  const driver = new Driver(batches)
  await groundVm(() => [
    subscribers(addresses, 0, seen),
    inDepth(depth, () => spawn(driver.boot)),
  ])
  expectCount('messages', seen.got, driver.operations)
  return driver.nsPerOperation
}

function programs(depth: number, operations: number): Program[] {
  return [
    {
      name: `inward-${depth}`,
      title: `message to a subscriber ${levels(depth)} deep`,
      at: { axis: 'nesting-message', line: 'inward', x: depth },
      run: () => inward(depth, operations),
    },
    {
      name: `outward-${depth}`,
      title: `message from a process ${levels(depth)} deep`,
      at: { axis: 'nesting-message', line: 'outward', x: depth },
      run: () => outward(depth, operations),
    },
  ]
}

/** (deep - flat) / levels / flat. */
function perLevel(direction: string, depth: number, limit?: number): Claim {
  const title = `per level of nesting / a flat message, ${direction}, ${levels(depth)}`
  const of: Claim['of'] = (ns) => {
    const flat = ns(`${direction}-0`)
    return (ns(`${direction}-${depth}`) - flat) / depth / flat
  }
  return limit === undefined ? { title, of } : { title, limit, of }
}

export function nestingSuite({ operations }: Effort): Suite {
  return {
    name: 'nesting',
    title: 'nested VMs',
    programs: DEPTHS.flatMap((depth) => programs(depth, operations * 2)),
    claims: ['inward', 'outward'].flatMap((direction) =>
      DEPTHS.slice(1).map((depth) => perLevel(direction, depth, LIMIT)),
    ),
  }
}

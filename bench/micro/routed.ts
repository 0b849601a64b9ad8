/**
 * A routed message (send, match, handler, transition) that visits N subscribers with distinct
 * topics in turn, against `Map.get` and a function call that visit as many entries in the same
 * order.
 *
 * The topics differ in an address object, as those of TCP sessions do; the variant with strings
 * shows what it costs when the distinguishing field is not an object.
 */
import { _, endpoint, sendMessage, spawn, transition, type ActionTree } from 'marketplace-native'
import { BATCH, expectCount, mapBaseline, plan } from './baseline.js'
import { drive } from './driver.js'
import { ratio, type Claim, type Effort, type Program, type Suite } from './harness.js'
import { here, makeAddresses, packet } from './messages.js'

const SIZES = [10, 1_000, 10_000, 100_000] as const

/** One process per key, each counting its messages in its state. */
function subscribers(keys: readonly unknown[], seen: { last: number }): ActionTree {
  return keys.map((key) =>
    spawn(() =>
      transition(
        0,
        endpoint.subscriber(packet(key, here, _), {
          onMessage: ({ body }, count: number) => {
            seen.last = body
            return transition(count + 1)
          },
        }),
      ),
    ),
  )
}

/** Nanoseconds per message sent to each of the keys in turn. */
export async function routed(keys: readonly unknown[], operations: number): Promise<number> {
  const seen = { last: -1 }
  let next = 0
  let sent = 0
  const make = (): ActionTree => {
    const actions: ActionTree[] = []
    for (let i = 0; i < BATCH; i += 1) {
      actions.push(sendMessage(packet(keys[next], here, sent)))
      next = next + 1 === keys.length ? 0 : next + 1
      sent += 1
    }
    return actions
  }
  const batches = { ...plan(keys.length, operations), make }
  const driver = await drive(() => subscribers(keys, seen), batches)
  expectCount('last message delivered', seen.last, driver.operations - 1)
  return driver.nsPerOperation
}

function programsFor(size: number, operations: number): Program[] {
  const many = size.toLocaleString('en-US')
  return [
    {
      name: `routed-${size}`,
      title: `routed message, ${many} subscribers in turn`,
      at: { axis: 'processes-message', line: 'routed message', x: size },
      run: () => routed(makeAddresses(size), operations),
    },
    {
      name: `map-${size}`,
      at: { axis: 'processes-message', line: 'Map.get and call', x: size },
      title: `Map.get and call, ${many} entries in turn`,
      run: () => mapBaseline(makeAddresses(size), operations),
    },
  ]
}

function stringPrograms(operations: number): Program[] {
  const keys = (): string[] => Array.from({ length: 1_000 }, (_none, i) => `topic-${i}`)
  return [
    {
      name: 'routed-strings',
      title: 'routed message, 1,000 subscribers, strings',
      run: () => routed(keys(), operations),
    },
    {
      name: 'map-strings',
      title: 'Map.get and call, 1,000 entries, strings',
      run: () => mapBaseline(keys(), operations),
    },
  ]
}

export function routedSuite({ operations }: Effort): Suite {
  const versusMap = (size: number): Claim =>
    ratio(
      `routed message / Map.get and call, ${size.toLocaleString('en-US')} in turn`,
      `routed-${size}`,
      `map-${size}`,
      10,
    )
  return {
    name: 'routed',
    title: 'a routed message',
    programs: [
      ...SIZES.flatMap((size) => programsFor(size, operations)),
      ...stringPrograms(operations),
    ],
    claims: [
      ratio('routed message, 10,000 subscribers / 10', 'routed-10000', 'routed-10', 2),
      ratio('  the baseline likewise: Map.get and call, 10,000 / 10', 'map-10000', 'map-10'),
      ...SIZES.map(versusMap),
      ratio('  the same with strings, 1,000 in turn', 'routed-strings', 'map-strings'),
    ],
  }
}

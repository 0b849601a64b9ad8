/**
 * Internal latency: one message goes back and forth between two processes, nothing else happens, and
 * so many others are there with endpoints of their own. Each hop is a turn of its own process.
 */
import { _, endpoint, groundVm, sendMessage, spawn, type ActionTree } from 'marketplace-native'
import { expectCount } from './baseline.js'
import { ratio, type Effort, type Program, type Suite } from './harness.js'
import { here, makeAddresses, packet, type Address } from './messages.js'

const SIZES = [10, 1_000, 100_000] as const

interface Rally {
  trips: number
  began: number
  elapsed: number
}

/** Sends, and for each answer sends again, until there were enough. */
function player(them: Address, warmup: number, trips: number, rally: Rally): ActionTree {
  const serve = sendMessage(packet(here, them, 0))
  return spawn(() => [
    endpoint.subscriber(packet(them, here, _), {
      onMessage: () => {
        rally.trips += 1
        if (rally.trips === warmup) rally.began = performance.now()
        if (rally.trips < warmup + trips) return serve
        rally.elapsed = performance.now() - rally.began
        return undefined
      },
    }),
    serve,
  ])
}

function wall(them: Address): ActionTree {
  const back = sendMessage(packet(them, here, 0))
  return spawn(() => endpoint.subscriber(packet(here, them, _), { onMessage: () => back }))
}

async function roundTrip(processes: number, trips: number): Promise<number> {
  const [them, ...others] = makeAddresses(processes - 1)
  const warmup = Math.ceil(trips / 4)
  const rally: Rally = { trips: 0, began: 0, elapsed: NaN }
  await groundVm(() => [
    others.map((other) =>
      spawn(() => endpoint.subscriber(packet(other, here, _), { onMessage: () => undefined })),
    ),
    wall(them),
    player(them, warmup, trips, rally),
  ])
  expectCount('round trips', rally.trips, warmup + trips)
  return (rally.elapsed * 1e6) / trips
}

function program(size: number, trips: number): Program {
  return {
    name: `latency-${size}`,
    title: `round trip, ${size.toLocaleString('en-US')} processes`,
    at: { axis: 'processes-latency', line: 'round trip', x: size },
    run: () => roundTrip(size, trips),
  }
}

export function latencySuite({ operations }: Effort): Suite {
  return {
    name: 'latency',
    title: 'one message back and forth',
    programs: SIZES.map((size) => program(size, operations / 3)),
    claims: [ratio('round trip, 100,000 processes / 10', 'latency-100000', 'latency-10')],
  }
}

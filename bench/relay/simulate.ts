/**
 * How a network of relays grows: nodes with endpoints on a carrier in memory, in virtual time; what is counted is
 * packets and bytes, which don't depend on the machine, and the CPU of all nodes together, which does.
 *
 * `node dist/bench/relay/simulate.js [nodes=10,30,100] [endpoints=1000]`: one line of numbers for each size.
 */
import {
  _, defineRecord, endpoint, eventSource, groundVm, spawn, type ActionTree, type EventSink, type GroundVm,
} from '../../src/index.js'
import { relayBy, RelayMonitor } from '../../src/relay/relay.js'
import { Network } from '../../test/relay/network.js'
import { readArguments } from '../lib/arguments.js'

const item = defineRecord('simulated', ['node', 'number']).of<[node: string, number: number]>()
const HEARTBEAT = 1000

interface Node {
  readonly vm: GroundVm
  readonly monitor: RelayMonitor
  readonly control: { sink?: EventSink<ActionTree> }
}

/** A node with so many endpoints, which hears of those of all others if `listens`. */
function node(network: Network, name: string, endpoints: number): Node {
  const carrier = network.carrier(name)
  const monitor = new RelayMonitor()
  const control: Node['control'] = {}
  const source = eventSource<ActionTree>('control', (sink) => { control.sink = sink })
  const vm = groundVm(() => [
    relayBy({ node: name, carrier, topics: [item(_, _)], heartbeatMs: HEARTBEAT, monitor }, network.clock()),
    spawn(() => endpoint.subscriber([source, _], { onMessage: ([, actions]) => actions })),
    spawn(() => Array.from({ length: endpoints }, (_value, i) => endpoint.publisher(item(name, i)))),
  ])
  return { vm, monitor, control }
}

const known = ({ monitor }: Node): number => monitor.peers.reduce((sum, peer) => sum + peer.endpoints, 0)

/** Lets time pass until it holds. @returns virtual milliseconds */
async function until(network: Network, holds: () => boolean, step: number): Promise<number> {
  const start = network.now
  while (!holds()) {
    if (network.now - start > 60_000) throw new Error('it does not converge')
    await network.run(step)
  }
  return network.now - start
}

interface Cost {
  readonly msecs: number
  readonly packets: number
  readonly bytes: number
  readonly cpuMs: number
}

async function cost(network: Network, what: () => Promise<number>): Promise<Cost> {
  const { packets, bytes } = network
  const cpu = process.cpuUsage()
  const msecs = await what()
  const { user, system } = process.cpuUsage(cpu)
  return {
    msecs: Math.round(msecs), packets: network.packets - packets, bytes: network.bytes - bytes,
    cpuMs: Math.round((user + system) / 1000),
  }
}

async function simulate(count: number, endpoints: number): Promise<object> {
  const network = new Network({ delay: [1, 3] })
  const nodes = Array.from({ length: count }, (_value, i) => node(network, `n${i}`, endpoints))
  const all = (count - 1) * endpoints
  const start = await cost(network, () => until(network, () => nodes.every((one) => known(one) === all), 50))
  await network.run(3 * HEARTBEAT)
  const beat = await cost(network, async () => {
    await network.run(10 * HEARTBEAT)
    return 10 * HEARTBEAT
  })
  const [first, ...others] = nodes
  const join = await cost(network, () => {
    first.control.sink?.fire(spawn(() => endpoint.publisher(item('n0', endpoints))))
    return until(network, () => others.every((one) => known(one) === all + 1), 1)
  })
  const newcomer = await cost(network, () => {
    nodes.push(node(network, 'new', endpoints))
    return until(network, () => nodes.every((one) => known(one) >= all + endpoints), 50)
  })
  const perBeat = { packets: beat.packets / 10, bytes: Math.round(beat.bytes / 10), cpuMs: beat.cpuMs / 10 }
  for (const { vm } of nodes) await vm.stop()
  return { nodes: count, endpoints, start, perBeat, join, newcomer }
}

const usage = 'usage: node dist/bench/relay/simulate.js [NODES, or several: 10,30,100] [ENDPOINTS of each: 1000]'
const [sizes = '10,30,100', endpoints = '1000'] = readArguments(usage, {}, [], 2).positionals
if (!/^\d+(,\d+)*$/.test(sizes) || !/^\d+$/.test(endpoints)) {
  process.stderr.write(`error: NODES and ENDPOINTS are whole numbers\n${usage}\n`)
  process.exit(2)
}
for (const size of sizes.split(',')) console.log(JSON.stringify(await simulate(Number(size), Number(endpoints))))

/** What the load generator does to real servers, and what of their CPU time ours may take. */
import type { Scenario, Service } from '../lib/scenarios.js'
import { versus, type RunTarget } from '../lib/targets.js'

const connections = (count: number): string[] => ['--connections', String(count)]

/** Whom ours is held against: the field's own server, and the same on Node. `share`: of their CPU at most. */
interface Against {
  readonly arm: string
  /** Without it the ratio is only shown. */
  readonly share?: number
}

interface Load extends Omit<Scenario, 'arms' | 'group' | 'service'> {
  /** Longer shares than its group's. */
  readonly against?: readonly Against[]
}

/** Loads of one service. */
function group(name: string, service: Service, against: readonly Against[], loads: readonly Load[]) {
  return loads.map((load) => ({ name, service, load, against: load.against ?? against }))
}

const request = (title: string, name: string, ...load: string[]): Load => ({
  name, title, unit: 'request', load: ['--mode', 'requests', ...load],
})
const mqtt = (title: string, name: string, ...load: string[]): Load => ({
  name, title, unit: 'delivery', load: ['--mode', 'mqtt', ...connections(100), ...load],
})
const through = (title: string, name: string, ...load: string[]): Load => ({
  name, title, unit: 'message', load,
})

const loads = [
  ...group('redis', 'redis', [{ arm: 'redis-server', share: 1.2 }, { arm: 'node-net', share: 0.75 }], [
    request('Redis: SET, 50 connections', 'redis-set', '--protocol', 'redis-set', ...connections(50)),
    request('Redis: GET, 50 connections', 'redis-get', '--protocol', 'redis-get', ...connections(50)),
    request('Redis: SET, 50 connections, 16 in flight', 'redis-set-16', '--protocol', 'redis-set', ...connections(50),
      '--depth', '16'),
    request('Redis: GET, 50 connections, 16 in flight', 'redis-get-16', '--protocol', 'redis-get', ...connections(50),
      '--depth', '16'),
  ]),
  ...group('balancer', 'balancer', [
    { arm: 'haproxy', share: 1 }, { arm: 'nginx', share: 1 }, { arm: 'node-net', share: 0.6 },
  ], [
    through('Balancer: 64 B, 50 connections', 'balancer-50',
      '--mode', 'pingpong', ...connections(50)),
    through('Balancer: 64 B, 50 connections, 16 in flight', 'balancer-50x16',
      '--mode', 'pingpong', ...connections(50), '--depth', '16'),
    through('Balancer: 16 KiB, 10 connections', 'balancer-10x16k',
      '--mode', 'pingpong', ...connections(10), '--size', '16384'),
    {
      ...through('Balancer: one stream of 512 MiB; a message is 64 KiB', 'balancer-stream',
        '--mode', 'firehose', '--size', '65536', '--bytes', String(2 ** 29)),
      quickLoad: ['--mode', 'firehose', '--size', '65536', '--bytes', String(2 ** 27)],
      seconds: 0.6,
    },
    {
      name: 'balancer-accept',
      title: 'Balancer: 1,000 new connections/s',
      unit: 'connection',
      load: ['--mode', 'storm', '--rate', '1000', '--count', '1500', ...connections(500)],
      quickLoad: ['--mode', 'storm', '--rate', '1000', '--count', '500', ...connections(500)],
      seconds: 2,
      warmup: 0.5,
    },
  ]),
  ...group('mqtt', 'mqtt', [{ arm: 'mosquitto', share: 2 }, { arm: 'aedes', share: 0.5 }], [
    mqtt('MQTT: one topic, 100 subscribers, QoS 0', 'mqtt-0', '--qos', '0'),
    mqtt('MQTT: one topic, 100 subscribers, QoS 1', 'mqtt-1', '--qos', '1'),
    mqtt('MQTT: 100 topics, wildcards, 16 in flight, QoS 0', 'mqtt-topics-0', '--qos', '0',
      '--topics', '100', '--depth', '16'),
    mqtt('MQTT: 100 topics, wildcards, 16 in flight, QoS 1', 'mqtt-topics-1', '--qos', '1',
      '--topics', '100', '--depth', '16'),
  ]),
  ...group('http', 'http', [{ arm: 'nginx' }, { arm: 'node-http', share: 1 }], [
    request('HTTP: GET, 50 connections', 'http-get', '--protocol', 'http', ...connections(50)),
  ]),
  ...group('chat', 'chat', [{ arm: 'erlang', share: 0.8 }, { arm: 'node-net', share: 0.5 }], [
    {
      name: 'chat-1000',
      title: 'Chat of 1,000 members, one speaks',
      unit: 'line',
      load: ['--mode', 'chat', ...connections(1000)],
      // Each of the thousand is told of all others before it.
      warmup: 0.5,
      descriptors: 1100,
    },
  ]),
]

export const realScenarios: readonly Scenario[] = loads.map(({ name, service, load, against }) => ({
  ...load, group: name, service, quick: true, arms: ['ours', 'ours-io_uring', ...against.map(({ arm }) => arm)],
}))

export const realTargets: readonly RunTarget[] = loads.flatMap(({ load, against }) =>
  against.map(({ arm, share }, i) => ({
    title: `${i === 0 ? `CPU per ${load.unit}, ${load.title}` : '  the same'} / ${arm}`,
    ...(share !== undefined && { limit: share }),
    of: versus(load.name, 'cpu', arm, ['ours', 'ours-io_uring']),
  })))

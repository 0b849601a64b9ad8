/**
 * The scenarios: what the load generator does to which arms. To add one, add an entry; to put it into
 * the full run, mind the time (test/bench holds the plan against the limits).
 */
import type { ScenarioReport } from './result.js'
import { readDescriptorLimit } from './machine.js'

/** What the servers must be for it. */
export type Service = 'echo' | 'chat' | 'udp' | 'frames' | 'redis' | 'balancer' | 'mqtt' | 'http' | 'tls'

export interface Scenario {
  readonly name: string
  /** `--only` takes it as well, for all of its scenarios. */
  readonly group: string
  readonly title: string
  readonly service: Service
  readonly unit: ScenarioReport['unit']
  /** Arguments of the load generator, without times, address and server. */
  readonly load: readonly string[]
  /** The arms measured unless others are asked for. */
  readonly arms: readonly string[]
  /** At most so many rounds, where a round is long and the figure calm. */
  readonly roundsMax?: number
  /** Seconds that one arm's turn takes, about, where it is not warm-up and timed window. */
  readonly seconds?: number
  /**
   * Of these, seconds in which connections come and go before the timed window. Default 0: a cold start. Without
   * `seconds`: the least warm-up.
   */
  readonly warmup?: number
  /** Resident bytes per connection are a figure of it. */
  readonly perConnection?: boolean
  /** Arguments instead, in a quick run; without them and without `quick`, it is left out there. */
  readonly quickLoad?: readonly string[]
  readonly quick?: boolean
  /** It is run only if it is asked for by its name or group. */
  readonly askedFor?: boolean
  /** Descriptors that server and client need each. */
  readonly descriptors?: number
}

const ours = ['epoll', 'io_uring']
const limits = ['c-epoll', 'c-epoll-twin', 'c-io_uring']
/** Those that come near. */
const near = [...ours, 'node-net', 'bun', ...limits]
const fast = [...ours, 'node-net', 'bun', 'deno', ...limits]
const all = [...ours, 'node', 'nested-1', 'nested-2', 'nested-5', 'tcp', 'net', ...fast.slice(2, 5), 'python',
  'erlang', 'uws', ...limits]
/** Others are measured if they are asked for: `--peers udp-bare,c-mmsg`. */
/** The C server has the machine's OpenSSL, which may be a newer one than Node's. */
const tlsArms = [...ours, 'node-tls', 'tls-over-net', 'tls-module', 'c-tls']
const udpArms = [...ours, 'node-dgram', 'c-mmsg', 'c-mmsg-twin']
/** Which of them a quick run measures. */
export const quickArms: readonly string[] = [...ours, 'node', 'net', 'node-net', 'bun', ...limits,
  'node-dgram', 'c-mmsg', 'c-mmsg-twin']

function echo(name: string, title: string, arms: readonly string[], ...load: string[]): Scenario {
  return {
    name,
    group: 'echo',
    title,
    service: 'echo',
    unit: 'message',
    load: ['--mode', 'pingpong', ...load],
    arms,
  }
}

const connections = (count: number): string[] => ['--connections', String(count)]

const echoes: readonly Scenario[] = [
  {
    ...echo('echo-1', '64 B ping-pong, 1 connection', [...ours, 'busy-poll', ...fast.slice(2)],
      ...connections(1)),
    quick: true,
  },
  {
    ...echo('echo-100', '64 B ping-pong, 100 connections', all, ...connections(100)),
    quick: true,
  },
  { ...echo('echo-1000', '64 B ping-pong, 1,000 connections', near, ...connections(1000)), roundsMax: 4 },
  {
    ...echo('echo-100x16', '64 B ping-pong, 100 connections, 16 in flight each', near,
      ...connections(100), '--depth', '16'),
    quick: true,
    roundsMax: 4,
  },
  {
    ...echo('echo-50x16k', '16 KiB ping-pong, 50 connections', [...fast, 'borrowed'],
      ...connections(50), '--size', '16384'),
    quick: true,
  },
]

function idle(count: number, title: string, seconds: number, arms: readonly string[]): Scenario {
  return {
    name: `idle-${count / 1000}k`,
    group: 'fleet',
    title: `${title} idle connections, after one round trip each`,
    service: 'echo',
    unit: 'connection',
    load: ['--mode', 'idle', ...connections(count)],
    arms,
    roundsMax: 2,
    seconds,
    perConnection: true,
    descriptors: count + 100,
  }
}

/** @param warmup seconds; 0 for a server that has just started, and compiles what it runs */
function storm(warmup: number, arms: readonly string[]): Scenario {
  const cold = warmup > 0 ? '' : ', the server just started'
  return {
    name: warmup > 0 ? 'accept' : 'accept-cold',
    group: 'fleet',
    title: `10,000 connections, 50 at a time, one round trip each${cold}`,
    service: 'echo',
    unit: 'connection',
    load: ['--mode', 'storm', '--count', '10000', ...connections(50)],
    arms,
    roundsMax: warmup > 0 ? 3 : 2,
    seconds: 1.2 + warmup,
    warmup,
  }
}

export const scenarios: readonly Scenario[] = [
  ...echoes,
  {
    name: 'rate',
    group: 'echo',
    title: '64 B at a fixed rate of 10,000 messages/s, 100 connections, latency from when each was due',
    service: 'echo',
    unit: 'message',
    load: ['--mode', 'rate', '--rate', '10000', ...connections(100)],
    arms: near,
    roundsMax: 3,
  },
  {
    name: 'stream',
    group: 'bulk',
    title: 'one stream through the echo, 1 GiB (quick: 128 MiB); a message is 64 KiB',
    service: 'echo',
    unit: 'message',
    load: ['--mode', 'firehose', '--size', '65536', '--bytes', String(2 ** 30)],
    quickLoad: ['--mode', 'firehose', '--size', '65536', '--bytes', String(2 ** 27)],
    arms: fast,
    roundsMax: 3,
    seconds: 1.5,
  },
  storm(1, near),
  storm(0, ['epoll', 'c-epoll']),
  idle(10_000, '10,000', 3, [...ours, 'node', 'node-net', 'bun', 'deno', 'erlang', 'c-epoll']),
  idle(50_000, '50,000', 10, ['epoll', 'node-net']),
  {
    ...echo('active', '64 B ping-pong, 10,000 connections of which 100 send',
      near, ...connections(10_000), '--active', '100'),
    group: 'fleet',
    roundsMax: 2,
    seconds: 4,
    descriptors: 10_100,
  },
  {
    name: 'udp-100',
    group: 'udp',
    title: '64 B datagrams there and back, 100 peers, one in flight each',
    service: 'udp',
    unit: 'datagram',
    load: ['--mode', 'datagrams', ...connections(100)],
    arms: udpArms,
    roundsMax: 3,
    // So that the servers' code is compiled, as each datagram is little work.
    warmup: 1,
  },
  ...([
    ['frames-100', '50,000 a second over 100 connections', '100', '50000'],
    ['frames-10', 'as many as the server takes over 10 connections', '10', '400000'],
  ] as const).map(([name, title, count, rate]): Scenario => ({
    name,
    group: 'frames',
    title: `frames of 100 B with a length of 4, in odd pieces, ${title}`,
    service: 'frames',
    unit: 'frame',
    load: ['--mode', 'frames', '--size', '100', '--rate', rate, '--connections', count],
    arms: [...ours, 'unframed', 'unframed-io_uring', 'node-net'],
    roundsMax: 8,
    // The time of a full run is up.
    askedFor: true,
  })),
  ...[[64, 'tls-100', '64 B'], [16384, 'tls-100x16k', '16 KiB']].map(([size, name, title]): Scenario => ({
    ...echo(String(name), `${title} ping-pong over TLS 1.3, 100 connections`, tlsArms,
      ...connections(100), '--size', String(size), '--tls'),
    group: 'tls',
    service: 'tls',
    warmup: 1,
    askedFor: true,
  })),
  {
    name: 'chat',
    group: 'chat',
    title: 'chat of 100 members, one speaks; a message is a line that reached one member',
    service: 'chat',
    unit: 'line',
    load: ['--mode', 'chat', ...connections(100)],
    arms: [...ours, 'node', 'node-net', 'python', 'erlang'],
    quick: true,
    roundsMax: 3,
  },
]

/** What every server must answer rightly before it is timed. */
export const correctnessChecks: Record<Service, readonly (readonly string[])[]> = {
  echo: [
    ['--mode', 'pingpong', '--connections', '3', '--size', '1', '--depth', '3'],
    ['--mode', 'firehose', '--connections', '3', '--bytes', '3000000'],
  ],
  frames: [['--mode', 'frames', '--connections', '3', '--size', '16', '--rate', '20000']],
  chat: [['--mode', 'chat', '--connections', '3', '--depth', '2']],
  redis: ['redis-set', 'redis-get'].map((protocol) =>
    ['--mode', 'requests', '--protocol', protocol, '--connections', '3', '--depth', '3']),
  balancer: [
    ['--mode', 'pingpong', '--connections', '3', '--size', '1', '--depth', '3'],
    ['--mode', 'firehose', '--connections', '3', '--bytes', '3000000'],
  ],
  mqtt: [
    ['--mode', 'mqtt', '--connections', '3', '--qos', '0'],
    ['--mode', 'mqtt', '--connections', '20', '--qos', '1', '--topics', '9', '--depth', '3'],
  ],
  http: [['--mode', 'requests', '--protocol', 'http', '--connections', '3']],
  tls: [
    ['--mode', 'pingpong', '--connections', '3', '--size', '1', '--depth', '3', '--tls'],
    ['--mode', 'pingpong', '--connections', '3', '--size', '100000', '--tls'],
  ],
  udp: [
    ['--mode', 'datagrams', '--connections', '3', '--size', '8'],
    ['--mode', 'datagrams', '--connections', '3', '--size', '65507'],
  ],
}

/** Why the scenario can't be run on this machine; `undefined` when it can. */
export function obstacle({ descriptors = 0 }: Scenario): string | undefined {
  const limit = readDescriptorLimit()
  if (descriptors <= limit) return undefined
  return `needs ${descriptors} descriptors, and the hard limit is ${limit}`
}

/** The scenario as it is run: in a quick run some do less, and some nothing. */
function forRun(scenario: Scenario, quick: boolean, named: boolean): Scenario[] {
  if (scenario.askedFor === true && !named) return []
  if (!quick) return [scenario]
  if (scenario.quickLoad !== undefined) return [{ ...scenario, load: scenario.quickLoad }]
  return scenario.quick === true || named ? [scenario] : []
}

/** Those asked for; with no names, all. */
export function selectScenarios(
  all: readonly Scenario[], only: readonly string[] | undefined, quick: boolean,
): Scenario[] {
  return all
    .filter(({ name, group }) => only === undefined || only.includes(name) || only.includes(group))
    .flatMap((scenario) => forRun(scenario, quick, only !== undefined))
}

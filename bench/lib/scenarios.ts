/**
 * The scenarios: what the load generator does to every arm. To add one, add an entry.
 */

export interface Scenario {
  readonly name: string
  /** `--only` takes it as well, for all of its scenarios. */
  readonly group: string
  readonly title: string
  /** Arguments of the load generator, without times, address and server. */
  readonly load: readonly string[]
}

function pingpong(name: string, title: string, ...load: string[]): Scenario {
  return { name, group: 'echo', title, load: ['--mode', 'pingpong', ...load] }
}

export const scenarios: readonly Scenario[] = [
  pingpong('echo-1', '64 B ping-pong, 1 connection', '--connections', '1'),
  pingpong('echo-100', '64 B ping-pong, 100 connections', '--connections', '100'),
  pingpong('echo-1000', '64 B ping-pong, 1,000 connections', '--connections', '1000'),
  pingpong(
    'echo-100x16',
    '64 B ping-pong, 100 connections, 16 in flight each',
    ...['--connections', '100', '--depth', '16'],
  ),
  pingpong(
    'echo-50x16k',
    '16 KiB ping-pong, 50 connections',
    ...['--connections', '50', '--size', '16384'],
  ),
]

/** What every server must answer rightly before it is timed: small and big chunks. */
export const correctnessChecks: readonly (readonly string[])[] = [
  ['--mode', 'pingpong', '--connections', '3', '--size', '1', '--depth', '3'],
  ['--mode', 'firehose', '--connections', '3', '--bytes', '3000000'],
]

/** The group name of the in-VM benchmarks, which need no server. */
export const MICRO = 'micro'

export function scenarioNames(): string[] {
  return [...new Set([...scenarios.flatMap(({ name, group }) => [group, name]), MICRO])]
}

/** The scenarios asked for; with no names, all. */
export function selectScenarios(only: readonly string[] | undefined): Scenario[] {
  if (only === undefined) return [...scenarios]
  return scenarios.filter(({ name, group }) => only.includes(name) || only.includes(group))
}

/**
 * The field's axes: a figure against something that grows. Those of sockets are measured here, point by
 * point, each point a scenario; those inside the VM come from the programs of bench/micro that say
 * where they stand.
 */
import { selectArms, type Arm } from './arms.js'
import { figureIn } from './metrics.js'
import type { Progress } from './progress.js'
import type {
  Axis, MetricName, MicroReport, ProgramResult, ScenarioReport, Series, SeriesLine, SeriesPoint,
} from './result.js'
import { measureScenario, scenarioSeconds, type Plan } from './rounds.js'
import { obstacle, type Scenario } from './scenarios.js'
import { figureOf } from './stats.js'

interface Measure {
  readonly metric: MetricName
  /** Ending of the series' name. */
  readonly name: string
  readonly title: string
  readonly unit: string
}

interface Sweep {
  readonly name: string
  readonly x: Axis
  readonly arms: readonly string[]
  readonly points: readonly { readonly x: number; readonly load: readonly string[] }[]
  readonly measures: readonly Measure[]
  /** Descriptors per unit of x. */
  readonly descriptors: number
  /** Seconds that a unit of x costs besides: connections must be opened. */
  readonly secondsEach: number
  readonly perConnection: boolean
}

const ROUNDS = 2
const DURATION = 0.5
const latency: Measure = { metric: 'p50', name: 'latency', title: 'median latency', unit: 'us' }
const cpu: Measure = { metric: 'cpu', name: 'cpu', title: 'server CPU per message', unit: 'us/message' }
const number = (value: number): string => value.toLocaleString('en-US')

const sweeps: readonly Sweep[] = [
  {
    name: 'connections',
    x: { title: 'open connections', unit: 'connections', scale: 'log' },
    arms: ['epoll', 'io_uring', 'node-net', 'bun', 'erlang', 'c-epoll'],
    points: [1, 10, 100, 1000, 10_000].map((x) => ({
      x,
      load: ['--mode', 'pingpong', '--connections', String(x)],
    })),
    measures: [
      latency,
      cpu,
      {
        metric: 'rssPerConnection',
        name: 'memory',
        title: 'growth of resident memory per connection',
        unit: 'bytes/connection',
      },
    ],
    descriptors: 1,
    secondsEach: 0.0003,
    perConnection: true,
  },
  {
    name: 'size',
    x: { title: 'message size', unit: 'bytes', scale: 'log' },
    arms: ['epoll', 'io_uring', 'node-net', 'bun', 'c-epoll'],
    points: [16, 256, 4096, 65_536, 1_048_576].map((x) => ({
      x,
      load: ['--mode', 'pingpong', '--connections', '10', '--size', String(x)],
    })),
    measures: [
      cpu,
      { metric: 'bytesRate', name: 'throughput', title: 'throughput', unit: 'bytes/s' },
    ],
    descriptors: 0,
    secondsEach: 0,
    perConnection: false,
  },
]

export function sweepNames(): string[] {
  return sweeps.map(({ name }) => name)
}

/** The name that selects all of them. */
export const SERIES = 'series'

function scenarioAt(sweep: Sweep, { x, load }: Sweep['points'][number]): Scenario {
  return {
    name: `${sweep.name}-${x}`,
    group: SERIES,
    title: `series: ${sweep.x.title}: ${number(x)}`,
    service: 'echo',
    unit: 'message',
    load,
    arms: sweep.arms,
    roundsMax: ROUNDS,
    perConnection: sweep.perConnection,
    descriptors: sweep.descriptors * x + 100,
  }
}

/** Shorter windows, as there are many points. */
function planFor(plan: Plan): Plan {
  const duration = Math.min(plan.times.duration, DURATION)
  return { ...plan, times: { ...plan.times, duration }, freshProcesses: true }
}

/** One sweep, ready to be run. */
export interface SweepRun {
  readonly seconds: number
  run(progress: Progress): Promise<Series[]>
}

function seriesOf(
  sweep: Sweep,
  { metric, name, title, unit }: Measure,
  arms: readonly Arm[],
  measured: ReadonlyMap<number, ScenarioReport>,
): Series {
  const lines = arms.map((arm): SeriesLine => {
    const points: SeriesPoint[] = []
    let failure: string | undefined
    for (const [x, report] of measured) {
      const y = figureIn(report, arm.name, metric)
      const armReport = report.arms.find((one) => one.name === arm.name)
      failure ??= armReport?.failure ?? armReport?.skipped
      if (y !== undefined) points.push({ x, y })
    }
    return { name: arm.name, title: arm.title, points, ...(failure !== undefined && { failure }) }
  })
  return {
    name: `${sweep.name}-${name}`,
    title: `${title} against ${sweep.x.title}`,
    x: sweep.x,
    y: { title, unit, scale: 'log' },
    better: metric === 'bytesRate' || metric === 'rate' ? 'higher' : 'lower',
    lines,
  }
}

/** The sweeps by these names, as far as this machine goes. */
export function selectSweeps(
  names: readonly string[],
  peers: readonly string[] | undefined,
  wholePlan: Plan,
): SweepRun[] {
  const plan = planFor(wholePlan)
  const chosen = sweeps.filter(({ name }) => names.includes(name) || names.includes(SERIES))
  return chosen.map((sweep) => {
    const arms = selectArms(sweep.arms, 'echo', peers).filter((arm) => arm.twinOf === undefined)
    const scenarios = sweep.points.map((point) => scenarioAt(sweep, point))
    const openings = sweep.points.reduce((sum, { x }) => sum + x * sweep.secondsEach, 0)
    const seconds = scenarios.reduce((sum, one) => sum + scenarioSeconds(one, arms.length, plan), 0)
    const run = async (progress: Progress): Promise<Series[]> => {
      const measured = new Map<number, ScenarioReport>()
      for (const [i, scenario] of scenarios.entries()) {
        if (obstacle(scenario) !== undefined) continue
        measured.set(sweep.points[i].x, await measureScenario(scenario, arms, plan, progress))
      }
      return sweep.measures.map((measure) => seriesOf(sweep, measure, arms, measured))
    }
    return { seconds: seconds + openings * arms.length * ROUNDS, run }
  })
}

/** What nesting costs a message over a socket: the arms of `echo-100` that differ in it only. */
export function nestingSeries(report: ScenarioReport | undefined): Series[] {
  const armAt = [[0, 'epoll'], [1, 'nested-1'], [2, 'nested-2'], [5, 'nested-5']] as const
  const points = armAt.flatMap(([x, arm]): SeriesPoint[] => {
    const y = figureIn(report, arm, 'cpu')
    return y === undefined ? [] : [{ x, y }]
  })
  if (points.length < 2) return []
  return [
    {
      name: 'nesting-cpu',
      title: 'server CPU per message against nesting, 100 connections',
      x: { title: 'VMs around the session', unit: 'VMs', scale: 'linear' },
      y: { title: 'server CPU per message', unit: 'us/message', scale: 'linear' },
      better: 'lower',
      lines: [{ name: 'epoll', title: 'marketplace, epoll', points }],
    },
  ]
}

/** Those of the programs inside the VM. */
export function microSeries(report: MicroReport): Series[] {
  const programs = report.suites.flatMap((suite) => suite.programs)
  return report.axes.flatMap((axis): Series[] => {
    const { name, title, x, y } = axis
    const members = programs.filter((program) => program.at?.axis === name)
    if (members.length === 0) return []
    const names = [...new Set(members.map((program) => program.at?.line ?? ''))]
    const lines = names.map((line) => lineOf(line, members.filter(({ at }) => at?.line === line)))
    return [
      {
        name,
        title,
        x,
        y,
        better: 'lower',
        lines,
      },
    ]
  })
}

function lineOf(line: string, programs: readonly ProgramResult[]): SeriesLine {
  const points = programs.flatMap(({ at, samples }): SeriesPoint[] => {
    const y = figureOf(samples)
    return at === undefined || y === undefined ? [] : [{ x: at.x, y }]
  })
  const failure = programs.find((program) => program.failure !== undefined)?.failure
  return {
    name: line,
    title: line,
    points: points.sort((a, b) => a.x - b.x),
    ...(failure !== undefined && { failure }),
  }
}

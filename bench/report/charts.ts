/**
 * From results to charts: which figures are shown, of which arms, and in which words.
 *
 * Invariant: what could not be measured is left out of a chart and never drawn as zero; who is missing,
 * and why, is in `absences`.
 */
import type {
  ArmReport, BenchReport, MetricName, ScenarioReport, Series,
} from '../lib/result.js'
import { compare } from '../lib/stats.js'
import { format } from '../lib/table.js'
import { barPlot, type BarValue, type Panel } from './bars.js'
import { latencyLines, percentileAxis } from './latency.js'
import { linePlot, type Line } from './lines.js'
import { linearAxis, logAxis } from './scale.js'
import type { Plot, Words } from './svg.js'
import type { Theme } from './theme.js'

export interface Chart {
  /** Part of the name of its file. */
  readonly name: string
  readonly words: Words
  readonly plot: (theme: Theme) => Plot
}

/** Arms that the README shows of ours; a report shows all. */
const README_OURS = ['epoll', 'io_uring', 'node']
/** Arms whose lines the README shows: more would not be told apart. */
const README_LINES = ['epoll', 'io_uring', 'node-net', 'bun', 'deno', 'c-epoll']
/** What the ratios are to: the first of them that was measured. */
const REFERENCES = ['redis-server', 'haproxy', 'mosquitto', 'node-http', 'node-net', 'c-epoll', 'node-dgram', 'c-mmsg']

export const WIDTH = 760
/** Its rows have long names. */
const SERVERS_WIDTH = 1040
const LINES_HEIGHT = 280

interface Shown {
  readonly title: string
  readonly scale: number
}

/** How a metric is written, and what its unit is multiplied by. */
function shown(metric: MetricName, unit: ScenarioReport['unit']): Shown {
  switch (metric) {
    case 'cpu':
      return { title: `server CPU per ${unit}, µs`, scale: 1 }
    case 'rate':
      return { title: `${unit}s per second`, scale: 1 }
    case 'bytesRate':
      return { title: 'bytes per second', scale: 1 }
    case 'rss':
      return { title: 'resident memory, MiB', scale: 2 ** -20 }
    case 'rssPerConnection':
      return { title: 'resident bytes per connection', scale: 1 }
    case 'p50':
    case 'p99':
    case 'p99_9':
      return { title: `${metric.replace('_', '.')} latency, µs`, scale: 1 }
    case 'lost':
      return { title: 'share that was lost', scale: 1 }
    case 'busy':
      return { title: "server's CPU in use", scale: 1 }
    case 'clientBusy':
      return { title: "client's CPU in use", scale: 1 }
  }
}

const isBetterHigh = (metric: MetricName): boolean => metric === 'rate' || metric === 'bytesRate'

/** The two figures that tell most about a scenario. */
function panelMetrics(scenario: ScenarioReport): MetricName[] {
  const mode = scenario.load[scenario.load.indexOf('--mode') + 1]
  const wanted: MetricName[] =
    mode === 'rate' ? ['cpu', 'p99']
    : mode === 'idle' ? ['rssPerConnection', 'cpu']
    : mode === 'firehose' ? ['cpu', 'bytesRate']
    : ['cpu', 'rate']
  return wanted.filter((metric) => scenario.arms.some((arm) => arm.figures[metric] !== undefined))
}

export function referenceOf(scenario: ScenarioReport, metric: MetricName): ArmReport | undefined {
  const measured = scenario.arms.filter((arm) => arm.figures[metric] !== undefined)
  return REFERENCES.map((name) => measured.find((arm) => arm.name === name)).find(Boolean)
}

/** `(0.67)`, or `(≈ 1)` inside the noise; nothing for the reference itself. */
export function ratioText(scenario: ScenarioReport, arm: ArmReport, metric: MetricName): string {
  const base = referenceOf(scenario, metric)
  const [one, other] = [arm.figures[metric], base?.figures[metric]]
  if (base === undefined || base.name === arm.name || one === undefined || other === undefined) return ''
  const found = compare(one, other, scenario.noise[metric])
  if (found === undefined) return ''
  return found.different ? ` (${found.ratio.toPrecision(found.ratio < 1 ? 2 : 3)})` : ' (≈ 1)'
}

function panelOf(scenario: ScenarioReport, arms: readonly ArmReport[], metric: MetricName): Panel {
  const { title, scale } = shown(metric, scenario.unit)
  const values = arms.map((arm): BarValue | undefined => {
    const found = arm.figures[metric]
    if (found === undefined) return undefined
    const text = format(found.median * scale) + ratioText(scenario, arm, metric)
    return { median: found.median * scale, low: found.low * scale, high: found.high * scale, text }
  })
  const base = referenceOf(scenario, metric)?.figures[metric]
  const noise = scenario.noise[metric] ?? 0
  const reference = base === undefined ? undefined : { value: base.median * scale, noise }
  const arrow = isBetterHigh(metric) ? 'more is better' : 'less is better'
  return { title: [title, arrow], values, reference }
}

/** The arms to draw: no twins, nothing unmeasured, the best first. */
function drawnArms(scenario: ScenarioReport, metric: MetricName, readme: boolean): ArmReport[] {
  const cost = (arm: ArmReport): number => {
    const middle = arm.figures[metric]?.median ?? Infinity
    return isBetterHigh(metric) ? -middle : middle
  }
  return scenario.arms
    .filter((arm) => arm.twinOf === undefined && Object.keys(arm.figures).length > 0)
    .filter((arm) => !readme || arm.kind !== 'ours' || README_OURS.includes(arm.name))
    .sort((a, b) => cost(a) - cost(b))
}

export function describeRun(report: BenchReport): string[] {
  const { command, date, commit, cpu, cpus, memoryBytes, kernel, node, pinning } = report.environment
  const { rounds, times, freshProcesses, quick } = report.method
  return [
    `${date.slice(0, 16).replace('T', ' ')} UTC, commit ${commit}. ${cpu}, ${cpus} CPUs, ` +
      `${format(memoryBytes / 2 ** 30)} GiB, Linux ${kernel}, Node ${node}; loopback, ${pinning}.`,
    `${rounds} rounds of ${times.duration} s${quick ? ' (quick)' : ''}, arms in turns` +
      `${freshProcesses ? ', a new server process each round' : ''}: ${command}`,
  ]
}

const percent = (share: number): string => `${Number((share * 100).toPrecision(2))} %`

export function barChart(report: BenchReport, scenario: ScenarioReport, readme = false): Chart | undefined {
  const metrics = panelMetrics(scenario)
  if (metrics.length === 0) return undefined
  const arms = drawnArms(scenario, metrics[0], readme)
  const bars = arms.map(({ name, title, kind }) => ({ arm: name, label: title, bold: kind === 'ours' }))
  const panels = metrics.map((metric) => panelOf(scenario, arms, metric))
  const base = referenceOf(scenario, metrics[0])
  const noises = metrics.flatMap((metric) => scenario.noise[metric] ?? [])
  const how = [
    'Bars: medians over the rounds; thin lines: from the lowest to the highest round.',
    ...(base === undefined ? [] : [`In parentheses: ratio to ${base.title} (broken line).`]),
    ...(noises.length === 0
      ? []
      : [
          `Band: the noise, measured with two identical servers (${noises.map(percent).join(' and ')}).`,
          '≈ 1: no difference beyond the noise.',
        ]),
  ].join(' ')
  return {
    name: `${scenario.name}-bars`,
    words: {
      title: readme ? 'Echo server over TCP: cost and throughput' : scenario.title,
      subtitle: readme ? `${scenario.title}; one CPU for the server` : `What a ${scenario.unit} costs`,
      caption: [how, ...describeRun(report)],
    },
    plot: (theme) => barPlot(bars, panels, WIDTH, theme),
  }
}

/** The arms that have a line in the README, or all. */
function lineArms<A extends { readonly name: string }>(arms: readonly A[], readme: boolean): A[] {
  return readme ? arms.filter((arm) => README_LINES.includes(arm.name)) : [...arms]
}

export function latencyChart(
  report: BenchReport,
  scenario: ScenarioReport,
  readme = false,
): Chart | undefined {
  const arms = lineArms(drawnArms(scenario, 'p50', readme), readme)
  const lines = latencyLines(arms)
  if (lines.length === 0) return undefined
  const x = percentileAxis(lines)
  const values = lines.flatMap((line) => [
    ...(line.path ?? []).map(([, y]) => y),
    ...line.points.flatMap(({ low, high }) => [low, high]),
  ])
  const y = logAxis(values, { title: 'latency, µs (less is better)', text: (tick) => format(tick) })
  const { p50, p99, p99_9: p999 } = scenario.noise
  const noise = p50 === undefined || p99 === undefined || p999 === undefined ? '' :
    ` Noise of two identical servers: ${percent(p50)}, ${percent(p99)} and ${percent(p999)}.`
  const how =
    'Lines: all rounds together; both axes are logarithmic. Symbols at p50, p99 and p99.9: medians over ' +
    `the rounds, with thin lines from the lowest to the highest round.${noise}`
  return {
    name: `${scenario.name}-latency`,
    words: {
      title: readme ? 'Distribution of the latency' : `${scenario.title}: latency`,
      subtitle: readme ? scenario.title : 'The share of messages that were answered within so much time',
      caption: [how, ...describeRun(report)],
    },
    plot: (theme) => linePlot(lines, { x, y }, { width: WIDTH, height: LINES_HEIGHT }, theme),
  }
}

/** 10000 as 10,000; bytes that are whole KiB as such. */
function tickText(unit: string): (tick: number) => string {
  const isBytes = /^bytes\b/.test(unit)
  return (tick) => {
    if (isBytes && tick > 0 && tick % 2 ** 20 === 0) return `${tick / 2 ** 20} MiB`
    if (isBytes && tick > 0 && tick % 2 ** 10 === 0) return `${tick / 2 ** 10} KiB`
    return tick.toLocaleString('en-US', { maximumFractionDigits: 6 })
  }
}

function seriesLines(series: Series, kinds: ReadonlyMap<string, string>): Line[] {
  return series.lines.map((line) => ({
    arm: line.name,
    label: line.title,
    bold: kinds.get(line.name) === 'ours',
    points: line.points.map(({ x, y }) => ({ x, median: y.median, low: y.low, high: y.high })),
  }))
}

function scalesText({ x, y }: Series): string {
  const [acrossIsLog, upIsLog] = [x.scale === 'log', y.scale === 'log']
  if (acrossIsLog && upIsLog) return ' Both axes are logarithmic.'
  if (acrossIsLog) return ' The horizontal axis is logarithmic.'
  return upIsLog ? ' The upright axis is logarithmic.' : ''
}

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1)

export function seriesChart(report: BenchReport, series: Series, readme = false): Chart | undefined {
  const arms = report.scenarios.flatMap((scenario) => scenario.arms)
  const kinds = new Map(arms.map(({ name, kind }) => [name, kind]))
  const all = seriesLines(series, kinds).filter((line) => line.points.length > 0)
  const lines = lineArms(all.map((line) => ({ ...line, name: line.arm })), readme)
  if (lines.length === 0) return undefined
  const axisOf = (which: 'x' | 'y', values: number[]) => {
    const { title, unit, scale } = series[which]
    const arrow = which === 'y' ? ` (${series.better === 'lower' ? 'less' : 'more'} is better)` : ''
    const named = unit === title || title.endsWith(unit) ? title : `${title}, ${unit.replace(/^us\b/, 'µs')}`
    const words = { title: `${named}${arrow}`, text: tickText(unit) }
    return scale === 'log' ? logAxis(values, words, which === 'x') : linearAxis(values, words)
  }
  const points = lines.flatMap((line) => line.points)
  const x = axisOf('x', points.map((point) => point.x))
  const y = axisOf('y', points.flatMap(({ low, high }) => [low, high]))
  const how =
    'Lines: medians over the rounds; thin upright lines: from the lowest to the highest round.' +
    scalesText(series)
  return {
    name: series.name,
    words: {
      title: capital(series.title),
      subtitle: readme ? '64 B ping-pong, one message in flight per connection' : '',
      caption: [how, ...describeRun(report)],
    },
    plot: (theme) => linePlot(lines, { x, y }, { width: WIDTH, height: LINES_HEIGHT }, theme),
  }
}

/** Whom the real servers are held against: the field's own, and the same on Node. */
const FIELD = ['redis-server', 'haproxy', 'mosquitto', 'nginx', 'erlang']
const ON_NODE = ['node-net', 'aedes', 'node-http']

/** Ours, on the backend that took less CPU; `undefined` if it was not measured. */
function oursIn({ arms }: ScenarioReport): ArmReport | undefined {
  const measured = arms.filter(({ name, figures }) => /^ours(-io_uring)?$/.test(name) && figures.cpu !== undefined)
  return measured.sort((a, b) => (a.figures.cpu?.median ?? 0) - (b.figures.cpu?.median ?? 0))[0]
}

/** Our CPU over that of the first of these arms that was measured; `undefined`: none of them was. */
function shareOf(scenario: ScenarioReport, others: readonly string[]): BarValue | undefined {
  const cpu = (name: string) => scenario.arms.find((arm) => arm.name === name)?.figures.cpu
  const other = others.find((name) => cpu(name) !== undefined)
  const [one, base] = [oursIn(scenario)?.figures.cpu, other === undefined ? undefined : cpu(other)]
  const found = one && base && compare(one, base, scenario.noise.cpu)
  if (found === undefined) return undefined
  const title = scenario.arms.find(({ name }) => name === other)?.title.replace(/,.*/, '') ?? ''
  const { ratio, low, high } = found
  return { median: ratio, low, high, text: `${ratio.toPrecision(ratio < 1 ? 2 : 3)} ${title}` }
}

/** The servers of `examples/`: a bar for each load, in shares of what others need for it. */
export function serversChart(report: BenchReport): Chart | undefined {
  const scenarios = report.scenarios.filter((scenario) => oursIn(scenario) !== undefined)
  const rows = scenarios.map((scenario) => [shareOf(scenario, FIELD), shareOf(scenario, ON_NODE)] as const)
  if (rows.flat().every((value) => value === undefined)) return undefined
  const noise = Math.max(0, ...scenarios.map((scenario) => scenario.noise.cpu ?? 0))
  const bars = scenarios.map((scenario) => {
    const { name = '', title = '' } = oursIn(scenario) ?? {}
    const [load] = scenario.title.split(';')
    return { arm: name, label: `${load} [${title.replace(/.*, /, '')}]`, bold: false }
  })
  const panels = [0, 1].map((side): Panel => ({
    title: [side === 0 ? "/ the field's own server" : '/ the same on Node', 'less is better'],
    values: rows.map((row) => row[side]),
    reference: { value: 1, noise },
  }))
  const how = 'Bars: the ratio of the medians over the rounds; thin lines: the least and the greatest ratio of a ' +
    'round; in brackets, ours on which backend, that with less CPU. Band: the most that two identical servers of ' +
    `ours differed by (${percent(noise)}).`
  return {
    name: 'servers',
    words: {
      title: 'Servers of examples/: CPU per operation',
      subtitle: 'As a share of what other servers need for the same',
      caption: [how, ...describeRun(report)],
    },
    plot: (theme) => barPlot(bars, panels, SERVERS_WIDTH, theme),
  }
}

/** What the README shows. A chart that can't be made of these results is missing. */
export function readmeCharts(report: BenchReport): Chart[] {
  const echo = report.scenarios.find(({ name }) => name === 'echo-100')
  const connections = report.series.find(({ name }) => name === 'connections-cpu')
  const made: [string, Chart | undefined][] = [
    ['echo', echo && barChart(report, echo, true)],
    ['latency', echo && latencyChart(report, echo, true)],
    ['connections', connections && seriesChart(report, connections, true)],
    ['servers', serversChart(report)],
  ]
  return made.flatMap(([name, chart]) => (chart === undefined ? [] : [{ ...chart, name }]))
}

/** Who is missing in a scenario, and why. */
export function absences(scenario: ScenarioReport): string[] {
  return scenario.arms.flatMap(({ title, skipped, failure }) =>
    skipped !== undefined ? [`${title}: skipped: ${skipped}`]
    : failure !== undefined ? [`${title}: failed: ${failure}`]
    : [],
  )
}

/**
 * The report on the terminal: one table per scenario, and one per series.
 */
import type { Environment } from './machine.js'
import { ratioBetween } from './metrics.js'
import type { ArmReport, Figure, Method, MetricName, ScenarioReport, Series } from './result.js'
import { format, table } from './table.js'

/** The arms that the others are held against, with their columns' headings. */
const bases = [
  { name: 'c-epoll', heading: '/ C epoll' },
  { name: 'node-net', heading: '/ node:net' },
  { name: 'c-mmsg', heading: '/ C mmsg' },
  { name: 'node-dgram', heading: '/ node:dgram' },
  { name: 'redis-server', heading: '/ redis-server' },
  { name: 'haproxy', heading: '/ haproxy' },
  { name: 'nginx', heading: '/ nginx' },
  { name: 'mosquitto', heading: '/ mosquitto' },
  { name: 'aedes', heading: '/ aedes' },
  { name: 'node-http', heading: '/ node:http' },
]

const UNITS = {
  message: 'msg', connection: 'conn', line: 'line', datagram: 'dgram', request: 'req', delivery: 'delivery',
  frame: 'frame',
} as const
const MIB = 1 << 20

export function heading(environment: Environment, method: Method): string {
  const { rounds, times, freshProcesses } = method
  return [
    `commit ${environment.commit}, ${environment.date}`,
    `${environment.cpu}, ${environment.cpus} CPUs, Linux ${environment.kernel}, ` +
      `Node ${environment.node}; ${environment.pinning}`,
    `${rounds} rounds of ${times.duration} s after ${times.warmup} s of warm-up, arms in turns, ` +
      (freshProcesses ? 'a new server process each round' : 'one server process per arm'),
    'Medians over rounds (smallest..largest). CPU: of the server, all threads, user and kernel.',
    '',
  ].join('\n')
}

interface Column {
  readonly heading: string
  readonly cell: (arm: ArmReport) => string
}

function middle(figure: Figure | undefined, scale = 1): string {
  return figure === undefined ? '-' : format(figure.median * scale)
}

function withRange(figure: Figure | undefined, scale = 1): string {
  if (figure === undefined) return '-'
  const { median, low, high } = figure
  return `${format(median * scale)} (${format(low * scale)}..${format(high * scale)})`
}

function percent(figure: Figure | undefined): string {
  return figure === undefined ? '-' : `${Math.round(figure.median * 100)} %`
}

function ratioCell(report: ScenarioReport, arm: ArmReport, metric: MetricName, base: string): string {
  if (arm.name === base) return '1'
  const comparison = ratioBetween(report, metric, arm.name, base)
  if (comparison === undefined) return '-'
  return comparison.different ? format(comparison.ratio) : 'no difference'
}

/** What the arms are compared by: mostly the CPU; where the load is a fixed amount of work, its rate. */
export function mainMetric({ name }: Pick<ScenarioReport, 'name'>): MetricName {
  if (name === 'stream') return 'bytesRate'
  if (name === 'accept') return 'rate'
  return name.startsWith('idle') ? 'rssPerConnection' : 'cpu'
}

function columnsOf(report: ScenarioReport): Column[] {
  const unit = UNITS[report.unit]
  const metric = mainMetric(report)
  const has = (name: MetricName): boolean => report.arms.some(({ figures }) => figures[name])
  const optional = (name: MetricName, text: string, scale = 1): Column[] =>
    has(name) ? [{ heading: text, cell: ({ figures }) => middle(figures[name], scale) }] : []
  const label = { cpu: 'CPU', rate: 'rate', bytesRate: 'rate', rssPerConnection: 'memory' }[metric as 'cpu']
  return [
    { heading: `${unit}/s`, cell: ({ figures }) => withRange(figures.rate) },
    ...(metric === 'bytesRate'
      ? [{ heading: 'MiB/s', cell: ({ figures }: ArmReport) => withRange(figures.bytesRate, 1 / MIB) }]
      : []),
    { heading: `CPU us/${unit}`, cell: ({ figures }) => withRange(figures.cpu) },
    { heading: 'busy', cell: ({ figures }) => percent(figures.busy) },
    ...optional('p50', 'p50 us'),
    ...optional('p99', 'p99 us'),
    ...optional('p99_9', 'p99.9 us'),
    ...optional('lost', 'lost'),
    ...optional('rss', 'RSS MiB', 1 / MIB),
    ...optional('rssPerConnection', 'bytes/conn'),
    ...bases
      .filter(({ name }) => report.arms.some((arm) => arm.name === name))
      .map(({ name, heading: text }) => ({
        heading: `${label} ${text}`,
        cell: (arm: ArmReport) => ratioCell(report, arm, metric, name),
      })),
  ]
}

export function scenarioReport(report: ScenarioReport): string {
  const columns = columnsOf(report)
  const measured = report.arms.filter(({ figures }) => figures.rate !== undefined)
  const rows = measured.map((arm) => [arm.title, ...columns.map(({ cell }) => cell(arm))])
  const noise = report.noise[mainMetric(report)]
  const noiseText = noise === undefined ? '' : `; noise of two identical arms: ${format(noise * 100)} %`
  const troubles = report.arms.flatMap(({ title, failure, skipped }) => [
    ...(failure === undefined ? [] : [`  ${title}: FAILED: ${failure}\n`]),
    ...(skipped === undefined ? [] : [`  ${title}: skipped: ${skipped}\n`]),
  ])
  const headings = ['', ...columns.map((column) => column.heading)]
  return (
    `\n${report.title} [${report.name}]${noiseText}\n` +
    (rows.length > 0 ? table([headings, ...rows]) : '') +
    troubles.join('')
  )
}

/** One column per line, one row per x. */
export function seriesReport(series: Series): string {
  const lines = series.lines.filter(({ points }) => points.length > 0)
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b)
  const rows = xs.map((x) => [
    x.toLocaleString('en-US'),
    ...lines.map(({ points }) => middle(points.find((point) => point.x === x)?.y)),
  ])
  const troubles = series.lines
    .filter(({ failure }) => failure !== undefined)
    .map(({ title, failure }) => `  ${title}: not measured: ${failure}\n`)
  return (
    `\n${series.title}, ${series.y.unit} [${series.name}]\n` +
    (rows.length > 0 ? table([[series.x.title, ...lines.map(({ title }) => title)], ...rows]) : '') +
    troubles.join('')
  )
}

/**
 * The report as one HTML page: charts, the same figures as tables, who is missing, and last the targets.
 *
 * Invariants: it opens from disk and needs nothing else, no script and no network; it follows the reader's
 * light or dark setting; every text from the results is escaped.
 */
import type { ArmReport, BenchReport, MetricName, ScenarioReport, Series } from '../lib/result.js'
import { figureOf } from '../lib/stats.js'
import { format } from '../lib/table.js'
import { verdict } from '../lib/targets.js'
import {
  absences, barChart, describeRun, latencyChart, ratioText, seriesChart, type Chart,
} from './charts.js'
import { escape, renderBare } from './svg.js'
import { pageTheme, pageVariables } from './theme.js'

const STYLE = `
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--background); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--grid); }
h3 { margin: 2rem 0 0; }
a { color: inherit; }
p.run, figcaption, .absent { color: var(--muted); font-size: 0.875rem; }
figure { margin: 1rem 0 0; }
.wide { overflow-x: auto; }
.wide > svg { display: block; }
figcaption { max-width: 48rem; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.15rem 0.6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
th { color: var(--muted); font-weight: normal; }
tr + tr { border-top: 1px solid var(--grid); }
summary { cursor: pointer; color: var(--muted); }
details { margin: 1rem 0; }
/* On a telephone a target's figures stand below its name: beside it they would be out of sight. */
@media (max-width: 600px) {
  h1 { font-size: 1.5rem; }
  #targets + .wide tr { display: flex; flex-wrap: wrap; padding: 0.3rem 0; }
  #targets + .wide tr:first-child { display: none; }
  #targets + .wide td { padding: 0 1rem 0 0; }
  #targets + .wide td:first-child { flex-basis: 100%; white-space: normal; }
}
`

interface Column {
  readonly metric: MetricName
  readonly heading: string
  readonly scale: number
  readonly withRatio: boolean
}

function column(metric: MetricName, heading: string, scale = 1, withRatio = false): Column {
  return { metric, heading, scale, withRatio }
}

const COLUMNS: readonly Column[] = [
  column('cpu', 'CPU µs', 1, true),
  column('rate', 'per second', 1, true),
  column('bytesRate', 'MiB/s', 2 ** -20),
  column('busy', 'server busy %', 100),
  column('clientBusy', 'client busy %', 100),
  column('p50', 'p50 µs'),
  column('p99', 'p99 µs', 1, true),
  column('p99_9', 'p99.9 µs'),
  column('rss', 'RSS MiB', 2 ** -20),
  column('rssPerConnection', 'bytes/connection', 1, true),
]

const row = (cells: readonly string[], tag: 'td' | 'th' = 'td'): string =>
  `<tr>${cells.map((cell) => `<${tag}>${escape(cell)}</${tag}>`).join('')}</tr>`

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const body = rows.map((cells) => row(cells)).join('\n')
  return `<div class="wide"><table>\n${row(headings, 'th')}\n${body}\n</table></div>\n`
}

const details = (summary: string, content: string): string =>
  `<details><summary>${escape(summary)}</summary>\n${content}</details>\n`

const absent = (lines: readonly string[]): string =>
  lines.map((line) => `<p class="absent">${escape(line)}</p>\n`).join('')

const range = (low: number, high: number): string => `(${format(low)}..${format(high)})`

function cell(scenario: ScenarioReport, arm: ArmReport, { metric, scale, withRatio }: Column): string {
  const figure = arm.figures[metric]
  if (figure === undefined) return ''
  const middle = format(figure.median * scale)
  const around = `${middle} ${range(figure.low * scale, figure.high * scale)}`
  return withRatio ? around + ratioText(scenario, arm, metric).replace(/ \((.*)\)/, '; $1') : middle
}

function scenarioTable(scenario: ScenarioReport): string {
  const measured = scenario.arms.filter((arm) => Object.keys(arm.figures).length > 0)
  const columns = COLUMNS.filter(({ metric }) => measured.some((arm) => arm.figures[metric] !== undefined))
  const rows = measured.map((arm) => [
    arm.version === undefined ? arm.title : `${arm.title} ${arm.version}`,
    ...columns.map((one) => cell(scenario, arm, one)),
  ])
  const noises = columns.map(({ metric }) => {
    const noise = scenario.noise[metric]
    return noise === undefined ? '' : `${format(noise * 100)} %`
  })
  return table(['', ...columns.map(({ heading }) => heading)], [...rows, ['noise', ...noises]])
}

function seriesTable(series: Series): string {
  const rows = series.lines.flatMap((line) =>
    line.points.map(({ x, y }) => [line.title, format(x), format(y.median), range(y.low, y.high)]),
  )
  return table(['', series.x.unit, series.y.unit, 'rounds'], rows)
}

async function drawing(chart: Chart | undefined): Promise<string> {
  if (chart === undefined) return ''
  const svg = await renderBare(chart.plot(pageTheme), chart.words, pageTheme)
  const caption = escape(chart.words.caption[0])
  return `<figure><div class="wide">${svg}</div>\n<figcaption>${caption}</figcaption></figure>\n`
}

async function scenarioSection(report: BenchReport, scenario: ScenarioReport): Promise<string> {
  return [
    `<h3 id="${escape(scenario.name)}">${escape(scenario.title)}</h3>\n`,
    absent(absences(scenario)),
    await drawing(barChart(report, scenario)),
    await drawing(latencyChart(report, scenario)),
    details('All figures', scenarioTable(scenario)),
  ].join('')
}

async function seriesSection(report: BenchReport, series: Series): Promise<string> {
  const failures = series.lines.flatMap(({ title, failure }) =>
    failure === undefined ? [] : [`${title}: failed: ${failure}`],
  )
  return [
    `<h3 id="${escape(series.name)}">${escape(series.title)}</h3>\n`,
    absent(failures),
    await drawing(seriesChart(report, series)),
    details('All figures', seriesTable(series)),
  ].join('')
}

function microSection(report: BenchReport): string {
  if (report.microFailure !== undefined) return absent([`Failed: ${report.microFailure}`])
  const suites = report.micro?.suites ?? []
  return suites
    .map(({ name, title, programs }) => {
      const rows = programs.map((program) => {
        const figure = figureOf(program.samples)
        if (figure === undefined) return [program.title, '-', '']
        return [program.title, format(figure.median), range(figure.low, figure.high)]
      })
      const failed = programs.flatMap((program) =>
        program.failure === undefined ? [] : [`${program.title}: failed: ${program.failure.split('\n')[0]}`],
      )
      const heading = `<h3 id="micro-${escape(name)}">${escape(title)}</h3>\n`
      return heading + absent(failed) + table(['', 'ns', 'rounds'], rows)
    })
    .join('')
}

function targetSection(report: BenchReport): string {
  const rows = report.targets.map((target) => [
    target.title,
    target.value === undefined ? '-' : format(target.value),
    target.low === undefined || target.high === undefined ? '' : range(target.low, target.high),
    target.limit === undefined ? '' : `${target.sense === 'at most' ? '≤' : '≥'} ${format(target.limit)}`,
    verdict(target),
  ])
  return table(['', 'reached', 'rounds', 'limit', ''], rows)
}

const section = (id: string, title: string, content: string): string =>
  content === '' ? '' : `<section>\n<h2 id="${id}">${escape(title)}</h2>\n${content}</section>\n`

async function joined<T>(all: readonly T[], one: (value: T) => Promise<string>): Promise<string> {
  const parts: string[] = []
  for (const value of all) parts.push(await one(value))
  return parts.join('')
}

/** The whole page. It is XML as well as HTML. */
export async function renderPage(report: BenchReport): Promise<string> {
  const names = [
    ...report.scenarios.flatMap(({ arms }) => arms.map(({ name }) => name)),
    ...report.series.flatMap(({ lines }) => lines.map(({ name }) => name)),
  ]
  const colours =
    `:root { color-scheme: light dark; ${pageVariables('light', names)} }\n` +
    `@media (prefers-color-scheme: dark) { :root { ${pageVariables('dark', names)} } }`
  const scenarios = await joined(report.scenarios, (one) => scenarioSection(report, one))
  const series = await joined(report.series, (one) => seriesSection(report, one))
  const targets = report.targets.length > 0 ? targetSection(report) : ''
  return [
    '<!DOCTYPE html>\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml">\n<head>\n',
    '<meta charset="utf-8" />\n<title>marketplace-native: benchmarks</title>\n',
    '<meta name="viewport" content="width=device-width, initial-scale=1" />\n',
    `<style>\n${colours}${STYLE}</style>\n</head>\n<body>\n`,
    '<h1>marketplace-native: benchmarks</h1>\n',
    describeRun(report).map((line) => `<p class="run">${escape(line)}</p>\n`).join(''),
    '<p class="run">The method, its limits, and how to read the charts: docs/performance.md.</p>\n',
    section('scenarios', 'Against peers', scenarios),
    section('series', 'Against size', series),
    section('micro', 'Inside the VM', microSection(report)),
    section('targets', 'Targets', targets),
    '</body>\n</html>\n',
  ].join('')
}

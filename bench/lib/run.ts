/**
 * Runs a program of the benchmarks, and reports.
 *
 * Each arm is its own process; server and client are pinned to different CPUs; the arms take turns
 * over several rounds in rotating order; every byte that comes back is verified; two identical arms
 * measure the noise. Figures are medians. A missed target or a failed arm is reported and does not
 * change the exit code; only a run that measured nothing exits with 1.
 */
import { accessSync, closeSync, constants, openSync, writeFileSync } from 'node:fs'
import { microReportText } from '../micro/harness.js'
import { makeDirectories } from './directories.js'
import { choosePinning, describeEnvironment } from './machine.js'
import { runMicroProcess } from './micro-process.js'
import { parseOptions } from './options.js'
import { agendaOf, type Agenda } from './plan.js'
import { buildPrograms } from './programs.js'
import { Progress } from './progress.js'
import { heading, scenarioReport, seriesReport } from './report.js'
import { FORMAT, type BenchReport, type MicroReport, type ScenarioReport, type Series } from './result.js'
import { measureScenario, messageOf } from './rounds.js'
import { microSeries, nestingSeries } from './series.js'
import type { Programme } from './programme.js'
import { doubts, readLoad, summary } from './summary.js'
import { evaluateTargets, targetTable } from './targets.js'

/** A long run must not end with a file that can't be written. */
function orExit(option: string, action: () => void): void {
  try {
    action()
  } catch (error) {
    process.stderr.write(`bench: ${option}: ${messageOf(error)}\n`)
    process.exit(1)
  }
}

function checkWritable(file: string): void {
  orExit('--json', () => closeSync(openSync(file, 'a')))
}

function makeDirectory(path: string): void {
  orExit('--report', () => {
    makeDirectories(path)
    accessSync(path, constants.W_OK)
  })
}

interface Results {
  readonly scenarios: ScenarioReport[]
  readonly series: Series[]
  micro: MicroReport | null
  microFailure?: string
}

async function measureScenarios(agenda: Agenda, progress: Progress, results: Results): Promise<void> {
  for (const { scenario, arms, obstacle } of agenda.scenarios) {
    if (obstacle !== undefined) {
      process.stdout.write(`\n${scenario.title} [${scenario.name}]\n  skipped: ${obstacle}\n`)
      continue
    }
    const report = await measureScenario(scenario, arms, agenda.plan, progress)
    results.scenarios.push(report)
    progress.clear()
    process.stdout.write(scenarioReport(report))
  }
}

async function measureMicro(agenda: Agenda, progress: Progress, results: Results): Promise<void> {
  progress.show('inside the VM', 'all programs')
  try {
    results.micro = await runMicroProcess(agenda.plan.pinning.server, agenda.plan.quick)
  } catch (error) {
    results.microFailure = messageOf(error)
  }
  progress.clear()
  process.stdout.write(
    results.micro === null
      ? `\nInside the VM: FAILED: ${results.microFailure}\n`
      : microReportText(results.micro),
  )
}

async function measureAll(agenda: Agenda): Promise<Results> {
  const progress = new Progress(agenda.seconds)
  const results: Results = { scenarios: [], series: [], micro: null }
  const show = (series: readonly Series[]): void => {
    progress.clear()
    results.series.push(...series)
    process.stdout.write(series.map(seriesReport).join(''))
  }
  await measureScenarios(agenda, progress, results)
  show(nestingSeries(results.scenarios.find(({ name }) => name === 'echo-100')))
  for (const sweep of agenda.sweeps) show(await sweep.run(progress))
  if (agenda.microSeconds > 0) await measureMicro(agenda, progress, results)
  if (results.micro !== null) show(microSeries(results.micro))
  return results
}

async function run(programme: Programme): Promise<void> {
  // Before anything is built: that is load of our own.
  const begin = readLoad()
  const options = parseOptions(process.argv.slice(2), programme)
  const agenda = agendaOf(options, choosePinning(), programme)
  const { pinning, ...method } = agenda.plan
  if (options.json !== undefined) checkWritable(options.json)
  if (options.report !== undefined) makeDirectory(options.report)
  buildPrograms()
  const environment = describeEnvironment(pinning, programme.command)
  process.stdout.write(heading(environment, method))
  const results = await measureAll(agenda)
  const reasons = doubts(begin, readLoad(), results.scenarios)
  const targets = [
    ...evaluateTargets(results.scenarios, programme.targets),
    ...(results.micro?.targets ?? []),
  ]
  // Of a part, only what it was about.
  const shown = targets.filter(({ value }) => options.only === undefined || value !== undefined)
  if (shown.length > 0) process.stdout.write(`\nTargets\n${targetTable(shown)}`)
  const report: BenchReport = { format: FORMAT, environment, method, ...results, targets }
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report)}\n`)
  if (options.report !== undefined) {
    // Loaded now only: it takes memory and a while.
    const { writeReport } = await import('../report/write.js')
    const written = await writeReport(report, options.report)
    process.stdout.write(`\n${written.join('\n')}\n`)
  }
  process.stdout.write(summary(results.scenarios, targets, reasons))
  const measured = results.scenarios.some(({ arms }) => arms.some(({ figures }) => figures.rate))
  const swept = results.series.some(({ lines }) => lines.some(({ points }) => points.length > 0))
  process.exitCode = measured || swept || results.micro !== null ? 0 : 1
}

/** Resolves when it is over; sets the exit code. */
export async function runBench(programme: Programme): Promise<void> {
  process.on('SIGINT', () => process.exit(130))
  process.on('SIGTERM', () => process.exit(143))
  await run(programme)
}

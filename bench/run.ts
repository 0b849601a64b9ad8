/**
 * `npm run bench`: the echo server against its peers and routing inside the VM, in one run.
 *
 * Each arm is its own process; server and client are pinned to different CPUs; the arms take turns
 * over several rounds in rotating order; every byte that comes back is verified; two identical arms
 * measure the noise. Figures are medians. A missed target or a failed arm is reported and does not
 * change the exit code; only a run that measured nothing exits with 1.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { microReportText, type MicroReport } from './micro/harness.js'
import { selectArms } from './lib/arms.js'
import { choosePinning, describeEnvironment } from './lib/machine.js'
import { runMicroProcess } from './lib/micro-process.js'
import { parseOptions, type BenchOptions } from './lib/options.js'
import { benchBuild, benchSources } from './lib/paths.js'
import { Progress } from './lib/progress.js'
import { heading, scenarioReport } from './lib/report.js'
import { measureScenario, messageOf, turnSeconds } from './lib/rounds.js'
import type { Plan, ScenarioResult } from './lib/rounds.js'
import { MICRO, selectScenarios } from './lib/scenarios.js'
import { evaluateEchoTargets, targetTable } from './lib/targets.js'

const MICRO_SECONDS = { quick: 32, full: 180 }

/** Without a C compiler the C arms are missing, and nothing can be measured over sockets. */
function buildPrograms(): void {
  const make = spawnSync('make', ['-s', '-C', benchSources, `BUILD=${benchBuild}`], {
    encoding: 'utf8',
  })
  if (make.status === 0) return
  const why = make.error?.message ?? `${make.stdout}${make.stderr}`.trim()
  process.stderr.write(`bench: can't build the C programs in ${benchSources}: ${why}\n`)
  process.exit(1)
}

/** A long run must not end with a file that can't be written. */
function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, 'a'))
  } catch (error) {
    process.stderr.write(`bench: --json: ${messageOf(error)}\n`)
    process.exit(1)
  }
}

function planOf(options: BenchOptions): Plan {
  const pinning = choosePinning()
  return options.quick
    ? {
        rounds: options.rounds ?? 3,
        times: { warmup: 0.3, duration: 0.5 },
        freshProcesses: false,
        pinning,
      }
    : {
        rounds: options.rounds ?? 5,
        times: { warmup: 1, duration: 4 },
        freshProcesses: true,
        pinning,
      }
}

interface Results {
  readonly scenarios: ScenarioResult[]
  micro: MicroReport | undefined
  microFailure: string | undefined
}

async function measureAll(options: BenchOptions, plan: Plan): Promise<Results> {
  const arms = selectArms(options.peers)
  const scenarios = selectScenarios(options.only)
  const withMicro = options.only === undefined || options.only.includes(MICRO)
  const microSeconds = withMicro ? MICRO_SECONDS[options.quick ? 'quick' : 'full'] : 0
  const turns = scenarios.length * arms.length * plan.rounds
  const progress = new Progress(turns * turnSeconds(plan) + microSeconds)
  const results: Results = { scenarios: [], micro: undefined, microFailure: undefined }
  for (const scenario of scenarios) {
    const result = await measureScenario(scenario, arms, plan, progress)
    results.scenarios.push(result)
    progress.clear()
    process.stdout.write(scenarioReport(result))
  }
  if (withMicro) {
    progress.show('inside the VM', 'all programs')
    try {
      results.micro = await runMicroProcess(plan.pinning.server, options.quick)
    } catch (error) {
      results.microFailure = messageOf(error)
    }
    progress.clear()
    process.stdout.write(
      results.micro === undefined
        ? `\nInside the VM: FAILED: ${results.microFailure}\n`
        : microReportText(results.micro),
    )
  }
  return results
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2))
  const plan = planOf(options)
  if (options.json !== undefined) checkWritable(options.json)
  buildPrograms()
  const environment = describeEnvironment(plan.pinning)
  process.stdout.write(heading(environment, plan))
  const results = await measureAll(options, plan)
  const targets = [
    ...evaluateEchoTargets(results.scenarios),
    ...(results.micro?.targets ?? []),
  ]
  process.stdout.write(`\nTargets\n${targetTable(targets)}`)
  if (options.json !== undefined) {
    const text = JSON.stringify({ format: 1, environment, plan, ...results, targets }, null, 2)
    writeFileSync(options.json, `${text}\n`)
  }
  const measured = results.scenarios.some(({ arms }) => arms.some((arm) => arm.samples.length > 0))
  process.exitCode = measured || results.micro !== undefined ? 0 : 1
}

process.on('SIGINT', () => process.exit(130))
process.on('SIGTERM', () => process.exit(143))
await main()

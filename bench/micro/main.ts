/**
 * Runs the in-VM benchmarks: `node --expose-gc dist/bench/micro/main.js [--quick] [--only suite]`.
 * `npm run bench` runs it in a process of its own and reads its JSON.
 */
import { Command, InvalidArgumentError } from 'commander'
import type { MicroReport, SuiteResult } from '../lib/result.js'
import { axes } from './axes.js'
import { boundarySuite } from './boundary.js'
import { broadcastSuite } from './broadcast.js'
import { echoSuite } from './echo.js'
import { endpointSuite } from './endpoints.js'
import { measureSuite, microReportText, microTargetsText } from './harness.js'
import type { Effort, Suite } from './harness.js'
import { latencySuite } from './latency.js'
import { nestingSuite } from './nesting.js'
import { partsSuite } from './parts.js'
import { presenceSuite } from './presence.js'
import { routedSuite } from './routed.js'
import { spawnSuite } from './spawn.js'
import { timerSuite } from './timers.js'
import { topicsSuite } from './topics.js'

const suiteMakers: Record<string, (effort: Effort) => Suite> = {
  routed: routedSuite,
  echo: echoSuite,
  endpoints: endpointSuite,
  broadcast: broadcastSuite,
  nesting: nestingSuite,
  spawn: spawnSuite,
  latency: latencySuite,
  presence: presenceSuite,
  topics: topicsSuite,
  timers: timerSuite,
  parts: partsSuite,
  boundary: boundarySuite,
}

const names = Object.keys(suiteMakers)

function parseRounds(text: string): number {
  const rounds = Number(text)
  if (Number.isInteger(rounds) && rounds >= 1 && rounds <= 100) return rounds
  throw new InvalidArgumentError('It must be a whole number from 1 to 100.')
}

function parseNames(text: string): string[] {
  const chosen = text.split(',').map((name) => name.trim())
  if (chosen.every((name) => names.includes(name))) return chosen
  throw new InvalidArgumentError(`Known are: ${names.join(', ')}.`)
}

interface Options {
  readonly quick: boolean
  readonly json: boolean
  readonly rounds?: number
  readonly only?: string[]
}

const command = new Command('micro')
  .description('Measures routing inside the VM against Map.get and a function call.')
  .option('--quick', 'fewer and shorter rounds', false)
  .option('--only <names>', `suites, of: ${names.join(', ')}`, parseNames)
  .option('--rounds <n>', 'rounds instead of the usual number', parseRounds)
  .option('--json', 'print the report as JSON', false)
  .allowExcessArguments(false)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
const options = command.parse().opts<Options>()

const rounds = options.rounds ?? (options.quick ? 2 : 5)
const effort: Effort = { quick: options.quick, operations: options.quick ? 150_000 : 600_000 }
const suites: SuiteResult[] = []
for (const name of options.only ?? names) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kinside the VM: ${name}`)
  suites.push(await measureSuite(suiteMakers[name](effort), rounds))
}
if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
const targets = suites.flatMap((suite) => suite.targets)
const report: MicroReport = { rounds, suites, axes, targets }
process.stdout.write(
  options.json
    ? `${JSON.stringify(report)}\n`
    : microReportText(report) + microTargetsText(report),
)

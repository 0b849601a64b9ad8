/**
 * The command line of `npm run bench`. Wrong usage: one line on stderr, exit code 2.
 */
import { Command, InvalidArgumentError } from 'commander'
import { arms } from './arms.js'
import { scenarios } from './scenarios.js'
import { SERIES, sweepNames } from './series.js'

/** The name of the in-VM benchmarks, which need no server. */
export const MICRO = 'micro'

export interface BenchOptions {
  readonly quick: boolean
  readonly only: readonly string[] | undefined
  readonly peers: readonly string[] | undefined
  readonly rounds: number | undefined
  readonly json: string | undefined
  readonly report: string | undefined
}

/** All that `--only` takes. */
export function benchmarkNames(): string[] {
  const ofScenarios = scenarios.flatMap(({ name, group }) => [group, name])
  return [...new Set([...ofScenarios, SERIES, ...sweepNames(), MICRO])]
}

function parseList(known: readonly string[]): (text: string, before?: string[]) => string[] {
  return (text, before = []) => {
    const names = text.split(',').map((name) => name.trim())
    const unknown = names.find((name) => !known.includes(name))
    if (unknown !== undefined) {
      throw new InvalidArgumentError(`There is no '${unknown}'. Known are: ${known.join(', ')}.`)
    }
    return [...before, ...names]
  }
}

function parseRounds(text: string): number {
  const rounds = Number(text)
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100) {
    throw new InvalidArgumentError('It must be a whole number from 1 to 100.')
  }
  return rounds
}

export function parseOptions(argv: readonly string[]): BenchOptions {
  const peers = arms.filter((arm) => arm.twinOf === undefined).map((arm) => arm.name)
  const names = benchmarkNames()
  const command = new Command('bench')
    .description('Measures the echo and chat servers against their peers, and routing inside the VM.')
    .option('--quick', 'fewer arms, fewer and shorter rounds, under two minutes', false)
    .option('--only <names>', `of: ${names.join(', ')}`, parseList(names))
    .option('--peers <names>', `the arms to measure, of: ${peers.join(', ')}`, parseList(peers))
    .option('--rounds <n>', 'at most so many rounds, instead of the usual number', parseRounds)
    .option('--json <file>', 'write every figure of every round to a file (bench/lib/result.ts)')
    .option('--report <directory>', 'draw charts: report.html, and SVGs for the README')
    .allowExcessArguments(false)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  command.parse(argv, { from: 'user' })
  return command.opts<BenchOptions>()
}

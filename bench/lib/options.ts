/**
 * The command line of the benchmarks' programs. Wrong usage: one line on stderr, exit code 2.
 */
import { Command, InvalidArgumentError } from 'commander'
import { peers, type Programme } from './programme.js'
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
export function benchmarkNames({ scenarios, axes }: Programme = peers): string[] {
  const ofScenarios = scenarios.flatMap(({ name, group }) => [group, name])
  return [...new Set([...ofScenarios, ...(axes ? [SERIES, ...sweepNames(), MICRO] : [])])]
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

export function parseOptions(argv: readonly string[], programme: Programme): BenchOptions {
  const names = programme.arms.filter((arm) => arm.twinOf === undefined).map((arm) => arm.name)
  const benchmarks = benchmarkNames(programme)
  const command = new Command(programme.command)
    .description(programme.description)
    .option('--quick', 'fewer arms, fewer and shorter rounds, under two minutes', false)
    .option('--only <names>', `of: ${benchmarks.join(', ')}`, parseList(benchmarks))
    .option('--peers <names>', `the arms to measure, of: ${names.join(', ')}`, parseList(names))
    .option('--rounds <n>', 'at most so many rounds, instead of the usual number', parseRounds)
    .option('--json <file>', 'write every figure of every round to a file (bench/lib/result.ts)')
    .option('--report <directory>', 'draw charts: report.html, and SVGs for the README')
    .allowExcessArguments(false)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  command.parse(argv, { from: 'user' })
  return command.opts<BenchOptions>()
}

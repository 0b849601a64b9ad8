/**
 * The command line of `npm run bench`. Wrong usage: one line on stderr, exit code 2.
 */
import { Command, InvalidArgumentError } from 'commander'
import { arms } from './arms.js'
import { scenarioNames } from './scenarios.js'

export interface BenchOptions {
  readonly quick: boolean
  readonly only: readonly string[] | undefined
  readonly peers: readonly string[] | undefined
  readonly rounds: number | undefined
  readonly json: string | undefined
}

function parseList(known: readonly string[]): (text: string, before?: string[]) => string[] {
  return (text, before = []) => {
    const names = text.split(',').map((name) => name.trim())
    for (const name of names) {
      if (!known.includes(name)) {
        throw new InvalidArgumentError(`Known are: ${known.join(', ')}.`)
      }
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
  const command = new Command('bench')
    .description('Measures the echo server against its peers, and routing inside the VM.')
    .option('--quick', 'fewer and shorter rounds, under two minutes', false)
    .option('--only <names>', `of: ${scenarioNames().join(', ')}`, parseList(scenarioNames()))
    .option('--peers <names>', `arms to measure, of: ${peers.join(', ')}`, parseList(peers))
    .option('--rounds <n>', 'rounds instead of the usual number', parseRounds)
    .option('--json <file>', 'write every sample of every round to a file')
    .allowExcessArguments(false)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  command.parse(argv, { from: 'user' })
  return command.opts<BenchOptions>()
}

/**
 * The command line of `npm run bench:compare`. Wrong usage: one line on stderr, exit code 2.
 */
import { Command, InvalidArgumentError } from 'commander'
import { arms } from '../lib/arms.js'
import { MICRO } from '../lib/options.js'
import { scenarios } from '../lib/scenarios.js'
import { FEWEST_ROUNDS } from './judge.js'

export interface CompareOptions {
  readonly ref: string
  readonly only: readonly string[]
  readonly arms: readonly string[]
  readonly rounds: number
  readonly strict: boolean
}

const ROUNDS = 7
const ROUNDS_MAX = 100

function listOf(known: readonly string[]): (text: string) => string[] {
  return (text) => {
    const names = text.split(',').map((name) => name.trim())
    const unknown = names.find((name) => !known.includes(name))
    if (unknown === undefined) return names
    throw new InvalidArgumentError(`There is no '${unknown}'. Known are: ${known.join(', ')}.`)
  }
}

function parseRounds(text: string): number {
  const rounds = Number(text)
  if (Number.isInteger(rounds) && rounds >= FEWEST_ROUNDS && rounds <= ROUNDS_MAX) return rounds
  throw new InvalidArgumentError(`It must be a whole number from ${FEWEST_ROUNDS} to ${ROUNDS_MAX}.`)
}

export function parseOptions(argv: readonly string[]): CompareOptions {
  const names = [...new Set([...scenarios.flatMap(({ group, name }) => [group, name]), MICRO])]
  const ours = arms.filter(({ kind }) => kind === 'ours').map(({ name }) => name)
  const command = new Command('bench:compare')
    .description('Measures another revision against this one, in turns, and prints what moved.')
    .argument('<ref>', 'the other revision: a commit, a branch, a tag')
    .option('--only <names>', `of: ${names.join(', ')}`, listOf(names), ['echo'])
    .option('--arms <names>', `of: ${ours.join(', ')}`, listOf(ours), ['epoll'])
    .option('--rounds <n>', 'rounds', parseRounds, ROUNDS)
    .option('--strict', 'end with exit code 3 if something got worse', false)
    .allowExcessArguments(false)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  command.parse(argv, { from: 'user' })
  return { ...command.opts<Omit<CompareOptions, 'ref'>>(), ref: command.args[0] }
}

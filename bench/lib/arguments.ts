/**
 * The command lines of small benchmarks and measurements: `--help`, and what is wrong in one line. Larger ones use
 * commander.
 */
import { parseArgs, type ParseArgsConfig } from 'node:util'

/** The value of each option, and what came without one. */
interface Arguments {
  readonly positionals: readonly string[]
  readonly flag: (name: string) => boolean
  readonly number: (name: string) => number
  /** Of an option without a default; undefined if it isn't there. */
  readonly text: (name: string) => string | undefined
}

/** What the values of an option are, by name: as the error says it, and how they look. */
type Texts = Readonly<Record<string, readonly [what: string, pattern: RegExp]>>

/**
 * Reads this process's arguments; ends it with `usage` for `--help`, and with what is wrong and the exit code 2.
 *
 * @param numbers options that take a whole number from 1 on, with their defaults
 * @param flags options that take nothing
 * @param words what may stand there beside options: these words, or so many of any kind
 * @param texts options without a default
 */
export function readArguments(
  usage: string, numbers: Readonly<Record<string, number>>, flags: readonly string[] = [],
  words: readonly string[] | number = [], texts: Texts = {},
): Arguments {
  try {
    return parse(usage, numbers, flags, words, texts)
  } catch (error) {
    const [first] = (error as Error).message.split('. To specify')
    process.stderr.write(`error: ${first}\n${usage}\n`)
    process.exit(2)
  }
}

function parse(
  usage: string, numbers: Readonly<Record<string, number>>, flags: readonly string[], words: readonly string[] | number,
  texts: Texts,
): Arguments {
  const options: NonNullable<ParseArgsConfig['options']> = {}
  for (const name of [...Object.keys(numbers), ...Object.keys(texts)]) options[name] = { type: 'string' }
  for (const name of ['help', ...flags]) options[name] = { type: 'boolean' }
  const parsed = parseArgs({ allowPositionals: true, options })
  const values: Readonly<Record<string, unknown>> = parsed.values
  const { positionals } = parsed
  if (values['help'] === true) {
    console.log(usage)
    process.exit(0)
  }
  for (const [i, word] of positionals.entries()) {
    const known = typeof words === 'number' ? i < words : words.includes(word)
    if (!known) throw new Error(`there is no use for '${word}'`)
  }
  for (const name of Object.keys(numbers)) {
    if (values[name] !== undefined) checkWhole(`--${name}`, values[name] as string)
  }
  for (const [name, [what, pattern]] of Object.entries(texts)) {
    const text = values[name] as string | undefined
    if (text !== undefined && !pattern.test(text)) throw new Error(`--${name} takes ${what}, not '${text}'`)
  }
  return {
    positionals,
    flag: (name) => values[name] === true,
    number: (name) => values[name] === undefined ? numbers[name] : Number(values[name]),
    text: (name) => values[name] as string | undefined,
  }
}

/** @throws Error that names the argument */
function checkWhole(name: string, text: string): void {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`${name} takes a whole number from 1 on, not '${text}'`)
}

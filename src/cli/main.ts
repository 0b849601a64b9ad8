#!/usr/bin/env node
/**
 * The command line, `marketplace COMMAND`: which commands there are, and how they end.
 * Exit codes: 0 an orderly end, 1 a failure, 2 a command line that makes no sense.
 */
import { Command, CommanderError } from 'commander'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PACKAGE_ROOT } from '../support/package-root.js'
import { addChat } from './chat.js'
import { addConnect } from './connect.js'
import { addEcho } from './echo.js'
import { addInspect } from './inspect.js'
import { CommandError, firstLine } from './messages.js'
import { addNew } from './new.js'
import { mindStdout } from './output.js'
import { addReplay } from './replay.js'

const USAGE_ERROR = 2

function version(): string {
  const manifest = readFileSync(join(PACKAGE_ROOT ?? '', 'package.json'), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

/** Exits once stdout has been written, not before. */
function exit(code: number): void {
  process.stdout.write('', () => process.exit(code))
}

/** Waits for a command's exit code; a failure is told in one line. */
async function done(code: Promise<number>): Promise<void> {
  try {
    exit(await code)
  } catch (error) {
    // A mistake of ours rather than of the user: for those who ask, where it came from.
    const ours = !(error instanceof CommandError) && process.env['MARKETPLACE_LOG'] === 'debug'
    process.stderr.write(`marketplace: ${ours ? (error as Error).stack : firstLine(error)}\n`)
    exit(error instanceof CommandError ? error.exitCode : 1)
  }
}

function createProgram(): Command {
  const program = new Command('marketplace')
    .description('Structured, routed TCP for Node.js: try it with a chat and an echo server.')
    .version(version())
    .showSuggestionAfterError()
    .exitOverride()
    // Of `replay`, whose program has options of its own.
    .enablePositionalOptions()
    .configureOutput({
      // One line, whatever hint comes with it.
      outputError: (text, write) => {
        write(`${text.replace(/^error: /, 'marketplace: ').trim().replace(/\s*\n\s*/g, ' ')}\n`)
      },
    })
  addChat(program, done)
  addEcho(program, done)
  addConnect(program, done)
  addInspect(program, done)
  addReplay(program, done)
  addNew(program, done, version())
  for (const command of program.commands) command.copyInheritedSettings(program)
  return program
}

/** Node adds a hint on a second line to its first warning; ours are one line. */
function warnInOneLine(): void {
  // Without a listener, warnings were switched off.
  if (process.listenerCount('warning') === 0) return
  process.removeAllListeners('warning').on('warning', (warning) => {
    process.stderr.write(`marketplace: warning: ${firstLine(warning)}\n`)
  })
}

async function main(): Promise<void> {
  warnInOneLine()
  // Help goes there too, without an `Output`.
  mindStdout(() => undefined)
  const program = createProgram()
  try {
    if (process.argv.length <= 2) program.error("error: missing command; see 'marketplace --help'")
    await program.parseAsync()
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    process.exitCode = error.exitCode === 0 ? 0 : USAGE_ERROR
  }
}

await main()

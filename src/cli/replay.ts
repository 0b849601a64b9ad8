/**
 * `marketplace replay FILE PROGRAM`: has a program do again what was recorded, and tells where it differs.
 *
 * Owns the program's process: it runs with `MARKETPLACE_REPLAY`, and reports over Node's IPC.
 */
import { Argument, type Command } from 'commander'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { OUTCOME, outcomeText, recordingIn, type Outcome, type Recording } from '../inspector/index.js'
import { onOneLine } from '../support/printable.js'
import { CommandError, firstLine } from './messages.js'
import { Output } from './output.js'

/** @throws CommandError that says what is wrong with the file */
function readRecording(file: string): Recording {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new CommandError(`${file} can't be read: ${firstLine(error)}`)
  }
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch {
    throw new CommandError(`${file} is damaged: it is not JSON`)
  }
  try {
    return recordingIn(content)
  } catch (error) {
    throw new CommandError(`${file}: ${firstLine(error)}`)
  }
}

/** What is run. @throws CommandError when it is only the file that says so */
function commandOf(
  file: string, { program: { node, file: recorded, arguments: args } }: Recording, given: readonly string[],
  asRecorded: boolean,
): readonly string[] {
  const [program, ...others] = given
  if (program !== undefined) {
    if (asRecorded) throw new CommandError('--as-recorded runs what was recorded: there can be no program beside it')
    return [resolve(program), ...others]
  }
  const whole = [...node, recorded, ...args]
  if (asRecorded) return whole
  // A file that somebody has sent may name anything.
  throw new CommandError(
    `${file} was recorded of: node ${onOneLine(whole.map((word) => JSON.stringify(word)).join(' '))}; `
    + 'if that may be run: --as-recorded; otherwise name the program to run after the file')
}

/** Resolves to the exit code: 0 if nothing differs. */
async function replay(file: string, given: readonly string[], asRecorded: boolean): Promise<number> {
  const recording = readRecording(file)
  const command = commandOf(file, recording, given, asRecorded)
  const { MARKETPLACE_INSPECT: _inspect, MARKETPLACE_RECORD: _record, ...environment } = process.env
  const child = spawn(process.execPath, command, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env: { ...environment, MARKETPLACE_REPLAY: resolve(file) },
  })
  let outcome: Outcome | undefined
  child.on('message', (message) => {
    // The program may have more to say, to whoever has started it.
    if (typeof message === 'object' && OUTCOME in message) outcome = (message as Record<string, Outcome>)[OUTCOME]
  })
  const code = await new Promise<number | string>((settle, reject) => {
    child.on('error', (error) => { reject(new CommandError(`the program can't be started: ${firstLine(error)}`)) })
    child.on('close', (status, signal) => { settle(status ?? String(signal)) })
  })
  if (outcome === undefined) {
    throw new CommandError(`the program has ended (${code}) without a ground VM that could replay`)
  }
  const output = new Output()
  for (const line of outcomeText(outcome).split('\n')) output.line(line)
  return outcome.is === 'equal' ? 0 : 1
}

export function addReplay(program: Command, done: (code: Promise<number>) => Promise<void>): void {
  program
    .command('replay')
    .summary('do again what was recorded, and tell what differs')
    .description('Run a program with the inputs of a trace that was recorded (MARKETPLACE_RECORD=FILE), up to where it '
      + 'differs. Exit code: 0 if nothing does, or else 1.')
    .addArgument(new Argument('<file>', 'the trace'))
    .addArgument(new Argument('[program...]', 'what to run, with its arguments'))
    .option('--as-recorded', 'run what was recorded, as the file says', false)
    // What follows the program is the program's.
    .passThroughOptions()
    .action((file: string, given: readonly string[], { asRecorded }: { readonly asRecorded: boolean }) =>
      done(replay(file, given, asRecorded)))
}

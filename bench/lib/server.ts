/**
 * One server process: started, waited for until it listens, and stopped by its own pid.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasExited, track } from './children.js'
import { root } from './paths.js'

const START_MS = 30_000
const STOP_MS = 3_000
const KEPT_OUTPUT = 4_000

export interface Server {
  readonly pid: number
  readonly port: number
  /** What it printed about itself. */
  readonly version: string | undefined
  stop(): Promise<void>
}

export interface Command {
  readonly command: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  /** Not to start means that this machine lacks something. */
  readonly optional?: boolean
}

/** The server can't be had here, for a reason that is no fault of its own. */
export class Skipped extends Error {}

async function stop(child: ChildProcess): Promise<void> {
  if (hasExited(child)) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await Promise.race([exited, sleep(STOP_MS, undefined, { ref: false })])
  if (hasExited(child)) return
  child.kill('SIGKILL')
  await exited
}

/** The end of what a process printed, on one line. */
function lastWords(output: string): string {
  const lines = output.trim().split('\n')
  const told = lines.filter((line) => !/^\s+at |^Node\.js v/.test(line))
  const text = told.slice(-3).join(' | ').trim()
  return text === '' ? 'no output' : text
}

function endedEarly(output: string, how: string | number | null, optional: boolean): Error {
  const reason = /^skip: (.*)$/m.exec(output)
  if (reason !== null) return new Skipped(reason[1])
  const text = `ended with ${how} before it listened: ${lastWords(output)}`
  return optional ? new Skipped(text) : new Error(text)
}

/** Resolves when the server listens; rejects, with its last words, when it doesn't. */
export async function startServer(what: Command, pin: readonly string[]): Promise<Server> {
  const [file, ...args] = [...pin, ...what.command]
  const env = { ...process.env, ...what.environment }
  const child = track(spawn(file, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] }))
  let output = ''
  const port = await new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('did not listen in time')), START_MS)
    const onOutput = (text: string): void => {
      output = (output + text).slice(-KEPT_OUTPUT)
      const listening = /listening on \S+:(\d+)\s/.exec(output)
      if (listening === null) return
      clearTimeout(timer)
      resolve(Number(listening[1]))
    }
    child.stdout.setEncoding('utf8').on('data', onOutput)
    child.stderr.setEncoding('utf8').on('data', onOutput)
    child.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    // 'close', not 'exit': all of its last words have come by then.
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      reject(endedEarly(output, signal ?? code, what.optional === true))
    })
  }).catch(async (error: unknown) => {
    await stop(child)
    throw error
  })
  const version = /^version: (.*)$/m.exec(output)?.[1]
  return { pid: child.pid as number, port, version, stop: () => stop(child) }
}

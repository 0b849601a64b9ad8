/**
 * One server process: started, waited for until it listens, and stopped by its own pid.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasExited, killGroup, track } from './children.js'
import { root } from './paths.js'

const START_MS = 30_000
const STOP_MS = 3_000
const KEPT_OUTPUT = 4_000
/** Between two attempts to connect. */
const RETRY_MS = 20

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
  /** Where it listens, for a server that doesn't say so: it is connected to until that succeeds. */
  readonly port?: number
}

/** The server can't be had here, for a reason that is no fault of its own. */
export class Skipped extends Error {}

async function stop(child: ChildProcess): Promise<void> {
  if (hasExited(child)) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await Promise.race([exited, sleep(STOP_MS, undefined, { ref: false })])
  if (hasExited(child)) return
  killGroup(child)
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

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/** Resolves when somebody listens there; goes on until `over` says that nobody waits any more. */
async function listening(port: number, over: () => boolean): Promise<number> {
  while (!over() && !(await canConnect(port))) await sleep(RETRY_MS)
  return port
}

/** Resolves when the server listens; rejects, with its last words, when it doesn't. */
export async function startServer(what: Command, pin: readonly string[]): Promise<Server> {
  const [file, ...args] = [...pin, ...what.command]
  const env = { ...process.env, ...what.environment }
  const child = track(spawn(file, args, {
    cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true,
  }))
  let output = ''
  const port = await new Promise<number>((resolve, reject) => {
    let over = false
    const timer = setTimeout(() => {
      over = true
      reject(new Error('did not listen in time'))
    }, START_MS)
    const settle = (found: number): void => {
      clearTimeout(timer)
      resolve(found)
    }
    if (what.port !== undefined) void listening(what.port, () => over).then(settle)
    const onOutput = (text: string): void => {
      output = (output + text).slice(-KEPT_OUTPUT)
      const told = what.port === undefined ? /listening on \S+:(\d+)\s/.exec(output) : null
      if (told !== null) settle(Number(told[1]))
    }
    child.stdout.setEncoding('utf8').on('data', onOutput)
    child.stderr.setEncoding('utf8').on('data', onOutput)
    child.once('error', (error) => {
      over = true
      clearTimeout(timer)
      reject(error)
    })
    // 'close', not 'exit': all of its last words have come by then.
    child.once('close', (code, signal) => {
      over = true
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

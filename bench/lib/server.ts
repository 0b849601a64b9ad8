/**
 * One server process: started, waited for until it listens, and stopped by its own pid.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Arm } from './arms.js'
import { hasExited, track } from './children.js'
import { root } from './paths.js'

const START_MS = 20_000
const STOP_MS = 3_000
const KEPT_OUTPUT = 4_000

export interface Server {
  readonly pid: number
  readonly port: number
  stop(): Promise<void>
}

async function stop(child: ChildProcess): Promise<void> {
  if (hasExited(child)) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await Promise.race([exited, sleep(STOP_MS, undefined, { ref: false })])
  if (hasExited(child)) return
  child.kill('SIGKILL')
  await exited
}

/** The last of what a process printed, on one line. */
function lastWords(output: string): string {
  const text = output.trim().split('\n').slice(-3).join(' | ')
  return text === '' ? 'no output' : text
}

/** Resolves when the server listens; rejects, with its last words, when it doesn't. */
export async function startServer(arm: Arm, pin: readonly string[]): Promise<Server> {
  const [file, ...args] = [...pin, ...arm.command]
  const child = track(spawn(file, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] }))
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
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      reject(new Error(`ended with ${signal ?? code} before it listened: ${lastWords(output)}`))
    })
  }).catch(async (error: unknown) => {
    await stop(child)
    throw error
  })
  return { pid: child.pid as number, port, stop: () => stop(child) }
}

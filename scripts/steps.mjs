/**
 * What the scripts share: running a step quietly (one line when it works, everything when it fails),
 * and knowing whether something is out of date. No dependencies: this runs before `npm ci`.
 */
import { spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
export const CI = Boolean(process.env.CI) && process.env.CI !== 'false'

/** A failure that has already been explained; `main` prints nothing more about it. */
export class StepFailed extends Error {
  constructor(message, code = 1) {
    super(message)
    this.code = code
  }
}

export const say = (text) => process.stdout.write(`${text}\n`)

export const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`

/**
 * Runs a program to its end and resolves to `{ code, output }`; `onLine` hears the lines of stdout.
 * One that runs longer than `patience` seconds is killed.
 * A signal that ends this script ends the program too.
 */
export function run(command, args, { env, onLine, patience, cwd = ROOT } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'] })
    const timer = patience && setTimeout(() => child.kill('SIGKILL'), patience * 1000)
    const output = []
    let rest = ''
    const forward = (signal) => {
      child.kill(signal)
      child.once('close', () => process.exit(signal === 'SIGINT' ? 130 : 143))
    }
    process.once('SIGINT', forward).once('SIGTERM', forward)
    child.stdout.on('data', (chunk) => {
      output.push(chunk)
      if (onLine === undefined) return
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()
      lines.forEach((line) => onLine(line))
    })
    child.stderr.on('data', (chunk) => output.push(chunk))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      process.off('SIGINT', forward).off('SIGTERM', forward)
      if (rest !== '') onLine?.(rest)
      resolve({ code: code ?? `signal ${signal}`, output: Buffer.concat(output).toString() })
    })
  })
}

/** How often a step that takes long says that it is still at work: a terminal's line, or a line of a log. */
const TERMINAL_TICK = 1000
const LOG_TICK = 15_000

/**
 * Tells of a step while it runs. On a terminal it is one line that is drawn again, elsewhere a line at the
 * begin and one now and then.
 *
 * @param usually seconds that it takes on two cores; without it nothing is said before the end
 * @param progress how far it is, as text; empty while that isn't known
 */
export function announce(name, usually, progress = () => '') {
  if (usually === undefined) return () => undefined
  const start = performance.now()
  const terminal = process.stdout.isTTY
  const line = () => {
    const far = progress()
    const taken = Math.round((performance.now() - start) / 1000)
    return `${name}: ${far === '' ? '' : `${far}, `}${taken} s of about ${usually} s`
  }
  const draw = () => {
    if (terminal) process.stdout.write(`\r\x1b[K${line().slice(0, (process.stdout.columns || 80) - 1)}`)
    else say(line())
  }
  if (terminal) draw()
  else say(`${name}: takes about ${usually} s`)
  const timer = setInterval(draw, terminal ? TERMINAL_TICK : LOG_TICK)
  return () => {
    clearInterval(timer)
    if (terminal) process.stdout.write('\r\x1b[K')
  }
}

/**
 * One step: a line that says what was done and how long it took, or all of its output and an error.
 * With `usually`, seconds, it says so when it begins.
 */
export async function step(name, command, args, { usually, ...options } = {}) {
  const start = performance.now()
  const over = announce(name, usually)
  const { code, output } = await run(command, args, options).finally(over)
  if (code !== 0) {
    process.stderr.write(`${output.trimEnd()}\n`)
    throw new StepFailed(`${name}: failed (${code})`)
  }
  say(`${name}: done in ${seconds(start)}`)
  return output
}

/** Runs a script's body; a failure becomes one line and the exit code. */
export async function main(body) {
  try {
    await body()
  } catch (error) {
    process.stderr.write(`${error instanceof StepFailed ? error.message : error.stack}\n`)
    process.exitCode = error.code > 0 ? error.code : 1
  }
}

/** All files below `path` (or `path` itself, if it is a file), relative to the root. */
export function filesBelow(path) {
  const stat = statSync(join(ROOT, path), { throwIfNoEntry: false })
  if (stat === undefined) return []
  if (stat.isFile()) return [path]
  return readdirSync(join(ROOT, path), { withFileTypes: true }).flatMap((entry) => {
    const below = `${path}/${entry.name}`
    if (entry.isDirectory()) return filesBelow(below)
    return entry.isFile() ? [below] : []
  })
}

/** When a file was changed, in milliseconds; 0 if there is none. */
export function changedAt(path) {
  return statSync(join(ROOT, path), { throwIfNoEntry: false })?.mtimeMs ?? 0
}

/** Whether `target` exists and is newer than all of `sources`. */
export function upToDate(target, sources) {
  const made = changedAt(target)
  return made > 0 && sources.every((source) => changedAt(source) <= made)
}

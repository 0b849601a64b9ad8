/**
 * Programs in the style of other people's code print the same on `marketplace-native/net` as on `node:net`,
 * with each of the engine's backends. program.ts says how to add one.
 *
 * Programs with a process of their own run on each backend; `npm test` takes every fourth of them, on one backend, in
 * turns. `node dist/test/abroad/abroad.test.js WORD` runs the themes and programs whose names contain it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { quick } from '../support/quick.js'
import { VARIANTS } from '../support/variants.js'
import type { Program } from './program.js'
import { patient } from '../support/patience.js'

/** Processes at a time. */
const JOBS = 4
/** Milliseconds after which a process has hung. */
const PATIENCE = 60_000
const ALONE_PATIENCE = 40_000

interface Runner {
  readonly name: string
  readonly module: 'node' | 'ours'
  readonly backend: string
}

const NODE: Runner = { name: 'node:net', module: 'node', backend: '' }
const OURS: readonly Runner[] = VARIANTS
  .filter(({ name, skip }) => name.startsWith('native ') && skip === false)
  .map(({ name }) => ({ name, module: 'ours', backend: name.slice('native '.length) }))

const script = fileURLToPath(new URL('run.js', import.meta.url))
const [wanted] = process.argv.slice(2)
const all = !quick

let free = JOBS
const waiting: (() => void)[] = []

/** Runs `body` when fewer than `JOBS` others do. */
async function inTurn<Result>(body: () => Promise<Result>): Promise<Result> {
  if (free > 0) free--
  else await new Promise<void>((resolve) => { waiting.push(resolve) })
  try {
    return await body()
  } finally {
    const next = waiting.shift()
    if (next === undefined) free++
    else next()
  }
}

interface Outcome {
  readonly lines: readonly string[]
  readonly code: number | string | null
  /** The first lines of uncaught errors. */
  readonly errors: readonly string[]
}

async function run({ module, backend }: Runner, args: readonly string[], patience: number): Promise<Outcome> {
  return inTurn(async () => {
    const [theme, ...rest] = args
    const child = spawn(process.execPath, [script, theme, module, ...rest], {
      env: { ...process.env, MARKETPLACE_BACKEND: backend },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own, so that what it has started can be ended with it.
      detached: true,
    })
    let late = false
    const timer = setTimeout(() => {
      late = true
      try {
        process.kill(-child.pid!, 'SIGKILL')
      } catch {
        // It has ended by now.
      }
    }, patience)
    let out = ''
    let errors = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text })
    child.stderr.setEncoding('utf8').on('data', (text: string) => { errors += text })
    const [code, signal] = await once(child, 'close') as [number | null, string | null]
    clearTimeout(timer)
    if (late) return { lines: [], code: 'late', errors: [] }
    return {
      lines: out.split('\n').slice(0, -1),
      code: code ?? signal,
      errors: errors.split('\n').filter((line) => /^(\w*Error|Uncaught)\b/.test(line)),
    }
  })
}

/** What each program printed that shares a process. */
async function runShared(runner: Runner, theme: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const { lines, code, errors } = await run(runner, [theme], PATIENCE)
  if (code !== 0) throw new Error(`${theme} on ${runner.name} ended with ${String(code)}: ${errors.join()}`)
  return new Map(lines.map((line) => {
    const { program, lines } = JSON.parse(line) as { program: string, lines: string[] }
    return [program, lines]
  }))
}

async function compareShared(t: Test, theme: string, names: readonly string[]): Promise<void> {
  if (names.length === 0) return
  const [node, ...ours] = await Promise.all([NODE, ...OURS].map((runner) => runShared(runner, theme)))
  for (const name of names) {
    t.ok((node.get(name) ?? []).length > 0, `${name}: prints something`)
    ours.forEach((lines, i) => t.same(lines.get(name), node.get(name), `${name}: ${OURS[i].name}`))
  }
}

async function compareAlone(t: Test, theme: string, name: string, nth: number): Promise<void> {
  const some = all ? OURS : OURS.filter((_runner, i) => i === nth % OURS.length)
  const [node, ...ours] = await Promise.all(
    [NODE, ...some].map((runner) => run(runner, [theme, name], ALONE_PATIENCE)))
  t.not(node.code, 'late', `${name}: ends on node:net`)
  t.ok(node.lines.length + node.errors.length > 0, `${name}: prints something`)
  ours.forEach((outcome, i) => t.same(outcome, node, `${name}: ${some[i].name}`))
}

const themes = readdirSync(new URL('programs/', import.meta.url))
  .filter((file) => file.endsWith('.js')).map((file) => file.slice(0, -'.js'.length))

t.setTimeout(300_000)
t.jobs = themes.length
for (const theme of themes) {
  void t.test(theme, { timeout: patient(240_000) }, async (t) => {
    const { default: programs } = await import(`./programs/${theme}.js`) as { default: Map<string, Program> }
    const isWanted = (name: string): boolean => wanted === undefined || `${theme} ${name}`.includes(wanted)
    const chosen = [...programs].filter(([name]) => isWanted(name))
    const shared = chosen.filter(([, { alone }]) => !alone).map(([name]) => name)
    const single = chosen.filter(([, { alone }]) => alone).map(([name]) => name)
      .filter((_name, i) => all || i % 4 === 0)
    await Promise.all([
      compareShared(t, theme, shared),
      ...single.map((name, nth) => compareAlone(t, theme, name, nth)),
    ])
  })
}

/** The property: a program's trace is the same on both VMs. Counts what happened on the way. */
import fc from 'fast-check'
import { inspect } from 'node:util'
import { program } from './arbitrary.js'
import { runOnNaive } from './naive-api.js'
import { COUNTED } from './naive-state.js'
import { type Program } from './program.js'
import { runOnReal } from './real-api.js'

export interface Options {
  readonly runs: number
  readonly seed?: number | undefined
  /** Of a counterexample, as it was printed. */
  readonly path?: string | undefined
}

export interface Outcome {
  /** How often each thing happened, in all programs. */
  readonly counts: Readonly<Record<string, number>>
  readonly seed: number
  /** The shrunk program and its traces, and how to run it again. */
  readonly failure: string | undefined
}

const WORDS = ['presence', 'absence', 'message', 'child', 'goes on', 'boots'] as const

class Counts {
  readonly of: Record<string, number> = { programs: 0, lines: 0 }

  add(what: string, n = 1): void {
    this.of[what] = (this.of[what] ?? 0) + n
  }

  addTrace(trace: readonly string[]): void {
    this.add('programs')
    this.add('lines', trace.length)
    for (const line of trace) for (const word of WORDS) if (line.includes(word)) this.add(word)
  }
}

/** Runs random programs on both VMs until one differs. */
export async function check({ runs, seed, path }: Options): Promise<Outcome> {
  const counts = new Counts()
  const property = fc.asyncProperty(program, async (candidate) => {
    const naive = runOnNaive(candidate)
    const real = await runOnReal(candidate)
    counts.addTrace(naive.trace)
    for (const what of COUNTED) counts.add(what, naive.counts[what])
    return same(naive.trace, real.trace) && same(naive.living, real.living ?? naive.living)
  })
  const result = await fc.check(property, {
    numRuns: runs,
    unbiased: true, // or most programs are tiny
    ...(seed !== undefined && { seed }),
    ...(path !== undefined && { path }),
  })
  const [found] = result.counterexample ?? []
  const failure = found === undefined ? undefined : await describe(found, result)
  return { counts: counts.of, seed: result.seed, failure }
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, i) => line === b[i])
}

async function describe(found: Program, result: fc.RunDetails<[Program]>): Promise<string> {
  const { seed, counterexamplePath, numRuns } = result
  const lines = [`program ${numRuns} differs: --seed ${seed} --path ${counterexamplePath ?? ''}`]
  lines.push(inspect(found, { depth: null, compact: 12, breakLength: 110 }))
  try {
    const naive = runOnNaive(found)
    const real = await runOnReal(found)
    const first = naive.trace.findIndex((line, i) => line !== real.trace[i])
    lines.push(`first difference: line ${first < 0 ? naive.trace.length : first}`)
    for (const [vm, { trace, living }] of [['naive', naive], ['real', real]] as const) {
      lines.push(`${vm} VM:`, ...trace.map(indent), `  living: ${living?.join(' ') ?? 'unknown'}`)
    }
  } catch (error) {
    lines.push(inspect(error))
  }
  return lines.join('\n')
}

const indent = (line: string, i: number): string => `  ${i}  ${line}`

/** `presence 123, absence 45, ...` */
export function summary(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts).map(([what, n]) => `${what} ${n}`).join(', ')
}

/**
 * The harness of the in-VM benchmarks: programs run in turns over several rounds in one process.
 *
 * A program is run once per round and says how many nanoseconds one operation took. One round more
 * comes first and is thrown away: it is the compiler's. Figures are medians over rounds, and every
 * claim is a ratio to a baseline measured in the same process.
 */
import { setImmediate } from 'node:timers/promises'
import type { MicroReport, Place, ProgramResult, RoundValue, SuiteResult, Target } from '../lib/result.js'
import { figureOf, median, rotation } from '../lib/stats.js'
import { format, table } from '../lib/table.js'
import { targetTable } from '../lib/targets.js'

export interface Program {
  readonly name: string
  readonly title: string
  readonly at?: Place
  /** Nanoseconds per operation. Rejects if the program did not do what it should. */
  readonly run: () => Promise<number> | number
}

/** A figure made of the programs' times; `ns` gives one round's, or the medians. */
export interface Claim {
  readonly title: string
  readonly limit?: number
  readonly of: (ns: (program: string) => number) => number
}

/** Programs that take turns, and what is claimed about them. */
export interface Suite {
  readonly name: string
  readonly title: string
  readonly programs: readonly Program[]
  readonly claims: readonly Claim[]
}

/** How much each program does; the suites scale their loops by it. */
export interface Effort {
  readonly quick: boolean
  /** Timed operations that a program should do per round, about. */
  readonly operations: number
}

/** The claim `subject / base`. */
export function ratio(title: string, subject: string, base: string, limit?: number): Claim {
  const of: Claim['of'] = (ns) => ns(subject) / ns(base)
  return limit === undefined ? { title, of } : { title, limit, of }
}

async function runOnce(program: Program, result: ProgramResult, round: number): Promise<void> {
  if (result.failure !== undefined) return
  globalThis.gc?.()
  await setImmediate()
  try {
    const value = await program.run()
    if (!Number.isFinite(value) || value <= 0) throw new Error(`measured ${value} ns`)
    if (round >= 0) result.samples.push({ round, value })
  } catch (error) {
    result.failure = error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
}

function evaluate(claim: Claim, results: readonly ProgramResult[], rounds: number): Target {
  const byName = new Map(results.map((result) => [result.name, result.samples]))
  const samplesOf = (name: string): readonly RoundValue[] => byName.get(name) ?? []
  const whole = claim.of((name) => median(samplesOf(name).map(({ value }) => value)))
  const perRound = Array.from({ length: rounds }, (_, round) =>
    claim.of((name) => samplesOf(name).find((sample) => sample.round === round)?.value ?? NaN),
  ).filter(Number.isFinite)
  return {
    title: claim.title,
    unit: 'ratio',
    limit: claim.limit,
    sense: 'at most',
    value: Number.isFinite(whole) ? whole : undefined,
    low: perRound.length > 0 ? Math.min(...perRound) : undefined,
    high: perRound.length > 0 ? Math.max(...perRound) : undefined,
  }
}

export async function measureSuite(suite: Suite, rounds: number): Promise<SuiteResult> {
  const { name, title, programs, claims } = suite
  const results = programs.map((program): ProgramResult => {
    const { name: programName, title: programTitle, at } = program
    return { name: programName, title: programTitle, ...(at && { at }), samples: [] }
  })
  for (let round = -1; round < rounds; round += 1) {
    for (const i of rotation(programs.length, round + 1)) {
      await runOnce(programs[i], results[i], round)
    }
  }
  const targets = claims.map((claim) => evaluate(claim, results, rounds))
  return { name, title, programs: results, targets }
}

function suiteText(suite: SuiteResult): string {
  const rows = suite.programs.flatMap((program) => {
    const figure = figureOf(program.samples)
    if (figure === undefined) return []
    const { median: middle, low, high } = figure
    return [[program.title, format(middle), `(${format(low)}..${format(high)})`]]
  })
  const failures = suite.programs
    .filter((program) => program.failure !== undefined)
    .map((program) => `  ${program.title}: FAILED: ${program.failure}\n`)
  const body = rows.length > 0 ? table([['', 'ns', 'rounds'], ...rows]) : ''
  return `\nInside the VM: ${suite.title} [${suite.name}]\n${body}${failures.join('')}`
}

export function microReportText(report: MicroReport): string {
  return report.suites.map(suiteText).join('')
}

export function microTargetsText(report: MicroReport): string {
  return `\nTargets\n${targetTable(report.targets)}`
}

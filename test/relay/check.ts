/** Runs random histories until one goes wrong; counts what happened on the way. */
import fc from 'fast-check'
import { inspect } from 'node:util'
import { history, runHistory } from './random.js'

export interface Options {
  readonly runs: number
  readonly seed?: number | undefined
  readonly path?: string | undefined
}

export interface Checked {
  readonly counts: Readonly<Record<string, number>>
  readonly seed: number
  /** The shrunk history, and how to run it again. */
  readonly failure: string | undefined
}

export async function checkHistories({ runs, seed, path }: Options): Promise<Checked> {
  const counts: Record<string, number> = {}
  const property = fc.asyncProperty(history, async (candidate) => {
    const outcome = await runHistory(candidate)
    for (const [what, n] of Object.entries(outcome.counts)) counts[what] = (counts[what] ?? 0) + n
    if (outcome.wrong !== undefined) throw new Error(outcome.wrong)
  })
  const result = await fc.check(property, {
    numRuns: runs, unbiased: true, ...(seed !== undefined && { seed }), ...(path !== undefined && { path }),
  })
  if (!result.failed) return { counts, seed: result.seed, failure: undefined }
  const { counterexample, counterexamplePath, errorInstance } = result
  const again = `--seed ${result.seed} --path ${counterexamplePath ?? ''}`
  const what = errorInstance instanceof Error ? errorInstance.message : String(errorInstance)
  const shown = inspect(counterexample, { depth: null, compact: 12, breakLength: 110 })
  return { counts, seed: result.seed, failure: `${again}\n${what}\n${shown}` }
}

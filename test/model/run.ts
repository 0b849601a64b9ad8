/**
 * `node dist/test/model/run.js [--runs N] [--seed S] [--path P]`: random programs on the real VM and on the
 * naive one. Exits with 1 when traces differ; seed and path that it prints replay the shrunk program.
 */
import { parseArgs } from 'node:util'

process.env['MARKETPLACE_LOG'] = 'off'
const { check, summary } = await import('./check.js')

function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^-?\d+$/.test(text)) throw new RangeError(`--${name} must be an integer; got '${text}'`)
  return Number(text)
}

const { values } = parseArgs({
  options: { runs: { type: 'string' }, seed: { type: 'string' }, path: { type: 'string' } },
})
const start = performance.now()
const { counts, seed, failure } = await check({
  runs: number('runs', values.runs) ?? 10_000,
  seed: number('seed', values.seed),
  path: values.path,
})
console.log(`seed ${seed}, ${((performance.now() - start) / 1000).toFixed(1)} s: ${summary(counts)}`)
if (failure === undefined) {
  console.log('all traces are equal')
} else {
  console.log(failure)
  process.exitCode = 1
}

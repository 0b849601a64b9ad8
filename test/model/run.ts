/**
 * `node dist/test/model/run.js [--runs N] [--seed S] [--path P]`: random programs on the real VM and on the
 * naive one. Exits with 1 when traces differ; seed and path that it prints replay the shrunk program.
 */
import { readArguments } from '../../bench/lib/arguments.js'

const { number, text } = readArguments(`usage: npm run test:model -- [options]
  --runs 10000    so many random programs
  --seed S        an integer: the programs of an earlier run, which has printed it
  --path P        of those, the shrunk one that an earlier run has printed`,
{ runs: 10_000 }, [], [], { seed: ['an integer', /^-?\d{1,15}$/], path: ['numbers between colons', /^\d+(:\d+)*$/] })
process.env['MARKETPLACE_LOG'] = 'off'
const { check, summary } = await import('./check.js')

const asked = text('seed')
const start = performance.now()
const { counts, seed, failure } = await check({
  runs: number('runs'),
  seed: asked === undefined ? undefined : Number(asked),
  path: text('path'),
})
console.log(`seed ${seed}, ${((performance.now() - start) / 1000).toFixed(1)} s: ${summary(counts)}`)
if (failure === undefined) {
  console.log('all traces are equal')
} else {
  console.log(failure)
  process.exitCode = 1
}

/**
 * `node dist/test/relay/run.js [--runs N] [--seed S] [--path P]`: random histories of nodes. Exits with 1 when one goes
 * wrong; seed and path that it prints replay the shrunk one.
 */
import { parseArgs } from 'node:util'
import { setLogLevel } from '../../src/support/log.js'
import { checkHistories } from './check.js'

setLogLevel('off')
const { values } = parseArgs({
  options: { runs: { type: 'string' }, seed: { type: 'string' }, path: { type: 'string' } },
})
const start = performance.now()
const { counts, seed, failure } = await checkHistories({
  runs: Number(values.runs ?? 1000), seed: values.seed === undefined ? undefined : Number(values.seed),
  path: values.path,
})
console.log(`seed ${seed}, ${((performance.now() - start) / 1000).toFixed(1)} s: ${JSON.stringify(counts)}`)
console.log(failure ?? 'all nodes agree')
if (failure !== undefined) process.exitCode = 1

/** Some random histories of several nodes; `node dist/test/relay/run.js --runs N` runs more. */
import t from 'tap'
import { setLogLevel } from '../../src/support/log.js'
import { checkHistories } from './check.js'

setLogLevel('off')

/** Of each kind of thing there must be so many, or the histories test nothing. */
const LEAST: Readonly<Record<string, number>> = {
  lost: 150, cut: 20, drop: 40, kill: 5, end: 5, start: 10, freeze: 5, down: 5, peers: 100, heard: 100, numbered: 300,
}

t.test('after the last event all nodes agree with the naive VM, and no gap was silent', async (t) => {
  const { counts, seed, failure } = await checkHistories({ runs: 60 })
  t.comment(`seed ${seed}: ${JSON.stringify(counts)}`)
  t.equal(failure, undefined, `seed ${seed}`)
  if (failure !== undefined) return
  for (const [what, least] of Object.entries(LEAST)) {
    t.ok((counts[what] ?? 0) >= least, `at least ${least} of ${what}; ${counts[what] ?? 0}`)
  }
})

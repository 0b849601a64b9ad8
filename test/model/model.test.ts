/** A few hundred random programs on the real VM and on the naive one; `run.js` runs more. */
import t from 'tap'

process.env['MARKETPLACE_LOG'] = 'off'
const { check, summary } = await import('./check.js')

/** Of every kind of event there must be so many, or the programs test nothing. */
const LEAST: Readonly<Record<string, number>> = {
  presence: 700, absence: 300, message: 1000, child: 1000, 'goes on': 200, crash: 100, kill: 15, quit: 200,
  nested: 400, deepest: 50, metaEvent: 120, farEvent: 15, replaced: 300, mismatch: 12, noLevel: 25,
  bootFailure: 40, collected: 1000,
}

t.test('random programs have the same trace on both VMs', async (t) => {
  const { counts, seed, failure } = await check({ runs: 300 })
  t.comment(`seed ${seed}: ${summary(counts)}`)
  t.equal(failure, undefined, `seed ${seed}`)
  if (failure !== undefined) return
  for (const [what, least] of Object.entries(LEAST)) {
    t.ok((counts[what] ?? 0) >= least, `at least ${least} of ${what}; ${counts[what] ?? 0}`)
  }
})

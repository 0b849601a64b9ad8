/** The last words of a benchmark: what it says, and whether the machine was too busy for it. */
import t from 'tap'
import { doubts, readLoad, summary, type Load } from '../../bench/lib/summary.js'
import { echoTargets, evaluateTargets } from '../../bench/lib/targets.js'
import { fixture } from './fixture.js'

const { scenarios } = fixture()
const calm: Load = { average: 0.1, cpus: 2, ticks: 1000, stolen: 0 }
const later: Load = { average: 2.1, cpus: 2, ticks: 2000, stolen: 5 }
const noisy = scenarios.map((one) => ({ ...one, noise: { ...one.noise, cpu: 0.4 } }))
const quiet = scenarios.map((one) => ({ ...one, noise: { ...one.noise, cpu: 0.02 } }))

t.test('a calm machine leaves no doubts', (t) => {
  t.strictSame(doubts(calm, later, quiet), [])
  const text = summary(quiet, evaluateTargets(quiet, echoTargets), [])
  t.match(text, /a message costs .* node:net.*\n\d+ of \d+ targets/)
  t.end()
})

t.test('each sign of a busy machine is told', (t) => {
  t.strictSame(doubts({ ...calm, average: 9 }, later, quiet), ['the load was 9.0 when it began'])
  t.strictSame(doubts(calm, { ...later, average: 7.25 }, quiet), ['the load was 7.3 at its end'])
  const stolen = { ...later, stolen: 300 }
  t.strictSame(doubts(calm, stolen, quiet), ['30 % of the CPU time went to other machines'])
  t.strictSame(doubts(calm, later, noisy), ['two identical servers differed by 40 %'])
  t.match(summary([], [], ['x']), 'too busy to believe these figures: x.')
  t.end()
})

t.test('the load is that of this machine', (t) => {
  const { average, cpus, ticks } = readLoad()
  t.ok(average >= 0 && cpus > 0)
  t.ok(ticks > 0 || process.platform !== 'linux')
  t.end()
})

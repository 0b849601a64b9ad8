/**
 * `npm run bench:servers`: the servers of `examples/` against those of Debian's packages, and against the same on
 * Node. It starts them itself; one that is not installed is skipped, with how to install it.
 */
import { runBench } from '../lib/run.js'
import { realArms } from './arms.js'
import { realScenarios, realTargets } from './scenarios.js'

await runBench({
  command: 'bench:servers',
  description: 'Measures the servers of examples/ against real ones, and against the same on Node.',
  arms: realArms,
  scenarios: realScenarios,
  quickArms: realArms.map(({ name }) => name),
  targets: realTargets,
  axes: false,
  // As long as they are kept, they are as warm as servers are.
  freshProcesses: false,
  firstWarmup: { quick: 0.8, full: 3 },
})

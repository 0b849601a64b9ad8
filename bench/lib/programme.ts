/** What a program of the benchmarks measures: which servers, under which loads, held against which targets. */
import { arms, type Arm } from './arms.js'
import { quickArms, scenarios, type Scenario } from './scenarios.js'
import { echoTargets, type RunTarget } from './targets.js'

export interface Programme {
  /** What `npm run` calls it. */
  readonly command: string
  readonly description: string
  readonly arms: readonly Arm[]
  readonly scenarios: readonly Scenario[]
  /** Which arms a quick run measures. */
  readonly quickArms: readonly string[]
  readonly targets: readonly RunTarget[]
  /** The field's axes, and the programs inside the VM, belong to it. */
  readonly axes: boolean
  /** A full run starts a new server process for each round. */
  readonly freshProcesses: boolean
  /** Seconds of warm-up of a server that is kept, in its first round. */
  readonly firstWarmup?: { readonly quick: number, readonly full: number }
}

export const peers: Programme = {
  command: 'bench',
  description: 'Measures the echo and chat servers against their peers, and routing inside the VM.',
  arms,
  scenarios,
  quickArms,
  targets: echoTargets,
  axes: true,
  freshProcesses: true,
}

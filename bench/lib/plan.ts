/**
 * What a run does, in which order, and how long that should take: full in 20 minutes, quick in two.
 */
import { selectArms, type Arm } from './arms.js'
import { choosePinning, type Pinning } from './machine.js'
import { MICRO, type BenchOptions } from './options.js'
import { scenarioSeconds, type Plan } from './rounds.js'
import { peers as peersProgramme, type Programme } from './programme.js'
import { obstacle, selectScenarios, type Scenario } from './scenarios.js'
import { selectSweeps, SERIES, type SweepRun } from './series.js'

const MICRO_SECONDS = { quick: 40, full: 200 }

/** A scenario with its arms, or why it is left out on this machine. */
export interface ScenarioStep {
  readonly scenario: Scenario
  readonly arms: readonly Arm[]
  readonly seconds: number
  readonly obstacle: string | undefined
}

export interface Agenda {
  readonly plan: Plan
  readonly scenarios: readonly ScenarioStep[]
  readonly sweeps: readonly SweepRun[]
  /** Seconds; 0: not asked for. */
  readonly microSeconds: number
  /** Of all together. */
  readonly seconds: number
}

function planOf({ quick, rounds }: BenchOptions, pinning: Pinning, programme: Programme): Plan {
  const { freshProcesses, firstWarmup } = programme
  const common = { pinning, ...(firstWarmup !== undefined && { firstWarmup: firstWarmup[quick ? 'quick' : 'full'] }) }
  return quick
    ? {
        quick,
        rounds: rounds ?? 2,
        times: { warmup: 0.2, duration: 0.35 },
        freshProcesses: false,
        ...common,
      }
    : {
        quick,
        rounds: rounds ?? 5,
        times: { warmup: 0.4, duration: 0.9 },
        freshProcesses,
        ...common,
      }
}

function stepOf(scenario: Scenario, options: BenchOptions, plan: Plan, programme: Programme): ScenarioStep {
  const usual = scenario.arms.filter((arm) => !options.quick || programme.quickArms.includes(arm))
  const arms = selectArms(usual, scenario.service, options.peers, programme.arms)
  const why = obstacle(scenario)
  const measured = arms.filter(({ never }) => never !== true)
  const seconds = why === undefined ? scenarioSeconds(scenario, measured.length, plan) : 0
  return { scenario, arms, seconds, obstacle: why }
}

export function agendaOf(
  options: BenchOptions, pinning: Pinning = choosePinning(), programme: Programme = peersProgramme,
): Agenda {
  const { only, quick, peers } = options
  const plan = planOf(options, pinning, programme)
  const steps = selectScenarios(programme.scenarios, only, quick)
    .map((scenario) => stepOf(scenario, options, plan, programme))
  const scenarios = steps.filter(({ arms }) => arms.length > 0)
  // Without names, the quick run has no time for them.
  const sweeps = programme.axes ? selectSweeps(only ?? (quick ? [] : [SERIES]), peers, plan) : []
  const withMicro = programme.axes && (only === undefined || only.includes(MICRO))
  const microSeconds = withMicro ? MICRO_SECONDS[quick ? 'quick' : 'full'] : 0
  const seconds = [...scenarios, ...sweeps].reduce((sum, step) => sum + step.seconds, microSeconds)
  return { plan, scenarios, sweeps, microSeconds, seconds }
}

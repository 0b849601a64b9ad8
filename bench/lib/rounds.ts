/**
 * Measures one scenario: every arm in every round, in rotating order, checked before it is timed.
 *
 * An arm that can't be measured keeps the reason and is left out from there on; the others go on.
 */
import type { Arm } from './arms.js'
import { startArm } from './launch.js'
import { runLoad, type Times } from './load.js'
import type { Pinning } from './machine.js'
import { figuresOf, histogramOf, noiseOfArms, type Sample } from './metrics.js'
import type { Progress } from './progress.js'
import type { ArmReport, Method, ScenarioReport } from './result.js'
import { correctnessChecks, type Scenario } from './scenarios.js'
import { Skipped, type Server } from './server.js'
import { rotation } from './stats.js'

export interface Plan extends Method {
  readonly pinning: Pinning
}

/** Seconds besides warm-up and window: the check, the start of processes. */
const OVERHEAD_KEPT = 0.15
const OVERHEAD_START = 0.45
const CHECK_TIMES: Times = { warmup: 0, duration: 0.05 }
/** A window for loads that end by themselves, and for how long a fleet is held. */
const FIXED_WORK_DURATION = 0.3

/** One arm's server, which may outlive a round, and what was measured of it. */
class Stage {
  #server: Server | undefined
  readonly #samples: Sample[] = []
  #version: string | undefined
  #failure: string | undefined
  #skipped: string | undefined

  constructor(
    readonly arm: Arm,
    private readonly scenario: Scenario,
    private readonly plan: Plan,
  ) {}

  get over(): boolean {
    return this.#failure !== undefined || this.#skipped !== undefined
  }

  async measure(round: number): Promise<void> {
    try {
      await this.#measure(round)
    } catch (error) {
      if (error instanceof Skipped) this.#skipped = error.message
      else this.#failure = messageOf(error)
      await this.close()
    }
  }

  async close(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    await server?.stop()
  }

  report(): ArmReport {
    const { name, title, kind, twinOf } = this.arm
    return {
      name,
      title,
      kind,
      ...(twinOf !== undefined && { twinOf }),
      ...(this.#version !== undefined && { version: this.#version }),
      ...(this.#skipped !== undefined && { skipped: this.#skipped }),
      ...(this.#failure !== undefined && { failure: this.#failure }),
      figures: figuresOf(this.#samples, this.scenario.perConnection === true),
      histogram: histogramOf(this.#samples),
    }
  }

  async #measure(round: number): Promise<void> {
    const isNew = this.#server === undefined
    const server = (this.#server ??= await this.#startChecked())
    this.#version = server.version
    const { scenario, plan } = this
    const { seconds, warmup = 0 } = scenario
    const times = seconds === undefined ? windowOf(scenario, plan) : { warmup, duration: FIXED_WORK_DURATION }
    const { firstWarmup = 0, pinning } = plan
    const kept = isNew ? { ...times, warmup: Math.max(times.warmup, firstWarmup) } : times
    const load = await runLoad(server, pinning.client, scenario.load, kept)
    if (load.messages === 0) throw new Error('no message came back in the timed window')
    if (load.unfinished > 0) throw new Error(`${load.unfinished} messages without an answer`)
    this.#samples.push({ round, load })
    if (plan.freshProcesses) await this.close()
  }

  async #startChecked(): Promise<Server> {
    const { service } = this.scenario
    const { pinning } = this.plan
    const server = await startArm(this.arm, service, pinning)
    try {
      for (const check of correctnessChecks[service]) {
        await runLoad(server, pinning.client, check, CHECK_TIMES)
      }
    } catch (error) {
      await server.stop()
      throw new Error(`wrong answer before timing: ${messageOf(error)}`, { cause: error })
    }
    return server
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export function roundsOf(scenario: Scenario, plan: Method): number {
  return Math.min(plan.rounds, scenario.roundsMax ?? plan.rounds)
}

/** Warm-up and timed window of a scenario that is no fixed amount of work. */
function windowOf({ warmup = 0 }: Scenario, { times }: Method): Times {
  return { ...times, warmup: Math.max(times.warmup, warmup) }
}

/** Planned seconds of one arm's turn in one round. */
function turnSeconds(scenario: Scenario, plan: Method): number {
  const { warmup, duration } = windowOf(scenario, plan)
  const quickly = plan.quick && scenario.quickLoad !== undefined ? 0.3 : 1
  const measured = (scenario.seconds ?? warmup + duration) * quickly
  return measured + OVERHEAD_KEPT + (plan.freshProcesses ? OVERHEAD_START : 0)
}

/** Planned seconds of the whole scenario. */
export function scenarioSeconds(scenario: Scenario, armCount: number, plan: Method): number {
  const starts = plan.freshProcesses ? 0 : OVERHEAD_START + (plan.firstWarmup ?? 0)
  return armCount * (roundsOf(scenario, plan) * turnSeconds(scenario, plan) + starts)
}

export async function measureScenario(
  scenario: Scenario,
  arms: readonly Arm[],
  plan: Plan,
  progress: Progress,
): Promise<ScenarioReport> {
  const stages = arms.map((arm) => new Stage(arm, scenario, plan))
  const rounds = roundsOf(scenario, plan)
  const step = scenarioSeconds(scenario, arms.length, plan) / (arms.length * rounds)
  try {
    for (let round = 0; round < rounds; round += 1) {
      for (const index of rotation(stages.length, round)) {
        const stage = stages[index]
        progress.show(scenario.title, `${stage.arm.title}, round ${round + 1} of ${rounds}`)
        if (!stage.over) await stage.measure(round)
        progress.advance(step)
      }
    }
  } finally {
    for (const stage of stages) await stage.close()
  }
  const { name, group, title, unit, load } = scenario
  const reports = stages.map((stage) => stage.report())
  return { name, group, title, unit, load, arms: reports, noise: noiseOfArms(reports) }
}

/**
 * Measures one scenario: every arm in every round, in rotating order, checked before it is timed.
 *
 * An arm that can't be measured keeps the reason and is left out from there on; the others go on.
 */
import { missingFiles, type Arm } from './arms.js'
import { runLoad, type LoadResult, type Times } from './load.js'
import type { Pinning } from './machine.js'
import type { Progress } from './progress.js'
import { correctnessChecks, type Scenario } from './scenarios.js'
import { startServer, type Server } from './server.js'
import { rotation } from './stats.js'

export interface Plan {
  readonly rounds: number
  readonly times: Times
  /** A new server process for each round, so that luck in a process's layout averages out. */
  readonly freshProcesses: boolean
  readonly pinning: Pinning
}

export interface Sample extends LoadResult {
  readonly round: number
}

export interface ArmResult {
  readonly name: string
  readonly title: string
  readonly samples: Sample[]
  failure?: string
}

export interface ScenarioResult {
  readonly name: string
  readonly title: string
  readonly arms: ArmResult[]
}

/** Seconds besides warm-up and window: the check, the start of processes. */
export const OVERHEAD_KEPT = 0.15
export const OVERHEAD_FRESH = 0.6
const CHECK_TIMES: Times = { warmup: 0, duration: 0.05 }

/** One arm's server, which may outlive a round. */
class Stage {
  #server: Server | undefined
  constructor(
    readonly arm: Arm,
    readonly result: ArmResult,
    private readonly plan: Plan,
  ) {}

  async measure(scenario: Scenario, round: number): Promise<void> {
    this.#server ??= await this.#startChecked()
    const { client } = this.plan.pinning
    const load = await runLoad(this.#server, client, scenario.load, this.plan.times)
    if (load.messages === 0) throw new Error('no message came back in the timed window')
    if (load.unfinished > 0) throw new Error(`${load.unfinished} messages without an answer`)
    this.result.samples.push({ round, ...load })
    if (this.plan.freshProcesses) await this.close()
  }

  async close(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    await server?.stop()
  }

  async #startChecked(): Promise<Server> {
    const missing = missingFiles(this.arm)
    if (missing.length > 0) throw new Error(`missing: ${missing.join(', ')}`)
    const server = await startServer(this.arm, this.plan.pinning.server)
    try {
      for (const check of correctnessChecks) {
        await runLoad(server, this.plan.pinning.client, check, CHECK_TIMES)
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

/** Planned seconds of one arm's turn in one round. */
export function turnSeconds(plan: Plan): number {
  const overhead = plan.freshProcesses ? OVERHEAD_FRESH : OVERHEAD_KEPT
  return plan.times.warmup + plan.times.duration + overhead
}

export async function measureScenario(
  scenario: Scenario,
  arms: readonly Arm[],
  plan: Plan,
  progress: Progress,
): Promise<ScenarioResult> {
  const stages = arms.map((arm) => {
    const result: ArmResult = { name: arm.name, title: arm.title, samples: [] }
    return new Stage(arm, result, plan)
  })
  try {
    for (let round = 0; round < plan.rounds; round += 1) {
      for (const index of rotation(stages.length, round)) {
        const stage = stages[index]
        progress.show(scenario.title, `${stage.arm.title}, round ${round + 1} of ${plan.rounds}`)
        if (stage.result.failure === undefined) {
          await stage.measure(scenario, round).catch(async (error: unknown) => {
            stage.result.failure = messageOf(error)
            await stage.close()
          })
        }
        progress.advance(turnSeconds(plan))
      }
    }
  } finally {
    for (const stage of stages) await stage.close()
  }
  const { name, title } = scenario
  return { name, title, arms: stages.map((stage) => stage.result) }
}

/**
 * Runs scenarios: processes with labelled endpoints that print, steps, and the comparison of the trace
 * with the golden one.
 *
 * A step is a promise that a process waits for, so that waiting takes no endpoint and no message: nothing
 * of it can be seen in the trace. Every scenario is run with both ways of writing endpoints.
 */
import { onLog } from './life-cycle.js'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  addEndpoint, endpoint, groundVm, nestedVm, role, spawn, transition, yieldTurn,
  type Action, type ActionTree, type EndpointEvent, type GroundVm, type HandlerResult, type Interest,
  type Orientation, type Pid, type Role,
} from 'marketplace-native'
import { Notation } from './notation.js'
import { compareTraces, type Order, type Orders } from './orders.js'

const GOLDEN = new URL('../../../test/conformance/golden/', import.meta.url)

/** Milliseconds after which a trace is not going to get any longer. */
const PATIENCE = 10_000

/** How endpoints are written: with `endpoint.*` and a handler per event, or `addEndpoint` and one for all. */
export const STYLES = ['comfortable', 'plain'] as const
export type Style = (typeof STYLES)[number]

type Kind = EndpointEvent['type']

/** What endpoints print whose scenario doesn't show presence, or shows messages only. */
export const NO_PRESENCE: readonly Kind[] = ['absence', 'message']
export const MESSAGES: readonly Kind[] = ['message']
export const SILENT: readonly Kind[] = []

/** What a labelled endpoint does besides printing. `text` is the topic or body as the trace shows it. */
export interface EndpointSpec<S> {
  /** Default: the label. */
  readonly name?: unknown
  readonly interest?: Interest
  /** Events that are printed. Default: all. */
  readonly prints?: readonly Kind[]
  /** Whether message lines show the event's role; in the plain style only, which knows it. */
  readonly withRole?: boolean
  readonly onPresence?: (text: string, state: S, topic: unknown) => HandlerResult<S>
  readonly onAbsence?: (text: string, state: S, topic: unknown, reason: unknown) => HandlerResult<S>
  readonly onMessage?: (text: string, state: S, body: unknown) => HandlerResult<S>
}

/** What a process does at each step. */
export type Steps = Readonly<Record<number, () => ActionTree>>

/** The place where one run of a scenario happens. */
export class Stage {
  readonly lines: string[] = []
  readonly notation = new Notation()
  /** Errors that were printed as reasons. */
  readonly errors: Error[] = []
  readonly pids = new Map<string, Pid>()
  readonly style: Style
  stepCount = 0
  /** Whether the scenario is over: what comes now is not its trace. */
  closed = false
  private readonly steps = new Map<number, { readonly reached: Promise<void>; readonly reach: () => void }>()

  constructor(style: Style) {
    this.style = style
  }

  print(line: string): void {
    if (!this.closed) this.lines.push(line)
  }

  show(value: unknown): string {
    return this.notation.show(value)
  }

  /** A process; its endpoints and other first actions, and what it does when a step comes. */
  process<S>(name: string, start: ActionTree, steps: Steps = {}, state?: S): Action {
    const numbers = Object.keys(steps).map(Number)
    const waits = numbers.map((n) => {
      const { reached } = this.step(n)
      return yieldTurn(() => reached.then(() => steps[n]?.()))
    })
    return spawn(() => transition(state, start, waits), { name, parent: (pid) => this.named(name, pid) })
  }

  /** A nested VM whose first process performs these actions. */
  vm(name: string, inside: ActionTree): Action {
    return nestedVm(() => inside, { name, parent: (pid) => this.named(name, pid) })
  }

  /** The pid of a process that was made by `process` or `vm`. */
  pid(name: string): Pid {
    const pid = this.pids.get(name)
    if (pid === undefined) throw new Error(`no process ${name}`)
    return pid
  }

  subscriber<S>(label: string, topic: unknown, spec: EndpointSpec<S> = {}): Action {
    return this.endpoint('subscriber', label, topic, spec)
  }

  publisher<S>(label: string, topic: unknown, spec: EndpointSpec<S> = {}): Action {
    return this.endpoint('publisher', label, topic, spec)
  }

  step(n: number): { readonly reached: Promise<void>; readonly reach: () => void } {
    let step = this.steps.get(n)
    if (step === undefined) {
      let reach = (): void => undefined
      const reached = new Promise<void>((resolve) => (reach = resolve))
      this.steps.set(n, (step = { reached, reach }))
      this.stepCount = Math.max(this.stepCount, n)
    }
    return step
  }

  private named(name: string, pid: Pid): void {
    this.pids.set(name, pid)
  }

  private endpoint<S>(
    orientation: Orientation, label: string, topic: unknown, spec: EndpointSpec<S>,
  ): Action {
    const name = 'name' in spec ? spec.name : label
    const { interest } = spec
    if (this.style === 'plain' || spec.withRole === true) {
      return addEndpoint(name, role(orientation, topic, interest), (event, state: S) =>
        this.hear(label, spec, event, state),
      )
    }
    return endpoint[orientation](topic, {
      name,
      interest,
      onPresence: (_topic, state: S, peer) => this.hear(label, spec, { type: 'presence', role: peer }, state),
      onAbsence: (_topic, state: S, reason, peer) =>
        this.hear(label, spec, { type: 'absence', role: peer, reason }, state),
      onMessage: (body, state: S) =>
        this.hear(label, spec, { type: 'message', role: role('publisher', body), body }, state),
    })
  }

  private hear<S>(label: string, spec: EndpointSpec<S>, event: EndpointEvent, state: S): HandlerResult<S> {
    const { prints = ['presence', 'absence', 'message'] } = spec
    const topic = this.show(event.role.topic)
    if (prints.includes(event.type)) this.print(`${label}: ${this.describe(event, spec.withRole === true)}`)
    if (event.type === 'presence') return spec.onPresence?.(topic, state, event.role.topic)
    if (event.type === 'absence') return spec.onAbsence?.(topic, state, event.role.topic, event.reason)
    return spec.onMessage?.(topic, state, event.body)
  }

  private describe(event: EndpointEvent, withRole: boolean): string {
    const described = (r: Role): string => `${r.orientation} ${r.interest} ${this.show(r.topic)}`
    if (event.type === 'presence') return `presence of ${described(event.role)}`
    if (event.type === 'message') {
      return `message ${this.show(event.body)}${withRole ? ` with role ${described(event.role)}` : ''}`
    }
    if (event.reason instanceof Error) this.errors.push(event.reason)
    return `absence of ${described(event.role)} because ${this.show(event.reason)}`
  }
}

export interface Scenario {
  /** What the first process of the ground VM does. */
  start(stage: Stage): ActionTree
  /** Which permutations of the golden lines are allowed. Default: none. */
  readonly orders?: Order | Orders
  /** Works the program from outside, steps included; called when the first processes have settled. */
  drive?(stage: Stage, ground: GroundVm): Promise<void>
  /** More checks, when the trace was right. */
  check?(t: Test, stage: Stage): void
  /** Life-cycle lines of these processes follow the trace; the test must import `life-cycle.js` first. */
  readonly logged?: readonly string[]
}

/** Waits until the VM has nothing more to do by itself. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** Runs a scenario once. @returns the stage with the trace in it */
export async function perform(scenario: Scenario, style: Style): Promise<Stage> {
  const stage = new Stage(style)
  const logged: string[] = []
  const stopLogging = onLog(({ message }) => logged.push(message))
  const ground = groundVm(() => scenario.start(stage))
  let ended = false
  const end = ground.then(
    () => 'ground VM returned',
    (error: unknown) => `VM-CRASH: ${error instanceof Error ? error.message : String(error)}`,
  )
  void end.then(() => (ended = true))
  await settled()
  for (let n = 1; scenario.drive === undefined && n <= stage.stepCount && !ended; n++) {
    stage.print(`-- step ${n}`)
    stage.step(n).reach()
    await settled()
  }
  await scenario.drive?.(stage, ground)
  if (!stage.closed) stage.print(await Promise.race([end, sleep(PATIENCE, 'END', { ref: false })]))
  stage.closed = true
  await ground.stop()
  stopLogging()
  for (const name of scenario.logged ?? []) stage.lines.push(...lifeCycleOf(name, stage.pid(name), logged))
  return stage
}

function lifeCycleOf(name: string, pid: Pid, logged: readonly string[]): string[] {
  const prefix = `process ${pid} (${name}) `
  const own = logged.filter((line) => line.startsWith(prefix))
  return own.map((line) => `LOG ${name} ${line.slice(prefix.length)}`)
}

/** The golden trace, and the variants that the original was also seen to print. */
export function golden(name: string): string[][] {
  const text = readFileSync(new URL(`${name}.txt`, GOLDEN), 'utf8')
  return text.trimEnd().split('\n=== also seen\n').map((trace) => trace.split('\n'))
}

/** Fails unless the trace is a permitted permutation of the golden one. */
export function checkTrace(
  t: Test,
  name: string,
  actual: readonly string[],
  orders: Scenario['orders'],
): boolean {
  const [expected = [], ...alsoSeen] = golden(name)
  for (const [i, variant] of alsoSeen.entries()) {
    t.equal(compareTraces(expected, variant, orders), undefined, `also seen, ${i + 1}: permitted`)
  }
  const difference = compareTraces(expected, actual, orders)
  if (difference === undefined) return t.pass('the trace is permitted')
  return t.fail(difference, { expected, actual })
}

/** Registers the test of a scenario; `name` is that of the golden trace. */
export function scenario(name: string, scenario: Scenario): void {
  for (const style of STYLES) {
    void t.test(`${name}, ${style}`, async (t) => {
      const stage = await perform(scenario, style)
      if (checkTrace(t, name, stage.lines, scenario.orders)) scenario.check?.(t, stage)
    })
  }
}

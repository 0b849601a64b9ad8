/** Programs on the naive VM. */
import { fill, showTerm } from './naive-topic.js'
import { COUNTED, type Counted, type Event, type Handlers, type Vm, type World } from './naive-state.js'
import { isIdle, runNaive } from './naive-vm.js'
import { type Api, type Heard, Run } from './interpret.js'
import { type EventKind, type Program, rank, type Term } from './program.js'

const naive: Api = {
  value: (term, here) => fill(term, here as Term),
  show: (value) => showTerm(value as Term),
  send: (body, orientation) => ({ kind: 'send', body, orientation }),
  add: (name, orientation, topic, interest, listener, kinds) => {
    const handler = (event: Event, state: unknown): unknown => listener(heard(event, kinds === 'all'), state)
    const handlers: Handlers = Object.fromEntries(
      (kinds === 'all' ? ALL : kinds).map((kind) => [kind, handler]),
    )
    return { kind: 'add', name, role: { orientation, topic, interest }, handlers }
  },
  remove: (name, reason) => ({ kind: 'delete', name, reason }),
  spawn: (boot, parent, nested) => ({ kind: 'spawn', boot, parent, nested, path: [] }),
  quit: (pid, reason) => ({ kind: 'quit', pid, reason }),
  yield: (run) => ({ kind: 'yield', run, path: [] }),
  meta: (action) => ({ kind: 'meta', action }),
  transition: (state, actions) => ({ kind: 'transition', state, actions }),
}

const ALL: readonly EventKind[] = ['presence', 'absence', 'message']

/** Handlers of one kind of event get a message's body, but not its role. */
function heard({ type, role: { orientation, interest, topic }, reason }: Event, single: boolean): Heard {
  return type === 'message' && !single ? { type, topic } : { type, orientation, interest, topic, reason }
}

export interface NaiveResult {
  readonly trace: readonly string[]
  /** Pids, from the outside in, of the processes that are left but for those to be collected. */
  readonly living: readonly string[]
  readonly counts: Readonly<Record<Counted, number>>
}

export function runOnNaive(program: Program): NaiveResult {
  const run = new Run(program, naive)
  const world: World = {
    order: (serial) => rank(program.seed, serial),
    serials: 0,
    ids: 0,
    counts: Object.fromEntries(COUNTED.map((what) => [what, 0])) as Record<Counted, number>,
  }
  const vm = runNaive(world, run.boot)
  return { trace: run.trace, living: living(vm, ''), counts: world.counts }
}

function living(vm: Vm, path: string): string[] {
  return vm.processes.filter((process) => !process.dead && !isIdle(vm, process)).flatMap(({ pid, inner }) => {
    const inside = inner === undefined ? [] : living(inner, `${path}${pid}.`)
    return [`${path}${pid}`, ...inside]
  })
}

/**
 * Turns a program into boots and handlers for either VM, and writes the trace. What a VM's values and
 * actions look like is the business of its `Api`.
 */
import {
  ABSENT, crowdTopic, DEPTH_MAX, endpointOf, message, NOTHING, showError, TRACE_MAX,
  type ActionSpec, type EventKind, type Group, type HandlersSpec, type Interest, type MetaSpec,
  type Orientation, type Program, type Reaction, type Script, type SendSpec, type SpawnSpec, type Term,
} from './program.js'

/** An event as a handler gets it. */
export interface Heard {
  readonly type: EventKind
  /** The peer's, refined; in a message event the action's orientation. */
  readonly orientation?: Orientation
  readonly interest?: Interest
  readonly topic: unknown
  readonly reason?: unknown
}

export type Listener = (heard: Heard, state: unknown) => unknown

/** How programs are written for one of the VMs. */
export interface Api {
  value(term: Term, here: unknown): unknown
  show(value: unknown): string
  send(body: unknown, orientation: Orientation): unknown
  /** `kinds`: the events that there is a handler for, or one handler for all. */
  add(
    name: unknown, orientation: Orientation, topic: unknown, interest: Interest,
    listener: Listener, kinds: readonly EventKind[] | 'all',
  ): unknown
  remove(name: unknown, reason: unknown): unknown
  spawn(
    boot: () => unknown, parent: ((pid: number, state: unknown) => unknown) | undefined, nested: boolean,
  ): unknown
  quit(pid: number | undefined, reason: unknown): unknown
  yield(run: (state: unknown) => unknown): unknown
  meta(action: unknown): unknown
  transition(state: unknown, actions: unknown): unknown
}

/** A process as its closures know it. */
interface Self {
  readonly id: number
  readonly depth: number
  /** Topic or body of the event at hand. */
  readonly here: unknown
}

/** Longer topics aren't sent on, or they would double with each message. */
const HERE_MAX = 120

const KINDS: readonly EventKind[] = ['presence', 'absence', 'message']

/** One run of a program on one VM. */
export class Run {
  readonly trace: string[] = []
  private readonly program: Program
  private readonly api: Api
  private fuel: number
  private processes = 0
  private listeners = 0

  constructor(program: Program, api: Api) {
    this.program = program
    this.api = api
    this.fuel = program.fuel
  }

  /** The first boot of the ground VM: starts the processes that the program begins with. */
  readonly boot = (): unknown => {
    const self = this.newborn(0)
    const told = (pid: number, state: unknown): void => this.print(self, `child ${pid}`, state)
    return this.program.start.map((group) => {
      let start = (): unknown => [
        group.crowd === 0 ? undefined : this.api.spawn(this.crowd(group), told, false),
        ...group.processes.map((actions) => this.api.spawn(this.starter(actions, group.depth), told, false)),
      ]
      for (let i = 0; i < group.depth; i++) {
        const inside = start
        start = () => this.api.spawn(inside, told, true)
      }
      return start()
    })
  }

  private crowd({ depth, crowd, crowded, handlers }: Group): () => unknown {
    return () => {
      const self = this.newborn(depth)
      const [{ orientation, topic, interest }] = endpointOf(crowded, this.program.endpoints)
      return Array.from({ length: crowd }, (_same, i) => {
        const value = this.api.value(crowdTopic(topic, i), self.here)
        const listener = this.listener(`c${i}`, handlers, self)
        return this.api.add(`c${i}`, orientation, value, interest, listener, 'all')
      })
    }
  }

  private starter(actions: readonly ActionSpec[], depth: number): () => unknown {
    return () => {
      const self = this.newborn(depth)
      return actions.map((action) => this.action(action, self))
    }
  }

  private newborn(depth: number): Self {
    const self: Self = { id: this.processes++, depth, here: 0 }
    this.trace.push(`p${self.id} boots`)
    return self
  }

  private print(self: Self, what: string, state: unknown): void {
    this.trace.push(`p${self.id} ${String(state)}: ${what}`)
  }

  private react(reaction: Reaction, self: Self, state: unknown): unknown {
    const { scripts } = this.program
    if (reaction < 0) return undefined
    return this.perform(scripts[reaction % scripts.length], self, state)
  }

  private perform({ style, actions: specs }: Script, self: Self, state: unknown): unknown {
    if (style === 'throw') throw new Error(`p${self.id} fails`)
    if (style === 'stray') return 5
    const cost = specs.length
    if (this.fuel < cost || this.trace.length > TRACE_MAX) return undefined
    this.fuel -= cost
    const actions = specs.map((spec) => this.action(spec, self))
    if (style === 'transition') return this.api.transition(((state as number | undefined) ?? 0) + 1, actions)
    if (style === 'tree') return [null, [[actions.slice(0, 1)], false], undefined, [], actions.slice(1)]
    return style === 'bare' && actions.length === 1 ? actions[0] : actions
  }

  private action(spec: ActionSpec, self: Self, out = 0): unknown {
    const { api } = this
    const value = (term: Term): unknown => api.value(term, self.here)
    switch (spec.kind) {
      case 'send':
        return this.send(spec, self)
      case 'add': {
        const { endpoints } = this.program
        const [{ orientation, topic, interest }, name] = endpointOf(spec.endpoint, endpoints)
        const twisted = spec.twist === 0 ? topic : endpoints[spec.twist % endpoints.length].topic
        const label = `${api.show(value(name))}#${this.listeners++}${out === 0 ? '' : `^${out}`}`
        const listener = this.listener(label, spec.handlers, self)
        const { handlers } = spec
        const kinds = handlers.single ? 'all' : KINDS.filter((kind) => handlers[kind] !== ABSENT)
        return api.add(value(name), orientation, value(twisted), interest, listener, kinds)
      }
      case 'delete': {
        const [, name] = endpointOf(spec.endpoint, this.program.endpoints)
        return api.remove(value(name), value(spec.reason))
      }
      case 'spawn':
        return this.spawn(spec, self, out)
      case 'quit':
        return api.quit(spec.pid, value(spec.reason))
      case 'yield':
        return api.yield((state) => {
          this.print(self, 'goes on', state)
          return this.react(spec.script, self, state)
        })
      case 'meta':
        return this.meta(spec, self, out)
    }
  }

  private send(spec: SendSpec, self: Self): unknown {
    const [body, orientation] = message(spec, this.program.endpoints)
    return this.api.send(this.api.value(body, self.here), orientation)
  }

  private meta(spec: MetaSpec, self: Self, out: number): unknown {
    const levels = spec.reckless ? spec.levels : Math.min(spec.levels, self.depth - out)
    let action = this.action(spec.action, self, out + Math.max(levels, 0))
    for (let i = 0; i < levels; i++) action = this.api.meta(action)
    return action
  }

  private spawn(spec: SpawnSpec, self: Self, out: number): unknown {
    const depth = self.depth - out
    const nested = spec.nested && depth < DEPTH_MAX
    const boot = (): unknown => {
      const born = { ...this.newborn(nested ? depth + 1 : depth), here: self.here }
      return this.react(spec.boot, born, undefined)
    }
    if (spec.parent === ABSENT) return this.api.spawn(boot, undefined, nested)
    const parent = (pid: number, state: unknown): unknown => {
      this.print(self, `child ${pid}`, state)
      return this.react(spec.parent, self, state)
    }
    return this.api.spawn(boot, parent, nested)
  }

  private listener(label: string, handlers: HandlersSpec, self: Self): Listener {
    return (heard, state) => {
      this.print(self, `${label} ${this.describe(heard)}`, state)
      const reaction = handlers[heard.type]
      const here = this.api.show(heard.topic).length > HERE_MAX ? 0 : heard.topic
      return this.react(reaction === ABSENT ? NOTHING : reaction, { ...self, here }, state)
    }
  }

  private describe({ type, orientation, interest, topic, reason }: Heard): string {
    const words: string[] = [type]
    if (orientation !== undefined) words.push(orientation)
    if (interest !== undefined) words.push(interest)
    words.push(this.api.show(topic))
    if (type === 'absence') {
      words.push('because', reason instanceof Error ? showError(reason) : this.api.show(reason))
    }
    return words.join(' ')
  }
}

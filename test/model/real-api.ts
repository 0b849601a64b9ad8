/** Programs on the real VM, through its public API. */
import {
  _, addEndpoint, atMetaLevel, defineRecord, deleteEndpoint, groundVm, kill, nestedVm, quit, role,
  sendMessage, spawn, transition, wild, Wildcard, yieldTurn,
  type Action, type EndpointEvent, type HandlerResult, type Handlers, type Role,
} from '../../src/index.js'
import { defineInstancedRecord, withInstance } from '../../src/topic/index.js'
import { type Api, type Listener, Run } from './interpret.js'
import { impose, living } from './imposed-order.js'
import { type EventKind, NAMED, type Program, type Term } from './program.js'

type Make = (...parts: readonly unknown[]) => object

const named = defineInstancedRecord(NAMED, ['a', 'b'])
const constructors = new Map<string, Make>()

function constructorOf(label: string, arity: number): Make {
  const key = `${label}/${arity}`
  let make = constructors.get(key)
  if (make === undefined) {
    make = defineRecord(label, Array.from({ length: arity }, (_part, i) => `f${i}`))
    constructors.set(key, make)
  }
  return make
}

function value(term: Term, here: unknown): unknown {
  if (typeof term !== 'object' || term === null) return term
  if (Array.isArray(term)) return term.map((part: Term) => value(part, here))
  if ('any' in term) return _
  if ('here' in term) return here
  if ('wild' in term) return wild(term.wild)
  if ('bytes' in term) return Uint8Array.from(term.bytes)
  const { record, parts, instance } = term as Exclude<typeof term, readonly Term[]>
  if (record === NAMED) {
    const [a, b] = parts
    const plain = named(value(a, here), value(b, here))
    return instance === undefined ? plain : withInstance(plain, instance)
  }
  return constructorOf(record, parts.length)(...parts.map((part) => value(part, here)))
}

function show(shown: unknown): string {
  if (typeof shown === 'string') return JSON.stringify(shown)
  if (typeof shown !== 'object' || shown === null) return String(shown)
  if (Array.isArray(shown)) return `(${shown.map(show).join(' ')})`
  if (shown === _) return '_'
  if (shown instanceof Wildcard) return `?${String(shown.name)}`
  if (shown instanceof Uint8Array) return `#${shown.join('.')}`
  const { record, ...fields } = (shown as { toJSON(): Record<string, unknown> }).toJSON()
  return `${String(record)}{${Object.values(fields).map(show).join(' ')}}`
}

type Result = HandlerResult<unknown>

/** One function for all events. */
function single(listener: Listener): (event: EndpointEvent, state: unknown) => Result {
  return (event, state) => {
    const { orientation, interest, topic } = event.role
    const reason = event.type === 'absence' ? event.reason : undefined
    return listener({ type: event.type, orientation, interest, topic, reason }, state) as Result
  }
}

/** A function for each event. */
function byEvent(listener: Listener, kinds: readonly EventKind[]): Handlers {
  return {
    ...(kinds.includes('presence') && {
      onPresence: (topic: unknown, state: unknown, { orientation, interest }: Role) =>
        listener({ type: 'presence', orientation, interest, topic }, state) as Result,
    }),
    ...(kinds.includes('absence') && {
      onAbsence: (topic: unknown, state: unknown, reason: unknown, { orientation, interest }: Role) =>
        listener({ type: 'absence', orientation, interest, topic, reason }, state) as Result,
    }),
    ...(kinds.includes('message') && {
      onMessage: (topic: unknown, state: unknown) => listener({ type: 'message', topic }, state) as Result,
    }),
  }
}

const real: Api = {
  value,
  show,
  send: (body, orientation) => sendMessage(body, orientation),
  add: (name, orientation, topic, interest, listener, kinds) => {
    const handlers = kinds === 'all' ? single(listener) : byEvent(listener, kinds)
    return addEndpoint(name, role(orientation, topic, interest), handlers)
  },
  remove: (name, reason) => deleteEndpoint(name, reason),
  spawn: (boot, parent, nested) =>
    (nested ? nestedVm : spawn)(() => boot() as Result, {
      parent: parent === undefined ? undefined : (pid, state) => parent(pid, state) as Result,
    }),
  quit: (pid, reason) => (pid === undefined ? quit(reason) : kill(pid, reason)),
  yield: (run) => yieldTurn((state) => run(state) as Result),
  meta: (action) => atMetaLevel(action as Action),
  transition: (state, actions) => transition(state, actions as Action[]),
}

/** Milliseconds after which a ground VM that has not ended is not going to. */
const PATIENCE = 5_000

export interface RealResult {
  readonly trace: readonly string[]
  /** Pids, from the outside in, of the processes that are left; unknown if there never was an endpoint. */
  readonly living: readonly string[] | undefined
}

export async function runOnReal(program: Program): Promise<RealResult> {
  const run = new Run(program, real)
  impose(program.seed)
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, PATIENCE, 'ground VM does not end')
  })
  const end = groundVm(() => run.boot() as Result).then(
    () => undefined,
    (error: unknown) => `ground VM fails: ${error instanceof Error ? (error.stack ?? '') : String(error)}`,
  )
  const wrong = await Promise.race([end, late])
  clearTimeout(timer)
  return { trace: wrong === undefined ? run.trace : [...run.trace, wrong], living: living() }
}

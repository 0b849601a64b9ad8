/**
 * Random programs as plain data, and what of a run is compared.
 *
 * A program is a pool of scripts: lists of actions that boots, continuations and handlers return. Scripts
 * name each other by number, so that programs may go on for ever; fuel ends them.
 */

/** A topic or message, as data. `here` stands for the topic or body of the event that is being handled. */
export type Term =
  | string
  | number
  | null
  | undefined
  | { readonly any: true }
  | { readonly here: true }
  | { readonly wild: string | number }
  | { readonly bytes: readonly number[] }
  /** With an instance, it is that one of the namesakes that records called NAMED may have. */
  | { readonly record: string; readonly parts: readonly Term[]; readonly instance?: number }
  | readonly Term[]

/** What records of the instanced kind are called; they have two parts. */
export const NAMED = 'named'

export type Orientation = 'publisher' | 'subscriber'
export type Interest = 'participant' | 'observer' | 'everything'
export type EventKind = 'presence' | 'absence' | 'message'

/** Number of a script; NOTHING: the event is only printed; ABSENT: there is no handler for it. */
export type Reaction = number
export const NOTHING = -1
export const ABSENT = -2

export interface HandlersSpec {
  /** One function for all events; then nothing is absent. */
  readonly single: boolean
  readonly presence: Reaction
  readonly absence: Reaction
  readonly message: Reaction
}

/** An endpoint that several actions add, so that some are added again. */
export interface EndpointSpec {
  /** Unless it is shared with other endpoints, its own. */
  readonly shared: Term
  readonly orientation: Orientation
  readonly interest: Interest
  readonly topic: Term
}

export interface SendSpec {
  readonly kind: 'send'
  readonly body: Term
  readonly orientation: Orientation
  /** Then it goes to this endpoint: its topic, with the body where there are wildcards. */
  readonly to: number | undefined
}

export interface AddSpec {
  readonly kind: 'add'
  readonly endpoint: number
  readonly handlers: HandlersSpec
  /** Unless 0: the topic is that of another endpoint of the program. */
  readonly twist: number
}

export interface SpawnSpec {
  readonly kind: 'spawn'
  readonly boot: number
  readonly parent: Reaction
  readonly nested: boolean
}

/** An action `levels` further out, or as many as there are unless it is reckless. */
export interface MetaSpec {
  readonly kind: 'meta'
  readonly levels: number
  readonly reckless: boolean
  readonly action: ActionSpec
}

export type ActionSpec =
  | SendSpec
  | AddSpec
  | { readonly kind: 'delete'; readonly endpoint: number; readonly reason: Term }
  | SpawnSpec
  | { readonly kind: 'quit'; readonly pid: number | undefined; readonly reason: Term }
  | { readonly kind: 'yield'; readonly script: number }
  | MetaSpec

/** How a script's actions are returned, or what it does instead. */
export type Style = 'list' | 'transition' | 'tree' | 'bare' | 'throw' | 'stray'

export interface Script {
  readonly style: Style
  readonly actions: readonly ActionSpec[]
}

/** First actions of some siblings. */
export interface Group {
  /** How many VMs inside of each other they are in. */
  readonly depth: number
  readonly processes: readonly (readonly ActionSpec[])[]
  /** How many endpoints one more process has, all with nearly the same topic. */
  readonly crowd: number
  readonly crowded: number
  readonly handlers: HandlersSpec
}

/** The topic of one of a crowd: another value where the first wildcard is. */
export function crowdTopic(topic: Term, i: number): Term {
  let done = false
  const walk = (term: Term): Term => {
    if (done || typeof term !== 'object' || term === null) return term
    if ('any' in term || 'wild' in term) {
      done = true
      return i % 5 === 4 ? 'a' : i % 5
    }
    if ('record' in term) return { ...term, parts: term.parts.map(walk) }
    return Array.isArray(term) ? term.map(walk) : term
  }
  return walk(topic)
}

export interface Program {
  /** Of the orders that are incidental. */
  readonly seed: number
  /** How many actions may be returned in all. */
  readonly fuel: number
  readonly endpoints: readonly EndpointSpec[]
  readonly scripts: readonly Script[]
  /** Processes that there are from the start. */
  readonly start: readonly Group[]
}

/** No nested VM is started further in. */
export const DEPTH_MAX = 3

/** Events after which nothing is returned any more, however much fuel is left. */
export const TRACE_MAX = 1500

/** The endpoint that an action is about, and its name. */
export function endpointOf(number: number, endpoints: readonly EndpointSpec[]): [EndpointSpec, Term] {
  const i = number % endpoints.length
  const spec = endpoints[i]
  return [spec, spec.shared ?? `e${i}`]
}

/** What is sent: a body, and the orientation of who sends it. */
export function message(spec: SendSpec, endpoints: readonly EndpointSpec[]): [Term, Orientation] {
  if (spec.to === undefined) return [spec.body, spec.orientation]
  const { topic, orientation } = endpoints[spec.to % endpoints.length]
  return [instance(topic, spec.body), orientation === 'publisher' ? 'subscriber' : 'publisher']
}

function instance(topic: Term, value: Term): Term {
  if (typeof topic !== 'object' || topic === null) return topic
  if ('any' in topic || 'wild' in topic) return value
  if ('record' in topic) return { ...topic, parts: topic.parts.map((part) => instance(part, value)) }
  return Array.isArray(topic) ? topic.map((part: Term) => instance(part, value)) : topic
}

/** The order of endpoints where any is right: by a hash of when they were installed. */
export function rank(seed: number, serial: number): number {
  let h = Math.imul(serial + 1, 0x9e3779b1) ^ seed
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** An error as a reason is printed: those of the VM by what they are about. */
export function showError(error: Error): string {
  if (error.message.startsWith('endpoint ') && error.message.includes(' is already a ')) return '<D1: role>'
  if (error.message.includes(' is impossible: ')) return '<D1: no meta-level>'
  if (/ must return actions/.test(error.message)) return '<stray value>'
  return `<exn: ${error.message}>`
}

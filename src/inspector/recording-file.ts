/**
 * Recordings as they stand in files, and how a replay has ended: what the command line has to know of both.
 *
 * Owns the form of recordings, and the reading of it.
 */
import { show } from '../support/errors.js'
import { onOneLine } from '../support/printable.js'
import type { Interest, Orientation } from '../vm/index.js'
import type { Recorded } from './recorded-values.js'

/** Number of the form; it changes when a reader of before would be misled. */
export const RECORDING_VERSION = 1
/** Which handler of an endpoint. */
type EventHandler = 'onPresence' | 'onAbsence' | 'onMessage'
/** What was called of a driver, or which event was heard. */
export type Call = EventHandler | 'boot' | 'yield' | 'guard'

/** An action of a driver's. */
export type RecordedAction =
  | { readonly do: 'send' | 'remote', readonly body: Recorded, readonly to: Orientation }
  | {
    readonly do: 'add', readonly name: Recorded, readonly orientation: Orientation, readonly interest: Interest
    readonly topic: Recorded, readonly handlers: readonly EventHandler[], readonly kind: object
  }
  | { readonly do: 'delete', readonly name: Recorded, readonly reason: Recorded }
  | { readonly do: 'quit', readonly pid?: number | undefined, readonly reason: Recorded, readonly failed: boolean }
  | { readonly do: 'yield' }
  | { readonly do: 'attempt', readonly action: RecordedAction }
  | { readonly do: 'outside', readonly levels: number, readonly action: RecordedAction }

/** What has happened next. `turn`: how many turns processes had had. `who`: the path of a process, and what it is. */
export type Step = { readonly turn: number } & (
  | { readonly step: 'born', readonly who: string }
  | { readonly step: 'heard', readonly who: string, readonly event: EventHandler, readonly about: Recorded
    readonly reason?: Recorded, readonly topic: string, state?: Recorded | undefined
    error?: Recorded | undefined }
  | { readonly step: 'called', readonly who: string, readonly call: Call, readonly about: Recorded
    readonly reason?: Recorded, readonly actions: readonly RecordedAction[], readonly error?: Recorded }
  | { readonly step: 'fired', readonly source: number, readonly name: string, readonly value?: Recorded }
  | { readonly step: 'settled', readonly who: string, readonly promise: number }
  | { readonly step: 'acted', readonly vm: string, readonly action: RecordedAction }
  | { readonly step: 'told', readonly who: string, readonly action: RecordedAction }
  | { readonly step: 'stopped', readonly reason: Recorded })

/** A recording as it stands in the file of a trace, under `recording`. */
export interface Recording {
  readonly version: number
  /** What was started: a file, its arguments, and Node's. */
  readonly program: { readonly file: string, readonly arguments: readonly string[], readonly node: readonly string[] }
  readonly steps: readonly Step[]
  /** Why it ends before the program did; undefined if it doesn't. */
  readonly ended: string | undefined
}

/** Under this name the program that replays says how it has ended: it may send messages of its own, too. */
export const OUTCOME = 'marketplace-native: the replay has ended'

/** How a replay has ended. */
export type Outcome =
  | { readonly is: 'equal', readonly steps: number, readonly turns: number, readonly ended: string | undefined }
  /** `turn`: after so many turns. `expected` is undefined where the recording has nothing more. */
  | { readonly is: 'different', readonly turn: number, readonly step: number, readonly expected: string
    readonly came: string }

/** In words. */
export function outcomeText(outcome: Outcome): string {
  if (outcome.is === 'equal') {
    const { steps, turns, ended } = outcome
    const end = ended === undefined ? '' : `\nthe recording ends there: ${ended}`
    return `nothing differs: ${steps} steps, ${turns} turns${end}`
  }
  const { turn, step, expected, came } = outcome
  // What strangers have sent, or a stranger's file says, is in these.
  const [wanted, got] = [onOneLine(expected), onOneLine(came)]
  return `it differs after turn ${turn} (step ${step})\n  expected: ${wanted}\n  came:     ${got}`
}

/** The recording in what a file has. @throws Error that says what is wrong with it */
export function recordingIn(content: unknown): Recording {
  const { version, recording } = (content ?? {}) as { version?: unknown, recording?: Partial<Recording> }
  if (version === undefined) throw new Error('it is no trace')
  if (recording === undefined) {
    throw new Error('it has no recording: the program has to be started with MARKETPLACE_RECORD')
  }
  if (recording.version !== RECORDING_VERSION) {
    throw new Error(`its recording has version ${show(recording.version)}; this program reads ${RECORDING_VERSION}`)
  }
  const { program, steps } = recording
  if (typeof program?.file !== 'string' || !Array.isArray(program.arguments) || !Array.isArray(program.node)) {
    throw new Error('it is damaged: it does not say what was recorded')
  }
  if (!Array.isArray(steps)) throw new Error('it is damaged: its recording has no steps')
  const wrong = steps.findIndex((step) => !isStep(step))
  if (wrong >= 0) throw new Error(`it is damaged: step ${wrong} of its recording is none`)
  return recording as Recording
}

const FIELDS: Readonly<Record<string, readonly (readonly [name: string, type: string])[]>> = {
  born: [['who', 'string']], heard: [['who', 'string'], ['event', 'string'], ['topic', 'string']],
  called: [['who', 'string'], ['call', 'string'], ['actions', 'list']],
  fired: [['source', 'number'], ['name', 'string']], settled: [['who', 'string'], ['promise', 'number']],
  acted: [['vm', 'string'], ['action', 'object']], told: [['who', 'string'], ['action', 'object']], stopped: [],
}

function isStep(value: unknown): value is Step {
  if (typeof value !== 'object' || value === null) return false
  const step = value as Record<string, unknown>
  const kind = step['step']
  if (typeof kind !== 'string' || !Object.hasOwn(FIELDS, kind) || !Number.isInteger(step['turn'])) return false
  return FIELDS[kind].every(([name, type]) => {
    const field = step[name]
    if (type === 'list') return Array.isArray(field)
    return typeof field === type && field !== null
  })
}

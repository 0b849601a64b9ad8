/**
 * How large a topic may be: the one place where the limits stand, and where they are changed.
 *
 * They bound what a stranger can make the VM do: what is put into an index, or compared with what is in one,
 * costs a few milliseconds at most. Who exceeds one gets an error, which ends the process that acted and nobody
 * else.
 */
import { checkOptions, integer } from '../support/checks.js'
import { RecordBase } from './record.js'
import { isCompound, part, size, type Compound } from './value.js'

/** How large topics may be, and what else is looked up by its parts, such as the names of endpoints. */
export interface TopicLimits {
  /** Arrays and records inside each other. Default 1,000. */
  readonly depth: number
  /** Parts of all arrays and records in it together; what stands in two places counts twice. Default 65,536. */
  readonly parts: number
  /** Bytes of all byte arrays and characters of all strings in it together. Default 4,194,304 (4 MiB). */
  readonly bytes: number
  /**
   * Forms that the topics of one constructor (arrays of one length, or records of one kind) may have at a time
   * among the publishers of a VM, and among its subscribers. A form is where a topic has wildcards, and which
   * constructors are around them. Default 4,096; a message is looked up once for each form.
   */
  readonly forms: number
}

/** What is in force in this thread. */
export let limits: TopicLimits = { depth: 1000, parts: 65_536, bytes: 4 * 1024 * 1024, forms: 4096 }

/** The highest that was in force: what has been let in has to be found again, whatever is in force by then. */
export let highest = limits

const checks = {
  depth: integer(1, 1_000_000, 'levels'),
  parts: integer(1, 100_000_000, 'parts'),
  bytes: integer(1, 256 * 1024 * 1024, 'bytes and characters'),
  forms: integer(1, 100_000_000, 'forms'),
}

const units: Readonly<Record<keyof TopicLimits, string>> = {
  depth: 'levels', parts: 'parts', bytes: 'bytes and characters', forms: 'forms of topics of one constructor',
}

/**
 * The limits of topics. They are those of all ground VMs in this thread.
 *
 * @param changes limits that are to be others from now on; what is in an index already stays there
 * @returns all limits, as they are now
 * @throws TypeError for a limit that there isn't, or that is no number; RangeError for one out of range
 */
export function topicLimits(changes: Partial<TopicLimits> = {}): TopicLimits {
  checkOptions('topicLimits', changes, checks)
  const { depth = limits.depth, parts = limits.parts, bytes = limits.bytes, forms = limits.forms } = changes
  limits = { depth, parts, bytes, forms }
  highest = {
    depth: Math.max(depth, highest.depth),
    parts: Math.max(parts, highest.parts),
    bytes: Math.max(bytes, highest.bytes),
    forms: Math.max(forms, highest.forms),
  }
  return { ...limits }
}

/**
 * The error for what exceeds a limit.
 *
 * @param value what came
 */
export function limitError(limit: keyof TopicLimits, value: unknown): RangeError {
  const message =
    limit !== 'forms' && isCyclic(value)
      ? `a topic can't contain itself; got ${outline(value)}`
      : `a topic can have at most ${limits[limit]} ${units[limit]} (topicLimits: ${limit}); ` +
        `more came, in ${outline(value)}`
  return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' })
}

/** What came, by its outermost constructor: it is too large to be looked into for an error's text. */
function outline(value: unknown): string {
  if (value instanceof RecordBase) return `a record ${value.$kind.label.slice(0, 60)} of ${size(value)} parts`
  if (Array.isArray(value)) return `an array of ${value.length} parts`
  if (value instanceof Uint8Array) return `${value.length} bytes`
  return typeof value === 'string' ? `a string of ${value.length} characters` : `a ${typeof value}`
}

/** Whether an array is found to be inside of itself, in as many steps as the limits allow a topic. */
function isCyclic(value: unknown): boolean {
  if (!isCompound(value)) return false
  const above = new Set<Compound>()
  const done = new Set<Compound>()
  const path = [{ compound: value, next: 0 }]
  above.add(value)
  let steps = limits.parts + limits.depth
  for (let here = path.at(-1); here !== undefined; here = path.at(-1)) {
    if (--steps < 0) return false
    const { compound } = here
    if (here.next >= size(compound)) {
      path.pop()
      above.delete(compound)
      done.add(compound)
      continue
    }
    const inner = part(compound, here.next++)
    if (!isCompound(inner) || done.has(inner)) continue
    if (above.has(inner)) return true
    above.add(inner)
    path.push({ compound: inner, next: 0 })
  }
  return false
}

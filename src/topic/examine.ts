/**
 * What a topic is before it is put anywhere: within the limits; linear or not; safe from later writes; and
 * without proxies, which would run code of its owner, and may fail, when others send.
 */
import { isProxy } from 'node:util/types'
import { show } from '../support/errors.js'
import { limitError, limits } from './limits.js'
import { RecordBase } from './record.js'
import { bytesIn } from './structural-key.js'
import { isCompound, isFlat, mapParts, part, rebuild, size, type Compound } from './value.js'
import { isFresh, Wildcard } from './wildcard.js'

/** What `examine` found out. */
export interface Examined {
  /** Whether no wildcard stands twice in it; `_` is a new one each time. */
  readonly linear: boolean
  /** Whether nothing in it can be written to: no array, and no bytes. */
  readonly fixed: boolean
}

const LINEAR_FIXED: Examined = { linear: true, fixed: true }
const LINEAR: Examined = { linear: true, fixed: false }
const FIXED: Examined = { linear: false, fixed: true }
const NEITHER: Examined = { linear: false, fixed: false }

/** Room for the compounds of a topic that are still to be walked, if there were no more than so many. */
let spare: (Compound | undefined)[] | undefined
const SPARE_MAX = 64

/**
 * Walks a topic once, level by level.
 *
 * @throws RangeError when it exceeds a limit; that includes one that contains itself
 * @throws TypeError when there is a proxy in it
 */
export function examine(topic: unknown): Examined {
  if (mayBeProxy(topic)) checkNoProxy(topic)
  if (!isCompound(topic)) {
    if (bytesIn(topic) > limits.bytes) throw limitError('bytes', topic)
    return topic instanceof Uint8Array ? LINEAR : LINEAR_FIXED
  }
  let linear = true
  let fixed = true
  let names: Set<string | number | symbol> | undefined
  const below = spare ?? []
  spare = undefined
  let found = 0
  let next = 0
  let levelEnd = 0
  let depth = 1
  let parts = 0
  let bytes = 0
  let compound: Compound = topic
  for (;;) {
    const n = size(compound)
    if ((parts += n) > limits.parts) throw limitError('parts', topic)
    fixed &&= compound instanceof RecordBase
    for (let i = 0; i < n; i++) {
      const inner = part(compound, i)
      if (typeof inner === 'number') continue
      if (mayBeProxy(inner)) checkNoProxy(inner)
      if (isCompound(inner)) {
        below[found++] = inner
        continue
      }
      if ((bytes += bytesIn(inner)) > limits.bytes) throw limitError('bytes', topic)
      if (inner instanceof Wildcard) {
        if (isFresh(inner)) continue
        names ??= new Set()
        if (names.has(inner.name)) linear = false
        else names.add(inner.name)
      } else if (inner instanceof Uint8Array) {
        fixed = false
      }
    }
    if (next === found) break
    if (next === levelEnd) {
      if (++depth > limits.depth) throw limitError('depth', topic)
      levelEnd = found
    }
    compound = below[next] as Compound
    below[next++] = undefined
  }
  if (found <= SPARE_MAX) spare = below
  if (linear) return fixed ? LINEAR_FIXED : LINEAR
  return fixed ? FIXED : NEITHER
}

function mayBeProxy(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

/**
 * To look at a value is to look at its prototypes, so these may be none either. Those of arrays don't
 * matter: they are copied.
 */
function checkNoProxy(value: object): void {
  let here: object | null = value
  do {
    if (isProxy(here)) throw new TypeError(`a topic can't have a proxy in it; got ${show(value)}`)
    if (here instanceof RecordBase || here instanceof Wildcard || Array.isArray(here)) return
    here = Object.getPrototypeOf(here) as object | null
  } while (here !== null && here !== Object.prototype)
}

/** Whether no wildcard stands twice in a topic. @throws RangeError when it exceeds a limit */
export function isLinear(topic: unknown): boolean {
  return examine(topic).linear
}

/**
 * A topic that no later write to its arrays or byte arrays can change. Records are taken as they are, unless
 * there is such a part in them.
 *
 * @param fixed whether it is known that there is nothing that can be written to
 * @throws RangeError when it exceeds a limit
 */
export function snapshot(topic: unknown, fixed = examine(topic).fixed): unknown {
  if (fixed) return topic
  // Mostly it is a record with short lists in it.
  if (topic instanceof RecordBase) return flatSnapshot(topic) ?? mapParts(topic, bytesCopied, never, frozenCopy)
  return isCompound(topic) ? mapParts(topic, bytesCopied, never, frozenCopy) : bytesCopied(topic)
}

/** A record that has, beside parts that can't be written to, lists of primitives; undefined for any other. */
function flatSnapshot(topic: RecordBase): unknown {
  const parts: unknown[] = []
  for (let i = 0, n = size(topic); i < n; i++) {
    const inner = part(topic, i)
    if (inner instanceof RecordBase || inner instanceof Uint8Array) return undefined
    if (!Array.isArray(inner)) parts.push(inner)
    else if (isFlat(inner)) parts.push(Object.freeze(plainCopy(inner)))
    else return undefined
  }
  return rebuild(topic, parts)
}

const never = (): boolean => false

function bytesCopied(leaf: unknown): unknown {
  return leaf instanceof Uint8Array ? new Uint8Array(leaf) : leaf
}

/** Runs nobody's code, whatever class the array is of. */
function plainCopy(array: readonly unknown[]): unknown[] {
  const copy: unknown[] = []
  for (let i = 0; i < array.length; i++) copy.push(array[i])
  return copy
}

/** Arrays are frozen, as handlers get to see them. */
function frozenCopy(of: Compound, parts: readonly unknown[] | undefined): unknown {
  if (of instanceof RecordBase) return parts === undefined ? of : rebuild(of, parts)
  return Object.freeze(parts ?? plainCopy(of))
}

/**
 * Structural keys: strings that two values share exactly when they are equal, for Maps.
 *
 * A compound's key is its constructor, then its parts; those that have parts themselves follow behind, level by
 * level, so that nothing recurs and each character is written once.
 */
import { highest, limitError, type TopicLimits } from './limits.js'
import { RecordBase } from './record.js'
import { isCompound, part, size, type Compound } from './value.js'
import { Wildcard } from './wildcard.js'

const opaqueIds = new WeakMap<object, number>()
let opaqueCount = 0

function opaqueId(value: object | symbol): number {
  const key = value as object // V8 takes unregistered symbols as well
  let id = opaqueIds.get(key)
  if (id === undefined) opaqueIds.set(key, (id = ++opaqueCount))
  return id
}

/** That a value has no key, as a wildcard is in it. */
export const OPEN = Symbol('a wildcard is in it')

/** That a value has no key, as it exceeds a limit: no topic has such a part. */
export class Oversize {
  constructor(readonly limit: keyof TopicLimits) {}
}
const TOO_DEEP = new Oversize('depth')
const TOO_WIDE = new Oversize('parts')
const TOO_LONG = new Oversize('bytes')

/**
 * The key of a value. In one piece: what V8 makes of `+` would keep all the pieces for as long as the string is
 * kept.
 *
 * @param wildcards whether the value may have wildcards in it
 */
export function structuralKey(value: unknown, wildcards = false): string | typeof OPEN | Oversize {
  if (isCompound(value)) return compoundKey(value, wildcards)
  return bytesIn(value) > highest.bytes ? TOO_LONG : leafKey(value, wildcards)
}

function compoundKey(root: Compound, wildcards: boolean): string | typeof OPEN | Oversize {
  const short = shortKey(root)
  if (short !== undefined) return short
  const pieces: string[] = []
  let below: Compound[] | undefined
  let next = 0
  let levelEnd = 0
  let depth = 1
  let parts = 0
  let bytes = 0
  let compound = root
  for (;;) {
    const n = size(compound)
    if ((parts += n) > highest.parts) return TOO_WIDE
    pieces.push(compound instanceof RecordBase ? `r${compound.$kind.id}(` : `a${n}(`)
    for (let i = 0; i < n; i++) {
      const inner = part(compound, i)
      if (isCompound(inner)) {
        ;(below ??= []).push(inner)
        pieces.push('c')
        continue
      }
      if ((bytes += bytesIn(inner)) > highest.bytes) return TOO_LONG
      const key = leafKey(inner, wildcards)
      if (key === OPEN) return OPEN
      pieces.push(key, ',')
    }
    if (below === undefined || next === below.length) return pieces.join('')
    if (next === levelEnd) {
      if (++depth > highest.depth) return TOO_DEEP
      levelEnd = below.length
    }
    compound = below[next++]
  }
}

/** Below this V8 copies what is put together by `+`. */
const FLAT_MAX = 13

/** The key of a pair of small whole numbers, such as the name of a request; undefined for what else there is. */
function shortKey(root: Compound): string | undefined {
  if (root instanceof RecordBase || root.length !== 2) return undefined
  const [a, b] = root
  if (typeof a !== 'number' || typeof b !== 'number') return undefined
  const key = `a2(n${a},n${b},`
  return key.length < FLAT_MAX ? key : undefined
}

/** From here on a bigint is counted by its digits. */
const BIG = 2n ** 64n

/** What a value without parts counts towards the limit of bytes. */
export function bytesIn(leaf: unknown): number {
  if (typeof leaf === 'string') return leaf.length
  if (leaf instanceof Uint8Array) return leaf.length
  if (typeof leaf === 'bigint' && (leaf > BIG || leaf < -BIG)) return leaf.toString(16).length
  return leaf instanceof Wildcard && typeof leaf.name === 'string' ? leaf.name.length : 0
}

function leafKey(value: unknown, wildcards: boolean): string | typeof OPEN {
  switch (typeof value) {
    case 'string':
      return `s${value.length}:${value}`
    case 'number':
      return `n${value}`
    case 'bigint':
      return `i${value.toString(16)}` // in time that is linear in its length
    case 'symbol': {
      const registered = Symbol.keyFor(value)
      return registered === undefined ? `o${opaqueId(value)}` : `y${registered.length}:${registered}`
    }
    case 'object':
      return value === null ? 'null' : objectKey(value, wildcards)
    case 'function':
      return `o${opaqueId(value)}`
    default:
      return String(value)
  }
}

function objectKey(value: object, wildcards: boolean): string | typeof OPEN {
  if (value instanceof Wildcard) return wildcards ? `w${String(leafKey(value.name, false))}` : OPEN
  if (value instanceof Uint8Array) {
    return `b${value.length}:${Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1')}`
  }
  return `o${opaqueId(value)}`
}

/**
 * What to key a Map with so that equal values meet: the value itself unless it has parts.
 * The prefix keeps structural keys apart from strings that look like them.
 *
 * @throws RangeError when a value with parts exceeds a limit
 */
export function mapKey(value: unknown): unknown {
  if (typeof value === 'string') return value.startsWith('\u0000') ? `\u0000s${value}` : value
  if (typeof value !== 'object' || value === null) return value
  if (!isCompound(value) && !(value instanceof Uint8Array) && !(value instanceof Wildcard)) return value
  const key = structuralKey(value, true)
  if (key instanceof Oversize) throw limitError(key.limit, value)
  return `\u0000${String(key)}`
}

/**
 * Values of the program as they stand in a recording: JSON from which they can be made again, in another process.
 *
 * Owns that form. What has no value of its own that could be written (symbols, functions, instances of classes, event
 * sources) is a number: the same one wherever the same thing stands. Who records and who replays count such things in
 * the order in which they come, so a program that does the same meets its own things under the same numbers; what
 * drivers have made is a stand-in there, equal to itself only.
 *
 * Writing runs no code of the program: getters aren't called, and proxies aren't asked.
 */
import { types } from 'node:util'
import {
  _, ANY_INSTANCE, instanceNumber, instanceWild, kindNamed, makeRecord, part, RecordBase, sharedName, sharedSymbol,
  size, wild, Wildcard,
} from '../topic/index.js'
import { EventSource, eventSource } from '../vm/index.js'
import { bytesOf } from './preview.js'

/** A value in a recording. */
export type Recorded = string | number | boolean | null | readonly Recorded[] | RecordedObject

/** What is no JSON value itself. */
export interface RecordedObject {
  /** What it is. */
  readonly $: string
  readonly [field: string]: unknown
}

/** Values inside of values that are written. */
const DEPTH_MAX = 200
/** Prototypes of prototypes that are looked at. */
const CHAIN_MAX = 100
/** Values inside of one that is kept whole, and characters of texts and bytes in it. */
const WHOLE: Most = { parts: 200_000, length: 32 * 1024 * 1024 }
/** Characters, or bytes, of a text or of bytes for which there is no room. */
const CUT = 32
/** Characters of a value in a text. */
const TEXT_MAX = 500

/** How much of a value is written: most values in all, and most characters of texts and bytes. */
export interface Most {
  readonly parts: number
  readonly length: number
}

/**
 * Numbers of what can't be written.
 *
 * Who records keeps none of these things: they are the program's, and the file needs only their numbers.
 */
export class Opaques {
  #count = 0
  readonly #ofObjects = new WeakMap<object, number>()
  readonly #ofSymbols = new Map<symbol, number>()
  readonly #values: Map<number, unknown> | undefined

  /** @param keeps whether things are to be had again by their numbers */
  constructor(keeps = false) {
    if (keeps) this.#values = new Map()
  }

  numberOf(value: object | symbol): number {
    const known = typeof value === 'symbol' ? this.#ofSymbols.get(value) : this.#ofObjects.get(value)
    if (known !== undefined) return known
    const number = this.#count
    this.set(number, value)
    return number
  }

  get(number: number): unknown {
    return this.#values?.get(number)
  }

  has(number: number): boolean {
    return this.#values?.has(number) === true
  }

  set(number: number, value: object | symbol): void {
    this.#count++
    if (typeof value === 'symbol') this.#ofSymbols.set(value, number)
    else this.#ofObjects.set(value, number)
    this.#values?.set(number, value)
  }
}

/**
 * A value as it stands in a recording.
 *
 * @param most how much of it; what is beyond is left out. If it isn't given, the value is needed whole
 * @throws RangeError when the value is needed whole, and is too large for that
 */
export function record(value: unknown, opaques: Opaques, most?: Most): Recorded {
  return new Writer(opaques, most ?? WHOLE, most === undefined).write(value)
}

class Writer {
  readonly #around: object[] = []

  #parts: number
  #length: number

  constructor(readonly opaques: Opaques, { parts, length }: Most, readonly isWhole: boolean) {
    this.#parts = parts
    this.#length = length
  }

  write(value: unknown): Recorded {
    // One thing that stands in many places is written in each: what has few parts may have very many places.
    if (--this.#parts < 0 && this.isWhole) throw tooLarge()
    switch (typeof value) {
      case 'string':
        if (this.#fits(value.length)) return value
        return { $: 'cut', length: value.length, head: value.slice(0, CUT) }
      case 'boolean':
        return value
      case 'number':
        return Number.isFinite(value) && !Object.is(value, -0) ? value
          : { $: 'number', value: Object.is(value, -0) ? '-0' : String(value) }
      case 'undefined':
        return { $: 'undefined' }
      case 'bigint':
        return { $: 'bigint', value: value.toString(16) }
      case 'symbol':
        return this.#symbol(value)
      case 'function':
        return { $: 'opaque', is: 'function', n: this.opaques.numberOf(value) }
      case 'object':
        return value === null ? null : this.#object(value)
    }
  }

  /** @returns whether there is room for so many characters or bytes. @throws RangeError if there has to be */
  #fits(length: number): boolean {
    if (length > this.#length) {
      if (this.isWhole) throw tooLarge()
      return false
    }
    this.#length -= length
    return true
  }

  #symbol(value: symbol): Recorded {
    const key = Symbol.keyFor(value)
    if (key !== undefined) return { $: 'symbol', key }
    const shared = sharedName(value)
    if (shared !== undefined) return { $: 'symbol', shared }
    return { $: 'opaque', is: 'symbol', name: value.description ?? '', n: this.opaques.numberOf(value) }
  }

  #object(value: object): Recorded {
    if (meetsProxy(value)) return this.#opaque(value)
    if (value instanceof Wildcard) return this.#wildcard(value)
    if (types.isUint8Array(value)) {
      const bytes = bytesOf(value)
      if (!this.#fits(bytes.length)) return { $: 'cut', length: bytes.length, head: bytes.toString('base64', 0, CUT) }
      return { $: Buffer.isBuffer(value) ? 'buffer' : 'bytes', base64: bytes.toString('base64') }
    }
    if (types.isDate(value)) return { $: 'date', ms: this.write(Date.prototype.getTime.call(value)) }
    if (this.#around.includes(value)) return { $: 'cycle' }
    if (this.#around.length === DEPTH_MAX || this.#parts <= 0) return { $: 'more' }
    this.#around.push(value)
    try {
      return this.#compound(value)
    } finally {
      this.#around.pop()
    }
  }

  #compound(value: object): Recorded {
    if (value instanceof RecordBase) {
      const { label, arity } = value.$kind
      return { $: 'record', label, arity, values: this.#list(size(value), (i) => part(value, i)) }
    }
    if (Array.isArray(value)) return this.#list(value.length, (i) => ownValue(value, i))
    if (types.isNativeError(value)) return this.#error(value)
    if (types.isMap(value)) return { $: 'map', entries: this.#pairs(value) }
    if (types.isSet(value)) return { $: 'set', items: this.#items(value) }
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== null && prototype !== Object.prototype) return this.#opaque(value)
    const keys = Object.keys(value)
    return { $: 'object', keys, values: this.#list(keys.length, (i) => ownValue(value, keys[i])) }
  }

  #list(length: number, at: (i: number) => unknown): Recorded[] {
    if (this.isWhole && length > this.#parts) throw tooLarge()
    const list: Recorded[] = []
    for (let i = 0; i < length && this.#goesOn(); i++) list.push(this.write(at(i)))
    return list
  }

  #goesOn(): boolean {
    return this.isWhole || this.#parts > 0
  }

  /* Not listed first: it may have very many. */
  #pairs(value: ReadonlyMap<unknown, unknown>): Recorded[] {
    const list: Recorded[] = []
    const all = Map.prototype.entries.call(value)
    for (let next = all.next(); next.done !== true && this.#goesOn(); next = all.next()) {
      const [key, item] = next.value as [unknown, unknown]
      list.push(this.write(key), this.write(item))
    }
    return list
  }

  #items(value: ReadonlySet<unknown>): Recorded[] {
    const list: Recorded[] = []
    const all = Set.prototype.values.call(value)
    for (let next = all.next(); next.done !== true && this.#goesOn(); next = all.next()) {
      list.push(this.write(next.value))
    }
    return list
  }

  #error(value: Error): Recorded {
    const fields: Record<string, Recorded> = {}
    for (const name of Object.keys(value)) fields[name] = this.write(ownValue(value, name))
    const name = inheritedValue(value, 'name')
    const own = ownValue(value, 'message')
    const message = typeof own === 'string' ? own : ''
    return {
      $: 'error', name: typeof name === 'string' ? name : 'Error',
      message: this.#fits(message.length) ? message : message.slice(0, CUT), fields,
    }
  }

  #wildcard(value: Wildcard): Recorded {
    if (value === _) return { $: '_' }
    if (value === ANY_INSTANCE) return { $: 'instances' }
    const instance = instanceNumber(value)
    if (instance !== undefined) return { $: 'instance', n: instance }
    return { $: 'wildcard', name: this.write(value.name) }
  }

  #opaque(value: object): Recorded {
    const n = this.opaques.numberOf(value)
    if (value instanceof EventSource) return { $: 'opaque', is: 'source', name: value.name, n }
    return { $: 'opaque', is: 'object', n }
  }
}

/** A property that is a value; undefined of a getter. */
function ownValue(value: object, key: string | number): unknown {
  const own = Object.getOwnPropertyDescriptor(value, key)
  return own !== undefined && 'value' in own ? own.value : undefined
}

/** The same of the object, or of what it inherits from; undefined of a getter. */
function inheritedValue(value: object, key: string): unknown {
  for (let at: object | null = value; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    if (Object.hasOwn(at, key)) return ownValue(at, key)
  }
  return undefined
}

function tooLarge(): RangeError {
  return new RangeError(
    `a value is too large to be kept: it has more than ${WHOLE.parts} values, or ${WHOLE.length} characters`)
}

function meetsProxy(value: object): boolean {
  let at: object | null = value
  for (let i = 0; at !== null; i++) {
    if (i === CHAIN_MAX || types.isProxy(at)) return true
    at = Object.getPrototypeOf(at) as object | null
  }
  return false
}

/** The value again. @throws Error when it is damaged, or when the program has no such records */
export function unrecord(given: unknown, opaques: Opaques, depth = 0): unknown {
  if (given === null || ['string', 'boolean', 'number'].includes(typeof given)) return given
  if (typeof given !== 'object' || depth > DEPTH_MAX) throw new Error('the recording has a value that is none')
  const again = (value: unknown): unknown => unrecord(value, opaques, depth + 1)
  if (Array.isArray(given)) return given.map(again)
  const at = given as RecordedObject
  const list = (name: string): unknown[] => {
    const found = at[name]
    if (!Array.isArray(found)) throw new Error(`the recording has ${at.$} without ${name}`)
    return found
  }
  switch (at.$) {
    case 'undefined': case 'cycle': case 'more': case 'cut':
      return undefined
    case 'number':
      return Number(at['value'])
    case 'bigint': {
      const text = String(at['value'])
      return text.startsWith('-') ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`)
    }
    case 'symbol':
      return typeof at['key'] === 'string' ? Symbol.for(at['key']) : sharedSymbol(String(at['shared']))
    case 'buffer':
      return Buffer.from(String(at['base64']), 'base64')
    case 'bytes':
      return new Uint8Array(Buffer.from(String(at['base64']), 'base64'))
    case 'date':
      return new Date(again(at['ms']) as number)
    case '_':
      return _
    case 'instances':
      return ANY_INSTANCE
    case 'instance':
      return instanceWild(Number(at['n']))
    case 'wildcard':
      return wild(again(at['name']) as string | number | symbol)
    case 'record': {
      const label = String(at['label'])
      const arity = Number(at['arity'])
      const kind = kindNamed(label, arity)
      if (kind === undefined) throw new Error(`the program has no records ${label} of ${arity} fields`)
      const values = list('values').map(again)
      while (values.length < kind.slots) values.push(undefined)
      return makeRecord(kind, values)
    }
    case 'error': {
      const error = new Error(String(at['message']))
      for (const [name, value] of Object.entries(at['fields'] ?? {})) define(error, name, again(value))
      if (!Object.hasOwn(error, 'name')) Object.defineProperty(error, 'name', { value: at['name'], configurable: true })
      return error
    }
    case 'map': {
      const values = list('entries').map(again)
      return new Map(values.flatMap((key, i) => i % 2 === 0 ? [[key, values[i + 1]]] : []))
    }
    case 'set':
      return new Set(list('items').map(again))
    case 'object': {
      const values = list('values').map(again)
      const object = {}
      list('keys').forEach((key, i) => {
        define(object, String(key), values[i])
      })
      return object
    }
    case 'opaque':
      return standIn(at, opaques)
    default:
      throw new Error(`the recording has a value of a kind that this version does not know: ${at.$}`)
  }
}

/** Not by assignment: `__proto__` would be what it inherits from. */
function define(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, enumerable: true, writable: true, configurable: true })
}

function standIn(at: RecordedObject, opaques: Opaques): unknown {
  const n = Number(at['n'])
  if (!opaques.has(n)) {
    const name = typeof at['name'] === 'string' ? at['name'] : String(at['is'])
    opaques.set(n, at['is'] === 'source' ? eventSource(name, () => undefined) : Symbol(name))
  }
  return opaques.get(n)
}

/** A recorded value as it reads in a text. */
export function recordedText(given: Recorded | undefined): string {
  let text = ''
  try {
    if (given !== undefined) text = inFull(given)
  } catch {
    // A file may have anything in it, also what has no end.
    text = '<damaged>'
  }
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}...` : text
}

function inFull(given: Recorded): string {
  if (given === null || typeof given !== 'object') return typeof given === 'string' ? `'${given}'` : String(given)
  if (isList(given)) return `[${given.map(inFull).join(', ')}]`
  const values = (given['values'] ?? given['items'] ?? []) as Recorded[]
  switch (given.$) {
    case 'undefined': case '_':
      return given.$
    case 'number':
      return String(given['value'])
    case 'bigint':
      return `0x${String(given['value'])}n`
    case 'symbol':
      return `Symbol(${String(given['key'] ?? given['shared'])})`
    case 'buffer': case 'bytes':
      return `bytes(${JSON.stringify(Buffer.from(String(given['base64']), 'base64').toString('latin1'))})`
    case 'record':
      return `${String(given['label'])}(${values.slice(0, Number(given['arity'])).map(inFull).join(', ')})`
    case 'object': {
      const keys = given['keys'] as string[]
      return `{${values.map((value, i) => `${keys[i]}: ${inFull(value)}`).join(', ')}}`
    }
    case 'map':
      return `Map {${(given['entries'] as Recorded[]).map(inFull).join(', ')}}`
    case 'set':
      return `Set {${values.map(inFull).join(', ')}}`
    case 'error':
      return `${String(given['name'])}: ${String(given['message'])}`
    case 'more': case 'cut':
      return '...'
    default:
      return `<${typeof given['is'] === 'string' ? given['is'] : given.$}${
        typeof given['name'] === 'string' ? ` ${given['name']}` : ''}>`
  }
}

function isList(given: Recorded): given is readonly Recorded[] {
  return Array.isArray(given)
}

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
/** Characters of a value in a text. */
const TEXT_MAX = 500

/** Numbers of what can't be written. */
export class Opaques {
  readonly #numbers = new Map<unknown, number>()
  readonly #values = new Map<number, unknown>()

  numberOf(value: unknown): number {
    let number = this.#numbers.get(value)
    if (number === undefined) this.set(number = this.#numbers.size, value)
    return number
  }

  get(number: number): unknown {
    return this.#values.get(number)
  }

  has(number: number): boolean {
    return this.#values.has(number)
  }

  set(number: number, value: unknown): void {
    this.#numbers.set(value, number)
    this.#values.set(number, value)
  }
}

/** @param parts most values in all; what is beyond is left out */
export function record(value: unknown, opaques: Opaques, parts = Infinity): Recorded {
  return new Writer(opaques, parts).write(value)
}

class Writer {
  readonly #around: object[] = []

  constructor(readonly opaques: Opaques, private parts: number) {}

  write(value: unknown): Recorded {
    this.parts--
    switch (typeof value) {
      case 'string': case 'boolean':
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
      const text = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
      return { $: Buffer.isBuffer(value) ? 'buffer' : 'bytes', base64: text }
    }
    if (types.isDate(value)) return { $: 'date', ms: this.write(Date.prototype.getTime.call(value)) }
    if (this.#around.includes(value)) return { $: 'cycle' }
    if (this.#around.length === DEPTH_MAX || this.parts <= 0) return { $: 'more' }
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
    if (types.isMap(value)) {
      const entries = [...Map.prototype.entries.call(value)]
      return { $: 'map', entries: this.#list(2 * entries.length, (i) => entries[i >> 1][i & 1]) }
    }
    if (types.isSet(value)) {
      const items = [...Set.prototype.values.call(value)]
      return { $: 'set', items: this.#list(items.length, (i) => items[i]) }
    }
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== null && prototype !== Object.prototype) return this.#opaque(value)
    const keys = Object.keys(value)
    return { $: 'object', keys, values: this.#list(keys.length, (i) => ownValue(value, keys[i])) }
  }

  #list(length: number, at: (i: number) => unknown): Recorded[] {
    const list: Recorded[] = []
    for (let i = 0; i < length && this.parts > 0; i++) list.push(this.write(at(i)))
    return list
  }

  #error(value: Error): Recorded {
    const fields: Record<string, Recorded> = {}
    for (const name of Object.keys(value)) fields[name] = this.write(ownValue(value, name))
    const name = ownValue(value, 'name') ?? (Object.getPrototypeOf(value) as { name?: unknown } | null)?.name
    const message = ownValue(value, 'message')
    return {
      $: 'error', name: typeof name === 'string' ? name : 'Error', message: typeof message === 'string' ? message : '',
      fields,
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
    case 'undefined': case 'cycle': case 'more':
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
      const fields = Object.entries(at['fields'] ?? {}).map(([name, value]) => [name, again(value)] as const)
      const error = Object.assign(new Error(String(at['message'])), Object.fromEntries(fields))
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
        const own = { value: values[i], enumerable: true, writable: true, configurable: true }
        Object.defineProperty(object, String(key), own)
      })
      return object
    }
    case 'opaque':
      return standIn(at, opaques)
    default:
      throw new Error(`the recording has a value of a kind that this version does not know: ${at.$}`)
  }
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
  const text = given === undefined ? '' : inFull(given)
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
    case 'more':
      return '...'
    default:
      return `<${typeof given['is'] === 'string' ? given['is'] : given.$}${
        typeof given['name'] === 'string' ? ` ${given['name']}` : ''}>`
  }
}

function isList(given: Recorded): given is readonly Recorded[] {
  return Array.isArray(given)
}

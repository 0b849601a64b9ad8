/**
 * Previews: what an inspector shows of a value of the program, as JSON.
 *
 * Owns their form and their limits. A preview is made without running any code of the program: getters are not called,
 * proxies are not asked, methods such as `toJSON` or `inspect` are not used. It has a limit in depth, in parts and in
 * bytes, whatever the value, and says what it leaves out.
 *
 * Strings, finite numbers, booleans and null are themselves; arrays that are shown whole are arrays. Everything else is
 * an object that says under `$` what it is; also a program's own object: `{ $: 'object', entries: [...] }`.
 */
import { types } from 'node:util'
import { atOnce } from '../support/answers.js'
import { instanceOf, part, RecordBase, size, Wildcard, _ } from '../topic/index.js'
import { EventSource } from '../vm/index.js'
import { previewText, type Preview } from './shown.js'

/** How much of a value is shown. */
export interface PreviewBudget {
  /** Levels of values inside of values. Default 6. */
  readonly depth?: number | undefined
  /** Values in all. Default 200. */
  readonly parts?: number | undefined
  /** Bytes of text and of byte arrays in all. Default 4,096. */
  readonly bytes?: number | undefined
}

/**
 * Replaces what is not to be shown.
 *
 * @param value any value that is about to be shown, from the outside in
 * @param path names of fields and numbers of places that lead to it from the value that was asked for
 * @returns what is shown in its place; the value itself if it may be shown
 */
export type Redact = (value: unknown, path: readonly (string | number)[]) => unknown

const DEPTH = 6
const PARTS = 200
const BYTES = 4096
/** Bytes of one byte array that are shown. */
const BYTES_SHOWN = 64
/** Characters of a stack. */
const STACK_MAX = 2000
/** Prototypes of prototypes. */
const CHAIN_MAX = 100

/** A preview of a value, within the budget. */
export function preview(value: unknown, budget: PreviewBudget = {}, redact?: Redact): Preview {
  try {
    return new Previewer(budget, redact).show(value, 0)
  } catch {
    // There are objects that can't even be asked, such as a module that is still loading: it is the handler at hand
    // that would fail of it.
    return { $: 'unreadable' }
  }
}

/** Of a longer text V8 keeps a part as a part of the whole, which would stay in memory as long as what is shown. */
function copied(text: string): string {
  return text.length < SLICED_FROM ? text : Buffer.from(text, 'utf16le').toString('utf16le')
}

/** Shorter ones V8 copies itself. */
const SLICED_FROM = 13

/**
 * A topic, or another value, on one line, as `show` has it; but as with all that is shown, no code of the program is
 * run, and nothing is in it that is to be redacted.
 */
export function textOf(value: unknown, redact?: Redact): string {
  const text = previewText(preview(value, TEXT, redact))
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX - 3)}...` : text
}

const TEXT: PreviewBudget = { depth: 3, parts: 60, bytes: 240 }
const TEXT_MAX = 120

class Previewer {
  readonly #depth: number
  #parts: number
  #bytes: number
  readonly #redact: Redact | undefined
  readonly #path: (string | number)[] = []
  /** What the value at hand is inside of. */
  readonly #around: unknown[] = []

  constructor({ depth = DEPTH, parts = PARTS, bytes = BYTES }: PreviewBudget, redact: Redact | undefined) {
    this.#depth = depth
    this.#parts = parts
    this.#bytes = bytes
    this.#redact = redact
  }

  show(given: unknown, depth: number): Preview {
    const value = this.#redact === undefined ? given : this.#redacted(given)
    this.#parts--
    switch (typeof value) {
      case 'string':
        return this.#string(value)
      case 'number':
        if (Object.is(value, -0)) return { $: 'number', value: '-0' }
        return Number.isFinite(value) ? value : { $: 'number', value: String(value) }
      case 'boolean':
        return value
      case 'undefined':
        return { $: 'undefined' }
      case 'bigint':
        return { $: 'bigint', value: this.#cut(bigintText(value)) }
      case 'symbol':
        return { $: 'symbol', value: this.#cut(value.description ?? '') }
      case 'function':
        return { $: 'function', name: this.#cut(ownString(value, 'name') ?? '') }
      case 'object':
        return value === null ? null : this.#object(value, depth)
    }
  }

  /** What the hook throws is nobody's failure; but then the value isn't shown. */
  #redacted(value: unknown): unknown {
    try {
      const shown = this.#redact?.(value, this.#path)
      // A promise that was there before is the program's.
      return shown === value ? shown : atOnce('inspector', 'options.redact()', shown)
    } catch {
      return '[redact failed]'
    }
  }

  #string(value: string): Preview {
    if (value.length <= this.#bytes) {
      this.#bytes -= value.length
      return copied(value)
    }
    return { $: 'string', length: value.length, head: this.#cut(value) }
  }

  #cut(text: string): string {
    const shown = text.slice(0, Math.max(0, this.#bytes))
    this.#bytes -= shown.length
    return copied(shown)
  }

  #object(value: object, depth: number): Preview {
    if (meetsProxy(value)) return { $: 'proxy' }
    if (this.#around.includes(value)) return { $: 'cycle', up: this.#around.length - this.#around.lastIndexOf(value) }
    if (value instanceof Wildcard) return value === _ ? { $: '_' } : { $: 'wildcard', name: String(value.name) }
    if (value instanceof EventSource) return { $: 'source', name: this.#cut(ownString(value, 'name') ?? '') }
    if (types.isUint8Array(value)) return this.#byteArray(value)
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) {
      return { $: 'bytes', class: classOf(value), length: numberOf(BYTE_LENGTH, value) }
    }
    if (types.isDate(value)) return { $: 'date', value: dateText(value) }
    if (types.isRegExp(value)) return { $: 'regexp', value: this.#cut(regExpText(value)) }
    if (types.isPromise(value)) return { $: 'promise' }
    if (types.isWeakMap(value) || types.isWeakSet(value)) return { $: 'object', class: classOf(value), entries: [] }
    if (depth >= this.#depth) return { $: 'more', of: describe(value) }
    this.#around.push(value)
    try {
      if (value instanceof RecordBase) return this.#record(value, depth)
      if (Array.isArray(value)) return this.#array(value, depth)
      if (types.isMap(value)) return this.#map(value, depth)
      if (types.isSet(value)) return this.#set(value, depth)
      if (types.isNativeError(value)) return this.#error(value, depth)
      return this.#plain(value, depth)
    } finally {
      this.#around.pop()
    }
  }

  #byteArray(value: Uint8Array): Preview {
    const length = numberOf(BYTE_LENGTH, value)
    const shown = Math.max(0, Math.min(length, BYTES_SHOWN, this.#bytes))
    this.#bytes -= shown
    const head = bytesOf(value, shown)
    return { $: 'bytes', length, hex: head.toString('hex'), text: head.toString('latin1') }
  }

  #record(value: RecordBase, depth: number): Preview {
    const { label, fields } = value.$kind
    const shown: Preview[] = []
    for (let i = 0; i < fields.length && this.#goesOn(); i++) {
      shown.push(this.#part(part(value, i), fields[i], depth))
    }
    const instance = instanceOf(value)
    return {
      $: 'record', label, fields: fields.slice(0, shown.length), values: shown,
      ...fields.length > shown.length ? { left: fields.length - shown.length } : {},
      ...typeof instance === 'number' ? { instance } : {},
    }
  }

  #array(value: readonly unknown[], depth: number): Preview {
    const items: Preview[] = []
    const { length } = value
    for (let i = 0; i < length && this.#goesOn(); i++) {
      const own = Object.getOwnPropertyDescriptor(value, i)
      if (own === undefined) this.#parts--
      items.push(own === undefined ? { $: 'hole' } : this.#property(own, i, depth))
    }
    return items.length === length ? items : { $: 'array', length, items }
  }

  #map(value: ReadonlyMap<unknown, unknown>, depth: number): Preview {
    const entries: Preview[][] = []
    const all = Map.prototype.entries.call(value)
    for (let next = all.next(); next.done !== true && this.#goesOn(); next = all.next()) {
      const [key, item] = next.value as [unknown, unknown]
      entries.push([this.#part(key, 'key', depth), this.#part(item, 'value', depth)])
    }
    return { $: 'map', size: numberOf(MAP_SIZE, value), entries }
  }

  #set(value: ReadonlySet<unknown>, depth: number): Preview {
    const items: Preview[] = []
    const all = Set.prototype.values.call(value)
    for (let next = all.next(); next.done !== true && this.#goesOn(); next = all.next()) {
      items.push(this.#part(next.value, items.length, depth))
    }
    return { $: 'set', size: numberOf(SET_SIZE, value), items }
  }

  #error(value: Error, depth: number): Preview {
    const stack = makesOwnStack(value) ? undefined : ownString(value, 'stack')
    const cause = Object.getOwnPropertyDescriptor(value, 'cause')
    const facts: Record<string, unknown> = {}
    for (const name of ['code', 'errno', 'syscall', 'address', 'port']) {
      const own = Object.getOwnPropertyDescriptor(value, name)
      if (own !== undefined && 'value' in own) facts[name] = this.#part(own.value, name, depth)
    }
    return {
      $: 'error', name: classOf(value), message: this.#text(ownString(value, 'message') ?? '', 'message'), ...facts,
      ...stack === undefined ? {} : { stack: this.#text(copied(stack.slice(0, STACK_MAX)), 'stack') },
      ...cause === undefined ? {} : { cause: this.#property(cause, 'cause', depth) },
    }
  }

  /** A text of an error's: it may have in it what is to be redacted. */
  #text(text: string, name: string): Preview {
    if (this.#redact === undefined) return this.#string(text)
    this.#path.push(name)
    const shown = this.#redacted(text)
    this.#path.pop()
    return this.#string(typeof shown === 'string' ? shown : '[redacted]')
  }

  #plain(value: object, depth: number): Preview {
    const entries: Preview[][] = []
    let left = 0
    // One by one: an object of very many properties isn't listed as a whole.
    for (const key in value) {
      const own = Object.getOwnPropertyDescriptor(value, key)
      if (own === undefined) continue
      if (!this.#goesOn()) {
        if (++left >= PARTS) break
        continue
      }
      entries.push([this.#cut(key), this.#property(own, key, depth)])
    }
    const name = classOf(value)
    return { $: 'object', ...name === 'Object' ? {} : { class: name }, entries, ...left > 0 ? { left } : {} }
  }

  #property(own: PropertyDescriptor, key: string | number, depth: number): Preview {
    if ('value' in own) return this.#part(own.value, key, depth)
    this.#parts--
    return { $: 'getter' }
  }

  #part(value: unknown, key: string | number, depth: number): Preview {
    if (this.#redact === undefined) return this.show(value, depth + 1)
    this.#path.push(key)
    const shown = this.show(value, depth + 1)
    this.#path.pop()
    return shown
  }

  #goesOn(): boolean {
    return this.#parts > 0 && this.#bytes > 0
  }
}

/** A property that is a value of the object itself, and a string. */
function ownString(value: object, name: string): string | undefined {
  const own = Object.getOwnPropertyDescriptor(value, name)
  const found: unknown = own !== undefined && 'value' in own ? own.value : undefined
  if (typeof found === 'string') return found
  // V8 keeps the stack behind an accessor of its own, which is no code of the program's.
  if (name !== 'stack' || own?.get === undefined || own.get !== STACK?.get) return undefined
  const stack: unknown = own.get.call(value)
  return typeof stack === 'string' ? stack : undefined
}

const STACK = Object.getOwnPropertyDescriptor(new Error(''), 'stack')

/**
 * Whether reading an error's stack for the first time, which is when it is made, would run code of the program: a
 * `name` or `message` that is a getter. (A hook of `Error.prepareStackTrace` is there to make stacks for all who ask.)
 */
function makesOwnStack(value: Error): boolean {
  return ['name', 'message'].some((name) => {
    for (let at: object | null = value; at !== null; at = Object.getPrototypeOf(at) as object | null) {
      const own = Object.getOwnPropertyDescriptor(at, name)
      if (own !== undefined) return !('value' in own) || (typeof own.value === 'object' && own.value !== null)
    }
    return false
  })
}

/** As it is written. Its own `toString` would ask for a `source` and `flags`, which may be the program's. */
function regExpText(value: RegExp): string {
  const flags = FLAGS.flatMap(([flag, get]) => get.call(value) === true ? [flag] : [])
  return `/${String(SOURCE.call(value))}/${flags.join('')}`
}

/** The name of the function that made an object, as far as that can be told without running anything. */
function classOf(value: object): string {
  let prototype: object | null = value
  for (let i = 0; i < DEPTH && prototype !== null; i++) {
    if (types.isProxy(prototype)) break
    const own = Object.getOwnPropertyDescriptor(prototype, 'constructor')
    const made: unknown = own !== undefined && 'value' in own ? own.value : undefined
    if (typeof made === 'function' && !types.isProxy(made)) return ownString(made, 'name') ?? 'Object'
    prototype = Object.getPrototypeOf(prototype) as object | null
  }
  return 'Object'
}

function describe(value: object): string {
  if (value instanceof RecordBase) return `${value.$kind.label}(${size(value)})`
  return Array.isArray(value) ? `Array(${value.length})` : classOf(value)
}

/** Digits of very large numbers take long to work out. */
function bigintText(value: bigint): string {
  const limit = 2n ** 1024n
  return value < limit && value > -limit ? value.toString() : `${value < 0n ? '-' : ''}(more than 300 digits)`
}

/* The language's own getters: those of a class of the program's might stand before them. */
type Getter = (this: unknown) => unknown
const getter = (prototype: object, name: string): Getter =>
  (Object.getOwnPropertyDescriptor(prototype, name) as { readonly get: Getter }).get
const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object
const BUFFER = getter(typedArray, 'buffer')
const BYTE_OFFSET = [getter(typedArray, 'byteOffset')]
const BYTE_LENGTH = [
  getter(typedArray, 'byteLength'), getter(DataView.prototype, 'byteLength'),
  getter(ArrayBuffer.prototype, 'byteLength'), getter(SharedArrayBuffer.prototype, 'byteLength'),
]
const SOURCE = getter(RegExp.prototype, 'source')
/* Some are newer than the oldest Node that runs this. */
const FLAGS = ([
  ['d', 'hasIndices'], ['g', 'global'], ['i', 'ignoreCase'], ['m', 'multiline'], ['s', 'dotAll'], ['u', 'unicode'],
  ['v', 'unicodeSets'], ['y', 'sticky'],
] as const).flatMap(([flag, name]) =>
  name in RegExp.prototype ? [[flag, getter(RegExp.prototype, name)] as const] : [])
const MAP_SIZE = [getter(Map.prototype, 'size')]
const SET_SIZE = [getter(Set.prototype, 'size')]

/** What the first of the getters says that is for such a value; 0 if there is none. */
function numberOf(getters: readonly Getter[], value: object): number {
  for (const get of getters) {
    try {
      return get.call(value) as number
    } catch {
      // It is for values of another kind.
    }
  }
  return 0
}

/** The same bytes, the first of them if there are more, without asking the object, which may be of the program's. */
export function bytesOf(value: Uint8Array, most = Infinity): Buffer {
  const length = Math.min(numberOf(BYTE_LENGTH, value), most)
  return Buffer.from(BUFFER.call(value) as ArrayBuffer, numberOf(BYTE_OFFSET, value), length)
}

/** Whether asking for what a value has, or is, would ask a proxy. */
function meetsProxy(value: object): boolean {
  let at: object | null = value
  for (let i = 0; at !== null; i++) {
    if (i === CHAIN_MAX || types.isProxy(at)) return true
    at = Object.getPrototypeOf(at) as object | null
  }
  return false
}

function dateText(value: Date): string {
  const time = Date.prototype.getTime.call(value)
  return Number.isNaN(time) ? 'invalid' : new Date(time).toISOString()
}

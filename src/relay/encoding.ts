/**
 * Owns how messages and topics are written as bytes for another node: the format, what can cross and what can't.
 *
 * What crosses as the same value: primitives (`undefined`, NaN and -0 too, bigints of any size, strings with any
 * UTF-16), arrays, byte arrays (a Buffer comes as a Buffer), records, and the wildcards of topics. Symbols cross if the
 * other side can have the same one: those of `Symbol.for`, JavaScript's own, and this package's (`eof`, ...).
 *
 * What crosses as a copy: plain objects, dates and errors. A copy is equal only to itself, as its original was, so
 * these are for messages; in a topic, nothing but a wildcard meets them. Of an error cross its name, its message, its
 * cause and those of its own properties that are strings, numbers, booleans or bigints; its stack does not.
 *
 * Everything else (functions, instances of classes, other symbols, Maps, ...) is refused where it is sent.
 *
 * A record comes back as one only if the reader has defined records with this label and number of fields. Otherwise it
 * is an `UnknownRecord`, which is opaque: it meets nothing but wildcards.
 *
 * What is read may be a stranger's: nothing recurs, nothing is allocated because a length says so, and depth and
 * number of parts have limits. The same limits hold for what is written, so that what was sent can be read.
 *
 * The format: a byte with its version, then one value. A value is a byte that says what it is, in which small
 * integers and lengths have room, and what belongs to that. Strings are written in one or two bytes per character, as
 * V8 keeps them. The label and arity of a kind of records are written once, later records refer to them by number.
 */
import { inspect, type InspectOptions } from 'node:util'
import { isDate, isProxy } from 'node:util/types'
import { checkOptions, integer } from '../support/checks.js'
import { argumentError, isError, show } from '../support/errors.js'
import { log } from '../support/log.js'
import { FEW_BYTES } from './bytes.js'
import {
  _, ANY_INSTANCE, CANONICAL_MAX, instanceNumber, instanceWild, kindNamed, makeRecord, part, RecordBase,
  sharedName, sharedSymbol, wild, Wildcard, type RecordKind,
} from '../topic/index.js'

/** The format that is written, and the only one that is read. */
export const ENCODING_VERSION = 1

/** How large a value may be that crosses. */
export interface EncodingLimits {
  /** Arrays, records and objects inside each other. Default 1,024. */
  readonly depth?: number
  /** Parts of all of them together; what stands in two places counts twice. Default 1,048,576. */
  readonly parts?: number
}

const DEPTH = 1024
const PARTS = 1024 * 1024
/** Longer values have strings and bigints that JavaScript can't have. */
const BYTES_MAX = 128 * 1024 * 1024
const limitChecks = { depth: integer(1, 1_000_000, 'levels'), parts: integer(1, 100_000_000, 'parts') }

// The first byte of a value. Below TAG_SHORT_STRING it is an integer.
/** A string of up to 31 characters, of one byte each. */
const TAG_SHORT_STRING = 0x80
/** An array of up to 15 parts. */
const TAG_SHORT_ARRAY = 0xa0
/** A record of one of the first 16 kinds that were named. */
const TAG_SHORT_RECORD = 0xb0
const TAG_UNDEFINED = 0xc0
const TAG_NULL = 0xc1
const TAG_FALSE = 0xc2
const TAG_TRUE = 0xc3
/** 128 and more. */
const TAG_INTEGER = 0xc4
/** `-1 - n`. */
const TAG_NEGATIVE_INTEGER = 0xc5
const TAG_FLOAT = 0xc6
/** One byte per character. */
const TAG_STRING = 0xc7
/** Two bytes per character, the lower one first. */
const TAG_WIDE_STRING = 0xc8
const TAG_BYTES = 0xc9
const TAG_BUFFER = 0xca
/** Its bytes, the highest one first. */
const TAG_BIGINT = 0xcb
const TAG_NEGATIVE_BIGINT = 0xcc
const TAG_ARRAY = 0xcd
/** Its label, its arity, whether it has an instance; then the parts. */
const TAG_NEW_RECORD = 0xce
const TAG_RECORD = 0xcf
/** Its key in the registry. */
const TAG_SYMBOL = 0xd0
/** The name that a symbol of JavaScript's or this package's has. */
const TAG_SHARED_SYMBOL = 0xd1
const TAG_FRESH = 0xd2
const TAG_ANY_INSTANCE = 0xd3
/** Its name. */
const TAG_WILDCARD = 0xd4
/** A wildcard with a symbol for a name that is nowhere else: one number is one of them, within one value. */
const TAG_OWN_WILDCARD = 0xd5
const TAG_INSTANCE = 0xd6
const TAG_DATE = 0xd7
/** Keys and values by turns. */
const TAG_OBJECT = 0xd8
/** Name, message, an array with its cause or an empty one; then names and values of its properties by turns. */
const TAG_ERROR = 0xd9

/**
 * Keys of the registered symbols that have crossed. The registry never forgets, so others may name so many that this
 * program hasn't named itself, and of such a length. Those beyond are symbols of their own, like a record of a kind
 * that isn't known here: nobody loses a session by what others have named before.
 */
const namedSymbols = new Set<string>()
let namedByOthers = 0
let toldOfSymbols = false
const NAMED_SYMBOLS_MAX = 4096
const SYMBOL_LENGTH_MAX = 256

/** Whether the other side can have the same symbol. */
function hasCommonName(symbol: symbol): boolean {
  const key = Symbol.keyFor(symbol)
  return key === undefined ? sharedName(symbol) !== undefined : key.length <= SYMBOL_LENGTH_MAX
}

/**
 * A record from another node of a kind that this program has not defined. Opaque: equal only to itself. Sent on, it is
 * the record that it was.
 */
export class UnknownRecord {
  /** What records of this kind are called where it came from. */
  readonly label: string
  /** Its fields, in order. */
  readonly values: readonly unknown[]
  /** @internal Whether the last of the values is an instance. */
  readonly instanced: boolean

  /** @internal */
  constructor(label: string, values: readonly unknown[], instanced: boolean) {
    this.label = label
    this.values = Object.freeze(values)
    this.instanced = instanced
    Object.freeze(this)
  }

  /** @internal */
  [inspect.custom](depth: number | null, options: InspectOptions): string {
    if (depth !== null && depth < 0) return `[unknown ${this.label}]`
    const inner = { ...options, depth: Math.min(depth ?? 100, 100) - 1 }
    return `unknown ${this.label}(${this.values.map((value) => inspect(value, inner)).join(', ')})`
  }
}

// ---- Writing ----

/** A value with parts of which those before `next` are written. */
interface Written {
  readonly of: readonly unknown[] | RecordBase
  readonly size: number
  next: number
  readonly above: Written | undefined
  /** What the parts are those of, as an error tells where it was. */
  readonly as: 'array' | 'record' | 'object' | 'error'
}

const SCRATCH = 16 * 1024
const SCRATCH_KEPT = 1024 * 1024
/** Absent while it is in use: a getter of a program's may send, too. */
let scratch: Buffer | undefined

const WIDE = /[^\0-\xff]/

/** Bytes at the start of memory that is used again. */
export interface Lent {
  readonly bytes: Buffer
  readonly length: number
}

/** Bytes that grow. */
class Writer {
  #bytes: Buffer
  #at = 0
  /** The kind of the first record: most values have no other, and so need no table. */
  #kind: RecordKind | string | undefined
  #kinds: Map<RecordKind | string, number> | undefined
  #wildcards: Map<symbol, number> | undefined

  /** @param before how many bytes are left free at the start */
  constructor(before = 0) {
    this.#bytes = scratch ?? Buffer.allocUnsafeSlow(SCRATCH)
    scratch = undefined
    this.#at = before
  }

  /** What was written, where it is: until the next value is written. Nothing more can be. */
  lend(): Lent {
    return { bytes: this.#bytes, length: this.#at }
  }

  /** What was written; nothing more can be. */
  finish(): Uint8Array<ArrayBuffer> {
    const all = new Uint8Array(this.#at)
    all.set(this.#bytes.subarray(0, this.#at))
    return all
  }

  giveBack(): void {
    if (this.#bytes.length <= SCRATCH_KEPT) scratch = this.#bytes
  }

  #room(n: number): void {
    if (this.#at + n <= this.#bytes.length) return
    if (this.#at + n > BYTES_MAX) throw tooLarge('bytes', BYTES_MAX)
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.#at + n))
    this.#bytes.copy(larger, 0, 0, this.#at)
    this.#bytes = larger
  }

  byte(value: number): void {
    this.#room(1)
    this.#bytes[this.#at++] = value
  }

  /** 7 bits per byte, the lowest first; the highest bit of a byte says that more follow. Below 2 ** 31. */
  count(value: number): void {
    this.#room(5)
    let left = value
    while (left > 0x7f) {
      this.#bytes[this.#at++] = (left & 0x7f) | 0x80
      left >>>= 7
    }
    this.#bytes[this.#at++] = left
  }

  number(value: number): void {
    if (Number.isInteger(value) && value >= -0x80000000 && value <= 0x7fffffff && !Object.is(value, -0)) {
      if (value < 0) {
        this.byte(TAG_NEGATIVE_INTEGER)
        this.count(-1 - value)
        return
      }
      if (value > 0x7f) this.byte(TAG_INTEGER)
      this.count(value)
      return
    }
    this.byte(TAG_FLOAT)
    this.float(value)
  }

  float(value: number): void {
    this.#room(8)
    this.#at = this.#bytes.writeDoubleLE(value, this.#at)
  }

  string(text: string): void {
    const { length } = text
    if (length < 0x20) {
      this.#room(1 + length)
      const start = this.#at++
      let i = 0
      for (; i < length; i++) {
        const code = text.charCodeAt(i)
        if (code > 0xff) break
        this.#bytes[this.#at++] = code
      }
      if (i === length) {
        this.#bytes[start] = TAG_SHORT_STRING + length
        return
      }
      this.#at = start
    } else if (!WIDE.test(text)) {
      this.byte(TAG_STRING)
      this.count(length)
      this.#room(length)
      this.#at += this.#bytes.write(text, this.#at, length, 'latin1')
      return
    }
    this.byte(TAG_WIDE_STRING)
    this.count(length)
    this.#room(2 * length)
    this.#at += this.#bytes.write(text, this.#at, 2 * length, 'utf16le')
  }

  bytes(bytes: Uint8Array): void {
    const { length } = bytes
    this.byte(Buffer.isBuffer(bytes) ? TAG_BUFFER : TAG_BYTES)
    this.count(length)
    this.#room(length)
    this.#bytes.set(bytes, this.#at)
    this.#at += length
  }

  bigint(value: bigint): void {
    this.byte(value < 0n ? TAG_NEGATIVE_BIGINT : TAG_BIGINT)
    const hex = (value < 0n ? -value : value).toString(16)
    const length = (hex.length + 1) >> 1
    this.count(length)
    this.#room(length)
    this.#at += this.#bytes.write(hex.padStart(2 * length, '0'), this.#at, length, 'hex')
  }

  /** @returns whether it can be written */
  symbol(value: symbol): boolean {
    const shared = sharedName(value)
    if (shared !== undefined) {
      this.byte(TAG_SHARED_SYMBOL)
      this.string(shared)
      return true
    }
    if (!hasCommonName(value)) return false
    const key = Symbol.keyFor(value) as string
    namedSymbols.add(key)
    this.byte(TAG_SYMBOL)
    this.string(key)
    return true
  }

  wildcard(wildcard: Wildcard): void {
    if (wildcard === _) {
      this.byte(TAG_FRESH)
      return
    }
    if (wildcard === ANY_INSTANCE) {
      this.byte(TAG_ANY_INSTANCE)
      return
    }
    const instance = instanceNumber(wildcard)
    if (instance !== undefined) {
      this.byte(TAG_INSTANCE)
      this.count(instance)
      return
    }
    const { name } = wildcard
    if (typeof name === 'symbol') {
      if (!hasCommonName(name)) {
        this.#wildcards ??= new Map()
        const number = this.#wildcards.get(name) ?? this.#wildcards.size
        this.#wildcards.set(name, number)
        this.byte(TAG_OWN_WILDCARD)
        this.count(number)
        return
      }
      this.byte(TAG_WILDCARD)
      this.symbol(name)
      return
    }
    this.byte(TAG_WILDCARD)
    if (typeof name === 'number') this.number(name)
    else this.string(name)
  }

  array(length: number): void {
    if (length < 0x10) {
      this.byte(TAG_SHORT_ARRAY + length)
      return
    }
    this.byte(TAG_ARRAY)
    this.count(length)
  }

  /** The number of a kind; undefined if it has just been given one. */
  #numberOf(kind: RecordKind | string): number | undefined {
    if (this.#kind === undefined) {
      this.#kind = kind
      return undefined
    }
    if (this.#kind === kind) return 0
    this.#kinds ??= new Map([[this.#kind, 0]])
    const known = this.#kinds.get(kind)
    if (known === undefined) this.#kinds.set(kind, this.#kinds.size)
    return known
  }

  /** @param kind what records of this kind have in common, and no others */
  record(kind: RecordKind | string, label: string, arity: number, instanced: boolean): void {
    const known = this.#numberOf(kind)
    if (known === undefined) {
      this.byte(TAG_NEW_RECORD)
      this.string(label)
      this.count(arity)
      this.byte(instanced ? 1 : 0)
    } else if (known < 0x10) {
      this.byte(TAG_SHORT_RECORD + known)
    } else {
      this.byte(TAG_RECORD)
      this.count(known)
    }
  }
}

/** Where in the value a part is: `says.what[3]`. */
function pathOf(written: Written | undefined): string {
  const names: string[] = []
  for (let here = written; here !== undefined; here = here.above) {
    const i = here.next - 1
    const name = here.of instanceof RecordBase ? `.${here.of.$kind.fields[i]}`
      : here.as === 'object' ? `.${String(here.of[i % 2 === 0 ? i : i - 1])}`
      : here.as === 'error' ? '(of an error)'
      : `[${i}]`
    names.unshift(here.above === undefined && here.of instanceof RecordBase ? here.of.$kind.label + name : name)
  }
  const path = names.length > 12 ? [...names.slice(0, 6), '...', ...names.slice(-5)].join('') : names.join('')
  return path === '' ? '' : `, at ${path}`
}

function cannotCross(value: unknown, where: Written | undefined): TypeError {
  return argumentError(
    'encode',
    `what goes to another node${pathOf(where)}`,
    'a primitive, an array, a byte array, a record, a plain object, a date, an error or a symbol of Symbol.for',
    value,
  )
}

function tooLarge(limit: 'depth' | 'parts' | 'bytes', most: number): RangeError {
  const what = limit === 'depth' ? 'levels' : limit
  return Object.assign(
    new RangeError(`encode: what goes to another node must have at most ${most} ${what}; got more, or a cycle`),
    { code: 'ERR_OUT_OF_RANGE' },
  )
}

/** Causes inside each other that cross. */
const CAUSES_MAX = 8

/** What crosses of an error. Runs nobody's code but that of `name` and `message`, and fails for nobody. */
function errorParts(error: Error, causes = CAUSES_MAX): readonly unknown[] {
  const parts: unknown[] = [textOf(error, 'name', 'Error'), textOf(error, 'message', '')]
  const cause: unknown = Object.getOwnPropertyDescriptor(error, 'cause')?.value
  if (causes > 0 && isError(cause) && !isProxy(cause)) parts.push([new ErrorParts(errorParts(cause, causes - 1))])
  else parts.push(isSimple(cause) ? [cause] : [])
  for (const name of Object.keys(error)) {
    if (!isErrorField(name)) continue
    const value: unknown = Object.getOwnPropertyDescriptor(error, name)?.value
    if (isSimple(value)) parts.push(name, value)
  }
  return parts
}

/** An error on its way into the bytes. */
class ErrorParts {
  constructor(readonly parts: readonly unknown[]) {}
}

function textOf(error: Error, field: 'name' | 'message', otherwise: string): string {
  try {
    const text: unknown = error[field]
    return typeof text === 'string' ? text : otherwise
  } catch {
    return otherwise
  }
}

function isSimple(value: unknown): boolean {
  return ['string', 'number', 'boolean', 'bigint'].includes(typeof value)
}

/** What everybody who looks at an error relies on is not for others to set. */
function isErrorField(name: string): boolean {
  return !['name', 'message', 'stack', 'cause'].includes(name) && !(name in Object.prototype)
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

/** Keys and values by turns. */
function entriesOf(value: object): unknown[] {
  const parts: unknown[] = []
  for (const key of Object.keys(value)) parts.push(key, (value as Readonly<Record<string, unknown>>)[key])
  return parts
}

/**
 * Writes a message, a topic, or what else is made of such values.
 *
 * @returns bytes of their own
 * @throws TypeError for what can't cross, with its place; RangeError for what exceeds a limit, or contains itself
 */
export function encode(value: unknown, limits?: EncodingLimits): Uint8Array<ArrayBuffer> {
  if (limits !== undefined) checkOptions('encode', limits, limitChecks, 'limits.')
  const { depth: deepest = DEPTH, parts: most = PARTS } = limits ?? {}
  const writer = new Writer()
  try {
    writer.byte(ENCODING_VERSION)
    writeAll(writer, value, deepest, most)
    return writer.finish()
  } finally {
    writer.giveBack()
  }
}

/**
 * The same, without memory of its own: what is returned is valid until the next value is written.
 *
 * @param before bytes at the start that are the caller's to fill
 */
export function encodeLent(value: unknown, before: number): Lent {
  const writer = new Writer(before)
  try {
    writer.byte(ENCODING_VERSION)
    writeAll(writer, value, DEPTH, PARTS)
    return writer.lend()
  } finally {
    writer.giveBack()
  }
}

function writeAll(writer: Writer, root: unknown, deepest: number, most: number): void {
  let here: Written | undefined
  let depth = 0
  let parts = 0
  let value = root
  for (;;) {
    const inner = write(writer, value, here)
    if (inner !== undefined && inner.size > 0) {
      if (++depth > deepest) throw tooLarge('depth', deepest)
      if ((parts += inner.size) > most) throw tooLarge('parts', most)
      here = inner
    }
    while (here !== undefined && here.next === here.size) {
      here = here.above
      depth--
    }
    if (here === undefined) return
    const { of } = here
    value = of instanceof RecordBase ? part(of, here.next++) : of[here.next++]
  }
}

/** Writes a value, or the begin of one with parts. */
function write(writer: Writer, value: unknown, above: Written | undefined): Written | undefined {
  switch (typeof value) {
    case 'string':
      writer.string(value)
      return undefined
    case 'number':
      writer.number(value)
      return undefined
    case 'undefined':
      writer.byte(TAG_UNDEFINED)
      return undefined
    case 'boolean':
      writer.byte(value ? TAG_TRUE : TAG_FALSE)
      return undefined
    case 'bigint':
      writer.bigint(value)
      return undefined
    case 'symbol':
      if (!writer.symbol(value)) throw cannotCross(value, above)
      return undefined
    case 'object':
      if (value !== null) return writeObject(writer, value, above)
      writer.byte(TAG_NULL)
      return undefined
    default:
      throw cannotCross(value, above)
  }
}

function writeObject(writer: Writer, value: object, above: Written | undefined): Written | undefined {
  if (isProxy(value)) throw cannotCross(value, above)
  if (value instanceof RecordBase) {
    const kind = value.$kind
    writer.record(kind, kind.label, kind.arity, kind.slots > kind.arity)
    return { of: value, size: kind.slots, next: 0, above, as: 'record' }
  }
  if (Array.isArray(value)) {
    writer.array(value.length)
    return { of: value, size: value.length, next: 0, above, as: 'array' }
  }
  if (value instanceof Uint8Array) {
    writer.bytes(value)
    return undefined
  }
  if (value instanceof Wildcard) {
    const number = instanceNumber(value)
    if (number !== undefined && number >= CANONICAL_MAX) throw cannotCross(value, above)
    writer.wildcard(value)
    return undefined
  }
  if (isDate(value)) {
    writer.byte(TAG_DATE)
    writer.float(Date.prototype.getTime.call(value))
    return undefined
  }
  if (value instanceof UnknownRecord) {
    const { label, values, instanced } = value
    const arity = instanced ? values.length - 1 : values.length
    writer.record(`${arity}:${Number(instanced)}:${label}`, label, arity, instanced)
    return { of: values, size: values.length, next: 0, above, as: 'array' }
  }
  if (value instanceof ErrorParts) return beginList(writer, TAG_ERROR, value.parts, above, 'error')
  if (isError(value)) return beginList(writer, TAG_ERROR, errorParts(value), above, 'error')
  if (isPlain(value)) return beginList(writer, TAG_OBJECT, entriesOf(value), above, 'object')
  throw cannotCross(value, above)
}

function beginList(
  writer: Writer, tag: number, parts: readonly unknown[], above: Written | undefined, as: 'object' | 'error',
): Written {
  writer.byte(tag)
  writer.count(parts.length)
  return { of: parts, size: parts.length, next: 0, above, as }
}

// ---- Reading ----

/** A kind of records that the bytes have named; with `known` if this program has defined it. */
interface NamedKind {
  readonly label: string
  readonly arity: number
  readonly instanced: boolean
  readonly known: RecordKind | undefined
}

type Whole = 'array' | 'object' | 'error' | NamedKind

/** A value with parts of which some are read. */
interface Read {
  readonly as: Whole
  readonly parts: unknown[]
  readonly size: number
  readonly above: Read | undefined
}

function bad(what: string): Error {
  return Object.assign(new Error(`decode: ${what}`), { code: 'EBADMSG' })
}

const ERRORS: Readonly<Record<string, ErrorConstructor>> = {
  Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError,
}

/**
 * The kind of records that was named last, with the bytes that named it: messages that follow each other are mostly of
 * one kind, and to look a kind up by its label costs as much as to read the rest of a short message.
 */
const lastNamed: { bytes: Uint8Array, kind: NamedKind | undefined } = { bytes: new Uint8Array(0), kind: undefined }
/** Longer names of kinds are not kept. */
const NAMED_MAX = 64

class Reader {
  readonly #bytes: Buffer
  #at: number
  readonly #end: number
  #kinds: NamedKind[] | undefined
  #wildcards: Wildcard[] | undefined
  /** Symbols that stand for those of the registry: the same key is the same symbol within one value. */
  #standIns: Map<string, symbol> | undefined
  /** The value that was begun last; what has parts waits here for them. */
  #here: Read | undefined

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
  }

  all(deepest: number, most: number): unknown {
    const version = this.#byte()
    if (version !== ENCODING_VERSION) {
      throw bad(`these bytes are of format ${version}; this version of marketplace-native reads ${ENCODING_VERSION}`)
    }
    let depth = 0
    let parts = 0
    for (;;) {
      const before = this.#here
      let value = this.#value()
      if (this.#here !== before) {
        if (++depth > deepest) throw bad(`there are more than ${deepest} levels`)
        if ((parts += (this.#here as Read).size) > most) throw bad(`there are more than ${most} parts`)
        continue
      }
      for (;;) {
        const here: Read | undefined = this.#here
        if (here === undefined) {
          const left = this.#end - this.#at
          if (left > 0) throw bad(`${left} bytes follow the value`)
          return value
        }
        here.parts.push(value)
        if (here.parts.length < here.size) break
        value = whole(here.as, here.parts)
        this.#here = here.above
        depth--
      }
    }
  }

  #need(n: number): void {
    const left = this.#end - this.#at
    if (n > left) throw bad(`${n} bytes were to follow, and ${left} are left`)
  }

  #byte(): number {
    this.#need(1)
    return this.#bytes[this.#at++]
  }

  #count(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#byte()
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) {
        if (value > 0x7fffffff) break
        return value
      }
    }
    throw bad('a number is longer than there are such')
  }

  #float(): number {
    this.#need(8)
    const value = this.#bytes.readDoubleLE(this.#at)
    this.#at += 8
    return value
  }

  #string(length: number): string {
    this.#need(length)
    const start = this.#at
    this.#at += length
    return this.#bytes.toString('latin1', start, this.#at)
  }

  #wideString(): string {
    const length = 2 * this.#count()
    this.#need(length)
    const start = this.#at
    this.#at += length
    return this.#bytes.toString('utf16le', start, this.#at)
  }

  #copy(): Uint8Array {
    const length = this.#count()
    this.#need(length)
    const start = this.#at
    this.#at += length
    if (length > FEW_BYTES) return new Uint8Array(this.#bytes.subarray(start, this.#at))
    const copied = new Uint8Array(length)
    for (let i = 0; i < length; i++) copied[i] = this.#bytes[start + i]
    return copied
  }

  #slice(): Buffer {
    const length = this.#count()
    this.#need(length)
    const start = this.#at
    this.#at += length
    return this.#bytes.subarray(start, this.#at)
  }

  #bigint(): bigint {
    const hex = this.#slice().toString('hex')
    return hex === '' ? 0n : BigInt(`0x${hex}`)
  }

  /** What must be a string. That is asked first: anything else might go on with a string, and so without end. */
  #text(): string {
    const tag = this.#bytes[this.#at]
    const short = tag >= TAG_SHORT_STRING && tag < TAG_SHORT_ARRAY
    if (!short && tag !== TAG_STRING && tag !== TAG_WIDE_STRING) throw bad('something else stands in a string\'s place')
    return this.#value() as string
  }

  /** Begins a value with parts; each takes a byte at least, so that nobody can claim many for few bytes. */
  #begin(as: Whole, size: number): unknown {
    this.#need(size)
    if (size === 0) return whole(as, [])
    this.#here = { as, parts: [], size, above: this.#here }
    return undefined
  }

  #record(kind: NamedKind | undefined): unknown {
    if (kind === undefined) throw bad('a record is of a kind that was not named')
    return this.#begin(kind, kind.instanced ? kind.arity + 1 : kind.arity)
  }

  #newKind(): NamedKind {
    const start = this.#at
    const kind = this.#namedAgain() ?? this.#named()
    ;(this.#kinds ??= []).push(kind)
    if (kind !== lastNamed.kind && kind.known !== undefined && this.#at - start <= NAMED_MAX) {
      lastNamed.bytes = new Uint8Array(this.#bytes.subarray(start, this.#at))
      lastNamed.kind = kind
    }
    return kind
  }

  /** The kind that was named last, if the next bytes are the same; these are read then. */
  #namedAgain(): NamedKind | undefined {
    const { bytes, kind } = lastNamed
    const { length } = bytes
    if (kind === undefined || length > this.#end - this.#at) return undefined
    for (let i = 0; i < length; i++) if (bytes[i] !== this.#bytes[this.#at + i]) return undefined
    this.#at += length
    return kind
  }

  #named(): NamedKind {
    const label = this.#text()
    const arity = this.#count()
    this.#need(arity)
    const flag = this.#byte()
    if (flag > 1) throw bad('a record has neither an instance nor none')
    const instanced = flag === 1
    const found = kindNamed(label, arity)
    const known = found !== undefined && found.slots > arity === instanced ? found : undefined
    return { label, arity, instanced, known }
  }

  #wildcard(): Wildcard {
    const tag = this.#bytes[this.#at]
    if (tag < TAG_SHORT_STRING || tag === TAG_INTEGER || tag === TAG_FLOAT) {
      const number = this.#value() as number
      if (Number.isInteger(number) && number >= 0) return wild(number)
      throw bad('a wildcard has a name that none can have')
    }
    if (tag === TAG_SYMBOL || tag === TAG_SHARED_SYMBOL) return wild(this.#value() as symbol)
    return wild(this.#text())
  }

  #symbol(key: string): symbol {
    if (key.length > SYMBOL_LENGTH_MAX) throw bad(`a symbol has more than ${SYMBOL_LENGTH_MAX} characters`)
    if (mayRegister(key)) return Symbol.for(key)
    this.#standIns ??= new Map()
    const standIn = this.#standIns.get(key) ?? Symbol(key)
    this.#standIns.set(key, standIn)
    return standIn
  }

  #ownWildcard(): Wildcard {
    const number = this.#count()
    const wildcards = (this.#wildcards ??= [])
    if (number > wildcards.length) throw bad('a wildcard comes before its predecessor')
    return (wildcards[number] ??= wild())
  }

  /** Reads a value without parts, or begins one with parts, which is then in `#here`. */
  #value(): unknown {
    const tag = this.#byte()
    if (tag < TAG_SHORT_STRING) return tag
    if (tag < TAG_SHORT_ARRAY) return this.#string(tag - TAG_SHORT_STRING)
    if (tag < TAG_SHORT_RECORD) return this.#begin('array', tag - TAG_SHORT_ARRAY)
    if (tag < TAG_UNDEFINED) return this.#record(this.#kinds?.[tag - TAG_SHORT_RECORD])
    switch (tag) {
      case TAG_UNDEFINED:
        return undefined
      case TAG_NULL:
        return null
      case TAG_FALSE:
        return false
      case TAG_TRUE:
        return true
      case TAG_INTEGER:
        return this.#count()
      case TAG_NEGATIVE_INTEGER:
        return -1 - this.#count()
      case TAG_FLOAT:
        return this.#float()
      case TAG_STRING:
        return this.#string(this.#count())
      case TAG_WIDE_STRING:
        return this.#wideString()
      case TAG_BYTES:
        return this.#copy()
      case TAG_BUFFER:
        return Buffer.from(this.#slice())
      case TAG_BIGINT:
        return this.#bigint()
      case TAG_NEGATIVE_BIGINT:
        return -this.#bigint()
      case TAG_ARRAY:
        return this.#begin('array', this.#count())
      case TAG_NEW_RECORD:
        return this.#record(this.#newKind())
      case TAG_RECORD:
        return this.#record(this.#kinds?.[this.#count()])
      case TAG_SYMBOL:
        return this.#symbol(this.#text())
      case TAG_SHARED_SYMBOL:
        return shared(this.#text())
      case TAG_FRESH:
        return _
      case TAG_ANY_INSTANCE:
        return ANY_INSTANCE
      case TAG_WILDCARD:
        return this.#wildcard()
      case TAG_OWN_WILDCARD:
        return this.#ownWildcard()
      case TAG_INSTANCE:
        return instance(this.#count())
      case TAG_DATE:
        return new Date(this.#float())
      case TAG_OBJECT:
        return this.#begin('object', this.#count())
      case TAG_ERROR:
        return this.#begin('error', this.#count())
      default:
        throw bad(`no value begins with ${tag}`)
    }
  }
}

/** Whether a key that others have named is in the registry from now on. */
function mayRegister(key: string): boolean {
  if (namedSymbols.has(key)) return true
  if (namedByOthers >= NAMED_SYMBOLS_MAX) {
    if (!toldOfSymbols) {
      toldOfSymbols = true
      const most = `${NAMED_SYMBOLS_MAX} symbols of other nodes are known, and JavaScript keeps each for ever`
      log('warning', `relay: ${most}; further ones are equal to nothing`, { first: key })
    }
    return false
  }
  namedByOthers++
  namedSymbols.add(key)
  return true
}

function shared(name: string): symbol {
  const symbol = sharedSymbol(name)
  if (symbol === undefined) throw bad(`there is no symbol ${show(name)} here`)
  return symbol
}

function instance(number: number): Wildcard {
  if (number >= CANONICAL_MAX) throw bad('a topic has more instances than one can have')
  return instanceWild(number)
}

function whole(as: Whole, parts: unknown[]): unknown {
  if (as === 'array') return parts
  if (as === 'object') return objectOf(parts)
  if (as === 'error') return errorOf(parts)
  if (as.known === undefined) return new UnknownRecord(as.label, parts, as.instanced)
  if (as.instanced && !isInstance(parts[as.arity])) throw bad('a record has an instance that none can have')
  return makeRecord(as.known, parts)
}

function isInstance(value: unknown): boolean {
  if (value instanceof Wildcard) return value === ANY_INSTANCE || instanceNumber(value) !== undefined
  return value === undefined || (typeof value === 'number' && Number.isSafeInteger(value) && value > 0)
}

function objectOf(parts: readonly unknown[]): object {
  if (parts.length % 2 !== 0) throw bad('an object has a key without a value')
  const object = {}
  for (let i = 0; i < parts.length; i += 2) {
    const key = parts[i]
    if (typeof key !== 'string') throw bad('an object has a key that is no string')
    define(object, key, parts[i + 1], true)
  }
  return object
}

/** Whatever the key is, `__proto__` too: an own property. */
function define(object: object, key: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(object, key, { value, enumerable, writable: true, configurable: true })
}

function errorOf(parts: readonly unknown[]): Error {
  const [name, message, cause] = parts
  if (typeof name !== 'string' || typeof message !== 'string' || !Array.isArray(cause) || parts.length % 2 === 0) {
    throw bad('an error is not made as one')
  }
  const Constructor = Object.hasOwn(ERRORS, name) ? ERRORS[name] : Error
  const error = withoutStack(() => new Constructor(message))
  if (error.name !== name) define(error, 'name', name, false)
  if (cause.length > 0) define(error, 'cause', cause[0], false)
  for (let i = 3; i < parts.length; i += 2) {
    const field = parts[i]
    if (typeof field !== 'string' || !isErrorField(field) || !isSimple(parts[i + 1])) {
      throw bad('an error has a property that none can have')
    }
    define(error, field, parts[i + 1], true)
  }
  return error
}

/** Where it was read says nothing about an error from elsewhere. */
function withoutStack<T>(make: () => T): T {
  const before = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return make()
  } finally {
    Error.stackTraceLimit = before
  }
}

/**
 * Reads what `encode` has written. The bytes may be anything.
 *
 * @returns a value that shares no memory with the bytes
 * @throws Error with code EBADMSG for bytes that are no value, or one that exceeds a limit
 */
export function decode(bytes: Uint8Array, limits?: EncodingLimits): unknown {
  if (!(bytes instanceof Uint8Array)) throw argumentError('decode', 'bytes', 'a Uint8Array', bytes)
  if (limits !== undefined) checkOptions('decode', limits, limitChecks, 'limits.')
  const { depth = DEPTH, parts = PARTS } = limits ?? {}
  if (bytes.length > BYTES_MAX) throw bad(`there are more than ${BYTES_MAX} bytes`)
  return new Reader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length).all(depth, parts)
}

/** The same of a part of some bytes. */
export function decodeAt(bytes: Buffer, start: number, end: number): unknown {
  return new Reader(bytes, start, end).all(DEPTH, PARTS)
}

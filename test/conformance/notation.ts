/**
 * The notation of the scenarios: lists, vectors, records, words and wildcards, read and written.
 *
 * `` v`(x ?)` `` makes a value for the public API, and a `Notation` prints one in the same form. Words are
 * registered symbols, lists are arrays; a vector is a record of its own kind, so that it never meets a
 * list. Ports are printed by the names that the golden traces give them.
 */
import * as api from 'marketplace-native'
import { _, defineRecord, eof, EventSource, wild, Wildcard } from 'marketplace-native'

type Make = (...parts: readonly unknown[]) => unknown

const constructors = new Map<string, Make>()
for (const make of Object.values(api) as unknown[]) {
  if (typeof make !== 'function' || !('label' in make && 'fields' in make)) continue
  constructors.set(`${make.label as string}/${(make.fields as unknown[]).length}`, make as unknown as Make)
}

function constructorOf(label: string, arity: number): Make {
  const key = `${label}/${arity}`
  let make = constructors.get(key)
  if (make === undefined) {
    make = defineRecord(label, Array.from({ length: arity }, (_, i) => `part${i}`))
    constructors.set(key, make)
  }
  return make
}

/** A word of the scenarios. */
export const word = (name: string): symbol => Symbol.for(name)

const TOKEN = /\s+|#?\(|\)|\{|\}|#?"(?:[^"\\]|\\.)*"|[^\s(){}"]+/gy

class Reader {
  private readonly tokens: string[]
  private at = 0
  private readonly text: string
  private readonly values: readonly unknown[]

  constructor(text: string, values: readonly unknown[]) {
    this.text = text
    this.values = values
    this.tokens = text.match(TOKEN)?.filter((token) => token.trim() !== '') ?? []
  }

  readAll(): unknown {
    const value = this.read()
    if (this.at < this.tokens.length) throw new SyntaxError(`one value expected: ${this.text}`)
    return value
  }

  private read(): unknown {
    const token = this.tokens[this.at++]
    if (token === '(') return this.parts(')')
    if (token === '#(') {
      const parts = this.parts(')')
      return constructorOf('vector', parts.length)(...parts)
    }
    if (token === undefined || /^[)}]/.test(token)) throw new SyntaxError(`unbalanced: ${this.text}`)
    if (this.tokens[this.at] === '{') {
      this.at += 1
      const parts = this.parts('}')
      return constructorOf(token, parts.length)(...parts)
    }
    return this.atom(token)
  }

  private parts(end: string): unknown[] {
    const parts: unknown[] = []
    while (this.tokens[this.at] !== end) parts.push(this.read())
    this.at += 1
    return parts
  }

  private atom(token: string): unknown {
    if (token.startsWith('$')) return this.values[Number(token.slice(1))]
    if (token === '?') return _
    if (token.startsWith('?')) return wild(token.slice(1))
    if (token === '#t') return true
    if (token === '#f') return false
    if (token.startsWith('"')) return JSON.parse(token)
    if (token.startsWith('#"')) return Buffer.from(JSON.parse(token.slice(1)) as string, 'latin1')
    if (/^-?\d+n$/.test(token)) return BigInt(token.slice(0, -1))
    if (/^-?\d+$/.test(token)) return Number(token)
    return word(token)
  }
}

/** Reads a value: `` v`(same ?X ?X)` ``, `` v`addr{"h" ?}` ``. Other values are put in by `${...}`. */
export function v(strings: TemplateStringsArray, ...values: readonly unknown[]): unknown {
  const text = strings.map((part, i) => (i === 0 ? part : ` $${i - 1} ${part}`)).join('')
  return new Reader(text, values).readAll()
}

/** Labels that the traces write shorter than the records are called. */
const SHORT: Readonly<Record<string, string>> = {
  'tcp-address': 'addr',
  'udp-remote-address': 'addr',
  'udp-packet': 'udp-packet-repr',
  'udp-listener': 'udp-listener-repr',
  'udp-handle': 'udp-handle-repr',
  'set-timer': 'set-timer-repr',
  'timer-expired': 'timer-expired-repr',
}

const ADDRESSES = new Set(['addr', 'tcp-listener', 'udp-listener-repr'])

/** Prints values as the traces of one scenario show them. */
export class Notation {
  private readonly ports = new Map<number, string>()
  private ephemeral = 0

  /** Prints a port that the test chose as the number that stands in the golden trace. */
  namePort(port: number, name: number): void {
    this.ports.set(port, String(name))
  }

  show(value: unknown): string {
    if (value === undefined || value === false) return '#f'
    if (value === true) return '#t'
    if (value === eof) return '<eof>'
    if (typeof value === 'string') return JSON.stringify(value)
    if (typeof value === 'symbol') return value.description ?? '#<symbol>'
    if (typeof value === 'bigint') return `${value}n`
    if (typeof value === 'number' || value === null) return String(value)
    return typeof value === 'object' ? this.showObject(value) : `#<${typeof value}>`
  }

  private showObject(value: object): string {
    if (value instanceof Wildcard) return typeof value.name === 'number' ? `?!${value.name}` : '?'
    if (value instanceof EventSource) return '<evt>'
    if (value instanceof Error) return `<exn: ${value.message}>`
    if (value instanceof Uint8Array) return `#${JSON.stringify(Buffer.from(value).toString('latin1'))}`
    if (Array.isArray(value)) {
      // What the original writes as a pair of an event and its value is a list of two here.
      if (value.length === 2 && value[0] instanceof EventSource) return `(<evt> . ${this.show(value[1])})`
      return `(${value.map((part) => this.show(part)).join(' ')})`
    }
    const record = fieldsOf(value)
    if (record === undefined) return `#<${value.constructor.name}>`
    const label = SHORT[record.label] ?? record.label
    const shown = record.fields.map((field, i) =>
      ADDRESSES.has(label) && typeof field === 'number' && i === record.fields.length - 1
        ? this.showPort(field)
        : this.show(field),
    )
    return label === 'vector' ? `#(${shown.join(' ')})` : `${label}{${shown.join(' ')}}`
  }

  private showPort(port: number): string {
    let name = this.ports.get(port)
    // Small numbers are no ports of sockets, but fields of a scenario's own records.
    if (name === undefined && port < 1024) return String(port)
    if (name === undefined) this.ports.set(port, (name = `port#${++this.ephemeral}`))
    return name
  }
}

interface Fields {
  readonly label: string
  readonly fields: readonly unknown[]
}

function fieldsOf(value: object): Fields | undefined {
  if (!('toJSON' in value) || typeof value.toJSON !== 'function') return undefined
  const { record, ...fields } = (value as { toJSON(): Record<string, unknown> }).toJSON()
  return typeof record === 'string' ? { label: record, fields: Object.values(fields) } : undefined
}

/**
 * Topics and messages as text, as who looks into a VM writes them: `says('joe', _)`, `['tick', 1]`,
 * `tcp-channel(_, tcp-listener(5999), _)`.
 *
 * Owns the grammar:
 *
 * ```text
 * value  = "_" | "?" name | number | integer "n" | string | "true" | "false" | "null" | "undefined"
 *        | "[" values "]" | label "(" values ")" [ "#" instance ] | "bytes(" string ")"
 * string = in single or double quotes, with the escapes of JSON
 * ```
 *
 * A record's label must be that of records that the program has defined: none is made up here.
 */
import { closest } from 'fastest-levenshtein'
import { _, knownRecords, recordNamed, wild } from '../topic/index.js'

/** Characters of a text, and values inside of values. */
const LENGTH_MAX = 65_536
const DEPTH_MAX = 100

const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?n?/y
const WORD = /[\p{L}_$][\p{L}\p{N}_$-]*/uy
const SPACE = /\s*/y

const WORDS = new Map<string, unknown>([
  ['_', _], ['true', true], ['false', false], ['null', null], ['undefined', undefined], ['NaN', NaN],
  ['Infinity', Infinity],
])

/**
 * The topic or message that a text stands for.
 *
 * @throws SyntaxError that says where, and what was expected
 */
export function parseTopic(text: string): unknown {
  if (typeof text !== 'string') throw new SyntaxError('a topic is written as a string')
  if (text.length > LENGTH_MAX) throw new SyntaxError(`a topic has at most ${LENGTH_MAX} characters`)
  return new Parser(text).all()
}

class Parser {
  #at = 0

  constructor(readonly text: string) {}

  all(): unknown {
    const value = this.#value(0)
    this.#space()
    if (this.#at < this.text.length) this.#fail('the end')
    return value
  }

  #value(depth: number): unknown {
    if (depth > DEPTH_MAX) this.#fail(`at most ${DEPTH_MAX} levels`)
    this.#space()
    const next = this.text[this.#at]
    if (next === '[') return this.#list('[', ']', depth)
    if (next === '"' || next === "'") return this.#string(next)
    if (next === '?') {
      this.#at++
      return wild(this.#take(WORD) ?? this.#fail('the name of a wildcard'))
    }
    const number = this.#take(NUMBER)
    if (number !== undefined) return this.#number(number)
    const word = this.#take(WORD)
    if (word === undefined) return this.#fail('a value')
    this.#space()
    if (this.text[this.#at] === '(') return this.#record(word, depth)
    if (WORDS.has(word)) return WORDS.get(word)
    this.#at -= word.length
    return this.#fail(`a value; text is written in quotes: '${word}'`)
  }

  #number(text: string): number | bigint {
    if (!text.endsWith('n')) return Number(text)
    if (!/^-?\d+n$/.test(text)) this.#fail('an integer before the n')
    return BigInt(text.slice(0, -1))
  }

  #record(label: string, depth: number): unknown {
    const values = this.#list('(', ')', depth)
    if (label === 'bytes' && values.length === 1 && typeof values[0] === 'string') return Buffer.from(values[0])
    let instance: number | undefined
    if (this.text[this.#at] === '#') {
      this.#at++
      instance = Number(this.#take(/\d+/y) ?? this.#fail('the number of an instance'))
    }
    const record = recordNamed(label, values, instance)
    if (record !== undefined) return record
    const known = knownRecords()
    const same = known.filter((kind) => kind.label === label)
    const list = same.map(({ fields }) => `${label}(${fields.join(', ')})`)
    if (list.length > 0) throw new SyntaxError(`${label} has not ${values.length} fields: there is ${list.join(', ')}`)
    const near = known.length === 0 ? '' : `; did you mean ${closest(label, known.map((kind) => kind.label))}?`
    throw new SyntaxError(`the program has no records ${label} of ${values.length} fields${near}`)
  }

  #list(open: string, close: string, depth: number): unknown[] {
    this.#expect(open)
    const values: unknown[] = []
    this.#space()
    if (this.text[this.#at] === close) {
      this.#at++
      return values
    }
    for (;;) {
      values.push(this.#value(depth + 1))
      this.#space()
      if (this.text[this.#at] === close) break
      this.#expect(',')
    }
    this.#at++
    return values
  }

  #string(quote: string): string {
    let out = ''
    for (this.#at++; this.text[this.#at] !== quote; this.#at++) {
      const next = this.text[this.#at]
      if (next === undefined) this.#fail(`a ${quote} that ends the string`)
      if (next !== '\\') {
        out += next
        continue
      }
      this.#at++
      out += this.#escape()
    }
    this.#at++
    return out
  }

  #escape(): string {
    const plain: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f', 0: '\0' }
    const next = this.text[this.#at] ?? this.#fail('a character after the backslash')
    if (next !== 'u' && next !== 'x') return plain[next] ?? next
    const digits = next === 'u' ? 4 : 2
    const code = this.text.slice(this.#at + 1, this.#at + 1 + digits)
    if (!/^[0-9a-fA-F]+$/.test(code) || code.length < digits) this.#fail(`${digits} hexadecimal digits`)
    this.#at += digits
    return String.fromCharCode(parseInt(code, 16))
  }

  #expect(what: string): void {
    if (this.text[this.#at] !== what) this.#fail(`'${what}'`)
    this.#at++
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.text)?.[0]
    if (found !== undefined) this.#at += found.length
    return found
  }

  #space(): void {
    this.#take(SPACE)
  }

  #fail(expected: string): never {
    const here = this.text.slice(this.#at, this.#at + 20)
    const where = here === '' ? 'the end' : `'${here}'`
    throw new SyntaxError(`at character ${this.#at + 1}, before ${where}: expected ${expected}`)
  }
}

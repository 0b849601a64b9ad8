/**
 * Redis' request protocol, RESP2: bytes in pieces of any size become commands, lists of arguments. Inline
 * commands, as people type them into telnet, too.
 *
 * The arguments are places in what was received, from which nothing is made before somebody asks: who keeps one
 * copies it.
 */

import { Gather } from '../support/gather.js'

/** One that can't be understood: what follows it could be anything, so that the connection has to close. */
export class ProtocolError extends Error {}

/** Node's own way from bytes to text, without the detour by the encoding's name. */
type Input = Buffer & { latin1Slice(start: number, end: number): string }

const NOTHING = Buffer.alloc(0) as Input

/** The arguments of a command, its name first: good until the parser goes on. */
export class Arguments {
  length = 0
  #input: Input = NOTHING
  /** Where each begins and ends. */
  #places: number[] = []

  /** With a character for each byte. */
  text(i: number): string {
    return this.#input.latin1Slice(this.#places[2 * i], this.#places[2 * i + 1])
  }

  /** A view. */
  bytes(i: number): Buffer {
    return this.#input.subarray(this.#places[2 * i], this.#places[2 * i + 1])
  }

  /** Views of all from one on. */
  all(from = 0): Buffer[] {
    return Array.from({ length: this.length - from }, (_, i) => this.bytes(from + i))
  }

  /** @internal */
  set(input: Buffer, places: number[], length: number): this {
    this.#input = input as Input
    this.#places = places
    this.length = length
    return this
  }
}

/** Redis' limits. */
const INLINE_MAX = 64 * 1024
const ARGUMENTS_MAX = 1024 * 1024
const BULK_MAX = 512 * 1024 * 1024
/** Bytes of all of a command: its query buffer. */
const COMMAND_MAX = 1024 * 1024 * 1024
/** Digits of a length, with its sign. */
const LENGTH_MAX = 20

const ASTERISK = 42
const DOLLAR = 36
const CR = 13
const LF = 10
const ZERO = 48
/** Digits of a number that is read without asking where its line ends. */
const SHORT = 8
/** Room for the arguments of a command that is kept for the next one. */
const PLACES_KEPT = 64
const NONE: number[] = []

export class CommandParser {
  /** What came of a command that isn't complete, from its begin on. */
  readonly #begun = new Gather()
  /** What is parsed, from the begin of the command at hand on. */
  #input: Buffer = NOTHING
  /** So many bytes are needed before it is worth while to look again. */
  #needed = 1
  /** Where the command at hand begins, and where the parser is. */
  #start = 0
  #at = 0
  /** Up to where there is no end of a line, for a command without lengths. */
  #searched = 0
  /** Where the arguments of the command at hand begin and end, so many of them, and how many it has; -1: not begun. */
  #places: number[] = []
  #count = 0
  #expected = -1
  /** Length of the argument at hand; -1: not known yet. */
  #length = -1
  readonly #command = new Arguments()

  /**
   * Takes bytes.
   *
   * @param found is called with each command that is complete
   * @throws ProtocolError after the commands before it
   */
  feed(chunk: Buffer, found: (command: Arguments) => void): void {
    const begun = this.#begun
    const joined = begun.length > 0
    if (joined) begun.add(chunk)
    if (begun.length + (joined ? 0 : chunk.length) < this.#needed) {
      if (!joined) begun.add(chunk)
      return
    }
    this.#input = joined ? begun.bytes : chunk
    if (this.#input.length > COMMAND_MAX) throw new ProtocolError('too big command')
    for (let command = this.#next(); command !== undefined; command = this.#next()) {
      this.#start = this.#at
      found(command)
    }
    this.#needed = this.#length < 0 ? this.#input.length + 1 : this.#at + this.#length + 2
    if (joined || this.#start < this.#input.length) this.#keep(joined)
    else this.#begin()
    this.#input = NOTHING
    // What was received is to be let go of, and so is the room that a long command took.
    this.#command.set(NOTHING, NONE, 0)
    if (this.#places.length > PLACES_KEPT && this.#count === 0) this.#places = []
  }

  /** Nothing has been begun. */
  #begin(): void {
    this.#start = this.#at = this.#searched = 0
    this.#needed = 1
  }

  /** Keeps what has been begun, so that it is at the begin of the input the next time. */
  #keep(joined: boolean): void {
    const start = this.#start
    if (joined && start === 0) return
    const rest = this.#input.subarray(start)
    // The commands that were found stay where they are: they are views.
    if (joined) this.#begun.forget()
    this.#begun.add(rest)
    this.#needed -= start
    this.#at -= start
    this.#searched = Math.max(0, this.#searched - start)
    for (let i = 0; i < 2 * this.#count; i++) this.#places[i] -= start
    this.#start = 0
  }

  #next(): Arguments | undefined {
    if (this.#expected < 0) {
      if (this.#at >= this.#input.length) return undefined
      if (this.#input[this.#at] !== ASTERISK) return this.#inline()
      const count = this.#number('multibulk length', ARGUMENTS_MAX)
      if (count === undefined) return undefined
      this.#expected = Math.max(count, 0)
    }
    while (this.#count < this.#expected) {
      if (!this.#bulk()) return undefined
    }
    const count = this.#count
    this.#count = 0
    this.#expected = -1
    return this.#command.set(this.#input, this.#places, count)
  }

  /** `$3\r\nabc\r\n`: false if it is not there yet. */
  #bulk(): boolean {
    if (this.#length < 0) {
      const type = this.#input[this.#at]
      if (type === undefined) return false
      if (type !== DOLLAR) throw new ProtocolError(`expected '$', got '${String.fromCharCode(type)}'`)
      const length = this.#number('bulk length', BULK_MAX)
      if (length === undefined) return false
      if (length < 0) throw new ProtocolError('invalid bulk length')
      this.#length = length
    }
    const end = this.#at + this.#length
    if (this.#input.length < end + 2) return false
    const place = 2 * this.#count++
    this.#places[place] = this.#at
    this.#places[place + 1] = end
    this.#at = end + 2
    this.#length = -1
    return true
  }

  /** `*3\r\n`, `$3\r\n`: the number; undefined if it is not there yet. */
  #number(what: string, most: number): number | undefined {
    const input = this.#input
    const begin = this.#at + 1
    const last = Math.min(begin + SHORT, input.length - 2)
    let value = 0
    let at = begin
    for (; at < last; at++) {
      const digit = input[at] - ZERO
      if (!(digit >= 0 && digit <= 9)) break
      value = 10 * value + digit
    }
    if (at === begin || input[at] !== CR || value > most) return this.#anyNumber(what, most)
    this.#at = at + 2
    return value
  }

  /** The same for what is not so simple, or wrong. */
  #anyNumber(what: string, most: number): number | undefined {
    const line = this.#input.indexOf(CR, this.#at)
    if (line < 0 || line > this.#at + LENGTH_MAX) {
      if (line >= 0 || this.#input.length > this.#at + LENGTH_MAX) throw new ProtocolError(`invalid ${what}`)
      return undefined
    }
    if (line + 1 >= this.#input.length) return undefined
    const digits = this.#input.toString('latin1', this.#at + 1, line)
    if (!/^-?\d+$/.test(digits) || Number(digits) > most) throw new ProtocolError(`invalid ${what}`)
    this.#at = line + 2
    return Number(digits)
  }

  /** Words up to the end of the line. */
  #inline(): Arguments | undefined {
    const end = this.#input.indexOf(LF, Math.max(this.#at, this.#searched))
    if ((end < 0 ? this.#input.length : end) - this.#at > INLINE_MAX) {
      throw new ProtocolError('too big inline request')
    }
    this.#searched = this.#input.length
    if (end < 0) return undefined
    this.#searched = 0
    const line = this.#input.toString('latin1', this.#at, end).trim()
    this.#at = end + 1
    const words = line.matchAll(/"((?:[^"\\]|\\.)*)"(?=\s|$)|'([^']*)'(?=\s|$)|([^\s"']+)|(["'])/g)
    const found = Array.from(words, ([, double, single, bare, stray]: (string | undefined)[]) => {
      if (stray !== undefined) throw new ProtocolError('unbalanced quotes in request')
      return Buffer.from(double?.replace(/\\(.)/g, '$1') ?? single ?? bare ?? '', 'latin1')
    })
    const places: number[] = []
    let filled = 0
    for (const { length } of found) places.push(filled, filled += length)
    return this.#command.set(Buffer.concat(found), places, found.length)
  }
}

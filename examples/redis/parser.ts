/**
 * Redis' request protocol, RESP2: bytes in pieces of any size become commands, lists of arguments. Inline
 * commands, as people type them into telnet, too.
 *
 * The arguments are views of what was received: who keeps one copies it.
 */

/** One that can't be understood: what follows it could be anything, so that the connection has to close. */
export class ProtocolError extends Error {}

export type Arguments = Buffer[]

/** Redis' limits. */
const INLINE_MAX = 64 * 1024
const ARGUMENTS_MAX = 1024 * 1024
const BULK_MAX = 512 * 1024 * 1024
/** Digits of a length, with its sign. */
const LENGTH_MAX = 20

const ASTERISK = 42
const DOLLAR = 36
const CR = 13
const LF = 10

export class CommandParser {
  #input: Buffer = Buffer.alloc(0)
  /** What came since, if a command needs more: joined when enough is there. */
  #more: Buffer[] = []
  #bytes = 0
  /** So many bytes are needed before it is worth while to look again. */
  #needed = 1
  /** Where the parser is. */
  #at = 0
  /** Arguments of the command at hand, and how many it has; -1: it has not begun. */
  #arguments: Arguments = []
  #expected = -1
  /** Length of the argument at hand; -1: not known yet. */
  #length = -1

  /**
   * Takes bytes.
   *
   * @param found is called with each command that is complete
   * @throws ProtocolError after the commands before it
   */
  feed(chunk: Buffer, found: (command: Arguments) => void): void {
    this.#more.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes < this.#needed) return
    this.#input = this.#more.length === 1 ? chunk : Buffer.concat(this.#more, this.#bytes)
    this.#at = 0
    for (let command = this.#next(); command !== undefined; command = this.#next()) found(command)
    // The arguments so far are views of the input, which stays for as long as they are needed.
    const rest = this.#input.subarray(this.#at)
    this.#more = rest.length === 0 ? [] : [rest]
    this.#bytes = rest.length
    this.#needed = this.#length < 0 ? rest.length + 1 : this.#length + 2
  }

  #next(): Arguments | undefined {
    if (this.#expected < 0) {
      if (this.#at >= this.#input.length) return undefined
      if (this.#input[this.#at] !== ASTERISK) return this.#inline()
      const count = this.#number('multibulk length', ARGUMENTS_MAX)
      if (count === undefined) return undefined
      this.#expected = Math.max(count, 0)
    }
    while (this.#arguments.length < this.#expected) {
      const argument = this.#bulk()
      if (argument === undefined) return undefined
      this.#arguments.push(argument)
    }
    const command = this.#arguments
    this.#arguments = []
    this.#expected = -1
    return command
  }

  /** `$3\r\nabc\r\n` */
  #bulk(): Buffer | undefined {
    if (this.#length < 0) {
      const type = this.#input[this.#at]
      if (type === undefined) return undefined
      if (type !== DOLLAR) throw new ProtocolError(`expected '$', got '${String.fromCharCode(type)}'`)
      const length = this.#number('bulk length', BULK_MAX)
      if (length === undefined) return undefined
      if (length < 0) throw new ProtocolError('invalid bulk length')
      this.#length = length
    }
    const end = this.#at + this.#length
    if (this.#input.length < end + 2) return undefined
    const argument = this.#input.subarray(this.#at, end)
    this.#at = end + 2
    this.#length = -1
    return argument
  }

  /** `*3\r\n`, `$3\r\n`: the number; undefined if it is not there yet. */
  #number(what: string, most: number): number | undefined {
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
    const end = this.#input.indexOf(LF, this.#at)
    if ((end < 0 ? this.#input.length : end) - this.#at > INLINE_MAX) {
      throw new ProtocolError('too big inline request')
    }
    if (end < 0) return undefined
    const line = this.#input.toString('latin1', this.#at, end).trim()
    this.#at = end + 1
    const words = line.matchAll(/"((?:[^"\\]|\\.)*)"(?=\s|$)|'([^']*)'(?=\s|$)|([^\s"']+)|(["'])/g)
    return Array.from(words, ([, double, single, bare, stray]: (string | undefined)[]) => {
      if (stray !== undefined) throw new ProtocolError('unbalanced quotes in request')
      return Buffer.from(double?.replace(/\\(.)/g, '$1') ?? single ?? bare ?? '', 'latin1')
    })
  }
}

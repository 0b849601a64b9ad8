/**
 * Frames: how a stream of bytes is cut into messages, and how a message becomes part of such a stream.
 *
 * Owns the modes and their checks, what a frame of each looks like (`FrameRule`), and the search for the end of one
 * that comes in pieces (`FrameScanner`). native/engine/framer.h does the same search; what it takes for unusual it
 * leaves to this one, which says what is wrong with it.
 *
 * Invariants: each byte is looked at a bounded number of times, however a peer cuts what it sends; nothing is kept
 * of a piece but numbers, which `FrameScanner` has all of; a length is compared with its limit before anything
 * relies on it.
 */
import { constants } from 'node:os'
import { checkOptions, integer, ofType, oneOf, type Checks } from '../../support/checks.js'
import { argumentError, rangeError, socketError } from '../../support/errors.js'
import type { SocketError } from '../../support/socket-error.js'

/** Each frame has its length before it: in a field of a fixed number of bytes, at a fixed place. */
export interface LengthMode {
  /** Which kind of frames. */
  readonly frame: 'length'
  /** How many bytes the field has. */
  readonly bytes: 1 | 2 | 4 | 8
  /** Which of them comes first: the most significant one ('big', the default), or the least ('little'). */
  readonly endian?: 'big' | 'little' | undefined
  /** How many bytes of the frame come before the field: they and the field are the header. From 0 to 255; default 0. */
  readonly offset?: number | undefined
  /**
   * What is to be added to the number in the field to make it the number of bytes after the field, or, with
   * `inclusive`, that of all bytes of the frame. Default 0.
   */
  readonly adjust?: number | undefined
  /** Whether the number in the field counts the header as well. Default false. */
  readonly inclusive?: boolean | undefined
  /**
   * Whether the header is taken off what comes, and put before what is sent. With false, programs are given whole
   * frames, and send whole frames. Default true.
   */
  readonly strip?: boolean | undefined
  /** Most bytes after the header, of frames that come. Default: the driver's `maxFrameLength`. */
  readonly max?: number | undefined
}

/** Each frame has its length before it, as Protocol Buffers write it: base 128, 7 bits a byte, the lowest first. */
export interface VarintMode {
  /** Which kind of frames. */
  readonly frame: 'varint'
  /** As that of `LengthMode`. */
  readonly strip?: boolean | undefined
  /** As that of `LengthMode`. */
  readonly max?: number | undefined
}

/** A frame ends where certain bytes come. */
export interface DelimiterMode {
  /** Which kind of frames. */
  readonly frame: 'delimiter'
  /** 1 to 255 bytes; a string is taken as UTF-8. */
  readonly delimiter: Uint8Array | string
  /**
   * Whether the delimiter is taken off what comes, and put after what is sent. With false, programs are given frames
   * with their delimiter, and send such. Default true.
   */
  readonly strip?: boolean | undefined
  /** Most bytes before the delimiter, of frames that come. Default: the driver's `maxFrameLength`. */
  readonly max?: number | undefined
}

/** All frames have the same number of bytes. */
export interface FixedMode {
  /** Which kind of frames. */
  readonly frame: 'fixed'
  /** How many, from 1 to 1,073,741,824. */
  readonly bytes: number
}

/** A frame is a line, which ends with LF, CR or CRLF. What is sent goes as it is. */
export interface LinesMode {
  /** Which kind of frames. */
  readonly frame: 'lines'
  /** Most bytes of a line, without its end. Default: the driver's `maxLineLength`. */
  readonly max?: number | undefined
}

/** How bytes are cut into messages, by the name of the kind of frame. */
export type FrameMode = LengthMode | VarintMode | DelimiterMode | FixedMode | LinesMode

/** `'bytes'`: as they come. `'lines'`: the same as `{ frame: 'lines' }`. */
export type FlowMode = 'bytes' | 'lines' | FrameMode

/** The limits of modes that have none of their own. */
export interface FrameLimits {
  readonly maxLineLength: number
  readonly maxFrameLength: number
}

const LF = 10
const CR = 13
const NOTHING = Buffer.alloc(0)

/** Most bytes of a frame that any limit allows. */
export const FRAME_MAX = 2 ** 30
/** Default of `maxFrameLength` and `maxLineLength`. */
export const FRAME_LENGTH = 1024 * 1024
/** Bytes of the longest varint: one of 32 bits. */
const VARINT_MAX = 5
const DELIMITER_MAX = 255
/** So many bytes in a row that can't begin a delimiter, and a search by the machine is quicker than one by one. */
const MISSES = 32
/** What a byte counts in a little-endian field. */
const PLACES = [0, 1, 2, 3, 4, 5, 6, 7].map((place) => 256 ** place)

const max = integer(0, FRAME_MAX, 'bytes')
const strip = ofType('boolean')
const frame = oneOf('length', 'varint', 'delimiter', 'fixed', 'lines')

const lengthSizes: Checks[string] = (call, name, value) => {
  if (![1, 2, 4, 8].includes(value as number)) throw argumentError(call, name, '1, 2, 4 or 8', value)
}

const delimiterCheck: Checks[string] = (call, name, value) => {
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) {
    throw argumentError(call, name, 'bytes or a string', value)
  }
  const { length } = bytesOf(value)
  if (length < 1 || length > DELIMITER_MAX) {
    throw rangeError(call, name, `from 1 to ${DELIMITER_MAX} bytes long`, length)
  }
}

const checks: Readonly<Record<FrameMode['frame'], Checks>> = {
  length: {
    frame, strip, max,
    bytes: lengthSizes, endian: oneOf('big', 'little'), offset: integer(0, 255, 'bytes'),
    adjust: integer(-FRAME_MAX, FRAME_MAX, 'bytes'), inclusive: ofType('boolean'),
  },
  varint: { frame, strip, max },
  delimiter: { frame, strip, max, delimiter: delimiterCheck },
  fixed: { frame, bytes: integer(1, FRAME_MAX, 'bytes') },
  lines: { frame, max },
}

const required: Readonly<Partial<Record<FrameMode['frame'], string>>> = {
  length: 'bytes', delimiter: 'delimiter', fixed: 'bytes',
}

const EXPECTED = "'bytes', 'lines' or an object with a frame: 'length', 'varint', 'delimiter', 'fixed' or 'lines'"

/** @throws TypeError or RangeError for what is no mode */
export function checkMode(call: string, name: string, mode: unknown): asserts mode is FlowMode {
  if (mode === 'bytes' || mode === 'lines') return
  if (typeof mode !== 'object' || mode === null || Array.isArray(mode)) throw argumentError(call, name, EXPECTED, mode)
  const kind = (mode as { frame?: unknown }).frame
  if (typeof kind !== 'string' || !Object.hasOwn(checks, kind)) throw argumentError(call, name, EXPECTED, mode)
  const all = checks[kind as FrameMode['frame']]
  checkOptions(call, mode, all, `${name}.`)
  const needed = required[kind as FrameMode['frame']]
  if (needed !== undefined && (mode as Record<string, unknown>)[needed] === undefined) {
    all[needed](call, `${name}.${needed}`, undefined)
  }
}

function bytesOf(bytes: Uint8Array | string): Buffer {
  return Buffer.from(bytes as string)
}

/** What is wrong with what came, or with what was to be sent. */
function frameError(code: 'EMSGSIZE' | 'EPROTO', syscall: 'read' | 'write', text: string): SocketError {
  const error = socketError(-constants.errno[code], syscall)
  const message = `${error.message}: ${text}`
  return Object.assign(code === 'EMSGSIZE' ? new RangeError(message) : new Error(message), {
    code, errno: error.errno, syscall,
  })
}

/**
 * What a mode asks for; undefined for 'bytes'.
 *
 * @throws TypeError or RangeError for what is no mode
 */
export function frameRule(call: string, name: string, mode: unknown, limits: FrameLimits): FrameRule | undefined {
  // What is checked is what is used, whatever the program's object says the next time.
  const copy: unknown = typeof mode === 'object' && mode !== null && !Array.isArray(mode) ? { ...mode } : mode
  checkMode(call, name, copy)
  if (copy === 'bytes') return undefined
  return new FrameRule(copy === 'lines' ? { frame: 'lines' } : copy, limits)
}

/** A mode, checked and worked out. */
export class FrameRule {
  readonly kind: FrameMode['frame']
  readonly strip: boolean
  /** Most bytes without header, delimiter or line end; and what sets this limit. */
  readonly max: number
  readonly #limit: string
  /** Of a length field, of a fixed frame, or of a delimiter. */
  readonly size: number = 0
  readonly offset: number = 0
  /** What makes the number in a field that of all bytes of the frame. */
  readonly adjust: number = 0
  readonly little: boolean = false
  readonly delimiter: Buffer = NOTHING
  /**
   * Where the search goes on after a mismatch: how many of the first bytes are still matched (Knuth, Morris and
   * Pratt, 1977).
   */
  readonly borders: Uint8Array = NOTHING

  /** @param mode as `checkMode` lets it through */
  constructor(mode: FrameMode, { maxLineLength, maxFrameLength }: FrameLimits) {
    this.kind = mode.frame
    const own = mode.frame === 'fixed' ? mode.bytes : mode.max
    this.max = own ?? (mode.frame === 'lines' ? maxLineLength : maxFrameLength)
    this.#limit = own !== undefined ? 'max of the mode'
      : mode.frame === 'lines' ? 'maxLineLength' : 'maxFrameLength'
    this.strip = mode.frame === 'lines' || (mode.frame !== 'fixed' && mode.strip !== false)
    if (mode.frame === 'length') {
      const { bytes, offset = 0, adjust = 0, inclusive = false, endian = 'big' } = mode
      this.size = bytes
      this.offset = offset
      this.adjust = adjust + (inclusive ? 0 : offset + bytes)
      this.little = endian === 'little'
    } else if (mode.frame === 'fixed') {
      this.size = mode.bytes
    } else if (mode.frame === 'delimiter') {
      // A copy: the program may change its own.
      this.delimiter = bytesOf(mode.delimiter)
      this.size = this.delimiter.length
      this.borders = bordersOf(this.delimiter)
    }
  }

  /** Bytes of the header, which come before the number of those that follow is known; of a varint unknown. */
  get header(): number {
    return this.kind === 'length' ? this.offset + this.size : 0
  }

  /** Most bytes of a whole frame. */
  get wholeMax(): number {
    return this.max + (this.kind === 'length' ? this.header : this.kind === 'delimiter' ? this.size : VARINT_MAX)
  }

  /** How many bytes at the front of a whole frame are not for the program. */
  headOf(bytes: Uint8Array, at: number): number {
    if (!this.strip) return 0
    if (this.kind !== 'varint') return this.header
    let length = 1
    while (bytes[at + length - 1] >= 128) length++
    return length
  }

  /** The same at the end. */
  tailOf(bytes: Uint8Array, start: number, end: number): number {
    if (this.kind === 'delimiter') return this.strip ? this.size : 0
    if (this.kind !== 'lines') return 0
    return bytes[end - 1] === LF && end - start > 1 && bytes[end - 2] === CR ? 2 : 1
  }

  /** All bytes of a frame whose field says this. @throws SocketError if there is no such frame, or may not be one */
  lengthOf(field: number, header = this.header, adjust = this.adjust): number {
    const whole = field + adjust
    const rest = whole - header
    if (rest < 0) {
      const text = `a length of ${field} makes a frame of ${whole} bytes, and its header has ${header}`
      throw frameError('EPROTO', 'read', text)
    }
    if (rest > this.max) throw this.tooLong(rest)
    return whole
  }

  tooLong(length?: number): SocketError {
    const what = this.kind === 'lines' ? 'a line' : 'a frame'
    const which = length === undefined ? what : `${what} of ${length} bytes`
    return frameError('EMSGSIZE', 'read', `${which} is longer than ${this.max} bytes, which is ${this.#limit}`)
  }

  varintTooLong(): SocketError {
    return frameError('EPROTO', 'read', `a varint is longer than ${VARINT_MAX} bytes`)
  }

  /** The end of the stream came within a frame. */
  unfinished(got: number): SocketError {
    return frameError('EPROTO', 'read', `the stream ended within a frame, of which ${got} bytes had come`)
  }

  /**
   * What goes before these bytes to make a frame of them.
   *
   * @throws SocketError if that can't be done
   */
  before(body: Uint8Array): Buffer | undefined {
    if (!this.strip) this.#checkWhole(body)
    else if (this.kind === 'length') return this.#field(body.length)
    else if (this.kind === 'varint') return varint(body.length)
    else if (this.kind === 'delimiter') this.#checkUndelimited(body)
    return undefined
  }

  /** What goes behind them. */
  get after(): Buffer | undefined {
    return this.kind === 'delimiter' && this.strip ? this.delimiter : undefined
  }

  #field(length: number): Buffer {
    const { header, offset, size } = this
    const field = header + length - this.adjust
    if (field < 0) {
      throw frameError('EPROTO', 'write', `${length} bytes would need a length of ${field}`)
    }
    if (field >= 256 ** size) {
      const bytes = `${size} byte${size === 1 ? '' : 's'}`
      throw frameError('EMSGSIZE', 'write', `${length} bytes are too many for a length of ${bytes}`)
    }
    const result = Buffer.alloc(header)
    let rest = field
    for (let i = 0; i < size; i++) {
      result[this.little ? offset + i : header - 1 - i] = rest % 256
      rest = Math.floor(rest / 256)
    }
    return result
  }

  /** Bytes that have no delimiter in them, nor one that begins in them and ends with the one that follows. */
  #checkUndelimited(body: Uint8Array): void {
    const scanner = new FrameScanner(this)
    if (scanner.findDelimiter(body, 0) >= 0 || scanner.findDelimiter(this.delimiter, 0) < this.size) {
      throw frameError('EPROTO', 'write', 'the delimiter is in what is to be sent as one frame')
    }
    return undefined
  }

  /** What has its header already must be a whole frame. */
  #checkWhole(body: Uint8Array): void {
    if (this.kind === 'fixed') {
      if (body.length === this.size) return
      throw frameError(body.length > this.size ? 'EMSGSIZE' : 'EPROTO', 'write',
        `${body.length} bytes are no frame of ${this.size} bytes`)
    }
    let end = -1
    try {
      end = new FrameScanner(this, Infinity).scan(body, 0)
    } catch {
      // It is no frame.
    }
    if (end === body.length && end > 0) return
    throw frameError('EPROTO', 'write', `${body.length} bytes are not one frame with its ${
      this.kind === 'delimiter' ? 'delimiter' : 'header'}`)
  }
}

function varint(length: number): Buffer {
  const bytes: number[] = []
  let rest = length
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(128 + rest % 128)
  bytes.push(rest)
  return Buffer.from(bytes)
}

function bordersOf(pattern: Uint8Array): Uint8Array {
  const borders = new Uint8Array(pattern.length)
  for (let i = 1, matched = 0; i < pattern.length; i++) {
    while (matched > 0 && pattern[i] !== pattern[matched]) matched = borders[matched - 1]
    if (pattern[i] === pattern[matched]) matched++
    borders[i] = matched
  }
  return borders
}

/**
 * Looks for the end of frames in pieces that follow each other. Between two pieces it is in one of the states that
 * native/engine/framer.h can go on from, if `canMove`.
 */
export class FrameScanner {
  readonly rule: FrameRule
  readonly #max: number
  /** Bytes of the frame at hand that were looked at, and how many it has in all: 0 as long as nobody knows. */
  seen = 0
  whole = 0
  /** Of a field: what its bytes have made so far. */
  #field = 0
  /** So many of the last bytes are the first of the delimiter. */
  matched = 0
  /** In the piece at hand, where the next such byte is: its length if there is none, -1 if nobody has looked. */
  #nextLF = -1
  #nextCR = -1

  /** @param most instead of the rule's own limit */
  constructor(rule: FrameRule, most = rule.max) {
    this.rule = rule
    this.#max = most
  }

  /** The next piece is another one than the last. */
  newPiece(): void {
    this.#nextLF = -1
    this.#nextCR = -1
  }

  /** What comes is the begin of a frame. */
  reset(): void {
    this.seen = 0
    this.whole = 0
    this.#field = 0
    this.matched = 0
  }

  /** Whether what it knows can be told in a few numbers: not in mid-header. */
  get canMove(): boolean {
    return this.seen === 0 || this.whole > 0 || this.rule.kind === 'delimiter' || this.rule.kind === 'lines'
  }

  /**
   * Looks at a piece from `at` on. Where the frame at hand ends, or -1: all of the piece belongs to it. Nothing before
   * that is looked at again.
   *
   * @throws SocketError for what is no frame, or too long
   */
  scan(bytes: Uint8Array, at: number): number {
    switch (this.rule.kind) {
      case 'length':
        return this.#readLength(bytes, at)
      case 'varint':
        return this.#readVarint(bytes, at)
      case 'fixed':
        this.whole = this.rule.size
        return this.#count(bytes, at)
      case 'delimiter':
        return this.#readDelimited(bytes, at)
      case 'lines':
        return this.#readLine(bytes as Buffer, at)
    }
  }

  #count(bytes: Uint8Array, at: number): number {
    const end = at + this.whole - this.seen
    if (end > bytes.length) {
      this.seen += bytes.length - at
      return -1
    }
    this.reset()
    return end
  }

  #readLength(bytes: Uint8Array, at: number): number {
    const { rule } = this
    const { size, offset, little } = rule
    for (let i = at; this.whole === 0; i++) {
      if (i === bytes.length) {
        this.seen += i - at
        return -1
      }
      const place = this.seen + i - at - offset
      if (place < 0) continue
      this.#field = little ? this.#field + bytes[i] * PLACES[place] : this.#field * 256 + bytes[i]
      if (place === size - 1) this.whole = this.#wholeOf(this.#field, rule.header, rule.adjust)
    }
    return this.#count(bytes, at)
  }

  #readVarint(bytes: Uint8Array, at: number): number {
    for (let i = at; this.whole === 0; i++) {
      if (i === bytes.length) {
        this.seen += i - at
        return -1
      }
      const place = this.seen + i - at
      if (place === VARINT_MAX) throw this.rule.varintTooLong()
      this.#field += (bytes[i] & 127) * 128 ** place
      if (bytes[i] < 128) this.whole = this.#wholeOf(this.#field, place + 1, place + 1)
    }
    return this.#count(bytes, at)
  }

  #wholeOf(field: number, header: number, adjust: number): number {
    return this.#max === Infinity ? Math.max(header, field + adjust) : this.rule.lengthOf(field, header, adjust)
  }

  #readDelimited(bytes: Uint8Array, at: number): number {
    const end = this.findDelimiter(bytes, at)
    const { size } = this.rule
    const seen = this.seen + (end < 0 ? bytes.length : end) - at
    // What may be the begin of the delimiter doesn't count.
    if (seen - (end < 0 ? this.matched : size) > this.#max) throw this.rule.tooLong()
    if (end < 0) this.seen = seen
    else this.reset()
    return end
  }

  /** Where the delimiter ends, which may have begun in the pieces before; -1: not here. */
  findDelimiter(bytes: Uint8Array, at: number): number {
    const { delimiter, borders } = this.rule
    const first = delimiter[0]
    let { matched } = this
    for (let i = at, misses = 0; i < bytes.length; i++) {
      const byte = bytes[i]
      while (matched > 0 && byte !== delimiter[matched]) matched = borders[matched - 1]
      if (byte === delimiter[matched]) {
        misses = 0
        if (++matched === delimiter.length) {
          this.matched = 0
          return i + 1
        }
      } else if (++misses === MISSES) {
        misses = 0
        const next = bytes.indexOf(first, i)
        if (next < 0) break
        i = next - 1
      }
    }
    this.matched = matched
    return -1
  }

  #readLine(bytes: Buffer, at: number): number {
    if (this.#nextLF < at) this.#nextLF = find(bytes, at, LF)
    if (this.#nextCR < at) this.#nextCR = find(bytes, at, CR)
    const end = Math.min(this.#nextLF, this.#nextCR)
    if (this.seen + end - at > this.#max) throw this.rule.tooLong()
    if (end === bytes.length) {
      this.seen += end - at
      return -1
    }
    this.reset()
    return end + 1
  }
}

function find(bytes: Buffer, at: number, byte: number): number {
  const found = bytes.indexOf(byte, at)
  return found < 0 ? bytes.length : found
}

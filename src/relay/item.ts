/**
 * What is in a stream: items, each with its length, in the order in which things happened in the sender's VM. Owns
 * their representation, and how they are put into packets and read out of them.
 */
import type { Interest, Orientation } from '../vm/index.js'
import { encodeLent, type Lent } from './encoding.js'
import { FEW_BYTES, MalformedPacket, putNumber, Reader, sizeOf } from './bytes.js'

/** An endpoint came: number, role, topic. */
const APPEARED = 1
/** It went: number, reason. */
const DISAPPEARED = 2
/** A message of a publisher, and of a subscriber. */
const MESSAGE = 3
const FEEDBACK = 4
/** The set of endpoints is now that of this version, with this digest. */
const VERSION = 5
/** The node ends. */
const ENDS = 6

const INTERESTS: readonly Interest[] = ['participant', 'observer', 'everything']
const NOTHING = new Uint8Array(0)

export type Item = Uint8Array<ArrayBuffer>

function item(kind: number, values: readonly number[], body = NOTHING): Item {
  let size = 1 + body.length
  for (const value of values) size += sizeOf(value)
  const bytes = new Uint8Array(size)
  bytes[0] = kind
  let at = 1
  for (const value of values) at = putNumber(bytes, at, value)
  bytes.set(body, at)
  return bytes
}

export function appeared(id: number, orientation: Orientation, interest: Interest, topic: Uint8Array): Item {
  const role = INTERESTS.indexOf(interest) * 2 + (orientation === 'publisher' ? 1 : 0)
  return item(APPEARED, [id, role], topic as Item)
}

export function disappeared(id: number, reason: Uint8Array | undefined): Item {
  return item(DISAPPEARED, [id], reason as Item | undefined)
}

/** A message, in memory that is only lent: see `encodeLent`. */
export function message(orientation: Orientation, body: unknown): Lent {
  const whole = encodeLent(body, 1)
  whole.bytes[0] = orientation === 'publisher' ? MESSAGE : FEEDBACK
  return whole
}

export function version(number: number, digest: number): Item {
  return item(VERSION, [number, digest])
}

export function ends(): Item {
  return item(ENDS, [])
}

/** Who is given what is read. */
export interface ItemSink {
  /** Whether to go on: what was read may have ended the stream. */
  wantsMore(): boolean
  /** @param item the whole of it, which the digest is of */
  appeared(id: number, orientation: Orientation, interest: Interest, topic: Uint8Array, item: Uint8Array): void
  /** @param reason empty for none */
  disappeared(id: number, reason: Uint8Array): void
  message(orientation: Orientation, bytes: Buffer, start: number, end: number): void
  version(number: number, digest: number): void
  ends(): void
}

/** Reads the items of a packet, or of an item that was in several. @throws MalformedPacket for what is none */
export function readItems(payload: Uint8Array, sink: ItemSink): void {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
  const reader = new Reader(bytes)
  while (!reader.done && sink.wantsMore()) {
    const length = reader.number()
    const start = reader.at
    reader.skip(length)
    const kind = bytes[start]
    // There are many of these, so they are read where they are.
    if (length > 0 && (kind === MESSAGE || kind === FEEDBACK)) {
      sink.message(kind === MESSAGE ? 'publisher' : 'subscriber', bytes, start + 1, start + length)
    } else {
      readItem(bytes.subarray(start, start + length), sink)
    }
  }
}

function readItem(bytes: Uint8Array, sink: ItemSink): void {
  const reader = new Reader(bytes)
  const kind = reader.byte()
  switch (kind) {
    case APPEARED: {
      const id = reader.number()
      const role = reader.number()
      if (role >= INTERESTS.length * 2) throw new MalformedPacket('an endpoint of no kind that there is')
      const orientation = role % 2 === 1 ? 'publisher' : 'subscriber'
      sink.appeared(id, orientation, INTERESTS[role >> 1], reader.rest(), bytes)
      break
    }
    case DISAPPEARED:
      sink.disappeared(reader.number(), reader.rest())
      break
    case VERSION:
      sink.version(reader.number(), reader.number())
      break
    case ENDS:
      sink.ends()
      break
    default:
      throw new MalformedPacket(`an item of the unknown kind ${kind}`)
  }
}

/** The payload of a packet. */
export interface Page {
  readonly payload: Uint8Array
  readonly continues: boolean
}

/** Room that a page starts with. */
const FIRST_ROOM = 1024

/** Puts items into pages of limited length. An item that is longer than one has pages of its own. */
export class Pages {
  /** Bytes in all of them. */
  bytes = 0
  #pages: Page[] = []
  #page = new Uint8Array(FIRST_ROOM)
  #used = 0

  constructor(readonly pageMax: number) {}

  add(item: Item): void {
    if (!this.#begin(item.length)) {
      this.#split(item)
      return
    }
    this.#page.set(item, this.#used)
    this.#used += item.length
  }

  /** The same for an item in memory that is lent. */
  addLent({ bytes, length }: Lent): void {
    if (!this.#begin(length)) {
      this.#split(bytes.subarray(0, length))
      return
    }
    if (length > FEW_BYTES) bytes.copy(this.#page, this.#used, 0, length)
    else for (let i = 0; i < length; i++) this.#page[this.#used + i] = bytes[i]
    this.#used += length
  }

  /** Writes the length of an item that comes next. @returns false for one that is longer than a page */
  #begin(length: number): boolean {
    const size = sizeOf(length) + length
    this.bytes += size
    if (this.#used + size > this.pageMax) this.#end()
    if (size > this.pageMax) return false
    this.#makeRoom(this.#used + size)
    this.#used = putNumber(this.#page, this.#used, length)
    return true
  }

  /** Takes the pages; those of one page are valid until something is added again. */
  take(): readonly Page[] {
    this.bytes = 0
    if (this.#pages.length === 0) {
      if (this.#used === 0) return []
      const payload = this.#page.subarray(0, this.#used)
      this.#used = 0
      return [{ payload, continues: false }]
    }
    this.#end()
    const pages = this.#pages
    this.#pages = []
    return pages
  }

  #end(): void {
    if (this.#used > 0) this.#pages.push({ payload: this.#page.slice(0, this.#used), continues: false })
    this.#used = 0
  }

  #split(item: Uint8Array): void {
    const size = sizeOf(item.length) + item.length
    const whole = new Uint8Array(size)
    whole.set(item, putNumber(whole, 0, item.length))
    for (let at = 0; at < size; at += this.pageMax) {
      const end = Math.min(size, at + this.pageMax)
      this.#pages.push({ payload: whole.subarray(at, end), continues: end < size })
    }
  }

  #makeRoom(size: number): void {
    if (size <= this.#page.length) return
    const larger = new Uint8Array(Math.min(this.pageMax, Math.max(size, this.#page.length * 2)))
    larger.set(this.#page.subarray(0, this.#used))
    this.#page = larger
  }
}

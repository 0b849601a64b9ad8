/** What a player knows of the world: made of the messages that it gets. For bots and tests; the page has its own. */
import { AREA_HEAD, TO_PLAYER, VERSION } from './protocol.js'

export interface Seen {
  x: number
  y: number
  column: number
  row: number
}

const keyOf = (column: number, row: number): number => column * 256 + row

export class Mirror {
  /** Which one is the player itself; 0 before it was told. */
  number = 0
  areas = 0
  rate = 0
  column = 0
  row = 0
  readonly seen = new Map<number, Seen>()
  /** How often each kind of message came, by its first byte. */
  readonly counts = [0, 0, 0, 0, 0]

  get self(): Seen | undefined {
    return this.seen.get(this.number)
  }

  /** @throws RangeError for a message that is none of the protocol */
  apply(bytes: Buffer): void {
    const kind = bytes[0]
    if (kind === TO_PLAYER.delta || kind === TO_PLAYER.snapshot) this.#area(bytes, kind === TO_PLAYER.snapshot)
    else if (kind === TO_PLAYER.view && bytes.length === 3) this.#view(bytes[1], bytes[2])
    else if (kind === TO_PLAYER.welcome && bytes[1] === VERSION) this.#welcome(bytes)
    else throw new RangeError(`no message of version ${VERSION}: ${bytes.toString('hex', 0, 16)}`)
    this.counts[kind]++
  }

  #welcome(bytes: Buffer): void {
    this.number = bytes.readUInt16BE(2)
    this.areas = bytes[4]
    this.rate = bytes[5]
  }

  #view(column: number, row: number): void {
    this.column = column
    this.row = row
    for (const [number, at] of this.seen) {
      const isNear = (at.column - column) >>> 0 <= 1 && (at.row - row) >>> 0 <= 1
      if (!isNear) this.seen.delete(number)
    }
  }

  #area(bytes: Buffer, isWhole: boolean): void {
    const [column, row] = [bytes[1], bytes[2]]
    const area = keyOf(column, row)
    if (isWhole) {
      for (const [number, seen] of this.seen) if (keyOf(seen.column, seen.row) === area) this.seen.delete(number)
    }
    let at = AREA_HEAD
    const movedEnd = at + 4 * bytes.readUInt16BE(3)
    const placedEnd = movedEnd + 6 * bytes.readUInt16BE(5)
    const leftEnd = placedEnd + 2 * bytes.readUInt16BE(7)
    if (leftEnd !== bytes.length) throw new RangeError(`an area of ${bytes.length} bytes instead of ${leftEnd}`)
    for (; at < movedEnd; at += 4) {
      const known = this.seen.get(bytes.readUInt16BE(at))
      // Who isn't known is in a snapshot that is on its way.
      if (known === undefined) continue
      known.x += bytes.readInt8(at + 2)
      known.y += bytes.readInt8(at + 3)
    }
    for (; at < placedEnd; at += 6) {
      const place = { x: bytes.readUInt16BE(at + 2), y: bytes.readUInt16BE(at + 4), column, row }
      this.seen.set(bytes.readUInt16BE(at), place)
    }
    for (; at < leftEnd; at += 2) {
      const number = bytes.readUInt16BE(at)
      const known = this.seen.get(number)
      // It may have come to another area already.
      if (known !== undefined && keyOf(known.column, known.row) === area) this.seen.delete(number)
    }
  }
}

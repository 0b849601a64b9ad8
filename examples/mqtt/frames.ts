/**
 * Cuts what comes into whole packets. The parser of packets would keep each piece of one that is not whole
 * yet, and walk all of them again and again.
 */
import { Gather } from '../support/gather.js'

/** Bytes of a packet. */
const PACKET_MAX = 1024 * 1024
/** Bytes of a packet's type, and of its length at most. */
const START_MAX = 5

/** How long the packet that begins there is; undefined if that is not known yet. */
function packetLength(bytes: Buffer, at: number): number | undefined {
  let length = 0
  for (let i = 1; i < START_MAX; i++) {
    if (at + i >= bytes.length) return undefined
    const byte = bytes[at + i]
    length += (byte & 127) * 128 ** (i - 1)
    if (byte < 128) {
      if (length > PACKET_MAX) throw new RangeError('the packet is too long')
      return 1 + i + length
    }
  }
  throw new RangeError('the packet has no length')
}

export class Frames {
  readonly #begun = new Gather()

  /**
   * Takes bytes.
   *
   * @returns those of whole packets; they are the caller's until the next call
   * @throws RangeError when a packet is too long
   */
  add(chunk: Buffer): Buffer {
    const begun = this.#begun
    let bytes = chunk
    if (begun.length > 0) {
      begun.add(chunk)
      const length = packetLength(begun.bytes, 0)
      if (length === undefined || length > begun.length) return Buffer.alloc(0)
      bytes = begun.take()
    }
    let end = 0
    for (;;) {
      const length = packetLength(bytes, end)
      if (length === undefined || end + length > bytes.length) break
      end += length
    }
    if (end < bytes.length) begun.add(bytes.subarray(end))
    return bytes.subarray(0, end)
  }
}

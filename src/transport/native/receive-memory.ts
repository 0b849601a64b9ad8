/**
 * Memory that is received into: it holds the bytes of many senders, so that nobody may take it away from
 * the others.
 *
 * Owns how such memory is made. Invariant: it is not zero-filled, is in no pool that anything else is
 * taken from, and stays where it is as far as JavaScript can be kept from moving it: `postMessage` and
 * `structuredClone` don't transfer it, and its own `transfer` throws. Who borrows the prototype's
 * (`ArrayBuffer.prototype.transfer.call`) detaches it all the same; the engine notices before it uses the
 * memory again.
 */
import { isMainThread, markAsUntransferable } from 'node:worker_threads'

function refuse(): never {
  throw new TypeError('not detachable: this memory holds what others have received, too; transfer a copy')
}

/** The methods that take memory away, where this Node has them. */
const moving = ['transfer', 'transferToFixedLength'].filter((name) => name in ArrayBuffer.prototype)

/**
 * A new piece of it.
 *
 * @param recycle the addon's: an ArrayBuffer on memory that was used before; undefined where it has none
 */
export function receiveMemory(size: number, recycle: (size: number) => ArrayBuffer | undefined): ArrayBuffer {
  let buffer = recycle(size)
  if (buffer === undefined) {
    buffer = Buffer.allocUnsafeSlow(size).buffer
    markAsUntransferable(buffer)
  } else {
    // Node has marked it, and must be able to detach it when the process ends: newer ones end with an abort
    // if they can't, which marking it again would bring about.
    //
    // V8 looks whether much young memory has come together when it allocates some, and collects it cheaply
    // then. It doesn't look for memory from outside, which would then have to wait for a full collection.
    new ArrayBuffer(1)
  }
  for (const name of moving) Object.defineProperty(buffer, name, { value: refuse })
  return buffer
}

const IDLE_MAX = 64 * 1024 * 1024

/**
 * How many bytes of memory that nothing refers to any more an engine may keep for its next pieces. 0: it has
 * to take them from V8, and leave them to V8.
 *
 * So it is in worker threads. Memory from outside of V8 ends with its thread, whoever has it: and nothing
 * keeps a program from detaching it (the prototype's `transfer`, byte streams), and posting what it gets.
 *
 * @param limit bytes that the engine may have in all
 */
export function idleMemoryMax(limit = Infinity): number {
  return isMainThread ? Math.min(IDLE_MAX, Math.floor(limit / 4)) : 0
}

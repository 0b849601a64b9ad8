/**
 * Memory that is received into: it holds the bytes of many senders, so that nobody may take it away from
 * the others.
 *
 * Owns how such memory is made. Invariant: it is not zero-filled, is in no pool, and stays where it is as
 * far as JavaScript can be kept from moving it: `postMessage` and `structuredClone` don't transfer it, and
 * its own `transfer` throws. Who borrows the prototype's (`ArrayBuffer.prototype.transfer.call`) detaches
 * it all the same; the engine notices before it uses the memory again.
 */
import { markAsUntransferable } from 'node:worker_threads'

function refuse(): never {
  throw new TypeError('not detachable: this memory holds what others have received, too; transfer a copy')
}

/** The methods that take memory away, where this Node has them. */
const moving = ['transfer', 'transferToFixedLength'].filter((name) => name in ArrayBuffer.prototype)

/** A new piece of it. */
export function receiveMemory(size: number): ArrayBuffer {
  const { buffer } = Buffer.allocUnsafeSlow(size)
  markAsUntransferable(buffer)
  for (const name of moving) Object.defineProperty(buffer, name, { value: refuse })
  return buffer
}

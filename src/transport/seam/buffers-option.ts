/**
 * Whose memory received bytes are in: the option `buffers` of drivers, transports and sockets.
 *
 * Owns its values, their default, and how bytes get memory of their own. Invariant: what `isolated` returns
 * is in an ArrayBuffer that holds nothing else, and that nobody else refers to.
 */
import { oneOf } from '../../support/checks.js'
import { argumentError } from '../../support/errors.js'

/**
 * Whose memory received bytes are in, and how long they stay as they are. 'owned': the program's for as long
 * as it keeps them, but their ArrayBuffer has other connections' bytes in it, too. 'borrowed': the same,
 * until it is received into again. 'isolated': each Buffer has an ArrayBuffer of its own.
 */
export type BufferLifetime = 'owned' | 'borrowed' | 'isolated'

/** What is kept for as long as the program wants it. */
export type KeptBuffers = Exclude<BufferLifetime, 'borrowed'>

/** What the option may be where memory can be lent, and where not. */
export const buffersCheck = oneOf('owned', 'borrowed', 'isolated')
export const keptBuffersCheck = oneOf('owned', 'isolated')

/**
 * What holds for everything in this process that has not been told otherwise: MARKETPLACE_BUFFERS.
 *
 * @throws TypeError when it is set to something else
 */
export function defaultBuffers(): KeptBuffers {
  const value = process.env.MARKETPLACE_BUFFERS
  if (value === undefined || value === '' || value === 'owned') return 'owned'
  // A misspelt one would leak what it was meant to keep apart.
  if (value !== 'isolated') {
    throw argumentError('MARKETPLACE_BUFFERS', 'the environment variable', "'owned' or 'isolated'", value)
  }
  return value
}

/** A copy in an ArrayBuffer that is exactly as long; never in Node's pool. */
export function isolated(data: Uint8Array): Buffer {
  const { length } = data
  const copy = Buffer.allocUnsafeSlow(length)
  copy.set(data)
  return copy
}

/** The same of what Node received: it has memory of its own for each read, and copies nothing then. */
export function isolatedFromNode(data: Buffer): Buffer {
  return data.length === data.buffer.byteLength ? data : isolated(data)
}

/** On the ArrayBuffers of a transport's memory: the slab that it is. */
export const kSlab = Symbol('slab')

/** Whether these bytes are borrowed: their memory is received into again. */
export function isLent(data: Uint8Array): boolean {
  return (data.buffer as { [kSlab]?: { readonly slabs: { readonly reused: boolean } } })[kSlab]?.slabs.reused === true
}

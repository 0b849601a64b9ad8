/**
 * Reasons of absences: how one crosses, and those that a relay gives itself.
 *
 * An error arrives as an error, without its stack, which is of no use in another process.
 */
import { show } from '../support/errors.js'
import { decode, encode } from './encoding.js'

/** @returns nothing for `undefined`, which is the reason of an orderly end */
export function encodeReason(reason: unknown): Uint8Array | undefined {
  if (reason === undefined) return undefined
  try {
    return encode(reason)
  } catch {
    // What can't cross is at least told of.
    return encode(new Error(show(reason)))
  }
}

/** @throws for bytes that are no reason */
export function decodeReason(bytes: Uint8Array): unknown {
  return bytes.length === 0 ? undefined : decode(bytes)
}

/** Why what is on a node is absent. */
export interface RelayError extends Error {
  /** 'ENODELOST', 'EWORKERLOST', 'ENETSPLIT', 'EGAP', 'ENOBUFS', 'EPROTO' or 'ENODEINUSE'. */
  readonly code: string
  /** The node that it is about. */
  readonly node: string
}

export function relayError(code: string, node: string, what: string, cause?: unknown): RelayError {
  const error = new Error(`${code}: ${what}`, cause === undefined ? undefined : { cause })
  return Object.assign(error, { code, node })
}

/**
 * Which backend the native engine is to use, by option or by environment, and what it says of the one that it
 * uses.
 */
import { argumentError } from '../../support/errors.js'
import type { AddonInfo } from './link.js'
import type { TransportInfo } from '../seam/transport.js'
import { BACKENDS } from './layout.js'

/** The addon's number for the option, or for MARKETPLACE_BACKEND where there is none. */
export function backendNumber(option: unknown): number {
  // Set to nothing is as good as not set.
  const variable = process.env.MARKETPLACE_BACKEND === '' ? undefined : process.env.MARKETPLACE_BACKEND
  const name = option ?? variable ?? 'auto'
  const index = (BACKENDS as readonly unknown[]).indexOf(name)
  if (index >= 0) return index
  const source = option === undefined ? 'MARKETPLACE_BACKEND' : 'backend'
  throw argumentError('nativeTransport', source, "'auto', 'epoll' or 'io_uring'", name)
}

export function transportInfo(info: AddonInfo): TransportInfo {
  const { features } = info
  return { ...info, features: features === '' ? [] : features.split(', ') } as TransportInfo
}

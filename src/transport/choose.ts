/**
 * Chooses a transport by name, and is the way to either for all others. Owns the rule for 'auto': native where the
 * addon loads, else `node:net`, with one warning that says why.
 */
import { argumentError } from '../support/errors.js'
import { goOnWithout } from './native-addon.js'
import { loadNative, nativeTransport } from './native.js'
import { nodeTransport } from './node.js'
import type { Transport, TransportOptions } from './transport.js'

/** Which socket implementation: the addon, `node:net`, or the addon where it can be loaded. */
export type TransportName = 'native' | 'node' | 'auto'

/**
 * Makes a transport.
 *
 * @param name 'native': the C++ engine, or an Error that says why it can't be loaded; 'node': `node:net`;
 *   'auto': native if it loads, else node, with a warning (once per thread), or an Error if
 *   MARKETPLACE_NATIVE requires the addon
 */
export function openTransport(name: TransportName, options: TransportOptions = {}): Transport {
  if (name === 'node') return nodeTransport(options)
  if (name !== 'native' && name !== 'auto') {
    throw argumentError('openTransport', 'name', "'native', 'node' or 'auto'", name)
  }
  const loaded = loadNative()
  if (loaded.ok) return nativeTransport(options)
  if (name === 'native') throw new Error(`the native transport can't be loaded: ${loaded.reason}`)
  goOnWithout('node:net')
  return nodeTransport(options)
}

/** Whether the native transport can be had; if not, and that was not asked for, it is said once. */
export function hasNative(): boolean {
  const { ok } = loadNative()
  if (!ok) goOnWithout('node:net')
  return ok
}

/**
 * Chooses a transport by name: the one way to an implementation from outside of this folder. Owns the rule for
 * 'auto': native where the addon loads, else Node's own module, with one warning that says why.
 */
import type { SecureContext } from 'node:tls'
import { argumentError } from '../support/errors.js'
import { goOnWithout, loadNative } from './native/addon.js'
import { lacksTls, lacksTlsFor, nativeContext, nativeTransport } from './native/transport.js'
import { nativeUdpTransport } from './native/udp.js'
import { nodeTransport } from './node/transport.js'
import { nodeUdpTransport } from './node/udp.js'
import type { Transport, TransportOptions } from './seam/transport.js'
import type { UdpTransport, UdpTransportOptions } from './seam/udp-transport.js'

/** Which socket implementation: the addon, Node's own module, or the addon where it can be loaded. */
export type TransportName = 'native' | 'node' | 'auto'

/**
 * Makes a transport.
 *
 * @param name 'native': the C++ engine, or an Error that says why it can't be loaded; 'node': `node:net`;
 *   'auto': native if it loads, else node, with a warning (once per thread), or an Error if
 *   MARKETPLACE_NATIVE requires the addon
 */
export function openTransport(name: TransportName, options: TransportOptions = {}): Transport {
  return isNative('openTransport', name, 'node:net') ? nativeTransport(options) : nodeTransport(options)
}

let told = false

/** Says, once, that there is no TLS in the engine. */
function useNodeTls(lacking: string): void {
  if (!told) process.emitWarning(`no TLS in the native transport, using node:tls: ${lacking}`, 'MarketplaceWarning')
  told = true
}

/**
 * Which transport `auto` is where connections are encrypted with these credentials: Node's own where the engine can't,
 * with a warning, once.
 *
 * @throws Error if 'native' was asked for, and can't
 */
export function transportForTls(
  name: TransportName, credentials: Parameters<typeof lacksTlsFor>[0] | undefined,
): TransportName {
  if (credentials === undefined || name === 'node' || !loadNative().ok) return name
  const lacking = lacksTlsFor(credentials)
  if (lacking === undefined) return name
  if (name === 'native') throw new Error(`the native transport has no TLS for these options: ${lacking}`)
  useNodeTls(lacking)
  return 'node'
}

/** Whether the native transport has TLS; if not, and it is there otherwise, that is said once. */
export function hasNativeTls(): boolean {
  if (!hasNative()) return false
  const lacking = lacksTls()
  if (lacking !== undefined) useNodeTls(lacking)
  return lacking === undefined
}

/**
 * Makes what connections with these credentials need, now, so that what is wrong with them is said now.
 *
 * @returns Node's context, which they have
 * @throws what `tls.createSecureContext` does
 */
export function nativeTlsContext(credentials: Parameters<typeof nativeContext>[0], server: boolean): SecureContext {
  return nativeContext(credentials, server).node
}

/** Makes a transport for datagrams; see `openTransport` for what the names mean. 'node' is `node:dgram`. */
export function openUdpTransport(name: TransportName, options: UdpTransportOptions = {}): UdpTransport {
  return isNative('openUdpTransport', name, 'node:dgram') ? nativeUdpTransport(options) : nodeUdpTransport()
}

/** Whether the native transport can be had; if not, and that was not asked for, it is said once. */
export function hasNative(): boolean {
  const { ok } = loadNative()
  if (!ok) goOnWithout('node:net')
  return ok
}

function isNative(what: string, name: TransportName, otherwise: string): boolean {
  if (name === 'node') return false
  if (name !== 'native' && name !== 'auto') throw argumentError(what, 'name', "'native', 'node' or 'auto'", name)
  const loaded = loadNative()
  if (loaded.ok) return true
  if (name === 'native') throw new Error(`the native transport can't be loaded: ${loaded.reason}`)
  goOnWithout(otherwise)
  return false
}

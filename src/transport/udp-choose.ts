/**
 * Chooses a transport for datagrams by name. 'auto': native where the addon loads, else `node:dgram`, with
 * one warning that says why.
 */
import { argumentError } from '../support/errors.js'
import type { TransportName } from './choose.js'
import { goOnWithout } from './native-addon.js'
import { loadNativeUdp, nativeUdpTransport } from './udp-native.js'
import { nodeUdpTransport } from './udp-node.js'
import type { UdpTransport } from './udp-transport.js'

/** Makes a transport; see `openTransport` for what the names mean. */
export function openUdpTransport(name: TransportName): UdpTransport {
  if (name === 'node') return nodeUdpTransport()
  if (name !== 'native' && name !== 'auto') {
    throw argumentError('openUdpTransport', 'name', "'native', 'node' or 'auto'", name)
  }
  const loaded = loadNativeUdp()
  if (loaded.ok) return nativeUdpTransport()
  if (name === 'native') throw new Error(`the native transport can't be loaded: ${loaded.reason}`)
  goOnWithout('node:dgram', loaded.reason)
  return nodeUdpTransport()
}

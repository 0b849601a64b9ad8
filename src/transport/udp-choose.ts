/**
 * Chooses a transport for datagrams by name. 'auto': native where the addon loads, else `node:dgram`, with
 * one warning that says why.
 */
import { argumentError } from '../support/errors.js'
import type { TransportName } from './choose.js'
import { goOnWithout, loadNative } from './native-addon.js'
import { nativeUdpTransport } from './udp-native.js'
import { nodeUdpTransport } from './udp-node.js'
import type { UdpTransport, UdpTransportOptions } from './udp-transport.js'

/** Makes a transport; see `openTransport` for what the names mean. */
export function openUdpTransport(name: TransportName, options: UdpTransportOptions = {}): UdpTransport {
  if (name === 'node') return nodeUdpTransport()
  if (name !== 'native' && name !== 'auto') {
    throw argumentError('openUdpTransport', 'name', "'native', 'node' or 'auto'", name)
  }
  const loaded = loadNative()
  if (loaded.ok) return nativeUdpTransport(options)
  if (name === 'native') throw new Error(`the native transport can't be loaded: ${loaded.reason}`)
  goOnWithout('node:dgram')
  return nodeUdpTransport()
}

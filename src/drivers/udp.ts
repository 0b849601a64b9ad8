/** The driver `udp`: datagrams, IPv4 and IPv6, unicast, broadcast and multicast. */
import { isIP } from 'node:net'
import { checkOptions, hostName, integer, oneOf, ofType, type Check } from '../support/checks.js'
import { argumentError, asError } from '../support/errors.js'
import { spawnDriver } from '../vm/action.js'
import type { Action } from '../vm/index.js'
import { defaultBuffers, keptBuffersCheck } from '../transport/seam/buffers-option.js'
import { busyPollCheck, slabChecks, sleepInCheck } from '../transport/seam/transport-options.js'
import { UDP_PAYLOAD_MAX } from '../transport/seam/udp-transport.js'
import { onePerVm } from './one-per-vm.js'
import { UdpDriver, type UdpOptions } from './udp-driver.js'

export type { UdpOptions }

const udpChecks: Readonly<Record<keyof UdpOptions, Check>> = {
  transport: oneOf('native', 'node', 'auto'),
  host: hostName,
  type: oneOf('udp4', 'udp6'),
  ipv6Only: ofType('boolean'),
  reuseAddress: ofType('boolean'),
  broadcast: ofType('boolean'),
  ttl: integer(1, 255),
  multicastTTL: integer(0, 255),
  multicastLoopback: ofType('boolean'),
  multicastInterface: ofType('string'),
  receiveBufferSize: integer(1, 0x3fffffff),
  sendBufferSize: integer(1, 0x3fffffff),
  maxDatagramSize: integer(1, UDP_PAYLOAD_MAX),
  maxQueuedBytes: integer(0, 0x7fffffff),
  buffers: keptBuffersCheck,
  busyPoll: busyPollCheck,
  sleepIn: sleepInCheck,
  maxSlabBytes: slabChecks.maxSlabBytes,
  onTransport: ofType('function'),
}

const ports = 'ports are no options: they are in the topics of endpoints, as udpListener(port)'

function checkUdpOptions(call: string, options: UdpOptions): void {
  checkOptions(call, options, udpChecks, 'options.', { port: ports, ports })
  if (options.buffers === undefined) defaultBuffers()
  const { host, type, ipv6Only } = options
  if (ipv6Only === true && (type === 'udp4' || (host !== undefined && isIP(host) === 4))) {
    throw argumentError(call, 'options.ipv6Only', 'false for IPv4', ipv6Only)
  }
}

/**
 * Starts the driver: an action for the process that wants it in its VM.
 *
 * A subscriber to `udpPacket(_, local, _)` or a publisher of `udpPacket(local, _, _)`, where `local` is
 * a `udpListener(port)` or a `udpHandle(id)`, opens a socket. When a participant among them goes, or the
 * last of them all, it closes; who comes after that opens it again.
 *
 * @throws TypeError or RangeError when an option is unknown or wrong
 */
export function udp(options: UdpOptions = {}): Action {
  checkUdpOptions('udp', options)
  return spawnDriver('udp', (setGuard) => {
    const driver = new UdpDriver(options)
    setGuard((error, name, subject) => driver.broken(asError(error, 'the UDP driver failed'), name, subject))
    return [onePerVm('UDP driver', 'udp'), driver.boot()]
  })
}

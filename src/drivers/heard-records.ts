/**
 * Records that drivers make of what they hear: of the same kinds as programs make, but not checked.
 *
 * Addresses, as the system tells them: what it says is no mistake of a program's, even where it says nothing (a
 * connection that was reset before it could be asked about has no address); and there is one for each connection and
 * each datagram. And errors, about whatever a program has asked for: where that is nonsense, it is what the error says.
 */
import { defineInstancedRecord, defineRecord } from '../topic/index.js'

/** See `tcpAddress`. */
export const heardTcpAddress = defineInstancedRecord('tcp-address', ['host', 'port'])
  .of<[host: string, port: number]>()

/** See `unixAddress`. */
export const heardUnixAddress = defineRecord('unix-address', ['path']).of<[path: string]>()

/** See `udpRemoteAddress`. */
export const heardUdpAddress = defineRecord('udp-remote-address', ['host', 'port']).of<[host: string, port: number]>()

/** See `tcpError`. */
export const heardTcpError = defineRecord('tcp-error', ['local', 'remote', 'error']).of<
  [local: unknown, remote: unknown, error: Error]
>()

/** See `udpError`. */
export const heardUdpError = defineRecord('udp-error', ['local', 'remote', 'error']).of<
  [local: unknown, remote: unknown, error: Error]
>()

/** See `wsError`. */
export const heardWsError = defineRecord('ws-error', ['local', 'remote', 'error']).of<
  [local: unknown, remote: unknown, error: Error]
>()

/** See `wsAddress`. */
export const heardWsAddress = defineRecord('ws-address', ['url']).of<[url: string]>()

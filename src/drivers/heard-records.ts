/**
 * Addresses as the system tells them: records of the same kinds as programs make, but not checked. What the system
 * says is no mistake of a program's, even where it says nothing (a connection that was reset before it could be asked
 * about has no address); and there is one for each connection and each datagram.
 */
import { defineInstancedRecord, defineRecord } from '../topic/index.js'

/** See `tcpAddress`. */
export const heardTcpAddress = defineInstancedRecord('tcp-address', ['host', 'port'])
  .of<[host: string, port: number]>()

/** See `unixAddress`. */
export const heardUnixAddress = defineRecord('unix-address', ['path']).of<[path: string]>()

/** See `udpRemoteAddress`. */
export const heardUdpAddress = defineRecord('udp-remote-address', ['host', 'port']).of<[host: string, port: number]>()

/** See `wsAddress`. */
export const heardWsAddress = defineRecord('ws-address', ['url']).of<[url: string]>()

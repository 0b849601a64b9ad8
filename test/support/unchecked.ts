/**
 * Records that the package's own constructors refuse to make: drivers must bear them all the same, as whoever
 * defines the same records himself can send them.
 */
import {
  defineRecord, tcpAccepting, tcpCredit, tcpError, tcpLimits, tcpListener, tcpMode, setTimer, udpListener,
  udpMembership, udpRemoteAddress, unixAddress, unixListener, wsAddress, wsCredit,
} from 'marketplace-native'
import { defineInstancedRecord } from '../../src/topic/index.js'

/** A constructor of the same records that takes anything. */
function unchecked<R>(known: { label: string, fields: readonly string[], is(value: unknown): value is R }):
(...fields: unknown[]) => R {
  return defineRecord(known.label, known.fields) as unknown as (...fields: unknown[]) => R
}

export const anySetTimer = unchecked(setTimer)
export const anyTcpAccepting = unchecked(tcpAccepting)
export const anyTcpAddress = defineInstancedRecord('tcp-address', ['host', 'port']).of<[host: string, port: number]>()
export const anyTcpCredit = unchecked(tcpCredit)
export const anyTcpError = unchecked(tcpError)
export const anyTcpLimits = unchecked(tcpLimits)
export const anyTcpListener = unchecked(tcpListener)
export const anyTcpMode = unchecked(tcpMode)
export const anyUdpAddress = unchecked(udpRemoteAddress)
export const anyUdpListener = unchecked(udpListener)
export const anyUdpMembership = unchecked(udpMembership)
export const anyUnixAddress = unchecked(unixAddress)
export const anyUnixListener = unchecked(unixListener)
export const anyWsAddress = unchecked(wsAddress)
export const anyWsCredit = unchecked(wsCredit)

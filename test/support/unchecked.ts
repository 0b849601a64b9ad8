/**
 * Records that the package's own constructors refuse to make: drivers must bear them all the same, as whoever
 * defines the same records himself can send them.
 */
import {
  defineRecord, type SetTimer, type TcpListener, type TcpMode, type UdpListener,
} from 'marketplace-native'

/** `setTimer` of anything. */
export const anySetTimer = defineRecord('set-timer', ['label', 'msecs', 'kind']) as unknown as
  (...fields: unknown[]) => SetTimer
/** `tcpListener` of anything. */
export const anyTcpListener = defineRecord('tcp-listener', ['port']) as unknown as
  (port: unknown) => TcpListener
/** `tcpMode` of anything. */
export const anyTcpMode = defineRecord('tcp-mode', ['mode']) as unknown as
  (mode: unknown) => TcpMode
/** `udpListener` of anything. */
export const anyUdpListener = defineRecord('udp-listener', ['port']) as unknown as
  (port: unknown) => UdpListener

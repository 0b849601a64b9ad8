/** The echo server: one process for each connection. */
import {
  _, endpoint, quit, sendMessage, spawn, tcpChannel, tcpListener, type TcpEnd,
} from 'marketplace-native'

const echoer = (them: TcpEnd, us: TcpEnd) =>
  endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
  })

export const echoServer = (port: number) =>
  endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => spawn(() => echoer(them, us)),
  })

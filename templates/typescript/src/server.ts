/** The server: one process for each connection. */
import {
  _, endpoint, groundVm, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpError, tcpListener, tcpListening,
  type GroundVm, type TcpEnd,
} from 'marketplace-native'

/** A session: what they send us, we send them. It ends when the connection does. */
const session = (them: TcpEnd, us: TcpEnd) =>
  endpoint.subscriber(tcpChannel(them, us, _), {
    onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
    onAbsence: () => quit(),
  })

/**
 * Starts the server on a port of this machine; 0 is any free one. `listening` is told which it is.
 *
 * @returns the running VM: `await` it for its end, a failure of the first process included; `stop()` ends it
 */
export function serve(port: number, listening: (port: number) => void): GroundVm {
  const here = tcpListener(port)
  return groundVm(() => [
    tcpBare({ host: '127.0.0.1' }),
    endpoint.subscriber(tcpChannel(_, here, _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us)),
    }),
    endpoint.subscriber(tcpListening(here, _), { onPresence: ({ address }) => listening(address.port) }),
    endpoint.subscriber(tcpError(here, _, _), {
      onMessage: ({ remote, error }) => {
        // The port can't be had: there is no server. What befalls one connection is no reason to end.
        if (remote === undefined && error.syscall !== 'accept') throw error
      },
    }),
  ])
}

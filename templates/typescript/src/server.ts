/** The server: one process for each connection. */
import { pathToFileURL } from 'node:url'
import {
  _, endpoint, groundVm, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpError, tcpListener, tcpListening,
  type GroundVm, type TcpEnd,
} from 'marketplace-native'

export interface Reports {
  listening(port: number): void
  failed(error: Error): void
}

/** A session: what they send us, we send them. It ends when the connection does. */
const session = (them: TcpEnd, us: TcpEnd) =>
  endpoint.subscriber(tcpChannel(them, us, _), {
    onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
    onAbsence: () => quit(),
  })

/**
 * Starts the server on a port of this machine; 0 is any free one.
 *
 * @returns the running VM; `await` it for its end, `stop()` ends it
 */
export function serve(port: number, { listening, failed }: Reports): GroundVm {
  const here = tcpListener(port)
  return groundVm(() => [
    tcpBare({ host: '127.0.0.1' }),
    endpoint.subscriber(tcpChannel(_, here, _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us)),
    }),
    endpoint.subscriber(tcpListening(here, _), { onPresence: ({ address }) => listening(address.port) }),
    endpoint.subscriber(tcpError(here, _, _), { onMessage: ({ error }) => failed(error) }),
  ])
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const vm = serve(Number(process.argv[2] ?? 5998), {
    listening: (port) => console.log(`listening on 127.0.0.1:${port}`),
    failed: (error) => {
      console.error(error.message)
      process.exitCode = 1
      void vm.stop()
    },
  })
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void vm.stop())
}

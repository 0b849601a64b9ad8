/** An echo server in TypeScript, on what was installed: prints its transport and its port. */
import {
  _, defineRecord, endpoint, groundVm, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpListener, tcpListening,
  type SocketAddress, type TcpEnd, type Transport,
} from 'marketplace-native'
import { createServer, type Socket } from 'marketplace-native/net'

const price = defineRecord('price', ['symbol', 'amount'])
const topic = price('ABC', _)
const server = createServer((socket: Socket) => socket.pipe(socket))
const unused: SocketAddress | undefined = undefined
console.log(`typed: ${String(topic !== unused && typeof server.listen === 'function')}`)

const echoer = (them: TcpEnd, us: TcpEnd) => endpoint.subscriber(tcpChannel(them, us, _), {
  onAbsence: () => quit(),
  onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
})

const program = groundVm(() => [
  tcpBare({
    host: '127.0.0.1', onTransport: ({ name }: Pick<Transport, 'name'>) => { console.log(`transport: ${name}`) },
  }),
  spawn(() => [
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) => spawn(() => echoer(them, us)),
    }),
    endpoint.subscriber(tcpListening(tcpListener(0), _), {
      onPresence: ({ address }) => { console.log(`port: ${address.port}`) },
    }),
  ]),
])
// @ts-expect-error: there is no such option.
export const wrong = () => tcpBare({ hosts: '127.0.0.1' })
program.then(undefined, (error: unknown) => { throw error })

/**
 * The one place where the command line meets the programs of `examples/`: each is started in a ground
 * VM next to the TCP driver and a reporter, which tells the command what becomes of the sockets.
 */
import { chatClient } from '../../examples/chat-client.js'
import { chatServer } from '../../examples/chat.js'
import { echoServer } from '../../examples/echo.js'
import {
  _, endpoint, groundVm, spawn, tcpBare, tcpError, tcpListener, tcpListening,
  type ActionTree, type GroundVm, type SocketAddress, type SocketError, type TransportMetrics,
} from '../index.js'
import type { CommonOptions } from './options.js'

/** What a command wants to hear of its program. */
export interface Reports {
  listening?(address: Pick<SocketAddress, 'address' | 'port'>): void
  /** A listen, an accept or a connect failed, or an established connection was lost. */
  failed(error: SocketError): void
  metrics?(metrics: Readonly<TransportMetrics>): void
}

export type StartProgram = (options: CommonOptions, reports: Reports) => GroundVm

/** Hears of every listener, and of every socket that could not be had. */
const reporter = (port: number, reports: Reports): ActionTree => [
  endpoint.subscriber(tcpListening(tcpListener(port), _), {
    onPresence: ({ address }) => { reports.listening?.({ address: address.host, port: address.port }) },
  }),
  endpoint.subscriber(tcpError(_, _, _), {
    onMessage: ({ error }) => { reports.failed(error) },
  }),
]

function start(name: string, program: ActionTree, options: CommonOptions, reports: Reports): GroundVm {
  const { host, port, transport } = options
  const driver = tcpBare({
    transport, host, onTransport: ({ metrics }) => { reports.metrics?.(metrics) },
  })
  const observer = spawn(() => reporter(port, reports), { name: 'reporter' })
  return groundVm(() => [driver, observer, program], { name })
}

export const startEcho: StartProgram = (options, reports) =>
  start('echo', echoServer(options.port), options, reports)

export const startChat: StartProgram = (options, reports) =>
  start('chat', chatServer(options.port), options, reports)

export const startChatClient: StartProgram = (options, reports) => {
  const ended = (reason: unknown): void => {
    if (reason !== undefined) reports.failed(reason as SocketError)
  }
  return start('connect', chatClient(options.host, options.port, ended), options, reports)
}

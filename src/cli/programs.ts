/**
 * The one place where the command line meets the programs of `examples/`: each is started in a ground
 * VM next to the TCP driver and a reporter, which tells the command what becomes of the sockets.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { chatClient } from '../../examples/chat-client.js'
import { chatServer, chatServerOfWorker, chatServerWithPage, webOptions } from '../../examples/chat.js'
import { echoServer } from '../../examples/echo.js'
import { natsOf, type Nats } from '../../examples/support/network.js'
import {
  _, endpoint, groundVm, inspector, spawn, tcpBare, tcpError, tcpListener, tcpListening, webSocket, wsError,
  wsListening, type ActionTree, type CurrentWorker, type GroundVm, type SocketAddress, type SocketError,
  type TransportMetrics,
} from '../index.js'
import { PACKAGE_ROOT } from '../support/package-root.js'
import type { ChatOptions, CommonOptions, ServerOptions } from './options.js'

/** What a command wants to hear of its program. */
export interface Reports {
  listening?(address: Pick<SocketAddress, 'address' | 'port'>): void
  /** Where browsers find its page. */
  page?(url: string): void
  /** A listen, an accept or a connect failed, or an established connection was lost. */
  failed(error: SocketError): void
  metrics?(metrics: Readonly<TransportMetrics>): void
}

/** @param options may have those of a server */
export type StartProgram = (options: CommonOptions & Partial<ServerOptions>, reports: Reports) => GroundVm

/** Hears of every listener, and of every socket that could not be had. */
const reporter = (port: number, reports: Reports): ActionTree => [
  endpoint.subscriber(tcpListening(tcpListener(port), _), {
    onPresence: ({ address }) => { reports.listening?.({ address: address.host, port: address.port }) },
  }),
  endpoint.subscriber(tcpError(_, _, _), {
    onMessage: ({ error }) => { reports.failed(error) },
  }),
]

function start(
  name: string, program: ActionTree, options: CommonOptions & Partial<ServerOptions>, reports: Reports,
): GroundVm {
  const { host, port, transport, inspect } = options
  const driver = tcpBare({
    transport, host, onTransport: ({ metrics }) => { reports.metrics?.(metrics) },
  })
  const observer = spawn(() => reporter(port, reports), { name: 'reporter' })
  const looking = inspect === undefined ? undefined : inspector({ port: inspect })
  return groundVm(() => [looking, driver, observer, program], { name })
}

export const startEcho: StartProgram = (options, reports) =>
  start('echo', echoServer(options.port), options, reports)

/** What to type into a browser of this machine. @param host with its port */
export const pageAddress = (host: string): string =>
  `http://${host.replace(/^(127\.0\.0\.1|0\.0\.0\.0|\[::\]):/, 'localhost:')}/`

/** Hears where browsers can connect, and tells where the page is. */
const webReporter = (reports: Reports): ActionTree => [
  endpoint.subscriber(wsListening(_, _), {
    onPresence: ({ address }) => { reports.page?.(pageAddress(new URL(address.url).host)) },
  }),
  endpoint.subscriber(wsError(_, _, _), {
    onMessage: ({ error }) => { reports.failed(error as SocketError) },
  }),
]

/** By default the port before that for telnet: browsers refuse 6000, which comes after its default. */
export const webPortOf = ({ port, webPort }: Pick<ChatOptions, 'port' | 'webPort'>): number =>
  webPort ?? (port > 1 ? port - 1 : port === 0 ? 0 : 2)

const chatPage = (): string => readFileSync(join(PACKAGE_ROOT ?? '', 'examples/chat.html'), 'utf8')

export const startChat = (options: ChatOptions, reports: Reports): GroundVm => {
  const { port, host, web, nats, node } = options
  const network = natsOf(nats, node)
  if (!web) return start('chat', chatServer(port, network), options, reports)
  const program = [
    webSocket({ ...webOptions, host }),
    spawn(() => webReporter(reports), { name: 'web reporter' }),
    chatServerWithPage(port, webPortOf(options), chatPage(), network),
  ]
  return start('chat', program, options, reports)
}

export const startChatClient: StartProgram = (options, reports) => {
  const ended = (reason: unknown): void => {
    if (reason !== undefined) reports.failed(reason as SocketError)
  }
  return start('connect', chatClient(options.host, options.port, ended), options, reports)
}

/** What a worker is told: which program it runs, where, and where other processes are. */
export interface WorkerTask {
  readonly program: 'chat' | 'echo'
  readonly host: string
  readonly port: number
  readonly nats?: Nats | undefined
  /** Of the page for browsers; undefined: there is none. */
  readonly webPort?: number | undefined
}

/** What a worker runs. @param up called once it listens for browsers, too, if it is to; before that it is not ready */
export function workerProgram(worker: CurrentWorker, up: () => void): ActionTree {
  const { program, host, port, nats, webPort } = worker.data as WorkerTask
  const driver = tcpBare({ transport: 'native', host })
  if (program === 'echo' || webPort === undefined) {
    up()
    return [driver, program === 'chat' ? chatServerOfWorker(port, worker, nats) : echoServer(port)]
  }
  return [
    driver, webSocket({ ...webOptions, host }),
    spawn(() => endpoint.subscriber(wsListening(_, _), { onPresence: up }), { name: 'web reporter' }),
    chatServerOfWorker(port, worker, nats, { port: webPort, page: chatPage() }),
  ]
}

/**
 * Our echo server as the benchmarks run it: examples/echo.ts, with its sessions so many nested VMs
 * deep, on either driver. Without nesting and on tcp-bare it is that example, unchanged.
 *
 * usage: node dist/bench/servers/echo.js [--port PORT] [--transport native|node]
 *   [--backend epoll|io_uring] [--driver tcp|tcp-bare] [--depth VMS] [--busy-poll MICROSECONDS|adaptive]
 *   [--buffers owned|borrowed|isolated] [--cert FILE --key FILE]
 */
import {
  _, atMetaLevel, endpoint, eof, nestedVm, quit, sendFeedback, sendMessage, spawn, tcpChannel,
  tcpCredit, tcpListener, type Action, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { echoServer } from '../../examples/echo.js'
import { serve, type ServerOptions } from './serve.js'

/** Bytes that a flow-controlled session lets through before it has sent them back. */
const CREDIT = 65536

/** An action of a process `depth` VMs deep that takes effect beside the driver. */
function outside(depth: number, action: Action): Action {
  return depth === 0 ? action : outside(depth - 1, atMetaLevel(action))
}

function inDepth(depth: number, boot: () => ActionTree): ActionTree {
  return depth === 0 ? boot() : nestedVm(() => inDepth(depth - 1, boot))
}

function session({ depth, driver }: ServerOptions, them: TcpEnd, us: TcpEnd): ActionTree {
  const grant = (bytes: number): ActionTree =>
    driver === 'tcp' && outside(depth, sendFeedback(tcpChannel(them, us, tcpCredit(bytes))))
  const subscriber = endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: ({ subpacket }) => [
      outside(depth, sendMessage(tcpChannel(us, them, subpacket))),
      subpacket !== eof && grant((subpacket as Uint8Array).length),
    ],
  })
  return [outside(depth, subscriber), grant(CREDIT)]
}

function echo(options: ServerOptions): ActionTree {
  const { depth, port, driver } = options
  if (depth === 0 && driver === 'tcp-bare') return echoServer(port)
  return inDepth(depth, () => {
    const observer = endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
      interest: 'observer',
      onPresence: ({ source, destination }) => spawn(() => session(options, source, destination)),
    })
    return outside(depth, observer)
  })
}

await serve(echo)

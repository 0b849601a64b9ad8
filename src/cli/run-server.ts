/** Runs a server program from its start to its exit code: listening, status, signals, the end. */
import { openTransport } from '../transport/choose.js'
import type { SocketAddress, SocketError } from '../transport/transport.js'
import { CommandError, explain, formatAddress } from './messages.js'
import type { CommonOptions } from './options.js'
import { Output } from './output.js'
import type { StartServer } from './programs.js'
import { onStopSignal } from './signals.js'
import { showStatus } from './status.js'
import { watchTransport } from './watch.js'

export interface Server {
  readonly name: string
  readonly start: StartServer
  /** How to try it, once it listens. */
  readonly hints: (address: SocketAddress) => readonly string[]
}

type Outcome =
  | { readonly kind: 'listening', readonly address: SocketAddress }
  | { readonly kind: 'failed', readonly error: SocketError }
  | { readonly kind: 'ended' }
  | { readonly kind: 'stopped' }

/** Resolves to the exit code when the server has ended. */
export async function runServer(server: Server, options: CommonOptions): Promise<number> {
  const { host, port } = options
  const output = new Output()
  let settle: (outcome: Outcome) => void = () => undefined
  const settled = new Promise<Outcome>((resolve) => { settle = resolve })
  const transport = watchTransport(openTransport(options.transport), {
    listening: (address) => { settle({ kind: 'listening', address }) },
    listenFailed: (error) => {
      output.explained(error)
      settle({ kind: 'failed', error })
    },
  })
  const program = server.start({ transport, host, port })
  let stopping = false
  const stop = (): void => {
    stopping = true
    settle({ kind: 'stopped' })
    void program.stop()
  }
  const unwatch = onStopSignal((signal) => {
    stop()
    clearStatus()
    if (signal === 'SIGINT' && output.isTerminal) output.line('')
    output.line('closing connections; once more to exit at once')
  })
  let clearStatus = (): void => undefined
  program.then(() => { settle({ kind: 'ended' }) }, () => { settle({ kind: 'ended' }) })

  const outcome = await settled
  if (outcome.kind === 'listening') {
    const { address } = outcome
    output.line(`listening on ${formatAddress(address.address, address.port)}`)
    for (const hint of server.hints(address)) output.line(hint)
    clearStatus = showStatus(output, transport.metrics)
  } else if (outcome.kind === 'failed') {
    stop()
  }
  try {
    await program
  } finally {
    clearStatus()
    await transport.close()
    unwatch()
  }
  if (outcome.kind === 'failed') throw new CommandError(explain(outcome.error, host, port))
  if (!stopping) throw new CommandError(`${server.name} ended by itself`)
  return 0
}

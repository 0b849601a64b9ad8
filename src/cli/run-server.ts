/** Runs a server program from its start to its exit code: listening, status, signals, the end. */
import { CommandError, assertLoadable, explain, formatAddress, type Address } from './messages.js'
import type { CommonOptions, ServerOptions } from './options.js'
import { Output } from './output.js'
import type { Reports } from './programs.js'
import { onStopSignal } from './signals.js'
import { showStatus } from './status.js'
import type { SocketError } from '../transport/seam/transport.js'
import type { TransportMetrics } from '../transport/seam/metrics.js'
import type { GroundVm } from '../index.js'

export interface Server<O extends CommonOptions> {
  readonly name: string
  readonly start: (options: O, reports: Reports) => GroundVm
  /** How to try it, once it listens. */
  readonly hints: (address: Address) => readonly string[]
}

/** Resolves to the exit code when the server has ended. */
export async function runServer<O extends ServerOptions>(server: Server<O>, options: O): Promise<number> {
  assertLoadable(options.transport)
  const { host, port } = options
  const output = new Output()
  let metrics: Readonly<TransportMetrics> | undefined
  let failure: Error | undefined
  let stopped = false
  let clearStatus = (): void => undefined

  const program = server.start(options, {
    metrics: (counters) => { metrics = counters },
    listening: (address) => {
      output.line(`listening on ${formatAddress(address.address, address.port)}`)
      for (const hint of server.hints(address)) output.line(hint)
      if (metrics !== undefined) clearStatus = showStatus(output, metrics)
    },
    page: (url) => { output.line(`in a browser: ${url}`) },
    failed: (error) => {
      // A connection that could not be accepted is one client's trouble; the log tells of it.
      if (error.syscall === 'accept') return
      failure ??= error
      void program.stop()
    },
  })
  const unwatch = onStopSignal((signal) => {
    stopped = true
    if (signal === 'SIGTERM') void program.shutdown({ drainMs: options.drainMs })
    else void program.stop()
    clearStatus()
    // A terminal shows ^C where the status line was.
    if (signal === 'SIGINT' && output.isTerminal) output.line('')
    const what = signal === 'SIGTERM' ? 'waiting for connections to end' : 'closing connections'
    output.line(`${what}; once more to exit at once`)
  })
  try {
    await program
  } finally {
    clearStatus()
    unwatch()
  }
  if (failure !== undefined && !stopped) {
    const failed = (failure as Partial<SocketError>).port ?? port
    // Who has a page has a second port.
    throw new CommandError(explain(failure, host, failed, failed === port ? '--port' : '--web-port'))
  }
  if (!stopped) throw new CommandError(`${server.name} ended by itself`)
  return 0
}

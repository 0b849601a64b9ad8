/** Runs a server program on several workers, from its start to its exit code. */
import { join } from 'node:path'
import { serve, type SocketError } from '../index.js'
import { inspectGrounds } from '../inspector/index.js'
import { PACKAGE_ROOT } from '../support/package-root.js'
import { assertLoadable, CommandError, explain, formatAddress, type Address } from './messages.js'
import type { ServerOptions } from './options.js'
import { Output, rootCause } from './output.js'
import { pageAddress, type WorkerTask } from './programs.js'
import { onStopSignal } from './signals.js'

/** Resolves to the exit code when the server has ended. */
export async function runWorkers(
  name: WorkerTask['program'], hints: (address: Address) => readonly string[], options: ServerOptions, workers: number,
  { nats, webPort }: Pick<WorkerTask, 'nats' | 'webPort'> = {},
): Promise<number> {
  const { host, port, drainMs, inspect, transport } = options
  if (transport === 'node') throw new CommandError('--workers needs the native transport')
  assertLoadable('native')
  // That of the main thread knows all workers, and leads into each.
  if (inspect !== undefined) inspectGrounds(undefined, inspect)
  const output = new Output()
  const data: WorkerTask = { program: name, host, port, nats, webPort }
  const served = serve({
    module: join(PACKAGE_ROOT ?? '', 'dist/lib/cli-worker.js'), workers, name, drainMs, signals: false, data,
  })
  let stopped = false
  const unwatch = onStopSignal((signal) => {
    stopped = true
    const ended = signal === 'SIGTERM' ? served.shutdown() : served.stop()
    // The promise of the end tells of it.
    ended.catch(() => undefined)
    if (signal === 'SIGINT' && output.isTerminal) output.line('')
    const what = signal === 'SIGTERM' ? 'waiting for connections to end' : 'closing connections'
    output.line(`${what}; once more to exit at once`)
  })
  const restart = (): void => {
    output.line('restarting the workers one by one')
    served.restart().then(() => { output.line('all workers are new') }, (error: unknown) => {
      if (!stopped) output.error(`the restart has failed: ${explain(rootCause(error), host, port)}`)
    })
  }
  process.on('SIGUSR2', restart)
  try {
    await served.ready
    // A worker listens for telnet first.
    const [main, page] = served.addresses()
    output.line(`listening on ${formatAddress(main.address, main.port)}`)
    output.line(`${workers} workers; SIGUSR2 restarts them one by one`)
    for (const hint of hints(main)) output.line(hint)
    if (webPort !== undefined) output.line(`in a browser: ${pageAddress(formatAddress(page.address, page.port))}`)
    await served
  } catch (error) {
    if (!stopped) {
      const cause = rootCause(error)
      const failed = (cause as Partial<SocketError> | undefined)?.port ?? port
      throw new CommandError(explain(cause, host, failed, failed === port ? '--port' : '--web-port'))
    }
  } finally {
    unwatch()
    process.off('SIGUSR2', restart)
  }
  return 0
}

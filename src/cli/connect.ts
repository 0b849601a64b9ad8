/** `marketplace connect HOST PORT`: the chat client. Lines of stdin go out, what comes goes to stdout. */
import { Argument, type Command } from 'commander'
import { CommandError, assertLoadable, explain } from './messages.js'
import { addCommonOptions, parseHost, parsePort, type CommonOptions } from './options.js'
import { Output } from './output.js'
import { startChatClient } from './programs.js'
import { onStopSignal } from './signals.js'

/** Resolves to the exit code when the connection has ended. */
async function runClient(options: CommonOptions): Promise<number> {
  assertLoadable(options.transport)
  const output = new Output()
  let failure: Error | undefined
  let stopped = false
  const program = startChatClient(options, {
    failed: (error) => { failure ??= error },
  })
  const stop = (): void => {
    stopped = true
    void program.stop()
  }
  output.onBroken = stop
  const unwatch = onStopSignal(stop)
  try {
    await program
  } finally {
    unwatch()
  }
  if (failure !== undefined && !stopped) {
    throw new CommandError(explain(failure, options.host, options.port))
  }
  return 0
}

export function addConnect(program: Command, done: (code: Promise<number>) => Promise<void>): void {
  const command = program
    .command('connect')
    .summary('run the chat client')
    .description('Connect to a server: what is typed goes out line by line, what comes is printed.')
    .addArgument(new Argument('[host]', 'the same as --host; the port is not part of it').argParser(parseHost))
    .addArgument(new Argument('[port]', 'the same as --port').argParser(parsePort))
  addCommonOptions(command, 'name or address to connect to', 'port to connect to')
    .action((host: string | undefined, port: number | undefined, options: CommonOptions) => done(runClient({
      ...options, host: host ?? options.host, port: port ?? options.port,
    })))
}

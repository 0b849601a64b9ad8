/** `marketplace echo`: the echo server. */
import type { Command } from 'commander'
import { clientArguments } from './chat.js'
import type { Address } from './messages.js'
import { addServerOptions, type ServerOptions } from './options.js'
import { startEcho } from './programs.js'
import { runServer } from './run-server.js'
import { runWorkers } from './run-workers.js'

export function addEcho(program: Command, done: (code: Promise<number>) => Promise<void>): void {
  const command = program
    .command('echo')
    .summary('run the echo server')
    .description('Run the echo server: every connection gets back what it sends.')
  addServerOptions(command)
    .action((options: ServerOptions) => {
      const hints = (address: Address): string[] =>
        [`try it: run "nc ${clientArguments(address)}"`, 'Ctrl-C ends it']
      const { workers } = options
      return done(workers === undefined
        ? runServer({ name: 'echo', start: startEcho, hints }, options)
        : runWorkers('echo', hints, options, workers))
    })
}

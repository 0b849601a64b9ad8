/** `marketplace echo`: the echo server. */
import type { Command } from 'commander'
import { clientArguments } from './chat.js'
import { addServerOptions, type ServerOptions } from './options.js'
import { startEcho } from './programs.js'
import { runServer } from './run-server.js'

export function addEcho(program: Command, done: (code: Promise<number>) => Promise<void>): void {
  const command = program
    .command('echo')
    .summary('run the echo server')
    .description('Run the echo server: every connection gets back what it sends.')
  addServerOptions(command)
    .action((options: ServerOptions) => done(runServer({
      name: 'echo',
      start: startEcho,
      hints: (address) => [`try it: run "nc ${clientArguments(address)}"`, 'Ctrl-C ends it'],
    }, options)))
}

/** `marketplace chat`: the chat server. */
import type { Command } from 'commander'
import type { Address } from './messages.js'
import { addServerOptions, type ServerOptions } from './options.js'
import { startChat } from './programs.js'
import { runServer } from './run-server.js'

/** What to type to reach a server from its own machine. */
export function clientArguments({ address, port }: Address): string {
  const local = /^(127\.0\.0\.1|0\.0\.0\.0|::)$/.test(address)
  return `${local ? 'localhost' : address} ${port}`
}

export function addChat(program: Command, done: (code: Promise<number>) => Promise<void>): void {
  const command = program
    .command('chat')
    .summary('run the chat server')
    .description('Run the chat server: everybody who connects talks to everybody else, line by line.')
  addServerOptions(command)
    .action((options: ServerOptions) => done(runServer({
      name: 'chat',
      start: startChat,
      hints: (address) => [
        `try it: run "telnet ${clientArguments(address)}" in two windows`,
        `(or, without telnet: "nc ${clientArguments(address)}")`,
        'Ctrl-C ends it',
      ],
    }, options)))
}

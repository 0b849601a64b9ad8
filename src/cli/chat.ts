/** `marketplace chat`: the chat server. */
import { Option, type Command } from 'commander'
import { natsOf } from '../../examples/support/network.js'
import { CommandError, type Address } from './messages.js'
import { addServerOptions, parseNats, parseNode, parsePort, type ChatOptions } from './options.js'
import { startChat, webPortOf } from './programs.js'
import { runServer } from './run-server.js'
import { runWorkers } from './run-workers.js'

/** Of a name that workers add their numbers to: a node's has 64. */
const NODE_MAX = 56

/** What to type to reach a server from its own machine. */
export function clientArguments({ address, port }: Address): string {
  const local = /^(127\.0\.0\.1|0\.0\.0\.0|::)$/.test(address)
  return `${local ? 'localhost' : address} ${port}`
}

export function addChat(program: Command, done: (code: Promise<number>) => Promise<void>): void {
  const command = program
    .command('chat')
    .summary('run the chat server')
    .description('Run the chat server: everybody who connects talks to everybody else, line by line; '
      + 'by telnet, or in a browser.')
  addServerOptions(command)
    .addOption(new Option('--web-port <port>', 'port of the page for browsers (default: the one before --port)')
      .argParser(parsePort))
    .option('--no-web', 'without a page for browsers')
    .addOption(new Option('--nats <url>', 'one room with all chat servers at this NATS server').argParser(parseNats))
    .addOption(new Option('--node <name>', 'the name among these (default: one of this process)').argParser(parseNode))
    .action((options: ChatOptions) => {
      const hints = (address: Address): string[] => [
        `try it: run "telnet ${clientArguments(address)}" in two windows`,
        `(or, without telnet: "nc ${clientArguments(address)}")`,
        'Ctrl-C ends it',
      ]
      const { workers, web, nats, node } = options
      if (workers === undefined) return done(runServer({ name: 'chat', start: startChat, hints }, options))
      if ((node?.length ?? 0) > NODE_MAX) {
        const wrong = `with --workers, which add numbers, --node may have ${NODE_MAX} characters`
        return done(Promise.reject(new CommandError(wrong)))
      }
      const network = { nats: natsOf(nats, node), webPort: web ? webPortOf(options) : undefined }
      return done(runWorkers('chat', hints, options, workers, network))
    })
}

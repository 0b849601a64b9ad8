/**
 * A TCP load balancer. A backend is used for as long as its process is present, which it is while it can be
 * connected to. Backends come and go at run time: type `add HOST:PORT` or `drain HOST:PORT`.
 *
 *   node dist/examples/balancer.js --port 8000 --backend 127.0.0.1:8001 --backend 127.0.0.1:8002
 */
import { pathToFileURL } from 'node:url'
import {
  _, endpoint, lineSource, quit, sendMessage, spawn, tcp, tcpAddress, timerDriver, type ActionTree,
  type ProxyOptions, type TcpAddress,
} from 'marketplace-native'
import { balancer, driverOptions, type BalancerOptions } from './balancer/balance.js'
import { STRATEGIES } from './balancer/choose.js'
import { addBackend, drainBackend } from './balancer/records.js'
import { numberOf, runExample, stopping, type Values } from './support/run.js'

/** `127.0.0.1:80`, `[::1]:80`, `name:80`. @throws Error that says how it should look */
function addressOf(text: string): TcpAddress {
  const [, host = '', port = ''] = /^(?:\[(?=.*\])|(?!.*:.*:))([^\s[\]]+)\]?:(\d{1,5})$/.exec(text) ?? []
  if (host === '' || Number(port) > 65_535 || Number(port) === 0) {
    throw new Error(`a backend is HOST:PORT, not "${text}"`)
  }
  return tcpAddress(host, Number(port))
}

/** @throws Error that names the option, if the text is none of them */
function oneOf<T extends string>(values: Values, name: string, choices: readonly T[]): T | undefined {
  const value = values[name]
  if (value === undefined || choices.includes(value as T)) return value as T | undefined
  throw new Error(`--${name} takes ${choices.join(' or ')}, not "${String(value)}"`)
}

/** What is typed: `add HOST:PORT` and `drain HOST:PORT`. */
const commands = (): ActionTree => [
  endpoint.subscriber([lineSource(), _], {
    onMessage: ([, line]) => {
      if (typeof line !== 'string') return quit()
      const [, command, where] = /^(add|drain) +(\S+) *$/.exec(line) ?? []
      try {
        if (command === 'add') return sendMessage(addBackend(addressOf(where)))
        if (command === 'drain') return sendMessage(drainBackend(addressOf(where)))
        console.log('type: add HOST:PORT, drain HOST:PORT')
      } catch (error) {
        console.log((error as Error).message)
      }
      return undefined
    },
  }),
  endpoint.subscriber(stopping(_), { onPresence: () => quit() }),
]

function optionsOf(values: Values): BalancerOptions {
  const backends = (values['backend'] as string[] | undefined ?? []).map(addressOf)
  const version = oneOf(values, 'send-proxy', ['v1', 'v2'])
  return {
    backends,
    strategy: oneOf(values, 'strategy', STRATEGIES) ?? 'round-robin',
    sendProxy: version && (version === 'v1' ? 1 : 2),
    log: (text) => console.log(text),
  }
}

/** Who is in front of this balancer: nobody else may connect then. @throws Error for what is no network */
function proxyIn(values: Values): ProxyOptions | undefined {
  const from = values['trust'] as string[] | undefined
  for (const network of from ?? []) {
    try {
      tcp({ proxy: { from: [network] } })
    } catch {
      throw new Error(`--trust takes an address or a network such as 10.0.0.0/8, not "${network}"`)
    }
  }
  return from && { from, others: 'refuse' }
}

const usage = `usage: balancer.js [options]; type "add HOST:PORT" and "drain HOST:PORT" while it runs
  --host 127.0.0.1          address to listen on
  --port 8000               port to listen on
  --backend HOST:PORT       a backend; as many as you like
  --strategy round-robin    or least-connections
  --send-proxy v1           or v2: say the client's address to the backends
  --trust 10.0.0.0/8        expect a PROXY header, from these addresses only; as many as you like
  --quiet                   say nothing of single clients`

const options = {
  host: { type: 'string', default: '127.0.0.1' },
  port: { type: 'string', default: '8000' },
  backend: { type: 'string', multiple: true },
  strategy: { type: 'string' },
  'send-proxy': { type: 'string' },
  trust: { type: 'string', multiple: true },
  quiet: { type: 'boolean', default: false },
} as const

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runExample({
    usage,
    options,
    hint: (host, port) => `try it: curl http://${host}:${port}/`,
    boot: (values) => {
      const chosen = optionsOf(values)
      if (chosen.backends.length === 0) {
        console.log('no backend yet: clients are turned away until you type "add HOST:PORT", or --backend says one')
      }
      const log = (text: string) => { if (!text.startsWith('client ')) console.log(text) }
      return [
        tcp({ ...driverOptions, host: String(values['host']), proxy: proxyIn(values) }),
        timerDriver(),
        balancer(numberOf(values, 'port', 65_535), values['quiet'] === true ? { ...chosen, log } : chosen),
        spawn(commands, { name: 'commands' }),
      ]
    },
  })
}

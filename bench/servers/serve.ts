/**
 * What our servers of the benchmarks share: a command line, a ground VM with a driver, and what they
 * print: `version: ...`, `listening on HOST:PORT`; or `skip: REASON` where the machine lacks what was
 * asked for.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import {
  _, endpoint, groundVm, spawn, tcp, tcpBare, tcpError, tcpListener, tcpListening,
  type Action, type ActionTree, type BufferLifetime, type FlowControlledTcpOptions,
} from 'marketplace-native'
import { end } from './end.js'

export interface ServerOptions {
  readonly host: string
  readonly port: number
  readonly driver: 'tcp' | 'tcp-bare'
  /** VMs between the driver's and the sessions'. */
  readonly depth: number
  /** Of the server of frames: takes bytes as they come. */
  readonly unframed: boolean
}

type Backend = 'epoll' | 'io_uring'

interface Arguments extends ServerOptions {
  readonly transport: 'native' | 'node'
  readonly backend: Backend | undefined
  readonly busyPoll: number | 'adaptive' | undefined
  readonly buffers: BufferLifetime | undefined
  /** Files: with them, connections are encrypted. */
  readonly cert: string | undefined
  readonly key: string | undefined
}

/** What a server has its driver do beside what it was told by its arguments. */
type More = (options: ServerOptions) => FlowControlledTcpOptions & { readonly driver?: ServerOptions['driver'] }

function parseArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '0' },
      transport: { type: 'string', default: 'native' },
      backend: { type: 'string' },
      driver: { type: 'string', default: 'tcp-bare' },
      depth: { type: 'string', default: '0' },
      'busy-poll': { type: 'string' },
      buffers: { type: 'string' },
      unframed: { type: 'boolean', default: false },
      cert: { type: 'string' },
      key: { type: 'string' },
    },
  })
  const { host, port, transport, backend, driver, depth, 'busy-poll': busyPoll, buffers, unframed, cert, key } = values
  return {
    host,
    port: Number(port),
    transport: transport as Arguments['transport'],
    backend: backend as Backend | undefined,
    driver: driver as Arguments['driver'],
    depth: Number(depth),
    busyPoll: busyPoll === undefined || busyPoll === 'adaptive' ? busyPoll : Number(busyPoll),
    buffers: buffers as BufferLifetime | undefined,
    unframed,
    cert,
    key,
  }
}

function driverOf(options: Arguments, more: More): Action {
  const { driver = options.driver, ...others } = more(options)
  const { host, transport, backend, busyPoll, buffers, cert, key } = options
  if (backend !== undefined) process.env.MARKETPLACE_BACKEND = backend
  const settings: FlowControlledTcpOptions = {
    ...others,
    host,
    transport,
    backlog: 4096,
    ...(busyPoll === undefined ? {} : { busyPoll }),
    ...(buffers === undefined ? {} : { buffers }),
    ...(cert === undefined || key === undefined ? {} : { tls: { cert: readFileSync(cert), key: readFileSync(key) } }),
    onTransport: ({ name, info }) => {
      console.log(`version: ${name}${info === undefined ? '' : `, ${info.backend}`}`)
    },
  }
  return driver === 'tcp' ? tcp(settings) : tcpBare(settings)
}

/** Prints where it listens; a listener that can't be had ends the process. */
function reporter(port: number): ActionTree {
  return [
    endpoint.subscriber(tcpListening(tcpListener(port), _), {
      onPresence: ({ address }) => {
        console.log(`listening on ${address.host}:${address.port}`)
      },
    }),
    endpoint.subscriber(tcpError(_, _, _), {
      onMessage: ({ error }) => {
        if (error.syscall !== 'accept') end(error)
      },
    }),
  ]
}

/** Runs a program beside the driver until SIGTERM. */
export async function serve(
  program: (options: ServerOptions) => ActionTree, more: More = () => ({}),
): Promise<void> {
  const options = parseArguments()
  try {
    const driver = driverOf(options, more)
    await groundVm(() => [
      driver,
      spawn(() => reporter(options.port), { name: 'reporter' }),
      program(options),
    ])
  } catch (error) {
    end(error)
  }
}

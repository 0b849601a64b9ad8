/**
 * Runs an example from the command line, in the main thread or on workers: its options, where it listens, what went
 * wrong, and Ctrl-C.
 */
import { subscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs, type ParseArgsConfig } from 'node:util'
import { isMainThread } from 'node:worker_threads'
import {
  _, defineRecord, deleteEndpoint, endpoint, groundVm, LOG_CHANNEL, serve, signalSource, spawn, tcpError,
  tcpListening, wsError, wsListening, type ActionTree, type CurrentWorker, type LogRecord, type TlsOptions,
} from 'marketplace-native'
import { natsOf, Network } from './network.js'

/** Published once the program is asked to end: whoever has nothing left to do goes. */
export const stopping = defineRecord('stopping', ['why']).of<[why: string]>()

/** How long what is left may take after Ctrl-C. Another Ctrl-C ends it at once. */
const DRAIN_MILLISECONDS = 10_000

export type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>

export interface Example {
  /** How it is called, for `--help`: all of its options with what they mean. */
  readonly usage: string
  readonly options: NonNullable<ParseArgsConfig['options']>
  /** Where it is, if it runs on workers: its default export is `onWorker(example)` then. */
  readonly module?: string
  /** What to try, once it listens. */
  readonly hint: (host: string, port: number) => string
  /** @throws Error that says what is wrong with the command line */
  readonly boot: (values: Values, worker?: CurrentWorker) => ActionTree
}

/** Whether the program that was started is this module, and not another one that uses it. */
export function isMain(url: string): boolean {
  return isMainThread && url === pathToFileURL(process.argv[1] ?? '').href
}

/** A whole number of the command line. @throws Error that names the option */
export function numberOf(values: Values, name: string, most: number): number {
  const text = String(values[name])
  const number = /^\d+$/.test(text) ? Number(text) : NaN
  if (!(number <= most)) throw new Error(`--${name} takes a whole number from 0 to ${most}, not "${text}"`)
  return number
}

/** Options of servers that can be told to encrypt. */
export const tlsArguments = {
  tls: { type: 'boolean', default: false },
  key: { type: 'string' },
  cert: { type: 'string' },
} as const

/** What these come to. @throws Error that says what is missing, or why a file can't be read */
export function tlsOf({ tls, key, cert }: Values): { readonly tls?: TlsOptions } {
  if (tls !== true && key === undefined && cert === undefined) return {}
  if (typeof key !== 'string' || typeof cert !== 'string') throw new Error('--tls needs --key FILE and --cert FILE')
  return { tls: { key: readFileSync(key), cert: readFileSync(cert) } }
}

/** For those that run on workers, and for those that have nodes in other processes. */
export const workersArguments = { workers: { type: 'string' } } as const
export const natsArguments = { nats: { type: 'string' }, node: { type: 'string' } } as const

/** How many workers there are to be; undefined: it runs in the main thread. */
function workersOf({ workers }: Values): number | undefined {
  if (workers === undefined) return undefined
  const count = workers === 'auto' ? availableParallelism() : /^\d{1,4}$/.test(String(workers)) ? Number(workers) : NaN
  if (count >= 1 && count <= 1024) return count
  throw new Error(`--workers takes a whole number from 1 to 1024, or "auto", not "${String(workers)}"`)
}

/** The other nodes, as the command line has them. @throws Error that says what is missing */
export function networkOf({ nats, node }: Values, worker: CurrentWorker | undefined): Network {
  if (typeof node === 'string' && nats === undefined) throw new Error('--node goes with --nats URL')
  const text = (value: Values[string]): string | undefined => typeof value === 'string' ? value : undefined
  return new Network(worker, natsOf(text(nats), text(node)))
}

function fail(reason: unknown, code: number): void {
  const { code: known, port } = reason as NodeJS.ErrnoException & { port?: number }
  const error = known === 'EADDRINUSE' ? `port ${port ?? ''} is in use (EADDRINUSE)` : reason
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = code
}

/** The examples say themselves which listens and connects fail, as `tcpError` tells: the log needn't. */
const SAID_ALREADY: readonly unknown[] = ['listen', 'bind', 'connect', 'getaddrinfo']

function rootCause(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? rootCause(error.cause) : error
}

/** Prints what the log has to say, which for a program that subscribes to it is the program's task. */
function printLog(record: unknown): void {
  const { level, message, fields } = record as LogRecord
  const reason = rootCause(fields['reason']) as NodeJS.ErrnoException | undefined
  if (!SAID_ALREADY.includes(reason?.syscall)) console.error(`${level}: ${message}`, fields)
}

/** Says on the first signal that the program is to end; the next ones do what they do by default. */
const onSignal = (): ActionTree => {
  const sources = (['SIGINT', 'SIGTERM'] as const).map((name) => signalSource(name))
  return sources.map((source) => endpoint.subscriber([source, _], {
    name: source,
    onMessage: ([, signal]) => {
      console.log('stopping; once more to exit at once')
      return [
        sources.map((each) => deleteEndpoint(each)),
        endpoint.publisher(stopping(signal)),
      ]
    },
  }))
}

const listening = (hint: Example['hint'], host: string, port: number): string =>
  `listening on ${host}:${port}\n${hint(host, port)}; Ctrl-C ends it`

/** What an example runs on a worker. When nobody new comes there, it is to end. */
export const onWorker = ({ boot }: Example) => (worker: CurrentWorker): ActionTree => [
  spawn(() => endpoint.subscriber(tcpListening(_, _), {
    onAbsence: () => spawn(() => endpoint.publisher(stopping('the worker is to end'))),
  }), { name: 'end' }),
  boot(worker.data as Values, worker),
]

async function runOnWorkers(module: string, { hint }: Example, values: Values, workers: number): Promise<void> {
  const served = serve({
    module, workers, data: { ...values }, name: basename(fileURLToPath(module), '.js'), drainMs: DRAIN_MILLISECONDS,
  })
  try {
    await served.ready
    console.log(`${workers} workers; SIGUSR2 restarts them one by one`)
    for (const { address, port } of served.addresses()) console.log(listening(hint, address, port))
    await served
  } catch (error) {
    fail(rootCause(error), 1)
  }
}

/** Resolves when the program has ended; sets the exit code: 0, 1 after a failure, 2 for wrong options. */
export async function runExample(example: Example): Promise<void> {
  const { usage, options, hint, boot, module } = example
  let actions: ActionTree
  let workers: number | undefined
  let values: Values
  try {
    ;({ values } = parseArgs({ options: { ...options, help: { type: 'boolean', short: 'h' } } }))
    if (values['help'] === true) {
      console.log(usage)
      return
    }
    // What is wrong shows here, even if it is to run elsewhere.
    actions = boot(values)
    workers = workersOf(values)
  } catch (error) {
    fail(error, 2)
    return
  }
  subscribe(LOG_CHANNEL, printLog)
  if (workers !== undefined && module !== undefined) {
    await runOnWorkers(module, example, values, workers)
    return
  }
  const listens = (host: string, port: number): void => { console.log(listening(hint, host, port)) }
  const failed = ({ error }: { readonly error: Error }): void => {
    fail(error, 1)
    void vm.stop()
  }
  const reporter = (): ActionTree => [
    endpoint.subscriber(tcpListening(_, _), { onPresence: ({ address: { host, port } }) => listens(host, port) }),
    endpoint.subscriber(wsListening(_, _), {
      onPresence: ({ address: { url } }) => {
        const { hostname, port } = new URL(url)
        listens(hostname, Number(port === '' ? '80' : port))
      },
    }),
    endpoint.subscriber(tcpError(_, undefined, _), { onMessage: failed }),
    endpoint.subscriber(wsError(_, undefined, _), { onMessage: failed }),
    endpoint.subscriber(stopping(_), {
      onPresence: () => void setTimeout(() => void vm.stop(), DRAIN_MILLISECONDS).unref(),
    }),
  ]
  const vm = groundVm(() => [
    spawn(reporter, { name: 'reporter' }), spawn(onSignal, { name: 'signals' }), actions,
  ])
  await vm
}

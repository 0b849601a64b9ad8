/** Runs an example from the command line: its options, where it listens, what went wrong, and Ctrl-C. */
import { subscribe } from 'node:diagnostics_channel'
import { parseArgs, type ParseArgsConfig } from 'node:util'
import {
  _, defineRecord, deleteEndpoint, endpoint, groundVm, LOG_CHANNEL, signalSource, spawn, tcpError,
  tcpListening, type ActionTree, type LogRecord,
} from 'marketplace-native'

/** Published once the program is asked to end: whoever has nothing left to do goes. */
export const stopping = defineRecord('stopping', ['why']).of<[why: string]>()

/** How long what is left may take after Ctrl-C. Another Ctrl-C ends it at once. */
const DRAIN_MILLISECONDS = 10_000

export type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>

export interface Example {
  /** How it is called, for `--help`: all of its options with what they mean. */
  readonly usage: string
  readonly options: NonNullable<ParseArgsConfig['options']>
  /** What to try, once it listens. */
  readonly hint: (host: string, port: number) => string
  /** @throws Error that says what is wrong with the command line */
  readonly boot: (values: Values) => ActionTree
}

/** A whole number of the command line. @throws Error that names the option */
export function numberOf(values: Values, name: string, most: number): number {
  const text = String(values[name])
  const number = /^\d+$/.test(text) ? Number(text) : NaN
  if (!(number <= most)) throw new Error(`--${name} takes a whole number from 0 to ${most}, not "${text}"`)
  return number
}

function fail(error: unknown, code: number): void {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = code
}

/** The examples say themselves which listens and connects fail, as `tcpError` tells: the log needn't. */
const SAID_ALREADY: readonly unknown[] = ['listen', 'bind', 'connect', 'getaddrinfo']

/** Prints what the log has to say, which for a program that subscribes to it is the program's task. */
function printLog(record: unknown): void {
  const { level, message, fields } = record as LogRecord
  const reason = fields['reason'] as NodeJS.ErrnoException | undefined
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

/** Resolves when the program has ended; sets the exit code: 0, 1 after a failure, 2 for wrong options. */
export async function runExample({ usage, options, hint, boot }: Example): Promise<void> {
  let actions: ActionTree
  try {
    const { values } = parseArgs({ options: { ...options, help: { type: 'boolean', short: 'h' } } })
    if (values['help'] === true) {
      console.log(usage)
      return
    }
    actions = boot(values)
  } catch (error) {
    fail(error, 2)
    return
  }
  subscribe(LOG_CHANNEL, printLog)
  const reporter = (): ActionTree => [
    endpoint.subscriber(tcpListening(_, _), {
      onPresence: ({ address: { host, port } }) => {
        console.log(`listening on ${host}:${port}\n${hint(host, port)}; Ctrl-C ends it`)
      },
    }),
    endpoint.subscriber(tcpError(_, undefined, _), {
      onMessage: ({ error }) => {
        fail(error.code === 'EADDRINUSE' ? `port ${error.port ?? ''} is in use (EADDRINUSE)` : error, 1)
        void vm.stop()
      },
    }),
    endpoint.subscriber(stopping(_), {
      onPresence: () => void setTimeout(() => void vm.stop(), DRAIN_MILLISECONDS).unref(),
    }),
  ]
  const vm = groundVm(() => [
    spawn(reporter, { name: 'reporter' }), spawn(onSignal, { name: 'signals' }), actions,
  ])
  await vm
}

/** Runs small programs in a ground VM and hands back what they printed and logged. */
import { collectLog, type LogLine } from './log-records.js'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { groundVm, type ActionTree, type GroundVm } from 'marketplace-native'

export { sleep }

/** Adds a line to the trace: strings as they are, other values inspected. */
export type Print = (...values: readonly unknown[]) => void

export interface Run {
  readonly lines: string[]
  readonly log: LogLine[]
  /** Whether the ground VM ended by itself, in time. */
  readonly ended: boolean
}

export interface RunOptions {
  /** Milliseconds after which the VM is stopped. */
  readonly patience?: number
  /** What is done to the running VM from outside. */
  readonly meanwhile?: (ground: GroundVm, print: Print) => Promise<void> | void
}

const text = (value: unknown): string =>
  typeof value === 'string' ? value : inspect(value, { breakLength: Infinity, depth: 8 })

/** Runs the actions as those of the first process of a ground VM. */
export async function run(program: (print: Print) => ActionTree, options: RunOptions = {}): Promise<Run> {
  const { patience = 5000, meanwhile } = options
  const lines: string[] = []
  const print: Print = (...values) => {
    lines.push(values.map(text).join(' '))
  }
  const { records, end } = collectLog()
  // What becomes of the program is in the log and in the trace.
  const ground = groundVm(() => program(print), { essential: false })
  const timeout = new AbortController()
  try {
    await meanwhile?.(ground, print)
    const ended = await Promise.race([
      ground.then(() => true),
      sleep(patience, false, { signal: timeout.signal }).catch(() => false),
    ])
    if (!ended) {
      print('TIMEOUT')
      await Promise.race([ground.stop('timeout'), sleep(100)])
    }
    return { lines, log: records, ended }
  } finally {
    timeout.abort()
    end()
  }
}

/** The messages of the records of a level. */
export function logged(log: readonly LogLine[], level: string): string[] {
  return log.filter((record) => record.level === level).map((record) => record.message)
}

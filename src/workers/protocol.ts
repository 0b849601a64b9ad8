/**
 * What the thread that serves and its workers say to each other: messages, the shared words, and errors in a form that
 * keeps what they say. Owns nothing.
 */
import type { MessagePort } from 'node:worker_threads'
import type { SocketAddress } from '../support/socket-error.js'
import type { LoanRequest } from '../transport/shared-listeners.js'
import type { LogLevel } from '../support/log.js'
import type { TransportMetrics } from '../transport/seam/metrics.js'

/** Under which a worker finds what it is started with, in `workerData`. */
export const START = 'marketplace-native.serve'

/** Of the words that a worker shares with the thread that serves. */
export const Word = { beat: 0, answered: 1 } as const
/** How many there are. */
export const WORDS = 2

/** What a worker is started with. */
export interface WorkerStart {
  /** A file URL. */
  readonly module: string
  readonly index: number
  readonly node: string
  readonly data: unknown
  readonly words: Int32Array
  /** Milliseconds between two beats. */
  readonly beatMs: number
  readonly loans: MessagePort
  /** On which both say what is below; `parentPort` is the program's own. */
  readonly control: MessagePort
}

/** An error as it is told between threads. */
export interface ToldError {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly fields: Readonly<Record<string, string | number | undefined>>
}

/** What a worker says. */
export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed', readonly error: ToldError }
  | { readonly kind: 'log', readonly level: LogLevel, readonly message: string, readonly fields: [string, unknown][] }
  | { readonly kind: 'metrics', readonly asked: number, readonly metrics: TransportMetrics }
  | { readonly kind: 'over', readonly metrics: TransportMetrics }

/** What it is told. */
export type ToWorker =
  | { readonly kind: 'shutdown', readonly drainMs: number }
  | { readonly kind: 'metrics', readonly asked: number }
  | { readonly kind: 'peer', readonly node: string, readonly port: MessagePort }
  | { readonly kind: 'inspect', readonly port: MessagePort }

/** What a worker asks on its port for loans. */
export type LoanQuestion =
  | { readonly kind: 'borrow', readonly question: number, readonly nth: number, readonly request: LoanRequest }
  | { readonly kind: 'give-back', readonly seat: number }

/** The answer; `errno` is negative if there is no loan. */
export interface LoanAnswer {
  readonly question: number
  readonly errno: number
  readonly seat: number
  readonly descriptors: Int32Array
  readonly address: SocketAddress | undefined
}

const TOLD = ['code', 'errno', 'syscall', 'address', 'port'] as const

/** An error in a form that crosses between threads with its code. */
export function toldError(reason: unknown): ToldError {
  const error = reason instanceof Error ? reason : new Error(String(reason))
  const fields = TOLD.flatMap((name) => {
    const value = (error as unknown as Record<string, unknown>)[name]
    return typeof value === 'string' || typeof value === 'number' ? [[name, value] as const] : []
  })
  return { name: error.name, message: error.message, stack: error.stack, fields: Object.fromEntries(fields) }
}

/** And back. */
export function errorOf({ name, message, stack, fields }: ToldError): Error {
  const error = Object.assign(new Error(message), fields)
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true })
  if (stack !== undefined) error.stack = stack
  return error
}

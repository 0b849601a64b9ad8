/** The options of `serve`, and what is wrong with them. Owns nothing. */
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { isAbsolute, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { ResourceLimits } from 'node:worker_threads'
import { checkOptions, integer, ofType, oneOf, type Check, type Checks } from '../support/checks.js'
import { argumentError, fromCaller, rangeError } from '../support/errors.js'
import { supervisor, type SupervisionBackoff } from '../vm/index.js'
import type { Sharing } from './listeners.js'
import type { Route } from './router.js'

/** Options of `serve`. */
export interface ServeOptions {
  /**
   * The program: a file's path or URL. Each worker imports it, and runs what it exports by default: a function that
   * returns the first actions of a ground VM, as for `groundVm`. See docs/workers.md for what else it may export.
   */
  readonly module: string | URL
  /** How many, from 1 to 1,024. Default: as many as the machine has processors for this process. */
  readonly workers?: number | undefined
  /** What each of them gets, as a copy, as `data`. */
  readonly data?: unknown
  /** By which it is known in logs and records. Default: 'serve'. */
  readonly name?: string | undefined
  /**
   * How connections come to workers. 'least': each goes to the worker that has the fewest. 'route': to the one that
   * `route` names. 'reuseport': the kernel divides them among sockets of the workers' own, without regard to how many
   * each has. Default: 'route' if there is a `route`, else 'least'.
   */
  readonly share?: 'least' | 'reuseport' | 'route' | undefined
  /**
   * Which worker gets a connection, by its addresses and what it has sent first: rooms, tenants, who was there before.
   * Called on the thread that serves. What it throws, or a result that is none, resets that connection, and is logged.
   */
  readonly route?: Route | undefined
  /** Bytes that `route` may see, which are left to the worker. From 0, addresses only, to 65,536. Default: 4,096. */
  readonly prefixBytes?: number | undefined
  /** Milliseconds within which `route` has to do with what has come. Default: 10,000. */
  readonly prefixMs?: number | undefined
  /**
   * How often workers may end, other than by a restart, within `period`; see `supervise`. Default: 3 for each worker.
   */
  readonly intensity?: number | undefined
  /** Milliseconds, as for `supervise`. Default: 5,000. */
  readonly period?: number | undefined
  /** The waits between an end and the next start, as for `supervise`. */
  readonly backoff?: SupervisionBackoff | undefined
  /** Milliseconds that a worker may take until it is ready. Default: 30,000. */
  readonly readyMs?: number | undefined
  /**
   * Milliseconds for which a worker's event loop may be busy with one thing; then it counts as stuck, and is ended.
   * From 100 to 2,147,483,647. Default: 10,000.
   */
  readonly stuckAfterMs?: number | undefined
  /** Milliseconds that connections of a worker that is to end may take to end by themselves. Default: 10,000. */
  readonly drainMs?: number | undefined
  /** What a worker may use at most, as for Node's `Worker`: who uses more ends alone. */
  readonly resourceLimits?: ResourceLimits | undefined
  /**
   * Whether SIGTERM drains all workers and ends, SIGINT ends, and SIGUSR2 restarts one by one. Default: true for
   * `serve`; `serving` has no signals.
   */
  readonly signals?: boolean | undefined
}

const LONGEST = 0x7fffffff
const WORKERS_MAX = 1024
const PREFIX_MAX = 65_536
const milliseconds = integer(1, LONGEST, 'milliseconds')

const megabytes: Check = (call, name, value) => {
  if (typeof value !== 'number' || !(value > 0) || value === Infinity) {
    throw argumentError(call, name, 'a number of megabytes above 0', value)
  }
}
/** Those of node:worker_threads, which takes anything. */
const limitChecks: Checks = {
  maxYoungGenerationSizeMb: megabytes, maxOldGenerationSizeMb: megabytes, codeRangeSizeMb: megabytes,
  stackSizeMb: megabytes,
}

const checks: Checks = {
  module: (call, name, value) => {
    if (typeof value !== 'string' && !(value instanceof URL)) {
      throw argumentError(call, name, 'the path or the file URL of a module', value)
    }
  },
  workers: integer(1, WORKERS_MAX),
  data: () => undefined,
  name: (call, name, value) => {
    if (typeof value !== 'string' || value === '') throw argumentError(call, name, 'a string that is not empty', value)
  },
  share: oneOf('least', 'reuseport', 'route'),
  route: ofType('function'),
  prefixBytes: integer(0, PREFIX_MAX, 'bytes'),
  prefixMs: milliseconds,
  // Those of a supervisor it checks itself.
  intensity: () => undefined,
  period: () => undefined,
  backoff: () => undefined,
  readyMs: milliseconds,
  stuckAfterMs: integer(100, LONGEST, 'milliseconds'),
  drainMs: integer(0, LONGEST, 'milliseconds'),
  resourceLimits: (call, name, value) => { checkOptions(call, value as object, limitChecks, `${name}.`) },
  signals: ofType('boolean'),
}

/** As they are used. */
export interface ServeSettings {
  readonly module: string
  readonly workers: number
  readonly data: unknown
  readonly name: string
  readonly intensity: number
  readonly period: number | undefined
  readonly backoff: SupervisionBackoff | undefined
  readonly readyMs: number
  readonly stuckAfterMs: number
  readonly drainMs: number
  readonly resourceLimits: ResourceLimits | undefined
  readonly signals: boolean
  readonly sharing: Sharing
}

/** @throws TypeError, RangeError, or Error with the code ERR_MODULE_NOT_FOUND */
export function serveSettings(call: string, options: ServeOptions): ServeSettings {
  checkOptions(call, options, checks, 'options.')
  if ((options as Partial<ServeOptions>).module === undefined) checks['module'](call, 'options.module', undefined)
  const { workers = availableParallelism(), data, name = 'serve', period, backoff, resourceLimits } = options
  const { intensity = 3 * workers, readyMs = 30_000, stuckAfterMs = 10_000, drainMs = 10_000, signals = true } = options
  // For its checks.
  supervisor([], { intensity, period, backoff })
  try {
    structuredClone(data)
  } catch (cause) {
    const error = argumentError(call, 'options.data', 'something that can be copied to another thread', data)
    throw Object.assign(error, { cause })
  }
  const module = moduleUrl(call, options.module)
  const sharing = sharingOf(call, options, workers)
  return {
    module, workers, data, name, intensity, period, backoff, readyMs, stuckAfterMs, drainMs, resourceLimits, signals,
    sharing,
  }
}

function sharingOf(
  call: string, { share, route, prefixBytes, prefixMs }: ServeOptions, workers: number,
): Sharing {
  if ((share !== undefined && share !== 'route') || route === undefined) {
    if (share === 'route') throw argumentError(call, 'options.route', 'a function, as share is \'route\'', route)
    const without = Object.entries({ route, prefixBytes, prefixMs }).find(([, value]) => value !== undefined)
    if (without === undefined) return share === 'reuseport' ? { ownSockets: workers } : {}
    throw argumentError(call, `options.${without[0]}`, 'undefined where connections are not routed', without[1])
  }
  return { routes: { route, workers, prefixBytes: prefixBytes ?? 4096, prefixMs: prefixMs ?? 10_000 } }
}

function moduleUrl(call: string, module: string | URL): string {
  const isUrl = module instanceof URL || /^[a-z]{2,}:/i.test(module)
  const url = isUrl ? new URL(module) : pathToFileURL(isAbsolute(module) ? module : resolve(module))
  if (url.protocol !== 'file:') throw rangeError(call, 'options.module', 'a file', String(module))
  const path = fileURLToPath(url)
  if (existsSync(path)) return url.href
  const missing = new Error(`${call}: there is no module ${path}`)
  throw fromCaller(Object.assign(missing, { code: 'ERR_MODULE_NOT_FOUND', path }))
}

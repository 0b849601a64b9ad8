/**
 * Runs the C load generator once and reads its JSON.
 */
import { execFile } from 'node:child_process'
import { track } from './children.js'
import { loadGenerator } from './paths.js'
import type { Server } from './server.js'

export interface Times {
  readonly warmup: number
  readonly duration: number
}

/** One run's result; fields as bench/load/report.c prints them. */
export interface LoadResult {
  readonly mode: string
  readonly connections: number
  readonly size: number
  readonly depth: number
  readonly rate: number
  readonly seconds: number
  readonly messages: number
  readonly messages_per_second: number
  readonly bytes: number
  readonly bytes_per_second: number
  readonly sent_bytes: number
  readonly verified_bytes: number
  readonly unfinished: number
  /** Datagrams that had no answer in time. */
  readonly lost: number
  readonly latency_us: {
    readonly count: number
    readonly mean: number
    readonly p50: number
    readonly p90: number
    readonly p99: number
    readonly p99_9: number
    readonly max: number
  }
  /** [lowest microseconds, count]. */
  readonly histogram: readonly (readonly [number, number])[]
  readonly server: {
    readonly cpu_us: number
    readonly cpu_us_per_message: number
    readonly busy: number
    readonly rss_bytes_before: number
    readonly rss_bytes: number
    readonly rss_bytes_peak: number
  }
  readonly client: { readonly cpu_us: number; readonly busy: number }
}

/** The load generator has deadlines of its own; this one is for when even they fail. */
const PATIENCE_MS = 120_000

export function runLoad(
  server: Server,
  pin: readonly string[],
  args: readonly string[],
  times: Times,
): Promise<LoadResult> {
  const [file, ...rest] = [
    ...pin,
    loadGenerator,
    ...args,
    ...['--port', String(server.port), '--server-pid', String(server.pid)],
    ...['--warmup', String(times.warmup), '--duration', String(times.duration)],
  ]
  const timeout = (times.warmup + times.duration) * 1000 + PATIENCE_MS
  return new Promise((resolve, reject) => {
    const options = { timeout, killSignal: 'SIGKILL', maxBuffer: 1 << 24 } as const
    const child = execFile(file, rest, options, (error, stdout, stderr) => {
      if (error !== null) {
        reject(new Error(stderr.trim() === '' ? error.message : stderr.trim()))
        return
      }
      try {
        resolve(JSON.parse(stdout) as LoadResult)
      } catch {
        reject(new Error(`load: not JSON: ${stdout.slice(0, 200)}`))
      }
    })
    track(child)
  })
}

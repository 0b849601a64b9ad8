/**
 * Runs the in-VM benchmarks in a process of their own and reads their JSON.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { MicroReport } from './result.js'
import { track } from './children.js'
import { microMain } from './paths.js'

const TIMEOUT_MS = 20 * 60_000
const OUTPUT_MAX = 1 << 26

/**
 * @param program another revision's, instead of this one's
 * @param rounds instead of the usual number
 */
export function runMicroProcess(
  pin: readonly string[],
  quick: boolean,
  { program = microMain, rounds }: { readonly program?: string; readonly rounds?: number } = {},
): Promise<MicroReport> {
  if (!existsSync(program)) return Promise.reject(new Error(`missing: ${program}`))
  const [file, ...args] = [
    ...pin,
    process.execPath,
    '--expose-gc',
    program,
    '--json',
    ...(quick ? ['--quick'] : []),
    ...(rounds === undefined ? [] : ['--rounds', String(rounds)]),
  ]
  return new Promise((resolve, reject) => {
    const options = { timeout: TIMEOUT_MS, maxBuffer: OUTPUT_MAX }
    const child = execFile(file, args, options, (error, stdout, stderr) => {
      if (error !== null) {
        reject(new Error(stderr.trim().split('\n').slice(-8).join(' | ') || error.message))
        return
      }
      try {
        resolve(JSON.parse(stdout) as MicroReport)
      } catch {
        reject(new Error(`micro: not JSON: ${stdout.slice(0, 200)}`))
      }
    })
    track(child)
  })
}

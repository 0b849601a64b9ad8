/**
 * The benchmark's C programs: the load generator and the servers in C.
 */
import { spawnSync } from 'node:child_process'
import { benchBuild, benchSources } from './paths.js'

/**
 * Without a C compiler the C programs are missing, and nothing can be measured over sockets. The
 * io_uring server needs a recent kernel's headers; without it, its arm is skipped.
 */
export function buildPrograms(): void {
  const make = (...targets: string[]) =>
    spawnSync('make', ['-s', '-C', benchSources, `BUILD=${benchBuild}`, ...targets], {
      encoding: 'utf8',
    })
  const needed = make()
  if (needed.status === 0) {
    make('uring')
    return
  }
  const why = needed.error?.message ?? `${needed.stdout}${needed.stderr}`.trim()
  process.stderr.write(`bench: can't build the C programs in ${benchSources}: ${why}\n`)
  process.exit(1)
}

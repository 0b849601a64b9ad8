/** Builds the benchmarks' C programs, and holds an arm's servers against the checks that come before timing. */
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { Arm } from '../../bench/lib/arms.js'
import { startArm } from '../../bench/lib/launch.js'
import { benchBuild, benchSources, loadGenerator } from '../../bench/lib/paths.js'
import { writeCertificate } from '../../bench/lib/programs.js'
import { correctnessChecks, type Service } from '../../bench/lib/scenarios.js'
import { Skipped, type Server } from '../../bench/lib/server.js'

const run = promisify(execFile)
const unpinned = { server: [], client: [], text: 'not pinned: a test' }
const make = spawnSync('make', ['-s', '-C', benchSources, `BUILD=${benchBuild}`, 'all'], { encoding: 'utf8' })
/** False, or why nothing can be measured: for `skip`. */
export const noCompiler = make.status === 0 ? false : `the C programs can't be built: ${make.stderr}`
if (noCompiler === false) {
  writeCertificate()
  spawnSync('make', ['-s', '-C', benchSources, `BUILD=${benchBuild}`, 'uring'])
}

async function checkService(t: Test, arm: Arm, service: Service): Promise<void> {
  let server: Server
  try {
    server = await startArm(arm, service, unpinned)
  } catch (error) {
    if (!(error instanceof Skipped)) throw error
    t.comment(`${arm.name} skipped: ${error.message}`)
    return
  }
  try {
    for (const load of correctnessChecks[service]) {
      const address = ['--port', String(server.port), '--server-pid', String(server.pid)]
      const times = ['--warmup', '0', '--duration', '0.05', '--stall', '30']
      const result = await run(loadGenerator, [...load, ...address, ...times]).catch((error: unknown) => {
        // The load generator has no TLS of its own.
        const text = String((error as { stderr?: string }).stderr)
        if (!/--tls: libssl/.test(text)) throw error
        return text.trim()
      })
      if (typeof result === 'string') {
        t.comment(`${arm.name}, ${service} skipped: ${result}`)
        return
      }
      const { stdout } = result
      const { messages, unfinished } = JSON.parse(stdout) as { messages: number; unfinished: number }
      t.equal(unfinished, 0, `${arm.name}: ${load.join(' ')}: ${messages} messages`)
    }
  } finally {
    await server.stop()
  }
}

/** An arm that this machine lacks is skipped, with the reason in a comment. */
export async function checkArm(t: Test, arm: Arm): Promise<void> {
  if (arm.twinOf !== undefined) return
  for (const service of Object.keys(arm.servers) as Service[]) await checkService(t, arm, service)
}

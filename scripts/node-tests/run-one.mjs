/**
 * Runs one test of a Node source tree in a process group of its own, as Node's own runner does: its flags
 * and environment are in comments at its top. Owns the processes: what the test leaves behind is killed.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

const HOOK = fileURLToPath(new URL('hook.cjs', import.meta.url))
/** Of a test's output, as much as tells what went wrong. */
const OUTPUT_MAX = 64 * 1024

/** Without the engine it would be node:net once more: an error. */
const ours = (backend) => (
  { MARKETPLACE_HOOK: 'ours', MARKETPLACE_NATIVE: 'require', MARKETPLACE_BACKEND: backend }
)

/** How the module is put in the place of `net`, or isn't. */
export const VARIANTS = {
  'node:net': { MARKETPLACE_HOOK: 'node' },
  epoll: ours('epoll'),
  io_uring: ours('io_uring'),
}

/** `// Flags: --a --b` and `// Env: A=1 B=2`. */
function header(file) {
  const text = readFileSync(file, 'utf8')
  const words = (name) => new RegExp(`^// ${name}:(.*)$`, 'm').exec(text)?.[1].trim().split(/\s+/) ?? []
  const pairs = words('Env').map((word) => word.split('='))
  return { flags: words('Flags'), env: Object.fromEntries(pairs) }
}

/** With every process that it has started, as far as they stayed in its group. */
function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

/**
 * @param test `{ file, variant, slot, parallel, node, cwd, temporary, patience }`: `slot` is a number that
 *   no other test has at the same time, from which Node's tests take ports and folders; `parallel`: others
 *   run at the same time; `patience` is in seconds
 * @returns `{ outcome: 'passed' | 'skipped' | 'failed' | 'timeout', output, seconds }`
 */
export function runOne({ file, variant, slot, parallel, node, cwd, temporary, patience }) {
  const { flags, env } = header(file)
  const start = performance.now()
  const options = [process.env.NODE_OPTIONS, `--require=${HOOK}`].filter(Boolean).join(' ')
  const child = spawn(node, [...flags, file], {
    cwd,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env, ...VARIANTS[variant], NODE_OPTIONS: options, NODE_TEST_DIR: temporary,
      // With it, Node's helpers refuse fixed ports.
      ...parallel ? { TEST_PARALLEL: '1' } : {},
      TEST_THREAD_ID: String(slot), TEST_SERIAL_ID: String(slot), ...env,
    },
  })
  return new Promise((resolve, reject) => {
    const output = []
    let kept = 0
    let late = false
    const keep = (chunk) => {
      if (kept < OUTPUT_MAX) output.push(chunk)
      kept += chunk.length
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    const timer = setTimeout(() => {
      late = true
      killGroup(child.pid)
    }, patience * 1000)
    child.on('error', reject)
    // Whatever it left behind may hold its output open, so that 'close' would not come.
    child.on('exit', () => { setTimeout(() => killGroup(child.pid), late ? 0 : 100) })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      const text = Buffer.concat(output).toString()
      const skipped = code === 0 && /^1\.\.0 # Skipped/m.test(text)
      const outcome = late ? 'timeout' : code !== 0 ? 'failed' : skipped ? 'skipped' : 'passed'
      const why = late ? `no end after ${patience} s` : signal ?? code
      const end = code === 0 ? '' : `\n(${basename(file)}: ${why})`
      resolve({ outcome, output: text + end, seconds: (performance.now() - start) / 1000 })
    })
  })
}

/** Ends processes and workers at any moment: none may crash, hang, or say a word. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { VARIANTS } from '../support/transports.js'
import { quick } from '../support/quick.js'
import { patient } from '../support/patience.js'

const TIMEOUT = patient(120_000)
/** `MARKETPLACE_SOAK=1` takes more of everything, which is too long for each run of the tests. */
const soak = process.env['MARKETPLACE_SOAK'] === '1'
const AFTER = soak ? [1, 2, 3, 5, 41, 100, 300, 1000] : [41]
const SEEDS = soak ? [1, 2, 3, 4, 5, 6, 7, 8] : [1]
const STORM = fileURLToPath(new URL('storm.js', import.meta.url))
const WORKERS = fileURLToPath(new URL('workers.js', import.meta.url))

interface Ran {
  readonly result: number | NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

function run(backend: string | undefined, ...args: string[]): Promise<Ran> {
  const ours = { MARKETPLACE_BACKEND: backend ?? '', MARKETPLACE_LOG: 'fatal', NODE_OPTIONS: '' }
  const env = { ...process.env, ...ours }
  const child = spawn(process.execPath, ['--unhandled-rejections=strict', ...args], { env })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return new Promise((resolve) => {
    child.on('close', (code, signal) => { resolve({ result: code ?? signal, stdout, stderr }) })
  })
}

for (const { name, skip } of VARIANTS) {
  const backend = name.startsWith('native ') ? name.slice(7) : undefined
  const transport = backend === undefined ? 'node' : 'native'

  for (const how of ['exit', 'stop', 'shutdown'] as const) {
    void t.test(`${name}: ${how} in a handler, after any number of messages`, { skip, timeout: TIMEOUT },
      async (t) => {
        for (const after of AFTER) {
          const { result, stderr } = await run(backend, STORM, transport, how, String(after))
          t.strictSame([result, stderr], [0, ''], `after ${after}`)
        }
      })
  }

  void t.test(`${name}: an exception outside of the VM`, { skip, timeout: TIMEOUT }, async (t) => {
    for (const after of quick ? [20] : [1, 20]) {
      const { result, stderr } = await run(backend, STORM, transport, 'throw', String(after))
      t.equal(result, 1)
      t.match(stderr, /Error: on purpose/)
    }
  })

  void t.test(`${name}: workers are terminated at random moments`, { skip, timeout: TIMEOUT }, async (t) => {
    for (const seed of SEEDS) {
      const ran = await run(backend, WORKERS, transport, '5', String(seed))
      t.strictSame(ran, { result: 0, stdout: 'done\n', stderr: '' }, `seed ${seed}`)
    }
  })
}

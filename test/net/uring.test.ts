/**
 * The tests of sockets beside this one that depend on when the kernel is asked for what, on io_uring: each file
 * in a process of its own, where the other tests run on epoll.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { patient } from '../support/patience.js'
import { VARIANTS } from '../support/variants.js'
import { ONLY_OURS } from './both.js'

const FILES = ['connect', 'context', 'edges', 'es5', 'onread']
const PATIENCE = patient(60_000)

const skip = VARIANTS.find(({ name }) => name === 'native io_uring')?.skip ?? 'no io_uring'

t.jobs = 2
for (const file of FILES) {
  void t.test(`${file} on io_uring`, { skip, timeout: PATIENCE }, async (t) => {
    const path = fileURLToPath(new URL(`${file}.test.js`, import.meta.url))
    const child = spawn(process.execPath, [path], {
      env: { ...process.env, MARKETPLACE_BACKEND: 'io_uring', [ONLY_OURS]: '1' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let out = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text })
    const [code] = await once(child, 'close') as [number | null]
    t.equal(code, 0)
    t.same(out.split('\n').filter((line) => /^ *not ok/.test(line)), [])
    t.match(out, /^ok 1 /m)
  })
}

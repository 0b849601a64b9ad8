/** Runs a test file again, in a process of its own, where the engine has another backend. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { ONLY_OURS } from './both.js'

/** @param path of the compiled test @param backend as MARKETPLACE_BACKEND has it */
export async function passesOn(t: Test, path: string, backend: string): Promise<void> {
  const child = spawn(process.execPath, [path], {
    env: { ...process.env, MARKETPLACE_BACKEND: backend, [ONLY_OURS]: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text })
  const [code] = await once(child, 'close') as [number | null]
  t.equal(code, 0)
  t.same(out.split('\n').filter((line) => /^ *not ok/.test(line)), [])
  t.match(out, /^ok 1 /m)
}

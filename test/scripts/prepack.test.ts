/** Packing without this machine's binary is refused: whoever installed that would run on node:net. */
import { spawnSync } from 'node:child_process'
import {
  cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { patient } from '../support/patience.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const { hostTarget, prebuiltPath } = await import(join(ROOT, 'scripts/prebuild.mjs')) as {
  hostTarget(): string | undefined
  prebuiltPath(name: string): string
}
const host = hostTarget()

t.test('what is missing, and what makes it', { skip: host === undefined && 'no binary for this machine' },
  async (t) => {
    const clone = mkdtempSync(join(tmpdir(), 'pack-'))
    t.teardown(() => { rmSync(clone, { recursive: true }) })
    for (const name of ['package.json', 'binding.gyp', 'scripts']) {
      cpSync(join(ROOT, name), join(clone, name), { recursive: true })
    }
    const prepack = (mode?: string) => spawnSync(process.execPath, ['scripts/prepack.mjs'], {
      cwd: clone, encoding: 'utf8', env: { ...process.env, MARKETPLACE_PREBUILT: mode },
    })
    const none = prepack()
    t.equal(none.status, 1)
    t.match(none.stderr, `no binary for this machine (${host}): 'npm run prebuilds -- --host' makes it`)
    t.match(none.stderr, /^[^\n]+\n$/, 'in one line')

    mkdirSync(dirname(join(clone, prebuiltPath(host ?? ''))), { recursive: true })
    writeFileSync(join(clone, prebuiltPath(host ?? '')), '')
    const release = prepack('release')
    t.equal(release.status, 1)
    t.match(release.stderr, /^pack: there is no binary for (?!.*linux-x64-glibc.*linux-x64-glibc)/)
    t.match(release.stderr, 'npm run prebuilds makes them')
  })

t.test('building the addon anew leaves what else is in build/', { timeout: patient(300_000) }, async (t) => {
  if (process.platform !== 'linux') return void t.pass('there is no addon')
  const clone = mkdtempSync(join(tmpdir(), 'build-'))
  t.teardown(() => { rmSync(clone, { recursive: true }) })
  for (const name of ['package.json', 'scripts']) cpSync(join(ROOT, name), join(clone, name), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'))
  // The smallest addon there is: how it is built is the same.
  mkdirSync(join(clone, 'native/binding'), { recursive: true })
  mkdirSync(join(clone, 'native/engine'))
  writeFileSync(join(clone, 'native/binding/addon.cc'), 'int marketplace;\n')
  writeFileSync(join(clone, 'binding.gyp'),
    '{ "targets": [{ "target_name": "marketplace", "sources": ["native/binding/addon.cc"] }] }')
  const packed = join(clone, prebuiltPath('linux-x64-glibc'))
  mkdirSync(dirname(packed), { recursive: true })
  writeFileSync(packed, 'a binary')
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e',
    "await (await import('./scripts/build.mjs')).buildAddon()"], { cwd: clone, encoding: 'utf8' })
  t.equal(status, 0, stderr)
  t.ok(existsSync(join(clone, 'build/Release/marketplace.node')), stderr)
  t.equal(readFileSync(packed, 'utf8'), 'a binary')
})

t.test('unknown names', async (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/prebuild.mjs', 'linux-z80'], {
    cwd: ROOT, encoding: 'utf8',
  })
  t.equal(status, 1)
  t.match(stderr, "there is no 'linux-z80', only linux-x64-glibc")
})

/** Packing without this machine's binary is refused: whoever installed that would run on node:net. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

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

t.test('unknown names', async (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/prebuild.mjs', 'linux-z80'], {
    cwd: ROOT, encoding: 'utf8',
  })
  t.equal(status, 1)
  t.match(stderr, "there is no 'linux-z80', only linux-x64-glibc")
})

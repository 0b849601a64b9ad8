/** Nothing is installed: each command of package.json begins with that, instead of failing for want of it. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { patient } from '../support/patience.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
/** Those for who releases, which begin with a tree that was tested. */
const LATER = ['prebuild', 'release', 'prepack']

t.test('every command installs what it needs', { timeout: patient(120_000) }, async (t) => {
  const clone = mkdtempSync(join(tmpdir(), 'fresh-'))
  t.teardown(() => { rmSync(clone, { recursive: true }) })
  for (const name of ['package.json', 'package-lock.json', 'scripts']) {
    cpSync(join(ROOT, name), join(clone, name), { recursive: true })
  }
  // A tree of Node's tests, for the command that takes one.
  mkdirSync(join(clone, 'test/parallel'), { recursive: true })
  const more: Readonly<Record<string, readonly string[]>> = { 'test:node': ['.'] }
  const asked = join(clone, 'asked')
  const npm = join(clone, 'npm.js')
  // It need not install anything to show that it is asked; after it, the command ends.
  writeFileSync(npm, `
    import { writeFileSync } from 'node:fs'
    writeFileSync(${JSON.stringify(asked)}, process.argv[2])
    process.exit(1)
  `)

  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as
    { scripts: Record<string, string> }
  let count = 0
  for (const [name, command] of Object.entries(scripts)) {
    const [, script = '', args = ''] = /node scripts\/([\w-]+)\.mjs ?(.*)$/.exec(command) ?? []
    t.not(script, '', `${name} is a script of ours`)
    if (LATER.includes(script)) continue
    rmSync(asked, { force: true })
    const { status, stdout, stderr } = spawnSync(
      process.execPath, [`scripts/${script}.mjs`, ...args.split(' ').filter(Boolean), ...more[name] ?? []],
      { cwd: clone, encoding: 'utf8', env: { ...process.env, npm_execpath: npm } },
    )
    if (stderr.includes('is for Linux on x64')) continue
    t.equal(existsSync(asked) && readFileSync(asked, 'utf8'), 'ci', name)
    t.equal(status, 1, name)
    t.match(stdout + stderr, 'install: failed', name)
    count++
  }
  t.ok(count > 10, `${count} commands`)
})

t.test('building loads nothing of the package: npm start loads it afterwards, and once', async (t) => {
  const clone = mkdtempSync(join(tmpdir(), 'fresh-'))
  t.teardown(() => { rmSync(clone, { recursive: true }) })
  for (const name of ['package.json', 'scripts', 'src', 'inspector-page', 'dist/src', 'dist/.built']) {
    cpSync(join(ROOT, name), join(clone, name), { recursive: true })
  }
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'))
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', `
    const { buildLibrary } = await import('./scripts/bundle.mjs')
    await buildLibrary()
    console.log(globalThis[Symbol.for('marketplace-native.loaded')])
  `], { cwd: clone, encoding: 'utf8' })
  t.match(stdout, /^library: done in .*\nundefined\n$/, stderr)
  t.ok(existsSync(join(clone, 'dist/lib/index.cjs')))
})

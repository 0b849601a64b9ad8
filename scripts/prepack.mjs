/**
 * What npm runs around `npm pack` and `npm publish`: builds, puts the bundles and the prebuilt binaries
 * where they are in the package, and takes them away again (`undo`): a clone works with neither.
 *
 * A package without this machine's binary would run on node:net here: that is an error, and those missing for
 * others are named. MARKETPLACE_PREBUILT=release makes each of them an error; =local takes the addon that was
 * built here for this machine's, for trying out.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { build } from './build.mjs'
import { buildLibrary } from './bundle.mjs'
import { install } from './install.mjs'
import { TARGETS, hostTarget, prebuiltPath } from './prebuild.mjs'
import { ROOT, StepFailed, main } from './steps.mjs'

/** node-gyp's project in the package: at its root, npm would run node-gyp on install. */
const PROJECT = 'native/binding.gyp'
const mode = process.env.MARKETPLACE_PREBUILT
const host = hostTarget()

/** Where the binary is that is packed under a name; undefined without one. */
function binary(name) {
  const local = 'build/Release/marketplace.node'
  if (mode === 'local') return name === host && existsSync(join(ROOT, local)) ? local : undefined
  return existsSync(join(ROOT, prebuiltPath(name))) ? prebuiltPath(name) : undefined
}

await main(async () => {
  rmSync(join(ROOT, 'prebuilds'), { recursive: true, force: true })
  rmSync(join(ROOT, PROJECT), { force: true })
  if (process.argv[2] === 'undo') {
    await buildLibrary()
    return
  }
  const binaries = new Map(Object.keys(TARGETS).map((name) => [name, binary(name)]))
  const missing = [...binaries.keys()].filter((name) => binaries.get(name) === undefined)
  // Before minutes of work, and as the last thing that is said.
  if (mode === 'release' && missing.length > 0) {
    throw new StepFailed(`pack: there is no binary for ${missing.join(', ')}; npm run prebuilds makes them`)
  }
  if (mode === undefined && missing.includes(host)) {
    throw new StepFailed(`pack: there is no binary for this machine (${host}): `
      + "'npm run prebuilds -- --host' makes it, in a few minutes; or pack the addon as it is built here, "
      + "for machines like this one: 'MARKETPLACE_PREBUILT=local npm pack'")
  }
  await install()
  await build()
  await buildLibrary({ whole: true })
  const project = readFileSync(join(ROOT, 'binding.gyp'), 'utf8')
  writeFileSync(join(ROOT, PROJECT), project.replaceAll('"native/', '"'))
  for (const [name, from] of binaries) {
    if (from === undefined) continue
    const to = join(ROOT, 'prebuilds', name, 'marketplace.node')
    mkdirSync(dirname(to), { recursive: true })
    cpSync(join(ROOT, from), to)
  }
  if (mode === undefined && missing.length > 0) {
    process.stderr.write(`pack: without binaries for ${missing.join(', ')}; npm run prebuilds makes them\n`)
  }
})

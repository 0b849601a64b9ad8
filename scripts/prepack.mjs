/**
 * What npm runs around `npm pack` and `npm publish`: builds, puts the bundles and the prebuilt binaries
 * where they are in the package, and takes them away again (`undo`): a clone works with neither.
 *
 * MARKETPLACE_PREBUILT=release makes a missing binary an error; =local takes the addon that was built here
 * for this machine's, for trying out. Otherwise what is missing is named.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { build } from './build.mjs'
import { buildLibrary } from './bundle.mjs'
import { install } from './install.mjs'
import { TARGETS, prebuiltPath } from './prebuild.mjs'
import { ROOT, StepFailed, main } from './steps.mjs'

/** node-gyp's project in the package: at its root, npm would run node-gyp on install. */
const PROJECT = 'native/binding.gyp'
const mode = process.env.MARKETPLACE_PREBUILT

/** Where the binary is that is packed under a name; undefined without one. */
function binary(name) {
  const local = 'build/Release/marketplace.node'
  if (mode === 'local') {
    const here = `${process.platform}-${process.arch}-glibc`
    return name === here && existsSync(join(ROOT, local)) ? local : undefined
  }
  return existsSync(join(ROOT, prebuiltPath(name))) ? prebuiltPath(name) : undefined
}

await main(async () => {
  rmSync(join(ROOT, 'prebuilds'), { recursive: true, force: true })
  rmSync(join(ROOT, PROJECT), { force: true })
  if (process.argv[2] === 'undo') {
    await buildLibrary()
    return
  }
  await install()
  await build()
  await buildLibrary({ whole: true })
  const project = readFileSync(join(ROOT, 'binding.gyp'), 'utf8')
  writeFileSync(join(ROOT, PROJECT), project.replaceAll('"native/', '"'))
  for (const name of Object.keys(TARGETS)) {
    const from = binary(name)
    const to = join(ROOT, 'prebuilds', name, 'marketplace.node')
    if (from !== undefined) {
      mkdirSync(dirname(to), { recursive: true })
      cpSync(join(ROOT, from), to)
      continue
    }
    const missing = `pack: there is no binary for ${name}; npm run prebuilds makes it`
    if (mode === 'release') throw new StepFailed(missing)
    if (mode !== 'local') process.stderr.write(`${missing}\n`)
  }
})

/**
 * What npm runs around `npm pack` and `npm publish`: puts the build's prebuilt binaries where they are in the
 * package, and takes them away again, so that a clone goes on with the addon that was built in it.
 * A binary that is missing is named; with MARKETPLACE_RELEASE set, it is an error.
 */
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { TARGETS, prebuiltPath } from './prebuild.mjs'
import { ROOT, StepFailed, main } from './steps.mjs'

await main(async () => {
  const undo = process.argv[2] === 'undo'
  rmSync(join(ROOT, 'prebuilds'), { recursive: true, force: true })
  if (undo) return
  for (const name of Object.keys(TARGETS)) {
    const to = join(ROOT, 'prebuilds', name, 'marketplace.node')
    if (existsSync(join(ROOT, prebuiltPath(name)))) {
      mkdirSync(dirname(to), { recursive: true })
      cpSync(join(ROOT, prebuiltPath(name)), to)
      continue
    }
    const missing = `pack: there is no binary for ${name}; npm run prebuilds makes it`
    if (process.env.MARKETPLACE_RELEASE) throw new StepFailed(missing)
    process.stderr.write(`${missing}\n`)
  }
})

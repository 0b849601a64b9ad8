/**
 * `npm test`: installs and builds what is missing, then runs the tests of the engine (C++, sanitized)
 * and those of the package. One line per test file; all of a file's output if it failed.
 * Arguments are test files or folders below test/: `npm test -- transport`.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { build } from './build.mjs'
import { install } from './install.mjs'
import { ROOT, filesBelow, main } from './steps.mjs'
import { TAP, concludeTests, tapStep } from './tap-step.mjs'

/** More than there are CPUs here: many tests wait most of the time. */
const JOBS = '--jobs=4'
const NATIVE_TESTS = 'test/native/run.mjs'

/** `test/cli/usage.test.ts` and `dist/test/cli/usage.test.js` are `cli/usage`. */
const bare = (path) => path.replace(/^(dist\/)?(test\/)?/, '').replace(/\.(test\.)?[tj]s$/, '')

/** The compiled test files, or those whose name contains one of the arguments. */
function testFiles(filters) {
  const files = filesBelow('dist/test').filter((file) => file.endsWith('.test.js')).sort()
  if (filters.length === 0) return files
  return files.filter((file) => filters.some((filter) => file.includes(bare(filter))))
}

await main(async () => {
  const filters = process.argv.slice(2)
  await install()
  await build()
  const native = filters.length === 0 || filters.includes('native')
  const files = testFiles(filters)
  const packageTests = [TAP, 'run', JOBS, '--reporter=tap', ...files]
  // Side by side: the engine's wait most of their time.
  await Promise.all([
    native && existsSync(join(ROOT, NATIVE_TESTS)) && tapStep('engine tests', [NATIVE_TESTS], false),
    files.length > 0 && tapStep('package tests', packageTests, true),
  ])
  concludeTests()
})

/**
 * `npm test`: installs and builds what is missing, then runs the tests of the engine (C++, sanitized)
 * and those of the package, each with the cases that show most in a short time. One line per test file; all of a
 * file's output if it failed. Arguments are test files or folders below test/, of which all is run:
 * `npm test -- transport`. `--long` (`npm run test:long`) runs all of all.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { build } from './build.mjs'
import { install } from './install.mjs'
import { ROOT, filesBelow, main } from './steps.mjs'
import { concludeTests, runTestFiles, runTestProgram } from './test-files.mjs'

/** Files at a time. More than there are CPUs here: many tests wait most of the time. */
const JOBS = 4
/** Not in `npm test`: each takes long, and what it tests changes seldom or is tested elsewhere in short. */
const ONLY_LONG = [
  'bench/compare', 'bench/real', 'bench/report', 'bench/servers', 'browsers/inspector', 'browsers/inspector-look',
  'docs/site', 'scripts/fresh-clone',
]
/** These take longest: they are begun first, so that nothing waits for them in the end. */
const LONG = ['docs/code-blocks', 'lifecycle/endings', 'cli/', 'examples/', 'bench/', 'transport/']
const NATIVE_TESTS = 'test/native/run.mjs'

/** `test/cli/usage.test.ts` and `dist/test/cli/usage.test.js` are `cli/usage`. */
const bare = (path) => path.replace(/^(dist\/)?(test\/)?/, '').replace(/\.(test\.)?[tj]s$/, '')

/** The compiled test files, or those whose name contains one of the arguments; the longest first. */
function testFiles(filters, isQuick) {
  const place = (file) => {
    const found = LONG.findIndex((start) => file.startsWith(`dist/test/${start}`))
    return found < 0 ? LONG.length : found
  }
  return filesBelow('dist/test')
    .filter((file) => file.endsWith('.test.js') && !(isQuick && ONLY_LONG.includes(bare(file))))
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(bare(filter))))
    .sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1))
}

await main(async () => {
  const given = process.argv.slice(2)
  const filters = given.filter((argument) => argument !== '--long')
  const isQuick = given.length === 0
  if (isQuick) process.env.MARKETPLACE_QUICK = '1'
  await install()
  await build()
  const native = filters.length === 0 || filters.includes('native')
  const files = testFiles(filters, isQuick)
  // Side by side: the engine's wait most of their time.
  await Promise.all([
    native && existsSync(join(ROOT, NATIVE_TESTS))
      && runTestProgram('engine tests', NATIVE_TESTS, isQuick ? [] : ['all']),
    files.length > 0 && runTestFiles('package tests', files, { jobs: JOBS }),
  ])
  concludeTests()
})

/**
 * `npm run test:clients`: installs and builds what is missing, then runs all tests of libraries and programs
 * on top of `marketplace-native/net`: the quick ones of `npm test`, and those that start servers of others.
 * Arguments are names of suites: `npm run test:clients -- redis`. With `--measure` it measures instead.
 * With `--suite NAME PATH` it runs a library's own tests instead: see library-suite.mjs.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { install } from './install.mjs'
import { runLibrarySuite } from './library-suite.mjs'
import { ROOT, filesBelow, main } from './steps.mjs'
import { concludeTests, runTestFiles } from './test-files.mjs'

const FOLDER = 'dist/test/clients'

await main(async () => {
  const names = process.argv.slice(2)
  await install()
  await build()
  if (names[0] === '--suite') {
    await runLibrarySuite(names[1], names[2])
    return
  }
  if (names.includes('--measure')) {
    await import(pathToFileURL(join(ROOT, FOLDER, 'measure.js')).href)
    return
  }
  const suites = filesBelow(FOLDER).filter((file) => /\.(test|suite)\.js$/.test(file)).sort()
  const chosen = suites.filter((file) => names.length === 0 || names.some((name) => file.includes(name)))
  // One at a time: most of them start a server, and some look at the time.
  await runTestFiles('tests of clients', chosen, { jobs: 1, timeout: 300 })
  concludeTests()
})

/**
 * `npm run test:browsers`: all tests of pages in a real Chromium, with screenshots in build/screenshots. A quick part
 * of them is in `npm test`. Nothing is installed without being asked for: `-- --install` has apt-get install chromium.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { install } from './install.mjs'
import { ROOT, StepFailed, filesBelow, main, say, step } from './steps.mjs'
import { concludeTests, runTestFiles } from './test-files.mjs'

const FOLDER = 'dist/test/browsers'
const helper = pathToFileURL(join(ROOT, FOLDER, 'browser.js')).href

await main(async () => {
  await install()
  await build()
  if (process.argv[2] === '--install') {
    await step('chromium', 'apt-get', ['install', '-y', '--no-install-recommends', 'chromium'], { usually: 60 })
  }
  const { missingBrowser } = await import(helper)
  if (missingBrowser !== false) {
    throw new StepFailed(`test:browsers: ${missingBrowser}; or run: npm run test:browsers -- --install`)
  }
  process.env.MARKETPLACE_BROWSERS = '1'
  const files = filesBelow(FOLDER).filter((file) => file.endsWith('.test.js'))
  await runTestFiles('tests of browsers', files, { jobs: 1, timeout: 300 })
  say('screenshots: build/screenshots')
  concludeTests()
})

/**
 * `node scripts/run-built.mjs dist/PROGRAM.js [ARGUMENTS]`: installs and builds what is missing, then
 * becomes the program.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { install } from './install.mjs'
import { ROOT, main } from './steps.mjs'

await main(async () => {
  await install()
  await build()
  const program = join(ROOT, process.argv[2])
  process.argv.splice(1, 2, program)
  await import(pathToFileURL(program).href)
})

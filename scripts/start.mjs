/**
 * `npm start`: installs and builds what is missing, then becomes `marketplace chat`.
 * It runs in this very process, so that there is one process less for a signal to get lost in.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { install } from './install.mjs'
import { ROOT, main } from './steps.mjs'

const CLI = join(ROOT, 'dist/lib/cli.js')

await main(async () => {
  await install()
  await build()
  process.argv.splice(1, 1, CLI, 'chat')
  await import(pathToFileURL(CLI).href)
})

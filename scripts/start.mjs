/**
 * `npm start`: installs and builds what the chat server needs, no more, then becomes `marketplace chat`.
 * It runs in this very process, so that there is one process less for a signal to get lost in.
 *
 * The addon is compiled while npm installs, and the TypeScript is bundled, not checked: that, the tests'
 * programs and the types are what `npm run build` adds.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build, buildAddon } from './build.mjs'
import { bundleCommand } from './bundle.mjs'
import { install, npmsNodeGyp } from './install.mjs'
import { ROOT, StepFailed, main } from './steps.mjs'

/** Options of `marketplace chat` that npm keeps to itself when they come without a `--` before them. */
const OPTIONS = ['port', 'host', 'transport', 'drain-ms', 'web-port', 'inspect', 'workers', 'nats', 'node']

/** Says how to write options that npm took for its own: `npm start --port 6001`. */
function refuseEaten() {
  const eaten = OPTIONS
    .map((name) => [name, process.env[`npm_config_${name.replaceAll('-', '_')}`]])
    .filter(([, value]) => value !== undefined)
  if (process.env.npm_lifecycle_event !== 'start' || eaten.length === 0) return
  const [name] = eaten[0]
  // npm 10 and 11 differ in whether the value is the option's, or an argument after it.
  const rest = process.argv.slice(2)
  const options = eaten
    .map(([key, value]) => `--${key} ${value === 'true' ? rest.shift() ?? 'VALUE' : value}`).join(' ')
  throw new StepFailed(`npm took --${name} for an option of its own; write: npm start -- ${options}`, 2)
}

/** What is run: the command alone, or what other threads load as well. */
async function commandFor(args) {
  if (!args.some((arg) => arg.startsWith('--workers'))) return bundleCommand()
  await build()
  return 'dist/lib/cli.js'
}

await main(async () => {
  refuseEaten()
  const nodeGyp = npmsNodeGyp()
  // Where npm has no node-gyp to lend, the one that is being installed compiles.
  if (nodeGyp === undefined) await install()
  await Promise.all([install(), buildAddon(nodeGyp)])
  const command = join(ROOT, await commandFor(process.argv.slice(2)))
  process.argv.splice(1, 1, command, 'chat')
  await import(pathToFileURL(command).href)
})

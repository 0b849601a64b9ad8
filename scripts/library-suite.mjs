/**
 * The own tests of a library, in a checkout that has its dependencies, on node:net and on
 * `marketplace-native/net` in its place, with both backends: as many pass on each.
 *
 * Owns which libraries can be run so, and how; nothing of them is in this repository.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { VARIANTS } from './node-tests/run-one.mjs'
import { StepFailed, run, say, seconds } from './steps.mjs'

const HOOK = fileURLToPath(new URL('node-tests/hook.cjs', import.meta.url))
/** Seconds for one run. */
const PATIENCE = 600

/** Names, and which files of their folder `test` mocha is to run. */
const LIBRARIES = { ws: /\.test\.js$/, 'smtp-server': /-test\.js$/ }

const counted = (output, what) => Number(new RegExp(`^ *(\\d+) ${what}`, 'm').exec(output)?.[1] ?? 0)

/**
 * @param name of the library
 * @param path of its checkout, in which `npm install` has been run
 * @throws StepFailed if fewer tests pass on ours than on node:net, or none does
 */
export async function runLibrarySuite(name, path) {
  if (!Object.hasOwn(LIBRARIES, name ?? '')) {
    const known = Object.keys(LIBRARIES).join(' or ')
    throw new StepFailed(`test:clients: --suite must be ${known}; got ${name}`)
  }
  const directory = resolve(path ?? '')
  // Older and newer ones.
  const programs = ['mocha.js', 'mocha'].map((file) => join(directory, 'node_modules/mocha/bin', file))
  const mocha = programs.find((file) => existsSync(file))
  if (path === undefined || mocha === undefined) {
    throw new StepFailed(`test:clients: --suite ${name} needs the path of a checkout with its dependencies`)
  }
  const files = readdirSync(join(directory, 'test')).filter((file) => LIBRARIES[name].test(file)).sort()
  const args = [mocha, '--exit', '--timeout', '30000', ...files.map((file) => join('test', file))]
  const passed = new Map()
  for (const [variant, env] of Object.entries(VARIANTS)) {
    const start = performance.now()
    const { output } = await run(process.execPath, args, {
      cwd: directory, patience: PATIENCE, env: { ...process.env, ...env, NODE_OPTIONS: `--require=${HOOK}` },
    })
    passed.set(variant, counted(output, 'passing'))
    const failed = counted(output, 'failing')
    say(`${name} on ${variant}: ${passed.get(variant)} passed, ${failed} failed in ${seconds(start)}`)
    if (failed > 0) say(output.slice(output.search(/^ *\d+ failing/m)).trimEnd())
  }
  const onNode = passed.get('node:net')
  const worse = [...passed].filter(([, count]) => count < onNode)
  if (onNode === 0 || worse.length > 0) throw new StepFailed(`test:clients: ${name}: failed`)
}

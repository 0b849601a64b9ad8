/**
 * `npm run build`: what it needs, the addon with node-gyp, the TypeScript with tsc, each only where something
 * changed.
 * Without a usable compiler the addon is left out with one line: the node transport works without it.
 */
import { existsSync, mkdirSync, realpathSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { buildLibrary } from './bundle.mjs'
import { install } from './install.mjs'
import { JOINED, joinTests, unjoin } from './join.mjs'
import {
  CI, ROOT, StepFailed, announce, changedAt, filesBelow, main, run, say, seconds, step, upToDate,
} from './steps.mjs'

const ADDON = 'build/Release/marketplace.node'
export const NODE_GYP = join(ROOT, 'node_modules/node-gyp/bin/node-gyp.js')
const TSC = 'node_modules/typescript/bin/tsc'
const STAMP = 'dist/.built'
const SOURCES = ['src', 'examples', 'test', 'bench']

/** Node's own headers, if they were installed with it: then node-gyp needn't download any. */
export function nodeDirectory() {
  const prefix = dirname(dirname(realpathSync(process.execPath)))
  return existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : []
}

/** Seconds that these take on two cores. */
const ADDON_USUALLY = 20
/** What node-gyp makes. */
const ADDON_MADE = ['build/Release', 'build/Makefile', 'build/binding.Makefile', 'build/marketplace.target.mk',
  'build/config.gypi']
const TYPESCRIPT_USUALLY = 15
const PAGE_STAMP = 'dist/.inspector-page'
const PAGE_USUALLY = 4

/** @param nodeGyp path of its program; the installed one, if not given */
export async function buildAddon(nodeGyp = NODE_GYP) {
  if (!existsSync(join(ROOT, 'binding.gyp'))) return
  const sources = ['binding.gyp', ...filesBelow('native/engine'), ...filesBelow('native/binding')]
  if (upToDate(ADDON, sources)) return
  const start = performance.now()
  // What a failed build has configured may be the reason why it failed: then from the start.
  const configured = changedAt(ADDON) > 0 && upToDate('build/config.gypi', ['binding.gyp'])
  const files = sources.filter((file) => file.endsWith('.cc')).length
  let compiled = 0
  const over = announce('addon', ADDON_USUALLY, () => compiled > 0 ? `file ${compiled} of ${files}` : '')
  const onLine = (line) => { if (line.includes('CXX(target)')) compiled++ }
  const gyp = (...how) =>
    run(process.execPath, [nodeGyp, ...how, '--release', '--jobs=max', ...nodeDirectory()], { onLine })
  // Not by node-gyp's `rebuild`, which takes away all of build/: binaries to be packed and objects of tests, too.
  const anew = async () => {
    for (const made of ADDON_MADE) rmSync(join(ROOT, made), { recursive: true, force: true })
    const configuring = await gyp('configure')
    return configuring.code === 0 ? gyp('build') : configuring
  }
  let { code, output } = configured ? await gyp('build') : await anew()
  // What was configured has relative paths: they lead nowhere in a folder, or to a Node, that was moved.
  if (code !== 0 && configured && output.includes('No rule to make target')) ({ code, output } = await anew())
  over()
  if (code === 0) {
    say(`addon: built in ${seconds(start)}`)
    return
  }
  rmSync(join(ROOT, ADDON), { force: true })
  if (CI && process.platform === 'linux') {
    process.stderr.write(`${output.trimEnd()}\n`)
    throw new StepFailed('addon: failed')
  }
  mkdirSync(join(ROOT, 'build'), { recursive: true })
  writeFileSync(join(ROOT, 'build/addon.log'), output)
  const machine = `${process.platform} ${process.arch}`
  say(`addon: can't be built on ${machine}; going on with node:net (see build/addon.log)`)
}

/** Removes compiled files whose source is gone, so that no test of yesterday runs. */
function removeStale() {
  for (const file of SOURCES.flatMap((folder) => filesBelow(`dist/${folder}`))) {
    const source = file.replace(/^dist\//, '').replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts')
    if (file !== JOINED && !existsSync(join(ROOT, source))) rmSync(join(ROOT, file))
  }
}

export async function buildTypeScript() {
  removeStale()
  const sources = SOURCES.flatMap(filesBelow).filter((file) => file.endsWith('.ts'))
  const complete = sources
    .filter((file) => !file.endsWith('.d.ts'))
    .every((file) => changedAt(`dist/${file.slice(0, -3)}.js`) > 0)
  // tsc's own notes say that these were written; it would not write them again.
  const joinedOtherwise = changedAt('scripts/join.mjs') > changedAt(STAMP)
  if (!complete || joinedOtherwise) rmSync(join(ROOT, 'dist/.tsbuildinfo'), { force: true })
  const inputs = ['tsconfig.json', 'node_modules/.package-lock.json', 'scripts/join.mjs', ...sources]
  if (complete && upToDate(STAMP, inputs)) return
  const began = Date.now()
  unjoin()
  await step('typescript', process.execPath, [TSC, '-p', '.'], { usually: TYPESCRIPT_USUALLY })
  stamp(STAMP, began)
}

/** What is changed while it compiles may be in there or not: it counts as changed afterwards. */
function stamp(file, began) {
  writeFileSync(join(ROOT, file), `${began}\n`)
  utimesSync(join(ROOT, file), began / 1000, began / 1000)
}

/** The inspector's page is for browsers: a project of its own, whose types know nothing of Node. */
export async function checkPage() {
  const sources = ['src/inspector/shown.ts', ...filesBelow('inspector-page')]
  const inputs = ['tsconfig.json', 'node_modules/.package-lock.json', ...sources]
  if (upToDate(PAGE_STAMP, inputs)) return
  const began = Date.now()
  await step('inspector page', process.execPath, [TSC, '-p', 'inspector-page'], { usually: PAGE_USUALLY })
  stamp(PAGE_STAMP, began)
}

export async function build() {
  await buildAddon()
  await buildTypeScript()
  await joinTests(STAMP)
  await checkPage()
  await buildLibrary()
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  await main(async () => {
    await install()
    await build()
  })
}
